//! The filters and tests of templates, under the names that Zola 0.23 gives them.

use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime as Zoned};
use num_format::{Locale, ToFormattedString};
use tera::{Error, Kwargs, Map, Number, State, Tera, TeraResult, Value};
use tera_contrib as contrib;

use crate::config::{AnchorLinks, MarkdownConfig};
use crate::diagnostic::Diagnostic;
use crate::front_matter::in_words;
use crate::functions::{note_day, random_index, zone_named};
use crate::highlight::Fence;
use crate::markdown::Surroundings;
use crate::scope::Scope;
use crate::{locales, markdown, slugs, value};

/// All names of filters, the engine's own included, for hints.
pub(crate) const NAMES: &[&str] = &[
    "safe",
    "default",
    "upper",
    "lower",
    "wordcount",
    "escape",
    "escape_html",
    "escape_xml",
    "newlines_to_br",
    "pluralize",
    "trim",
    "trim_start",
    "trim_end",
    "replace",
    "capitalize",
    "title",
    "truncate",
    "indent",
    "str",
    "int",
    "float",
    "length",
    "reverse",
    "split",
    "abs",
    "round",
    "first",
    "last",
    "nth",
    "join",
    "sort",
    "unique",
    "get",
    "values",
    "keys",
    "pairs",
    "group_by",
    "markdown",
    "base64_encode",
    "base64_decode",
    "b64_encode",
    "b64_decode",
    "regex_replace",
    "num_format",
    "date",
    "shuffle",
    "striptags",
    "spaceless",
    "urlencode",
    "urlencode_strict",
    "json_encode",
    "filesizeformat",
    "filesize_format",
    "format",
    "slugify",
    "slug",
];

/// All names of tests, for hints.
pub(crate) const TESTS: &[&str] = &[
    "string",
    "number",
    "map",
    "bool",
    "array",
    "integer",
    "float",
    "none",
    "iterable",
    "defined",
    "undefined",
    "odd",
    "even",
    "divisible_by",
    "starting_with",
    "ending_with",
    "containing",
    "matching",
    "before",
    "after",
];

/// Filters that Tera 1 had, and how the same is written now.
pub(crate) const GONE: &[(&str, &str)] = &[
    ("map", "`[item.field for item in list]`"),
    ("filter", "`[item for item in list if item.field == value]`"),
    ("slice", "`list[start:end]`"),
    ("concat", "`[...list, ...more]`"),
    ("as_str", "`str`"),
    ("linebreaksbr", "`newlines_to_br`"),
    ("trim_start_matches", "`trim_start`"),
    ("trim_end_matches", "`trim_end`"),
    ("addslashes", "`replace`, once for each character"),
];

pub(crate) fn register(tera: &mut Tera) {
    tera.register_filter("markdown", markdown);
    tera.register_filter("base64_encode", contrib::base64::b64_encode);
    tera.register_filter("base64_decode", contrib::base64::b64_decode);
    tera.register_filter("b64_encode", contrib::base64::b64_encode);
    tera.register_filter("b64_decode", contrib::base64::b64_decode);
    tera.register_filter("regex_replace", contrib::regex::RegexReplace::default());
    tera.register_filter("striptags", contrib::regex::striptags);
    tera.register_filter("spaceless", contrib::regex::spaceless);
    tera.register_filter("urlencode", contrib::urlencode::urlencode);
    tera.register_filter("urlencode_strict", contrib::urlencode::urlencode_strict);
    tera.register_filter("json_encode", contrib::json::json_encode);
    tera.register_filter("filesizeformat", contrib::filesize_format::filesize_format);
    tera.register_filter("filesize_format", contrib::filesize_format::filesize_format);
    tera.register_filter("format", contrib::format::format);
    tera.register_filter("slugify", slugify);
    tera.register_filter("slug", slugify);
    tera.register_filter("num_format", num_format);
    tera.register_filter("date", date);
    tera.register_filter("shuffle", shuffle);
    tera.register_filter("group_by", group_by);
    tera.register_test("matching", contrib::regex::Matching::default());
    tera.register_test("before", is_before);
    tera.register_test("after", is_after);
}

fn markdown(text: &str, kwargs: Kwargs, state: &State<'_>) -> TeraResult<String> {
    let inline = kwargs.get::<bool>("inline")?.unwrap_or(false);
    let permalink = ["page", "section"].iter().find_map(|name| {
        let of: Value = state.get(name).ok()??;
        Some(of.as_map()?.get(&value::key("permalink"))?.as_str()?.to_owned())
    });
    let permalink = permalink.unwrap_or_default();
    let html = Scope::with(|scope| {
        let html = markdown::render(text, &Loose { scope, permalink });
        for problem in html.problems {
            if !scope.site.passes_over(&problem) {
                return Err(Error::message(problem.message));
            }
            scope.site.warn(Diagnostic::in_file(&*scope.name, problem.message));
        }
        Ok(html.body)
    })?;
    match html.strip_prefix("<p>").and_then(|rest| rest.trim_end().strip_suffix("</p>")) {
        Some(inside) if inline => Ok(inside.to_owned()),
        _ => Ok(html),
    }
}

