//! What the process says of its work on standard error: text for people, JSON for machines.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use release::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
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
    let filter: Targets = format!("{},aws_config=error,aws_runtime=error,s3s=error", args.log)
        .parse()
        .with_context(|| format!("`{}` is not a log filter", args.log))?;
    let filtered = tracing_subscriber::registry().with(filter);
    // What cannot be written is not told there either, which would end whoever logs.
    let format = args.log_format;
    let layer =
        tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(move || Events(format));
    let started = match args.log_format {
        Format::Text => {
            filtered.with(layer.with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init()
        }
        Format::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot be started: {e}"))
}

/// How long events wait for somebody to read them.
const READER_WAIT: Duration = Duration::from_millis(100);
/// What a pipe takes at once that takes anything (PIPE_BUF).
const PART_BYTES: usize = 4 << 10;

/// Standard error for events, in which nothing steers a terminal: some tell what clients and upstreams have said. Whoever serves
/// waits for nobody to read them.
struct Events(Format);

impl Write for Events {
    /// Takes an event, which comes whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        static UNREAD: AtomicU64 = AtomicU64::new(0);
        let text = String::from_utf8_lossy(event);
        let plain = match self.0 {
            // What colours it. In words of others that is escaped already.
            Format::Text => print::plain_but(&text, &['\n', '\t', '\u{1b}']),
            Format::Json => wire::plain(text.into_owned()).into(),
        };
        write_if_read(&mut io::stderr().lock(), self.0, &UNREAD, plain.as_bytes())?;
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
        match format {
            Format::Text => writeln!(out, "WARN events are missing here, since nobody read them: {before}")?,
            Format::Json => writeln!(
                out,
                r#"{{"level":"WARN","message":"events are missing here, since nobody read them","missing":{before}}}"#
            )?,
        }
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
    use std::time::Instant;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

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
