//! What is wrong with templates, in our words, with file, line and the nearest right name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use tera::{ErrorKind, Tera, TeraResult};

use super::scan::Tag;
use super::{Engine, Field, Sheaf, scan, slips};
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::front_matter::in_words;
use crate::{filters, functions};

static PLACE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^error: (.*)\n\s*--> (.+):(\d+):(\d+)$").ok());

/// The name that the engine gives to content.
const CONTENT: &str = "__tera_one_off";
const RAW: &str = "literal `{{` in content is written within {% raw %} and {% endraw %}";
const SHORTCODES: &str = "shortcodes are components, {{ <name argument=\"value\" /> }}: `bake import` rewrites those of a \
                          whole site; literal `{{` is written within {% raw %} and {% endraw %}";
const TAGS: &str =
    "a tag ends as it begins: `{{ … }}`, `{% … %}`, `{# … #}`; what begins a block needs its end";

/// What to do about what the engine or a function says, where no name is near that is meant.
const ADVICE: [(&str, &str); 16] = [
    ("there is no file `", FILES),
    ("there is no image `", FILES),
    ("there is no page `", CONTENTS),
    ("there is no section `", CONTENTS),
    ("there is no content `", CONTENTS),
    ("there is no taxonomy `", "define it in `taxonomies` of the configuration"),
    ("there is no term `", "write a term that a page has; with required=false a missing one is none"),
    ("there is no translation of `", "add it to [translations], or to those of the language"),
    ("the environment has no variable `", "set it, or give a default: get_env(name=…, default=…)"),
    ("the site has no language `", "define it in the configuration, as in [languages.fr]"),
    ("` is no date", "a date is written 2026-01-31 or 2026-01-31T10:30:00Z"),
    ("super() called outside of a block", "write it into a block of a template that extends another"),
    ("key/value iteration is not possible", "a list gives one name: {% for item in list %}"),
    ("iteration not possible on type", "go through a list, a map or a text"),
    ("math operations can only be done on numbers", "make a number of a text: text | int"),
    ("cannot compare `", "both sides must be of one kind: text | int, number | str"),
];
const FILES: &str = "files are looked for in the site's folder, in static/ and in content/";
const CONTENTS: &str = "name a file by its path below content/";

const BESIDE: &str = "put it into a block of the template that is extended";

/// The file that a template's name stands for.
fn file_of(name: &str, sheaves: &[Sheaf]) -> String {
    for sheaf in sheaves {
        if sheaf.folder.is_empty() {
            continue;
        }
        if sheaf.prefix.is_empty() && sheaf.templates.contains_key(name) {
            return format!("{}{name}", sheaf.folder);
        }
        if let Some(bare) = name.strip_prefix(&*sheaf.prefix).filter(|_| !sheaf.prefix.is_empty())
            && sheaf.templates.contains_key(bare)
        {
            return format!("{}{bare}", sheaf.folder);
        }
    }
    name.to_owned()
}

