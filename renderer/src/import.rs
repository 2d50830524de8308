//! Sites that were made for other programs, as sites of here.
//!
//! A pure function of the files: what becomes of each, and what a person must still look at. Where files go is for
//! others to say.

mod config;
mod content;
mod expression;
mod hugo;
mod macros;
mod names;
mod shortcode;
mod template;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;

use crate::config::CONFIG_NAMES;
use crate::diagnostic::{Diagnostic, Errors, line_and_column};
use crate::front_matter;
use crate::sources::Sources;
use crate::templates::pieces::{Piece, pieces};

/// A converted site.
#[derive(Debug, Default)]
pub struct Imported {
    /// Its files, by path.
    pub files: BTreeMap<String, Bytes>,
    /// What was not converted, or not surely.
    pub notes: Vec<Note>,
}

/// What a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The file, by its old path.
    pub path: String,
    /// Its line, from 1, where one is meant.
    pub line: Option<usize>,
    /// What about it.
    pub text: String,
}

impl Note {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), line: None, text: text.to_owned() }
    }

    /// A note on the line of a byte of a file.
    fn at(path: &str, file: &str, offset: usize, text: &str) -> Self {
        Self { line: Some(line_and_column(file, offset).0), ..Self::new(path, text) }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.text),
            None => write!(f, "{}: {}", self.path, self.text),
        }
    }
}

impl Imported {
    fn note(&mut self, path: &str, text: &str) {
        self.notes.push(Note::new(path, text));
    }

    /// The text of a file; one that is none is copied.
    fn text<'b>(&mut self, path: &str, bytes: &'b Bytes) -> Option<&'b str> {
        let text = std::str::from_utf8(bytes).ok();
        if text.is_none() {
            self.note(path, "it is not valid UTF-8 and was copied as it is");
            self.files.insert(path.to_owned(), bytes.clone());
        }
        text
    }
}

/// Converts a site for Hugo: configuration, front matter, text, the layout of content. Templates are not. Pages with dates
/// after `now` are to come.
///
/// # Errors
/// Where this is no site for Hugo, and settings that cannot be read.
pub fn hugo(sources: &Sources, now: Timestamp) -> Result<Imported, Errors> {
    hugo::convert(sources, now)
}

/// Converts a site, or a theme, for Zola 0.22 and older: configuration, macros, shortcodes, content.
///
/// # Errors
/// Files that cannot be read, and a configuration that is no TOML.
pub fn zola(sources: &Sources) -> Result<Imported, Errors> {
    let mut made = Imported::default();
    let names = names(sources)?;
    let mut shortcodes = content::Shortcodes::new();
    for (path, file) in sources.iter().filter(|(path, _)| !is_content(path)) {
        let bytes = file.read().map_err(|e| unreadable(path, &e))?;
        let is_config = CONFIG_NAMES.contains(&path);
        let in_templates = template_name(path);
        if !is_config && in_templates.is_none() {
            made.files.insert(path.to_owned(), bytes);
            continue;
        }
        let Some(text) = made.text(path, &bytes) else { continue };
        if is_config {
            configuration(path, text, &mut made)?;
        } else if let Some(inside) = in_templates {
            convert_template(path, text, inside, &names, &mut shortcodes, &mut made);
        }
    }
    for (name, takes, text) in shortcode::BROUGHT {
        if names.called.contains(name) && !shortcodes.contains_key(name) {
            let path = format!("templates/{}", shortcode::component_file(name, &names));
            let takes = takes.iter().map(|name| (*name).to_owned()).collect();
            shortcodes.insert(name.to_owned(), content::Shortcode { takes, is_block: true });
            made.note(
                &path,
                "older versions of Zola brought this shortcode along: it is a file of the site now",
            );
            made.files.insert(path, Bytes::from(text));
        }
    }
    let call = format!("<{} ", expression::DATE_PATTERN);
    let has_call = |bytes: &Bytes| bytes.windows(call.len()).any(|part| part == call.as_bytes());
    if made.files.iter().any(|(path, bytes)| template_name(path).is_some() && has_call(bytes)) {
        let path = format!("templates/{}", shortcode::component_file("date_pattern.html", &names));
        made.files.insert(path, Bytes::from(expression::date_pattern_template()));
    }
    for (path, file) in sources.iter().filter(|(path, _)| is_content(path)) {
        let bytes = file.read().map_err(|e| unreadable(path, &e))?;
        if let Some(text) = made.text(path, &bytes) {
            convert_content(path, text, &shortcodes, &mut made)?;
        }
    }
    Ok(made)
}

