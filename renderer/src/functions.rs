//! The functions of templates, under the names that Zola 0.23 gives them, and `asset` and `get_data` of our own.
//!
//! `load_data` alone reaches beyond the sources, and by `remote` alone.

mod content;
mod files;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tera::{ArgFromValue, Error, Kwargs, State, Tera, TeraResult, Value};

use crate::diagnostic::nearest;
use crate::locales;
use crate::reads::{Node, note};
use crate::scope::Scope;
use crate::site::Site;
use crate::value;
use content::{get_page, get_section, get_taxonomy, get_taxonomy_term, get_taxonomy_url, get_url};
use files::{get_hash, get_image_metadata, load_data, resize_image};

/// All names, for hints.
pub(crate) const NAMES: &[&str] = &[
    "range",
    "throw",
    "get_page",
    "get_section",
    "get_url",
    "get_taxonomy",
    "get_taxonomy_url",
    "get_taxonomy_term",
    "get_hash",
    "get_image_metadata",
    "resize_image",
    "load_data",
    "trans",
    "now",
    "get_env",
    "get_random",
    "text_direction",
    "asset",
    "get_data",
];

pub(crate) fn register(tera: &mut Tera) {
    tera.register_function("get_page", get_page);
    tera.register_function("get_section", get_section);
    tera.register_function("get_url", get_url);
    tera.register_function("get_taxonomy", get_taxonomy);
    tera.register_function("get_taxonomy_url", get_taxonomy_url);
    tera.register_function("get_taxonomy_term", get_taxonomy_term);
    tera.register_function("get_hash", get_hash);
    tera.register_function("get_image_metadata", get_image_metadata);
    tera.register_function("resize_image", resize_image);
    tera.register_function("load_data", load_data);
    tera.register_function("trans", trans);
    tera.register_function("now", now);
    tera.register_function("get_env", get_env);
    tera.register_function("get_random", get_random);
    tera.register_function("text_direction", text_direction);
    tera.register_function("asset", asset);
    tera.register_function("get_data", get_data);
}

fn fail<T>(message: String) -> TeraResult<T> {
    Err(Error::message(message))
}

/// An argument that is seldom given beside the one that must be: templates call these functions for each section on each
/// page, and a look-up takes as long as the rest of a call.
fn beside<'a, T: ArgFromValue<'a, Output = T>>(kwargs: &'a Kwargs, name: &'a str) -> TeraResult<Option<T>> {
    if kwargs.iter().nth(1).is_none() { Ok(None) } else { kwargs.get(name) }
}

/// The language that is asked for beside what must be, if any is.
fn asked_lang<'a>(kwargs: &'a Kwargs, site: &Site) -> TeraResult<Option<&'a str>> {
    let Some(lang) = beside::<&Value>(kwargs, "lang")?.and_then(Value::as_str) else { return Ok(None) };
    if site.config.has_language(lang) {
        return Ok(Some(lang));
    }
    let near = nearest(lang, site.config.language_codes());
    fail(format!(
        "the site has no language `{lang}`{}",
        near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    ))
}

fn missing<T>(site: &Site, what: &str, path: &str) -> TeraResult<T> {
    // A section is named by its file.
    let file = format!("{}/_index.md", path.trim_matches('/'));
    let near = site.library.paths().find(|known| *known == file);
    let near = near.or_else(|| nearest(path, site.library.paths()));
    fail(format!(
        "there is no {what} `{path}`{}",
        near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    ))
}

/// The language that is asked for, or else the one of what is rendered. A component knows that one only where it is given
/// `lang`.
fn lang_of<'a>(kwargs: &'a Kwargs, state: &'a State<'_>, site: &'a Site) -> TeraResult<&'a str> {
    if let Some(lang) = asked_lang(kwargs, site)? {
        return Ok(lang);
    }
    // Looking for a variable takes as long as all else here, and most sites have one language.
    let around =
        if site.config.languages.is_empty() { None } else { state.get::<Value>("lang").ok().flatten() };
    let around = around.as_ref().and_then(Value::as_str);
    let known = around.and_then(|lang| site.config.languages.get_key_value(lang));
    Ok(known.map_or(&site.config.default_language, |(lang, _)| lang))
}

fn trans(kwargs: Kwargs, state: &State<'_>) -> TeraResult<String> {
    let name = kwargs.must_get::<&str>("key")?;
    Scope::with(|scope| {
        let site = &scope.site;
        let lang = lang_of(&kwargs, state, site)?;
        match site.config.translation(name, lang) {
            Some(text) => Ok(text.to_owned()),
            None => {
                let near = nearest(name, site.config.translation_keys(lang));
                fail(format!(
                    "there is no translation of `{name}` in `{lang}`{}",
                    near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
                ))
            }
        }
    })
}