/// What is wrong with these templates, of which the engine says only what it meets first: what hinders it is told and taken
/// away, until nothing does.
pub(super) fn explain_build(
    first: &tera::Error,
    texts: &BTreeMap<String, String>,
    sheaves: &[Sheaf],
    engine: &dyn Fn() -> TeraResult<Tera>,
) -> Errors {
    let mut errors = Errors::default();
    let in_file = |name: &str, message: String| Diagnostic::in_file(file_of(name, sheaves), message);
    let at_tag = |name: &str, tag: &str, message: &str| {
        let text = texts.get(name).map_or("", String::as_str);
        in_file(name, message.to_owned()).at(text, text.find(tag).unwrap_or(0))
    };
    let mut sound = texts.clone();
    // Templates whose own errors are told, or hide what else is in them: what rests on them is looked at by itself.
    let mut unsure: BTreeSet<String> = BTreeSet::new();
    for (name, text) in texts {
        let error = Tera::new().add_raw_template(name, text).err();
        if let Some(ErrorKind::SyntaxError(report)) = error.as_ref().map(tera::Error::kind) {
            let (message, at) = (report.message(), report.span().range.start);
            let slip = slips::of(message, text, at);
            let told = slip.as_ref().and_then(|slip| slip.message.clone());
            let wrong = in_file(name, told.unwrap_or_else(|| lower_first(message)));
            let wrong = wrong.at(text, slip.as_ref().map_or(at, |slip| slip.at));
            let common = if message.contains("would be ignored") { BESIDE } else { TAGS };
            errors.push(wrong.hint(slip.map_or_else(|| common.to_owned(), |slip| slip.hint)));
            sound.insert(name.clone(), String::new());
            unsure.insert(name.clone());
        }
    }
    let prefixes: Vec<&str> = sheaves.iter().map(|sheaf| &*sheaf.prefix).collect();
    // Each round takes at least one template's parent away.
    for _ in 0..=texts.len() {
        part_from(&mut sound, &mut unsure, &prefixes);
        let named = sound.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let Err(error) = engine().and_then(|mut tera| tera.add_raw_templates(named)) else { break };
        match error.kind() {
            ErrorKind::CircularExtend { tpl, inheritance_chain } => {
                let wrong = at_tag(tpl, "extends", "the template extends itself");
                let first = Some(tpl).filter(|tpl| inheritance_chain.first() != Some(*tpl));
                let circle: Vec<&str> =
                    first.into_iter().chain(inheritance_chain).map(String::as_str).collect();
                errors.push(wrong.hint(format!("the circle is {}", circle.join(" → "))));
                unsure.extend(inheritance_chain.iter().chain([tpl]).cloned());
            }
            ErrorKind::CircularInclude { tpl, include_chain } => {
                let wrong = at_tag(tpl, "include", "the template includes itself");
                errors.push(wrong.hint(format!("the circle is {}", include_chain.join(" → "))));
                for name in include_chain.iter().chain([tpl]) {
                    sound.entry(name.clone()).and_modify(|text| *text = scan::without(text, Tag::Include));
                }
            }
            ErrorKind::MissingParent { current, parent } => {
                let near = nearest(parent, texts.keys().map(String::as_str));
                let message = format!("the template extends `{parent}`, which does not exist");
                errors.push(at_tag(current, parent, &message).hint(near.map_or_else(
                    || format!("create templates/{parent}"),
                    |near| format!("did you mean `{near}`?"),
                )));
                unsure.insert(current.clone());
            }
            _ => {
                let message = error.to_string();
                if let Some([component, first, second]) = twice(&message)
                    && let Some(text) = texts.get(second)
                {
                    let wrong = in_file(second, format!("there is another component `{component}`"));
                    let wrong = wrong.at(text, scan::definition(text, component).unwrap_or(0));
                    let first = file_of(first, sheaves);
                    errors.push(wrong.hint(format!("give it another name, or remove the one in {first}")));
                    sound.insert(second.to_owned(), String::new());
                    unsure.insert(second.to_owned());
                    continue;
                }
                let broken = texts.iter().filter(|(name, _)| unsure.contains(*name));
                let lost: Vec<&str> = scan::components(broken.map(|(_, text)| text.as_str()));
                for wrong in unknown_names(&message, texts, &lost, &in_file) {
                    errors.push(wrong);
                }
                break;
            }
        }
    }
    if errors.is_empty() {
        errors.push(Diagnostic::new(lower_first(&first.to_string())));
    }
    errors
}

/// A component, and the two templates that both define it, where the engine says so.
fn twice(message: &str) -> Option<[&str; 3]> {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    names.try_into().ok().filter(|_| message.contains("is defined in both"))
}

/// What the engine's words say of names that it does not know, but for `lost`: what a broken template defines is there,
/// though the engine cannot know.
fn unknown_names(
    message: &str,
    texts: &BTreeMap<String, String>,
    lost: &[&str],
    in_file: &dyn Fn(&str, String) -> Diagnostic,
) -> Vec<Diagnostic> {
    let found = reports(message);
    if found.is_empty() {
        return vec![Diagnostic::new(lower_first(message))];
    }
    let known = Known {
        templates: texts.keys().map(String::as_str).collect(),
        components: scan::components(texts.values().map(String::as_str)),
    };
    let is_lost = |text: &str| {
        text.starts_with("Unknown component")
            && text.split('`').nth(1).is_some_and(|name| lost.contains(&name))
    };
    let of = |Report { text, name, line, column }: Report<'_>| {
        let source = texts.get(name).map_or("", String::as_str);
        in_file(name, lower_first(text)).at_line(source, line, column).maybe_hint(known.instead_of(text))
    };
    found.into_iter().filter(|report| !is_lost(report.text)).map(of).collect()
}

