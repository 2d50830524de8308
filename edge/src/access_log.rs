//! The access log: a line for each response, in the combined format or as JSON.
//!
//! A thread that serves formats a line into a buffer of its own and goes on; one thread takes all buffers now and then and
//! writes them. Nobody who serves ever waits for the disk: where it is too slow, lines are dropped, and counted.

use std::{
    cell::RefCell,
    fmt,
    fs::OpenOptions,
    io::{self, Write},
    net::IpAddr,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::Duration,
};

use http::Version;

/// Bytes of lines that one thread may have waiting; beyond, lines are dropped.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// At this many the writer is woken.
const BUFFER_BYTES_WAKE: usize = 256 << 10;
/// Bytes that there is room for from the beginning: lines still come while the writer wakes up.
const BUFFER_BYTES_ROOM: usize = 2 * BUFFER_BYTES_WAKE;
/// How long a line may wait for others.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How long the last lines may take to be written when the process ends.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// How long the file may take to be opened, which a pipe that nobody reads never is.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// The same once clients are served: whoever waits for it does nothing else.
const REOPEN_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of one text of a client's that are logged; what is longer is cut.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 10;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// As Apache and nginx write it, for the tools that read that.
    #[default]
    Combined,
    /// An object for each line, with all that is known.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "combined" => Ok(Self::Combined),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither combined nor json")),
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// To the end of a file, made where it is missing.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<&str> for LogTarget {
    /// A path, or `-` for standard output.
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdout } else { Self::File(PathBuf::from(text)) }
    }
}

/// What a line says of a request and its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) client: IpAddr,
    /// When the response was finished, in milliseconds since 1970.
    pub(crate) wall_ms: i64,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: Version,
    pub(crate) status: u16,
    /// Bytes of content sent.
    pub(crate) sent: u64,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
    /// `hit`, `stale`, `failed`, or why it was forwarded.
    pub(crate) result: &'static str,
    /// From the end of the request's head to the end of the response.
    pub(crate) duration: Duration,
    pub(crate) id: &'a [u8],
}

type Buffer = Arc<Mutex<Vec<u8>>>;
/// What came of opening the file again, for all who wait.
type Opened = Result<(), Arc<io::Error>>;

#[derive(Debug)]
struct Shared {
    format: LogFormat,
    target: LogTarget,
    buffers: Mutex<Vec<Buffer>>,
    /// Those who wait for the file to be opened again.
    reopen: Mutex<Vec<mpsc::Sender<Opened>>>,
    stop: AtomicBool,
    dropped: AtomicU64,
    number: u64,
}

/// An open access log.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Thread,
    done: Mutex<mpsc::Receiver<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread's buffer, and of which log it is.
struct Mine {
    number: u64,
    buffer: Buffer,
    stamp: Stamp,
}

/// A second as text, kept until the next.
#[derive(Default)]
struct Stamp {
    second: i64,
    text: String,
}

thread_local! {
    static MINE: RefCell<Option<Mine>> = const { RefCell::new(None) };
}

