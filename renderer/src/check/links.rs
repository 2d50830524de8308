//! Addresses that outputs name, and where each of them leads.
//!
//! While outputs come, only the different addresses are kept, each with the first few outputs that name it. When all have
//! come, an address of this site leads to an output, exactly as the origin would find it, or to nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use release::url::{manifest_path, site_path};
use reqwest::Url;

use super::page::Use;
use crate::markup::names_the_top;
use crate::site::has_id;

/// Outputs that are kept by name of those that name one address; further ones are counted.
const NAMED_MAX: usize = 50;
/// Different addresses that are looked at.
const ADDRESSES_MAX: usize = 2_000_000;
/// Redirects within the site that are followed.
const REDIRECTS_MAX: usize = 10;

/// An output and what it was made from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) output: String,
    pub(super) source: Option<Arc<str>>,
    pub(super) template: Option<Arc<str>>,
}

impl Origin {
    /// `/blog/first/` for `blog/first/index.html`.
    pub(super) fn path(&self) -> String {
        let folder = self.output.strip_suffix("index.html").filter(|f| f.is_empty() || f.ends_with('/'));
        format!("/{}", folder.unwrap_or(&self.output))
    }
}

/// Who names an address.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) of: Use,
    pub(super) outputs: usize,
    /// The first by their names, each with how it writes the address.
    pub(super) first: BTreeMap<Arc<Origin>, Box<str>>,
}

/// Where the site is.
#[derive(Debug)]
pub(super) struct Home {
    url: Url,
    /// Before every path: `/sub`, or nothing.
    folder: String,
}

impl Home {
    pub(super) fn new(base_url: &str) -> Option<Self> {
        // A base of no host is that of a site that may be anywhere.
        let url =
            Url::parse(base_url).or_else(|_| Url::parse(&format!("http://site.invalid{base_url}"))).ok()?;
        url.host_str()?;
        let folder = url.path().trim_end_matches('/').to_owned();
        Some(Self { url, folder })
    }

    /// A path of the site as it is written with its host, in the site's own files, or in a page.
    pub(super) fn spelled(&self, path: &str, is_whole: bool, is_own: bool) -> String {
        match self.address(path).filter(|_| is_whole) {
            Some(whole) => whole.into(),
            None if is_own => path.to_owned(),
            None => format!("{}{path}", self.folder),
        }
    }

    /// The address of an output.
    pub(super) fn address(&self, path: &str) -> Option<Url> {
        self.url.join(&format!("{}{}", self.folder, release::url::escape(path))).ok()
    }

    /// The address of a path of the site, with its query and fragment, as it is written in fields.
    pub(super) fn path(&self, written: &str) -> Option<Url> {
        self.url.join(&format!("{}{written}", self.folder)).ok()
    }

    /// The path within the site: none on other hosts, and an error beside the site's folder.
    pub(super) fn within(&self, url: &Url) -> Option<Result<String, ()>> {
        let web = |url: &Url| matches!(url.scheme(), "http" | "https");
        let same = web(url) && url.host_str() == self.url.host_str() && url.port() == self.url.port();
        same.then(|| {
            let path = url.path();
            let inside = path.strip_prefix(&self.folder).filter(|p| p.is_empty() || p.starts_with('/'));
            inside.and_then(site_path).ok_or(())
        })
    }
}

/// What is known of an output.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Hashes of what a fragment can name; none where that is not known.
    pub(super) ids: Option<Box<[u64]>>,
    /// Where it sends on to.
    pub(super) to: Option<String>,
}

/// All addresses and all outputs.
#[derive(Debug, Default)]
pub(super) struct Links {
    named: HashMap<Box<str>, Named>,
    outputs: HashMap<String, Facts>,
    /// References in all.
    pub(super) references: u64,
    /// Whether there were too many.
    pub(super) full: bool,
}

