//! A query of an SQLite file. The file is opened for reading only, on a thread of its own, with a deadline that also
//! ends a query that computes for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use super::config::{SourceConfig, SqlConfig};
use super::error::{CellError, DataError};
use super::snapshot::Snapshot;

/// Instructions of SQLite's machine between two looks at the clock: about a tenth of a millisecond.
const PROGRESS_OPS: i32 = 4096;
/// How long a writer that holds the lock is waited for, at most; the source's own deadline holds besides.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Ends the query when whoever waits for it has gone.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn query(
    source: &SourceConfig,
    config: &SqlConfig,
    root: &Path,
) -> Result<Snapshot, DataError> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = Cancel(Arc::clone(&cancelled));
    let work = Work {
        name: source.name.clone(),
        path: root.join(&config.database),
        config: config.clone(),
        rows_max: source.rows_max,
        bytes_max: source.bytes_max,
        timeout: source.timeout,
        cancelled,
    };
    match tokio::task::spawn_blocking(move || work.run()).await {
        Ok(result) => result,
        Err(error) => Err(DataError::System {
            name: source.name.clone(),
            problem: format!("the query's thread ended: {error}"),
        }),
    }
}

struct Work {
    name: String,
    path: PathBuf,
    config: SqlConfig,
    rows_max: usize,
    bytes_max: usize,
    timeout: Duration,
    cancelled: Arc<AtomicBool>,
}

impl Work {
    fn run(self) -> Result<Snapshot, DataError> {
        let deadline = Instant::now() + self.timeout;
        let connection = self.open(deadline).map_err(|error| self.failed(error, true))?;
        let mut statement =
            connection.prepare(&self.config.query).map_err(|error| self.failed(error, false))?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        if let Some((index, name)) =
            columns.iter().enumerate().find(|(index, name)| columns[..*index].contains(name))
        {
            return Err(DataError::Config {
                name: self.name,
                key: "query".into(),
                problem: format!(
                    "gives two columns the name `{name}` (number {}); name one of them with AS",
                    index + 1
                ),
            });
        }
        let parameters: Vec<Parameter<'_>> = self.config.parameters.iter().map(Parameter).collect();
        let mut rows = statement
            .query(rusqlite::params_from_iter(parameters))
            .map_err(|error| self.failed(error, false))?;
        let mut snapshot: Vec<Map<String, Value>> = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next().map_err(|error| self.failed(error, false))? {
            if snapshot.len() == self.rows_max {
                return Err(DataError::TooManyRows { name: self.name, rows_max: self.rows_max });
            }
            let mut cells = Map::new();
            for (index, column) in columns.iter().enumerate() {
                let cell = row.get_ref(index).map_err(|error| self.failed(error, false))?;
                bytes += column.len() + cell_bytes(cell);
                if bytes > self.bytes_max {
                    return Err(DataError::TooLarge { name: self.name, bytes_max: self.bytes_max });
                }
                let value = to_json(cell).map_err(|(value, problem)| CellError {
                    name: self.name.clone(),
                    row: snapshot.len() + 1,
                    column: column.clone(),
                    value,
                    problem,
                })?;
                cells.insert(column.clone(), value);
            }
            snapshot.push(cells);
        }
        Ok(Snapshot::new(snapshot))
    }

    /// Nothing that a query or a schema could do may write, attach another file, or go on for ever.
    fn open(&self, deadline: Instant) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.timeout.min(BUSY_MAX))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        // A cell beyond the limit is an error of SQLite before it is memory of ours.
        connection.set_limit(
            Limit::SQLITE_LIMIT_LENGTH,
            i32::try_from(self.bytes_max.max(4096)).unwrap_or(i32::MAX),
        )?;
        let cancelled = Arc::clone(&self.cancelled);
        connection.progress_handler(
            PROGRESS_OPS,
            Some(move || cancelled.load(Ordering::Relaxed) || Instant::now() >= deadline),
        )?;
        Ok(connection)
    }

    fn failed(&self, error: rusqlite::Error, opening: bool) -> DataError {
        let name = self.name.clone();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => DataError::Timeout {
                name,
                timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            },
            Some(rusqlite::ErrorCode::TooBig) => DataError::TooLarge { name, bytes_max: self.bytes_max },
            Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::NotADatabase) => {
                DataError::Open { name, path: self.path.clone(), error }
            }
            _ if opening => DataError::Open { name, path: self.path.clone(), error },
            _ => DataError::Query { name, error },
        }
    }
}