fn convert_content(
    path: &str,
    text: &str,
    shortcodes: &content::Shortcodes,
    made: &mut Imported,
) -> Result<(), Errors> {
    let body = front_matter::split(path, text)?.body;
    let (converted, unknown) = content::convert(&text[body..], shortcodes);
    made.notes.extend(unknown.into_iter().map(|(name, at)| {
        let said = format!("no template defines the shortcode `{name}`: it is shown as it is written");
        Note::at(path, text, body + at, &said)
    }));
    let is_section = path.rsplit('/').next().is_some_and(|name| name.starts_with("_index."));
    let head = if is_section { section_head(&text[..body]) } else { text[..body].to_owned() };
    made.files.insert(path.to_owned(), Bytes::from(head + &converted));
    Ok(())
}

fn unreadable(path: &str, e: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::in_file(path, format!("the file cannot be read: {e}"))
}

fn configuration(path: &str, text: &str, made: &mut Imported) -> Result<(), Errors> {
    let table: toml::Table = toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        Diagnostic::in_file(path, e.message().to_owned()).at(text, at)
    })?;
    let (new, notes) = config::convert(table.clone(), text);
    made.notes.extend(notes.iter().map(|(at, note)| Note::at(path, text, *at, note)));
    let written = if new == table {
        text.to_owned()
    } else {
        made.note(path, "it was written anew: its comments are gone");
        toml::to_string(&new).map_err(|e| unreadable(path, &e))?
    };
    let path = if path == "config.toml" { "zola.toml" } else { path };
    made.files.insert(path.to_owned(), Bytes::from(written));
    Ok(())
}

/// Converts a template, of which the folder of templates and its name in there are given.
fn convert_template(
    path: &str,
    text: &str,
    (folder, template): (&str, &str),
    names: &names::Names,
    shortcodes: &mut content::Shortcodes,
    made: &mut Imported,
) {
    let (new_path, converted) = match template.strip_prefix("shortcodes/") {
        Some(file) if file.ends_with(".html") || file.ends_with(".md") => {
            let (_, name) = shortcode::name_of(file);
            let new_path = format!("{folder}{}", shortcode::component_file(file, names));
            if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                made.note(path, &format!("no content can call a shortcode `{name}`: it is left out"));
                return;
            }
            if made.files.contains_key(&new_path) {
                made.note(path, &format!("another file is the shortcode `{name}`: this one is left out"));
                return;
            }
            let (converted, known) = shortcode::shortcode(file, text, names);
            // That of the site comes before that of its theme.
            shortcodes.entry(name.to_owned()).or_insert(known);
            (new_path, converted)
        }
        _ => (path.to_owned(), template::convert(template, text, names)),
    };
    made.notes.extend(converted.notes.iter().map(|(part, note)| match text.find(part.as_str()) {
        Some(at) => Note::at(path, text, at, note),
        None => Note::new(path, note),
    }));
    for name in &converted.empty {
        made.files.insert(format!("{folder}{name}"), Bytes::new());
    }
    made.files.insert(new_path, Bytes::from(converted.text));
}

