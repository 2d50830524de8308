//! A source that is a file of the site: read with all the others, from the same snapshot of them. What is wrong with it is
//! wrong with the site, and said with its place.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::{FileConfig, FileFormat, SourceConfig, written};
use super::error::{CellError, show};
use super::lines;
use super::page::{RowPage, made};
use super::snapshot::Snapshot;
use crate::config::BAKEHOUSE_NAME;
use crate::data_file::{self, Refused, Table};
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::sources::Sources;

/// What a file among the site's gives.
#[derive(Debug, Default)]
pub struct FileRows {
    /// Its rows; none where it cannot be read.
    pub snapshot: Option<Snapshot>,
    /// The pages that they make.
    pub pages: Vec<RowPage>,
    /// What is wrong with it, or with each bad row, with its line where that is known.
    pub errors: Errors,
}

/// The rows of a file among the site's, and the pages that they make; `located` asks in which lines, in every format.
pub fn from_file(source: &SourceConfig, config: &FileConfig, sources: &Sources, located: bool) -> FileRows {
    let reading = Reading { source, config };
    let mut errors = Errors::default();
    match reading.read(sources, located, &mut errors) {
        Ok((snapshot, pages)) => FileRows { snapshot: Some(snapshot), pages, errors },
        Err(wrong) => {
            errors.push(*wrong);
            FileRows { errors, ..FileRows::default() }
        }
    }
}

struct Reading<'a> {
    source: &'a SourceConfig,
    config: &'a FileConfig,
}

struct Rows {
    rows: Vec<Map<String, Value>>,
    /// The line in which each begins, where the format has lines.
    lines: Vec<usize>,
    /// Numbers of those of which nothing could be read.
    unread: BTreeSet<usize>,
}