fn cell_bytes(cell: ValueRef<'_>) -> usize {
    match cell {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn to_json(cell: ValueRef<'_>) -> Result<Value, (String, String)> {
    match cell {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(integer) => Ok(integer.into()),
        ValueRef::Real(real) => serde_json::Number::from_f64(real)
            .map(Value::Number)
            .ok_or_else(|| (real.to_string(), "is not a finite number".into())),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err((
                String::from_utf8_lossy(bytes).chars().take(40).collect(),
                format!("is not UTF-8: {error}"),
            )),
        },
        ValueRef::Blob(bytes) => Err((
            format!("{} bytes", bytes.len()),
            "is a BLOB; select hex(…) or CAST(… AS TEXT) of it".into(),
        )),
    }
}

/// A value of the configuration as SQLite takes it.
struct Parameter<'a>(&'a Value);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Cell::Null),
            Value::Bool(flag) => ToSqlOutput::Owned(Cell::Integer(i64::from(*flag))),
            Value::Number(number) => ToSqlOutput::Owned(match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Cell::Integer(integer),
                (None, Some(real)) => Cell::Real(real),
                (None, None) => Cell::Null,
            }),
            Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            // The configuration refuses arrays and objects.
            Value::Array(_) | Value::Object(_) => ToSqlOutput::Owned(Cell::Text(self.0.to_string())),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{DataError, SourceConfig, fetch, fingerprint};
    use super::*;

    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        fn new(sql: &str) -> Self {
            let site = Self { folder: tempfile::tempdir().unwrap() };
            site.write(sql);
            site
        }

        fn write(&self, sql: &str) {
            Connection::open(self.folder.path().join("news.db")).unwrap().execute_batch(sql).unwrap();
        }

        fn source(&self, keys: &str) -> SourceConfig {
            toml::from_str(&format!("name = 'news'\ntype = 'sql'\ndatabase = 'news.db'\n{keys}")).unwrap()
        }

        async fn fetch(&self, keys: &str) -> Result<Snapshot, DataError> {
            fetch(&self.source(keys), self.folder.path(), &|_| None).await
        }

        async fn error(&self, keys: &str) -> String {
            self.fetch(keys).await.unwrap_err().to_string()
        }
    }

    const STORIES: &str = "CREATE TABLE story (id INTEGER PRIMARY KEY, title TEXT, score REAL, note TEXT);
        INSERT INTO story VALUES (1, 'Erste', 1.5, NULL), (2, 'Zweite', 2, 'ä'), (3, 'Dritte', -1, '');";

    #[tokio::test]
    async fn gives_rows_in_the_order_of_the_query() {
        let site = Site::new(STORIES);
        let rows = site
            .fetch("query = 'SELECT id, title, score, note FROM story WHERE id > ?1 ORDER BY id DESC'\nparameters = [1]")
            .await
            .unwrap();
        assert_eq!(
            rows.to_value(),
            json!([
                {"id": 3, "title": "Dritte", "score": -1.0, "note": ""},
                {"id": 2, "title": "Zweite", "score": 2.0, "note": "ä"},
            ])
        );
        let typed = site
            .fetch("query = 'SELECT ?1 AS a, ?2 AS b, ?3 AS c'\nparameters = ['x', 1.5, true]")
            .await
            .unwrap();
        assert_eq!(typed.to_value(), json!([{"a": "x", "b": 1.5, "c": 1}]));
        assert!(site.fetch("query = 'SELECT * FROM story WHERE 0'").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn never_writes() {
        let site = Site::new(STORIES);
        for query in [
            "DELETE FROM story",
            "INSERT INTO story (id) VALUES (9) RETURNING id",
            "DROP TABLE story",
            "SELECT 1 AS a; DELETE FROM story",
            "ATTACH DATABASE 'other.db' AS other",
            "PRAGMA journal_mode = WAL",
            "VACUUM INTO 'copy.db'",
        ] {
            let result = site.fetch(&format!("query = \"{query}\"")).await;
            // A pragma that cannot do what it says answers with what is; that is a row.
            assert!(result.is_err() || query.starts_with("PRAGMA"), "{query}: {result:?}");
        }
        assert_eq!(site.fetch("query = 'SELECT * FROM story'").await.unwrap().len(), 3);
        let names: Vec<_> =
            std::fs::read_dir(site.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["news.db"]);
    }

    #[tokio::test]
    async fn a_missing_or_foreign_file_is_named() {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        let error = site.fetch("query = 'SELECT 1'").await.unwrap_err();
        let path = site.folder.path().join("news.db");
        assert!(
            error.to_string().contains(&format!("cannot open the database {}", path.display())),
            "{error}"
        );
        assert!(!path.exists(), "it made the file");
        assert!(error.hint().unwrap().contains("relative to the site's folder"));
        std::fs::write(
            &path,
            "not a database, but long enough to have a header of a hundred bytes".repeat(9),
        )
        .unwrap();
        assert!(matches!(site.fetch("query = 'SELECT * FROM story'").await, Err(DataError::Open { .. })));
    }

    #[tokio::test]
    async fn a_query_that_cannot_be_is_refused() {
        let site = Site::new(STORIES);
        assert!(site.error("query = 'SELECT x FROM story'").await.contains("no such column: x"));
        assert!(
            site.error("query = 'SELECT id FROM story WHERE id = ?1'").await.contains("the query failed")
        );
        assert_eq!(
            site.error("query = 'SELECT id, title AS id FROM story'").await,
            "source `news`: `query` gives two columns the name `id` (number 2); name one of them with AS"
        );
    }

    #[tokio::test]
    async fn is_bounded_in_rows_bytes_and_time() {
        let site = Site::new(STORIES);
        let endless =
            "query = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n'";
        assert_eq!(
            site.error(&format!("{endless}\nrows_max = 50")).await,
            "source `news`: more than 50 rows"
        );
        assert_eq!(
            site.error(&format!("{endless}\nrows_max = 1000000\nbytes_max = 9000")).await,
            "source `news`: more than 9000 bytes"
        );
        // One cell, larger than all may be: refused before it is memory.
        assert!(
            site.error("query = 'SELECT hex(zeroblob(100000000)) AS a'\nbytes_max = 100000")
                .await
                .contains("bytes")
        );
        // Computes for ever without giving a row.
        let silent = "query = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n'";
        let error = site.fetch(&format!("{silent}\ntimeout = '50ms'")).await.unwrap_err();
        assert_eq!(error.to_string(), "source `news`: no complete answer within 50 ms");
        assert_eq!(error.kind(), "timeout");
    }

    #[tokio::test]
    async fn a_locked_file_is_waited_for_within_the_timeout() {
        let site = Site::new(STORIES);
        let writer = Connection::open(site.folder.path().join("news.db")).unwrap();
        writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let error = site.fetch("query = 'SELECT * FROM story'\ntimeout = '100ms'").await.unwrap_err();
        match error {
            DataError::Timeout { timeout_ms: 100, .. } => {}
            DataError::Query { .. } => assert!(error.hint().unwrap().contains("holds a lock"), "{error}"),
            _ => panic!("{error}"),
        }
        let source = site.source("query = 'SELECT * FROM story'\ntimeout = '60s'");
        let root = site.folder.path().to_owned();
        let waiting = tokio::spawn(async move { fetch(&source, &root, &|_| None).await });
        tokio::task::yield_now().await;
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_cell_that_is_no_json_is_named() {
        let site = Site::new(STORIES);
        let row = "SELECT 1 AS a UNION ALL SELECT";
        assert_eq!(
            site.error(&format!("query = \"{row} x'0102'\"")).await,
            "source `news`: row 2: column `a` is a BLOB; select hex(…) or CAST(… AS TEXT) of it (value: 2 bytes)"
        );
        assert!(
            site.error(&format!("query = \"{row} CAST(x'ff41' AS TEXT)\""))
                .await
                .contains("row 2: column `a` is not UTF-8")
        );
        assert!(site.error(&format!("query = \"{row} 9e999\"")).await.contains("is not a finite number"));
    }

    #[tokio::test]
    async fn sees_that_a_file_was_written_to_also_beside_it() {
        let site = Site::new(&format!("PRAGMA journal_mode = WAL; {STORIES}"));
        let source = site.source("query = 'SELECT count(*) AS n FROM story'");
        let root = site.folder.path();
        let before = fingerprint(&source, root);
        // Reading changes nothing, however often.
        assert_eq!(
            site.fetch("query = 'SELECT count(*) AS n FROM story'").await.unwrap().to_value(),
            json!([{"n": 3}])
        );
        assert_eq!(fingerprint(&source, root), before);
        // A writer that stays: its commit is in the log beside the database, and is read from there.
        let writer = Connection::open(root.join("news.db")).unwrap();
        writer.execute_batch("INSERT INTO story (id) VALUES (4)").unwrap();
        let after = fingerprint(&source, root);
        assert_ne!(after, before);
        assert_eq!(fetch(&source, root, &|_| None).await.unwrap().to_value(), json!([{"n": 4}]));
        assert_eq!(fingerprint(&source, root), after);
        let http: SourceConfig = toml::from_str("name='x'\ntype='http'\nurl='http://x/'").unwrap();
        assert_eq!(fingerprint(&http, root), None);
    }
}
