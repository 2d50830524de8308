//! What an operator may set about the rules, as typed values. Each default is the strict reading.

use http::HeaderName;

use super::{query::QueryKey, reuse::ClientValidation, storing};

/// The rules that a cache follows where the RFCs leave a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The targeted fields that are obeyed, the first valid one of a response alone (RFC 9213 §2.2).
    pub targets: Vec<HeaderName>,
    /// Whether browsers may force validation.
    pub clients: ClientValidation,
    /// Which responses with `Set-Cookie` are stored.
    pub set_cookie: SetCookie,
    /// Whether `s-maxage` forbids stale use.
    pub s_maxage: SMaxage,
    /// Which query parameters belong to the key, and to the URI that is forwarded.
    pub query: QueryKey,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            targets: storing::targets_of_an_upstream(),
            clients: ClientValidation::default(),
            set_cookie: SetCookie::default(),
            s_maxage: SMaxage::default(),
            query: QueryKey::default(),
        }
    }
}

/// Which responses with `Set-Cookie` are stored. RFC 9111 §7.3 leaves it to the origin to say `private`; many do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetCookie {
    /// Those that say they are for all: `public`, `s-maxage` or a targeted field.
    #[default]
    ForAll,
    /// Those with any explicit freshness. Never on a heuristic.
    Store,
}

/// Whether `s-maxage` forbids stale use, as RFC 9111 §5.2.2.10 says. `s-maxage=60, stale-while-revalidate=600` is
/// common, and means the opposite to those who write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SMaxage {
    /// It implies `proxy-revalidate`.
    #[default]
    Strict,
    /// It is a lifetime and nothing else.
    LifetimeOnly,
}