/// The front matter of a section with the keys of today.
fn section_head(text: &str) -> String {
    let renamed = |line: &str| match line.strip_prefix("generate_feed") {
        Some(rest) if rest.trim_start().starts_with(['=', ':']) => format!("generate_feeds{rest}"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(renamed).collect()
}

/// The languages of a site that has several.
fn languages(sources: &Sources) -> Option<names::Languages> {
    let file = CONFIG_NAMES.iter().find_map(|name| sources.get(name))?;
    let config: toml::Table = toml::from_str(std::str::from_utf8(&file.read().ok()?).ok()?).ok()?;
    let codes: Vec<&str> = match config.get("languages")? {
        toml::Value::Table(languages) => languages.keys().map(String::as_str).collect(),
        languages => languages.as_array()?.iter().filter_map(|one| one.get("code")?.as_str()).collect(),
    };
    let own = config.get("default_language").and_then(toml::Value::as_str).unwrap_or("en");
    let others = codes.iter().filter(|code| **code != own).map(|code| (*code).to_owned()).collect();
    (!codes.is_empty()).then(|| names::Languages { own: own.to_owned(), others })
}

fn is_content(path: &str) -> bool {
    path.starts_with("content/") && path.ends_with(".md")
}

/// The folder of templates that holds a file, with a slash at its end, and the template's name.
fn template_name(path: &str) -> Option<(&str, &str)> {
    if let Some(name) = path.strip_prefix("templates/") {
        return Some(("templates/", name));
    }
    let theme = path.strip_prefix("themes/")?;
    let inside = theme.find('/')? + 1;
    let name = theme[inside..].strip_prefix("templates/")?;
    Some((&path[..path.len() - name.len()], name))
}

/// A name space for each file that defines macros: components are known everywhere, macros were not. And what
/// templates import these as.
fn names(sources: &Sources) -> Result<names::Names, Errors> {
    let mut spaces = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let mut files = BTreeSet::new();
    let mut frames: BTreeMap<String, names::Frame> = BTreeMap::new();
    let mut includes: BTreeMap<String, names::Reads> = BTreeMap::new();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut given = names::Given::default();
    let mut called = BTreeSet::new();
    let mut takes = BTreeMap::new();
    let mut with_body = BTreeSet::new();
    // What macros read without being given it, by file; and which files each shortcode imports.
    let mut unseen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut of_shortcodes: Vec<(String, String)> = Vec::new();
    for (path, file) in sources.iter() {
        let template = template_name(path);
        if template.is_none() && !is_content(path) {
            continue;
        }
        let bytes = file.read().map_err(|e| unreadable(path, &e))?;
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, name)) = template else {
            for (name, arguments) in content::calls(&text) {
                given.add(&name, &arguments);
                called.insert(name);
            }
            continue;
        };
        files.insert(name.to_owned());
        let pieces = pieces(&text);
        frames.entry(name.to_owned()).or_default().read(&pieces);
        // A template of the site may extend that of the theme which has its own name.
        if let Some(of_theme) = path.strip_prefix("themes/") {
            frames.entry(of_theme.to_owned()).or_default().read(&pieces);
        }
        let tags = || {
            pieces.iter().filter_map(|piece| match piece {
                Piece::Tag(tag, ..) => Some(tag.trim()),
                _ => None,
            })
        };
        for piece in &pieces {
            if let Piece::Tag(inside, ..) | Piece::Print(inside, ..) = piece {
                let tokens = expression::read(inside);
                expression::calls(&tokens).for_each(|call| given.add(&call.name, &call.arguments));
            }
        }
        includes.entry(name.to_owned()).or_default().read(&pieces);
        let shortcode = name.strip_prefix("shortcodes/").map(shortcode::name_of);
        for (file, alias) in tags().filter_map(template::import_of) {
            if let Some((_, shortcode)) = shortcode {
                of_shortcodes.push((shortcode.to_owned(), file.clone()));
            }
            imports.entry(alias).or_default().insert(file);
        }
        unseen.entry(name.to_owned()).or_default().extend(macros::read_unseen(&pieces));
        let defines = tags().any(|tag| tag.starts_with("macro "));
        if !defines || spaces.contains_key(name) {
            continue;
        }
        let stem = name.rsplit('/').next().unwrap_or(name).split('.').next().unwrap_or(name);
        let word = |text: &str| -> String {
            let plain: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
            if plain.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                plain
            } else {
                format!("_{plain}")
            }
        };
        let mut space = word(stem);
        if !taken.insert(space.clone()) {
            space = word(name.rsplit_once('.').map_or(name, |(whole, _)| whole));
            taken.insert(space.clone());
        }
        for (rest, inside) in macros::macros(&pieces) {
            let (macro_name, parameters) = macros::head_of_macro(rest);
            let parameters = parameters.iter().map(macros::parameter).collect();
            let component = macros::in_space(&space, macro_name);
            if macros::reads_body(rest, inside) {
                with_body.insert(component.clone());
            }
            takes.insert(component, parameters);
        }
        spaces.insert(name.to_owned(), space);
    }
    let mut lent: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (shortcode, file) in of_shortcodes {
        let read = unseen.get(&file).into_iter().flatten();
        let read = read.filter(|variable| given.has(&shortcode, variable)).cloned();
        lent.entry(file).or_default().extend(read);
    }
    // A name that stands for two files says nothing where it was not imported.
    let aliases = imports.into_iter().filter(|(_, files)| files.len() == 1).filter_map(|(alias, files)| {
        let space = spaces.get(files.first()?)?;
        Some((alias, space.clone()))
    });
    Ok(names::Names {
        aliases: aliases.collect(),
        spaces,
        files,
        frames,
        given,
        called,
        takes,
        with_body,
        lent,
        shown_in_content: names::shown_in_content(&includes),
        includes,
        languages: languages(sources),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(files: &[(&str, &'static str)]) -> Imported {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from(*text)));
        zola(&Sources::from_files(files)).unwrap()
    }

    fn text(made: &Imported, path: &str) -> String {
        std::str::from_utf8(&made.files[path]).unwrap().to_owned()
    }

    #[test]
    fn a_site_and_its_theme_are_one() {
        let made = imported(&[
            ("config.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\n[languages.de]\n"),
            ("themes/t/templates/index.html", "{% import \"own.html\" as m %}{% block a %}{% endblock %}"),
            ("themes/t/templates/own.html", "{% macro home(n=\"\") %}{{ n }}{% endmacro %}"),
            (
                "templates/index.html",
                "{% extends \"t/templates/index.html\" %}{% import \"t/templates/own.html\" as m %}{% block a %}{{ m::home(n=page.x) }}\n{{ get_url(path=\"@/a.md\") }}\n{% endblock %}\n{% block lost %}{% endblock %}",
            ),
            ("templates/shortcodes/fig.html", "<b>{{ nth }}</b>"),
            ("content/a.md", "+++\n+++\n{{ fig() }}{{ fig() }}"),
        ]);
        assert_eq!(
            text(&made, "templates/index.html"),
            "{% extends \"t/templates/index.html\" %}{% block a %}{{ <own.home n={page.x} /> }}\n{{ get_url(path=\"@/a.md\", lang=\"en\") }}\n{% endblock %}\n"
        );
        assert_eq!(
            text(&made, "themes/t/templates/own.html"),
            "{% component own.home(n=none) %}{% set n = \"\" if n is none else n %}{{ n }}{% endcomponent own.home %}"
        );
        assert_eq!(text(&made, "content/a.md"), "+++\n+++\n{{<fig nth={1} />}}{{<fig nth={2} />}}");
        let lost = made.notes.iter().find(|note| note.text.contains("the block `lost`"));
        assert_eq!(lost.and_then(|note| note.line), Some(4), "{:?}", made.notes);
    }

    #[test]
    fn what_shortcodes_include_is_escaped_as_they_are() {
        let made = imported(&[
            ("templates/shortcodes/card.html", "<p>{% include \"parts/card.html\" %}</p>"),
            ("templates/shortcodes/plain.md", "{% include \"parts/plain.html\" %}"),
            (
                "templates/parts/card.html",
                "{% import \"m.html\" as m %}<b>{{ title }}</b>{{ m::name(n=title) }}",
            ),
            ("templates/parts/plain.html", "{{ title }}"),
            ("templates/m.html", "{% macro name(n) %}<i>{{ n }}</i>{% endmacro %}"),
            ("content/a.md", "+++\n+++\n{{ card(title=\"a\") }}"),
        ]);
        assert_eq!(
            text(&made, "templates/parts/card.html"),
            "<b>{{ title | str | escape }}</b>{{ <m.name n={title} /> | trim | safe }}"
        );
        assert_eq!(
            text(&made, "templates/m.html"),
            "{% component m.name(n) %}<i>{{ n | str | escape }}</i>{% endcomponent m.name %}"
        );
        assert_eq!(text(&made, "templates/parts/plain.html"), "{{ title }}");
    }

    #[test]
    fn shortcodes_that_zola_brought_along_are_files_of_the_site() {
        let made = imported(&[
            ("templates/shortcodes/vimeo.html", "<i>{{ id }}</i>"),
            ("content/a.md", "+++\n+++\n{{ youtube(id=\"x\") }}\n{{ vimeo(id=1) }}\n{{ gone() }}"),
        ]);
        assert_eq!(
            text(&made, "content/a.md"),
            "+++\n+++\n{{<youtube id=\"x\" />}}\n{{<vimeo id={1} />}}\n{% raw %}{{ gone() }}{% endraw %}"
        );
        assert!(text(&made, "templates/components/youtube.html").contains("youtube-nocookie.com/embed/"));
        assert!(text(&made, "templates/components/vimeo.html").contains("<i>"));
        assert!(!made.files.contains_key("templates/components/gist.html"));
        let notes: Vec<String> = made.notes.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(notes.join("\n"), @"
        templates/components/youtube.html: older versions of Zola brought this shortcode along: it is a file of the site now
        content/a.md:5: no template defines the shortcode `gone`: it is shown as it is written
        ");
    }

    #[test]
    fn a_component_takes_no_file_or_name_from_another() {
        let made = imported(&[
            ("templates/shortcodes/my-note.html", "<b>{{ a }}</b>"),
            ("templates/shortcodes/two.html", "<i>{{ a }}</i>"),
            ("templates/shortcodes/two.md", "*{{ a }}*"),
            ("templates/shortcodes/head.html", "<u>{{ a }}</u>"),
            ("templates/components/head.html", "{{ page.title }}"),
            ("templates/shortcodes/README.txt", "{{ a }}"),
        ]);
        assert_eq!(
            made.files.keys().collect::<Vec<_>>(),
            [
                "templates/components/head.html",
                "templates/components/shortcodes/head.html",
                "templates/components/two.html",
                "templates/shortcodes/README.txt",
            ]
        );
        assert_eq!(text(&made, "templates/components/head.html"), "{{ page.title }}");
        let notes: Vec<String> = made.notes.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(notes.join("\n"), @"
        templates/shortcodes/my-note.html: no content can call a shortcode `my-note`: it is left out
        templates/shortcodes/two.md: another file is the shortcode `two`: this one is left out
        ");
    }

    #[test]
    fn what_a_macro_or_a_shortcode_does_not_read_is_not_given() {
        let made = imported(&[
            ("templates/m.html", "{% macro one(a, b=1) %}{{ a }}{{ lang }}{% endmacro %}"),
            ("templates/page.html", "{% import \"m.html\" as m %}{{ m::one(a=2, c=3, lang=lang) }}"),
            ("templates/shortcodes/fig.html", "<b>{{ src }}</b>{{ body }}"),
            ("content/a.md", "+++\n+++\n{{ fig(src=1, alt=2) }}{% fig(src=3, x=5) %}y{% end %}"),
        ]);
        assert_eq!(text(&made, "templates/page.html"), "{{ <m.one a={2} /> }}");
        assert_eq!(
            text(&made, "content/a.md"),
            "+++\n+++\n{{<fig src={1} />}}{% <fig src={3}> -%}y{%- </fig> %}"
        );
        assert_eq!(made.notes, []);
    }
}