impl Reading<'_> {
    /// Adds to `errors` what is wrong with rows.
    ///
    /// # Errors
    /// What is wrong with all of the file.
    fn read(
        &self,
        sources: &Sources,
        located: bool,
        errors: &mut Errors,
    ) -> Result<(Snapshot, Vec<RowPage>), Box<Diagnostic>> {
        let bytes = self.bytes(sources)?;
        let text = String::from_utf8_lossy(&bytes);
        let format = self.config.format;
        let mut tell = |refused: Refused| match errors.is_full() {
            // Each place is found by counting lines.
            true => errors.count(),
            false => errors.push(self.refused(&text, &refused)),
        };
        let Rows { rows, mut lines, unread } =
            self.rows(&bytes, &mut tell).map_err(|refused| self.refused(&text, &refused))?;
        let snapshot = Snapshot::new(rows);
        let made = made(self.source, &snapshot);
        if lines.is_empty() && (located || !made.errors.is_empty()) {
            lines = lines::of_rows(format, &text, &self.config.rows, snapshot.len());
        }
        let bad = made.errors.iter().filter(|error| !unread.contains(&error.row));
        errors.extend(bad.map(|error| self.bad_row(&text, &lines, error)));
        (0..made.more).for_each(|_| errors.count());
        let mut pages = made.pages;
        let path: Arc<str> = self.config.path.as_str().into();
        for page in &mut pages {
            page.place = Some((path.clone(), lines.get(page.row - 1).copied().unwrap_or(1)));
        }
        Ok((snapshot, pages))
    }

    fn diagnostic(&self, problem: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::in_file(self.config.path.as_str(), format!("source `{}`: {problem}", self.source.name))
    }

    fn bytes(&self, sources: &Sources) -> Result<bytes::Bytes, Box<Diagnostic>> {
        let path = self.config.path.as_str();
        let Some(file) = sources.get(path) else {
            let near = nearest(path, sources.iter().map(|(path, _)| path));
            let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            let hint = format!("`path` is relative to the site's folder{near}");
            let message = format!("source `{}`: there is no file `{path}`", self.source.name);
            let wrong = Diagnostic::in_file(BAKEHOUSE_NAME, message).hint(hint);
            let Ok((_, text)) = sources.text(BAKEHOUSE_NAME) else { return Err(wrong.into()) };
            let name = written(&text, &self.source.name).unwrap_or(0);
            let quoted = ['"', '\''].map(|quote| format!("{quote}{path}{quote}"));
            let at = quoted
                .iter()
                .find_map(|path| Some(name + text[name..].find(path)?).or_else(|| text.find(path)));
            return Err(wrong.at(&text, at.unwrap_or(name)).into());
        };
        let unreadable = |error: io::Error| self.diagnostic(format!("the file cannot be read: {error}"));
        if let Some(root) = sources.root()
            && !root
                .join(path)
                .canonicalize()
                .map_err(unreadable)?
                .starts_with(root.canonicalize().map_err(unreadable)?)
        {
            return Err(self
                .diagnostic("the file is a link that leads out of the site's folder")
                .hint("put the file itself into the site's folder")
                .into());
        }
        let (length, bytes_max) = (file.bytes_len(), self.source.bytes_max);
        if usize::try_from(length).map_or(true, |length| length > bytes_max) {
            return Err(self
                .diagnostic(format!("the file has {length} bytes, `bytes_max` is {bytes_max}"))
                .hint("raise `bytes_max`")
                .into());
        }
        Ok(file.read().map_err(unreadable)?)
    }

    /// The rows of the file; of those that are none, `tell` is told.
    fn rows(&self, bytes: &[u8], tell: &mut dyn FnMut(Refused)) -> Result<Rows, Refused> {
        let mut lined = |separator| {
            if let Some(wrong) = data_file::wrong_quote(bytes, separator) {
                return Err(wrong);
            }
            table(&data_file::table(bytes, separator, &mut |refused| {
                tell(refused);
                Ok(())
            })?)
        };
        let rows = match self.config.format {
            FileFormat::Csv => lined(b',')?,
            FileFormat::Tsv => lined(b'\t')?,
            FileFormat::Json => self.list(bytes, "json", tell)?,
            FileFormat::Toml => self.list(bytes, "toml", tell)?,
            FileFormat::Yaml => self.list(bytes, "yaml", tell)?,
        };
        if rows.rows.len() > self.source.rows_max {
            let text = format!("there are {} rows, `rows_max` is {}", rows.rows.len(), self.source.rows_max);
            return Err(text.into());
        }
        Ok(rows)
    }

    /// The rows of a document.
    fn list(&self, bytes: &[u8], format: &str, tell: &mut dyn FnMut(Refused)) -> Result<Rows, Refused> {
        let document = data_file::parse(bytes, format)?;
        let mut document = serde_json::to_value(&document).map_err(|error| error.to_string())?;
        let pointer = &self.config.rows;
        let found = match document.pointer_mut(pointer) {
            Some(Value::Array(items)) => std::mem::take(items),
            Some(other) => return Err(no_rows(pointer, &show(other)).into()),
            None => return Err(no_rows(pointer, "nothing").into()),
        };
        let mut unread = BTreeSet::new();
        let row = |(number, item)| match item {
            Value::Object(row) => row,
            other => {
                tell(format!("row {number} must be an object (value: {})", show(&other)).into());
                unread.insert(number);
                Map::new()
            }
        };
        let rows = (1..).zip(found).map(row).collect();
        Ok(Rows { rows, lines: Vec::new(), unread })
    }

    fn refused(&self, text: &str, refused: &Refused) -> Diagnostic {
        let is_encoding = refused.message.contains("not valid UTF-8");
        let diagnostic =
            self.diagnostic(&refused.message).maybe_hint(is_encoding.then(|| "save it as UTF-8".to_owned()));
        match refused.place {
            Some((line, column)) => diagnostic.at_line(text, line, column),
            None => diagnostic,
        }
    }

    fn bad_row(&self, text: &str, lines: &[usize], error: &CellError) -> Diagnostic {
        let only =
            error.columns().and_then(|mut columns| columns.next().filter(|_| columns.next().is_none()));
        let hint = match error.columns() {
            Some(_) if only.is_some_and(|name| [";", "\\t"].iter().any(|apart| name.contains(apart))) => {
                "cells of CSV have commas between them, and those of TSV, in a file named `.tsv`, tabs"
                    .to_owned()
            }
            Some(columns) => {
                let near = nearest(&error.column, columns).map(|near| format!("did you mean `{near}`? "));
                format!("{}columns are named in [source.page] of bakehouse.toml", near.unwrap_or_default())
            }
            None => "correct the row; what was published before stays".to_owned(),
        };
        let diagnostic = Diagnostic::in_file(self.config.path.as_str(), error.to_string()).hint(hint);
        match lines.get(error.row - 1) {
            Some(line) => Diagnostic { column: None, ..diagnostic.at_line(text, *line, 1) },
            None => diagnostic,
        }
    }
}

