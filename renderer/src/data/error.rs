//! What can be wrong with a source: its configuration, its server, its rows.

use std::path::PathBuf;

/// Why a source gave no data. Every variant names the source; none holds the value of a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A key of a `[[source]]` table has a value that cannot work.
    #[error("source `{name}`: `{key}` {problem}")]
    Config {
        /// The source.
        name: String,
        /// The key below `[[source]]`.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// Two `[[source]]` tables have one name.
    #[error("two sources are named `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A `${NAME}` in a header or URL names a variable that is not set.
    #[error("source `{name}`: `{key}` needs the environment variable {variable}, which is not set")]
    Variable {
        /// The source.
        name: String,
        /// The key that mentions it.
        key: String,
        /// The variable.
        variable: String,
    },
    /// The database file could not be opened.
    #[error("source `{name}`: cannot open the database {}: {error}", path.display())]
    Open {
        /// The source.
        name: String,
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        error: rusqlite::Error,
    },
    /// The query was refused or failed midway.
    #[error("source `{name}`: the query failed: {error}")]
    Query {
        /// The source.
        name: String,
        /// SQLite's reason.
        #[source]
        error: rusqlite::Error,
    },
    /// The source took longer than its `timeout`.
    #[error("source `{name}`: no complete answer within {timeout_ms} ms")]
    Timeout {
        /// The source.
        name: String,
        /// The deadline that passed.
        timeout_ms: u64,
    },
    /// More rows than `rows_max`.
    #[error("source `{name}`: more than {rows_max} rows")]
    TooManyRows {
        /// The source.
        name: String,
        /// The limit.
        rows_max: usize,
    },
    /// More bytes than `bytes_max`.
    #[error("source `{name}`: more than {bytes_max} bytes")]
    TooLarge {
        /// The source.
        name: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The server could not be reached, or broke off.
    #[error("source `{name}`: {url}: {problem}")]
    Request {
        /// The source.
        name: String,
        /// The address as configured or linked, without query and user.
        url: String,
        /// The whole chain of reasons.
        problem: String,
    },
    /// The server answered, but not with 200.
    #[error("source `{name}`: {url} answered {status}")]
    Status {
        /// The source.
        name: String,
        /// The address.
        url: String,
        /// The status code.
        status: u16,
    },
    /// More redirects than are followed.
    #[error("source `{name}`: {url} redirects more than {redirects_max} times")]
    Redirects {
        /// The source.
        name: String,
        /// The address that was asked first.
        url: String,
        /// The limit.
        redirects_max: usize,
    },
    /// A redirect or a link to the next page that is not followed.
    #[error("source `{name}`: {url} leads to {target}: {problem}")]
    Link {
        /// The source.
        name: String,
        /// The address that was asked.
        url: String,
        /// Where it leads, without query.
        target: String,
        /// Why that is not followed.
        problem: String,
    },
    /// The body is not JSON.
    #[error("source `{name}`: {url} did not answer with JSON: {error}")]
    Json {
        /// The source.
        name: String,
        /// The address.
        url: String,
        /// The parser's reason, with line and column.
        #[source]
        error: serde_json::Error,
    },
    /// The JSON has no array of rows where it should.
    #[error("source `{name}`: {url}: expected an array at `{pointer}`, found {found}")]
    Rows {
        /// The source.
        name: String,
        /// The address.
        url: String,
        /// The JSON pointer (RFC 6901).
        pointer: String,
        /// What is there.
        found: &'static str,
    },
    /// Rows, or cells of them, cannot be used. Never empty.
    #[error("{}", first_of(errors, *more))]
    BadRows {
        /// The source.
        name: String,
        /// What is wrong with them, as much as is shown of errors.
        errors: Vec<CellError>,
        /// How much more is.
        more: usize,
    },
    /// A recorded snapshot cannot be read.
    #[error("recorded data of source `{name}`: {problem}")]
    Snapshot {
        /// The source.
        name: String,
        /// What is wrong with the record.
        problem: String,
    },
    /// A thread or a TLS store could not be had.
    #[error("source `{name}`: {problem}")]
    System {
        /// The source.
        name: String,
        /// What failed.
        problem: String,
    },
}

/// A row that cannot be used, with all one needs to find it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source `{name}`: row {row}: column `{column}` {problem}{}", shown(value))]
pub struct CellError {
    /// The source.
    pub name: String,
    /// The row, counted from 1 in the order of the source.
    pub row: usize,
    /// The column; for a pattern, the key that holds the pattern.
    pub column: String,
    /// The value, shortened.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

impl From<CellError> for DataError {
    fn from(error: CellError) -> Self {
        Self::BadRows { name: error.name.clone(), errors: vec![error], more: 0 }
    }
}

fn first_of(errors: &[CellError], more: usize) -> String {
    match errors {
        [] => "bad rows".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more bad cells", rest.len() + more),
    }
}

fn shown(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" (value: {value})") }
}

