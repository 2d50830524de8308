//! End-to-end tests of the real `bake`: what a user notices.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

mod bad_input;
mod blocks;
mod broken;
mod browser;
mod bucket;
mod builds;
mod check;
mod commands;
mod edge_crowd;
mod edge_memory;
mod edge_operators;
mod edge_restart;
mod edge_upstream;
mod fields;
mod memo;
mod mv;
mod preview;
mod publish;
mod purge;
mod redirects;
mod roles;
mod save;
mod says;
mod serve;
mod sources;
mod start;
mod vanished;
mod versions;
mod zola;