fn no_rows(pointer: &str, found: &str) -> String {
    let at = if pointer.is_empty() { String::new() } else { format!(" at `{pointer}`") };
    format!(
        "expected an array{at}, found {found}; set `rows` to the JSON pointer of the array, such as \"/items\""
    )
}

/// A row for each record, under the names of the first one. A cell with nothing in it has no value.
fn table(Table { columns, records }: &Table) -> Result<Rows, Refused> {
    let at_head = |problem: String| Refused { message: problem, place: Some((1, 1)) };
    if columns.iter().all(str::is_empty) {
        return Err(at_head("the first line must name the columns".into()));
    }
    let names: Vec<&str> = columns.iter().map(str::trim).collect();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(at_head(format!("column {} has no name in the first line", index + 1)));
        }
        if names[..index].contains(name) {
            return Err(at_head(format!("two columns have the name `{name}`")));
        }
    }
    let cell = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let row = |record: &csv::StringRecord| {
        names.iter().zip(record).map(|(name, text)| ((*name).to_owned(), cell(text))).collect()
    };
    Ok(Rows {
        rows: records.iter().map(|(_, record)| row(record)).collect(),
        lines: records.iter().map(|(line, _)| *line).collect(),
        unread: (1..).zip(records).filter(|(_, (_, record))| record.is_empty()).map(|(n, _)| n).collect(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn source(keys: &str) -> SourceConfig {
        toml::from_str(&format!("name = 'news'\ntype = 'file'\n{keys}")).unwrap()
    }

    fn read(keys: &str, path: &str, text: &str) -> Result<(Snapshot, Vec<RowPage>), Errors> {
        let source = source(&format!("path = '{path}'\n{keys}"));
        let sources = Sources::from_files([(path.to_owned(), Bytes::from(text.to_owned()))]);
        let FileRows { snapshot, pages, errors } = from_file(&source, source.file().unwrap(), &sources, true);
        errors.into_result().map(|()| (snapshot.unwrap(), pages))
    }

    fn rows(keys: &str, path: &str, text: &str) -> Value {
        read(keys, path, text).unwrap().0.to_value()
    }

    fn error(keys: &str, path: &str, text: &str) -> String {
        read(keys, path, text).unwrap_err().to_string()
    }

    #[test]
    fn every_format_gives_rows() {
        let expected = json!([{"name": "rye", "price": "4"}, {"name": "a, \"b\"", "price": null}]);
        assert_eq!(rows("", "a.csv", "\u{feff}name,price\r\nrye,4\r\n\"a, \"\"b\"\"\",\r\n"), expected);
        assert_eq!(rows("", "a.tsv", "name\t price \nrye\t4\n\"a, \"\"b\"\"\"\t\n"), expected);
        let expected = json!([{"name": "rye", "tags": ["x"], "n": 1.5, "day": "2026-01-02"}]);
        let json = r#"[{"name": "rye", "tags": ["x"], "n": 1.5, "day": "2026-01-02"}]"#;
        assert_eq!(rows("", "a.json", json), expected);
        assert_eq!(rows("rows = '/a/b'", "a.json", &format!("{{\"a\": {{\"b\": {json}}}}}")), expected);
        let toml = "[[rates]]\nname = 'rye'\ntags = ['x']\nn = 1.5\nday = 2026-01-02\n";
        assert_eq!(rows("rows = '/rates'", "a.toml", toml), expected);
        assert_eq!(rows("", "a.yaml", "- name: rye\n  tags: [x]\n  n: 1.5\n  day: 2026-01-02\n"), expected);
        assert_eq!(rows("format = 'yaml'", "data/a.list", "[]"), json!([]));
        assert_eq!(rows("", "a.csv", "name\n"), json!([]), "a table may be empty");
        assert_eq!(rows("", "a.csv", "a,b\n\"x\" ,6\" nails\r\n"), json!([{"a": "x ", "b": "6\" nails"}]));
    }

    #[test]
    fn rows_make_pages() {
        let text = "slug,title,body,date,topics\none,One,*Hi*,2026-01-02,\"a, b\"\ntwo,Two,,,\n";
        let page = "[page]\nslug='slug'\ntitle='title'\nbody='body'\ndate='date'\ntaxonomies={ tags='topics' }\nextra=[]";
        let (_, pages) = read(page, "a.csv", text).unwrap();
        let shown: Vec<_> =
            pages.iter().map(|p| (p.path.as_str(), p.body.as_str(), p.front_matter.len())).collect();
        assert_eq!(shown, [("one.md", "*Hi*", 5), ("two.md", "", 3)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        insta::assert_snapshot!(error("", "data/a.csv", "a,b\n1,2\n3\n"), @r"
        error: source `news`: expected 2 cells as in the first line, found 1
         --> data/a.csv:3:1
          |
        3 | 3
          | ^
        ");
        insta::assert_snapshot!(error("rows = '/x'", "data/a.json", "{\n  \"x\": [}\n"), @r#"
        error: source `news`: expected value
         --> data/a.json:2:9
          |
        2 |   "x": [}
          |         ^
        "#);
        for (keys, path, text, expected) in [
            ("", "a.csv", "", "the first line must name the columns"),
            ("", "a.csv", "a,,b\n", "column 2 has no name in the first line"),
            ("", "a.csv", "a,b,a\n", "two columns have the name `a`"),
            ("", "a.csv", "a,b\n1,\"x\n2,y\n", "nothing closes this quote\n --> a.csv:2:3"),
            ("", "a.csv", "a,b\nü,\"x\n2,\"y\"\n", "a quote has closed the cell before this"),
            ("", "a.tsv", "\u{feff}\"a\"\tb\n\"x\"\"y\"z\t1\n", "--> a.tsv:2:7"),
            ("", "a.toml", "a = \n", "--> a.toml:1:5"),
            ("", "a.yaml", "- a: [\n- b\n", "--> a.yaml:2:1"),
            ("", "a.toml", "a = 1\n", "expected an array, found {\"a\":1}; set `rows`"),
            ("rows = '/b'", "a.json", "{}", "expected an array at `/b`, found nothing"),
            ("", "a.json", "[{}, 1]", "row 2 must be an object (value: 1)"),
            ("rows_max = 1", "a.csv", "a\n1\n2\n", "there are 2 rows, `rows_max` is 1"),
            ("bytes_max = 3", "a.csv", "a\n1\n2\n", "the file has 6 bytes, `bytes_max` is 3"),
        ] {
            let error = error(keys, path, text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn every_bad_row_is_named_with_line_and_column() {
        let page = "[page]\nslug='slug'\ntitle='title'\ndate='at'";
        insta::assert_snapshot!(
            error(page, "data/a.csv", "slug,title,at\na,\"A\nB\",soon\nb,B,\n,C,\n"),
            @r#"
        error: source `news`: row 1: column `at` must be a date: RFC 3339, YYYY-MM-DD, or seconds since 1970 (value: "soon")
         --> data/a.csv:2
          |
        2 | a,"A
          |
        hint: correct the row; what was published before stays

        error: source `news`: row 3: column `slug` must not be null (value: null)
         --> data/a.csv:5
          |
        5 | ,C,
          |
        hint: correct the row; what was published before stays
        "#
        );
        let error = error(page, "a.json", r#"[{"slug": "a", "title": "A"}]"#);
        assert!(error.contains("row 1: column `at` is not there") && error.contains("--> a.json"), "{error}");
    }

    /// Good rows make their pages all the same, and each number is that of the row in the file.
    #[test]
    fn a_bad_row_hides_no_other() {
        let page = "[page]\nslug='slug'\ntitle='title'\ndate='at'";
        let told = |path: &str, text: &str| {
            let source = source(&format!("path = '{path}'\n{page}"));
            let sources = Sources::from_files([(path.to_owned(), Bytes::from(text.to_owned()))]);
            let read = from_file(&source, source.file().unwrap(), &sources, false);
            let messages = read.errors.list().iter().map(|wrong| {
                let message = wrong.message.split(" (value").next().unwrap();
                format!("{:?} {}", wrong.line, message.split(": RFC").next().unwrap())
            });
            let pages: Vec<_> = read.pages.iter().map(|page| page.path.as_str()).collect();
            format!("{}\n{}", messages.collect::<Vec<_>>().join("\n"), pages.join(" "))
        };
        let text = "slug,title,at\na,A,\nb,B\n,,soon\nc,C,soon\nd,D,,\na,,\ne,E,\n";
        insta::assert_snapshot!(told("a.csv", text), @"
        Some(3) source `news`: expected 3 cells as in the first line, found 2
        Some(4) source `news`: row 3: column `at` must be a date
        Some(4) source `news`: row 3: column `slug` must not be null
        Some(4) source `news`: row 3: column `title` must not be null
        Some(5) source `news`: row 4: column `at` must be a date
        Some(6) source `news`: expected 3 cells as in the first line, found 4
        Some(7) source `news`: row 6: column `slug` makes the same slug as row 1
        Some(7) source `news`: row 6: column `title` must not be null
        a.md e.md
        ");
        let text = "[{\"slug\": \"a\", \"title\": \"A\", \"at\": null},\n1,\n{\"slug\": \"b\", \"title\": 0},\ntrue]";
        insta::assert_snapshot!(told("a.json", text), @"
        None source `news`: row 2 must be an object
        None source `news`: row 4 must be an object
        a.md b.md
        ");
        let many = format!("slug,title,at\n{}", "a\n".repeat(1_000));
        let source = source(&format!("path = 'a.csv'\n{page}"));
        let sources = Sources::from_files([("a.csv".to_owned(), Bytes::from(many))]);
        let errors = from_file(&source, source.file().unwrap(), &sources, false).errors;
        assert_eq!(errors.list().len() + errors.more(), 1_000);
    }

    #[test]
    fn only_files_of_the_site_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("site"), folder.path().join("outside.csv"));
        let beside = folder.path().join("beside");
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::create_dir(&beside).unwrap();
        for path in [&outside, &root.join("data/inside.csv"), &beside.join("x.csv")] {
            std::fs::write(path, "a\n1\n").unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("data/out.csv")).unwrap();
        std::os::unix::fs::symlink("inside.csv", root.join("data/in.csv")).unwrap();
        std::os::unix::fs::symlink("../../beside", root.join("data/folder")).unwrap();
        let sources = Sources::from_folder(&root, &crate::Limits::default()).unwrap();
        let read = |path: &str| {
            let source = source(&format!("path = '{path}'"));
            let read = from_file(&source, source.file().unwrap(), &sources, false);
            read.snapshot.map(|rows| rows.to_value()).ok_or(read.errors)
        };
        assert_eq!(read("data/in.csv").unwrap(), json!([{"a": "1"}]));
        for link in ["data/out.csv", "data/folder/x.csv"] {
            let error = read(link).unwrap_err().to_string();
            assert!(error.contains("leads out of the site's folder"), "{error}");
        }
        let error = read("data/insde.csv").unwrap_err().to_string();
        assert!(error.contains("there is no file `data/insde.csv`\n --> bakehouse.toml"), "{error}");
        assert!(error.contains("did you mean \"data/inside.csv\"?"), "{error}");
    }

    #[test]
    fn a_file_that_another_program_wrote_otherwise_gets_a_hint() {
        let said = |text: &[u8]| {
            let source = source("path = 'p.csv'\npage = { slug = 'slug', title = 'title' }");
            let sources = Sources::from_files([("p.csv".to_owned(), Bytes::copy_from_slice(text))]);
            from_file(&source, source.file().unwrap(), &sources, true).errors.to_string()
        };
        for text in [&b"slug;title\na;A\n"[..], b"slug\ttitle\na\tA\n"] {
            assert!(said(text).contains("hint: cells of CSV have commas between them"), "{}", said(text));
        }
        let near = said(b"slug,titel\na,A\n");
        assert!(near.contains("did you mean `titel`?") && !near.contains("commas"), "{near}");
        assert!(said(b"slug,title\na,\xc4\n").contains("hint: save it as UTF-8"));
    }
}
