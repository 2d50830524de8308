//! The content of a site for Hugo: which file is what, where it goes, and the address that it had.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use toml::Table;

use super::matter;
use super::settings::Settings;
use super::table::{find, take, text};
use crate::library::dated_name;

/// What a file of content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Page,
    /// A page that is its folder.
    Bundle,
    Section,
}

/// A file of content.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file, by its old path.
    pub(super) old: String,
    pub(super) kind: Kind,
    /// Its code, if it is not the default one.
    pub(super) language: Option<String>,
    /// The folder below that of content, with a slash at its end, and the name without its ends.
    pub(super) folder: String,
    stem: String,
    /// Its file below `content/`.
    pub(super) new: String,
    /// Its front matter, with what descends from above.
    pub(super) matter: Table,
    pub(super) body: String,
    /// Where it is, from the root of the site on, with a slash at its end.
    pub(super) address: String,
    /// What makes its address that, beside its file.
    pub(super) placed: Placed,
}

/// What front matter says of an address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) slug: Option<String>,
    pub(super) path: Option<String>,
    /// Where it was, if no page can be there.
    pub(super) alias: Option<String>,
}

/// What a link may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The file below `content/`.
    pub(super) file: String,
    pub(super) address: String,
}

/// A file of content as it was found: its path below the folder of content, split.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) folder: String,
    pub(super) stem: String,
    pub(super) language: Option<String>,
}

impl Name {
    /// Splits `posts/a.de.md`; none where it is no markdown.
    pub(super) fn of(inside: &str, of_folder: Option<&str>, settings: &Settings) -> Option<Self> {
        let cut = inside.rfind('/').map_or(0, |at| at + 1);
        let (stem, extension) = inside[cut..].rsplit_once('.')?;
        if !["md", "markdown", "mdown"].contains(&extension.to_lowercase().as_str()) {
            return None;
        }
        let suffix = stem.rsplit_once('.').map(|(stem, code)| (stem, code.to_lowercase()));
        let (stem, language) = match suffix {
            Some((stem, code)) if code == settings.language => (stem, None),
            Some((stem, code)) if settings.other_languages().any(|known| known == code) => (stem, Some(code)),
            _ => (stem, of_folder.filter(|code| *code != settings.language).map(str::to_owned)),
        };
        Some(Self { folder: inside[..cut].to_owned(), stem: stem.to_owned(), language })
    }
}

impl Entry {
    pub(super) fn new(old: &str, name: Name, matter: Table, body: &str, settings: &Settings) -> Self {
        let Name { folder, stem, language } = name;
        let kind = match stem.as_str() {
            "_index" => Kind::Section,
            "index" if !folder.is_empty() => Kind::Bundle,
            _ => Kind::Page,
        };
        let suffix = language.as_ref().map(|code| format!(".{code}")).unwrap_or_default();
        let file =
            if stem == "index" || stem == "_index" { stem.clone() } else { of_file(&stem, settings.lowers) };
        let new = format!("{}{file}{suffix}.md", of_file(&folder, settings.lowers));
        Self {
            old: old.to_owned(),
            kind,
            language,
            folder,
            stem,
            new,
            matter,
            body: body.to_owned(),
            address: String::new(),
            placed: Placed::default(),
        }
    }

