//! Templates of Tera 1 as templates of Tera 2: macros and shortcodes become components.

use std::collections::{BTreeMap, BTreeSet};

use crate::minify;

use super::expression::{self, Arguments, Call, Token};
use super::pieces::{Piece, pieces};
use super::variables::Variables;

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
    /// What macros and shortcodes are given.
    pub(super) given: Given,
    /// The default language, where there are several.
    pub(super) language: Option<String>,
}

/// The kinds of values that the parameters of each macro and shortcode are given: a component takes no others than that
/// of a parameter's default.
#[derive(Default)]
pub(super) struct Given(BTreeMap<(String, String), BTreeSet<Option<Kind>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Integer,
    Float,
    Truth,
    List,
}

impl Kind {
    /// That of a literal.
    fn of(value: &[Token]) -> Option<Self> {
        match value {
            [Token::Text(_)] => Some(Self::Text),
            [Token::Number(number)] => Some(if number.contains('.') { Self::Float } else { Self::Integer }),
            [Token::Mark(minus), number @ Token::Number(_)] if minus == "-" => {
                Self::of(std::slice::from_ref(number))
            }
            [Token::Word(word)] if matches!(word.to_lowercase().as_str(), "true" | "false") => {
                Some(Self::Truth)
            }
            [Token::Mark(open), .., Token::Mark(close)] if open == "[" && close == "]" => Some(Self::List),
            _ => None,
        }
    }
}

impl Given {
    pub(super) fn add(&mut self, name: &str, arguments: &Arguments) {
        for (parameter, value) in arguments {
            let parameter = parameter.clone().unwrap_or_else(|| expression::write(value));
            self.0.entry((name.to_owned(), parameter)).or_default().insert(Kind::of(value));
        }
    }

    /// Whether a parameter is only ever given what is like its default.
    fn is_like(&self, name: &str, parameter: &str, default: &[Token]) -> bool {
        let kind = Kind::of(default);
        let given = self.0.get(&(name.to_owned(), parameter.to_owned()));
        kind.is_some() && given.is_none_or(|given| given.iter().all(|given| *given == kind))
    }
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
    /// Parameters that are `none` where they are not given.
    parameters: BTreeSet<String>,
    /// Variables that have been set to what a component gives.
    components: BTreeSet<String>,
    /// The blocks that are open, and the macro: their ends need not name them, or not rightly.
    blocks: Vec<String>,
    macro_name: String,
}

impl<'a> Converter<'a> {
    fn new(names: &'a Names, own: &'a str) -> Self {
        Self {
            names,
            own,
            imports: BTreeMap::new(),
            out: String::new(),
            notes: Vec::new(),
            empty: Vec::new(),
            parameters: BTreeSet::new(),
            components: BTreeSet::new(),
            blocks: Vec::new(),
            macro_name: String::new(),
        }
    }

    fn converted(self) -> Converted {
        Converted { text: self.out, notes: self.notes, empty: self.empty }
    }
}

/// Converts a template that is no shortcode.
pub(super) fn convert(name: &str, text: &str, names: &Names) -> Converted {
    let own = names.spaces.get(name).map_or("", String::as_str);
    let mut converter = Converter::new(names, own);
    converter.run(text);
    converter.converted()
}

