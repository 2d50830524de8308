//! Why something that this crate was asked for did not happen.

use release::bucket::BucketError;
use release::file::BadPath;
use release::journal::Active;
use release::keys::Site;
use release::log::LogError;
use release::reader::ReadError;
use release::wire::Failure;
use release::{Digest, ReleaseId};

/// Why something that this crate was asked for did not happen.
///
/// Cloning is cheap: one failed write may have several callers who wait for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bucket gave no answer, or refused.
    #[error("{0}")]
    Bucket(std::sync::Arc<BucketError>),
    /// An object in the bucket is missing or not what it should be.
    #[error("{0}")]
    Read(std::sync::Arc<ReadError>),
    /// The journal cannot be read.
    #[error("{0}")]
    Log(std::sync::Arc<LogError>),
    /// The journal contradicts itself, and nothing is written to it any more.
    #[error("nothing is written to site `{site}` any more: {reason}")]
    Stopped {
        /// The site.
        site: Site,
        /// What was found.
        reason: String,
    },
    /// This process may not write: the bucket failed its probe, or the operator said so.
    #[error("nothing is written to the bucket: {0}")]
    ReadOnly(String),
    /// Someone else's activation came first: what was rendered may rest on older data.
    #[error("site `{site}`: another activation came first (now {})", describe(.winner.as_deref()))]
    Outdated {
        /// The site.
        site: Site,
        /// What is active now.
        winner: Option<Box<Active>>,
    },
    /// A write to the journal had no answer, and neither had reading it: it may be committed.
    #[error("site `{site}`: whether journal entry {seq} was committed is unknown: {reason}")]
    Unknown {
        /// The site.
        site: Site,
        /// The entry.
        seq: u64,
        /// The last thing that went wrong.
        reason: String,
    },
    /// A write to the journal was given up, and it is certain that it did not take place.
    #[error("site `{site}`: journal entry {seq} could not be written: {reason}")]
    NotCommitted {
        /// The site.
        site: Site,
        /// The entry.
        seq: u64,
        /// The last thing that went wrong.
        reason: String,
    },
    /// More callers wait for the journal than are let in.
    #[error("site `{site}`: {waiting} writes to the journal are waiting already")]
    Overloaded {
        /// The site.
        site: Site,
        /// How many wait.
        waiting: usize,
    },
    /// An entry is larger than any reader takes.
    #[error("the journal entry has {bytes} bytes, and {max} are allowed")]
    EntryTooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A rollback holds back publishes that nobody asked for.
    #[error("site `{site}` was rolled back to {release}, which holds back this publish ({trigger})")]
    Held {
        /// The site.
        site: Site,
        /// The active release.
        release: ReleaseId,
        /// What wanted to publish.
        trigger: String,
    },
    /// Two files want the same path.
    #[error("two files are to be served at `{0}`")]
    DuplicatePath(String),
    /// A source that could not be read.
    #[error("`{path}` cannot be read: {reason}")]
    Source {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A path that cannot be one.
    #[error("{0}")]
    BadPath(#[from] BadPath),
    /// A response field that HTTP cannot carry.
    #[error("`{path}`: the response field `{}` cannot be sent", .name.escape_debug())]
    BadField {
        /// The file.
        path: String,
        /// The field.
        name: String,
    },
    /// A coding could not be made.
    #[error("`{path}` could not be compressed as {error}")]
    Coding {
        /// The file.
        path: String,
        /// Which, and what the compressor says.
        error: release::codings::CodingError,
    },
    /// There is nothing to go back to.
    #[error("site `{0}` has no release before the active one")]
    NoPrevious(Site),
    /// No release of that name.
    #[error("site `{site}` has no release {release}")]
    NoRelease {
        /// The site.
        site: Site,
        /// The release.
        release: ReleaseId,
    },
    /// Nothing has been published.
    #[error("site `{0}` has no release yet")]
    NothingActive(Site),
    /// The bucket has no such site.
    #[error("there is no site `{0}` here")]
    NoSite(Site),
    /// A call left the site out, and there are several, or none.
    #[error("the call names no site, and {0} are served here")]
    WhichSite(usize),
    /// Bytes that were sent under a digest are others.
    #[error("the bytes sent as {expected} have the digest {found}")]
    WrongDigest {
        /// What they were sent as.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
    /// A rule of the configuration that cannot be followed.
    #[error("the {kind} rule for `{path}` is wrong: {reason}")]
    Rule {
        /// The table that it is one of: `cache` or `response`.
        kind: &'static str,
        /// Its path pattern.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// A configured fellow that is no http or https URL.
    #[error("the fellow origin `{url}` is no address: {reason}")]
    BadFellow {
        /// What was configured.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A part of this process is gone, as it is while it stops.
    #[error("{0} is not running any more")]
    Gone(&'static str),
}

fn describe(winner: Option<&Active>) -> String {
    winner.map_or_else(|| "nothing".to_owned(), |a| format!("{}, entry {}", a.release, a.seq))
}

impl From<BucketError> for Error {
    fn from(error: BucketError) -> Self {
        Self::Bucket(std::sync::Arc::new(error))
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Bucket(error) => error.into(),
            error => Self::Read(std::sync::Arc::new(error)),
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Bucket(error) => error.into(),
            error => Self::Log(std::sync::Arc::new(error)),
        }
    }
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Bucket(error) => match &**error {
                BucketError::Unknown { .. } => {
                    "see whether the bucket's endpoint can be reached and its disk has room; what was active stays served"
                }
                BucketError::Denied { .. } => {
                    "see whether the credentials, the bucket's name and its quota are right; what was active stays served"
                }
                BucketError::Full { .. } => {
                    "free space on the disk that holds the bucket, or give it a larger quota; what was active stays served"
                }
                BucketError::TooLarge { .. } => return None,
            },
            Self::Read(error) => match &**error {
                ReadError::Corrupted { .. } | ReadError::Missing(_) | ReadError::Node { .. } => {
                    "the bucket was damaged or written by something else: publish again, or restore the object from a copy of the bucket"
                }
                _ => "a later version of bake may have written this: upgrade",
            },
            Self::Log(_) | Self::Stopped { .. } => {
                "the bucket lost or changed history: restore it from a copy; nothing is written until the process is started again"
            }
            Self::ReadOnly(_) => {
                "give the journal a store with conditional writes (`[journal]`), or declare a single writer"
            }
            Self::Outdated { .. } => "publish again: it will rest on what is active now",
            Self::Unknown { .. } => "look at `bake releases` before you try again",
            Self::NotCommitted { .. } => "what was active is still served; try again when the bucket answers",
            Self::Held { .. } => "publish by hand, or say `bake resume`",
            Self::DuplicatePath(_) => "give one of the two another slug, path or alias",
            Self::NoRelease { .. } | Self::NoPrevious(_) => "`bake releases` lists what there is",
            Self::NothingActive(_) => "`bake publish` makes the first",
            Self::WhichSite(_) => "name one with `--site`",
            Self::Rule { kind, .. } => {
                return Some(format!(
                    "change it in [[{kind}]] of bakehouse.toml; a path is `/a/`, `/a/**` or `/**.css`"
                ));
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the same call may succeed later, or elsewhere, as it is.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Bucket(error) => matches!(**error, BucketError::Unknown { .. } | BucketError::Full { .. }),
            Self::NotCommitted { .. }
            | Self::Outdated { .. }
            | Self::Overloaded { .. }
            | Self::Source { .. } => true,
            _ => false,
        }
    }

    /// The status code with which the API says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::WrongDigest { .. }
            | Self::WhichSite(_)
            | Self::EntryTooLarge { .. }
            | Self::DuplicatePath(_) => 400,
            Self::NoSite(_) | Self::NoRelease { .. } => 404,
            Self::Outdated { .. } | Self::Held { .. } | Self::NoPrevious(_) | Self::NothingActive(_) => 409,
            Self::Bucket(_) | Self::NotCommitted { .. } | Self::Overloaded { .. } | Self::Gone(_) => 503,
            Self::Read(_) | Self::Log(_) => 502,
            _ => 500,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { error: error.to_string(), hint: error.hint() }
    }
}
