//! Functions that read files: digests, images, data; and where the files are that templates name.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tera::{Error, Kwargs, Map, State, TeraResult, Value};

use super::fail;
use crate::data_file;
use crate::diagnostic::{Diagnostic, nearest};
use crate::images::{self, Wish};
use crate::library::{CONTENT, Content};
use crate::reads::{Node, note, unnoted};
use crate::remote::{Failure, Request};
use crate::scope::Scope;
use crate::search;
use crate::site::Site;
use crate::value::{self, key};

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub(super) fn get_hash(kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let kind = kwargs.get::<u64>("sha_type")?.unwrap_or(384);
    let base64 = kwargs.get::<bool>("base64")?.unwrap_or(true);
    match (kwargs.get::<&str>("path")?, kwargs.get::<&str>("literal")?) {
        (Some(path), None) => Scope::with(|scope| {
            let site = &scope.site;
            if let Some(digest) = sha_of_file(site, path, kind, base64)? {
                return Ok(digest);
            }
            // Contents are what an index is made of, so they cannot say what it is.
            let lang = search::language_of(&site.config, path.trim_start_matches('/'));
            match lang.filter(|_| !scope.in_content) {
                Some(lang) => sha_of_index(site, lang, kind, base64),
                None => no_file(site, "file", path),
            }
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
pub(super) fn sha_of_file(site: &Site, path: &str, kind: u64, base64: bool) -> TeraResult<Option<String>> {
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

/// The SHA-2 digest of a search index, of its very bytes: a browser that is told one takes no others.
fn sha_of_index(site: &Arc<Site>, lang: &str, kind: u64, base64: bool) -> TeraResult<String> {
    note(|| Node::Config);
    note(|| Node::Search(lang.into()));
    site.index_digest((lang.into(), kind, base64), || {
        let text = unnoted(|| search::alone(site, lang));
        match text {
            Ok(text) => sha(&text, kind, base64),
            Err(_) => fail(format!("the search index for `{lang}` has no digest, since a content is broken")),
        }
    })
}

pub(super) fn get_image_metadata(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
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
        let (width, height) = match header.format {
            "svg" if !site.beyond_zola => images::svg_numbers(&bytes),
            _ => None,
        }
        .unwrap_or((header.width, header.height));
        map.insert(key("width"), Value::from(width));
        map.insert(key("height"), Value::from(height));
        map.insert(key("format"), Value::from(header.format));
        let mime = match header.format {
            // As Zola has it.
            "svg" if !site.beyond_zola => "text/svg+xml",
            format => crate::mime::of(&format!("x.{format}")),
        };
        map.insert(key("mime"), Value::from(mime));
        map.insert(key("description"), text(&header.description));
        map.insert(key("created"), text(&header.created));
        Ok(value::map(map))
    })
}

fn image_header(site: &Site, path: &str, bytes: &Bytes) -> TeraResult<Arc<images::Header>> {
    let header = site.images.header(blake3::hash(bytes), || Some(bytes.clone()));
    header.ok_or_else(|| Error::message(format!("`{path}` is no image of a known format")))
}

/// That there is no such file; what lies in `static/` and `content/` is named without these.
pub(super) fn no_file<T>(site: &Site, what: &str, path: &str) -> TeraResult<T> {
    let bare = path.trim_start_matches('/');
    let below = |folder: &'static str| {
        site.sources.under(folder).filter_map(move |(path, _)| path.strip_prefix(folder))
    };
    let near = nearest(bare, below("static/").chain(below("content/")));
    let near = near.or_else(|| nearest(path, site.sources.iter().map(|(known, _)| known)));
    fail(format!(
        "there is no {what} `{path}`{}",
        near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    ))
}

pub(super) fn resize_image(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let path = kwargs.must_get::<&str>("path")?;
    let side = |name: &str| -> TeraResult<Option<u32>> {
        match kwargs.get::<f64>(name)? {
            None => Ok(None),
            Some(n) if n >= 0.0 && n <= f64::from(u32::MAX) => Ok(Some(n.round() as u32)),
            Some(n) => fail(format!("`{name}` is a number of pixels, not {n}")),
        }
    };
    let mut change = images::Change {
        op: kwargs.get::<&str>("op")?.unwrap_or("fill"),
        width: side("width")?,
        height: side("height")?,
        format: kwargs.get::<&str>("format")?.unwrap_or("auto"),
        quality: kwargs.get::<u8>("quality")?,
        speed: kwargs.get::<u8>("speed")?,
        filter: kwargs.get::<&str>("filter")?,
        asked: None,
    };
    Scope::with(|scope| {
        let site = &scope.site;
        let Some((source, bytes)) = site.data_bytes(path) else { return no_file(site, "image", path) };
        let header = image_header(site, path, &bytes)?;
        change.asked = Some(path).filter(|_| !site.beyond_zola);
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

pub(super) fn load_data(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
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

impl Site {
    /// What is wrong with a data file that a template reads, at its place in there.
    pub(crate) fn at_data(&self, told: Diagnostic) -> Diagnostic {
        // The engine hands on no more of an error than its words.
        let moved = || {
            let (said, place) = told.message.rsplit_once(" at line ")?;
            let (line, column) = place.split_once(" column ")?;
            let mut parts =
                said.match_indices(": ").map(|(at, between)| (&said[..at], &said[at + between.len()..]));
            let (source, message) = parts.find(|(source, _)| self.sources.get(source).is_some())?;
            let (_, text) = self.sources.text(source).ok()?;
            let moved = Diagnostic::in_file(source, message);
            Some(moved.at_line(&text, line.parse().ok()?, column.parse().ok()?))
        };
        let (Some(moved), Some(reader)) = (moved(), &told.path) else { return told };
        let line = told.line.map_or_else(String::new, |line| format!(":{line}"));
        let others = told.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        moved.hint(format!("{reader}{line} reads it{others}"))
    }

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
    pub(super) fn is_site_wide(&self, path: &str) -> bool {
        let config = &self.config;
        config.language_codes().into_iter().any(|lang| {
            let folder = if config.is_default(lang) { String::new() } else { format!("{lang}/") };
            let feed = path.strip_prefix(&folder);
            config.feeds_for(lang)
                && feed.is_some_and(|name| config.feed_filenames_for(lang).iter().any(|n| n == name))
        }) || search::language_of(config, path).is_some()
            || (config.generate_sitemap && path == "sitemap.xml")
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
