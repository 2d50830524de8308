//! Schemas of `[extra]`: what an author or a theme says of the data that pages and sections carry.
//!
//! A schema lies below `schemas/` where the content lies below `content/`: `schemas/blog/page.json` is for the pages of
//! `content/blog/` and its subfolders, `schemas/blog/section.json` for the sections there; the nearest one alone counts.
//! A theme's stand behind the site's. Owns which schema is whose, and the words for what is wrong; the rules are JSON
//! Schema's. Nothing is fetched: a `$ref` leads to a file of the same folders.

mod broken;
mod faults;
mod locate;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

use blake3::Hash;
use boon::{Compiler, SchemaIndex, UrlLoader};
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::front_matter::{Format, Place};
use crate::library::CONTENT;
use crate::sources::Sources;
use broken::broken;
pub(crate) use faults::Step;
use locate::offset_of;

/// The folder of a site's or a theme's schemas.
const FOLDER: &str = "schemas/";
/// The largest schema, in bytes: a schema of all of JSON Schema has 60 KiB.
const SCHEMA_BYTES_MAX: u64 = 256 << 10;
/// How many schema files a site may have with its theme: all are read whenever one changes.
const SCHEMAS_MAX: usize = 1_000;
/// Messages for one content: what is wrong with a list is wrong with each of its members.
const MESSAGES_MAX: usize = 20;
/// What the addresses of schemas begin with. No server answers to it, and relative references resolve within the site.
const SCHEME: &str = "bake:///";

/// What a schema is for, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Page,
    Section,
}

impl Of {
    fn file(self) -> &'static str {
        match self {
            Self::Page => "page.json",
            Self::Section => "section.json",
        }
    }
}

/// All schemas of a site.
#[derive(Default)]
pub(crate) struct Schemas {
    /// By path of the file, the site's first.
    indexes: BTreeMap<String, SchemaIndex>,
    /// `themes/NAME/` of the theme.
    theme: Option<String>,
    compiled: boon::Schemas,
    documents: BTreeMap<String, Value>,
}

/// The folders of schemas, the site's first.
fn folders(theme: Option<&str>) -> impl Iterator<Item = String> {
    let theme = theme.filter(|name| !name.is_empty()).map(|name| format!("themes/{name}/{FOLDER}"));
    [FOLDER.to_owned()].into_iter().chain(theme)
}

fn files<'a>(
    sources: &'a Sources,
    folder: &'a str,
) -> impl Iterator<Item = (&'a str, &'a crate::SourceFile)> {
    sources.under(folder).filter(|(path, _)| path.ends_with(".json"))
}

/// What decides how contents are looked at; none where a site has no schema.
///
/// # Errors
/// Files that cannot be read, and too many of them.
pub(crate) fn digest(sources: &Sources, theme: Option<&str>) -> Result<Option<Hash>, Diagnostic> {
    let mut hasher = blake3::Hasher::new();
    let mut number = 0;
    for folder in folders(theme) {
        for (path, file) in files(sources, &folder) {
            number += 1;
            let digest = file.digest().map_err(|e| Diagnostic::unreadable(path, &e))?;
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(digest.as_bytes());
        }
    }
    if number > SCHEMAS_MAX {
        return Err(Diagnostic::new(format!("the site has {number} schemas, the limit is {SCHEMAS_MAX}")));
    }
    Ok((number > 0).then(|| hasher.finalize()))
}

/// Says what a reference cannot have.
struct Closed;

impl UrlLoader for Closed {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        Err(match url.strip_prefix(SCHEME) {
            Some(path) => format!("there is no schema `{}`", decoded(path)).into(),
            None => format!("`{url}` is not fetched").into(),
        })
    }
}

fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The address of a file, as the compiler knows it.
fn address(path: &str) -> String {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    format!("{SCHEME}{}", percent_encoding::utf8_percent_encode(path, SET))
}

/// The file and the place in it that an address of the compiler names.
fn named(url: &str) -> (String, &str) {
    let (path, pointer) = url.split_once('#').unwrap_or((url, ""));
    (decoded(path.strip_prefix(SCHEME).unwrap_or(path)), pointer)
}