    /// Finds out where it was, in a site with these folders of sections; the text is what is to be said of that.
    pub(super) fn place(&mut self, settings: &Settings, sections: &BTreeSet<String>) -> Option<String> {
        let prefix = self.language.as_ref().map(|code| format!("{code}/")).unwrap_or_default();
        let folder = of_file(&self.folder, settings.lowers);
        let url = take(&mut self.matter, "url").as_ref().and_then(text);
        if self.kind == Kind::Section {
            self.address = format!("/{prefix}{folder}");
            let slug = find(&self.matter, "slug").and_then(text).filter(|slug| !slug.trim().is_empty());
            let by_slug = slug.filter(|_| !folder.is_empty()).map(|slug| {
                let above = split(folder.trim_end_matches('/')).0;
                format!("{prefix}{above}{}/", urlized(&slug, settings.lowers))
            });
            let (key, url) = if let Some(url) = url { ("url", url) } else { ("slug", by_slug?) };
            if format!("/{}/", url.trim_matches('/')) == self.address {
                return None;
            }
            self.placed.alias = Some(format!("/{}", url.trim_start_matches('/')));
            return Some(format!("a section has the address of its folder: `{key}` is an alias, {url:?}"));
        }
        // A bundle is a page in the folder above it.
        let (above, name) = self.above_and_name(&folder);
        let own = find(&self.matter, "slug").and_then(text).filter(|slug| !slug.trim().is_empty());
        let from_name = dated_name(name).filter(|_| settings.dated_names).map(|(_, rest)| rest);
        let last = match own.as_deref().or(from_name) {
            Some(slug) => urlized(slug, settings.lowers),
            None => of_file(name, settings.lowers),
        };
        let section = folder.split('/').next().unwrap_or_default();
        let pattern = settings.permalinks.get(section).filter(|_| !folder.is_empty());
        let mut noted = None;
        let mut by_pattern = |pattern: &str| {
            // A date in the name leaves a slug behind it.
            let slug = own.as_deref().or(from_name);
            let path = self.by_pattern(pattern, name, slug, settings, sections);
            if path.is_none() {
                noted = Some(format!("its address by the pattern {pattern:?} is not converted"));
            }
            path
        };
        if let Some(url) = url {
            // A path from the root on is that in every language.
            let prefix = if url.starts_with('/') { "" } else { prefix.as_str() };
            let url = if url.contains(':') { by_pattern(&url) } else { Some(url) };
            let path = url.as_deref().map(|url| url.trim_start_matches('/'));
            match path.map(|path| (path, split(path).1.rsplit_once('.'))) {
                None => {}
                Some((path, Some((stem, "html" | "htm")))) if !stem.is_empty() => {
                    let whole = format!("{}{stem}", split(path).0);
                    if stem == "index" {
                        let whole = format!("{prefix}{}", split(path).0);
                        self.set(whole.trim_end_matches('/'), settings);
                        return noted;
                    }
                    self.placed.alias = Some(format!("/{prefix}{path}"));
                    self.set(&format!("{prefix}{whole}"), settings);
                    return Some(format!(
                        "a page has an address with a slash at its end: {path:?} is an alias"
                    ));
                }
                Some((path, Some(_))) if !path.ends_with('/') => {
                    noted = Some(format!("a page cannot be at {path:?}: it has the address of its file"));
                }
                Some((path, _)) => {
                    let whole = format!("{prefix}{}", path.trim_end_matches('/'));
                    self.set(&whole, settings);
                    return noted;
                }
            }
        } else if let Some(path) = pattern.and_then(|pattern| by_pattern(pattern)) {
            self.set_ugly(&format!("{prefix}{path}"), section, settings);
            return noted;
        }
        self.set_ugly(&format!("{prefix}{above}{last}"), section, settings);
        noted
    }

