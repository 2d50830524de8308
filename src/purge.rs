//! `bake purge`: drops copies from every edge's cache.

use release::journal::Selector;
use release::wire::{PurgeRequest, Receipt};

use crate::failure::Usage;
use crate::print;
use crate::system::SystemArgs;

/// Drop copies from the caches of all edges, and print a receipt
///
/// Several selectors make one purge. A URL means all its query variants unless it has a query itself.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    /// A URL, or a path of the site
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// All paths that begin with this
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// All members of a cache group, such as `section:/blog/`
    #[arg(long, visible_alias = "tag", value_name = "GROUP")]
    group: Vec<String>,
    /// Everything of the site
    #[arg(long)]
    all: bool,
    /// Copies become stale, and may be shown while a new one is fetched
    #[arg(long)]
    soft: bool,
    /// Wait until every edge has applied it; exit with 1 if one has not
    #[arg(long)]
    wait: bool,
    /// Why; kept in the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
}

/// Runs the command.
pub async fn run(args: PurgeArgs) -> anyhow::Result<()> {
    let mut selectors: Vec<Selector> = args.url.into_iter().map(Selector::Url).collect();
    selectors.extend(args.prefix.into_iter().map(Selector::Prefix));
    selectors.extend(args.group.into_iter().map(Selector::Group));
    if args.all {
        selectors.push(Selector::All);
    }
    if selectors.is_empty() {
        let text = "say what to purge: --url, --prefix, --group or --all".to_owned();
        return Err(Usage(text).into());
    }
    let request = PurgeRequest {
        site: args.system.site.clone(),
        selectors,
        soft: args.soft,
        reason: args.reason,
        wait: args.wait,
    };
    let receipt: Receipt = args.system.client()?.post("/v1/purge", &request).await?;
    if args.json {
        print::json(&receipt)?;
    } else {
        print::receipt(&receipt, args.soft);
    }
    print::all_applied(args.wait, &receipt.edges)
}
