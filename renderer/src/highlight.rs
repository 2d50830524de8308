//! Code blocks coloured when the site is rendered, with arborium's tree-sitter grammars.
//!
//! Owns the three kinds of markup and the style sheets of the class kind. nginx's grammar is not among the built ones: it
//! alone is GPL.

mod grammar;
mod known;
mod tokens;

use std::collections::HashMap;
use std::fmt::Write as _;

use arborium::theme::{Style, Theme, builtin};
use arborium_theme::highlights::HIGHLIGHTS;

use crate::blocks::Blocks;
use crate::config::{DataAttr, HighlightConfig, HighlightStyle};
pub(crate) use known::nearest_language;

pub(crate) use tokens::{HIGHLIGHT_BYTES_MAX, Token};

/// How code is marked up.
#[derive(Debug, Clone)]
pub(crate) struct CodeStyle {
    kind: Kind,
    data_attr: DataAttr,
    /// Whether an unknown language is an error.
    pub(crate) strict: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    /// No colours.
    Plain,
    /// `<a-k>`: what the built-in theme's style sheet colours.
    Elements,
    /// `<span class="z-k">`: what the generated style sheets colour.
    Classes,
    /// `<span style>` in the colours of one theme, or of a light and a dark one.
    Inline(Box<Inline>),
}

#[derive(Debug, Clone)]
struct Inline {
    light: Theme,
    dark: Option<Theme>,
    /// What each tag looks like: found once, since there are many tokens of few tags.
    styles: HashMap<&'static str, String>,
}

impl Inline {
    fn new(light: Theme, dark: Option<Theme>) -> Self {
        let mut styles = HashMap::new();
        for def in HIGHLIGHTS.iter().filter(|def| !def.tag.is_empty()) {
            styles.entry(def.tag).or_insert_with(|| {
                let mut style = String::new();
                inline_style(
                    &mut style,
                    style_of(&light, def.tag),
                    dark.as_ref().map(|t| style_of(t, def.tag)),
                );
                style
            });
        }
        Self { light, dark, styles }
    }
}

/// A style sheet that classes need.
pub(crate) struct Sheet {
    pub(crate) name: &'static str,
    pub(crate) css: String,
}

/// What the words after a fence say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fence {
    pub(crate) language: String,
    line_numbers: bool,
    first_line: usize,
    highlighted: Vec<(usize, usize)>,
    hidden: Vec<(usize, usize)>,
    name: Option<String>,
    copy: bool,
}

impl Fence {
    /// Reads `rust,linenos,hl_lines=1-2 4,name=src/main.rs`.
    pub(crate) fn parse(info: &str) -> Self {
        let mut fence = Self { first_line: 1, ..Self::default() };
        for part in info.split(',') {
            // Words before the sign are for themselves, but for the last, and so are those after ranges that are none.
            let (words, value) =
                part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value.trim())));
            let mut words: Vec<&str> = words.split_whitespace().collect();
            let key = value.and_then(|_| words.pop());
            words.into_iter().for_each(|word| fence.word(word));
            let Some((key, value)) = key.zip(value) else { continue };
            match key {
                // As in Zola, whatever it is set to.
                "linenos" => fence.line_numbers = true,
                "linenostart" => fence.first_line = value.parse().unwrap_or(1),
                "name" => fence.name = Some(value.trim_matches('"').to_owned()),
                "hl_lines" | "hide_lines" => {
                    for word in value.trim_matches('"').split_whitespace() {
                        match lines(word) {
                            Some(range) if key == "hl_lines" => fence.highlighted.push(range),
                            Some(range) => fence.hidden.push(range),
                            None => fence.word(word),
                        }
                    }
                }
                _ => {}
            }
        }
        fence
    }

    /// A word without a value: the first that is no option is the language.
    fn word(&mut self, word: &str) {
        match word {
            "linenos" => self.line_numbers = true,
            "copy" => self.copy = true,
            language if self.language.is_empty() => language.clone_into(&mut self.language),
            _ => {}
        }
    }

    fn by_lines(&self) -> bool {
        self.line_numbers || !self.highlighted.is_empty() || !self.hidden.is_empty()
    }
}

fn lines(range: &str) -> Option<(usize, usize)> {
    match range.split_once('-') {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => {
            let line = range.parse().ok()?;
            Some((line, line))
        }
    }
}

fn within(ranges: &[(usize, usize)], line: usize) -> bool {
    ranges.iter().any(|(from, to)| (*from.min(to)..=*from.max(to)).contains(&line))
}

/// What became of a block.
pub(crate) struct Block {
    pub(crate) html: String,
    /// Whether its language is none that anybody knows.
    pub(crate) unknown: bool,
}

