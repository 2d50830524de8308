//! Misses that need not be: what made them, how often, an example, and what to change about it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// Paths whose queries are counted; when full they are forgotten.
const PATHS_MAX: usize = 1_024;
/// Misses of one path with a query that make it worth telling.
const QUERIES_MIN: u64 = 20;
/// Causes that are kept: there are not that many.
const CAUSES_MAX: usize = 64;
/// Bytes of a URL that is told of.
const URL_BYTES_MAX: usize = 512;

/// A cause of misses that an operator can remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Avoidable {
    /// Its name, as in `Cache-Status`.
    pub cause: &'static str,
    /// Requests that it sent to an upstream.
    pub count: u64,
    /// The last URL.
    pub example: String,
    /// What it means.
    pub why: &'static str,
    /// What to change.
    pub remedy: &'static str,
}

/// What each cause means, and what to change about it.
const REMEDIES: [(&str, &str, &str); 14] = [
    (
        "no-freshness",
        "the response says nothing of how long it may be reused, and has nothing to validate it by",
        "send `Cache-Control: max-age=…`, or at least `Last-Modified` or `ETag`",
    ),
    (
        "not-cacheable",
        "a status that is reused only when the response says for how long",
        "send `Cache-Control: max-age=…` with it, if it may be reused",
    ),
    (
        "set-cookie",
        "the response sets a cookie, so it may be for one user only",
        "do not set cookies on what is the same for all, or say so with `Cache-Control: public` or `s-maxage`",
    ),
    (
        "private",
        "the response says that it is for one user",
        "send `public` in place of `private` where it is the same for all",
    ),
    (
        "no-store",
        "the response forbids storing",
        "frameworks often send `no-store` by default: say `no-cache` with an `ETag`, or `max-age=…`, where it may be kept",
    ),
    (
        "authorization",
        "the request carries `Authorization`, so the response is shared only if it says so",
        "send `Cache-Control: public`, `s-maxage` or `must-revalidate` where it is the same for all who may see it",
    ),
    ("vary-star", "`Vary: *` matches no other request", "name the request fields that matter in `Vary`"),
    (
        "vary-miss",
        "other request fields than those of the stored copies",
        "leave fields with many values, such as `User-Agent` and `Cookie`, out of `Vary`",
    ),
    (
        "many-queries",
        "one path is asked for with ever other queries, each a URL of its own",
        "leave what does not change the response out of the key: `--query-without 'utm_*'` or `--query-only page`",
    ),
    (
        "too-large",
        "the response is larger than the share of the memory that one may take",
        "give the edge more memory with `--memory`",
    ),
    (
        "no-validator",
        "a stale copy had neither `ETag` nor `Last-Modified`, so it was fetched again whole",
        "send `ETag` or `Last-Modified`: an unchanged response then costs no content",
    ),
    (
        "expired",
        "the lifetime was over, and the request waited until the copy was validated",
        "send a longer `max-age`, or `stale-while-revalidate=…` beside it: it is then validated behind the answer",
    ),
    (
        "s-maxage",
        "the response allows stale use and says `s-maxage`, which forbids it",
        "say the lifetime with `max-age` or `CDN-Cache-Control`, or start with `--s-maxage lifetime`",
    ),
    (
        "evicted",
        "the copy had to make room before it was asked for again",
        "give the edge more memory with `--memory`",
    ),
];

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct Misses(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    causes: HashMap<&'static str, (u64, String)>,
    paths: HashMap<String, u64>,
}

impl Misses {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a miss; says whether it is worth telling of, as the first is, the second, the fourth and so on.
    pub(crate) fn note(&self, cause: &'static str, host: &str, target: &str) -> bool {
        let mut counted = self.counted();
        if !counted.causes.contains_key(cause) && counted.causes.len() >= CAUSES_MAX {
            return false;
        }
        let (count, example) = counted.causes.entry(cause).or_default();
        *count += 1;
        // The last is as good as any; written only now and then, since it costs a copy.
        let is_news = count.is_power_of_two();
        if is_news {
            *example = url(host, target);
        }
        is_news
    }

    /// Notes that nothing was stored for a URL with a query.
    pub(crate) fn note_query(&self, host: &str, target: &str) {
        let Some((path, _)) = target.split_once('?') else { return };
        let worth_telling = {
            let mut counted = self.counted();
            if counted.paths.len() >= PATHS_MAX {
                counted.paths.clear();
            }
            let count = counted.paths.entry(url(host, path)).or_default();
            *count += 1;
            *count >= QUERIES_MIN
        };
        if worth_telling {
            self.note("many-queries", host, target);
        }
    }

    /// All that can be avoided, the commonest first.
    pub(crate) fn list(&self) -> Vec<Avoidable> {
        let counted = self.counted();
        let mut list: Vec<Avoidable> = REMEDIES
            .iter()
            .filter_map(|(cause, why, remedy)| {
                let (count, example) = counted.causes.get(cause)?;
                Some(Avoidable { cause, count: *count, example: example.clone(), why, remedy })
            })
            .collect();
        list.sort_by_key(|avoidable| std::cmp::Reverse(avoidable.count));
        list
    }
}

/// A URL as it is told of: what is longer is cut.
pub(crate) fn url(host: &str, target: &str) -> String {
    let mut url = format!("{host}{target}");
    url.truncate(url.floor_char_boundary(URL_BYTES_MAX));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_come_first_with_a_remedy() {
        let misses = Misses::default();
        for n in 0..30 {
            misses.note_query("h", &format!("/search?q={n}"));
        }
        misses.note("set-cookie", "h", "/a");
        misses.note("superseded", "h", "/b");
        let list = misses.list();
        let told: Vec<(&str, u64)> = list.iter().map(|one| (one.cause, one.count)).collect();
        assert_eq!(told, [("many-queries", 11), ("set-cookie", 1)]);
        assert_eq!(list[1].example, "h/a");
    }
}
