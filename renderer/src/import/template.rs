//! Templates of Tera 1 as templates of Tera 2: macros and shortcodes become components.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{self, Token};

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// `{{ … }}`: what is within, and whether white space goes before and after.
    Print(&'a str, bool, bool),
    /// `{% … %}`.
    Tag(&'a str, bool, bool),
    Comment(&'a str),
}

/// Splits a template; what is within `{% raw %}` is text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, true)
}

/// Splits content, where `{#` begins no comment but the id of a heading.
pub(super) fn content_pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, false)
}

fn split(text: &str, comments: bool) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(open) = find_open(rest, comments) {
        let (before, at) = rest.split_at(open);
        let (close, kind) = match &at[..2] {
            "{{" => ("}}", 0),
            "{%" => ("%}", 1),
            _ => ("#}", 2),
        };
        let Some(end) = end_of(&at[2..], close) else { break };
        if !before.is_empty() {
            out.push(Piece::Text(before));
        }
        let whole = &at[..end + 4];
        let inside = &at[2..end + 2];
        let (left, right) = (inside.starts_with('-'), inside.len() > 1 && inside.ends_with('-'));
        let plain = inside.strip_prefix('-').unwrap_or(inside);
        let plain = if right { plain.strip_suffix('-').unwrap_or(plain) } else { plain };
        rest = &at[whole.len()..];
        match kind {
            0 => out.push(Piece::Print(plain, left, right)),
            1 => {
                out.push(Piece::Tag(plain, left, right));
                if plain.trim() == "raw" {
                    let length = raw_end(rest);
                    out.push(Piece::Text(&rest[..length]));
                    rest = &rest[length..];
                }
            }
            _ => out.push(Piece::Comment(whole)),
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    out
}

fn find_open(text: &str, comments: bool) -> Option<usize> {
    let mut from = 0;
    while let Some(i) = text[from..].find('{') {
        let at = from + i;
        match text.as_bytes().get(at + 1) {
            Some(b'{' | b'%') => return Some(at),
            Some(b'#') if comments => return Some(at),
            _ => {}
        }
        from = at + 1;
    }
    None
}

/// Where a tag ends; not within quotes.
fn end_of(text: &str, close: &str) -> Option<usize> {
    if close == "#}" {
        return text.find(close);
    }
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, _) if text[i..].starts_with(close) => return Some(i),
            (None, _) => {}
        }
    }
    text.find(close)
}

