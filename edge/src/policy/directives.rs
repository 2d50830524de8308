//! `Cache-Control` of requests and responses (RFC 9111 §5.2, RFC 5861, RFC 8246) and its targeted kin (RFC 9213):
//! from field lines to typed values.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A number of seconds as directives carry it. What overflows is 2³¹ (RFC 9111 §1.2.2).
pub type DeltaSeconds = u32;

/// The value that an overflowing number is read as.
pub const DELTA_SECONDS_MAX: DeltaSeconds = 1 << 31;

/// Reads `1*DIGIT`; a number beyond 2³¹ is 2³¹ (RFC 9111 §1.2.2). `None`: not a number.
pub fn delta_seconds(text: &[u8]) -> Option<DeltaSeconds> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    Some(DeltaSeconds::try_from(number).unwrap_or(DELTA_SECONDS_MAX).min(DELTA_SECONDS_MAX))
}

/// How far `private` and `no-cache` reach (RFC 9111 §5.2.2.4, §5.2.2.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// The directive is absent.
    #[default]
    Absent,
    /// The whole response.
    Whole,
    /// Only these fields.
    Fields(Vec<HeaderName>),
}

impl Scope {
    fn widen(&mut self, argument: Option<Argument<'_>>) {
        let names: Option<Vec<HeaderName>> = match argument {
            None | Some(Argument::Broken) => None,
            Some(Argument::Text(text)) => text
                .split(|b| *b == b',')
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
                .map(|name| HeaderName::from_bytes(name).ok())
                .collect(),
        };
        // Without a field that tells how the response may be used, what is left could not be used at all.
        let names = names.filter(|names| !names.iter().any(tells_use));
        match (&mut *self, names) {
            (Self::Whole, _) => {}
            // An unreadable or empty list of names restricts everything, as caches may read any (RFC 9111 §5.2.2.7).
            (_, None) => *self = Self::Whole,
            (_, Some(names)) if names.is_empty() => *self = Self::Whole,
            (Self::Fields(held), Some(names)) => held.extend(names),
            (Self::Absent, Some(names)) => *self = Self::Fields(names),
        }
    }
}

/// Whether a field tells for whom a response is, for how long, or how its content is to be read.
fn tells_use(name: &HeaderName) -> bool {
    matches!(*name, header::VARY | header::CONTENT_ENCODING) || name.as_str().ends_with("cache-control")
}

