//! Adds a page: whether it is there now, its address, the files that it has for itself.

use std::sync::Arc;

use super::super::names::{Name, canonical, dated, name_of};
use super::super::{CONTENT, Matter, Page, PageId, Parsed, relative};
use super::{Builder, Drafts, sort_assets};
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::front_matter::{self, Date, PageMatter};
use crate::locales;
use crate::slugs;

impl Builder<'_> {
    pub(super) fn add_page(
        &mut self,
        source: Arc<str>,
        parsed: Arc<Parsed>,
        made_by: Option<&str>,
        drafts: &Drafts,
    ) {
        let config = self.making.config;
        let Matter::Page(matter) = &parsed.matter else { return };
        let name = name_of(&source, config);
        if (matter.draft && !self.making.drafts) || drafts.hold(&name) {
            return;
        }
        if let Some(code) = unknown_language(&name, config) {
            let wrong =
                Diagnostic::in_file(source.to_string(), format!("`{code}` is no language of the site"));
            let hint =
                format!("add [languages.{code}] to the configuration, or write the name without its dot");
            self.wrong(&source, wrong.hint(hint));
            return;
        }
        let place = Place::of(&name);
        let from_name = dated(place.stem);
        let date = matter.date.clone().or_else(|| from_name.as_ref().map(|(date, _)| date.clone()));
        if !self.is_there(date.as_ref(), matter) {
            return;
        }
        let slug = match (&matter.slug, &from_name) {
            (Some(slug), _) => slug.trim(),
            (None, Some((_, rest))) if !config.slugify.paths_keep_dates => rest,
            _ => place.stem,
        };
        let slug = slugs::path_component(slug, config.slugify.paths);
        if slug.is_empty() && matter.path.is_none() && !place.is_front(&name) {
            let wrong =
                Diagnostic::in_file(source.to_string(), "the page's name leaves nothing for its address");
            let wrong = wrong.hint("set `slug` or `path` in its front matter");
            self.wrong(&source, front_matter::point(self.making.sources, wrong, "", &["slug"]));
            return;
        }
        let page = Page {
            lang: self.lang(name.lang),
            path: address(matter, &name, &place, &slug, config).into(),
            slug: slug.into(),
            date,
            ancestors: Arc::from([]),
            section: None,
            lower: None,
            higher: None,
            assets: if place.is_bundle { self.assets_below(name.folder) } else { Box::default() },
            bundle: place.is_bundle,
            made_by: made_by.map(Box::from),
            hidden: matter.hidden.unwrap_or(false),
            source: source.clone(),
            parsed: Arc::clone(&parsed),
        };
        let id = self.library.pages.len() as PageId;
        self.library
            .page_by_path
            .entry(Arc::from(canonical(relative(&source), config).as_ref()))
            .or_insert(id);
        self.library.page_by_path.insert(Arc::from(relative(&source)), id);
        self.library.pages.push(page);
    }

    /// Whether the time of the render lies between the page's date and its end, where it has them; when that is next different is
    /// noted.
    fn is_there(&mut self, date: Option<&Date>, matter: &PageMatter) -> bool {
        let Some(now) = self.making.now else { return true };
        for (moment, is_there_after) in [(date, true), (matter.expiry_date.as_ref(), false)] {
            let Some(moment) = moment else { continue };
            if moment.seconds > now {
                let next = self.library.next_change.get_or_insert(moment.seconds);
                *next = (*next).min(moment.seconds);
            }
            if (moment.seconds > now) == is_there_after && !self.making.drafts {
                return false;
            }
        }
        true
    }

    /// The files of a bundle. Those of a page further below too, which has them for itself as well.
    fn assets_below(&self, folder: &str) -> Box<[Arc<str>]> {
        let own = format!("{CONTENT}{folder}");
        let below = self.others.range(own.as_str()..).take_while(|(path, _)| path.starts_with(&own));
        let mut assets: Vec<_> = below.flat_map(|(_, files)| files.iter().cloned()).collect();
        sort_assets(&mut assets);
        assets.into()
    }
}

/// The language that a file's name ends in, though the site, which has several, does not have it.
fn unknown_language<'a>(name: &Name<'a>, config: &Config) -> Option<&'a str> {
    let (_, code) = name.stem.rsplit_once('.').filter(|_| !config.languages.is_empty())?;
    locales::find(code).map(|_| code)
}

/// Where a page is among the others.
struct Place<'a> {
    /// Whether it is a folder with an `index.md`.
    is_bundle: bool,
    /// The folders that it is in, with a slash at the end, or empty.
    folder: &'a str,
    /// What makes its slug.
    stem: &'a str,
}

impl<'a> Place<'a> {
    fn of(name: &Name<'a>) -> Self {
        let is_bundle = name.stem == "index";
        match name.folder.strip_suffix('/').filter(|_| is_bundle) {
            Some(inner) => {
                let (folder, stem) = inner.split_at(inner.rfind('/').map_or(0, |slash| slash + 1));
                Self { is_bundle, folder, stem }
            }
            None => Self { is_bundle, folder: name.folder, stem: name.stem },
        }
    }

    /// Whether it is in the place of the front page.
    fn is_front(&self, name: &Name<'_>) -> bool {
        self.is_bundle && name.folder.is_empty()
    }
}

/// The path of its URL.
fn address(matter: &PageMatter, name: &Name<'_>, place: &Place<'_>, slug: &str, config: &Config) -> String {
    let inside = match &matter.path {
        // As it is written, in any language.
        Some(own) => own.trim().trim_matches('/').to_owned(),
        None if config.is_default(name.lang) => format!("{}{slug}", place.folder),
        None => format!("{}/{}{slug}", name.lang, place.folder),
    };
    match inside.is_empty() || inside.ends_with('/') {
        true => format!("/{inside}"),
        false => format!("/{inside}/"),
    }
}
