//! `bake rollback`: an earlier release again.

use release::ReleaseId;
use release::wire::{Published, RollbackRequest};

use crate::print::{self, say};
use crate::system::SystemArgs;

/// Serve an earlier release again, and hold back publishes that nobody asked for
///
/// Saves, schedules and restarts publish nothing until someone says `bake publish` or `bake resume`.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The release; the one served before the present one, where it is left out
    release: Option<ReleaseId>,
    /// Why
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Wait until every edge serves it
    #[arg(long)]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
}

/// Runs the command.
pub async fn run(args: RollbackArgs) -> anyhow::Result<()> {
    let request = RollbackRequest {
        site: args.system.site.clone(),
        release: args.release,
        message: args.message,
        wait: args.wait,
    };
    let published: Published = args.system.client()?.post("/v1/rollback", &request).await?;
    if args.json {
        print::json(&published)?;
    } else {
        say!("rolled back to {}", print::release(published.release.as_ref()));
        print::changes(&published.diff);
        print::edges(&published.edges);
        say!("saves, schedules and restarts are held back until `bake publish` or `bake resume`");
    }
    print::all_applied(args.wait, &published.edges)
}
