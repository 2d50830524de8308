//! What a stored response is found by, and how purges name it.

use std::{borrow::Cow, sync::Arc};

use ahash::RandomState;
use release::url;

use crate::policy::same_origin::Scheme;

/// A cache key: who answers (scheme and host, or a site) and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// `scheme://host[:port]` in lower case, or the name of a site.
    pub(crate) scope: Arc<str>,
    /// Path and query, byte for byte as forwarded; for a site its path alone, unescaped.
    pub(crate) target: Arc<str>,
    /// Whether `scope` is a site.
    pub(crate) of_site: bool,
}

/// A key that is looked for, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRef<'a> {
    pub(crate) scope: &'a str,
    pub(crate) target: &'a str,
    pub(crate) of_site: bool,
}

impl<'a> KeyRef<'a> {
    /// By the given keyed hash. Whole keys are compared as well.
    pub(crate) fn hash(self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.scope, self.target, self.of_site))
    }

    /// The path in the spelling that purges use (RFC 3986 §6.2.2).
    pub(crate) fn normal_path(self) -> Cow<'a, str> {
        if self.of_site {
            return Cow::Owned(url::normalise(&url::escape(self.target)).into_owned());
        }
        url::normalise(self.target.split('?').next().unwrap_or_default())
    }

    /// The query, where there is one.
    pub(crate) fn query(self) -> Option<&'a str> {
        if self.of_site { None } else { self.target.split_once('?').map(|(_, query)| query) }
    }

    /// Host and port, for an upstream's key.
    pub(crate) fn host(self) -> Option<&'a str> {
        if self.of_site { None } else { self.scope.split_once("://").map(|(_, host)| host) }
    }
}

impl Key {
    /// The same, borrowed.
    pub(crate) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { scope: &self.scope, target: &self.target, of_site: self.of_site }
    }

    /// The key of an upstream's URL. `host` is lower-cased, its default port dropped.
    pub(crate) fn of_upstream(scheme: Scheme, host: &str, target: &str) -> Self {
        Self { scope: scheme.origin(host).into(), target: target.into(), of_site: false }
    }

    /// The key of a site's path (see [`url::site_path`]).
    pub(crate) fn of_site(site: &Arc<str>, path: &str) -> Self {
        Self { scope: Arc::clone(site), target: path.into(), of_site: true }
    }

    /// Host and port, for an upstream's key.
    pub(crate) fn host(&self) -> Option<&str> {
        self.borrowed().host()
    }
}
