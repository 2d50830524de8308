//! `bake edge log`, `top`, `why` and `reload`: what a running edge tells its operators.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use release::wire;
use serde::Deserialize;

use crate::failure::{self, HintExt};
use crate::print::{self, say, tell};
use crate::system::{Client, DATA, Gone, UpFile};

/// Where an edge offers this unless it is said.
const ADMIN: &str = "http://127.0.0.1:8090";
/// Between two looks whether an edge is back.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What a running edge tells.
#[derive(Debug, Subcommand)]
pub enum WatchCommand {
    Log(LogArgs),
    Top(TopArgs),
    Why(WhyArgs),
    Reload(ReloadArgs),
}

/// How to reach it.
#[derive(Debug, Args)]
struct AdminArgs {
    /// URL of the edge's --admin address; otherwise the edge of the `bake up` of the site, or http://127.0.0.1:8090
    #[arg(long, visible_alias = "admin", env = "BAKE_API", value_name = "URL")]
    api: Option<String>,
    /// Its token
    #[arg(long, env = "BAKE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Folder of the running `bake up` [default: .bakehouse]
    #[arg(long, env = "BAKE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl AdminArgs {
    fn client(&self) -> anyhow::Result<Client> {
        let data = self.data.clone().unwrap_or_else(|| DATA.into());
        let up = if self.api.is_some() { None } else { UpFile::read(&data)? };
        let (api, token) = match up {
            Some(up) => (Some(up.admin), self.token.clone().or(Some(up.token))),
            None => (self.api.clone(), self.token.clone()),
        };
        let token = token.context("there is no token for the edge").hint(|| {
            "start this in the folder of a site that `bake up` serves, or give it with --token or BAKE_TOKEN; \
             the edge printed it where none was set"
                .into()
        })?;
        Client::new(api.as_deref().unwrap_or(ADMIN), token)
    }

    /// Asks the edge. One that was there, and does not answer any more, as `failed` says or as it turns out, is asked until it does.
    async fn ask<T>(
        &self,
        mut failed: Option<anyhow::Error>,
        ask: impl AsyncFn(&Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut client = self.client()?;
        let mut is_awaited = false;
        loop {
            if let Some(error) = failed {
                match failure::find::<Gone>(&error) {
                    Some(_) if is_awaited => tokio::time::sleep(LOOK_AGAIN).await,
                    Some(gone) if gone.was_there => {
                        tell!("{gone}: the edge stops or restarts, and is waited for");
                        is_awaited = true;
                    }
                    _ => return Err(error),
                }
                // A `bake up` that was started again may be elsewhere.
                client = self.client().unwrap_or(client);
            }
            match ask(&client).await {
                Ok(answer) => {
                    if is_awaited {
                        tell!("the edge is back at {}", client.api());
                    }
                    return Ok(answer);
                }
                Err(error) => failed = Some(error),
            }
        }
    }
}

/// Show each request with what was decided about it, and by which clause, as it happens
///
/// An edge that stops or is restarted is waited for; what it does meanwhile is not shown.
///
/// A query is one or more terms, all of which must hold: host=example.com, path=/blog/ (a prefix), status=404 or
/// status=5xx, result=hit, result=miss (whatever was forwarded), result=stale, result=failed, method=POST, client=192.0.2.1 (or a network),
/// id=ID, slower=100ms.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Terms of a query
    #[arg(value_name = "TERM")]
    query: Vec<String>,
    /// End after this many requests
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Show what is hot, missed, slow and under way, and the misses that need not be
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds to look
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Explain what a request for a URL gets: key, stored variants, the sum of freshness, the deciding clause
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The URL, with scheme and host
    #[arg(value_name = "URL")]
    url: String,
    /// Request field, as `Name: value`
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    fields: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Have the edge read its configuration again
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub async fn run(command: WatchCommand) -> anyhow::Result<()> {
    match command {
        WatchCommand::Log(args) => log(args).await,
        WatchCommand::Top(args) => top(args).await,
        WatchCommand::Why(args) => why(args).await,
        WatchCommand::Reload(args) => {
            #[derive(Deserialize, serde::Serialize)]
            struct Done {
                done: String,
            }
            let done: Done = args.admin.client()?.post("/v1/reload", &()).await?;
            if args.admin.json {
                return print::json(&done);
            }
            say!("{}", done.done);
            Ok(())
        }
    }
}

/// A line of the live trace.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Request(Record),
    /// So many requests came faster than they were read.
    Missed {
        missed: u64,
    },
}

#[derive(Deserialize)]
struct Record {
    time_ms: i64,
    client: String,
    method: String,
    host: String,
    target: String,
    status: u16,
    result: String,
    us: u64,
    bytes: u64,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    what: String,
    clause: Option<String>,
}