impl Converter<'_> {
    fn run(&mut self, text: &str) {
        let mut all = pieces(text);
        self.leave_out_what_was_never_shown(&mut all);
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

    /// Of a template that extends another, Tera 1 passed over blocks that no parent has, and over what stands outside of
    /// blocks; now both are errors.
    fn leave_out_what_was_never_shown(&mut self, all: &mut Vec<Piece<'_>>) {
        let mut frame = Frame::default();
        frame.read(all);
        if frame.parent.is_none() {
            return;
        }
        let (mut depth, mut lost, mut in_macro, mut loose) = (0_usize, false, false, false);
        all.retain(|piece| {
            let Piece::Tag(tag, ..) = piece else {
                let is_blank = match piece {
                    Piece::Text(text) => text.trim().is_empty(),
                    piece => matches!(piece, Piece::Comment(_)),
                };
                loose |= depth == 0 && !in_macro && !is_blank;
                return !lost && (depth > 0 || in_macro || is_blank);
            };
            let (word, name) = tag.trim().split_once(char::is_whitespace).unwrap_or((tag.trim(), ""));
            match word {
                "block" => {
                    if depth == 0 && self.names.is_lost(&frame, name.trim()) {
                        self.notes.push(format!(
                            "the block `{}`, which nothing above has, was never shown and is left out",
                            name.trim()
                        ));
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
                    loose |= depth == 0 && !in_macro;
                    !lost && (depth > 0 || in_macro)
                }
            }
        });
        if loose {
            self.notes.push("what stands outside of its blocks was never shown and is left out".to_owned());
        }
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
            let given = found.arguments.iter().map(|(name, value)| (name.clone(), self.read(value)));
            call(&self.component(&found), &given.collect::<Vec<_>>(), " />")
        };
        let mut tokens = expression::replace_calls(tokens, &made);
        if let Some(language) = &self.names.language {
            expression::ask_for_language(&mut tokens, language);
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
        let made = expression::convert_shown(tokens);
        let spaced = if made.starts_with(char::is_whitespace) { made } else { format!(" {made} ") };
        self.put("{{", left, &spaced, right, "}}");
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
                let made = self.expression(&format!("x | {rest}"), false);
                format!("filter {}", made.strip_prefix("x | ").unwrap_or(rest))
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
            self.notes.push(format!("`include {rest}` names no template"));
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
        expression::convert_value(tokens)
    }

    /// A macro's first tag. A parameter's default says which values it takes now: where others are given, or may be, it is
    /// set within.
    fn open_macro(&mut self, rest: &str, left: bool, right: bool, after: &[Piece<'_>]) {
        let (name, parameters) = rest.split_once('(').unwrap_or((rest, ")"));
        let name = name.trim();
        let parameters = parameters.trim_end().strip_suffix(')').unwrap_or(parameters);
        let (mut heads, mut within) = (Vec::new(), Vec::new());
        for (parameter, value) in expression::arguments(&expression::read(parameters)) {
            let default = expression::convert(value.clone(), false);
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
        let (seen, unknown) = seen(rest, after);
        if !unknown.is_empty() {
            self.notes.push(format!(
                "the macro `{name}` reads `{}`, which it is not given: what calls it must",
                unknown.join("`, `")
            ));
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

fn in_space(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
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

/// What every macro could see without being given it.
const SEEN: [&str; 10] = [
    "page",
    "section",
    "config",
    "lang",
    "taxonomy",
    "term",
    "terms",
    "paginator",
    "current_path",
    "current_url",
];

/// What the macro whose first tag says `rest` takes from where it is called: what all could see, and all else. `inside`
/// begins with its body.
fn seen(rest: &str, inside: &[Piece<'_>]) -> (BTreeSet<String>, Vec<String>) {
    let length = inside
        .iter()
        .position(|piece| matches!(piece, Piece::Tag(tag, ..) if tag.trim().starts_with("endmacro")));
    let given = rest.split_once('(').map_or("", |(_, parameters)| parameters);
    let given = given.split([',', ')']).filter_map(|one| one.split('=').next());
    let given = given.map(|name| name.trim().to_owned()).collect();
    let found = Variables::of(&inside[..length.unwrap_or(inside.len())], given);
    let (seen, unknown) =
        found.free.into_keys().partition::<BTreeSet<String>, _>(|name| SEEN.contains(&name.as_str()));
    (seen, unknown.into_iter().filter(|name| !found.optional.contains(name)).collect())
}

/// What every shortcode could see.
const AROUND: [&str; 5] = ["page", "section", "config", "lang", "taxonomy"];

/// A shortcode as a component: it names its parameters, which a shortcode did not. One of markdown keeps its lines.
pub(super) fn shortcode(name: &str, text: &str, is_markdown: bool, names: &Names) -> Converted {
    let found = Variables::of(&pieces(text), BTreeSet::new());
    let mut converter = Converter::new(names, "");
    let mut parameters = Vec::new();
    for (variable, default) in &found.free {
        if matches!(variable.as_str(), "body" | "nth") {
            continue;
        }
        let around = AROUND.contains(&variable.as_str());
        let sign = if around { "@" } else { "" };
        parameters.push(match default {
            Some(default)
                if !found.optional.contains(variable)
                    && names.given.is_like(name, variable, &expression::read(default)) =>
            {
                format!("{variable} = {}", expression::write(&expression::read(default)))
            }
            None if !around && !found.optional.contains(variable) => variable.clone(),
            _ => {
                converter.parameters.insert(variable.clone());
                format!("{sign}{variable} = none")
            }
        });
    }
    // Those that must be given come first, to be read as such, and those that the page gives last.
    parameters.sort_by_key(|parameter| (parameter.starts_with('@'), parameter.contains(" = ")));
    if found.free.contains_key("nth") {
        converter
            .notes
            .push("`nth`, the number of the call, is no more: pass a number of your own".to_owned());
    }
    converter.run(text);
    let head = format!("component {name}({})", parameters.join(", "));
    converter.out = if is_markdown {
        format!("{{% {head} %}}{}{{% endcomponent {name} %}}\n", converter.out)
    } else {
        // What may stand within a line brings none of its own.
        let (open, close) = if is_block(text) { ("%}", "{%") } else { ("-%}", "{%-") };
        format!("{{% {head} {open}\n{}\n{close} endcomponent {name} %}}\n", tighten(&converter.out))
    };
    converter.converted()
}

/// Whether the first element of a shortcode is one that stands for itself. One of text or style is found within lines, too.
fn is_block(text: &str) -> bool {
    let first = pieces(text).into_iter().find_map(|piece| match piece {
        Piece::Text(text) => text.trim_start().strip_prefix('<').map(str::to_owned),
        _ => None,
    });
    let name = first.map(|tag| tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
    name.is_some_and(|name| minify::is_block(&name) && !matches!(name.as_str(), "script" | "style"))
}

/// A component's output becomes part of a page's markdown, where an empty line ends a block of HTML or a paragraph, and an
/// indented one begins code: lines lose their indentation, and empty ones go, also those that tags would leave behind, but
/// for preformatted text.
fn tighten(text: &str) -> String {
    if ["<pre", "<textarea", "```"].iter().any(|tag| text.contains(tag)) {
        return text.trim_matches('\n').to_owned();
    }
    let mut out: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let in_line = pieces(line);
        let only_tags = in_line.iter().all(|piece| match piece {
            Piece::Text(text) => text.trim().is_empty(),
            piece => matches!(piece, Piece::Tag(..) | Piece::Comment(_)),
        });
        if let Some((open, inside, close)) = condition(line, &in_line) {
            out.extend([without_line_end(open), inside.to_owned(), without_line_end(close)]);
        } else if only_tags || (line.ends_with("%}") && !line.contains("{%")) {
            out.push(without_line_end(line));
        } else {
            out.push(line.to_owned());
        }
    }
    out.join("\n")
}

/// A line that is all within one condition, and so empty for some calls: the tags, and what is between.
fn condition<'a>(line: &'a str, pieces: &[Piece<'_>]) -> Option<(&'a str, &'a str, &'a str)> {
    let [Piece::Tag(open, ..), inside @ .., Piece::Tag(close, ..)] = pieces else { return None };
    let is_one = open.trim().starts_with("if ")
        && close.trim() == "endif"
        && !inside.iter().any(|piece| matches!(piece, Piece::Tag(..)))
        && !inside.is_empty();
    let (start, end) = (line.find("%}")? + 2, line.rfind("{%")?);
    (is_one && start < end).then(|| (&line[..start], &line[start..end], &line[end..]))
}

/// A tag or a comment that takes the white space after it away.
fn without_line_end(tag: &str) -> String {
    for close in ["%}", "#}"] {
        if let Some(inside) = tag.strip_suffix(close).filter(|inside| !inside.ends_with('-')) {
            return format!("{inside}-{close}");
        }
    }
    tag.to_owned()
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
            given: Given::default(),
            language: None,
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
        insta::assert_snapshot!(made.text, @r#"{%- if page?.extra?.a %}{{ <links.one a={page.title} b={'y'} /> | safe }}{% endif %}{% set x = <links.two c={1} /> %}{% for p in s.pages[:3] %}{% raw %}{{ m::x() }}{% endraw %}{% endfor %}"#);
    }

    #[test]
    fn macros_take_what_they_could_see() {
        let blind =
            convert("x.html", "{% macro m() %}{{ title }}{% if x %}{% endif %}{% endmacro %}", &names());
        assert!(blind.notes[0].contains("the macro `m` reads `title`,"), "{:?}", blind.notes);
        let made = convert(
            "pager.html",
            "{% macro pager() %}{{ paginator.current_index }} {{ lang }}{% endmacro pager %}{% macro one(page, s=\"x\") %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endmacro %}",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"{% component pager(@lang = none, @paginator = none) %}{{ paginator.current_index }} {{ lang }}{% endcomponent pager %}{% component one(page, s="x", @section = none) %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endcomponent one %}"#);
    }

    #[test]
    fn macros_are_called_within_expressions() {
        let made = convert(
            "page.html",
            "{% import 'theme/templates/macros/links.html' as m %}{% if m::one(a=m::two(c=1)) == \"1\" and not x.y.z %}{{ t | replace(from=\"a\", to=m::two(c=p or q.r)) }}{% endif %}{{- self::gone() | trim -}}",
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"{% if <links.one a={<links.two c={1} />} /> == "1" and not x?.y?.z %}{{ t | replace(from="a", to=<links.two c={true if p or q?.r else false} />) }}{% endif %}{{- <gone /> | trim -}}"#);
        assert_eq!(made.notes.len(), 0);
    }

    #[test]
    fn parameters_take_what_they_are_given() {
        let mut names = names();
        for call in ["m::two(s=\"\", b=x.y, n=-1)", "m::two(s=\"a\", n=2)"] {
            let tokens = expression::read(call);
            expression::calls(&tokens).for_each(|call| names.given.add(&call.name, &call.arguments));
        }
        let text = "{% macro two(a, s=\"\\d\", b=false, n=1) -%}\n{{ a }}{% endmacro wrong %}";
        insta::assert_snapshot!(convert("x.html", text, &names).text, @r#"
        {% component two(a, s="\\d", b=none, n=1) %}{% set b = false if b is none else b -%}
        {{ a }}{% endcomponent two %}
        "#);
        let text = "{% if b %}{{ b | default(value=\"x\") }}{{ n | default(value=\"x\") }}{% endif %}";
        insta::assert_snapshot!(shortcode("two", text, false, &names).text, @r#"
        {% component two(b = none, n = none) -%}
        {% if b -%}
        {{ (b if b is not none else "x") }}{{ (n if n is not none else "x") }}
        {% endif -%}
        {%- endcomponent two %}
        "#);
    }

    #[test]
    fn ends_have_the_names_of_what_they_end() {
        let text = "{% block a %}{%- block b -%}{% endblock a %}{% endblock wrong -%}{% filter linebreaksbr %}{% endfilter %}";
        let made = convert("x.html", text, &names());
        insta::assert_snapshot!(made.text, @"{% block a %}{%- block b -%}{% endblock b %}{% endblock a -%}{% filter newlines_to_br %}{% endfilter %}");
    }

    #[test]
    fn what_stands_outside_of_the_blocks_of_a_child_is_left_out() {
        let text = "{# why #}\n{% extends \"base.html\" %}\nlost\n{% set x = 1 %}{% macro m() %}x{% endmacro m %}\n{% if x %}{% block a %}{{ x }}{% endblock %}{% endif %}";
        let made = convert("x.html", text, &names());
        insta::assert_snapshot!(made.text, @r#"
        {# why #}
        {% extends "base.html" %}{% component m() %}x{% endcomponent m %}
        {% block a %}{{ x }}{% endblock %}
        "#);
        assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
    }

    #[test]
    fn shortcodes_of_markdown_keep_their_lines() {
        let text = "## A\n\n- {{ a }}\n\n    code\n";
        insta::assert_snapshot!(shortcode("m", text, true, &names()).text, @"
        {% component m(a) %}## A

        - {{ a }}

            code
        {% endcomponent m %}
        ");
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
            "{% if not id %}\n{# none #}\n{% set id = 1 %}\n{% endif %}\n<figure>\n\n  <img src=\"{{ get_url(path=src) }}\" alt=\"{{ alt | default(value=\"\") }}\">\n  {% if caption is defined %}<p>{{ caption }}</p>{% endif %}\n  {% for a in page.assets %}{{ a }}{% endfor %}{{ body }}\n</figure>\n",
            false,
            &names(),
        );
        insta::assert_snapshot!(made.text, @r#"
        {% component image(src, alt = "", caption = none, id = none, @page = none) %}
        {% if not id -%}
        {# none -#}
        {% set id = 1 -%}
        {% endif -%}
        <figure>
        <img src="{{ get_url(path=src) }}" alt="{{ alt | default(value="") }}">
        {% if caption is not none -%}
        <p>{{ caption }}</p>
        {% endif -%}
        {% for a in page.assets %}{{ a }}{% endfor %}{{ body }}
        </figure>
        {% endcomponent image %}
        "#);
    }

    #[test]
    fn any_template_is_read() {
        for text in ["", "{{", "{% if", "{# a", "a {{ '}}' }} b", "{% raw %}{{", "{%-%}", "{{-}}"] {
            convert("a.html", text, &names());
            shortcode("a", text, false, &names());
        }
    }
}
