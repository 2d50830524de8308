//! What the process says of its work on standard error: text for people, JSON for machines.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use release::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context as LayerContext, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::print;

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// How much to log on standard error: error, warn, info, debug, or a filter such as `edge=debug`
    #[arg(long, global = true, env = "BAKE_LOG", default_value = "warn", value_name = "LEVEL")]
    log: String,
    /// How to log
    #[arg(long, global = true, env = "BAKE_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Whether standard error is read by a machine: then people's sentences do not belong there.
pub fn are_json() -> bool {
    FORMAT.get() == Some(&Format::Json)
}

/// Starts logging.
pub fn start(args: &LogArgs) -> anyhow::Result<()> {
    // It is set once, since there is one command line.
    let _first = FORMAT.set(args.log_format);
    // Libraries below warn of what we retry or report ourselves.
    let filter: Targets = format!("{},aws_config=error,aws_runtime=error,notify=error,s3s=error", args.log)
        .parse()
        .with_context(|| format!("`{}` is not a log filter", args.log))?;
    let filtered = tracing_subscriber::registry().with(filter);
    let pace = Pace::default();
    let out = Out { format: args.log_format, pace: pace.clone() };
    // What cannot be written is not told there either, which would end whoever logs.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(out);
    let started = match args.log_format {
        Format::Text => {
            let layer = layer.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            filtered.with(layer.with_filter(pace)).try_init()
        }
        Format::Json => filtered.with(layer.json().flatten_event(true).with_filter(pace)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot be started: {e}"))
}

/// Crates that warn of what requests bring, however many there are of them.
const SERVING: [&str; 2] = ["edge", "origin"];
/// Of one kind of such warnings, so many are told in a second: an upstream that is away, or too many clients, would fill the disk,
/// and the memory before it.
const ALIKE_MAX: u32 = 10;
const ALIKE_EVERY: Duration = Duration::from_secs(1);

/// Bounds how often the same is told, whatever it is told of.
#[derive(Debug, Clone, Default)]
struct Pace(Arc<Mutex<HashMap<Identifier, Alike>>>);

/// Events of one place in the program.
#[derive(Debug)]
struct Alike {
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Alike {
    fn new(since: Instant) -> Self {
        Self { since, told: 0, left_out: 0 }
    }

    /// Whether one that comes now is told; otherwise it is counted.
    fn is_told(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= ALIKE_EVERY {
            (self.since, self.told) = (now, 0);
        }
        let is_told = self.told < ALIKE_MAX;
        if is_told {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
        is_told
    }
}

impl Pace {
    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Alike>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were left out before the one that is told now.
    fn left_out(&self, kind: &Identifier) -> u64 {
        self.kinds().get_mut(kind).map_or(0, |alike| std::mem::take(&mut alike.left_out))
    }
}

/// Whether many requests may bring as many such events. What somebody asked for with `--log info` is told in full.
fn is_paced(of: &Metadata<'_>) -> bool {
    let name = of.target().split("::").next().unwrap_or_default();
    *of.level() <= Level::WARN && SERVING.contains(&name)
}

impl<S: Subscriber> Filter<S> for Pace {
    fn enabled(&self, _: &Metadata<'_>, _: &LayerContext<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &LayerContext<'_, S>) -> bool {
        let (of, now) = (event.metadata(), Instant::now());
        !is_paced(of) || self.kinds().entry(of.callsite()).or_insert_with(|| Alike::new(now)).is_told(now)
    }
}

/// Where events go.
#[derive(Debug)]
struct Out {
    format: Format,
    pace: Pace,
}

impl<'a> MakeWriter<'a> for Out {
    type Writer = Events;

    fn make_writer(&'a self) -> Events {
        Events { format: self.format, left_out: 0 }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Events {
        Events { format: self.format, left_out: self.pace.left_out(&of.callsite()) }
    }
}

/// How long events wait for somebody to read them.
const READER_WAIT: Duration = Duration::from_millis(100);
/// What a pipe takes at once that takes anything (PIPE_BUF).
const PART_BYTES: usize = 4 << 10;

/// Standard error for events, in which nothing steers a terminal: some tell what clients and upstreams have said. Whoever serves
/// waits for nobody to read them.
struct Events {
    format: Format,
    /// Of events that are like this one, those that were left out before it.
    left_out: u64,
}

impl Write for Events {
    /// Takes an event, which comes whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        static UNREAD: AtomicU64 = AtomicU64::new(0);
        let text = String::from_utf8_lossy(event);
        let plain = match self.format {
            // What colours it. In words of others that is escaped already.
            Format::Text => print::plain_but(&text, &['\n', '\t', '\u{1b}']),
            Format::Json => wire::plain(text.into_owned()).into(),
        };
        let mut whole = missing(
            self.format,
            "events like the next are left out, since there were too many",
            self.left_out,
        );
        whole.push_str(&plain);
        write_if_read(&mut io::stderr().lock(), self.format, &UNREAD, whole.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes an event where somebody reads, and otherwise adds it to those that are `unread`, of which the next one tells.
fn write_if_read(
    out: &mut (impl Write + AsFd),
    format: Format,
    unread: &AtomicU64,
    event: &[u8],
) -> io::Result<()> {
    // Only one event waits, and no more do after it.
    let before = unread.load(Ordering::Relaxed);
    let wait = if before == 0 { READER_WAIT } else { Duration::ZERO };
    if !is_read(out, wait)? {
        unread.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    if before > 0 {
        unread.store(0, Ordering::Relaxed);
        out.write_all(missing(format, "events are missing here, since nobody read them", before).as_bytes())?;
    }
    for part in event.chunks(PART_BYTES) {
        if !is_read(out, READER_WAIT)? {
            unread.fetch_add(1, Ordering::Relaxed);
            break;
        }
        out.write_all(part)?;
    }
    Ok(())
}

/// A line that says why so many events are missing; none where none are.
fn missing(format: Format, why: &str, count: u64) -> String {
    match format {
        _ if count == 0 => String::new(),
        Format::Text => format!("WARN {why}: {count}\n"),
        Format::Json => format!("{{\"level\":\"WARN\",\"message\":\"{why}\",\"missing\":{count}}}\n"),
    }
}

/// Whether a write would not have to wait, by then.
fn is_read(out: &impl AsFd, wait: Duration) -> io::Result<bool> {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    loop {
        match poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&wait)) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

/// Between two times that what histograms have taken is put into their buckets. Until then each observation is kept, and nobody
/// may ever ask for the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to count, within a runtime; the handle renders what was counted, as Prometheus reads it.
pub fn metrics() -> anyhow::Result<metrics_exporter_prometheus::PrometheusHandle> {
    /// Upper bounds of the buckets of latencies, in seconds.
    const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
    let handle = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .install_recorder()
        .context("metrics cannot be counted")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut due = tokio::time::interval(UPKEEP);
        loop {
            due.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn the_same_is_told_ten_times_a_second() {
        let began = Instant::now();
        let mut alike = Alike::new(began);
        assert_eq!((0..100).filter(|_| alike.is_told(began)).count(), 10);
        assert_eq!(alike.left_out, 90);
        assert!(!alike.is_told(began + ALIKE_EVERY - Duration::from_millis(1)));
        assert!(alike.is_told(began + ALIKE_EVERY));
    }

    #[test]
    fn nobody_waits_for_events_that_nobody_reads() {
        const EVENTS: u64 = 50;
        let (mut reader, mut out) = io::pipe().unwrap();
        fcntl_setfl(&out, OFlags::NONBLOCK).unwrap();
        while out.write(b"x").is_ok() {}
        fcntl_setfl(&out, OFlags::empty()).unwrap();
        let unread = AtomicU64::new(0);
        let began = Instant::now();
        for _ in 0..EVENTS {
            write_if_read(&mut out, Format::Text, &unread, b"unread\n").unwrap();
        }
        assert!(began.elapsed() < READER_WAIT * 40, "{:?}", began.elapsed());
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text.trim_start_matches('x').to_owned()
        });
        // Larger than what a pipe takes at once, so that it is read meanwhile.
        let large = "l".repeat(200 << 10) + "\n";
        while unread.load(Ordering::Relaxed) > 0 {
            write_if_read(&mut out, Format::Text, &unread, large.as_bytes()).unwrap();
        }
        drop(out);
        let text = reading.join().unwrap();
        let told = text.lines().next().unwrap();
        let missing = told.strip_prefix("WARN events are missing here, since nobody read them: ").unwrap();
        assert!(missing.parse::<u64>().unwrap() >= EVENTS, "{told}");
        assert!(text.ends_with(&large));
    }
}