/// Where an address leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// To this output.
    Output(&'a str),
    /// To this output, which has no such id.
    NoId(&'a str),
    /// To a path of this site that has no output.
    Nothing(String),
    /// To this host, but beside the site.
    Beside,
    /// To another host.
    Elsewhere(Url),
    /// Nowhere that can be looked at: `mailto:` and its like.
    Aside,
    /// It is no address.
    Malformed,
    /// Round and round.
    Circle,
}

impl Links {
    pub(super) fn output(&mut self, path: String, facts: Facts) {
        self.outputs.insert(path, facts);
    }

    /// Takes the addresses of an output, each as it is written and with what it means there.
    pub(super) fn take(&mut self, origin: &Arc<Origin>, found: Vec<(Use, String, Box<str>)>) {
        for (of, written, meant) in found {
            self.references += 1;
            if self.named.len() >= ADDRESSES_MAX && !self.named.contains_key(&meant) {
                self.full = true;
                continue;
            }
            let named =
                self.named.entry(meant).or_insert_with(|| Named { of, outputs: 0, first: BTreeMap::new() });
            named.of = named.of.min(of);
            if named.first.contains_key(origin) {
                continue;
            }
            named.outputs += 1;
            named.first.insert(origin.clone(), written.into());
            if named.first.len() > NAMED_MAX {
                named.first.pop_last();
            }
        }
    }

    /// All addresses in order, so that equal sites give equal findings.
    pub(super) fn sorted(&self) -> Vec<(&str, &Named)> {
        let mut all: Vec<_> = self.named.iter().map(|(address, named)| (&**address, named)).collect();
        all.sort_unstable_by_key(|(address, _)| *address);
        all
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.outputs.keys().map(String::as_str)
    }

    /// Whether there is something at a path of the site.
    pub(super) fn has(&self, path: &str) -> bool {
        self.shown(path).is_some()
    }

    /// The output that a path of the site shows.
    fn shown(&self, path: &str) -> Option<(&str, &Facts)> {
        let file = manifest_path(path);
        let found = self.outputs.get_key_value(&file).or_else(|| {
            // The origin sends on to the folder.
            (!path.ends_with('/')).then(|| self.outputs.get_key_value(&format!("{file}/index.html")))?
        });
        found.map(|(path, facts)| (path.as_str(), facts))
    }

    /// Where an address leads. Of one that is `exempt` the fragment is not looked at.
    pub(super) fn end<'a>(&'a self, home: &Home, address: &str, exempt: bool) -> End<'a> {
        let Ok(mut url) = Url::parse(address) else { return End::Malformed };
        let fragment = url.fragment().map(str::to_owned);
        for _ in 0..REDIRECTS_MAX {
            if !matches!(url.scheme(), "http" | "https") {
                return End::Aside;
            }
            let path = match home.within(&url) {
                None => return End::Elsewhere(url),
                Some(Err(())) => return End::Beside,
                Some(Ok(path)) => path,
            };
            let Some((output, facts)) = self.shown(&path) else { return End::Nothing(path) };
            if let Some(to) = &facts.to {
                match home.address(&path).and_then(|here| here.join(to).ok()) {
                    Some(next) => url = next,
                    None => return End::Malformed,
                }
                continue;
            }
            let known = match (&fragment, &facts.ids) {
                (Some(fragment), Some(ids)) => names_the_top(fragment) || exempt || has_id(ids, fragment),
                _ => true,
            };
            return if known { End::Output(output) } else { End::NoId(output) };
        }
        End::Circle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> (Home, Links) {
        let mut links = Links::default();
        let ids = |names: &[&str]| Some(names.iter().map(|id| crate::site::anchor_hash(id)).collect());
        links.output("index.html".into(), Facts::default());
        links.output("a/index.html".into(), Facts { ids: ids(&["x", "é"]), to: None });
        links.output("é.png".into(), Facts::default());
        links.output(
            "old/index.html".into(),
            Facts { ids: None, to: Some("https://h.example/sub/a/".into()) },
        );
        for (path, to) in [("r/index.html", "/sub/s/"), ("s/index.html", "../r/")] {
            links.output(path.into(), Facts { ids: None, to: Some(to.into()) });
        }
        (Home::new("https://h.example/sub").unwrap(), links)
    }

    #[test]
    fn addresses_lead_where_the_origin_would_find_them() {
        let (home, links) = links();
        let nothing = |path: &str| End::Nothing(path.to_owned());
        for (address, end) in [
            ("https://h.example/sub/", End::Output("index.html")),
            ("https://h.example/sub", End::Output("index.html")),
            ("http://H.example/sub/a", End::Output("a/index.html")),
            ("https://h.example/sub/a/index.html?q#x", End::Output("a/index.html")),
            ("https://h.example/sub/a/#%C3%A9", End::Output("a/index.html")),
            ("https://h.example/sub/a/#top", End::Output("a/index.html")),
            ("https://h.example/sub/a/#:~:text=x", End::Output("a/index.html")),
            ("https://h.example/sub/a/#y", End::NoId("a/index.html")),
            ("https://h.example/sub/old/#y", End::NoId("a/index.html")),
            ("https://h.example/sub/%c3%a9.png", End::Output("é.png")),
            ("https://h.example/sub/a/b/", nothing("/a/b/")),
            ("https://h.example/sub/A/", nothing("/A/")),
            ("https://h.example/subway/", End::Beside),
            ("https://h.example/", End::Beside),
            ("https://h.example/sub/r/", End::Circle),
            ("mailto:a@b.example", End::Aside),
            ("https://", End::Malformed),
        ] {
            assert_eq!(links.end(&home, address, false), end, "{address}");
        }
        assert!(matches!(links.end(&home, "https://h.example:8/sub/", false), End::Elsewhere(_)));
        assert_eq!(links.end(&home, "https://h.example/sub/a/#y", true), End::Output("a/index.html"));
    }

    #[test]
    fn only_the_first_outputs_are_kept_by_name() {
        let mut links = Links::default();
        for n in (0..200).rev() {
            let origin = Arc::new(Origin { output: format!("{n:03}"), source: None, template: None });
            let twice =
                vec![(Use::File, "x".to_owned(), "u".into()), (Use::Link, "x".to_owned(), "u".into())];
            links.take(&origin, twice);
        }
        let all = links.sorted();
        assert_eq!((all.len(), all[0].1.outputs, all[0].1.of), (1, 200, Use::Link));
        assert_eq!(all[0].1.first.len(), NAMED_MAX);
        assert_eq!(all[0].1.first.keys().next().unwrap().output, "000");
        assert_eq!(links.references, 400);
    }
}