impl CodeStyle {
    /// The style of a configuration; without one, code has colours only where the built-in theme is used.
    pub(crate) fn new(config: Option<&HighlightConfig>, built_in_look: bool) -> Self {
        let Some(config) = config else {
            let kind = if built_in_look { Kind::Elements } else { Kind::Plain };
            return Self { kind, data_attr: DataAttr::Code, strict: false };
        };
        let kind = match config.style {
            HighlightStyle::Class => Kind::Classes,
            HighlightStyle::Inline => {
                let (first, second) = match (&config.theme, &config.light_theme, &config.dark_theme) {
                    (_, Some(light), Some(dark)) => (theme_named(light), Some(theme_named(dark))),
                    (Some(one), _, _) | (None, Some(one), None) | (None, None, Some(one)) => {
                        (theme_named(one), None)
                    }
                    (None, None, None) => (builtin::github_light(), Some(builtin::github_dark())),
                };
                Kind::Inline(Box::new(Inline::new(first, second)))
            }
        };
        Self { kind, data_attr: config.data_attr_position, strict: config.error_on_missing_language }
    }

    /// What of the style is in its output.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.kind {
            Kind::Plain => format!("plain {:?}", self.data_attr),
            Kind::Elements => format!("elements {:?}", self.data_attr),
            Kind::Classes => format!("classes {:?}", self.data_attr),
            Kind::Inline(themes) => {
                format!(
                    "{} {:?} {:?}",
                    themes.light.name,
                    themes.dark.as_ref().map(|t| &t.name),
                    self.data_attr
                )
            }
        }
    }

    /// A block of code as HTML; what is coloured in it may be among the blocks that are known.
    pub(crate) fn block(&self, fence: &Fence, code: &str, known: &Blocks) -> Block {
        let mut html = String::with_capacity(code.len() * 2 + 128);
        let mut unknown = false;
        let mut tokens = None;
        if !matches!(self.kind, Kind::Plain) && is_coloured(&fence.language) {
            tokens = known.tokens(&fence.language, code);
            unknown =
                tokens.is_none() && code.len() <= HIGHLIGHT_BYTES_MAX && !known::is_language(&fence.language);
        }
        self.open(&mut html, fence);
        if matches!(self.kind, Kind::Plain) {
            escape(&mut html, code);
        } else if fence.by_lines() {
            self.write_lines(&mut html, fence, code, tokens.as_deref().unwrap_or_default());
        } else {
            self.write_tokens(&mut html, code, 0, code.len(), tokens.as_deref().unwrap_or_default());
        }
        html.push_str("</code></pre>\n");
        Block { html, unknown }
    }

    fn open(&self, html: &mut String, fence: &Fence) {
        let mut attributes = String::new();
        if !fence.language.is_empty() {
            attributes.push_str(" data-lang=\"");
            escape(&mut attributes, &fence.language);
            attributes.push('"');
        }
        if let Some(name) = &fence.name {
            attributes.push_str(" data-name=\"");
            escape(&mut attributes, name);
            attributes.push('"');
        }
        if fence.copy {
            attributes.push_str(" data-copy");
        }
        html.push_str("<pre");
        match &self.kind {
            Kind::Plain | Kind::Elements => {}
            Kind::Classes => html.push_str(" class=\"giallo z-code\""),
            Kind::Inline(themes) => {
                html.push_str(" class=\"giallo\" style=\"");
                let (one, two) = (&themes.light, themes.dark.as_ref());
                colour(
                    html,
                    "color",
                    one.foreground.map(|c| c.to_hex()),
                    two.and_then(|t| t.foreground).map(|c| c.to_hex()),
                );
                colour(
                    html,
                    "background-color",
                    one.background.map(|c| c.to_hex()),
                    two.and_then(|t| t.background).map(|c| c.to_hex()),
                );
                html.push('"');
            }
        }
        if matches!(self.data_attr, DataAttr::Pre | DataAttr::Both) {
            html.push_str(&attributes);
        }
        html.push_str("><code");
        if matches!(self.data_attr, DataAttr::Code | DataAttr::Both) {
            html.push_str(&attributes);
        }
        html.push('>');
    }

    fn write_lines(&self, html: &mut String, fence: &Fence, code: &str, tokens: &[Token]) {
        let mut start = 0;
        for (i, line) in code.split_inclusive('\n').enumerate() {
            let end = start + line.len();
            let number = i + 1;
            if !within(&fence.hidden, number) {
                let marked = within(&fence.highlighted, number);
                html.push_str(if marked { "<mark class=\"giallo-l\">" } else { "<span class=\"giallo-l\">" });
                if fence.line_numbers {
                    let _ = write!(html, "<span class=\"giallo-ln\">{}</span>", fence.first_line + i);
                }
                let text_end = start + line.trim_end_matches('\n').len();
                self.write_tokens(html, code, start, text_end, tokens);
                html.push_str(if marked { "</mark>" } else { "</span>" });
                html.push_str(&code[text_end..end]);
            }
            start = end;
        }
    }

    fn write_tokens(&self, html: &mut String, code: &str, from: usize, to: usize, tokens: &[Token]) {
        let mut position = from;
        let first = tokens.partition_point(|t| t.end <= from);
        for token in &tokens[first..] {
            if token.start >= to {
                break;
            }
            let (start, end) = (token.start.max(from), token.end.min(to));
            escape(html, &code[position..start]);
            self.write_token(html, token.tag, &code[start..end]);
            position = end;
        }
        escape(html, &code[position..to]);
    }

    fn write_token(&self, html: &mut String, tag: &str, text: &str) {
        match &self.kind {
            Kind::Plain => escape(html, text),
            Kind::Elements => {
                let _ = write!(html, "<a-{tag}>");
                escape(html, text);
                let _ = write!(html, "</a-{tag}>");
            }
            Kind::Classes => {
                let _ = write!(html, "<span class=\"z-{tag}\">");
                escape(html, text);
                html.push_str("</span>");
            }
            Kind::Inline(themes) => match themes.styles.get(tag).filter(|style| !style.is_empty()) {
                Some(style) => {
                    let _ = write!(html, "<span style=\"{style}\">");
                    escape(html, text);
                    html.push_str("</span>");
                }
                None => escape(html, text),
            },
        }
    }

    /// The style sheets that the class kind needs, under the names that themes link to.
    pub(crate) fn sheets(config: Option<&HighlightConfig>) -> Vec<Sheet> {
        let Some(config) = config.filter(|c| c.style == HighlightStyle::Class) else { return Vec::new() };
        match (&config.light_theme, &config.dark_theme) {
            (Some(light), Some(dark)) => vec![
                Sheet { name: "giallo-light.css", css: sheet(&theme_named(light)) },
                Sheet { name: "giallo-dark.css", css: sheet(&theme_named(dark)) },
            ],
            _ => {
                let name = config.theme.as_deref().unwrap_or("github-light");
                vec![Sheet { name: "giallo.css", css: sheet(&theme_named(name)) }]
            }
        }
    }
}