/// Markdown that is no content: links within it begin at the page or section that it stands on, if any.
struct Loose<'a> {
    scope: &'a Scope,
    permalink: String,
}

impl Surroundings for Loose<'_> {
    fn config(&self) -> &MarkdownConfig {
        &self.scope.site.config.markdown
    }

    fn slugify_anchors(&self) -> slugs::Slugify {
        self.scope.site.config.slugify.anchors
    }

    fn anchor_links(&self) -> AnchorLinks {
        AnchorLinks::None
    }

    fn permalink(&self) -> &str {
        &self.permalink
    }

    fn resolve(&self, target: &str) -> Option<String> {
        self.scope.site.resolve(target, self.scope.absolute)
    }

    fn anchor_link(&self, _: &str, _: u8, _: &str) -> Result<String, String> {
        Ok(String::new())
    }

    fn summary_cutoff(&self, _: &str) -> Result<String, String> {
        Ok(String::new())
    }

    fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
        self.scope.site.code(fence, code)
    }

    fn image_exists(&self, _: &str) -> Option<bool> {
        None
    }
}

fn slugify(text: &str, _: Kwargs, _: &State<'_>) -> String {
    slugs::path_component(text, slugs::Slugify::On)
}

/// A number as a language groups its digits; the site's default language where none is named.
fn num_format(number: Number, kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let own = Scope::with(|scope| Ok(scope.site.config.default_language.clone())).ok();
    let given = kwargs.get::<String>("locale")?;
    let name = given.as_deref().or(own.as_deref()).unwrap_or("en").replace('_', "-");
    let code = name.split('-').next().unwrap_or(&name);
    let locale = match (Locale::from_name(&name), Locale::from_name(code)) {
        (Ok(locale), _) | (Err(_), Ok(locale)) => locale,
        // A site may be in a language that no table has; a template that names one means it.
        _ if given.is_none() => Locale::en,
        _ => return Err(Error::message(format!("`{name}` is no language that numbers can be written in"))),
    };
    if let Some(whole) = number.as_integer() {
        return Ok(whole.to_formatted_string(&locale));
    }
    let shown = number.as_float().to_string();
    let (whole, part) = shown.split_once('.').unwrap_or((&shown, ""));
    match whole.parse::<i128>() {
        // The sign of -0.5 is not in its whole part.
        Ok(whole) if !part.is_empty() => {
            let sign = if whole == 0 && shown.starts_with('-') { locale.minus_sign() } else { "" };
            Ok(format!("{sign}{}{}{part}", whole.to_formatted_string(&locale), locale.decimal()))
        }
        Ok(whole) => Ok(whole.to_formatted_string(&locale)),
        Err(_) => Ok(shown),
    }
}

/// A date in any form that content has it.
fn moment(value: &Value, zone: Option<&TimeZone>) -> TeraResult<Zoned> {
    let default = || zone.cloned().unwrap_or(TimeZone::UTC);
    if let Some(text) = value.as_str() {
        let text = text.trim();
        if let Ok(zoned) = text.parse::<Zoned>() {
            return Ok(zoned);
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            let written = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
            return Ok(instant.to_zoned_datetime(written.map_or_else(default, TimeZone::fixed)));
        }
        return text
            .parse::<jiff::civil::DateTime>()
            .and_then(|date| date.to_zoned_datetime(default()))
            .map_err(|_| Error::message(format!("`{text}` is no date")));
    }
    match value.as_number() {
        Some(Number::Integer(seconds)) => i64::try_from(seconds)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|instant| instant.to_zoned_datetime(default()))
            .ok_or_else(|| Error::message(format!("{seconds} is no time in seconds since 1970"))),
        _ if value.is_none() => {
            Err(Error::message("there is no date: ask with `if` before, or choose a `default`"))
        }
        _ => {
            let kind = in_words(value.name());
            Err(Error::message(format!("a date is a text or a number of seconds, not {kind}")))
        }
    }
}

fn date(value: &Value, kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let format = kwargs.get::<&str>("format")?;
    let asked = kwargs.get::<&str>("timezone")?;
    let zone = asked.map(zone_named).transpose()?;
    let mut when = moment(value, zone.as_ref())?;
    if let Some((name, zone)) = asked.zip(zone) {
        note_day(when.timestamp(), name);
        when = when.with_time_zone(zone);
    }
    if let Some(locale) = kwargs.get::<&str>("locale")? {
        let Some(format) = format else {
            return Err(Error::message("a date in a language needs a `format`, such as \"d MMMM y\""));
        };
        if format.contains('%') {
            return Err(Error::message(
                "with `locale`, the `format` is a pattern such as \"d MMMM y\", without `%`",
            ));
        }
        let names = if let Some(names) = locales::find(locale) {
            names
        } else {
            let message = format!("dates in the language `{locale}` are not known here: they are in English");
            let warning = Diagnostic::new(message).hint("a language has a code such as `de` or `pt-BR`");
            Scope::with(|scope| {
                scope.site.warn(warning);
                Ok(())
            })?;
            locales::english()
        };
        return locales::format(&when, &names, format).map_err(Error::message);
    }
    let format = format.unwrap_or("%Y-%m-%d");
    jiff::fmt::strtime::format(format, &when)
        .map_err(|e| Error::message(format!("`{format}` is no date format: {e}")))
}