async fn log(args: LogArgs) -> anyhow::Result<()> {
    let query = serde_json::json!({ "query": args.query });
    let mut left = args.count.unwrap_or(u64::MAX);
    let read = async |client: &Client| client.lines("/v1/log", &query).await;
    let mut lines = args.admin.ask(None, read).await?;
    while left > 0 {
        let line = match lines.next().await {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => line,
            Err(error) => {
                lines = args.admin.ask(Some(error), read).await?;
                continue;
            }
        };
        let told = serde_json::from_str::<Told>(&line).ok();
        left -= u64::from(matches!(told, Some(Told::Request(_))));
        let text = match told {
            Some(Told::Request(record)) if !args.admin.json => print::plain(&record.to_string()).into_owned(),
            Some(Told::Missed { missed }) if !args.admin.json => {
                format!("{missed} more came too fast to be told\n")
            }
            _ => wire::plain(line) + "\n",
        };
        // Whoever reads may have left: that is an end, not a failure.
        if std::io::stdout().write_all(text.as_bytes()).is_err() {
            break;
        }
    }
    Ok(())
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.time_ms).unwrap_or_default();
        writeln!(
            f,
            "{} {} {}{} {} {} {} {} B {}",
            time.strftime("%H:%M:%S%.3f"),
            self.method,
            self.host,
            self.target,
            self.status,
            self.result,
            duration(self.us),
            self.bytes,
            self.client,
        )?;
        for step in &self.steps {
            write!(f, "    {}", step.what)?;
            if let Some(clause) = &step.clause {
                write!(f, " [{clause}]")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn duration(us: u64) -> String {
    if us < 1_000 {
        format!("{us} µs")
    } else if us < 1_000_000 {
        format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
    } else {
        format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000)
    }
}

#[derive(Deserialize)]
struct Top {
    looked_ms: u64,
    requests: u64,
    hits: u64,
    missed: u64,
    hot: Vec<UrlCount>,
    misses: Vec<UrlCount>,
    slow: Vec<UrlCount>,
    live: Live,
    avoidable: Vec<Avoidable>,
}

#[derive(Deserialize)]
struct UrlCount {
    url: String,
    requests: u64,
    misses: u64,
    us_mean: u64,
    us_max: u64,
}

#[derive(Deserialize)]
struct Live {
    fetches: usize,
    entries: usize,
    bytes: usize,
    upstreams: Vec<Upstream>,
}

#[derive(Deserialize)]
struct Upstream {
    url: String,
    up: bool,
    circuit_open: bool,
    in_flight: usize,
    requests: u64,
    failures: u64,
    connections: u64,
    reused: u64,
}

#[derive(Deserialize)]
struct Avoidable {
    cause: String,
    count: u64,
    example: String,
    why: String,
    remedy: String,
}

async fn top(args: TopArgs) -> anyhow::Result<()> {
    let path = format!("/v1/top?seconds={}", args.seconds);
    let top: serde_json::Value =
        args.admin.ask(None, async |client: &Client| client.get(&path).await).await?;
    if args.admin.json {
        return print::json(&top);
    }
    let top: Top = serde_json::from_value(top).context("the edge answered something else")?;
    say!("{} requests in {} ms, {} hits", top.requests, top.looked_ms, top.hits);
    if top.missed > 0 {
        say!("{} more came too fast to be looked at", top.missed);
    }
    say!("live: {} fetches, {} copies, {} bytes in use", top.live.fetches, top.live.entries, top.live.bytes);
    for upstream in &top.live.upstreams {
        let state = match (upstream.up, upstream.circuit_open) {
            (_, true) => "circuit open",
            (true, false) => "up",
            (false, false) => "in trouble",
        };
        say!(
            "  {}: {state}, {} under way, {} requests, {} failures, {} connections, {} on a kept one",
            upstream.url,
            upstream.in_flight,
            upstream.requests,
            upstream.failures,
            upstream.connections,
            upstream.reused
        );
    }
    for (title, list) in [("hot", &top.hot), ("missed", &top.misses), ("slow", &top.slow)] {
        say!("{title}:");
        for count in list {
            say!(
                "  {:>8} requests {:>8} misses {:>10} mean {:>10} max  {}",
                count.requests,
                count.misses,
                duration(count.us_mean),
                duration(count.us_max),
                count.url
            );
        }
    }
    say!("avoidable misses:");
    for avoidable in &top.avoidable {
        say!("  {} x {}: {}", avoidable.count, avoidable.cause, avoidable.why);
        say!("    such as {}", avoidable.example);
        say!("    remedy: {}", avoidable.remedy);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Explanation {
    key: String,
    verdict: String,
    clause: Option<String>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    status: u16,
    bytes: u64,
    part: Option<String>,
    vary: String,
    selected: bool,
    life: String,
    groups: Vec<String>,
    etag: Option<String>,
    freshness: String,
    decision: String,
    clause: String,
}

async fn why(args: WhyArgs) -> anyhow::Result<()> {
    let question = serde_json::json!({ "url": args.url, "fields": args.fields });
    let answer: serde_json::Value = args.admin.client()?.post("/v1/why", &question).await?;
    if args.admin.json {
        return print::json(&answer);
    }
    let answer: Explanation = serde_json::from_value(answer).context("the edge answered something else")?;
    say!("key {}", answer.key);
    for variant in &answer.variants {
        say!(
            "{} {}, {} B{}, {}{}",
            if variant.selected { "selected:" } else { "other fields:" },
            variant.status,
            variant.bytes,
            variant.part.as_ref().map(|part| format!(" ({part})")).unwrap_or_default(),
            variant.life,
            variant.etag.as_ref().map(|etag| format!(", {etag}")).unwrap_or_default()
        );
        if !variant.vary.is_empty() {
            say!("  chosen by {}", variant.vary);
        }
        if !variant.groups.is_empty() {
            say!("  groups {}", variant.groups.join(" "));
        }
        say!("  {}", variant.freshness);
        say!("  {} [{}]", variant.decision, variant.clause);
    }
    match answer.clause {
        Some(clause) => say!("{} [{clause}]", answer.verdict),
        None => say!("{}", answer.verdict),
    }
    Ok(())
}
