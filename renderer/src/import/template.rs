//! Templates of Tera 1 as templates of Tera 2: macros become components.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{self, Call, Token};
use super::macros::{
    BODY, SEEN, end_of_macro, head_of_macro, in_space, is_only_asked_for_fields, parameter, seen,
};
use super::names::{Frame, Names};
use super::shortcode;
use crate::templates::pieces::{Piece, pieces};

#[cfg(test)]
mod tests;

/// A component call.
pub(super) fn call(name: &str, arguments: &[(Option<String>, Vec<Token>)], close: &str) -> String {
    let mut out = format!("<{name}");
    for (key, value) in arguments {
        let text = expression::convert_value(value.clone());
        match (key, value.as_slice()) {
            (None, _) => out.push_str(&format!(" {text}")),
            (Some(key), [Token::Text(quoted)]) if quoted.starts_with('"') => {
                out.push_str(&format!(" {key}={text}"));
            }
            (Some(key), _) => out.push_str(&format!(" {key}={{{text}}}")),
        }
    }
    out.push_str(close);
    out
}

/// A converted template, and what a person should look at.
pub(super) struct Converted {
    pub(super) text: String,
    /// Each with the part of the template that it is about.
    pub(super) notes: Vec<(String, String)>,
    /// Templates that it may include and that do not exist: now they must, if only as empty ones.
    pub(super) empty: Vec<String>,
}

pub(super) struct Converter<'a> {
    names: &'a Names,
    /// The name space of macros that this file defines.
    own: &'a str,
    /// What its macros see of the shortcodes that import it.
    lent: BTreeSet<String>,
    /// Imported name → name space.
    imports: BTreeMap<String, String>,
    pub(super) out: String,
    notes: Vec<(String, String)>,
    empty: Vec<String>,
    /// Parameters that are `none` where they are not given.
    pub(super) parameters: BTreeSet<String>,
    /// Variables that have been set to what a component gives.
    components: BTreeSet<String>,
    /// The blocks that are open, and the macro: their ends need not name them, or not rightly.
    blocks: Vec<String>,
    pub(super) macro_name: String,
    /// Whether it is shown in content, which escapes nothing, and so escapes itself what a shortcode escaped.
    pub(super) escapes: bool,
    /// Whether its lines, or those within it, are what they are for browsers too.
    pub(super) is_preformatted: bool,
    /// Whether it is a shortcode, which may have a body.
    pub(super) is_shortcode: bool,
}

/// What has another name now.
const OLD_FIELDS: [(&str, &str); 7] = [
    ("page.later", "page.lower"),
    ("page.lighter", "page.lower"),
    ("page.earlier", "page.higher"),
    ("page.heavier", "page.higher"),
    ("config.markdown.highlight_code", "config.markdown.highlighting"),
    ("config.markdown.highlight_theme", "config.markdown.highlighting.theme"),
    ("config.generate_rss", "config.generate_feeds"),
];

/// An empty line in a body, such as one in a block of code, would end the block of HTML around it in markdown: it is
/// written so that it is none there, and is one for browsers.
const EMPTY_LINES: &str = r#" | str | regex_replace(pattern="\n([ \t]*)\n", rep="\n$1&#10;") | safe"#;

impl<'a> Converter<'a> {
    pub(super) fn new(names: &'a Names, own: &'a str) -> Self {
        Self {
            names,
            own,
            lent: BTreeSet::new(),
            imports: BTreeMap::new(),
            out: String::new(),
            notes: Vec::new(),
            empty: Vec::new(),
            parameters: BTreeSet::new(),
            components: BTreeSet::new(),
            blocks: Vec::new(),
            macro_name: String::new(),
            escapes: false,
            is_preformatted: false,
            is_shortcode: false,
        }
    }

    pub(super) fn converted(self) -> Converted {
        Converted { text: self.out, notes: self.notes, empty: self.empty }
    }
}

/// Converts a template that is no shortcode.
pub(super) fn convert(name: &str, text: &str, names: &Names) -> Converted {
    let own = names.spaces.get(name).map_or("", String::as_str);
    let mut converter = Converter::new(names, own);
    converter.escapes = names.shown_in_content.contains(name);
    converter.is_preformatted = shortcode::is_lined(text);
    converter.lent.extend(names.lent.get(name).into_iter().flatten().cloned());
    converter.run(text);
    if converter.escapes {
        converter.out = shortcode::tighten(&converter.out);
        converter.out.push_str(if text.ends_with('\n') { "\n" } else { "" });
    }
    converter.converted()
}

