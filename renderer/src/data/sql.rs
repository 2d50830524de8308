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