impl AccessLog {
    /// Opens it and starts its writer.
    ///
    /// # Errors
    /// Where the file cannot be opened, or no thread can be started.
    pub fn open(target: LogTarget, format: LogFormat) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let shared = Arc::new(Shared {
            format,
            target,
            buffers: Mutex::default(),
            reopen: Mutex::default(),
            stop: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        });
        let (tell, done) = mpsc::channel();
        let (tell_opened, opened) = mpsc::channel();
        let theirs = Arc::downgrade(&shared);
        let to = shared.target.clone();
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || {
            let out = match open(&to) {
                Ok(out) => out,
                Err(error) => return drop(tell_opened.send(Err(error))),
            };
            if tell_opened.send(Ok(())).is_ok() {
                write_all(&theirs, out);
            }
            // Nobody waits any more where the log was not closed.
            let _ = tell.send(());
        })?;
        opened.recv_timeout(OPEN_DEADLINE).unwrap_or_else(|_| Err(too_long()))?;
        Ok(Self { shared, writer: thread.thread().clone(), done: Mutex::new(done) })
    }

    /// Where lines go.
    pub(crate) fn target(&self) -> &LogTarget {
        &self.shared.target
    }

    /// Opens the file again before the next lines: after it was moved away.
    ///
    /// # Errors
    /// Where that fails, or takes too long; lines go on to where they went.
    pub fn reopen(&self) -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        lock(&self.shared.reopen).push(tell);
        self.writer.unpark();
        match told.recv_timeout(REOPEN_DEADLINE) {
            Ok(opened) => opened.map_err(|error| io::Error::new(error.kind(), error)),
            Err(_) => Err(too_long()),
        }
    }

    /// Writes what is left, and ends the writer; lines that come later are dropped.
    pub(crate) fn close(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.writer.unpark();
        if lock(&self.done).recv_timeout(CLOSE_DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the last lines of the access log could not be written in time");
        }
    }

    /// Lines dropped so far, because they could not be written fast enough or at all.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes a line, sooner or later.
    pub(crate) fn write(&self, line: &Line<'_>) {
        MINE.with_borrow_mut(|mine| {
            if mine.as_ref().is_none_or(|mine| mine.number != self.shared.number) {
                let buffer = Arc::new(Mutex::new(Vec::with_capacity(BUFFER_BYTES_ROOM)));
                lock(&self.shared.buffers).push(Arc::clone(&buffer));
                *mine = Some(Mine { number: self.shared.number, buffer, stamp: Stamp::default() });
            }
            let Some(mine) = mine else { return };
            let mut buffer = lock(&mine.buffer);
            let before = buffer.len();
            if before > BUFFER_BYTES_MAX {
                drop(buffer);
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            match self.shared.format {
                LogFormat::Combined => combined(&mut buffer, line, &mut mine.stamp),
                LogFormat::Json => json(&mut buffer, line, &mut mine.stamp),
            }
            if before < BUFFER_BYTES_WAKE && buffer.len() >= BUFFER_BYTES_WAKE {
                drop(buffer);
                self.writer.unpark();
            }
        });
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it takes too long")
}

fn open(target: &LogTarget) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

/// The writer: takes what has come together, until the log is closed.
fn write_all(shared: &Weak<Shared>, mut out: Box<dyn Write + Send>) {
    // It changes places with those of the threads that serve, which need not make room for lines then.
    let mut taken = Vec::with_capacity(BUFFER_BYTES_ROOM);
    let mut fails = false;
    while let Some(shared) = shared.upgrade() {
        let stop = shared.stop.load(Ordering::Acquire);
        let waiting = std::mem::take(&mut *lock(&shared.reopen));
        if !waiting.is_empty() {
            let opened = open(&shared.target).map(|new| out = new).map_err(Arc::new);
            // Whoever waited for too long has left.
            waiting.iter().for_each(|waits| drop(waits.send(opened.clone())));
        }
        let buffers: Vec<Buffer> = lock(&shared.buffers).clone();
        for buffer in buffers {
            std::mem::swap(&mut taken, &mut *lock(&buffer));
            if !taken.is_empty() {
                let written = out.write_all(&taken).and_then(|()| out.flush());
                if written.is_err() {
                    let lines = taken.iter().filter(|byte| **byte == b'\n').count();
                    shared.dropped.fetch_add(lines as u64, Ordering::Relaxed);
                }
                let failed = std::mem::replace(&mut fails, written.is_err());
                match written {
                    Err(error) if !failed => tracing::error!(%error, "the access log cannot be written"),
                    Ok(()) if failed => {
                        let dropped = shared.dropped.load(Ordering::Relaxed);
                        tracing::warn!(dropped, "the access log is written again; lines are missing");
                    }
                    _ => {}
                }
            }
            taken.clear();
            taken.shrink_to(BUFFER_BYTES_ROOM);
        }
        // Buffers of threads that have ended: only we hold them.
        lock(&shared.buffers).retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).is_empty());
        if stop {
            return;
        }
        drop(shared);
        thread::park_timeout(FLUSH_EVERY);
    }
}

impl Stamp {
    fn is_new(&mut self, wall_ms: i64) -> Option<i64> {
        let second = wall_ms.div_euclid(1_000);
        if self.second == second && !self.text.is_empty() {
            return None;
        }
        self.second = second;
        self.text.clear();
        Some(second)
    }

    /// `25/Nov/2026:13:41:16 +0000`.
    fn common(&mut self, wall_ms: i64) -> &str {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        use std::fmt::Write as _;
        if let Some(second) = self.is_new(wall_ms) {
            let (year, month, day) = civil(second.div_euclid(86_400));
            let of_day = second.rem_euclid(86_400);
            let month = MONTHS.get(month.saturating_sub(1)).copied().unwrap_or("Jan");
            let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{day:02}/{month}/{year}:{h:02}:{m:02}:{s:02} +0000");
        }
        &self.text
    }