fn is_coloured(language: &str) -> bool {
    !matches!(language, "" | "txt" | "text" | "plain" | "plaintext" | "none")
}

fn colour(out: &mut String, property: &str, light: Option<String>, dark: Option<String>) {
    match (light, dark) {
        (Some(light), Some(dark)) => {
            let _ = write!(out, "{property}: light-dark({light}, {dark});");
        }
        (Some(one), None) | (None, Some(one)) => {
            let _ = write!(out, "{property}: {one};");
        }
        (None, None) => {}
    }
}

fn inline_style(out: &mut String, light: &Style, dark: Option<&Style>) {
    let hex = |style: &Style| style.fg.map(|c| c.to_hex());
    colour(out, "color", hex(light), dark.and_then(hex));
    let bold = light.modifiers.bold || dark.is_some_and(|d| d.modifiers.bold);
    let italic = light.modifiers.italic || dark.is_some_and(|d| d.modifiers.italic);
    if bold {
        out.push_str("font-weight: bold;");
    }
    if italic {
        out.push_str("font-style: italic;");
    }
}

static NO_STYLE: Style = Style::new();

/// The style of a tag, or of the tag it is a kind of.
fn style_of<'t>(theme: &'t Theme, tag: &str) -> &'t Style {
    let find = |tag: &str| {
        HIGHLIGHTS
            .iter()
            .enumerate()
            .filter(|(_, def)| def.tag == tag)
            .filter_map(|(i, _)| theme.style(i))
            .find(|style| !style.is_empty())
    };
    find(tag)
        .or_else(|| {
            let parent = HIGHLIGHTS.iter().find(|def| def.tag == tag)?.parent_tag;
            if parent.is_empty() { None } else { find(parent) }
        })
        .unwrap_or(&NO_STYLE)
}

fn sheet(theme: &Theme) -> String {
    let mut css = String::new();
    let mut base = String::new();
    colour(&mut base, "color", theme.foreground.map(|c| c.to_hex()), None);
    colour(&mut base, "background-color", theme.background.map(|c| c.to_hex()), None);
    let _ = writeln!(css, ".z-code {{ {base} }}");
    let mut seen = Vec::new();
    for def in HIGHLIGHTS {
        if def.tag.is_empty() || seen.contains(&def.tag) {
            continue;
        }
        seen.push(def.tag);
        let mut style = String::new();
        inline_style(&mut style, style_of(theme, def.tag), None);
        if !style.is_empty() {
            let _ = writeln!(css, ".z-{} {{ {style} }}", def.tag);
        }
    }
    css
}

