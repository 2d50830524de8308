//! One page a row.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::civil;
use serde_json::{Map, Value};

use super::config::{PageConfig, SourceConfig};
use super::error::{CellError, DataError, show};
use super::snapshot::Snapshot;
use crate::diagnostic::DIAGNOSTICS_MAX;

/// Longest slug: it becomes a file name, of which most file systems allow 255 bytes.
const SLUG_BYTES_MAX: usize = 200;
/// What is said of a column that a row does not have, before those that it has.
const NOT_THERE: &str = "is not there; the row has ";

/// A page that a row makes.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPage {
    /// Where the page's file would be, below `content/`: `news/some-slug.md`.
    pub path: String,
    /// Its front matter, as a file's would be: `title`, `slug`, `date`, `taxonomies`, `extra`…
    pub front_matter: toml::Table,
    /// Its text, in Markdown.
    pub body: String,
    /// The source.
    pub source: String,
    /// The row, counted from 1.
    pub row: usize,
    /// The file that has the row, and the line in which it begins, as far as that is known; none where no file has it.
    pub place: Option<(Arc<str>, usize)>,
}

/// The pages that the rows of `snapshot` make, in their order; none where the source makes no pages.
///
/// # Errors
/// [`DataError::BadRows`] with every bad cell, as many as are shown of errors. One fails the source: a page that is missing
/// without a word is worse than yesterday's.
pub fn pages(source: &SourceConfig, snapshot: &Snapshot) -> Result<Vec<RowPage>, DataError> {
    let Made { pages, errors, more } = made(source, snapshot);
    if errors.is_empty() {
        Ok(pages)
    } else {
        Err(DataError::BadRows { name: source.name.clone(), errors, more })
    }
}

/// What rows make.
pub(super) struct Made {
    /// The pages of good ones.
    pub(super) pages: Vec<RowPage>,
    /// What is wrong with others, as much as is shown of errors.
    pub(super) errors: Vec<CellError>,
    /// How much more is.
    pub(super) more: usize,
}

/// Makes the pages of the rows of `snapshot`.
pub(super) fn made(source: &SourceConfig, snapshot: &Snapshot) -> Made {
    let mut made = Made { pages: Vec::new(), errors: Vec::new(), more: 0 };
    let Some(config) = &source.page else { return made };
    let mut rows_by_slug = BTreeMap::new();
    let columns = snapshot.rows().iter().flat_map(Map::keys).map(String::as_str).collect();
    for (index, cells) in snapshot.rows().iter().enumerate() {
        let row = Row { source: &source.name, number: index + 1, cells, columns: &columns };
        let (slug, mut page) = page(config, &row);
        if let Some(slug) = slug
            && let first = *rows_by_slug.entry(slug.clone()).or_insert(row.number)
            && first != row.number
        {
            let twice = row.error(&config.slug, &slug, format!("makes the same slug as row {first}"));
            page = Err(page.err().into_iter().flatten().chain([twice]).collect());
        }
        match page {
            Ok(page) => made.pages.push(page),
            Err(errors) => errors.into_iter().for_each(|error| made.tell(error)),
        }
    }
    made
}

impl Made {
    fn tell(&mut self, error: CellError) {
        // Of a column that rows of these columns lack it is said once.
        let is_told = self.errors.iter().any(|known| known.lacks_column_as(&error));
        match self.errors.len() < DIAGNOSTICS_MAX {
            _ if is_told => {}
            true => self.errors.push(error),
            false => self.more += 1,
        }
    }
}

/// `"column"` or `"{{ column }} and {{ another }}"`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pattern<'a> {
    Column(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Column(&'a str),
}

impl<'a> Pattern<'a> {
    /// Reads a column's name or a pattern; the error completes "`key` …".
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("must name a column".into());
        }
        if !text.contains("{{") && !text.contains("}}") {
            return Ok(Self::Column(text));
        }
        let malformed =
            || format!("must be a column or a pattern such as \"{{{{ id }}}}-{{{{ name }}}}\", not {text:?}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (column, after) = after.split_once("}}").ok_or_else(malformed)?;
            let column = column.trim();
            if before.contains("}}") || column.is_empty() || column.contains('{') {
                return Err(malformed());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before));
            }
            parts.push(Part::Column(column));
            rest = after;
        }
        if rest.contains("}}") {
            return Err(malformed());
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest));
        }
        Ok(Self::Parts(parts))
    }
}