fn compare(value: &Value, kwargs: &Kwargs, wanted: std::cmp::Ordering) -> TeraResult<bool> {
    let other = kwargs.must_get::<&Value>("other")?;
    let inclusive = kwargs.get::<bool>("inclusive")?.unwrap_or(false);
    let order = moment(value, None)?.cmp(&moment(other, None)?);
    Ok(order == wanted || (inclusive && order.is_eq()))
}

fn is_before(value: &Value, kwargs: Kwargs, _: &State<'_>) -> TeraResult<bool> {
    compare(value, &kwargs, std::cmp::Ordering::Less)
}

fn is_after(value: &Value, kwargs: Kwargs, _: &State<'_>) -> TeraResult<bool> {
    compare(value, &kwargs, std::cmp::Ordering::Greater)
}

/// The same order for the same page and call: a render that shuffles is still a function of its inputs.
fn shuffle(mut list: Vec<Value>, kwargs: Kwargs, _: &State<'_>) -> TeraResult<Vec<Value>> {
    let seed = kwargs.get::<String>("seed")?;
    for i in (1..list.len()).rev() {
        let j = random_index(seed.as_deref(), i as u64, i + 1);
        list.swap(i, j);
    }
    Ok(list)
}

/// Groups in the order in which their first member came; the engine's own walks a hash map.
fn group_by(list: &[Value], kwargs: Kwargs, _: &State<'_>) -> TeraResult<Map> {
    let attribute = kwargs.must_get::<&str>("attribute")?;
    let mut groups: indexmap::IndexMap<tera::value::Key<'static>, Vec<Value>> = indexmap::IndexMap::new();
    for (i, item) in list.iter().enumerate() {
        match item.get_from_path(attribute) {
            None => {
                return Err(Error::message(format!("item {i} has no attribute `{attribute}`")));
            }
            Some(found) if found.is_none() => {}
            Some(found) => {
                let key = match (found.as_bool(), found.as_i64(), found.as_str()) {
                    (Some(flag), _, _) => tera::value::Key::Bool(flag),
                    (_, Some(number), _) => tera::value::Key::I64(number),
                    (_, _, Some(text)) => crate::value::owned_key(text),
                    _ => {
                        return Err(Error::message(format!("`{attribute}` of item {i} cannot name a group")));
                    }
                };
                groups.entry(key).or_default().push(item.clone());
            }
        }
    }
    Ok(groups.into_iter().map(|(key, items)| (key, Value::from(items))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(template: &str) -> String {
        let mut tera = Tera::new();
        register(&mut tera);
        match tera.render_str(template, &tera::Context::new(), false) {
            Ok(shown) => shown,
            Err(e) => e.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(
            show("{{ 1234567 | num_format }} {{ -1234 | num_format }} {{ 999 | num_format }}"),
            "1,234,567 -1,234 999"
        );
        assert_eq!(show("{{ 1234567 | num_format(locale=\"de\") }}"), "1.234.567");
        assert_eq!(show("{{ 1000000 | num_format(locale=\"en-IN\") }}"), "10,00,000");
        assert_eq!(show("{{ -0.5 | num_format }} {{ 1234.5 | num_format(locale=\"de\") }}"), "-0.5 1.234,5");
        assert!(show("{{ 1 | num_format(locale=\"tlh\") }}").contains("tlh"));
    }

    #[test]
    fn dates() {
        assert_eq!(show("{{ '2026-01-05' | date(format='%d.%m.%Y') }}"), "05.01.2026");
        assert_eq!(show("{{ '2026-01-05T23:00:00-03:00' | date(format='%H %:z') }}"), "23 -03:00");
        assert_eq!(
            show("{{ '2026-01-05' | date(format='%Y-%m-%dT%H:%M:%S%:z') }}"),
            "2026-01-05T00:00:00+00:00"
        );
        assert_eq!(show("{{ 0 | date(timezone='Europe/Berlin', format='%H:%M') }}"), "01:00");
        assert_eq!(
            show("{{ '2026-01-05' | date(locale='fr', format='EEEE d MMMM y') }}"),
            "lundi 5 janvier 2026"
        );
        assert_eq!(show("{{ '2026-01-05' is before(other='2026-01-06') }}"), "true");
        assert!(show("{{ 'nonsense' | date }}").contains("is no date"));
    }

    #[test]
    fn groups_keep_their_order() {
        assert_eq!(
            show(
                "{% for k, v in [{'a': 'z'}, {'a': 'b'}, {'a': 'z'}] | group_by(attribute='a') %}{{ k }}{{ v | length }} {% endfor %}"
            ),
            "z2 b1 "
        );
    }
}
