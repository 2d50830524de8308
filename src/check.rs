//! `bake check`: what is wrong with a site, before anyone else sees it.

use std::io::Write;
use std::path::PathBuf;

use renderer::check::{Finding, Report, Rule, Severity};
use renderer::data::Faults;
use renderer::{BaseUrl, Renderer};
use serde::Serialize;

use crate::failure::Content;
use crate::print::{self, counted, say, tell};
use crate::render::{self, Folder};

/// Look for broken links, missing and unused files, and other mistakes
///
/// The site is rendered as for a build, and nothing is written. Links within the site are looked up exactly; those to other
/// hosts are asked for with --external, or where `external_level` is set in zola.toml.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Ask other hosts too; their answers are kept for days, in ~/.cache/bakehouse
    #[arg(long)]
    external: bool,
    /// Do not ask other hosts, whatever the configuration says
    #[arg(long, conflicts_with = "external")]
    skip_external_links: bool,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
    /// Look at drafts too
    #[arg(long)]
    drafts: bool,
    /// Address that links begin with, in place of the configured `base_url`
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Configuration to read, by its path below SITE, in place of `zola.toml` or `config.toml`
    #[arg(long, short, value_name = "FILE")]
    config: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: CheckArgs) -> anyhow::Result<()> {
    let (is_json, deny_warnings) = (args.json, args.deny_warnings);
    let (report, others) = match Folder::open(&args.folder, args.config.as_deref()) {
        Ok(folder) => look(folder, Faults::default(), args).await?,
        Err(error) => match Folder::open_despite(&args.folder, error.downcast::<Content>()?.0) {
            Ok((folder, faults)) => look(folder, faults, args).await?,
            // What cannot be listed cannot be looked at.
            Err(errors) => (Report::from(&errors), "none to other hosts".to_owned()),
        },
    };
    let (errors, warnings) = report.counts();
    if is_json {
        print::json(&Shown::of(&report))?;
    } else {
        show(&report)?;
    }
    let looked_at = format!(
        "{}, {}, {} ({others})",
        counted(report.pages as u64, "page"),
        counted(report.outputs as u64, "file"),
        counted(report.links, "link"),
    );
    let found = format!("{}, {}", counted(errors as u64, "error"), counted(warnings as u64, "warning"));
    if errors > 0 || (deny_warnings && warnings > 0) {
        anyhow::bail!("{found} in {looked_at}");
    }
    if !is_json {
        say!("{found} in {looked_at}");
    }
    Ok(())
}

/// Looks at a site, and says what became of the links to other hosts.
async fn look(folder: Folder, wrong: Faults, args: CheckArgs) -> anyhow::Result<(Report, String)> {
    let base_url = args.base_url.map_or(BaseUrl::Configured, BaseUrl::Given);
    let (data, failed) = folder.fetch_data().await;
    let mut input = folder.input(data, jiff::Timestamp::now(), base_url, args.drafts);
    input.faults.append(failed);
    input.faults.append(wrong);
    input.options.config = args.config;
    let check = move || Renderer::for_one_render(render::ONE_RENDER_BYTES_MAX).check(&input);
    let mut report = tokio::task::spawn_blocking(check).await?;
    let number = report.external.len();
    if !(args.external || report.asks_for_external) || args.skip_external_links {
        return Ok((report, format!("{number} to other hosts were not asked for")));
    }
    if number > 0 && !args.json {
        tell!("asking for {number} addresses of other hosts");
    }
    let unasked = report.ask_outside(cache().as_deref()).await.map_err(anyhow::Error::msg)?;
    Ok((report, format!("{} to other hosts", number - unasked)))
}

/// Where other hosts' answers are kept (XDG base directories); nowhere, where the user has no folder for that.
fn cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(folder.join("bakehouse").join("links.json"))
}

fn show(report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stderr().lock();
    for finding in &report.findings {
        match finding.severity {
            Severity::Error => writeln!(out, "{}\n", finding.diagnostic)?,
            Severity::Warning => writeln!(out, "{}\n", finding.diagnostic.as_warning())?,
        }
    }
    if report.more != (0, 0) {
        let more = [(report.more.0, "more error"), (report.more.1, "more warning")];
        let more = more.into_iter().filter(|(number, _)| *number > 0);
        let more: Vec<_> = more.map(|(number, what)| counted(number as u64, what)).collect();
        writeln!(out, "and {}\n", more.join(", "))?;
    }
    Ok(())
}

/// A report as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    errors: usize,
    warnings: usize,
    pages: usize,
    files: usize,
    links: u64,
    findings: Vec<ShownFinding<'a>>,
    /// Findings beyond those that are listed.
    more: usize,
}

#[derive(Serialize)]
struct ShownFinding<'a> {
    severity: Severity,
    rule: Rule,
    message: &'a str,
    path: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
    excerpt: Option<&'a str>,
    hint: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(report: &'a Report) -> Self {
        let (errors, warnings) = report.counts();
        let findings = report.findings.iter().map(ShownFinding::of).collect();
        let Report { pages, outputs, links, more, .. } = *report;
        Self { errors, warnings, pages, files: outputs, links, findings, more: more.0 + more.1 }
    }
}

impl<'a> ShownFinding<'a> {
    fn of(finding: &'a Finding) -> Self {
        let d = &finding.diagnostic;
        Self {
            severity: finding.severity,
            rule: finding.rule,
            message: &d.message,
            path: d.path.as_deref(),
            line: d.line,
            column: d.column,
            excerpt: d.excerpt.as_deref(),
            hint: d.hint.as_deref(),
        }
    }
}