/// The directives of a response that a shared cache acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// `max-age`; an invalid value counts as 0, so the response is stale (RFC 9111 §4.2.1).
    pub max_age: Option<DeltaSeconds>,
    /// `s-maxage`, for shared caches (RFC 9111 §5.2.2.10).
    pub s_maxage: Option<DeltaSeconds>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, whole or for some fields.
    pub no_cache: Scope,
    /// `private`, whole or for some fields.
    pub private: Scope,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand` (RFC 9111 §5.2.2.3).
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<DeltaSeconds>,
}

impl ResponseDirectives {
    /// Reads all `Cache-Control` lines of a response.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut this = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in members(line.as_bytes()) {
                this.take(&name, argument);
            }
        }
        this
    }

    fn take(&mut self, name: &[u8], argument: Option<Argument<'_>>) {
        // Of duplicates the first counts (RFC 9111 §4.2.1), an invalid number is 0.
        let number = |slot: &mut Option<DeltaSeconds>, argument: Option<Argument<'_>>| {
            if slot.is_none() {
                *slot = Some(match argument {
                    Some(Argument::Text(text)) => delta_seconds(&text).unwrap_or(0),
                    _ => 0,
                });
            }
        };
        match name {
            b"max-age" => number(&mut self.max_age, argument),
            b"s-maxage" => number(&mut self.s_maxage, argument),
            b"stale-while-revalidate" => number(&mut self.stale_while_revalidate, argument),
            b"stale-if-error" => number(&mut self.stale_if_error, argument),
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.widen(argument),
            b"private" => self.private.widen(argument),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            _ => {} // Unknown directives are ignored (RFC 9111 §5.2.3).
        }
    }
}

/// What controls a response: the first valid targeted field of the list, or else `Cache-Control` and `Expires`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The directives in force.
    pub directives: ResponseDirectives,
    /// The targeted field they came from. With one, `Cache-Control` and `Expires` do not count at all
    /// (RFC 9213 §2.2).
    pub targeted: Option<HeaderName>,
}

impl Control {
    /// Chooses by `targets`, the cache's own list in order of precedence (RFC 9213 §2.2).
    pub fn of(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        for target in targets {
            if let Some(directives) = targeted(headers, target) {
                return Self { directives, targeted: Some(target.clone()) };
            }
        }
        Self { directives: ResponseDirectives::parse(headers), targeted: None }
    }
}

/// A targeted field is a structured dictionary; an empty or broken one counts as absent (RFC 9213 §2.1).
fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let joined = structured(headers, name);
    if joined.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let dictionary: sfv::Dictionary = sfv::Parser::new(&joined).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives::default();
    for (key, value) in &dictionary {
        let argument = match value {
            sfv::ListEntry::Item(item) => match &item.bare_item {
                sfv::BareItem::Boolean(true) => None,
                // `directive=?0` says that the directive does not apply.
                sfv::BareItem::Boolean(false) => continue,
                sfv::BareItem::Integer(number) => {
                    Some(Argument::Text(number.to_string().into_bytes().into()))
                }
                sfv::BareItem::String(text) => Some(Argument::Text(text.as_str().as_bytes().into())),
                sfv::BareItem::Token(text) => Some(Argument::Text(text.as_str().as_bytes().into())),
                _ => Some(Argument::Broken),
            },
            sfv::ListEntry::InnerList(_) => Some(Argument::Broken),
        };
        // Lifetimes are integers here; a string that holds digits is not one.
        let numeric =
            matches!(key.as_str(), "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error");
        let integer = matches!(value, sfv::ListEntry::Item(item) if matches!(item.bare_item, sfv::BareItem::Integer(_)));
        let argument = if numeric && !integer { Some(Argument::Broken) } else { argument };
        directives.take(key.as_str().as_bytes(), argument);
    }
    Some(directives)
}

/// All lines of a structured field as one: what is wrong with one of them is wrong with all (RFC 9651 §4.2).
pub(crate) fn structured(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(&b", "[..])
}

/// How much staleness a request accepts (RFC 9111 §5.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// Any.
    Any,
    /// Up to this many seconds.
    Seconds(DeltaSeconds),
}

/// The directives of a request (RFC 9111 §5.2.1), `Pragma` included (§5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`.
    pub max_age: Option<DeltaSeconds>,
    /// `max-stale`.
    pub max_stale: Option<MaxStale>,
    /// `min-fresh`.
    pub min_fresh: Option<DeltaSeconds>,
    /// `stale-if-error` (RFC 5861 §4 allows it in requests).
    pub stale_if_error: Option<DeltaSeconds>,
}

impl RequestDirectives {
    /// Reads all `Cache-Control` lines of a request, or `Pragma` where there is none.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut this = Self::default();
        let mut any = false;
        for line in headers.get_all(header::CACHE_CONTROL) {
            any = true;
            for (name, argument) in members(line.as_bytes()) {
                let number = || match &argument {
                    Some(Argument::Text(text)) => delta_seconds(text),
                    _ => None,
                };
                match &*name {
                    b"no-cache" => this.no_cache = true,
                    b"no-store" => this.no_store = true,
                    b"only-if-cached" => this.only_if_cached = true,
                    // An invalid number is read in the safe direction: nothing is fresh enough.
                    b"max-age" => this.max_age = this.max_age.or(Some(number().unwrap_or(0))),
                    b"min-fresh" => {
                        this.min_fresh = this.min_fresh.or(Some(number().unwrap_or(DELTA_SECONDS_MAX)))
                    }
                    b"stale-if-error" => this.stale_if_error = this.stale_if_error.or(number()),
                    b"max-stale" if this.max_stale.is_none() => {
                        this.max_stale = match &argument {
                            None => Some(MaxStale::Any),
                            Some(_) => number().map(MaxStale::Seconds),
                        };
                    }
                    _ => {}
                }
            }
        }
        if !any {
            this.no_cache = headers
                .get_all(header::PRAGMA)
                .iter()
                .any(|line| members(line.as_bytes()).any(|(name, _)| *name == *b"no-cache"));
        }
        this
    }
}