/// Parts templates from a parent where they or it are unsure, and so on with those that rest on them.
fn part_from(texts: &mut BTreeMap<String, String>, unsure: &mut BTreeSet<String>, prefixes: &[&str]) {
    let is_unsure = |parent: &str, unsure: &BTreeSet<String>| {
        prefixes.iter().any(|prefix| unsure.contains(&format!("{prefix}{parent}")))
    };
    while let Some((name, text)) = texts.iter_mut().find(|(name, text)| {
        scan::parent(text).is_some_and(|parent| unsure.contains(*name) || is_unsure(parent, unsure))
    }) {
        *text = scan::without(text, Tag::Extends);
        unsure.insert(name.clone());
    }
}

/// One of the engine's reports of names that it does not know.
struct Report<'m> {
    text: &'m str,
    name: &'m str,
    line: usize,
    column: usize,
}

fn reports(message: &str) -> Vec<Report<'_>> {
    let Some(place) = PLACE.as_ref() else { return Vec::new() };
    let found = place.captures_iter(message).map(|c| c.extract().1);
    found
        .map(|[text, name, line, column]| Report {
            text,
            name,
            line: line.parse().unwrap_or(1),
            column: column.parse().unwrap_or(1),
        })
        .collect()
}

/// Names of a site that its templates may say.
struct Known<'a> {
    templates: Vec<&'a str>,
    components: Vec<&'a str>,
}

impl Known<'_> {
    /// What to write instead of a name that is unknown, by a report such as "Unknown filter `upperr`".
    fn instead_of(&self, report: &str) -> Option<String> {
        let wrong = report.split('`').nth(1)?;
        if report.starts_with("Block ") {
            return Some("write it into the template that is extended, or remove it here".to_owned());
        }
        let kind = report.split_whitespace().nth(1)?;
        let gone = filters::GONE.iter().find(|(gone, _)| kind == "filter" && *gone == wrong);
        if let Some((_, instead)) = gone {
            return Some(format!("since Tera 2 it is {instead}"));
        }
        let known = match kind {
            "filter" => filters::NAMES,
            "test" => filters::TESTS,
            "function" => functions::NAMES,
            "component" => &self.components,
            _ => &self.templates,
        };
        Some(match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match kind {
                "component" => {
                    format!(
                        "define it in a template: {{% component {wrong}() %}} … {{% endcomponent {wrong} %}}"
                    )
                }
                "template" => format!("create templates/{wrong}"),
                _ => format!("known are {}", known.join(", ")),
            },
        })
    }
}

fn lower_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        // A word in capitals is a name, such as UTF or EOF.
        Some(first) if !chars.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// What went wrong while a template was rendered, with the place in the template.
pub(crate) fn explain_render(
    error: &tera::Error,
    rendered: &str,
    folders: &dyn Fn(&str) -> String,
) -> Diagnostic {
    let mut diagnostic = explain(error, folders);
    let apart = |near: &str| if near.ends_with('?') { " " } else { "; " };
    let near = diagnostic.hint.map_or_else(String::new, |near| format!("{near}{}", apart(&near)));
    diagnostic.hint = Some(format!("{near}it was rendering {rendered}"));
    diagnostic
}