impl Schemas {
    /// Reads the schemas of a site and its theme.
    ///
    /// # Errors
    /// Each file that is no schema, with its place where that is known.
    pub(crate) fn read(sources: &Sources, theme: Option<&str>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut documents = BTreeMap::new();
        for folder in folders(theme) {
            for (path, file) in files(sources, &folder) {
                match document(path, file) {
                    Ok(document) => drop(documents.insert(path.to_owned(), document)),
                    Err(diagnostic) => errors.push(diagnostic),
                }
            }
        }
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(Closed));
        compiler.enable_format_assertions();
        let mut compiled = boon::Schemas::new();
        let mut indexes = BTreeMap::new();
        for (path, document) in &documents {
            if let Err(e) = compiler.add_resource(&address(path), document.clone()) {
                errors.push(broken(sources, path, &e));
            }
        }
        // Others are there to be referred to.
        let own = |path: &&String| path.ends_with("/page.json") || path.ends_with("/section.json");
        for path in documents.keys().filter(own) {
            match compiler.compile(&address(path), &mut compiled) {
                Ok(index) => drop(indexes.insert(path.clone(), index)),
                // One that leads to a schema which is no JSON is told there.
                Err(boon::CompileError::LoadUrlError { url, .. })
                    if sources.get(&named(&url).0).is_some() => {}
                Err(e) => errors.push(broken(sources, path, &e)),
            }
        }
        errors.into_result()?;
        let theme = theme.filter(|name| !name.is_empty()).map(|name| format!("themes/{name}/"));
        Ok(Self { indexes, theme, compiled, documents })
    }

    /// The site's own schemas that are for a folder of content which is not there.
    pub(crate) fn idle(&self, sources: &Sources) -> Vec<Diagnostic> {
        let mut idle = Vec::new();
        for path in self.indexes.keys().filter(|path| path.starts_with(FOLDER)) {
            let folder = path[FOLDER.len()..].rsplit_once('/').map_or("", |(folder, _)| folder);
            let content = format!("{CONTENT}{folder}/");
            if folder.is_empty() || sources.under(&content).next().is_some() {
                continue;
            }
            let known: BTreeSet<&str> = sources
                .under(CONTENT)
                .filter_map(|(path, _)| Some(path[CONTENT.len()..].rsplit_once('/')?.0))
                .flat_map(|folder| folder.match_indices('/').map(|(i, _)| &folder[..i]).chain([folder]))
                .collect();
            let near = nearest(folder, known).map(|near| format!("did you mean `{FOLDER}{near}/`?"));
            let message = format!("the schema is for `{content}`, which is not there");
            idle.push(Diagnostic::in_file(path.as_str(), message).maybe_hint(near));
        }
        idle
    }

    /// The nearest schema for a content.
    fn of(&self, of: Of, source: &str) -> Option<SchemaIndex> {
        let inside = source.strip_prefix(CONTENT).unwrap_or(source);
        let mut folder = &inside[..inside.rfind('/').map_or(0, |i| i + 1)];
        loop {
            let path = format!("{FOLDER}{folder}{}", of.file());
            let themes = || self.theme.as_ref().and_then(|theme| self.indexes.get(&format!("{theme}{path}")));
            if let Some(index) = self.indexes.get(&path).or_else(themes) {
                return Some(*index);
            }
            let above = folder.strip_suffix('/')?;
            folder = &above[..above.rfind('/').map_or(0, |i| i + 1)];
        }
    }

    /// What is wrong with the `[extra]` of a content.
    pub(crate) fn check(
        &self,
        of: Of,
        place: &Place<'_>,
        format: Format,
        extra: Option<&tera::Value>,
    ) -> Vec<Diagnostic> {
        if self.indexes.is_empty() {
            return Vec::new();
        }
        let Some(index) = self.of(of, place.path) else { return Vec::new() };
        let extra = match extra {
            None => Value::Object(serde_json::Map::new()),
            // Another kind than a table is refused anyway.
            Some(extra) if extra.as_map().is_none() && !extra.is_none() => return Vec::new(),
            Some(extra) => match serde_json::to_value(extra) {
                Ok(Value::Null) => Value::Object(serde_json::Map::new()),
                Ok(value) => value,
                Err(_) => return Vec::new(),
            },
        };
        let Err(error) = self.compiled.validate(&extra, index) else { return Vec::new() };
        let mut faults = Vec::new();
        self.collect(&error, &extra, &mut faults);
        // The compiler keeps what it knows in tables without an order.
        faults.sort();
        faults.dedup();
        faults.truncate(MESSAGES_MAX);
        let told = faults.into_iter().map(|fault| {
            let diagnostic = Diagnostic::in_file(place.path, fault.message).maybe_hint(fault.hint);
            match offset_of(place.matter, format, &fault.at) {
                _ if place.text.is_empty() => diagnostic,
                Some(offset) => diagnostic.at(place.text, place.offset + offset),
                None => diagnostic.at(place.text, place.offset),
            }
        });
        told.collect()
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.indexes.keys()).finish()
    }
}

