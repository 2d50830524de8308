//! `bake diff`: what differs between two releases.

use release::ReleaseId;
use release::tree::Diff;

use crate::print;
use crate::system::SystemArgs;

/// Show the paths that differ between two releases
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The earlier release
    from: ReleaseId,
    /// The later release
    to: ReleaseId,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
}

/// Runs the command.
pub async fn run(args: DiffArgs) -> anyhow::Result<()> {
    let path = format!("/v1/diff?from={}&to={}{}", args.from, args.to, print::site_query(&args.system));
    let diff: Diff = args.system.client()?.get(&path).await?;
    if args.json { print::json(&diff) } else { print::diff(&diff) }
}