/// A directive's argument: its text without quotes, or something that is neither token nor quoted string.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument<'a> {
    Text(Cow<'a, [u8]>),
    Broken,
}

/// The members of one field line, names in lower case. Quoted strings hide commas.
fn members(line: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Option<Argument<'_>>)> {
    split_outside_quotes(line).filter_map(|member| {
        let member = member.trim_ascii();
        if member.is_empty() {
            return None;
        }
        let (name, argument) = match member.iter().position(|b| *b == b'=') {
            None => (member, None),
            Some(at) => (&member[..at], Some(&member[at + 1..])),
        };
        let spaced = name.len() != name.trim_ascii().len();
        let name = match name.trim_ascii() {
            name if name.iter().any(u8::is_ascii_uppercase) => Cow::Owned(name.to_ascii_lowercase()),
            name => Cow::Borrowed(name),
        };
        if name.is_empty() || !name.iter().all(|b| is_token_byte(*b)) {
            return None;
        }
        let argument = argument.map(|text| if spaced { Argument::Broken } else { unquote(text) });
        Some((name, argument))
    })
}

fn unquote(text: &[u8]) -> Argument<'_> {
    let Some(inner) = text.strip_prefix(b"\"") else {
        let whole = !text.is_empty() && text.iter().all(|b| is_token_byte(*b));
        return if whole { Argument::Text(text.into()) } else { Argument::Broken };
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    loop {
        match bytes.next() {
            Some(b'\\') => match bytes.next() {
                Some(escaped) => out.push(escaped),
                None => return Argument::Broken,
            },
            Some(b'"') => break,
            Some(byte) => out.push(byte),
            None => return Argument::Broken,
        }
    }
    if bytes.next().is_some() { Argument::Broken } else { Argument::Text(out.into()) }
}

/// Splits a field line at commas that are not inside a quoted string.
pub(crate) fn split_outside_quotes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = member_end(text);
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

/// Where the first member ends: at a comma, or with the line.
fn member_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b',', b'"', &text[at..]) {
        at += next;
        if text[at] == b',' {
            return at;
        }
        let quoted = if begins_quoted(&text[..at]) { quoted_end(&text[at + 1..]) } else { None };
        at += 1 + quoted.unwrap_or(0);
    }
    text.len()
}

/// Whether a quote after this part of a member begins a quoted string, or the text of an entity tag. Inside a token it is
/// a stray byte (RFC 9110 §5.6.4): taken for a beginning it would hide a `no-store` behind it.
fn begins_quoted(before: &[u8]) -> bool {
    matches!(before.trim_ascii_start(), [] | [.., b'='] | b"W/")
}

/// Where the text after a quote goes on behind the quote that ends it; `None`: none does, and so nothing was quoted.
fn quoted_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        // What a backslash stands before is itself no end.
        at += 2;
    }
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The list members of all lines of a field, trimmed, empty ones dropped.
pub(crate) fn list_members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    members_of(headers.get_all(name).iter().map(HeaderValue::as_bytes))
}