/// The theme of that name, or the nearest that we have.
fn theme_named(name: &str) -> Theme {
    let wanted = slug::slugify(name);
    let all = builtin::all();
    let light = ["light", "latte", "dawn", "day", "white", "lotus", "snazzy-light"]
        .iter()
        .any(|word| wanted.contains(word));
    let mut best = None;
    for theme in all {
        let own = slug::slugify(&theme.name);
        let mut score = strsim::jaro_winkler(&own, &wanted);
        if own == wanted {
            score = 2.0;
        }
        if theme.is_dark == light {
            score -= 0.5;
        }
        if best.as_ref().is_none_or(|(s, _): &(f64, Theme)| score > *s) {
            best = Some((score, theme));
        }
    }
    match best {
        Some((score, theme)) if score > 0.7 => theme,
        _ if light => builtin::github_light(),
        _ => builtin::github_dark(),
    }
}

/// Text made safe in HTML, in attributes too.
pub(crate) fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(i) = rest.find(['&', '<', '>', '"']) {
        out.push_str(&rest[..i]);
        out.push_str(match rest.as_bytes()[i] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            _ => "&quot;",
        });
        rest = &rest[i + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences() {
        let fence = Fence::parse("rust,linenos,hl_lines=1 3-5,name=src/main.rs,linenostart=10");
        assert_eq!(fence.language, "rust");
        assert!(fence.line_numbers);
        assert_eq!(fence.highlighted, [(1, 1), (3, 5)]);
        assert_eq!(fence.name.as_deref(), Some("src/main.rs"));
        assert_eq!(fence.first_line, 10);
        assert_eq!(Fence::parse("linenos").language, "");
        assert!(Fence::parse("rust,linenos=true").line_numbers);
        let fence = Fence::parse("linenos, rust, hide_lines = 2 4-3,name = a file.rs");
        assert_eq!((&*fence.language, fence.line_numbers), ("rust", true));
        assert_eq!((&*fence.hidden, fence.name.as_deref()), (&[(2, 2), (4, 3)][..], Some("a file.rs")));
        assert_eq!(Fence::parse("rust hl_lines=1 3-5 linenos"), Fence::parse("rust,linenos,hl_lines=1 3-5"));
    }

    fn text_of(html: &str) -> String {
        let mut out = String::new();
        let mut inside = false;
        for c in html.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                c if !inside => out.push(c),
                _ => {}
            }
        }
        out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    #[test]
    fn the_text_of_code_is_kept() {
        let code = "fn main() {\n    println!(\"<&> ü\"); // done\n}\n";
        let themes = HighlightConfig {
            light_theme: Some("github-light".into()),
            dark_theme: Some("dracula".into()),
            ..Default::default()
        };
        let classes = HighlightConfig { style: HighlightStyle::Class, ..Default::default() };
        let known = Blocks::new(1 << 20);
        for style in [
            CodeStyle::new(None, true),
            CodeStyle::new(None, false),
            CodeStyle::new(Some(&themes), false),
            CodeStyle::new(Some(&classes), false),
        ] {
            let block = style.block(&Fence::parse("rust"), code, &known);
            assert!(!block.unknown);
            assert_eq!(text_of(&block.html).trim_end_matches('\n'), code.trim_end_matches('\n'));
            let lines = style.block(&Fence::parse("rust,hl_lines=2"), code, &known);
            assert_eq!(text_of(&lines.html).trim_end_matches('\n'), code.trim_end_matches('\n'));
        }
        assert!(
            CodeStyle::new(None, true)
                .block(&Fence::parse("rust"), code, &known)
                .html
                .contains("<a-k>fn</a-k>")
        );
    }

    #[test]
    fn unknown_languages_are_told() {
        let is_unknown = |language| {
            CodeStyle::new(None, true).block(&Fence::parse(language), "x", &Blocks::new(1 << 20)).unknown
        };
        assert!(is_unknown("klingon"));
        assert!(!is_unknown("text"));
    }

    #[test]
    fn themes_are_found_by_name() {
        assert_eq!(theme_named("github-dark").name, "GitHub Dark");
        assert_eq!(theme_named("catppuccin-mocha").name, "Catppuccin Mocha");
        assert!(!theme_named("some-unheard-of-light").is_dark);
    }
}