fn document(path: &str, file: &crate::SourceFile) -> Result<Value, Diagnostic> {
    if file.bytes_len() > SCHEMA_BYTES_MAX {
        let message = format!("the schema has {} bytes, the limit is {SCHEMA_BYTES_MAX}", file.bytes_len());
        return Err(Diagnostic::in_file(path, message));
    }
    let bytes = file.read().map_err(|e| Diagnostic::unreadable(path, &e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let text = String::from_utf8_lossy(&bytes);
        let message = e.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Diagnostic::in_file(path, format!("the schema is no JSON: {message}")).at_line(
            &text,
            e.line(),
            e.column(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn schemas(files: &[(&str, &str)]) -> Result<Schemas, Errors> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned())));
        Schemas::read(&Sources::from_files(files), Some("t"))
    }

    /// What is said of a page in `content/blog/` with that `[extra]`.
    fn said(schema: &str, extra: &str) -> Vec<String> {
        let schemas = schemas(&[("schemas/page.json", schema)]).unwrap();
        let text = format!("+++\ntitle = \"T\"\n[extra]\n{extra}\n+++\n");
        let matter = &text[4..text.len() - 4];
        let place = Place { path: "content/blog/a.md", text: &text, matter, offset: 4 };
        let values = crate::front_matter::values(&place, Format::Toml).unwrap();
        let found = schemas.check(Of::Page, &place, Format::Toml, values.get(&crate::value::key("extra")));
        let told = |d: Diagnostic| {
            let hint = d.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{}:{} {}{hint}", d.line.unwrap(), d.column.unwrap(), d.message)
        };
        found.into_iter().map(told).collect()
    }

    #[test]
    fn faults_have_place_path_and_the_right_name() {
        let schema = r##"{
            "properties": {
                "layout": { "enum": ["wide", "narrow"] },
                "rating": { "type": "integer", "minimum": 1, "maximum": 5 },
                "hero": { "$ref": "#/$defs/picture" },
                "day": { "type": "string", "format": "date" },
                "links": { "type": "array", "items": { "$ref": "#/$defs/link" } },
                "colour": { "anyOf": [{ "type": "string" }, { "type": "array" }] }
            },
            "required": ["rating"],
            "additionalProperties": false,
            "$defs": {
                "picture": {
                    "type": "object", "properties": { "src": { "type": "string" } }, "required": ["src"]
                },
                "link": { "oneOf": [
                    { "type": "string" },
                    { "type": "object", "properties": { "to": { "type": "string" } }, "additionalProperties": false }
                ] }
            }
        }"##;
        insta::assert_snapshot!(
            said(schema, "rating = 7\nlayuot = \"wide\"\nhero.scr = \"a.jpg\"\nday = 2026-01-09\ncolour = 3").join("\n"),
            @r"
            8:1 `extra.colour` is none of what schemas/page.json allows (one of: a list, a text)
            6:1 `extra.hero` has no `src`, and schemas/page.json requires it
            5:1 `extra.layuot` is unknown to schemas/page.json (did you mean `layout`?)
            4:1 `extra.rating` is not at most 5, as schemas/page.json wants it
            "
        );
        insta::assert_snapshot!(
            said(schema, "ratings = 4\nlayout = \"wid\"\nday = \"tomorrow\"\n[[extra.links]]\nto = \"a\"\n[[extra.links]]\ntoo = 1").join("\n"),
            @r#"
            3:2 `extra` has no `rating`, and schemas/page.json requires it (did you mean it by `ratings`?)
            6:1 `extra.day` is not a date such as 2026-01-31, as schemas/page.json wants it
            5:1 `extra.layout` is "wid", which schemas/page.json does not know (did you mean "wide"?)
            10:1 `extra.links[1].too` is unknown to schemas/page.json (did you mean `to`?)
            4:1 `extra.ratings` is unknown to schemas/page.json (did you mean `rating`?)
            "#
        );
        assert_eq!(said(schema, "rating = 4\nlinks = [\"a\", { to = \"b\" }]\ncolour = \"red\""), [""; 0]);
        assert_eq!(said("{}", "x = 1"), [""; 0]);
        insta::assert_snapshot!(said("{ \"$ref\": \"#\" }", "x = 1").join("\n"), @"3:2 `extra` cannot be held to schemas/page.json: a `$ref` there leads back to itself (let it lead to what says something)");
    }

    #[test]
    fn the_nearest_schema_counts_and_a_themes_stands_behind() {
        let files = ["schemas/page.json", "schemas/blog/old/page.json", "schemas/docs/section.json"];
        let themes = ["themes/t/schemas/blog/page.json", "themes/t/schemas/page.json"];
        let all: Vec<_> = files.iter().chain(&themes).map(|path| (*path, "{}")).collect();
        let schemas = schemas(&all).unwrap();
        let of = |of, source| {
            let found = schemas.of(of, source);
            schemas.indexes.iter().find(|(_, index)| Some(**index) == found).map(|(path, _)| path.as_str())
        };
        assert_eq!(of(Of::Page, "content/a.md"), Some(files[0]));
        assert_eq!(of(Of::Page, "content/docs/deep/a/index.md"), Some(files[0]));
        assert_eq!(of(Of::Page, "content/blog/a.md"), Some(themes[0]));
        assert_eq!(of(Of::Page, "content/blog/old/2020/a.md"), Some(files[1]));
        assert_eq!(of(Of::Section, "content/docs/_index.md"), Some(files[2]));
        assert_eq!(of(Of::Section, "content/_index.md"), None);
    }

    #[test]
    fn what_is_no_schema_is_named() {
        let broken = |text: &str| {
            let errors =
                schemas(&[("schemas/blog/page.json", text), ("schemas/common.json", "{}")]).unwrap_err();
            let d = &errors.list()[0];
            format!("{}:{} {}", d.path.as_deref().unwrap(), d.line.unwrap_or(0), d.message)
        };
        insta::assert_snapshot!(broken("{\n  \"type\": \"object\",\n}"), @"schemas/blog/page.json:3 the schema is no JSON: trailing comma");
        insta::assert_snapshot!(broken("{ \"type\": \"text\" }"), @"schemas/blog/page.json:1 `/type` is not what a schema may have there: value must be one of 'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'");
        insta::assert_snapshot!(broken("[]"), @"schemas/blog/page.json:0 the file is no schema: want boolean or object, but got array");
        insta::assert_snapshot!(broken("{ \"$ref\": \"https://x.example/a.json\" }"), @"schemas/blog/page.json:1 a `$ref` leads nowhere: `https://x.example/a.json` is not fetched");
        insta::assert_snapshot!(broken("{ \"$ref\": \"file:///etc/passwd\" }"), @"schemas/blog/page.json:1 a `$ref` leads nowhere: `file:///etc/passwd` is not fetched");
        insta::assert_snapshot!(broken("{ \"$ref\": \"comon.json\" }"), @"schemas/blog/page.json:1 a `$ref` leads nowhere: there is no schema `schemas/blog/comon.json`");
        insta::assert_snapshot!(broken("{ \"$ref\": \"../common.json#/$defs/a\" }"), @"schemas/blog/page.json:1 a `$ref` leads nowhere: `schemas/common.json#/$defs/a`");
        insta::assert_snapshot!(broken("{ \"pattern\": \"(?=a)\" }"), @r#"schemas/blog/page.json:1 `/pattern` is no pattern that can be used: "(?=a)""#);
        insta::assert_snapshot!(broken("{ \"$schema\": \"https://x.example/draft\" }"), @"schemas/blog/page.json:1 a `$ref` leads nowhere: `https://x.example/draft` is not fetched");
        assert!(
            schemas(&[
                ("schemas/blog/page.json", "{ \"$ref\": \"../common.json\" }"),
                ("schemas/common.json", "{}")
            ])
            .is_ok()
        );
        assert!(broken(&format!("\"{}\"", "x".repeat(300_000))).contains("the limit is"));
    }
}