    /// The folder that a page is in, and the name that makes its address.
    fn above_and_name<'a>(&'a self, folder: &'a str) -> (&'a str, &'a str) {
        match self.kind {
            Kind::Bundle => split(folder.trim_end_matches('/')),
            Kind::Page | Kind::Section => (folder, &self.stem),
        }
    }

    /// Sets an address that may have been one with `.html` at its end.
    fn set_ugly(&mut self, whole: &str, section: &str, settings: &Settings) {
        if settings.is_ugly(section) {
            self.placed.alias = Some(format!("/{whole}.html"));
        }
        self.set(whole, settings);
    }

    /// Sets the address, and what front matter must say for it.
    fn set(&mut self, whole: &str, settings: &Settings) {
        let folder = of_file(&self.folder, settings.lowers);
        let suffix = self.language.as_ref().map(|code| format!(".{code}")).unwrap_or_default();
        let prefix = self.language.as_ref().map(|code| format!("{code}/")).unwrap_or_default();
        let (above, name) = match self.kind {
            Kind::Bundle => split(folder.trim_end_matches('/')),
            Kind::Page | Kind::Section => split(self.new.trim_end_matches(".md").trim_end_matches(&suffix)),
        };
        let by_name = match dated_name(name) {
            Some((_, rest)) if settings.dated_names => rest,
            _ => name,
        };
        let above = format!("{prefix}{above}");
        if whole != format!("{above}{}", slug::slugify(by_name)) {
            let is_slug =
                |last: &&str| !last.is_empty() && !last.contains('/') && **last == slug::slugify(last);
            match whole.strip_prefix(&above).filter(is_slug) {
                Some(last) => self.placed.slug = Some(last.to_owned()),
                None => self.placed.path = Some(whole.to_owned()),
            }
        }
        self.address = if whole.is_empty() { "/".to_owned() } else { format!("/{whole}/") };
    }

    fn by_pattern(
        &self,
        pattern: &str,
        name: &str,
        slug: Option<&str>,
        settings: &Settings,
        sections: &BTreeSet<String>,
    ) -> Option<String> {
        const MONTHS: [&str; 12] = [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ];
        let date = matter::date(&self.matter, name, settings);
        let day = date.as_ref().and_then(|date| date.date);
        let clean = |text: &str| urlized(text, settings.lowers);
        let title =
            || find(&self.matter, "title").and_then(text).map(|title| clean(&title.replace('/', "-")));
        let first = self.folder.split('/').next().unwrap_or_default();
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find(':') {
            out.push_str(&rest[..at]);
            let word = &rest[at + 1..];
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            rest = &word[end..];
            out.push_str(&match &word[..end] {
                "year" => format!("{:04}", day?.year),
                "month" => format!("{:02}", day?.month),
                "monthname" => (*MONTHS.get(usize::from(day?.month).checked_sub(1)?)?).to_owned(),
                "day" => format!("{:02}", day?.day),
                "section" => of_file(first, settings.lowers),
                "sections" if !rest.starts_with('[') => {
                    let above = sections.iter().filter(|folder| self.folder.starts_with(folder.as_str()));
                    let last = above.max_by_key(|folder| folder.len());
                    of_file(last.map_or(first, |folder| folder.trim_end_matches('/')), settings.lowers)
                }
                "title" => title()?,
                "slug" => slug.map(clean).or_else(title)?,
                "filename" | "contentbasename" => clean(name),
                "slugorfilename" | "slugorcontentbasename" => clean(slug.unwrap_or(name)),
                _ => return None,
            });
        }
        out.push_str(rest);
        Some(out.trim_matches('/').to_owned())
    }

    /// By what `ref` finds it: its folders and its name, in small letters.
    fn logical(&self) -> String {
        let whole = match self.kind {
            Kind::Page => format!("{}{}", self.folder, self.stem),
            Kind::Bundle | Kind::Section => self.folder.trim_end_matches('/').to_owned(),
        };
        whole.to_lowercase()
    }

    fn target(&self) -> Target {
        Target { file: self.new.clone(), address: self.address.clone() }
    }
}

/// What links may lead to, by what they may say.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_address: HashMap<String, Target>,
    by_logical: BTreeMap<(Option<String>, String), Target>,
    /// Addresses of files that are no content.
    files: BTreeSet<String>,
    /// Addresses below which there are terms.
    taxonomies: Vec<String>,
}

impl Places {
    pub(super) fn of(entries: &[Entry], sections: &[(Option<String>, String)], settings: &Settings) -> Self {
        let mut places = Self::default();
        for entry in entries {
            places.by_address.insert(entry.address.clone(), entry.target());
            places.by_logical.entry((entry.language.clone(), entry.logical())).or_insert(entry.target());
        }
        for (language, folder) in sections {
            let prefix = language.as_ref().map(|code| format!("{code}/")).unwrap_or_default();
            let suffix = language.as_ref().map(|code| format!(".{code}")).unwrap_or_default();
            let address = format!("/{prefix}{folder}/");
            let target = Target { file: format!("{folder}/_index{suffix}.md"), address: address.clone() };
            places.by_logical.insert((language.clone(), folder.clone()), target.clone());
            places.by_address.insert(address, target);
        }
        places.taxonomies = settings.taxonomies.iter().map(|name| format!("/{name}/")).collect();
        places
    }

