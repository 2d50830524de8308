//! An S3 endpoint over a folder, for one machine: what `bake up` and `bake bucket` keep their data in.
//!
//! Owned here: the protocol (crate s3s: routing, XML, Signature Version 4, presigned requests and their expiry) put
//! over a backend of our own ([`FolderStore`]), and the HTTP server around it with its bounds. Every PUT is durable
//! before its reply; `If-None-Match: *` and `If-Match` are atomic, also across processes on one folder. Left out:
//! versions, ACLs, tags, encryption, website and every other part of S3 that this system does not need; they are
//! refused, never ignored.

mod answer;
mod api;
mod folder;
mod keys;
mod listing;
mod multipart;
mod object;
mod pages;
mod read;
mod receive;
mod server;

pub use folder::{FolderStore, Limits, StoreError};
pub use server::{Credentials, serve};
