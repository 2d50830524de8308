//! One output of the site: where its content is, and whether it is what it was.

use std::io;
use std::sync::Arc;

use release::{Digest, File};

use super::insert::without_digests;
use super::store::{Body, Store};

/// Copies up to this size are kept as made content is; larger ones are read from the site when they are asked for.
const COPY_BYTES_MAX: usize = 64 << 10;

/// One output.
#[derive(Debug)]
pub struct Output {
    /// Its content.
    pub content: What,
    /// The status of its response.
    pub status: u16,
    /// Its response fields.
    pub fields: Vec<(String, String)>,
    /// The name of the template that made it.
    pub template: Option<String>,
}

/// Where the content of an output is.
#[derive(Debug)]
pub enum What {
    /// Rendered.
    Made(Body),
    /// The site's file of this path, and the digest it had.
    Copy(Arc<str>, Digest),
}

impl Output {
    /// Keeps a file that was rendered, or is a copy of one of the site's.
    pub fn new(store: &Arc<Store>, file: File, copy_of: Option<&str>) -> io::Result<Self> {
        let content = match copy_of {
            Some(source) if file.body.len() > COPY_BYTES_MAX => {
                What::Copy(source.into(), Digest::of(&file.body))
            }
            _ => What::Made(store.keep(file.body)?),
        };
        let template =
            file.groups.iter().find_map(|group| group.strip_prefix("template:")).map(str::to_owned);
        Ok(Self { content, status: file.status, fields: file.fields, template })
    }

    /// The value of a response field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is a page.
    pub fn is_html(&self) -> bool {
        self.field("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    }

    /// Whether a browser would see no difference.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.status, &self.fields) == (other.status, &other.fields)
            && match (&self.content, &other.content) {
                (What::Made(one), What::Made(other)) => {
                    matches!((one.read(), other.read()), (Ok(one), Ok(other)) if one == other)
                }
                (What::Copy(_, one), What::Copy(_, other)) => one == other,
                _ => false,
            }
    }

    /// What tells it from another state of it, but for digests of files that it links to.
    pub fn identity(&self) -> String {
        match &self.content {
            What::Copy(_, digest) => digest.short(),
            What::Made(body) => match body.read() {
                Ok(bytes) if self.is_html() => Digest::of(&without_digests(&bytes)).short(),
                Ok(bytes) => Digest::of(&bytes).short(),
                // What cannot be read is told when it is asked for.
                Err(_) => "unreadable".to_owned(),
            },
        }
    }
}