    pub(super) fn add_file(&mut self, address: String) {
        self.files.insert(address);
    }

    /// What `ref` leads to: a path of content, from a page on or from the root, with or without its end.
    pub(super) fn content(&self, from: &Entry, path: &str) -> Option<&Target> {
        let plain = path.trim_end_matches('/').to_lowercase();
        let plain = [".md", ".markdown"].iter().find_map(|end| plain.strip_suffix(end)).unwrap_or(&plain);
        let plain = ["/_index", "/index"].iter().find_map(|end| plain.strip_suffix(end)).unwrap_or(plain);
        let at = |logical: &str| self.by_logical.get(&(from.language.clone(), logical.to_owned()));
        if let Some(rooted) = plain.strip_prefix('/') {
            return at(rooted);
        }
        let folder = from.folder.to_lowercase();
        let beside = at(&join(&folder, plain));
        let above = || {
            let folder = split(folder.trim_end_matches('/')).0;
            (from.kind == Kind::Bundle).then(|| at(&join(folder, plain))).flatten()
        };
        beside.or_else(above).or_else(|| at(plain)).or_else(|| {
            // By its name alone, where it is the only one.
            let end = format!("/{plain}");
            let mut found = self
                .by_logical
                .iter()
                .filter(|((language, logical), _)| *language == from.language && logical.ends_with(&end));
            found.next().filter(|_| found.next().is_none()).map(|(_, target)| target)
        })
    }

    /// What is at an address, as a browser reads it on a page.
    pub(super) fn at(&self, from: &Entry, link: &str) -> Option<&Target> {
        let address = Self::address(from, link);
        self.by_address.get(&format!("{}/", address.trim_end_matches('/')))
    }

    /// Whether a page or a section is at an address, which has a slash at its end.
    pub(super) fn is_page(&self, address: &str) -> bool {
        self.by_address.contains_key(address)
    }

    /// Whether something else than content is at an address, or may be.
    pub(super) fn is_file(&self, from: &Entry, link: &str) -> bool {
        let address = Self::address(from, link);
        let folder = format!("{}/", address.trim_end_matches('/'));
        // What lies beside a page is at its address, wherever that is.
        let is_beside = || {
            from.kind == Kind::Bundle && self.files.contains(&format!("/{}", join(split(&from.new).0, link)))
        };
        self.files.contains(&address)
            || is_beside()
            || self.taxonomies.iter().any(|root| folder.contains(root.as_str()))
            || ["/index.xml", "/sitemap.xml", "/robots.txt"].iter().any(|end| address.ends_with(end))
    }

    fn address(from: &Entry, link: &str) -> String {
        match link.strip_prefix('/') {
            Some(_) => link.to_owned(),
            None => format!("/{}", join(from.address.trim_start_matches('/'), link)),
        }
    }
}

/// A path that is relative to a folder; above the root there is nothing.
pub(super) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A path's folder, with the slash at its end, and its name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |at| at + 1))
}

/// A path as Hugo writes it in addresses: letters, digits and a few signs; spaces are hyphens.
pub(super) fn urlized(path: &str, lowers: bool) -> String {
    let mut out = String::with_capacity(path.len());
    let mut gap = false;
    let mut last = None;
    for c in path.trim().chars() {
        if c.is_alphanumeric() || "./_#+~-@%".contains(c) || is_mark(c) {
            if gap && c != '-' && last != Some('-') {
                out.push('-');
            }
            gap = false;
            if lowers {
                out.extend(c.to_lowercase())
            } else {
                out.push(c)
            }
            last = Some(c);
        } else if c.is_whitespace() && !out.is_empty() {
            gap = true;
        }
    }
    out
}

/// The name of a file or a folder as Hugo writes it in addresses: there, each space is a hyphen before signs go.
pub(super) fn of_file(path: &str, lowers: bool) -> String {
    urlized(&path.replace(' ', "-").replace('%', ""), lowers)
}

/// A sign that belongs to the letter before it.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}