/// What went wrong while content was rendered that is a template: `text` is its file, in which it begins at `body`.
pub(crate) fn explain_content(
    error: &tera::Error,
    source: &str,
    text: &str,
    body: usize,
    engine: &Engine,
    folders: &dyn Fn(&str) -> String,
) -> Vec<Diagnostic> {
    let before = text[..body].matches('\n').count();
    let here =
        |message, line, column| Diagnostic::in_file(source, message).at_line(text, before + line, column);
    if let ErrorKind::Msg(message) = error.kind() {
        let found = reports(message);
        if !found.is_empty() {
            let known =
                Known { templates: engine.names(), components: engine.tera.get_component_names().collect() };
            let of = |report: Report<'_>| {
                let wrong = report.text.split('`').nth(1).unwrap_or_default();
                let is_shortcode = report.text.starts_with("Unknown function")
                    && nearest(wrong, functions::NAMES.iter().copied()).is_none();
                let hint =
                    if is_shortcode { Some(SHORTCODES.to_owned()) } else { known.instead_of(report.text) };
                here(lower_first(report.text), report.line, report.column).maybe_hint(hint)
            };
            return found.into_iter().map(of).collect();
        }
        // Such words say that the engine knows content by no name.
        if message.contains("render_str") {
            let tag = ["{% extends", "{% block"].iter().find_map(|tag| text[body..].find(tag));
            return vec![
                Diagnostic::in_file(source, "content neither extends a template nor has blocks")
                    .at(text, body + tag.unwrap_or(0))
                    .hint("choose a `template` in the front matter; content may include templates, and call components"),
            ];
        }
    }
    let mut diagnostic = explain(error, folders);
    match (diagnostic.path.as_deref(), diagnostic.line, diagnostic.column) {
        (Some(CONTENT), Some(line), Some(column)) => {
            let is_syntax = matches!(error.kind(), ErrorKind::SyntaxError(_));
            let literal = is_syntax || diagnostic.message.ends_with("is not defined");
            let message = diagnostic.message;
            let told = here(message.clone(), line as usize, column as usize);
            let shortcode = is_syntax && told.excerpt.as_deref().is_some_and(is_shortcode);
            let at = offset_of(&text[body..], line as usize, column as usize);
            let slip = slips::of(&message, &text[body..], at).filter(|_| is_syntax && !shortcode);
            diagnostic = match slip {
                Some(slip) => Diagnostic::in_file(source, slip.message.unwrap_or(message))
                    .at(text, body + slip.at)
                    .hint(slip.hint),
                None => {
                    let hint = if shortcode { Some(SHORTCODES.to_owned()) } else { diagnostic.hint };
                    told.maybe_hint(hint.or_else(|| literal.then(|| RAW.to_owned())))
                }
            };
        }
        (None, ..) => diagnostic.path = Some(source.to_owned()),
        _ => {}
    }
    let is_elsewhere = diagnostic.path.as_deref() != Some(source);
    let rendering = || is_elsewhere.then(|| format!("it was rendering {source}"));
    diagnostic.hint = diagnostic.hint.or_else(rendering);
    vec![diagnostic]
}

/// The byte at a line and a column, both counted from 1.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let here = text[before..].char_indices().nth(column.saturating_sub(1));
    here.map_or(text.len(), |(at, _)| before + at)
}

