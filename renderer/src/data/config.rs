//! The `[[source]]` tables of `bakehouse.toml`: what may be written, and what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::error::DataError;
use crate::sources::is_listed;
use crate::whole::Whole;

/// Rows of a source unless `rows_max` says otherwise: a page each would make a render of ten thousand pages.
pub const ROWS_MAX_DEFAULT: usize = 10_000;
/// Bytes of a source unless `bytes_max` says otherwise: the body of an API, or the cells of a query.
pub const BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;
/// Time for a whole fetch unless `timeout` says otherwise: a render waits for it.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest `timeout`: a source that needs more wants to be a job that writes a file.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Pages that are followed unless `paging.pages_max` says otherwise.
const PAGES_MAX_DEFAULT: usize = 20;
/// What a bound may be at most: data is held in memory.
const COUNT_MAX: u64 = 1 << 32;
/// Longest name of a source: it is a file name of the bucket and a metric's label.
const NAME_BYTES_MAX: usize = 64;

/// One `[[source]]` table, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RawSource")]
#[non_exhaustive]
pub struct SourceConfig {
    /// Its name: templates see its rows as `data.NAME`.
    pub name: String,
    /// Where the rows come from.
    pub kind: SourceKind,
    /// The time that a whole fetch may take.
    pub timeout: Duration,
    /// The most rows that it may give.
    pub rows_max: usize,
    /// The most bytes that it may give: bodies as received, or cells of a query.
    pub bytes_max: usize,
    /// The pages that its rows make.
    pub page: Option<PageConfig>,
}

/// Where the rows of a source come from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SourceKind {
    /// A query of an SQLite file.
    Sql(SqlConfig),
    /// A JSON API.
    Http(HttpConfig),
    /// A file of the site.
    File(FileConfig),
}

/// `type = "sql"`.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlConfig {
    /// The SQLite file, relative to the site's folder. It is only ever read.
    pub database: PathBuf,
    /// One SELECT.
    pub query: String,
    /// Values for the query's `?1`, `?2`…
    pub parameters: Vec<serde_json::Value>,
}

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// What to GET; `${NAME}` is a variable of the environment.
    pub url: String,
    /// Header fields; `${NAME}` is a variable of the environment. Sent only to the host of `url`.
    pub headers: BTreeMap<String, String>,
    /// JSON pointer (RFC 6901) to the array of rows; empty: the document is the array.
    pub rows: String,
    /// How to get further pages.
    pub paging: Option<Paging>,
}

/// `type = "file"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// The file, relative to the site's folder and within it.
    pub path: String,
    /// What is in it.
    pub format: FileFormat,
    /// JSON pointer (RFC 6901) to the array of rows, whatever the format; empty: the document is the array.
    pub rows: String,
}

/// What is in the file of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Cells with commas between them, a row a line; the first line names the columns.
    Csv,
    /// The same with tabs.
    Tsv,
    /// JSON.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    #[serde(alias = "yml")]
    Yaml,
}

impl FileFormat {
    /// By the end of a file's name.
    fn of(path: &str) -> Option<Self> {
        match path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// `[source.paging]`: an API that answers with a part and a link to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// JSON pointer to the address of the next page; it ends where that is missing, null or empty.
    pub next: String,
    /// The most pages: one more is an error, as what is there would be incomplete.
    pages_max: Option<Whole<usize, 1, COUNT_MAX>>,
}

impl Paging {
    /// The most pages.
    pub fn pages_max(&self) -> usize {
        self.pages_max.map_or(PAGES_MAX_DEFAULT, Whole::get)
    }
}

/// `[source.page]`: one page a row. `slug`, `title`, `description` and `body` name a column, or are a pattern such as
/// `"{{ id }}-{{ name }}"`; the others name a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageConfig {
    /// The folder below `content/` in which the pages appear; empty: `content/` itself.
    #[serde(default)]
    pub section: String,
    /// The last part of the page's address; made safe for URLs.
    pub slug: String,
    /// The title.
    pub title: String,
    /// The description.
    #[serde(default)]
    pub description: Option<String>,
    /// The text, in Markdown. Without it the page has none, and its template shows the columns.
    #[serde(default)]
    pub body: Option<String>,
    /// Column with the date: RFC 3339, `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (UTC), or seconds since 1970.
    #[serde(default)]
    pub date: Option<String>,
    /// Column with the date of the last change.
    #[serde(default)]
    pub updated: Option<String>,
    /// Column with the date from which the page is gone.
    #[serde(default)]
    pub expiry_date: Option<String>,
    /// The template, if not the section's.
    #[serde(default)]
    pub template: Option<String>,
    /// Taxonomy → column. The column holds an array of texts, or one text with commas.
    #[serde(default)]
    pub taxonomies: BTreeMap<String, String>,
    /// The columns that templates find below `page.extra`; all, unless given.
    #[serde(default)]
    pub extra: Option<Vec<String>>,
}