impl Converter<'_> {
    pub(super) fn run(&mut self, text: &str) {
        let mut all = pieces(text);
        self.leave_out_what_was_never_shown(&mut all);
        self.name_old_fields(&all);
        for piece in &all {
            if let Piece::Tag(tag, ..) = piece {
                let tokens = expression::read(tag.trim());
                if let Some((file, alias)) = import(&tokens) {
                    let space = self.names.spaces.get(&file).cloned().unwrap_or_else(|| alias.clone());
                    self.imports.insert(alias, space);
                }
            }
        }
        let mut skip_newline = false;
        for (i, piece) in all.iter().enumerate() {
            match *piece {
                Piece::Text(text) => {
                    let text = if skip_newline { text.strip_prefix('\n').unwrap_or(text) } else { text };
                    self.out.push_str(text);
                }
                Piece::Comment(text) | Piece::Open(text) => self.out.push_str(text),
                Piece::Print(inside, left, right) => self.print(inside, left, right),
                Piece::Tag(inside, left, right) => {
                    skip_newline = import(&expression::read(inside.trim())).is_some();
                    if !skip_newline {
                        self.tag(inside, left, right, &all[i + 1..]);
                    }
                    continue;
                }
            }
            skip_newline = false;
        }
    }

    /// Of a template that extends another, Tera 1 passed over blocks that no parent has, and over what stands outside of
    /// blocks; now both are errors.
    fn leave_out_what_was_never_shown(&mut self, all: &mut Vec<Piece<'_>>) {
        let mut frame = Frame::default();
        frame.read(all);
        if frame.parent.is_none() {
            return;
        }
        let (mut depth, mut lost, mut in_macro, mut loose) = (0_usize, false, false, None);
        all.retain(|piece| {
            let Piece::Tag(tag, ..) = piece else {
                let is_blank = match piece {
                    Piece::Text(text) => text.trim().is_empty(),
                    piece => matches!(piece, Piece::Comment(_)),
                };
                if depth == 0 && !in_macro && !is_blank {
                    loose.get_or_insert(piece.inside());
                }
                return !lost && (depth > 0 || in_macro || is_blank);
            };
            let (word, name) = tag.trim().split_once(char::is_whitespace).unwrap_or((tag.trim(), ""));
            match word {
                "block" => {
                    if depth == 0 && self.names.is_lost(&frame, name.trim()) {
                        let said = "which nothing above has, was never shown and is left out";
                        self.note(tag, format!("the block `{}`, {said}", name.trim()));
                        lost = true;
                    }
                    depth += 1;
                    !lost
                }
                "endblock" => {
                    depth = depth.saturating_sub(1);
                    let is_kept = !lost;
                    lost &= depth > 0;
                    is_kept
                }
                "macro" | "endmacro" => {
                    in_macro = word == "macro";
                    !lost
                }
                "extends" | "import" => !lost,
                _ => {
                    if depth == 0 && !in_macro {
                        loose.get_or_insert(*tag);
                    }
                    !lost && (depth > 0 || in_macro)
                }
            }
        });
        if let Some(first) = loose {
            self.note(
                first.trim(),
                "what stands outside of its blocks was never shown and is left out".to_owned(),
            );
        }
    }

    /// Names what templates of now see under another name, or not at all: neighbours of pages, which versions of long ago
    /// had, and how code was coloured.
    fn name_old_fields(&mut self, pieces: &[Piece<'_>]) {
        for (old, new) in OLD_FIELDS {
            let is_code = |piece: &&Piece<'_>| matches!(piece, Piece::Tag(..) | Piece::Print(..));
            if let Some(piece) = pieces.iter().filter(is_code).find(|piece| piece.inside().contains(old)) {
                self.note(piece.inside(), format!("there is no `{old}` any more: it is `{new}` now"));
            }
        }
    }

    fn note(&mut self, part: &str, text: String) {
        self.notes.push((part.to_owned(), text));
    }

    fn put(&mut self, open: &str, left: bool, inside: &str, right: bool, close: &str) {
        self.out.push_str(open);
        if left {
            self.out.push('-');
        }
        self.out.push_str(inside);
        if right {
            self.out.push('-');
        }
        self.out.push_str(close);
    }

    /// The component that stands for a macro.
    fn component(&self, call: &Call) -> String {
        let space = match call.space.as_str() {
            "self" => self.own.to_owned(),
            alias => {
                let known = self.imports.get(alias).or_else(|| self.names.aliases.get(alias));
                known.cloned().unwrap_or_else(|| alias.to_owned())
            }
        };
        in_space(&space, &call.name)
    }

    /// An expression with components in place of macros, and with other questions for what was not given.
    fn read(&self, tokens: &[Token]) -> Vec<Token> {
        let made = |found: Call| {
            let component = self.component(&found);
            let takes = self.names.takes.get(&component);
            let given = found.arguments.iter().filter(|(name, _)| match (name, takes) {
                (Some(name), Some(takes)) => takes.contains(name),
                _ => true,
            });
            let given = given.map(|(name, value)| (name.clone(), self.read(value)));
            call(&component, &given.collect::<Vec<_>>(), " />")
        };
        let mut tokens = expression::replace_calls(tokens, &made);
        if let Some(languages) = &self.names.languages {
            expression::ask_for_language(&mut tokens, languages);
        }
        expression::ask_for_none(&tokens, &self.parameters)
    }

    fn expression(&self, text: &str, lenient: bool) -> String {
        expression::convert(self.read(&expression::read(text)), lenient)
    }

    fn print(&mut self, inside: &str, left: bool, right: bool) {
        let mut tokens = self.read(&expression::read(inside));
        if expression::ends_safe(&tokens) {
            expression::keep_unsafe(&mut tokens, &self.components);
        }
        let is_body =
            tokens.iter().find(|token| !matches!(token, Token::Space(_))).is_some_and(|t| t.is(BODY));
        if let Some(made) = expression::component(&tokens) {
            if let Some(whole) = self.with_body(made) {
                self.out.push_str(&whole);
                return;
            }
            // Lines that a macro begins and ends with would end a block of HTML in markdown.
            if self.escapes {
                tokens.retain(|token| !matches!(token, Token::Space(_)));
                tokens.extend(expression::read(" | trim | safe"));
            }
        }
        let escaping =
            if self.escapes && expression::is_escaped(&tokens) { self.escaping(&tokens) } else { "" };
        let is_joined = !escaping.is_empty() && expression::has_outside(&tokens, &["~"]);
        let mut made = expression::convert_shown(tokens);
        if is_joined {
            made = format!("({})", made.trim());
        }
        if !escaping.is_empty() {
            made = format!(" {}{escaping} ", made.trim());
        }
        if is_body && self.escapes && !self.is_preformatted {
            let whole = made.trim();
            made = format!(" {}{EMPTY_LINES} ", whole.strip_suffix("| safe").unwrap_or(whole).trim_end());
        }
        let spaced = if made.starts_with(char::is_whitespace) { made } else { format!(" {made} ") };
        self.put("{{", left, &spaced, right, "}}");
    }

    /// The component of a macro that reads the body of the shortcode that calls it, with this body.
    fn with_body(&self, made: &str) -> Option<String> {
        let called = made.strip_prefix('<')?.strip_suffix(" />")?;
        let name = called.split(' ').next()?;
        let own = in_space(self.own, &self.macro_name);
        let has_body = self.is_shortcode || self.names.with_body.contains(&own);
        (has_body && self.names.with_body.contains(name))
            .then(|| format!("{{% <{called}> %}}{{{{ {BODY} | safe }}}}{{% </{name}> %}}"))
    }

    /// The filters that escape what an expression shows, and show what is no text as well.
    fn escaping(&self, tokens: &[Token]) -> &'static str {
        let mut solid = tokens.iter().filter(|token| !matches!(token, Token::Space(_)));
        let is_text = match (solid.next(), solid.next()) {
            (Some(Token::Word(name)), None) => self.names.given.is_text(&self.macro_name, name),
            _ => None,
        };
        match is_text {
            Some(true) => " | escape",
            Some(false) => "",
            None => " | str | escape",
        }
    }

    fn tag(&mut self, inside: &str, left: bool, right: bool, after: &[Piece<'_>]) {
        let trimmed = inside.trim();
        let word = trimmed.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or("");
        let rest = trimmed[word.len()..].trim();
        let made = match word {
            "macro" => return self.open_macro(rest, left, right, after),
            "endmacro" => {
                self.parameters.clear();
                format!("endcomponent {}", in_space(self.own, &self.macro_name))
            }
            "block" => {
                self.blocks.push(rest.to_owned());
                trimmed.to_owned()
            }
            "endblock" => match self.blocks.pop() {
                Some(name) if !rest.is_empty() => format!("endblock {name}"),
                _ => trimmed.to_owned(),
            },
            "if" | "elif" => format!("{word} {}", self.expression(rest, true)),
            "filter" => {
                // What a filter made of a part of a template was not escaped again.
                let made = self.expression(&format!("x | {rest}"), false);
                format!("filter {} | safe", made.strip_prefix("x | ").unwrap_or(rest))
            }
            "set" | "set_global" => {
                let (variable, value) = rest.split_once('=').unwrap_or((rest, ""));
                format!("{word} {} = {}", variable.trim(), self.set(variable.trim(), value.trim()))
            }
            "for" => match rest.split_once(" in ") {
                Some((variables, list)) => {
                    format!("for {} in {}", variables.trim(), self.expression(list.trim(), false))
                }
                None => trimmed.to_owned(),
            },
            "include" if rest.starts_with('[') || rest.contains("ignore missing") => self.include(rest),
            _ => trimmed.to_owned(),
        };
        self.put("{%", left, &format!(" {made} "), right, "%}");
    }

    /// An include of several templates, or of one that may be missing: the first that there is. Where there is none,
    /// an empty one is made, which a site may write over as before.
    fn include(&mut self, rest: &str) -> String {
        let names: Vec<String> = expression::read(rest)
            .into_iter()
            .filter_map(|token| match token {
                Token::Text(name) => Some(name.trim_matches(['"', '\'', '`']).to_owned()),
                _ => None,
            })
            .collect();
        let found = names.iter().find(|name| self.names.files.contains(*name)).or_else(|| names.first());
        let Some(found) = found else {
            self.note(rest, format!("`include {rest}` names no template"));
            return format!("include {rest}");
        };
        if !self.names.files.contains(found) {
            self.empty.push(found.clone());
        }
        format!("include \"{found}\"")
    }

    /// What a variable is set to.
    fn set(&mut self, variable: &str, value: &str) -> String {
        let mut tokens = self.read(&expression::read(value));
        let known = if expression::ends_safe(&tokens) { &self.components } else { &BTreeSet::new() };
        expression::keep_unsafe(&mut tokens, known);
        if expression::is_component(&tokens) {
            self.components.insert(variable.to_owned());
        } else {
            self.components.remove(variable);
        }
        expression::convert_set(tokens)
    }

    /// A macro's first tag. A parameter's default says which values it takes now: where others are given, or may be, it is
    /// set within.
    fn open_macro(&mut self, rest: &str, left: bool, right: bool, after: &[Piece<'_>]) {
        let (name, parameters) = head_of_macro(rest);
        let body = &after[..end_of_macro(after)];
        let (mut heads, mut within) = (Vec::new(), Vec::new());
        let own: BTreeSet<String> = parameters.iter().map(parameter).collect();
        for (parameter, value) in parameters {
            let mut default = expression::convert(value.clone(), false);
            // A field of a text was one that is missing, and is an error now.
            if matches!(value.as_slice(), [Token::Text(text)] if text.len() == 2)
                && parameter.as_ref().is_some_and(|parameter| is_only_asked_for_fields(body, parameter))
            {
                default = "{}".to_owned();
            }
            match parameter {
                None => heads.push(default),
                Some(parameter) if self.names.given.is_like(name, &parameter, &value) => {
                    heads.push(format!("{parameter}={default}"));
                }
                Some(parameter) => {
                    heads.push(format!("{parameter}=none"));
                    within.push(format!(
                        " set {parameter} = {default} if {parameter} is none else {parameter} "
                    ));
                }
            }
        }
        self.macro_name = name.to_owned();
        let (mut seen, unknown) = seen(rest, body);
        let included = self.names.read_by_includes(body).into_iter();
        seen.extend(included.filter(|name| SEEN.contains(&name.as_str()) && !own.contains(name)));
        let (lent, unknown): (Vec<_>, Vec<_>) =
            unknown.into_iter().partition(|(name, _)| self.lent.contains(name));
        seen.extend(lent.into_iter().map(|(name, _)| name));
        let unknown: Vec<String> = unknown
            .into_iter()
            .filter(|(name, is_optional)| !is_optional && name != BODY)
            .map(|(name, _)| name)
            .collect();
        if !unknown.is_empty() {
            let unknown = unknown.join("`, `");
            self.note(
                rest,
                format!("the macro `{name}` reads `{unknown}`, which it is not given: what calls it must"),
            );
        }
        self.parameters = seen;
        heads.extend(self.parameters.iter().map(|name| format!("@{name} = none")));
        let head = format!(" component {}({}) ", in_space(self.own, name), heads.join(", "));
        self.put("{%", left, &head, right && within.is_empty(), "%}");
        for (i, set) in within.iter().enumerate() {
            self.put("{%", false, set, right && i + 1 == within.len(), "%}");
        }
    }
}

/// The file and the name of a tag that imports macros.
pub(super) fn import_of(tag: &str) -> Option<(String, String)> {
    import(&expression::read(tag))
}

/// `import "file" as name`. The template of a site may name one of its theme by that one's folder.
fn import(tokens: &[Token]) -> Option<(String, String)> {
    let words: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
    match words.as_slice() {
        [Token::Word(import), Token::Text(file), Token::Word(with), Token::Word(alias)]
            if import == "import" && with == "as" =>
        {
            let file = file.trim_matches(['"', '\'', '`']);
            let file = file.split_once("/templates/").map_or(file, |(_, of_theme)| of_theme);
            Some((file.to_owned(), alias.clone()))
        }
        _ => None,
    }
}
