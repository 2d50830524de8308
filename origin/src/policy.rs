//! How long responses may be kept, and which fields they have beside those of their content: the contract's defaults,
//! and rules by path from the configuration.

mod fields;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use release::{File, Policy};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Error;

pub use fields::{Fields, ResponseRule, hint_of_field};

/// A year in seconds: as long as a cache is asked to keep anything (RFC 9111 §1.2.2 allows more,
/// and some caches then forget the number).
const YEAR: u64 = 31_536_000;
/// Bytes of the longest pattern, so that matching has a bound.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Rules that a configuration may have, so that publishing has a bound.
pub const RULES_MAX: usize = 1_000;

/// A rule as it stands in the configuration:
///
/// ```toml
/// [[cache]]
/// path = "/blog/**"
/// browser = "10m"
/// edge = "30d"
/// stale_while_revalidate = "1m"
/// stale_if_error = "7d"
/// ```
///
/// The first rule whose pattern matches counts; what it leaves out keeps its default. Hashed assets
/// are kept for ever whatever the rules say: their content cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRule {
    /// Which paths: `*` stands for anything but slashes, `**` for anything, `?` for one character.
    /// A page is matched by its URL (`/blog/first/`) and by its file (`/blog/first/index.html`).
    pub path: String,
    /// How long browsers and foreign caches may keep the response: seconds, a text such as `"10m"`,
    /// or `"no-store"`. 0 (validate each time) unless given.
    #[serde(default)]
    pub browser: Option<Lifetime>,
    /// How long our edges may keep it, if the journal does not drop it earlier. A year unless given.
    #[serde(default)]
    pub edge: Option<Lifetime>,
    /// How long after that it may be shown while it is fetched anew.
    #[serde(default)]
    pub stale_while_revalidate: Option<Span>,
    /// How long after that it may be shown while nothing else can be had. At our edges a year unless
    /// given.
    #[serde(default)]
    pub stale_if_error: Option<Span>,
}

/// How long something may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// For so long.
    For(Span),
    /// Not at all.
    NoStore,
}

/// A length of time in whole seconds: a number, or a text such as `90s`, `10m`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    fn seconds(self) -> u64 {
        self.0.as_secs().min(YEAR)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no length of time: seconds, or a text such as `90s`, `10m`, `12h`, `30d` is expected"
            )
        };
        let (number, unit) = match text.char_indices().last() {
            Some((at, unit)) if unit.is_ascii_alphabetic() => (&text[..at], unit),
            _ => (text, 's'),
        };
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(|s| Self(Duration::from_secs(s))).ok_or_else(wrong)
    }
}

enum Raw {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawReader)
    }
}

/// An untagged enum would only say that nothing matches.
struct RawReader;

impl Visitor<'_> for RawReader {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time: seconds, or a text such as `90s`, `10m`, `12h`, `30d`")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Raw, E> {
        Ok(Raw::Number(seconds))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Raw, E> {
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(seconds), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Number(seconds) => Ok(Self(Duration::from_secs(seconds))),
            Raw::Text(text) => Self::parse(&text).map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Number(seconds) => Ok(Self::For(Span(Duration::from_secs(seconds)))),
            Raw::Text(text) if text == "no-store" => Ok(Self::NoStore),
            Raw::Text(text) => Span::parse(&text).map(Self::For).map_err(de::Error::custom),
        }
    }
}

/// The rules of a site as they stand in its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// How long responses may be kept.
    pub cache: Vec<CacheRule>,
    /// Which fields responses have.
    pub response: Vec<ResponseRule>,
}

/// The rules of a site, ready to be asked for each file.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    cache: Vec<(Pattern, Arc<Policy>)>,
    response: Vec<(Pattern, Fields)>,
}

impl Policies {
    /// Reads rules.
    ///
    /// # Errors
    /// [`Error::Rule`] where a pattern does not begin with a slash or is too long, there are more than
    /// [`RULES_MAX`] of a kind, or a response could get more fields than clients take.
    pub fn new(rules: &Rules) -> Result<Self, Error> {
        let cache = read("cache", &rules.cache, |rule| (rule.path.as_str(), rule.policy().into()))?;
        let response = read("response", &rules.response, |rule| (rule.path.as_str(), rule.fields.clone()))?;
        fields::check(&rules.response)?;
        Ok(Self { cache, response })
    }