/// What is written. All keys of all kinds, since serde cannot refuse unknown keys of a tagged enum beside common ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: String,
    r#type: RawType,
    timeout: Option<String>,
    rows_max: Option<Whole<usize, 1, COUNT_MAX>>,
    bytes_max: Option<Whole<usize, 1, COUNT_MAX>>,
    page: Option<PageConfig>,
    database: Option<PathBuf>,
    query: Option<String>,
    parameters: Option<Vec<serde_json::Value>>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    rows: Option<String>,
    paging: Option<Paging>,
    path: Option<String>,
    format: Option<FileFormat>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RawType {
    Sql,
    Http,
    File,
}

impl RawType {
    fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Http => "http",
            Self::File => "file",
        }
    }
}

impl TryFrom<RawSource> for SourceConfig {
    type Error = DataError;

    fn try_from(raw: RawSource) -> Result<Self, DataError> {
        let name = raw.name;
        let wrong =
            |key: &str, problem: String| DataError::Config { name: name.clone(), key: key.into(), problem };
        let word = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !word {
            return Err(wrong(
                "name",
                format!(
                    "must be 1 to {NAME_BYTES_MAX} letters, digits or `_`, and not begin with a digit: templates say data.NAME"
                ),
            ));
        }
        let timeout = match &raw.timeout {
            None => TIMEOUT_DEFAULT,
            Some(text) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|duration| Duration::try_from(duration).ok())
                .filter(|duration| !duration.is_zero() && *duration <= TIMEOUT_MAX)
                .ok_or_else(|| {
                    wrong(
                        "timeout",
                        format!(
                            "must be a time such as \"10s\", at most {} s, not {text:?}",
                            TIMEOUT_MAX.as_secs()
                        ),
                    )
                })?,
        };
        let rows_max = raw.rows_max.map_or(ROWS_MAX_DEFAULT, Whole::get);
        let bytes_max = raw.bytes_max.map_or(BYTES_MAX_DEFAULT, Whole::get);
        // A key of another kind would have no effect, and its author would wonder.
        use RawType::{File, Http, Sql};
        let keys: [(&str, bool, &[RawType]); 10] = [
            ("timeout", raw.timeout.is_some(), &[Sql, Http]),
            ("database", raw.database.is_some(), &[Sql]),
            ("query", raw.query.is_some(), &[Sql]),
            ("parameters", raw.parameters.is_some(), &[Sql]),
            ("url", raw.url.is_some(), &[Http]),
            ("headers", raw.headers.is_some(), &[Http]),
            ("paging", raw.paging.is_some(), &[Http]),
            ("rows", raw.rows.is_some(), &[Http, File]),
            ("path", raw.path.is_some(), &[File]),
            ("format", raw.format.is_some(), &[File]),
        ];
        let kind_name = raw.r#type.name();
        if let Some((key, ..)) = keys.iter().find(|(_, given, of)| *given && !of.contains(&raw.r#type)) {
            return Err(wrong(key, format!("means nothing with type = \"{kind_name}\"")));
        }
        let pointer = |key: &str, pointer: &str| match pointer.is_empty() || pointer.starts_with('/') {
            true => Ok(()),
            false => Err(wrong(key, "must be a JSON pointer: it begins with `/`, such as \"/items\"".into())),
        };
        let missing = |key: &str| wrong(key, format!("is missing; type = \"{kind_name}\" needs it"));
        let kind = match raw.r#type {
            RawType::Sql => SourceKind::Sql(SqlConfig {
                database: raw
                    .database
                    .filter(|path| !path.as_os_str().is_empty())
                    .ok_or_else(|| missing("database"))?,
                query: raw.query.filter(|query| !query.trim().is_empty()).ok_or_else(|| missing("query"))?,
                parameters: raw.parameters.unwrap_or_default(),
            }),
            RawType::Http => {
                let url = raw.url.ok_or_else(|| missing("url"))?;
                if !(url.starts_with("http://") || url.starts_with("https://") || url.starts_with("${")) {
                    return Err(wrong("url", "must begin with http:// or https://".into()));
                }
                let rows = raw.rows.unwrap_or_default();
                pointer("rows", &rows)?;
                if let Some(paging) = &raw.paging {
                    pointer("paging.next", &paging.next)?;
                }
                SourceKind::Http(HttpConfig {
                    url,
                    headers: raw.headers.unwrap_or_default(),
                    rows,
                    paging: raw.paging,
                })
            }
            RawType::File => {
                let path = raw.path.ok_or_else(|| missing("path"))?;
                let path = path.strip_prefix("./").unwrap_or(&path);
                if !is_listed(path) {
                    return Err(wrong(
                        "path",
                        format!(
                            "must name a file of the site, such as \"data/prices.csv\", not {path:?}: relative to its \
                             folder, without `..`, not hidden, and not in a folder that builds leave out"
                        ),
                    ));
                }
                let by_name = FileFormat::of(path);
                if by_name.is_none() && !path.contains('/') {
                    return Err(wrong(
                        "path",
                        format!(
                            "must end in .csv, .tsv, .json, .toml, .yaml or .yml beside content/; put {path:?} into a \
                             folder, such as data/"
                        ),
                    ));
                }
                let format = raw.format.or(by_name).ok_or_else(|| {
                    let names = "\"csv\", \"tsv\", \"json\", \"toml\" or \"yaml\"";
                    wrong("format", format!("is missing, and {path:?} does not tell it; it may be {names}"))
                })?;
                if raw.rows.is_some() && matches!(format, FileFormat::Csv | FileFormat::Tsv) {
                    return Err(wrong("rows", "means nothing in CSV and TSV: each line is a row".into()));
                }
                let rows = raw.rows.unwrap_or_default();
                pointer("rows", &rows)?;
                SourceKind::File(FileConfig { path: path.to_owned(), format, rows })
            }
        };
        if let SourceKind::Sql(sql) = &kind
            && let Some(index) = sql.parameters.iter().position(|value| value.is_array() || value.is_object())
        {
            return Err(wrong(
                "parameters",
                format!("number {} must be a text, number or boolean", index + 1),
            ));
        }
        if let Some(page) = &raw.page {
            page.check().map_err(|(key, problem)| wrong(&format!("page.{key}"), problem))?;
        }
        Ok(Self { name, kind, timeout, rows_max, bytes_max, page: raw.page })
    }
}

