//! The functions of templates, under the names that Zola 0.23 gives them, and `asset` and `get_data` of our own.
//!
//! `load_data` alone reaches beyond the sources, and by `remote` alone.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tera::{ArgFromValue, Error, Kwargs, Map, State, Tera, TeraResult, Value};

use crate::data_file;
use crate::diagnostic::{Diagnostic, nearest};
use crate::images::{self, Wish};
use crate::library::{self, CONTENT, Content};
use crate::locales;
use crate::reads::{Node, note};
use crate::remote::{Failure, Request};
use crate::scope::Scope;
use crate::search;
use crate::site::{Pages, Site};
use crate::templates::Fields;
use crate::value::{self, key};

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
    let near = nearest(path, site.library.paths());
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

/// Says that a content is not there; or not in that language.
fn not_in<T>(site: &Site, what: &str, path: &str, lang: &str) -> TeraResult<T> {
    if site.library.content_id(path).is_some() {
        return fail(format!(
            "the {what} `{path}` is not there in `{lang}`: ask for another with `lang`, or with `allow_missing=true`"
        ));
    }
    missing(site, what, path)
}

/// The path below `content/`, however a template names it: translations say theirs with the folder.
fn content_path(kwargs: &Kwargs) -> TeraResult<&str> {
    let path = kwargs.must_get::<&str>("path")?;
    Ok(path.strip_prefix("@/").or_else(|| path.strip_prefix(CONTENT)).unwrap_or(path))
}

fn get_page(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let path = content_path(&kwargs)?;
    let allow_missing = beside::<bool>(&kwargs, "allow_missing")?.unwrap_or(false);
    Scope::with(|scope| {
        let site = &scope.site;
        let lang = lang_of(&kwargs, state, site)?;
        let own = library::counterpart(path, lang, &site.config);
        match site.find_page(&own) {
            Some(id) => Ok(site.page_value(id, scope.fields, scope.absolute)),
            None if allow_missing => Ok(Value::none()),
            None => not_in(site, "page", path, lang),
        }
    })
}

fn get_section(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let path = content_path(&kwargs)?;
    let metadata_only = beside::<bool>(&kwargs, "metadata_only")?.unwrap_or(false);
    let allow_missing = beside::<bool>(&kwargs, "allow_missing")?.unwrap_or(false);
    let first = beside::<usize>(&kwargs, "first")?.filter(|_| !metadata_only);
    Scope::with(|scope| {
        let site = &scope.site;
        let lang = lang_of(&kwargs, state, site)?;
        let own = library::counterpart(path, lang, &site.config);
        match (site.find_section(&own), first) {
            (Some(id), Some(first)) => Ok(site.section_start(id, scope.fields, scope.absolute, first)),
            (Some(id), None) => Ok(site.section_value(id, scope.fields, scope.absolute, metadata_only)),
            (None, _) if allow_missing => Ok(Value::none()),
            (None, _) => not_in(site, "section", path, lang),
        }
    })
}