/// The list members of these lines, trimmed, empty ones dropped.
pub(crate) fn members_of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.flat_map(split_outside_quotes).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        ResponseDirectives::parse(&headers)
    }

    #[test]
    fn numbers() {
        assert_eq!(delta_seconds(b"0"), Some(0));
        assert_eq!(delta_seconds(b"0060"), Some(60));
        assert_eq!(delta_seconds(b"2147483647"), Some(2_147_483_647));
        assert_eq!(delta_seconds(b"2147483648"), Some(DELTA_SECONDS_MAX));
        assert_eq!(delta_seconds(b"4294967296"), Some(DELTA_SECONDS_MAX));
        assert_eq!(delta_seconds(b"99999999999999999999999999"), Some(DELTA_SECONDS_MAX));
        for bad in ["", "-1", "+1", "1.5", "1 ", "0x1", "a"] {
            assert_eq!(delta_seconds(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn response_directives() {
        // Case, white space, empty members, two lines.
        let d = response(&["MAX-AGE=60 ,, Public", "s-MaxAge=\"5\""]);
        assert_eq!((d.max_age, d.public, d.s_maxage), (Some(60), true, Some(5)));
        // The first of duplicates; invalid counts as stale.
        assert_eq!(response(&["max-age=1, max-age=2"]).max_age, Some(1));
        assert_eq!(response(&["max-age=abc"]).max_age, Some(0));
        assert_eq!(response(&["max-age"]).max_age, Some(0));
        assert_eq!(response(&["max-age=-1"]).max_age, Some(0));
        assert_eq!(response(&["max-age=1.5"]).max_age, Some(0));
        assert_eq!(response(&["max-age = 60"]).max_age, Some(0));
        assert_eq!(response(&["max-age= 60"]).max_age, Some(0));
        // A directive inside a quoted string is none.
        let d = response(&["ext=\"no-store, max-age=1\", max-age=9"]);
        assert_eq!((d.no_store, d.max_age), (false, Some(9)));
        let d = response(&["ext=\"a\\\", no-store\", max-age=9"]);
        assert_eq!((d.no_store, d.max_age), (false, Some(9)));
        // One that does not end hides nothing, and neither does a quote inside a token.
        for line in [
            "max-age=9, ext=\"open, no-store",
            "ext=a\"b, no-store, c\"d, max-age=9",
            "ext a=\"b\"c\", no-store, \"d, max-age=9",
            "max-age=9, a\", no-store, \"",
            "max-age=9, ext=\"a\\\", no-store",
            "max-age=9, ext=\"a\\",
        ] {
            let d = response(&[line]);
            assert_eq!((d.no_store, d.max_age), (line.contains("no-store"), Some(9)), "{line}");
        }
        assert_eq!(response(&["private=\"x-a, max-age=9"]).private, Scope::Whole);
        let d = response(&["ext=\"no-store", "max-age=9"]);
        assert_eq!((d.no_store, d.max_age), (false, Some(9)));
        // Scopes.
        assert_eq!(response(&["private"]).private, Scope::Whole);
        assert_eq!(
            response(&["private=\"Set-Cookie, X-Id\""]).private,
            Scope::Fields(vec![header::SET_COOKIE, HeaderName::from_static("x-id")])
        );
        assert_eq!(response(&["private=\"\""]).private, Scope::Whole);
        assert_eq!(response(&["private=\"x-id, Vary\""]).private, Scope::Whole);
        assert_eq!(response(&["no-cache=\"x-id\", no-cache=\"cdn-cache-control\""]).no_cache, Scope::Whole);
        assert_eq!(response(&["private=\"x\", private"]).private, Scope::Whole);
        assert_eq!(response(&["no-cache=set-cookie"]).no_cache, Scope::Fields(vec![header::SET_COOKIE]));
        // An argument where none belongs does not weaken a restriction.
        assert!(response(&["no-store=\"x\""]).no_store);
        assert!(response(&["no-storee"]) == ResponseDirectives::default());
    }

    #[test]
    fn targeted_fields() {
        let target = HeaderName::from_static("cdn-cache-control");
        let control = |lines: &[&str], cc: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&target, HeaderValue::from_str(line).unwrap());
            }
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(cc).unwrap());
            Control::of(&headers, std::slice::from_ref(&target))
        };
        // Valid: overrides even no-store.
        let c = control(&["max-age=60"], "no-store");
        assert!(c.targeted.is_some() && !c.directives.no_store && c.directives.max_age == Some(60));
        // Several lines are one dictionary; the last of duplicate keys counts (RFC 9651 §4.2.2).
        let c = control(&["max-age=60", "no-store"], "max-age=1");
        assert!(c.directives.no_store);
        // Empty or broken: as if absent.
        for broken in ["", "MAX-AGE=60", "max-age=60,", "max-age=\"60", "&&&"] {
            let c = control(&[broken], "max-age=1");
            assert!(c.targeted.is_none() && c.directives.max_age == Some(1), "{broken}");
        }
        // A lifetime that is no integer is stale; a parameter is ignored; false is absent.
        assert_eq!(control(&["max-age=\"60\""], "max-age=1").directives.max_age, Some(0));
        assert_eq!(control(&["max-age=60.5"], "max-age=1").directives.max_age, Some(0));
        assert_eq!(control(&["max-age=-1"], "max-age=1").directives.max_age, Some(0));
        assert_eq!(control(&["max-age=60;a=b"], "max-age=1").directives.max_age, Some(60));
        assert!(!control(&["no-store=?0, max-age=3"], "no-store").directives.no_store);
    }

    #[test]
    fn lists_are_split() {
        let rows: [(&str, &[&str]); 14] = [
            ("", &[]),
            (" a , b,, c ,", &["a", "b", "c"]),
            ("\"a, b\", c", &["\"a, b\"", "c"]),
            ("a=\"b, c\";d=\"e, f\", g", &["a=\"b, c\";d=\"e, f\"", "g"]),
            ("a=\"b\\\", c\", d", &["a=\"b\\\", c\"", "d"]),
            ("a=\"b\\\\\", d", &["a=\"b\\\\\"", "d"]),
            ("W/\"a, b\",W/\"c\"", &["W/\"a, b\"", "W/\"c\""]),
            ("a\"b, c\"d", &["a\"b", "c\"d"]),
            ("a/\"b, c\"", &["a/\"b", "c\""]),
            ("a=\"b, c", &["a=\"b", "c"]),
            ("\"a, b", &["\"a", "b"]),
            ("a=\"b\"\", c\"", &["a=\"b\"\"", "c\""]),
            ("1.1 a (it\"s), 1.1 b", &["1.1 a (it\"s)", "1.1 b"]),
            ("\"\",\"\"", &["\"\"", "\"\""]),
        ];
        for (line, expected) in rows {
            let members = members_of(std::iter::once(line.as_bytes()));
            let members: Vec<&str> = members.map(|member| std::str::from_utf8(member).unwrap()).collect();
            assert_eq!(members, expected, "{line}");
        }
    }

    #[test]
    fn request_directives() {
        let of = |name: HeaderName, line: &str| {
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_str(line).unwrap());
            RequestDirectives::parse(&headers)
        };
        let cc = |line: &str| of(header::CACHE_CONTROL, line);
        assert!(cc("no-cache").no_cache && cc("no-store").no_store && cc("only-if-cached").only_if_cached);
        assert_eq!(cc("max-age=0").max_age, Some(0));
        assert_eq!(cc("max-age=x").max_age, Some(0));
        assert_eq!(cc("min-fresh=x").min_fresh, Some(DELTA_SECONDS_MAX));
        assert_eq!(cc("max-stale").max_stale, Some(MaxStale::Any));
        assert_eq!(cc("max-stale=5").max_stale, Some(MaxStale::Seconds(5)));
        assert_eq!(cc("max-stale=x").max_stale, None);
        assert!(of(header::PRAGMA, "no-cache").no_cache);
        let mut both = HeaderMap::new();
        both.append(header::PRAGMA, HeaderValue::from_static("no-cache"));
        both.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::parse(&both).no_cache);
    }
}