impl SourceConfig {
    /// The file that its rows are in, of a source that is not asked but read with the site.
    #[must_use]
    pub fn file(&self) -> Option<&FileConfig> {
        match &self.kind {
            SourceKind::File(config) => Some(config),
            SourceKind::Sql(_) | SourceKind::Http(_) => None,
        }
    }
}

impl PageConfig {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let safe = self.section.is_empty()
            || self.section.split('/').all(|part| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && !part.contains(['\\', '\0'])
                    && !part.starts_with('_')
            });
        if !safe {
            return Err((
                "section",
                format!(
                    "must be a folder below content/ such as \"news\", without `/` at its ends, not {:?}",
                    self.section
                ),
            ));
        }
        for (key, value) in [
            ("slug", Some(&self.slug)),
            ("title", Some(&self.title)),
            ("description", self.description.as_ref()),
            ("body", self.body.as_ref()),
        ] {
            let Some(value) = value else { continue };
            if let Err(problem) = super::page::Pattern::parse(value) {
                return Err((key, problem));
            }
        }
        Ok(())
    }
}

/// Where the text of `bakehouse.toml` names a source, in bytes.
pub(crate) fn written(text: &str, source: &str) -> Option<usize> {
    let (document, _) = DeTable::parse_recoverable(text);
    let DeValue::Array(tables) = document.get_ref().get("source")?.get_ref() else { return None };
    tables.iter().find_map(|table| {
        let DeValue::Table(table) = table.get_ref() else { return None };
        let (key, name) = table.get_key_value("name")?;
        matches!(name.get_ref(), DeValue::String(name) if *name == source).then(|| key.span().start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn reads_kinds_with_defaults() {
        let sql = parse(
            "name = 'news'\ntype = 'sql'\ndatabase = 'news.db'\nquery = 'SELECT 1'\nparameters = ['a', 2]",
        )
        .unwrap();
        assert_eq!(
            (sql.timeout, sql.rows_max, sql.bytes_max),
            (TIMEOUT_DEFAULT, ROWS_MAX_DEFAULT, BYTES_MAX_DEFAULT)
        );
        let http = parse(
            "name = 'rates'\ntype = 'http'\nurl = 'http://x/'\ntimeout = '1m 500ms'\n[headers]\nauthorization = 'Bearer ${T}'\n\
             [paging]\nnext = '/next'\n[page]\nsection='a/b'\nslug='id'\ntitle='{{ a }} of {{ b }}'",
        )
        .unwrap();
        assert_eq!(http.timeout, Duration::from_millis(60_500));
        let SourceKind::Http(HttpConfig { paging: Some(paging), .. }) = http.kind else { panic!("not http") };
        assert_eq!(paging.pages_max(), PAGES_MAX_DEFAULT);
    }

    #[test]
    fn the_format_of_a_file_is_by_its_name_or_said() {
        let format = |keys: &str| {
            let source = parse(&format!("name = 'x'\ntype = 'file'\n{keys}")).unwrap();
            let file = source.file().unwrap();
            (file.path.clone(), file.format)
        };
        for (keys, path, expected) in [
            ("path = './prices.CSV'", "prices.CSV", FileFormat::Csv),
            ("path = 'data/a.tsv'", "data/a.tsv", FileFormat::Tsv),
            ("path = 'data/a.yml'", "data/a.yml", FileFormat::Yaml),
            ("path = 'data/a.b/c'\nformat = 'yml'", "data/a.b/c", FileFormat::Yaml),
            ("path = 'data/a.txt'\nformat = 'toml'", "data/a.txt", FileFormat::Toml),
            ("path = 'data/a.csv'\nformat = 'json'\nrows = '/a'", "data/a.csv", FileFormat::Json),
        ] {
            assert_eq!(format(keys), (path.to_owned(), expected), "{keys}");
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        let sql = "type='sql'\ndatabase='d'\nquery='q'\n";
        let http = "type='http'\nurl='http://x/'\n";
        let file = "type='file'\npath='data/x.csv'\n";
        for (text, expected) in [
            (format!("name='2x'\n{sql}"), "`name` must be"),
            (format!("name='x-y'\n{sql}"), "`name` must be"),
            (format!("name='x'\n{sql}timeout='0s'"), "`timeout` must be"),
            (format!("name='x'\n{sql}timeout='soon'"), "`timeout` must be"),
            (format!("name='x'\n{sql}timeout='2h'"), "`timeout` must be"),
            (format!("name='x'\n{sql}rows_max=0"), "expected a whole number from 1 to 4294967296"),
            (format!("name='x'\n{sql}url='http://x'"), "`url` means nothing with type = \"sql\""),
            (format!("name='x'\n{http}query='q'"), "`query` means nothing with type = \"http\""),
            (format!("name='x'\n{sql}parameters=[[1]]"), "`parameters` number 1"),
            ("name='x'\ntype='sql'\nquery='q'".into(), "`database` is missing"),
            ("name='x'\ntype='http'".into(), "`url` is missing"),
            ("name='x'\ntype='ftp'".into(), "unknown variant `ftp`"),
            ("name='x'\ntype='http'\nurl='ftp://x'".into(), "`url` must begin"),
            (format!("name='x'\n{http}rows='items'"), "`rows` must be a JSON pointer"),
            (
                format!("name='x'\n{http}[page]\nsection='../a'\nslug='s'\ntitle='t'"),
                "`page.section` must be",
            ),
            (format!("name='x'\n{http}[page]\nslug='{{{{ id'\ntitle='t'"), "`page.slug`"),
            (format!("name='x'\n{http}[page]\nslug='s'"), "missing field `title`"),
            (format!("name='x'\n{http}quary='q'"), "unknown field `quary`"),
            ("name='x'\ntype='file'".into(), "`path` is missing"),
            (format!("name='x'\n{file}timeout='1s'"), "`timeout` means nothing with type = \"file\""),
            (format!("name='x'\n{file}url='http://x'"), "`url` means nothing with type = \"file\""),
            (format!("name='x'\n{sql}path='x.csv'"), "`path` means nothing with type = \"sql\""),
            (format!("name='x'\n{file}rows='/a'"), "`rows` means nothing in CSV"),
            ("name='x'\ntype='file'\npath='a.json'\nrows='a'".into(), "`rows` must be a JSON pointer"),
            ("name='x'\ntype='file'\npath='data/a.txt'".into(), "`format` is missing"),
            ("name='x'\ntype='file'\npath='data/a'\nformat='xml'".into(), "unknown variant `xml`"),
            ("name='x'\ntype='file'\npath='a.txt'\nformat='csv'".into(), "`path` must end in .csv"),
            ("name='x'\ntype='file'\npath='../a.csv'".into(), "`path` must name a file of the site"),
            ("name='x'\ntype='file'\npath='data/../../a.csv'".into(), "`path` must name a file of the site"),
            ("name='x'\ntype='file'\npath='/etc/a.csv'".into(), "`path` must name a file of the site"),
            ("name='x'\ntype='file'\npath='.git/a.csv'".into(), "`path` must name a file of the site"),
            ("name='x'\ntype='file'\npath='target/a.csv'".into(), "`path` must name a file of the site"),
            ("name='x'\ntype='file'\npath=''".into(), "`path` must name a file of the site"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected), "{text}\n→ {error}");
        }
    }
}