    /// `2026-11-25T13:41:16`.
    fn iso(&mut self, wall_ms: i64) -> &str {
        use std::fmt::Write as _;
        if let Some(second) = self.is_new(wall_ms) {
            let (year, month, day) = civil(second.div_euclid(86_400));
            let of_day = second.rem_euclid(86_400);
            let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
            let _ = write!(self.text, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
        }
        &self.text
    }
}

/// Year, month and day of a number of days since 1970, by counting in eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), day)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn combined(out: &mut Vec<u8>, line: &Line<'_>, stamp: &mut Stamp) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{} - - [{}] \"", line.client, stamp.common(line.wall_ms));
    quoted(out, line.method);
    out.push(b' ');
    quoted(out, line.target);
    let _ = write!(out, " {}\" {} {} \"", version(line.version), line.status, line.sent);
    quoted(out, line.referer.unwrap_or(b"-"));
    out.extend_from_slice(b"\" \"");
    quoted(out, line.user_agent.unwrap_or(b"-"));
    out.extend_from_slice(b"\"\n");
}

fn json(out: &mut Vec<u8>, line: &Line<'_>, stamp: &mut Stamp) {
    let ms = line.wall_ms.rem_euclid(1_000);
    let _ = write!(
        out,
        "{{\"time\":\"{}.{ms:03}Z\",\"client\":\"{}\",\"method\":\"",
        stamp.iso(line.wall_ms),
        line.client
    );
    escaped(out, line.method);
    out.extend_from_slice(b"\",\"host\":\"");
    escaped(out, line.host);
    out.extend_from_slice(b"\",\"target\":\"");
    escaped(out, line.target);
    let _ = write!(
        out,
        "\",\"version\":\"{}\",\"status\":{},\"bytes\":{},\"result\":\"{}\",\"us\":{},\"id\":\"",
        version(line.version),
        line.status,
        line.sent,
        line.result,
        line.duration.as_micros()
    );
    escaped(out, line.id);
    out.push(b'"');
    for (name, value) in [("referer", line.referer), ("user_agent", line.user_agent)] {
        if let Some(value) = value {
            let _ = write!(out, ",\"{name}\":\"");
            escaped(out, value);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Writes what is plain as it is, in runs, and the rest by `escape`.
fn runs(out: &mut Vec<u8>, text: &[u8], escape: impl Fn(&mut Vec<u8>, u8)) {
    let text = &text[..text.len().min(TEXT_BYTES_MAX)];
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| !(0x20..0x7F).contains(b) || *b == b'"' || *b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// For a quoted text of the combined format: what is not plain becomes `\xHH`, so that no client writes a line.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    runs(out, text, |out, byte| {
        let _ = write!(out, "\\x{byte:02X}");
    });
}

/// For a JSON text; a byte that is not ASCII is taken as Latin-1.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    runs(out, text, |out, byte| match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        _ => {
            let _ = write!(out, "\\u{byte:04x}");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            client: "192.0.2.1".parse().unwrap(),
            wall_ms: 1_795_613_591_042,
            method: b"GET",
            host: b"example.com",
            target: b"/a?b=\"c\"",
            version: Version::HTTP_11,
            status: 200,
            sent: 5,
            referer: None,
            user_agent: Some(b"evil\n\xffagent\\"),
            result: "hit",
            duration: Duration::from_micros(12),
            id: b"00ff",
        }
    }

    #[test]
    fn formats() {
        let mut out = Vec::new();
        combined(&mut out, &line(), &mut Stamp::default());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "192.0.2.1 - - [25/Nov/2026:13:33:11 +0000] \"GET /a?b=\\x22c\\x22 HTTP/1.1\" 200 5 \"-\" \
             \"evil\\x0A\\xFFagent\\x5C\"\n"
        );
        let mut out = Vec::new();
        json(&mut out, &line(), &mut Stamp::default());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["time"], "2026-11-25T13:33:11.042Z");
        assert_eq!(value["target"], "/a?b=\"c\"");
        assert_eq!(value["user_agent"], "evil\n\u{ff}agent\\");
        assert_eq!((&value["us"], &value["status"]), (&12.into(), &200.into()));
    }

    #[test]
    fn days() {
        let rows = [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_782, (2026, 11, 25)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ];
        for (days, date) in rows {
            assert_eq!(civil(days), date, "{days}");
        }
    }

    #[test]
    fn lines_of_all_threads_reach_the_file_even_after_it_was_moved() {
        let folder = std::env::temp_dir().join(format!("bake-access-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("access.log");
        let log = Arc::new(AccessLog::open(LogTarget::File(path.clone()), LogFormat::Combined).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let log = Arc::clone(&log);
                thread::spawn(move || (0..500).for_each(|_| log.write(&line())))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let moved = folder.join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        log.write(&line());
        // Where there is no folder any more, lines go on to where they went.
        let away = folder.with_extension("away");
        std::fs::rename(&folder, &away).unwrap();
        assert_eq!(log.reopen().unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::rename(&away, &folder).unwrap();
        drop(log);
        let count = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(count(&moved) + count(&path), 2_001);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