    /// The policy of a file.
    pub fn of(&self, file: &File) -> Arc<Policy> {
        if file.immutable {
            return Arc::clone(&IMMUTABLE);
        }
        let address = Address::of(file);
        let rule = self.cache.iter().find(|(pattern, _)| address.matches(pattern));
        Arc::clone(rule.map_or(&*FALLBACK, |(_, policy)| policy))
    }

    /// The fields of a file with those that the rules give it, which take the place of its own. All rules that match
    /// count; of several that give one field, the first does.
    pub(crate) fn fields(&self, file: &File) -> Vec<(String, String)> {
        let address = Address::of(file);
        let mut fields: Vec<(String, String)> = Vec::new();
        for (_, given) in self.response.iter().filter(|(pattern, _)| address.matches(pattern)) {
            for (name, value) in given.iter() {
                if !fields.iter().any(|(known, _)| known == name) {
                    fields.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let own = file.fields.iter().filter(|(name, _)| !fields.iter().any(|(given, _)| given == name));
        let own: Vec<_> = own.cloned().collect();
        fields.extend(own);
        fields
    }
}

/// Rules of one kind with their patterns.
fn read<R, T>(
    kind: &'static str,
    rules: &[R],
    parts: impl Fn(&R) -> (&str, T),
) -> Result<Vec<(Pattern, T)>, Error> {
    let wrong = |path: &str, reason| Error::Rule { kind, path: path.to_owned(), reason };
    if let Some(rule) = rules.get(RULES_MAX) {
        let reason = format!("it is one of {}, and {RULES_MAX} are allowed", rules.len());
        return Err(wrong(parts(rule).0, reason));
    }
    let one = |rule: &R| {
        let (path, means) = parts(rule);
        Ok((Pattern::new(path).map_err(|reason| wrong(path, reason))?, means))
    };
    rules.iter().map(one).collect()
}

/// What patterns are compared with: a page's file and its URL.
struct Address {
    path: String,
    /// Bytes of `path` that are the URL of a folder's index.
    url: Option<usize>,
}

impl Address {
    fn of(file: &File) -> Self {
        let path = format!("/{}", file.path);
        let url = path.strip_suffix("index.html").filter(|url| url.ends_with('/')).map(str::len);
        Self { path, url }
    }

    fn matches(&self, pattern: &Pattern) -> bool {
        pattern.matches(&self.path) || self.url.is_some_and(|end| pattern.matches(&self.path[..end]))
    }
}

/// The policy where no rule says otherwise: browsers ask each time, our edges keep it until the
/// journal drops it, and show it for a year while nothing else can be had.
static FALLBACK: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let edge = format!("max-age={YEAR}, stale-if-error={YEAR}");
    Arc::new(Policy { browser: "max-age=0, must-revalidate".to_owned(), edge })
});

/// The policy of what never changes.
static IMMUTABLE: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let browser = format!("public, max-age={YEAR}, immutable");
    Arc::new(Policy { browser, edge: FALLBACK.edge.clone() })
});

impl CacheRule {
    fn policy(&self) -> Policy {
        let windows = |error: Option<u64>| {
            let mut text = String::new();
            if let Some(span) = self.stale_while_revalidate {
                text.push_str(&format!(", stale-while-revalidate={}", span.seconds()));
            }
            if let Some(seconds) = error {
                text.push_str(&format!(", stale-if-error={seconds}"));
            }
            text
        };
        let error = self.stale_if_error.map(Span::seconds);
        let browser = match self.browser {
            Some(Lifetime::NoStore) => "no-store".to_owned(),
            Some(Lifetime::For(span)) if span.seconds() > 0 => {
                format!("public, max-age={}{}", span.seconds(), windows(error))
            }
            // `must-revalidate` would forbid what the windows allow (RFC 9111 §5.2.2.2).
            Some(Lifetime::For(_)) | None => match windows(error) {
                none if none.is_empty() => "max-age=0, must-revalidate".to_owned(),
                some => format!("max-age=0{some}"),
            },
        };
        let edge = match self.edge {
            Some(Lifetime::NoStore) => "no-store".to_owned(),
            Some(Lifetime::For(span)) => {
                format!("max-age={}{}", span.seconds(), windows(error.or(Some(YEAR))))
            }
            None => format!("max-age={YEAR}{}", windows(error.or(Some(YEAR)))),
        };
        Policy { browser, edge }
    }
}

