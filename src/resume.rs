//! `bake resume`: publishes go on after a rollback.

use release::wire::Resumed;

use crate::print::{self, say};
use crate::system::SystemArgs;

/// Let saves and schedules publish again after a rollback
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
}

/// Runs the command.
pub async fn run(args: ResumeArgs) -> anyhow::Result<()> {
    let path = match &args.system.site {
        Some(site) => format!("/v1/resume?site={site}"),
        None => "/v1/resume".to_owned(),
    };
    let resumed: Resumed = args.system.client()?.post(&path, &serde_json::json!({})).await?;
    if args.json {
        return print::json(&resumed);
    }
    match resumed.was_held {
        true => say!("resumed at journal entry {}: saves and schedules publish again", resumed.committed.seq),
        false => say!("there was nothing to resume: no rollback held saves and schedules back"),
    }
    Ok(())
}
