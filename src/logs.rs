//! What the process says of its work on standard error: text for people, JSON for machines.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use release::wire;
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
        tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(move || Plain(format));
    let started = match args.log_format {
        Format::Text => {
            filtered.with(layer.with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init()
        }
        Format::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot be started: {e}"))
}

/// Standard error for events, in which nothing steers a terminal: some tell what clients and upstreams have said.
struct Plain(Format);

impl Write for Plain {
    /// Takes an event, which comes whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let plain = match self.0 {
            // What colours it. In words of others that is escaped already.
            Format::Text => print::plain_but(&text, &['\n', '\t', '\u{1b}']),
            Format::Json => wire::plain(text.into_owned()).into(),
        };
        io::stderr().write_all(plain.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
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