impl CellError {
    /// Whether both say that rows of the same columns lack one.
    fn lacks_column_as(&self, other: &Self) -> bool {
        self.column == other.column && self.problem == other.problem && self.problem.starts_with(NOT_THERE)
    }

    /// The columns that its row has, where it lacks the one that is asked for.
    pub(super) fn columns(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.problem.strip_prefix(NOT_THERE)?.split(", "))
    }
}

struct Row<'a> {
    source: &'a str,
    number: usize,
    cells: &'a Map<String, Value>,
    /// The columns of all rows.
    columns: &'a HashSet<&'a str>,
}

impl Row<'_> {
    fn error(&self, column: &str, value: &str, problem: impl Into<String>) -> CellError {
        CellError {
            name: self.source.to_owned(),
            row: self.number,
            column: column.to_owned(),
            value: value.to_owned(),
            problem: problem.into(),
        }
    }

    fn bad(&self, column: &str, value: &Value, problem: impl Into<String>) -> CellError {
        self.error(column, &show(value), problem)
    }

    /// The cell, or nothing where it is null or left out, as TOML has no null and many an API sends none. A column that no row has is an
    /// error with those that there are: it may be misspelt.
    fn cell(&self, column: &str) -> Result<Option<&Value>, CellError> {
        match self.cells.get(column) {
            Some(Value::Null) => Ok(None),
            Some(value) => Ok(Some(value)),
            None if self.columns.contains(column) => Ok(None),
            None => {
                let columns: Vec<&str> = self.cells.keys().map(String::as_str).collect();
                let shown = Value::from(columns.join(", "));
                Err(self.error(column, "", format!("{NOT_THERE}{}", show(&shown).replace('"', ""))))
            }
        }
    }

    /// A text, or a number written as one.
    fn text(&self, column: &str) -> Result<Option<String>, CellError> {
        match self.cell(column)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(value) => Err(self.bad(column, value, "must be a text")),
        }
    }

    /// A column's text or a pattern's, null columns of a pattern being an error.
    fn pattern(&self, text: &str) -> Result<Option<String>, CellError> {
        match Pattern::parse(text).map_err(|problem| self.error(text, "", problem))? {
            Pattern::Column(column) => self.text(column),
            Pattern::Parts(parts) => {
                let mut out = String::new();
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Column(column) => match self.text(column)? {
                            Some(text) => out.push_str(&text),
                            None => return Err(self.error(column, "null", "must not be null")),
                        },
                    }
                }
                Ok(Some(out))
            }
        }
    }

    fn required(&self, pattern: &str) -> Result<String, CellError> {
        match self.pattern(pattern)? {
            None => Err(self.error(pattern, "null", "must not be null")),
            Some(text) if text.trim().is_empty() => Err(self.error(pattern, "\"\"", "must not be empty")),
            Some(text) => Ok(text),
        }
    }
}

/// The slug of a row, if it has one, and its page, or all that is wrong with it.
fn page(config: &PageConfig, row: &Row<'_>) -> (Option<String>, Result<RowPage, Vec<CellError>>) {
    let mut errors = Vec::new();
    let slug = slug_of(config, row).map_err(|error| errors.push(error)).ok();
    let mut front = toml::Table::new();
    let mut set = |key: &str, value: Result<Option<toml::Value>, CellError>| match value {
        Ok(value) => front.extend(value.map(|value| (key.to_owned(), value))),
        Err(error) => errors.push(error),
    };
    let optional = |pattern: &Option<String>| match pattern {
        Some(pattern) => row.pattern(pattern),
        None => Ok(None),
    };
    set("title", row.required(&config.title).map(|title| Some(title.into())));
    set("slug", Ok(slug.clone().map(Into::into)));
    set("description", optional(&config.description).map(|text| text.map(Into::into)));
    for (key, column) in
        [("date", &config.date), ("updated", &config.updated), ("expiry_date", &config.expiry_date)]
    {
        if let Some(column) = column {
            let value = row.cell(column).transpose();
            let date = value.map(|value| Ok(date(row, column, value?)?.into()));
            set(key, date.transpose());
        }
    }
    set("template", Ok(config.template.clone().map(Into::into)));
    let mut taxonomies = toml::Table::new();
    for (taxonomy, column) in &config.taxonomies {
        match terms(row, column) {
            Ok(terms) if terms.is_empty() => {}
            Ok(terms) => {
                taxonomies.insert(taxonomy.clone(), toml::Value::Array(terms));
            }
            Err(error) => set("taxonomies", Err(error)),
        }
    }
    if !taxonomies.is_empty() {
        set("taxonomies", Ok(Some(taxonomies.into())));
    }
    let mut extra = toml::Table::new();
    let columns = match &config.extra {
        Some(columns) => columns.iter().collect(),
        None => row.cells.keys().collect::<Vec<_>>(),
    };
    for column in columns {
        let value = row.cell(column).transpose();
        match value.map(|value| to_toml(row, column, value?)).transpose() {
            Ok(value) => extra.extend(value.map(|value| (column.clone(), value))),
            Err(error) => set("extra", Err(error)),
        }
    }
    set("extra", Ok(Some(extra.into())));
    let body = optional(&config.body).map_err(|error| errors.push(error)).ok().flatten();
    // What two keys are made of is wrong once.
    errors.dedup();
    let page = match &slug {
        Some(slug) if errors.is_empty() => Ok(RowPage {
            path: path(&config.section, slug),
            front_matter: front,
            body: body.unwrap_or_default(),
            source: row.source.to_owned(),
            row: row.number,
            place: None,
        }),
        _ => Err(errors),
    };
    (slug, page)
}