/// Whether a line calls a shortcode as Zola had them until 0.22, or as Hugo has them.
fn is_shortcode(line: &str) -> bool {
    static CALL: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\{%-?\s*\w+\s*\(|\{\{[<%]\s*/?\s*\w+\s").ok());
    CALL.as_ref().is_some_and(|call| call.is_match(line))
}

/// The argument that a call behind a column has instead of the one that it needs.
fn misspelt(line: &str, column: usize, missing: &str) -> Option<String> {
    static ARGUMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"([A-Za-z_]\w*)\s*=[^=]").ok());
    let call = line.get(line.char_indices().nth(column).map_or(0, |(at, _)| at)..)?;
    let given = ARGUMENT.as_ref()?.captures_iter(call).map(|found| found.extract::<1>().1[0]);
    let near = nearest(missing, given.filter(|given| *given != missing))?;
    Some(format!("is `{near}` meant to be `{missing}`?"))
}

/// The name behind a column, with its fields: `page.title`.
fn path_at(line: &str, column: usize) -> Option<&str> {
    let rest = line.get(line.char_indices().nth(column)?.0..)?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.' && c != '?');
    Some(&rest[..end.unwrap_or(rest.len())])
        .filter(|path| path.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The field of a page or a section that is meant by one that they do not have.
fn near_field(path: &str) -> Option<String> {
    let (of @ ("page" | "section"), field) = path.split_once('.')? else { return None };
    let near = nearest(field, Field::ALL.iter().map(|field| field.name()))?;
    Some(format!("did you mean `{of}.{near}`?")).filter(|_| near != field)
}

/// Kinds of values by names that are not of Rust.
fn in_plain_words(message: &str) -> String {
    let kinds = message.split_once("nvalid type for the value, expected `").and_then(|(before, kinds)| {
        let (expected, got) = kinds.split_once("` but got `")?;
        Some((before, expected, got.strip_suffix('`')?))
    });
    match kinds {
        Some((before, expected, got)) => {
            format!("{before}nvalid value: expected {}, found {}", in_words(expected), in_words(got))
        }
        None => message.to_owned(),
    }
}

/// A message of the engine without the names that it lists as right ones, and the nearest of them as the hint.
fn nearest_listed(message: String) -> (String, Option<String>) {
    let fields = message.split_once(". Available fields: ");
    if let Some((short, known)) = fields.or_else(|| message.split_once(". Available variables: ")) {
        let wrong = short.split('`').nth(1).unwrap_or_default();
        let near = nearest(wrong, known.split(", ")).map(|near| format!("did you mean `{near}`?"));
        return (short.to_owned(), near);
    }
    if let Some((short, known)) = message.split_once(" in component call. Possible argument(s) are: ") {
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let mut wrong: Vec<&str> = short.split('`').skip(1).step_by(2).collect();
        wrong.sort_unstable();
        let hint = match wrong.iter().find_map(|wrong| nearest(wrong, known.iter().copied())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        return (format!("the component has no argument `{}`", wrong.join("`, `")), Some(hint));
    }
    (message, None)
}

/// What the engine says, with its place, and the nearest right name as the hint.
fn explain(error: &tera::Error, folders: &dyn Fn(&str) -> String) -> Diagnostic {
    if let ErrorKind::RenderingError(report) | ErrorKind::SyntaxError(report) = error.kind() {
        let shown = error.to_string();
        // The report holds the source line, but gives it away only as part of its text.
        let mut below = shown.lines().skip_while(|line| !line.trim_start().starts_with("--> "));
        let excerpt = below.nth(2).and_then(|line| line.split_once("| ")).map(|(_, code)| code.to_owned());
        let span = report.span();
        let (mut message, mut hint) = nearest_listed(lower_first(report.message()));
        if let Some(source) = std::error::Error::source(error) {
            message = format!("{message}: {source}");
        }
        // A pattern is drawn beneath itself, over several lines.
        if let Some((head, drawn)) = message.split_once(": regex parse error:") {
            let why = drawn.rsplit_once("error: ").map_or(drawn, |(_, why)| why).trim();
            message = format!("{head}: {why}");
        }
        message = in_plain_words(&message);
        if let Some((short, near)) = message.rsplit_once(", did you mean ") {
            hint = Some(format!("did you mean {near}"));
            message = short.to_owned();
        }
        let undefined = message.ends_with("something that is not defined");
        if let Some(missing) = excerpt.as_deref().and_then(|line| path_at(line, span.start_col)) {
            if message == "iteration not possible on type `undefined`" {
                message = format!("`{missing}` is not defined");
                hint = near_field(missing);
            } else if undefined || message == "tried to render a variable that is undefined" {
                hint = hint.or_else(|| near_field(missing));
            }
        }
        if message.starts_with("`+` requires") && message.contains("`string`") {
            hint = Some("texts are joined with `~`".to_owned());
        }
        if let Some((_, rest)) = message.split_once("issing keyword argument `")
            && let Some((missing, _)) = rest.split_once('`')
        {
            hint = excerpt.as_deref().and_then(|line| misspelt(line, span.start_col, missing));
            hint.get_or_insert_with(|| format!("write it with its name: {missing}=…"));
        }
        let advice = ADVICE.iter().find(|(said, _)| message.contains(said));
        hint = hint.or_else(|| advice.map(|(_, advice)| (*advice).to_owned()));
        return Diagnostic {
            path: Some(folders(report.filename())),
            line: u32::try_from(span.start_line).ok(),
            column: u32::try_from(span.start_col + 1).ok(),
            excerpt,
            hint,
            ..Diagnostic::new(message)
        };
    }
    let mut message = lower_first(&error.to_string());
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    let is_endless = message.contains("recursion depth for components");
    Diagnostic::new(message)
        .maybe_hint(is_endless.then(|| "a component calls itself without an end".to_owned()))
}