/// The render's recorded time, never the machine's.
fn now(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let asked = kwargs.get::<&str>("timezone")?;
    let timestamp = kwargs.get::<bool>("timestamp")?.unwrap_or(false);
    let name = asked.unwrap_or("UTC");
    let zone = zone_named(name)?;
    Scope::with(|scope| {
        note(|| Node::Day(name.into()));
        let now = scope.site.now;
        Ok(match asked {
            _ if timestamp => Value::from(now.as_second()),
            Some(_) => Value::from(now.to_zoned_datetime(zone).to_string()),
            // As RFC 3339 has it: feeds and scripts take no name of a zone.
            None => Value::from(now.to_string()),
        })
    })
}

pub(crate) fn zone_named(name: &str) -> TeraResult<TimeZone> {
    TimeZone::get(name).map_err(|_| Error::message(format!("`{name}` is no time zone")))
}

/// Notes that the day of `when` is looked at in a time zone, if it is the render's time: there the day may begin at another hour
/// than where that was asked for.
pub(crate) fn note_day(when: Timestamp, zone: &str) {
    // In seconds, as `now(timestamp=true)` has it. Another date that happens to be the same costs a look once a day.
    let is_now = |scope: &Scope| Ok(when.as_second() == scope.site.now.as_second());
    if Scope::with(is_now).unwrap_or(false) {
        note(|| Node::Day(zone.into()));
    }
}

fn get_env(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let name = kwargs.must_get::<&str>("name")?;
    note(|| Node::Environment(name.into()));
    match (std::env::var(name), kwargs.get::<&Value>("default")?) {
        (Ok(found), _) => Ok(Value::from(found)),
        (Err(_), Some(default)) => Ok(default.clone()),
        (Err(_), None) => fail(format!("the environment has no variable `{name}`")),
    }
}

/// A number below `below` that depends on the seed, or on the page and how often it asked.
pub(crate) fn random_index(seed: Option<&str>, salt: u64, below: usize) -> usize {
    let mut hasher = blake3::Hasher::new();
    match seed {
        Some(seed) => {
            hasher.update(seed.as_bytes());
        }
        None => {
            let own = Scope::with(|scope| Ok((scope.name.clone(), scope.next_call())));
            if let Ok((name, call)) = own {
                hasher.update(name.as_bytes());
                hasher.update(&call.to_le_bytes());
            }
        }
    }
    hasher.update(&salt.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) % (below.max(1) as u64)) as usize
}

fn get_random(kwargs: Kwargs, _: &State<'_>) -> TeraResult<i64> {
    let start = kwargs.get::<i64>("start")?.unwrap_or(0);
    let end = kwargs.must_get::<i64>("end")?;
    let Some(width) = end.checked_sub(start).filter(|w| *w > 0) else {
        return fail(format!("`start` ({start}) is not less than `end` ({end})"));
    };
    let seed = kwargs.get::<String>("seed")?;
    Ok(start + random_index(seed.as_deref(), 0, usize::try_from(width).unwrap_or(usize::MAX)) as i64)
}

fn text_direction(kwargs: Kwargs, state: &State<'_>) -> TeraResult<&'static str> {
    const RIGHT_TO_LEFT: &[&str] =
        &["ar", "arc", "ckb", "dv", "fa", "he", "ks", "ku", "nqo", "ps", "sd", "syr", "ug", "ur", "yi"];
    Scope::with(|scope| {
        let lang = match kwargs.get::<&str>("lang")? {
            Some(lang) => lang.to_owned(),
            None => lang_of(&kwargs, state, &scope.site)?.to_owned(),
        };
        let code = locales::language(&lang).to_ascii_lowercase();
        Ok(if RIGHT_TO_LEFT.contains(&code.as_str()) { "rtl" } else { "ltr" })
    })
}

/// The address of one of the built-in theme's files; a static file of that name takes its place.
fn asset(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let path = kwargs.must_get::<&str>("path")?.trim_start_matches('/');
    Scope::with(|scope| {
        let site = &scope.site;
        note(|| Node::Assets);
        if site.static_source(path).is_some() {
            return Ok(Value::from(site.permalink(&format!("/{path}"), scope.absolute)));
        }
        match site.assets.get(path) {
            Some(hashed) => Ok(Value::from(site.permalink(&format!("/{hashed}"), scope.absolute))),
            None => {
                let near = nearest(path, site.assets.keys().map(String::as_str));
                fail(format!(
                    "there is no asset `{path}`{}",
                    near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
                ))
            }
        }
    })
}

fn get_data(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let name = kwargs.must_get::<&str>("name")?;
    note(|| Node::DataOf(name.into()));
    Scope::with(|scope| match value::field(&scope.site.data, name) {
        Some(found) => Ok(found.clone()),
        None => {
            let known: Vec<String> = scope
                .site
                .data
                .as_map()
                .map(|m| m.keys().map(ToString::to_string).collect())
                .unwrap_or_default();
            let near = nearest(name, known.iter().map(String::as_str));
            fail(format!(
                "there is no source `{name}`{}",
                near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
            ))
        }
    })
}