/// Longest value shown in an error: enough to recognise it, short enough for one line of a log.
const SHOWN_CHARS_MAX: usize = 80;

/// A value as errors show it: its JSON, shortened.
pub(crate) fn show(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS_MAX {
        text
    } else {
        let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        short.push('…');
        short
    }
}

impl DataError {
    /// The source that failed.
    #[must_use]
    pub fn source_name(&self) -> &str {
        match self {
            Self::Config { name, .. }
            | Self::DuplicateName { name }
            | Self::Variable { name, .. }
            | Self::Open { name, .. }
            | Self::Query { name, .. }
            | Self::Timeout { name, .. }
            | Self::TooManyRows { name, .. }
            | Self::TooLarge { name, .. }
            | Self::Request { name, .. }
            | Self::Status { name, .. }
            | Self::Redirects { name, .. }
            | Self::Link { name, .. }
            | Self::Json { name, .. }
            | Self::Rows { name, .. }
            | Self::BadRows { name, .. }
            | Self::Snapshot { name, .. }
            | Self::System { name, .. } => name,
        }
    }

    /// The kind of failure, as a metric's label: few values, none from input.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config { .. } | Self::DuplicateName { .. } | Self::Variable { .. } => "config",
            Self::Open { .. } | Self::Query { .. } => "query",
            Self::Timeout { .. } => "timeout",
            Self::TooManyRows { .. } | Self::TooLarge { .. } => "limit",
            Self::Request { .. } | Self::System { .. } => "unreachable",
            Self::Status { .. } | Self::Redirects { .. } | Self::Link { .. } => "status",
            Self::Json { .. } | Self::Rows { .. } => "format",
            Self::BadRows { .. } => "row",
            Self::Snapshot { .. } => "record",
        }
    }

    /// Whether asking again can help without anyone changing the configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Config { .. } | Self::DuplicateName { .. } | Self::Variable { .. })
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config { .. } => None,
            Self::DuplicateName { .. } => Some("give each [[source]] a name of its own".into()),
            Self::Variable { variable, .. } => {
                Some(format!("set {variable} in the environment of this process"))
            }
            Self::Open { path, .. } => Some(format!(
                "`database` is relative to the site's folder; check that {} exists and can be read",
                path.display()
            )),
            Self::Query { error, .. }
                if matches!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                ) =>
            {
                Some("another program holds a lock on the database: see that it lets go of it".into())
            }
            Self::Query { .. } => {
                Some("try the query with `sqlite3 -readonly DATABASE`; it must be one SELECT".into())
            }
            Self::Timeout { .. } => Some("raise `timeout`, or ask for less".into()),
            Self::TooManyRows { .. } => Some("raise `rows_max`, or ask for fewer rows (LIMIT)".into()),
            Self::TooLarge { .. } => Some("raise `bytes_max`, or ask for fewer columns or rows".into()),
            Self::Request { .. } => Some("check that the server runs and can be reached from here".into()),
            Self::Status { status: 401 | 403, .. } => {
                Some("the server wants credentials: set them in [source.headers] as \"${NAME}\"".into())
            }
            Self::Status { .. } => Some("only 200 is an answer; try the address with `curl -i`".into()),
            Self::Redirects { .. } => Some("set `url` to the address that it leads to".into()),
            Self::Link { .. } => None,
            Self::Json { .. } => Some("check `url`: it must answer with JSON in UTF-8".into()),
            Self::Rows { .. } => {
                Some("set `rows` to the JSON pointer of the array, such as \"/items\"".into())
            }
            Self::BadRows { .. } => {
                Some("correct the row at its source; until then the last good data is used".into())
            }
            Self::Snapshot { .. } => Some("it is replaced by the next fetch that succeeds".into()),
            Self::System { .. } => None,
        }
    }
}