fn get_url(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
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
                None => return fail(format!("there is no file `{path}` to make a digest of")),
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

fn get_taxonomy(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    Scope::with(|scope| match find_taxonomy(&kwargs, state, &scope.site) {
        Ok(index) => {
            let taxonomy = &scope.site.library.taxonomies[index];
            note(|| {
                let path = taxonomy.path.as_str().into();
                Node::Taxonomy(path, Pages::Counted, Fields::default(), false)
            });
            Ok(scope.site.taxonomy_value(taxonomy, scope.fields, scope.absolute, scope.pages))
        }
        Err(_) if !required => Ok(Value::none()),
        Err(e) => Err(e),
    })
}

fn get_taxonomy_url(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let name = match kwargs.get::<&str>("term")? {
        Some(term) => term,
        None => kwargs.must_get::<&str>("name")?,
    };
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    Scope::with(|scope| {
        let site = &scope.site;
        let index = match find_taxonomy(&kwargs, state, site) {
            Ok(index) => index,
            Err(_) if !required => return Ok(Value::none()),
            Err(e) => return Err(e),
        };
        match site.term_named(index, name) {
            Some(term) => Ok(Value::from(
                site.permalink(&site.library.taxonomies[index].terms[term].path, scope.absolute),
            )),
            None if !required => Ok(Value::none()),
            None => {
                fail(format!("there is no term `{name}` in `{}`", site.library.taxonomies[index].config.name))
            }
        }
    })
}

fn get_taxonomy_term(kwargs: Kwargs, state: &State<'_>) -> TeraResult<Value> {
    let name = kwargs.must_get::<&str>("term")?;
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    let include_pages = kwargs.get::<bool>("include_pages")?.unwrap_or(true);
    Scope::with(|scope| {
        let site = &scope.site;
        let index = match find_taxonomy(&kwargs, state, site) {
            Ok(index) => index,
            Err(_) if !required => return Ok(Value::none()),
            Err(e) => return Err(e),
        };
        match site.term_named(index, name) {
            Some(term) => {
                let term = &site.library.taxonomies[index].terms[term];
                let pages = if include_pages { Pages::All } else { Pages::None };
                Ok(site.term_value(term, scope.fields, scope.absolute, pages))
            }
            None if !required => Ok(Value::none()),
            None => fail(format!("there is no term `{name}`")),
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn get_hash(kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let kind = kwargs.get::<u64>("sha_type")?.unwrap_or(384);
    let base64 = kwargs.get::<bool>("base64")?.unwrap_or(true);
    match (kwargs.get::<&str>("path")?, kwargs.get::<&str>("literal")?) {
        (Some(path), None) => Scope::with(|scope| match sha_of_file(&scope.site, path, kind, base64)? {
            Some(digest) => Ok(digest),
            None => no_file(&scope.site, "file", path),
        }),
        (None, Some(literal)) => sha(literal.as_bytes(), kind, base64),
        _ => fail("`get_hash` needs either `path` or `literal`".to_owned()),
    }
}

fn sha(bytes: &[u8], kind: u64, base64: bool) -> TeraResult<String> {
    let digest = match kind {
        256 => Sha256::digest(bytes).to_vec(),
        384 => Sha384::digest(bytes).to_vec(),
        512 => Sha512::digest(bytes).to_vec(),
        other => return fail(format!("`sha_type` is 256, 384 or 512, not {other}")),
    };
    Ok(if base64 { base64::engine::general_purpose::STANDARD.encode(digest) } else { hex(&digest) })
}

/// The SHA-2 digest of a file, made once: headers ask for the same ones on every page.
fn sha_of_file(site: &Site, path: &str, kind: u64, base64: bool) -> TeraResult<Option<String>> {
    note(|| Node::File(path.into()));
    let Some((_, content)) = site.data_digest(path) else { return Ok(None) };
    let name = (content, format!("sha{kind}, base64 {base64}"));
    if let Some(known) = site.memory.data.get(&name) {
        return Ok(known.as_str().map(str::to_owned));
    }
    let Some(bytes) = site.file_bytes(path) else { return Ok(None) };
    let made = sha(&bytes, kind, base64)?;
    site.memory.data.insert(name, Value::from(made.as_str()), 2 * made.len() + 100);
    Ok(Some(made))
}

fn get_image_metadata(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let path = kwargs.must_get::<&str>("path")?;
    let allow_missing = kwargs.get::<bool>("allow_missing")?.unwrap_or(false);
    Scope::with(|scope| {
        let site = &scope.site;
        let Some(bytes) = site.file_bytes(path) else {
            return if allow_missing { Ok(Value::none()) } else { no_file(site, "image", path) };
        };
        let header = image_header(site, path, &bytes)?;
        let text = |text: &Option<String>| text.as_deref().map_or_else(Value::none, Value::from);
        let mut map = Map::new();
        map.insert(key("width"), Value::from(header.width));
        map.insert(key("height"), Value::from(header.height));
        map.insert(key("format"), Value::from(header.format));
        map.insert(key("mime"), Value::from(crate::mime::of(&format!("x.{}", header.format))));
        map.insert(key("description"), text(&header.description));
        map.insert(key("created"), text(&header.created));
        Ok(value::map(map))
    })
}

fn image_header(site: &Site, path: &str, bytes: &Bytes) -> TeraResult<Arc<images::Header>> {
    let header = site.images.header(blake3::hash(bytes), || Some(bytes.clone()));
    header.ok_or_else(|| Error::message(format!("`{path}` is no image of a known format")))
}

fn no_file<T>(site: &Site, what: &str, path: &str) -> TeraResult<T> {
    let near = nearest(path, site.sources.iter().map(|(known, _)| known));
    fail(format!(
        "there is no {what} `{path}`{}",
        near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    ))
}

fn resize_image(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let path = kwargs.must_get::<&str>("path")?;
    let side = |name: &str| -> TeraResult<Option<u32>> {
        match kwargs.get::<f64>(name)? {
            None => Ok(None),
            Some(n) if n >= 0.0 && n <= f64::from(u32::MAX) => Ok(Some(n.round() as u32)),
            Some(n) => fail(format!("`{name}` is a number of pixels, not {n}")),
        }
    };
    let change = images::Change {
        op: kwargs.get::<&str>("op")?.unwrap_or("fill"),
        width: side("width")?,
        height: side("height")?,
        format: kwargs.get::<&str>("format")?.unwrap_or("auto"),
        quality: kwargs.get::<u8>("quality")?,
        speed: kwargs.get::<u8>("speed")?,
        filter: kwargs.get::<&str>("filter")?,
    };
    Scope::with(|scope| {
        let site = &scope.site;
        let Some((source, bytes)) = site.data_bytes(path) else { return no_file(site, "image", path) };
        let header = image_header(site, path, &bytes)?;
        let (wish, warning) = Wish::new(&source, &header, &change).map_err(Error::message)?;
        if let Some(warning) = warning {
            site.warn(Diagnostic::in_file(source, warning));
        }
        let mut map = Map::new();
        map.insert(key("width"), Value::from(wish.width));
        map.insert(key("height"), Value::from(wish.height));
        map.insert(key("orig_width"), Value::from(header.width));
        map.insert(key("orig_height"), Value::from(header.height));
        let wish = Arc::new(wish);
        note(|| Node::Copy(wish.clone()));
        let made = site.images.add(&wish);
        map.insert(key("url"), Value::from(site.permalink(&format!("/{made}"), scope.absolute)));
        map.insert(key("static_path"), Value::from(format!("static/{made}")));
        Ok(value::map(map))
    })
}

fn load_data(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let required = kwargs.get::<bool>("required")?.unwrap_or(true);
    let format = kwargs.get::<&str>("format")?.map(str::to_ascii_lowercase);
    if let Some(unknown) = format.as_deref().filter(|format| !data_file::FORMATS.contains(format)) {
        let near = nearest(unknown, data_file::FORMATS.iter().copied());
        return fail(format!(
            "there is no format `{unknown}`{}",
            near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
        ));
    }
    let plain = || "plain".to_owned();
    if let Some(literal) = kwargs.get::<&str>("literal")? {
        let format = format.unwrap_or_else(plain);
        return data_file::parse(literal.as_bytes(), &format).map_err(Error::message);
    }
    let (path, url) = (kwargs.get::<&str>("path")?, kwargs.get::<&str>("url")?);
    Scope::with(|scope| {
        let site = &scope.site;
        if url.is_some() {
            note(|| Node::Elsewhere);
        }
        match (path, url) {
            (Some(path), None) => match site.data_bytes(path) {
                Some((source, bytes)) => {
                    let name = source.rsplit('/').next().unwrap_or(&source);
                    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
                    parsed(site, &source, &bytes, format.or(extension).unwrap_or_else(plain))
                }
                None if required => no_file(site, "file", path),
                None => Ok(Value::none()),
            },
            (None, Some(url)) => match site.memory.remote.fetch(&request(&kwargs, url)?) {
                Ok(bytes) => parsed(site, url, &bytes, format.unwrap_or_else(plain)),
                Err(Failure::Missing(_)) if !required => Ok(Value::none()),
                Err(Failure::Missing(problem) | Failure::Wrong(problem)) => fail(problem),
            },
            _ => fail("`load_data` needs either `path`, `url` or `literal`".to_owned()),
        }
    })
}

fn request(kwargs: &Kwargs, url: &str) -> TeraResult<Request> {
    let post = match kwargs.get::<&str>("method")?.unwrap_or("GET").to_ascii_uppercase().as_str() {
        "GET" => false,
        "POST" => true,
        other => return fail(format!("`method` is GET or POST, not {other}")),
    };
    Ok(Request {
        url: url.to_owned(),
        post,
        headers: kwargs.get::<Vec<String>>("headers")?.unwrap_or_default(),
        body: kwargs.get::<String>("body")?,
        content_type: kwargs.get::<String>("content_type")?,
    })
}

/// Data by its format, parsed once.
fn parsed(site: &Site, source: &str, bytes: &[u8], format: String) -> TeraResult<Value> {
    let name = (blake3::hash(bytes), format);
    if let Some(known) = site.memory.data.get(&name) {
        return Ok(known);
    }
    let made = data_file::parse(bytes, &name.1).map_err(|e| Error::message(format!("{source}: {e}")))?;
    site.memory.data.insert(name, made.clone(), bytes.len() * 4 + 200);
    Ok(made)
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
    let zone = kwargs.get::<&str>("timezone")?.unwrap_or("UTC");
    let timestamp = kwargs.get::<bool>("timestamp")?.unwrap_or(false);
    let zone =
        jiff::tz::TimeZone::get(zone).map_err(|_| Error::message(format!("`{zone}` is no time zone")))?;
    Scope::with(|scope| {
        note(|| Node::Day(zone.iana_name().unwrap_or("UTC").into()));
        Ok(if timestamp {
            Value::from(scope.site.now.as_second())
        } else {
            Value::from(scope.site.now.to_zoned_datetime(zone).to_string())
        })
    })
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

impl Site {
    /// The bytes of a file by the path that a template gives: of the site's folder, `static/`, `content/`, or what is
    /// made before pages.
    pub(crate) fn file_bytes(&self, path: &str) -> Option<Bytes> {
        self.data_bytes(path).map(|(_, bytes)| bytes)
    }

    /// The bytes of a file, and its path.
    pub(crate) fn data_bytes(&self, path: &str) -> Option<(String, Bytes)> {
        note(|| Node::File(path.into()));
        let found = self.data_places(path).into_iter().find_map(|source| {
            let bytes = self.sources.get(&source)?.read().ok()?;
            Some((source, bytes))
        });
        found.or_else(|| {
            let plain = path.trim_start_matches('/');
            Some((plain.to_owned(), self.generated.get(plain)?.clone()))
        })
    }

    /// What [`Site::data_bytes`] finds, by its digest.
    pub(crate) fn data_digest(&self, path: &str) -> Option<(String, blake3::Hash)> {
        let found = self.data_places(path).into_iter().find_map(|source| {
            let digest = self.sources.get(&source)?.digest().ok()?;
            Some((source, digest))
        });
        found.or_else(|| {
            let plain = path.trim_start_matches('/');
            Some((plain.to_owned(), blake3::hash(self.generated.get(plain)?)))
        })
    }

    /// Where a file that a template names may lie among the sources.
    fn data_places(&self, path: &str) -> Vec<String> {
        if let Some(inside) = path.strip_prefix("@/") {
            return vec![format!("{CONTENT}{}", inside.trim_start_matches('/'))];
        }
        let plain = path.trim_start_matches('/');
        let mut places = vec![plain.to_owned(), format!("static/{plain}"), format!("{CONTENT}{plain}")];
        places.extend(self.static_source(plain));
        places.extend(self.colocated.get(plain).map(ToString::to_string));
        places
    }

    /// Whether a path is an output that says something of the whole site, and so is made last.
    fn is_site_wide(&self, path: &str) -> bool {
        let config = &self.config;
        config.language_codes().into_iter().any(|lang| {
            let folder = if config.is_default(lang) { String::new() } else { format!("{lang}/") };
            let feed = path.strip_prefix(&folder);
            (config.search_index_for(lang) && path == search::index_name(config.search_for(lang), lang))
                || (config.feeds_for(lang)
                    && feed.is_some_and(|name| config.feed_filenames_for(lang).iter().any(|n| n == name)))
        }) || (config.generate_sitemap && path == "sitemap.xml")
            || (config.generate_robots_txt && path == "robots.txt")
    }

    /// The source file of a content.
    pub(crate) fn source_of(&self, content: Content) -> &Arc<str> {
        match content {
            Content::Page(id) => &self.library.page(id).source,
            Content::Section(id) => &self.library.section(id).source,
        }
    }
}