/// Where the tag that ends raw text begins.
fn raw_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(i) = text[from..].find("{%") {
        let at = from + i;
        let tag = text[at + 2..].trim_start_matches('-').trim_start();
        if tag.starts_with("endraw") {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

/// A component call.
pub(super) fn call(name: &str, arguments: &[(Option<String>, Vec<Token>)], close: &str) -> String {
    let mut out = format!("<{name}");
    for (key, value) in arguments {
        let text = expression::write(value);
        let Some(key) = key else {
            out.push_str(&format!(" {text}"));
            continue;
        };
        match value.as_slice() {
            [Token::Text(quoted)] if quoted.starts_with('"') => out.push_str(&format!(" {key}={quoted}")),
            _ => out.push_str(&format!(" {key}={{{}}}", expression::convert(&text, false))),
        }
    }
    out.push_str(close);
    out
}

/// What is known of a site while its templates are converted.
pub(super) struct Names {
    /// The name space of each file of macros, by its template name.
    pub(super) spaces: BTreeMap<String, String>,
    /// What other templates import name spaces as: who extends one of these, or is included, need not import.
    pub(super) aliases: BTreeMap<String, String>,
    /// All templates.
    pub(super) files: BTreeSet<String>,
    /// What templates extend, and the blocks that they have.
    pub(super) frames: BTreeMap<String, Frame>,
}

/// What a template extends, and the blocks that it has.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) parent: Option<String>,
    pub(super) blocks: BTreeSet<String>,
}

impl Frame {
    /// Adds what a template of that name says of itself; there may be one of the site and one of the theme.
    pub(super) fn read(&mut self, pieces: &[Piece<'_>]) {
        for piece in pieces {
            let Piece::Tag(tag, ..) = piece else { continue };
            match tag.trim().split_once(char::is_whitespace) {
                Some(("extends", name)) => {
                    self.parent = Some(name.trim().trim_matches(['"', '\'', '`']).to_owned());
                }
                Some(("block", name)) => drop(self.blocks.insert(name.trim().to_owned())),
                _ => {}
            }
        }
    }
}

impl Names {
    /// Whether a block of a template that extends another is shown nowhere, since nothing that it extends has it. In doubt
    /// it is shown.
    fn is_lost(&self, frame: &Frame, block: &str) -> bool {
        let mut parent = frame.parent.as_ref();
        let mut steps = 0;
        while let Some(name) = parent {
            let Some(above) = self.frames.get(name).filter(|_| steps < self.frames.len()) else {
                return false;
            };
            if above.blocks.contains(block) {
                return false;
            }
            parent = above.parent.as_ref();
            steps += 1;
        }
        frame.parent.is_some()
    }
}

/// A converted template, and what a person should look at.
pub(super) struct Converted {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
    /// Templates that it may include and that do not exist: now they must, if only as empty ones.
    pub(super) empty: Vec<String>,
}

struct Converter<'a> {
    names: &'a Names,
    /// The name space of macros that this file defines.
    own: &'a str,
    /// Imported name → name space.
    imports: BTreeMap<String, String>,
    out: String,
    notes: Vec<String>,
    empty: Vec<String>,
    /// Parameters of a shortcode, of which `is defined` asks something else now.
    parameters: BTreeSet<String>,
}

/// Converts a template that is no shortcode.
pub(super) fn convert(name: &str, text: &str, names: &Names) -> Converted {
    let own = names.spaces.get(name).map_or("", String::as_str);
    let mut converter = Converter {
        names,
        own,
        imports: BTreeMap::new(),
        out: String::with_capacity(text.len()),
        notes: Vec::new(),
        empty: Vec::new(),
        parameters: BTreeSet::new(),
    };
    converter.run(text);
    Converted { text: converter.out, notes: converter.notes, empty: converter.empty }
}

impl Converter<'_> {
    fn run(&mut self, text: &str) {
        let mut all = pieces(text);
        self.leave_out_lost_blocks(&mut all);
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
                Piece::Comment(comment) => self.out.push_str(comment),
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

    /// Tera 1 passed over blocks that no parent has; now they are an error.
    fn leave_out_lost_blocks(&mut self, all: &mut Vec<Piece<'_>>) {
        let mut frame = Frame::default();
        frame.read(all);
        let (mut depth, mut lost) = (0_usize, None);
        all.retain(|piece| {
            let Piece::Tag(tag, ..) = piece else { return lost.is_none() };
            let (word, name) = tag.trim().split_once(char::is_whitespace).unwrap_or((tag.trim(), ""));
            match word {
                "block" => {
                    if depth == 0 && self.names.is_lost(&frame, name.trim()) {
                        self.notes.push(format!(
                            "the block `{}`, which nothing above has, was never shown and is left out",
                            name.trim()
                        ));
                        lost = Some(());
                    }
                    depth += 1;
                    lost.is_none()
                }
                "endblock" => {
                    depth = depth.saturating_sub(1);
                    let is_kept = lost.is_none();
                    if depth == 0 {
                        lost = None;
                    }
                    is_kept
                }
                _ => lost.is_none(),
            }
        });
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

    fn component(&self, call: &expression::Call) -> String {
        let space = match call.space.as_str() {
            "self" => self.own.to_owned(),
            alias => {
                let known = self.imports.get(alias).or_else(|| self.names.aliases.get(alias));
                known.cloned().unwrap_or_else(|| alias.to_owned())
            }
        };
        if space.is_empty() { call.name.clone() } else { format!("{space}.{}", call.name) }
    }

    fn expression(&self, text: &str, lenient: bool) -> String {
        let mut text = text.to_owned();
        for name in &self.parameters {
            for (old, new) in [
                (format!("{name} is defined"), format!("{name} is not none")),
                (format!("{name} is not defined"), format!("{name} is none")),
                (format!("{name} is undefined"), format!("{name} is none")),
            ] {
                text = text.replace(&old, &new);
            }
        }
        expression::convert(&text, lenient)
    }

    fn print(&mut self, inside: &str, left: bool, right: bool) {
        let tokens = expression::read(inside);
        if let Some(found) = expression::whole_call(&tokens) {
            let inside = call(&self.component(&found), &found.arguments, " />");
            return self.put("{{", left, &format!(" {inside} "), right, "}}");
        }
        if expression::calls_macro(&tokens) {
            self.notes.push(format!(
                "`{}` calls a macro within an expression: write it with a set block",
                inside.trim()
            ));
        }
        let inside = self.expression(inside, false);
        self.put("{{", left, &inside, right, "}}");
    }

    fn tag(&mut self, inside: &str, left: bool, right: bool, after: &[Piece<'_>]) {
        let trimmed = inside.trim();
        let word = trimmed.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or("");
        let rest = trimmed[word.len()..].trim();
        let name =
            |name: &str, own: &str| if own.is_empty() { name.to_owned() } else { format!("{own}.{name}") };
        let made = match word {
            "macro" => {
                let (macro_name, parameters) = rest.split_once('(').unwrap_or((rest, ")"));
                let given = parameters.trim_end().strip_suffix(')').unwrap_or(parameters);
                let given = Some(given.trim().to_owned()).filter(|given| !given.is_empty());
                let parameters: Vec<String> = given.into_iter().chain(seen(rest, after)).collect();
                format!("component {}({})", name(macro_name.trim(), self.own), parameters.join(", "))
            }
            "endmacro" => {
                // The name may be left out in Tera 1 and may not in Tera 2.
                let macro_name = if rest.is_empty() { self.last_macro() } else { rest.to_owned() };
                let own = if rest.is_empty() { "" } else { self.own };
                format!("endcomponent {}", name(&macro_name, own))
            }
            "if" | "elif" => format!("{word} {}", self.expression(rest, true)),
            "set" | "set_global" => {
                let (variable, value) = rest.split_once('=').unwrap_or((rest, ""));
                let tokens = expression::read(value);
                if let Some(found) = expression::whole_call(&tokens) {
                    let inside = call(&self.component(&found), &found.arguments, " />");
                    self.put("{%", left, &format!(" {word} {} ", variable.trim()), false, "%}");
                    self.out.push_str(&format!("{{{{ {inside} }}}}"));
                    return self.put("{%", false, &format!(" end{word} "), right, "%}");
                }
                format!("{word} {} = {}", variable.trim(), self.expression(value.trim(), false))
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
            self.notes.push(format!("`include {rest}` names no template"));
            return format!("include {rest}");
        };
        if !self.names.files.contains(found) {
            self.empty.push(found.clone());
        }
        format!("include \"{found}\"")
    }

    /// The component that was opened last.
    fn last_macro(&self) -> String {
        self.out
            .rfind("component ")
            .map(|at| self.out[at + "component ".len()..].split('(').next().unwrap_or("").trim().to_owned())
            .unwrap_or_default()
    }
}

/// The file and the name of a tag that imports macros.
pub(super) fn import_of(tag: &str) -> Option<(String, String)> {
    import(&expression::read(tag))
}

/// `import "file" as name`.
fn import(tokens: &[Token]) -> Option<(String, String)> {
    let words: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
    match words.as_slice() {
        [Token::Word(import), Token::Text(file), Token::Word(with), Token::Word(alias)]
            if import == "import" && with == "as" =>
        {
            Some((file.trim_matches(['"', '\'', '`']).to_owned(), alias.clone()))
        }
        _ => None,
    }
}

/// What every macro could see without being given it, and what stands for it where it is not there.
const SEEN: [(&str, &str); 10] = [
    ("page", "{}"),
    ("section", "{}"),
    ("config", "{}"),
    ("lang", "\"\""),
    ("taxonomy", "{}"),
    ("term", "{}"),
    ("terms", "[]"),
    ("paginator", "{}"),
    ("current_path", "\"\""),
    ("current_url", "\"\""),
];

/// What the macro whose first tag says `rest` takes from where it is called, as parameters. `inside` begins with its body.
fn seen(rest: &str, inside: &[Piece<'_>]) -> Vec<String> {
    let length = inside
        .iter()
        .position(|piece| matches!(piece, Piece::Tag(tag, ..) if tag.trim().starts_with("endmacro")));
    let given = rest.split_once('(').map_or("", |(_, parameters)| parameters);
    let given = given.split([',', ')']).filter_map(|one| one.split('=').next());
    let given = given.map(|name| name.trim().to_owned()).collect();
    let found = Variables::of(&inside[..length.unwrap_or(inside.len())], given);
    let seen = SEEN.iter().filter(|(name, _)| found.free.contains_key(*name));
    seen.map(|(name, default)| format!("@{name} = {default}")).collect()
}

/// What every shortcode could see.
const AROUND: [&str; 5] = ["page", "section", "config", "lang", "taxonomy"];

/// A shortcode as a component: it names its parameters, which a shortcode did not.
pub(super) fn shortcode(name: &str, text: &str, names: &Names) -> Converted {
    let found = Variables::of(&pieces(text), BTreeSet::new());
    let mut parameters = Vec::new();
    for (variable, default) in &found.free {
        if AROUND.contains(&variable.as_str()) || matches!(variable.as_str(), "body" | "nth") {
            continue;
        }
        parameters.push(match default {
            Some(default) => format!("{variable} = {default}"),
            None if found.optional.contains(variable) => format!("{variable} = none"),
            None => variable.clone(),
        });
    }
    // Those that must be given come first, to be read as such.
    parameters.sort_by_key(|parameter| parameter.contains(" = "));
    for around in AROUND {
        if found.free.contains_key(around) {
            parameters.push(format!("@{around} = {{}}"));
        }
    }
    let optional = found.optional.iter().filter(|name| !AROUND.contains(&name.as_str())).cloned().collect();
    let mut converter = Converter {
        names,
        own: "",
        imports: BTreeMap::new(),
        out: String::with_capacity(text.len()),
        notes: Vec::new(),
        empty: Vec::new(),
        parameters: optional,
    };
    if found.free.contains_key("nth") {
        converter
            .notes
            .push("`nth`, the number of the call, is no more: pass a number of your own".to_owned());
    }
    converter.run(text);
    let body = tighten(&converter.out);
    Converted {
        text: format!(
            "{{% component {name}({}) %}}\n{body}\n{{% endcomponent {name} %}}\n",
            parameters.join(", ")
        ),
        notes: converter.notes,
        empty: converter.empty,
    }
}

/// A component's output becomes part of a page's markdown, where an empty line ends a block of HTML and an indented
/// one begins code: lines lose their indentation, and empty lines go, but for preformatted text.
fn tighten(text: &str) -> String {
    if ["<pre", "<textarea", "```"].iter().any(|tag| text.contains(tag)) {
        return text.trim_matches('\n').to_owned();
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The variables of a template that it does not set itself.
#[derive(Default)]
struct Variables {
    /// With the literal that stands for them where they are not given.
    free: BTreeMap<String, Option<String>>,
    /// Those that are asked for before they are used.
    optional: BTreeSet<String>,
}

const RESERVED: [&str; 14] = [
    "in",
    "and",
    "or",
    "not",
    "is",
    "true",
    "false",
    "True",
    "False",
    "loop",
    "__tera_context",
    "self",
    "none",
    "as",
];

impl Variables {
    fn of(pieces: &[Piece<'_>], mut bound: BTreeSet<String>) -> Self {
        let mut out = Self::default();
        for piece in pieces {
            match piece {
                Piece::Print(inside, ..) => out.add(&expression::read(inside), &bound, false),
                Piece::Tag(inside, ..) => {
                    let trimmed = inside.trim();
                    let word = trimmed.split(|c: char| c.is_whitespace()).next().unwrap_or("");
                    let rest = trimmed[word.len()..].trim();
                    match word {
                        "if" | "elif" => out.add(&expression::read(rest), &bound, true),
                        "set" | "set_global" => {
                            let (variable, value) = rest.split_once('=').unwrap_or((rest, ""));
                            out.add(&expression::read(value), &bound, false);
                            bound.insert(variable.trim().to_owned());
                        }
                        "for" => {
                            if let Some((variables, list)) = rest.split_once(" in ") {
                                out.add(&expression::read(list), &bound, false);
                                bound.extend(variables.split(',').map(|name| name.trim().to_owned()));
                            }
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        out
    }

    fn add(&mut self, tokens: &[Token], bound: &BTreeSet<String>, condition: bool) {
        let solid: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
        let text = |i: usize| {
            solid.get(i).map_or("", |token| match token {
                Token::Word(s) | Token::Mark(s) => s.as_str(),
                _ => "",
            })
        };
        for (i, token) in solid.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let before = if i == 0 { "" } else { text(i - 1) };
            let earlier = if i < 2 { "" } else { text(i - 2) };
            let after = text(i + 1);
            let named = matches!(before, "." | "|" | "is" | "::") || (before == "not" && earlier == "is");
            if named
                || matches!(after, "(" | "=" | "::")
                || RESERVED.contains(&word.as_str())
                || bound.contains(word)
            {
                continue;
            }
            let asked = after == "is" && matches!(text(i + 2), "defined" | "undefined" | "not");
            let whole = condition && after != ".";
            let has_default = after == "|" && text(i + 2) == "default";
            let default = if has_default { literal(&solid[i..]) } else { None };
            if asked || whole || has_default {
                self.optional.insert(word.clone());
            }
            let entry = self.free.entry(word.clone()).or_default();
            if entry.is_none() {
                *entry = default;
            }
        }
    }
}

/// The literal of `name | default(value=…)`.
fn literal(tokens: &[&Token]) -> Option<String> {
    match tokens {
        [_, _, _, _, Token::Word(value), Token::Mark(equals), literal, Token::Mark(close), ..]
            if value == "value" && equals == "=" && close == ")" =>
        {
            match literal {
                Token::Text(text) | Token::Number(text) => Some(text.clone()),
                Token::Word(word) if word == "true" || word == "false" => Some(word.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            spaces: [("macros/links.html".to_owned(), "links".to_owned())].into(),
            aliases: [("inherited".to_owned(), "links".to_owned())].into(),
            files: ["there.html".to_owned()].into(),
            frames: BTreeMap::new(),
        }
    }

    #[test]
    fn blocks_that_nothing_above_has_are_left_out() {
        let base = "{% block a %}{% endblock %}";
        let page = "{% extends 'base.html' %}{% block a %}{% block in %}x{% endblock %}{% endblock a %} {%- block lost -%}{% if a %}{% block b %}y{% endblock %}{% endif %}{% endblock lost %}{% block a2 %}{% endblock %}";
        let mut names = names();
        for (name, text) in [("base.html", base), ("page.html", page)] {
            names.frames.entry(name.to_owned()).or_default().read(&pieces(text));
        }
        let made = convert("page.html", page, &names);
        insta::assert_snapshot!(made.text, @"{% extends 'base.html' %}{% block a %}{% block in %}x{% endblock %}{% endblock a %}");
        assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
        // What is above is not known: nothing is left out.
        let kept = "{% extends 'theme/templates/x.html' %}{% block lost %}{% endblock lost %}";
        assert_eq!(convert("z.html", kept, &names).text, kept);
    }

    #[test]
    fn macros_become_components() {
        let made = convert(
            "macros/links.html",
            "{% macro one(a, b=\"x\") %}{{ self::two(c=a) }}{% endmacro one %}\n{% macro two(c) -%}{{ c | as_str }}{% endmacro %}",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"
        {% component links.one(a, b="x") %}{{ <links.two c={a} /> }}{% endcomponent links.one %}
        {% component links.two(c) -%}{{ c | str }}{% endcomponent links.two %}
        "#);
        let made = convert(
            "page.html",
            "{% import \"macros/links.html\" as m %}\n{%- if page.extra.a %}{{ m::one(a=page.title, b='y') | safe }}{% endif %}{% set x = m::two(c=1) %}{% for p in s.pages | slice(end=3) %}{% raw %}{{ m::x() }}{% endraw %}{% endfor %}",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"{%- if page?.extra?.a %}{{ <links.one a={page.title} b={'y'} /> }}{% endif %}{% set x %}{{ <links.two c={1} /> }}{% endset %}{% for p in s.pages[:3] %}{% raw %}{{ m::x() }}{% endraw %}{% endfor %}"#);
    }

    #[test]
    fn macros_take_what_they_could_see() {
        let made = convert(
            "pager.html",
            "{% macro pager() %}{{ paginator.current_index }} {{ lang }}{% endmacro pager %}{% macro one(page, s=\"x\") %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endmacro %}",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"{% component pager(@lang = "", @paginator = {}) %}{{ paginator.current_index }} {{ lang }}{% endcomponent pager %}{% component one(page, s="x", @section = {}) %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endcomponent one %}"#);
    }

    #[test]
    fn what_a_parent_imports_or_may_include_is_known() {
        let made = convert(
            "page.html",
            "{{ inherited::one(a=1) }}{% include \"none.html\" ignore missing %}{% include ['none.html', 'there.html'] %}",
            &names(),
        );
        assert_eq!(
            made.text,
            "{{ <links.one a={1} /> }}{% include \"none.html\" %}{% include \"there.html\" %}"
        );
        assert_eq!((made.empty, made.notes.len()), (vec!["none.html".to_owned()], 0));
    }

    #[test]
    fn shortcodes_become_components() {
        let made = shortcode(
            "image",
            "<figure>\n\n  <img src=\"{{ get_url(path=src) }}\" alt=\"{{ alt | default(value=\"\") }}\">\n  {% if caption is defined %}<p>{{ caption }}</p>{% endif %}\n  {% for a in page.assets %}{{ a }}{% endfor %}{{ body }}\n</figure>\n",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"
        {% component image(src, alt = "", caption = none, @page = {}) %}
        <figure>
        <img src="{{ get_url(path=src) }}" alt="{{ alt | default(value="") }}">
        {% if caption is not none %}<p>{{ caption }}</p>{% endif %}
        {% for a in page.assets %}{{ a }}{% endfor %}{{ body }}
        </figure>
        {% endcomponent image %}
        "#);
    }

    #[test]
    fn any_template_is_read() {
        for text in ["", "{{", "{% if", "{# a", "a {{ '}}' }} b", "{% raw %}{{", "{%-%}", "{{-}}"] {
            convert("a.html", text, &names());
            shortcode("a", text, &names());
        }
    }
}
