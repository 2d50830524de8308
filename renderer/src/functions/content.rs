//! Functions that give pages, sections, terms, and addresses.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tera::{Kwargs, State, TeraResult, Value};

use super::files::{hex, sha_of_file};
use super::{asked_lang, beside, fail, lang_of, missing};
use crate::diagnostic::nearest;
use crate::library::{self, CONTENT};
use crate::reads::{Node, note};
use crate::scope::Scope;
use crate::site::{Pages, Site};
use crate::templates::Fields;

/// Says that a content is not there; or not in that language.
fn not_in<T>(site: &Site, what: &str, path: &str, lang: &str) -> TeraResult<T> {
    if site.library.content_id(path).is_some() {
        return fail(format!(
            "the {what} `{path}` is not there in `{lang}`: ask for another with `lang`, or with `allow_missing=true`"
        ));
    }
    missing(site, what, path)
}

/// The path below `content/`, however a template names it: translations say theirs with the folder, and in the names of
/// files `./a//b.md` is `a/b.md`.
fn content_path(kwargs: &Kwargs) -> TeraResult<Cow<'_, str>> {
    let path = kwargs.must_get::<&str>("path")?;
    let path = path.strip_prefix("@/").or_else(|| path.strip_prefix(CONTENT)).unwrap_or(path);
    let is_nothing = |part: &str| part.is_empty() || part == ".";
    if path.starts_with('/') || !path.split('/').any(is_nothing) {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(path.split('/').filter(|part| !is_nothing(part)).collect::<Vec<_>>().join("/")))
}

pub(super) fn get_page(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let path = content_path(&kwargs)?;
    let allow_missing = beside::<bool>(&kwargs, "allow_missing")?.unwrap_or(false);
    Scope::with(|scope| {
        let site = &scope.site;
        let lang = lang_of(&kwargs, state, site)?;
        let own = library::counterpart(&path, lang, &site.config);
        match site.find_page(&own) {
            Some(id) => Ok(site.page_value(id, scope.fields, scope.absolute)),
            None if allow_missing => Ok(Value::none()),
            None => not_in(site, "page", &path, lang),
        }
    })
}

pub(super) fn get_section(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let path = content_path(&kwargs)?;
    let metadata_only = beside::<bool>(&kwargs, "metadata_only")?.unwrap_or(false);
    let allow_missing = beside::<bool>(&kwargs, "allow_missing")?.unwrap_or(false);
    let first = beside::<usize>(&kwargs, "first")?.filter(|_| !metadata_only);
    Scope::with(|scope| {
        let site = &scope.site;
        let lang = lang_of(&kwargs, state, site)?;
        let own = library::counterpart(&path, lang, &site.config);
        match (site.find_section(&own), first) {
            (Some(id), Some(first)) => Ok(site.section_start(id, scope.fields, scope.absolute, first)),
            (Some(id), None) => Ok(site.section_value(id, scope.fields, scope.absolute, metadata_only)),
            (None, _) if allow_missing => Ok(Value::none()),
            (None, _) => not_in(site, "section", &path, lang),
        }
    })
}

pub(super) fn get_url(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let path = kwargs.must_get::<&str>("path")?;
    let cachebust = beside::<bool>(&kwargs, "cachebust")?.unwrap_or(false);
    let slash = beside::<bool>(&kwargs, "trailing_slash")?.unwrap_or(false);
    Scope::with(|scope| {
        let site = &scope.site;
        if let Some(inside) = path.strip_prefix("@/") {
            let lang = lang_of(&kwargs, state, site)?;
            let (target, anchor) = inside.split_once('#').map_or((inside, None), |(t, a)| (t, Some(a)));
            let own = site.library.in_language(target, lang, &site.config);
            let found = site.resolve(&own, scope.absolute).or_else(|| site.resolve(target, scope.absolute));
            return match (found, anchor) {
                (Some(url), Some(anchor)) => Ok(Value::from(format!("{url}#{anchor}"))),
                (Some(url), None) => Ok(Value::from(url)),
                (None, _) => missing(site, "content", target),
            };
        }
        if path.starts_with("http://") || path.starts_with("https://") {
            return Ok(Value::from(path));
        }
        let lang = asked_lang(&kwargs, site)?.unwrap_or(&site.config.default_language);
        let plain = path.trim_start_matches('/');
        let prefixed =
            if site.config.is_default(lang) || plain == lang || plain.starts_with(&format!("{lang}/")) {
                format!("/{plain}")
            } else {
                format!("/{lang}/{plain}")
            };
        let mut url = site.permalink(prefixed.trim_end_matches('/'), scope.absolute);
        // The front page of a site that links from its root has no other address than this.
        if slash && site.ends_with_slash(plain) || url.is_empty() {
            url.push('/');
        }
        if cachebust {
            let digest = match sha_of_file(site, plain, 256, false)? {
                Some(digest) => digest,
                // Its text is known when all pages are: what it is made by tells one from another.
                None if site.is_site_wide(plain) => {
                    hex(&Sha256::digest(format!("{plain} {:?}", site.config).as_bytes()))
                }
                None => return super::files::no_file(site, "file", path),
            };
            url.push_str("?h=");
            url.push_str(&digest[..20]);
        }
        Ok(Value::from(url))
    })
}