/// A path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Segment,
    Any,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("it must begin with a slash".into());
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("it has {} bytes, and {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' if chars.peek() == Some(&'*') => {
                    while chars.next_if_eq(&'*').is_some() {}
                    Piece::Any
                }
                '*' => Piece::Segment,
                '?' => Piece::One,
                c => Piece::Char(c),
            });
        }
        Ok(Self(pieces))
    }

    /// Whether the whole path matches: every reachable place in the pattern is tracked at once, so
    /// that no pattern takes longer than its length times the path's.
    fn matches(&self, path: &str) -> bool {
        let pieces = &self.0;
        let mut at = vec![false; pieces.len() + 1];
        at[0] = true;
        let skip = |at: &mut Vec<bool>| {
            for (i, piece) in pieces.iter().enumerate() {
                if at[i] && matches!(piece, Piece::Any | Piece::Segment) {
                    at[i + 1] = true;
                }
            }
        };
        skip(&mut at);
        for c in path.chars() {
            let mut next = vec![false; pieces.len() + 1];
            for (i, piece) in pieces.iter().enumerate().filter(|(i, _)| at[*i]) {
                match piece {
                    Piece::Char(wanted) => next[i + 1] |= c == *wanted,
                    Piece::One => next[i + 1] |= c != '/',
                    Piece::Segment => next[i] |= c != '/',
                    Piece::Any => next[i] = true,
                }
            }
            skip(&mut next);
            at = next;
        }
        at[pieces.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, immutable: bool) -> File {
        File {
            path: path.into(),
            body: Default::default(),
            status: 200,
            fields: vec![],
            groups: vec![],
            immutable,
        }
    }

    fn rule(json: &str) -> CacheRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, matches) in [
            ("/blog/**", "/blog/a/b.html", true),
            ("/blog/**", "/blog", false),
            ("/*.css", "/a.css", true),
            ("/*.css", "/a/b.css", false),
            ("/**.css", "/a/b.css", true),
            ("/**/x?.js", "/a/b/x1.js", true),
            ("/a", "/ab", false),
            ("/é*", "/ete", false),
            ("/é*", "/étable", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(path), matches, "{pattern} {path}");
        }
        assert!(Pattern::new("blog").is_err());
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length_allows() {
        let pattern = Pattern::new(&format!("/{}b", "**a".repeat(300))).unwrap();
        assert!(!pattern.matches(&format!("/{}", "a".repeat(1_000))));
    }

    #[test]
    fn the_first_rule_counts_and_hashed_assets_keep_theirs() {
        let cache = vec![
            rule(
                r#"{"path":"/blog/","browser":"10m","edge":"30d","stale_while_revalidate":60,"stale_if_error":"1h"}"#,
            ),
            rule(r#"{"path":"/blog/**","browser":"no-store","edge":"no-store"}"#),
            rule(r#"{"path":"/**","edge":60}"#),
        ];
        let policies = Policies::new(&Rules { cache, ..Rules::default() }).unwrap();
        let of = |path, immutable| {
            let policy = policies.of(&file(path, immutable));
            (policy.browser.clone(), policy.edge.clone())
        };
        let windows = ", stale-while-revalidate=60, stale-if-error=3600";
        assert_eq!(
            of("blog/index.html", false),
            (format!("public, max-age=600{windows}"), format!("max-age=2592000{windows}"))
        );
        assert_eq!(of("blog/a.html", false), ("no-store".into(), "no-store".into()));
        assert_eq!(
            of("x", false),
            ("max-age=0, must-revalidate".into(), "max-age=60, stale-if-error=31536000".into())
        );
        assert_eq!(of("x.123.css", true).0, "public, max-age=31536000, immutable");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [r#"{"path":"/","ttl":1}"#, r#"{"path":"/","edge":"soon"}"#, r#"{"path":"/","edge":"1y"}"#]
        {
            assert!(serde_json::from_str::<CacheRule>(bad).is_err(), "{bad}");
        }
        let cache = vec![rule(r#"{"path":"x"}"#)];
        let error = Policies::new(&Rules { cache, ..Rules::default() }).unwrap_err();
        assert_eq!(error.to_string(), "the cache rule for `x` is wrong: it must begin with a slash");
    }
}
