//! `bake releases`: the versions of a site.

use release::wire::ReleaseLine;

use crate::print;
use crate::system::SystemArgs;

/// List the site's releases, newest first
#[derive(Debug, clap::Args)]
pub struct ReleasesArgs {
    /// At most this many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
}

/// Runs the command.
pub async fn run(args: ReleasesArgs) -> anyhow::Result<()> {
    let path = format!("/v1/releases?max={}{}", args.limit, print::site_query(&args.system));
    let lines: Vec<ReleaseLine> = args.system.client()?.get(&path).await?;
    if args.json {
        return print::json(&lines);
    }
    let mut rows = vec![["", "RELEASE", "MADE", "BY", "PATHS", "WHY"].map(str::to_owned)];
    for line in lines {
        let why = if line.message.is_empty() { line.trigger.to_string() } else { line.message };
        rows.push([
            if line.active { "*" } else { "" }.to_owned(),
            line.id.to_string(),
            line.created.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            line.author,
            line.counts.paths.to_string(),
            why,
        ]);
    }
    print::table(&rows)
}