/// Where the page's file would be.
fn path(section: &str, slug: &str) -> String {
    // A file of that name would be the page of the folder that it is in.
    let name = if slug == "index" { "index/index" } else { slug };
    match section {
        "" => format!("{name}.md"),
        section => format!("{section}/{name}.md"),
    }
}

fn slug_of(config: &PageConfig, row: &Row<'_>) -> Result<String, CellError> {
    let given = row.required(&config.slug)?;
    let slug = slug(&given);
    if slug.is_empty() {
        return Err(row.error(&config.slug, &given, "has no letter or digit to make an address of"));
    }
    if slug.len() > SLUG_BYTES_MAX {
        let problem = format!("makes a slug longer than {SLUG_BYTES_MAX} bytes");
        return Err(row.bad(&config.slug, &Value::from(given), problem));
    }
    Ok(slug)
}

/// Letters and digits, lower-cased; runs of anything else become one `-`. What comes out is a safe file name whatever
/// went in: no slash, no dot, nothing that ends a path or begins an option.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for char in text.chars().flat_map(char::to_lowercase) {
        if char.is_alphanumeric() {
            slug.push(char);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    if slug.ends_with('-') {
        slug.pop();
    }
    slug
}

/// A date as front matter has it.
fn date(row: &Row<'_>, column: &str, value: &Value) -> Result<toml::value::Datetime, CellError> {
    let bad = || row.bad(column, value, "must be a date: RFC 3339, YYYY-MM-DD, or seconds since 1970");
    let text = match value {
        Value::Number(number) => {
            let seconds = number.as_i64().ok_or_else(bad)?;
            jiff::Timestamp::from_second(seconds).map_err(|_| bad())?.to_string()
        }
        Value::String(text) => {
            let text = text.trim();
            if text.len() == 10 {
                text.parse::<civil::Date>().map_err(|_| bad())?.to_string()
            } else if let Ok(instant) = text.parse::<jiff::Timestamp>() {
                instant.to_string()
            } else {
                // SQLite's datetime() gives UTC and does not say so.
                let civil: civil::DateTime = text.parse().map_err(|_| bad())?;
                format!("{civil}Z")
            }
        }
        _ => return Err(bad()),
    };
    text.parse().map_err(|_| bad())
}

fn terms(row: &Row<'_>, column: &str) -> Result<Vec<toml::Value>, CellError> {
    let Some(value) = row.cell(column)? else { return Ok(Vec::new()) };
    let texts: Vec<String> = match value {
        Value::String(text) => text.split(',').map(|term| term.trim().to_owned()).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| row.bad(column, value, "must hold texts only"))?,
        _ => return Err(row.bad(column, value, "must be an array of texts, or a text with commas")),
    };
    Ok(texts.into_iter().filter(|term| !term.is_empty()).map(toml::Value::String).collect())
}