fn find_taxonomy(kwargs: &Kwargs, state: &State<'_>, site: &Arc<Site>) -> TeraResult<usize> {
    let kind = kwargs.must_get::<&str>("kind")?;
    let lang = lang_of(kwargs, state, site)?;
    let position = |is: &dyn Fn(&library::Taxonomy) -> bool| {
        site.library.taxonomies.iter().position(|t| *t.lang == *lang && is(t))
    };
    match position(&|t| t.slug == kind).or_else(|| position(&|t| t.config.name == kind)) {
        Some(index) => Ok(index),
        None => {
            let known =
                site.library.taxonomies.iter().filter(|t| *t.lang == *lang).map(|t| t.config.name.as_str());
            let near = nearest(kind, known);
            fail(format!(
                "there is no taxonomy `{kind}`{}",
                near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
            ))
        }
    }
}

fn no_term<T>(taxonomy: &library::Taxonomy, name: &str) -> TeraResult<T> {
    let near = nearest(name, taxonomy.terms.iter().map(|term| &*term.name));
    fail(format!(
        "there is no term `{name}` in `{}`{}",
        taxonomy.config.name,
        near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    ))
}

/// Nothing in place of an error, where what was looked for is not required.
fn unless_required(required: bool, found: TeraResult<Value>) -> TeraResult<Value> {
    if required { found } else { Ok(found.unwrap_or_else(|_| Value::none())) }
}

pub(super) fn get_taxonomy(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    Scope::with(|scope| {
        let found = find_taxonomy(&kwargs, state, &scope.site).map(|index| {
            let taxonomy = &scope.site.library.taxonomies[index];
            note(|| Node::Taxonomy(taxonomy.id.clone(), Pages::Counted, Fields::default(), false));
            scope.site.taxonomy_value(taxonomy, scope.fields, scope.absolute, scope.pages)
        });
        unless_required(required, found)
    })
}

pub(super) fn get_taxonomy_url(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let name = match kwargs.get::<&str>("term")? {
        Some(term) => term,
        None => kwargs.must_get::<&str>("name")?,
    };
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    Scope::with(|scope| {
        let site = &scope.site;
        let found = find_taxonomy(&kwargs, state, site).and_then(|index| {
            let taxonomy = &site.library.taxonomies[index];
            match site.term_named(index, name) {
                Some(term) => Ok(Value::from(site.permalink(&taxonomy.terms[term].path, scope.absolute))),
                None => no_term(taxonomy, name),
            }
        });
        unless_required(required, found)
    })
}

pub(super) fn get_taxonomy_term(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let name = kwargs.must_get::<&str>("term")?;
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    let include_pages = kwargs.get::<bool>("include_pages")?.unwrap_or(true);
    Scope::with(|scope| {
        let site = &scope.site;
        let found =
            find_taxonomy(&kwargs, state, site).and_then(|index| match site.term_named(index, name) {
                Some(term) => {
                    let term = &site.library.taxonomies[index].terms[term];
                    let pages = if include_pages { Pages::All } else { Pages::None };
                    Ok(site.term_value(term, scope.fields, scope.absolute, pages))
                }
                None => no_term(&site.library.taxonomies[index], name),
            });
        unless_required(required, found)
    })
}
