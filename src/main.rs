//! `bake`: renders a site, releases it, serves it. Parses, dispatches, and says what failed.
#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they end who prints where nobody reads: see `print`"
)]
#![expect(unreachable_pub, reason = "this is a binary: `pub` says what a module offers to the others")]

mod bucket;
mod build;
mod check;
mod config;
mod data_folder;
mod diff;
mod edge_flags;
mod edge_handover;
mod edge_role;
mod edge_watch;
mod failure;
mod fetched;
mod import;
mod jobs;
mod listen;
mod logs;
mod memo;
mod memory_bytes;
mod mv;
mod new;
mod origin_role;
mod parts;
mod preview;
mod print;
mod publish;
mod purge;
mod releases;
mod render;
mod renderer_role;
mod resume;
mod rollback;
mod sass;
mod stop;
mod stores;
mod system;
mod up;
mod vanished;
mod watch;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Renders content to versioned static HTML, releases it in S3, serves it from an exact edge cache
#[derive(Parser)]
#[command(name = "bake", version, propagate_version = true, arg_required_else_help = true)]
struct Bake {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::LogArgs,
}

#[derive(Subcommand)]
enum Command {
    Up(up::UpArgs),
    Preview(preview::PreviewArgs),
    Build(build::BuildArgs),
    Check(check::CheckArgs),
    Import(import::ImportArgs),
    Mv(mv::MvArgs),
    New(new::NewArgs),
    Publish(publish::PublishArgs),
    Releases(releases::ReleasesArgs),
    Diff(diff::DiffArgs),
    Rollback(rollback::RollbackArgs),
    Resume(resume::ResumeArgs),
    Purge(purge::PurgeArgs),
    Bucket(bucket::BucketArgs),
    Origin(origin_role::OriginArgs),
    Edge(Box<edge_role::EdgeArgs>),
    Renderer(renderer_role::RendererArgs),
}

fn main() -> ExitCode {
    if let Some(ended) = sass::start() {
        return ended;
    }
    let bake = Bake::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        // Another provider is there already, which serves as well.
        tracing::debug!("TLS has a provider already");
    }
    let result = logs::start(&bake.logs).and_then(|()| {
        #[cfg(feature = "failpoints")]
        if let Ok(point) = std::env::var("BAKE_PAUSE_AT") {
            ::origin::failpoint::pause_at(&point).map_err(anyhow::Error::msg)?;
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Command::Edge(args) = &bake.command
            && let Some(threads) = args.threads()
        {
            builder.worker_threads(threads);
        }
        let runtime = builder.enable_all().build()?;
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                result = run(bake.command) => result,
                error = stop::asked_again() => Err(error),
            }
        });
        // What still hangs, such as a look-up of a name, must not keep the process.
        runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(failure::report(&error)),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Preview(args) => preview::run(args).await,
        Command::Build(args) => build::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Mv(args) => mv::run(args).await,
        Command::New(args) => new::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Releases(args) => releases::run(args).await,
        Command::Diff(args) => diff::run(args).await,
        Command::Rollback(args) => rollback::run(args).await,
        Command::Resume(args) => resume::run(args).await,
        Command::Purge(args) => purge::run(args).await,
        Command::Bucket(args) => bucket::run(args).await,
        Command::Origin(args) => origin_role::run(args).await,
        Command::Edge(args) => edge_role::run(*args).await,
        Command::Renderer(args) => renderer_role::run(args).await,
    }
}