/// TOML has no null: in an object it is left out; in an array, where leaving it out would shift the others, refused.
fn to_toml(row: &Row<'_>, column: &str, value: &Value) -> Result<toml::Value, CellError> {
    Ok(match value {
        Value::Null => return Err(row.bad(column, value, "holds a null in an array")),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) if !number.is_u64() => float.into(),
            _ => return Err(row.bad(column, value, "is a number beyond 64 bits with sign")),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => {
            toml::Value::Array(items.iter().map(|item| to_toml(row, column, item)).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            let mut table = toml::Table::new();
            for (key, item) in object {
                if !item.is_null() {
                    table.insert(key.clone(), to_toml(row, column, item)?);
                }
            }
            table.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(page: &str) -> SourceConfig {
        toml::from_str(&format!("name='news'\ntype='sql'\ndatabase='d'\nquery='q'\n[page]\n{page}")).unwrap()
    }

    fn snapshot(rows: Value) -> Snapshot {
        let Value::Array(rows) = rows else { panic!("not rows") };
        Snapshot::new(rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect())
    }

    fn made(page: &str, rows: Value) -> Vec<RowPage> {
        pages(&source(page), &snapshot(rows)).unwrap()
    }

    fn errors(page: &str, rows: Value) -> Vec<String> {
        match pages(&source(page), &snapshot(rows)).unwrap_err() {
            DataError::BadRows { errors, .. } => errors.iter().map(ToString::to_string).collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn makes_a_page_of_a_row() {
        let pages = made(
            "section='news/world'\nslug='{{ id }}-{{title}}'\ntitle='title'\nbody='text'\ndate='at'\nexpiry_date='until'\n\
             description='{{ title }} ({{ id }})'\ntemplate='story.html'\nextra=['id','deep','none']\n\
             taxonomies={ topics='topics', authors='by' }",
            json!([{"id": 7, "title": "Größe & \"Maß\"", "text": "# Hi", "at": "2026-11-23 18:00:00", "until": 1_800_000_000,
                    "topics": "a, b,,", "by": ["x"], "deep": {"a": [1, 2.5, true], "null": null}, "none": null}]),
        );
        let [page] = pages.as_slice() else { panic!("{pages:?}") };
        assert_eq!(page.path, "news/world/7-größe-maß.md");
        assert_eq!((page.body.as_str(), page.source.as_str(), page.row), ("# Hi", "news", 1));
        let expected: toml::Table = toml::from_str(
            "title = 'Größe & \"Maß\"'\nslug = '7-größe-maß'\ndate = 2026-11-23T18:00:00Z\nexpiry_date = 2027-01-15T08:00:00Z\n\
             description = 'Größe & \"Maß\" (7)'\ntemplate = 'story.html'\ntaxonomies = { topics = ['a', 'b'], authors = ['x'] }\n\
             extra = { id = 7, deep = { a = [1, 2.5, true] } }",
        )
        .unwrap();
        assert_eq!(page.front_matter, expected);
    }

    #[test]
    fn all_columns_are_extra_unless_said() {
        let pages = made("slug='id'\ntitle='t'", json!([{"id": 1, "t": "x", "n": null}]));
        assert_eq!(pages[0].path, "1.md");
        assert_eq!(pages[0].front_matter["extra"], toml::toml! { id = 1 t = "x" }.into());
    }

    #[test]
    fn a_row_is_not_the_page_of_its_section() {
        let pages =
            made("section='news'\nslug='id'\ntitle='id'", json!([{"id": "_Index"}, {"id": "indexes"}]));
        assert_eq!(
            pages.iter().map(|page| &*page.path).collect::<Vec<_>>(),
            ["news/index/index.md", "news/indexes.md"]
        );
    }

    #[test]
    fn no_pages_without_a_page_table() {
        let source: SourceConfig = toml::from_str("name='x'\ntype='sql'\ndatabase='d'\nquery='q'").unwrap();
        assert_eq!(pages(&source, &snapshot(json!([{}]))).unwrap(), []);
    }

    #[test]
    fn dates_in_every_form_and_no_other() {
        let date = |value: Value| {
            let pages =
                pages(&source("slug='id'\ntitle='id'\ndate='d'"), &snapshot(json!([{"id": 1, "d": value}])));
            pages.map(|pages| pages[0].front_matter.get("date").map(ToString::to_string)).map_err(|_| ())
        };
        for (value, expected) in [
            (json!("2026-02-28"), Some("2026-02-28")),
            (json!("2026-02-28T10:00:00+01:00"), Some("2026-02-28T09:00:00Z")),
            (json!("2026-02-28 10:00:00Z"), Some("2026-02-28T10:00:00Z")),
            (json!("2026-02-28 10:00:00"), Some("2026-02-28T10:00:00Z")),
            (json!("2026-02-28T10:00:00.5"), Some("2026-02-28T10:00:00.5Z")),
            (json!(0), Some("1970-01-01T00:00:00Z")),
            (json!(null), None),
        ] {
            assert_eq!(date(value.clone()), Ok(expected.map(str::to_owned)), "{value}");
        }
        for value in [
            json!("2026-02-30"),
            json!("2026-13-01"),
            json!("soon"),
            json!(""),
            json!("2026-02-28T25:00:00"),
            json!(1e300),
            json!(true),
            json!(9_000_000_000_000_000_000_i64),
        ] {
            assert_eq!(date(value.clone()), Err(()), "{value}");
        }
    }

    #[test]
    fn slugs_are_safe_names() {
        for (text, expected) in [
            ("Hello, World!", "hello-world"),
            ("../../etc/passwd", "etc-passwd"),
            ("a/b\\c\0d", "a-b-c-d"),
            ("--rm -rf", "rm-rf"),
            ("ÄÖ日本", "äö日本"),
            ("  ", ""),
            ("...", ""),
        ] {
            assert_eq!(slug(text), expected);
        }
    }

    #[test]
    fn every_bad_row_is_named_with_column_and_value() {
        let page = "slug='slug'\ntitle='title'\ndate='at'\ntaxonomies={ t='terms' }";
        let good = json!({"slug": "a", "title": "A", "at": null, "terms": null});
        let with = |key: &str, value: Value| {
            let mut row = good.clone();
            row["slug"] = format!("{key}-{value}").into();
            row[key] = value;
            row
        };
        assert_eq!(
            errors(
                page,
                json!([
                    good, with("slug", json!("A!")), with("slug", json!(null)), with("slug", json!("?!")),
                    with("title", json!(" ")), with("title", json!(true)), with("at", json!("2026-02-30")),
                    with("terms", json!([1])), with("terms", json!(5)), with("slug", json!("x".repeat(300))), {"slug": "b"},
                ])
            ),
            [
                "source `news`: row 2: column `slug` makes the same slug as row 1 (value: a)".to_owned(),
                "source `news`: row 3: column `slug` must not be null (value: null)".into(),
                "source `news`: row 4: column `slug` has no letter or digit to make an address of (value: ?!)".into(),
                "source `news`: row 5: column `title` must not be empty (value: \"\")".into(),
                "source `news`: row 6: column `title` must be a text (value: true)".into(),
                "source `news`: row 7: column `at` must be a date: RFC 3339, YYYY-MM-DD, or seconds since 1970 \
                 (value: \"2026-02-30\")"
                    .into(),
                "source `news`: row 8: column `terms` must hold texts only (value: [1])".into(),
                "source `news`: row 9: column `terms` must be an array of texts, or a text with commas (value: 5)".into(),
                format!(
                    "source `news`: row 10: column `slug` makes a slug longer than 200 bytes (value: \"{}…)",
                    "x".repeat(79)
                ),
                // What others have, it may leave out where it need not have it.
                "source `news`: row 11: column `title` must not be null (value: null)".into(),
            ]
        );
        assert_eq!(
            errors(page, json!([{"slug": "a", "title": "A", "terms": "x"}, {"slug": "b", "title": "B"}])),
            [
                "source `news`: row 1: column `at` is not there; the row has slug, terms, title",
                "source `news`: row 2: column `at` is not there; the row has slug, title",
            ]
        );
        let many: Vec<Value> = (0..250).map(|_| json!({"slug": null})).collect();
        let error = pages(&source(page), &snapshot(many.clone().into())).unwrap_err().to_string();
        assert!(error.ends_with(", and 252 more bad cells"), "{error}");
        assert_eq!(errors(page, many.into()).len(), DIAGNOSTICS_MAX);
    }

    #[test]
    fn what_toml_cannot_hold_is_named() {
        let page = "slug='id'\ntitle='id'";
        assert_eq!(
            errors(page, json!([{"id": 1, "x": u64::MAX}])),
            [
                "source `news`: row 1: column `x` is a number beyond 64 bits with sign (value: 18446744073709551615)"
            ]
        );
        assert!(errors(page, json!([{"id": 1, "x": [null]}]))[0].contains("`x` holds a null in an array"));
    }

    #[test]
    fn patterns_are_read_or_refused() {
        assert_eq!(Pattern::parse("a b"), Ok(Pattern::Column("a b")));
        assert_eq!(
            Pattern::parse("{{a}}-{{ b }}!"),
            Ok(Pattern::Parts(vec![Part::Column("a"), Part::Text("-"), Part::Column("b"), Part::Text("!")]))
        );
        for bad in ["", " ", "{{", "}}", "{{ }}", "a}}b{{c}}", "{{a}} {{", "{{a {{b}}", "{{a}}}}"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
