//! How long a response is fresh and how old it is (RFC 9111 §4.2), as plain numbers on a clock that only goes
//! forward. Everything that depends on the wall clock is settled when the response arrives.

use http::{HeaderMap, StatusCode, header};

use super::{
    date::{self, UnixSeconds},
    directives::{Control, DELTA_SECONDS_MAX, Scope, delta_seconds, list_members},
    rules::SMaxage,
};

/// Milliseconds on a clock that never goes back and counts suspension.
pub type Millis = u64;

/// Heuristic lifetimes end here: what has not changed for years may still change today.
pub const HEURISTIC_SECONDS_MAX: i64 = 24 * 3_600;

/// Moments around the receipt of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// When the request was sent.
    pub asked: Millis,
    /// When the response head arrived.
    pub got: Millis,
    /// The wall clock at that moment.
    pub wall: UnixSeconds,
}

/// Where a lifetime came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeSource {
    /// `s-maxage` (RFC 9111 §4.2.1, first rule).
    SMaxage,
    /// `max-age` (second rule).
    MaxAge,
    /// `Expires` less `Date` (third rule).
    Expires,
    /// A tenth of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
    /// Nothing: no reuse without validation.
    None,
}

impl LifetimeSource {
    /// For traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "Expires",
            Self::Heuristic => "heuristic",
            Self::None => "none",
        }
    }

    /// The clause that gave it.
    pub fn clause(self) -> &'static str {
        match self {
            Self::SMaxage => "RFC 9111 §5.2.2.10",
            Self::MaxAge => "RFC 9111 §5.2.2.1",
            Self::Expires => "RFC 9111 §5.3",
            Self::Heuristic | Self::None => "RFC 9111 §4.2.2",
        }
    }

    /// Whether the response itself says how long it is fresh.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires)
    }
}

/// Why a stale copy may never be used without validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleRefused {
    /// RFC 9111 §5.2.2.2.
    MustRevalidate,
    /// RFC 9111 §5.2.2.8.
    ProxyRevalidate,
    /// RFC 9111 §5.2.2.4.
    NoCache,
    /// RFC 9111 §5.2.2.10: `s-maxage` implies `proxy-revalidate`.
    SMaxage,
}

impl StaleRefused {
    /// For `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MustRevalidate => "must-revalidate",
            Self::ProxyRevalidate => "proxy-revalidate",
            Self::NoCache => "no-cache",
            Self::SMaxage => "s-maxage",
        }
    }

    /// The clause that forbids it.
    pub fn clause(self) -> &'static str {
        match self {
            Self::MustRevalidate => "RFC 9111 §5.2.2.2",
            Self::ProxyRevalidate => "RFC 9111 §5.2.2.8",
            Self::NoCache => "RFC 9111 §5.2.2.4",
            Self::SMaxage => "RFC 9111 §5.2.2.10",
        }
    }
}

/// All that decides about the reuse of a stored response over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// How long it is fresh, counted from its generation.
    pub lifetime_ms: Millis,
    /// Where that came from.
    pub source: LifetimeSource,
    /// Its age on arrival (RFC 9111 §4.2.3, corrected_initial_age).
    pub initial_age_ms: Millis,
    /// When it arrived.
    pub got: Millis,
    /// Validate before each use, however fresh (RFC 9111 §5.2.2.4).
    pub no_cache: bool,
    /// A reload need not reach the upstream while it is fresh (RFC 8246 §2).
    pub immutable: bool,
    /// Whether it may be used stale at all.
    pub stale_refused: Option<StaleRefused>,
    /// For how long past its end it may be served while it is being revalidated (RFC 5861 §3).
    pub stale_while_revalidate_ms: Option<Millis>,
    /// For how long past its end it may stand in for an error (RFC 5861 §4).
    pub stale_if_error_ms: Option<Millis>,
}

impl Freshness {
    /// Reads a response that has just arrived.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        control: &Control,
        receipt: Receipt,
        s_maxage: SMaxage,
    ) -> Self {
        let directives = &control.directives;
        let (lifetime_seconds, source) = lifetime(status, headers, control, receipt.wall);
        let no_cache = directives.no_cache == Scope::Whole;
        let stale_refused = if directives.must_revalidate {
            Some(StaleRefused::MustRevalidate)
        } else if no_cache {
            Some(StaleRefused::NoCache)
        } else if directives.proxy_revalidate {
            Some(StaleRefused::ProxyRevalidate)
        } else if directives.s_maxage.is_some() && s_maxage == SMaxage::Strict {
            Some(StaleRefused::SMaxage)
        } else {
            None
        };
        Self {
            lifetime_ms: Millis::from(lifetime_seconds) * 1_000,
            source,
            initial_age_ms: initial_age_ms(headers, receipt),
            got: receipt.got,
            no_cache,
            immutable: directives.immutable,
            stale_refused,
            stale_while_revalidate_ms: directives.stale_while_revalidate.map(|s| Millis::from(s) * 1_000),
            stale_if_error_ms: directives.stale_if_error.map(|s| Millis::from(s) * 1_000),
        }
    }

    /// The current age (RFC 9111 §4.2.3).
    pub fn age_ms(&self, now: Millis) -> Millis {
        self.initial_age_ms.saturating_add(now.saturating_sub(self.got))
    }

    /// The `Age` to send: whole seconds, at most 2³¹ (RFC 9111 §1.2.2).
    pub fn age_seconds(&self, now: Millis) -> u32 {
        u32::try_from(self.age_ms(now) / 1_000).unwrap_or(DELTA_SECONDS_MAX).min(DELTA_SECONDS_MAX)
    }

    /// Whether it may be used for any request as it is.
    pub fn is_fresh(&self, now: Millis, stale_from: Option<Millis>) -> bool {
        !self.no_cache && self.left_ms(now, stale_from) > 0
    }

    /// What is left of the lifetime; 0 or less is stale: fresh only if lifetime > age (RFC 9111 §4.2).
    /// `stale_from` is when a soft purge ended it early.
    pub fn left_ms(&self, now: Millis, stale_from: Option<Millis>) -> i64 {
        let natural = signed(self.lifetime_ms) - signed(self.age_ms(now));
        match stale_from {
            Some(at) => natural.min(signed(at) - signed(now)),
            None => natural,
        }
    }
}

/// A [`Freshness`] in fewer bytes, with the wall clock when the response arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    initial_age_ms: Millis,
    got: Millis,
    lifetime_seconds: u32,
    while_revalidate_seconds: u32,
    if_error_seconds: u32,
    wall: u32,
    source: LifetimeSource,
    stale_refused: Option<StaleRefused>,
    no_cache: bool,
    immutable: bool,
}

/// Stands for no window: windows end at 2³¹ seconds.
const NO_WINDOW: u32 = u32::MAX;

impl Packed {
    /// What [`Freshness::of`] has read: its lifetime and its windows are whole seconds.
    pub fn of(freshness: &Freshness, wall: UnixSeconds) -> Self {
        let seconds = |ms: Millis| u32::try_from(ms / 1_000).unwrap_or(DELTA_SECONDS_MAX);
        let window = |ms: Option<Millis>| ms.map_or(NO_WINDOW, seconds);
        Self {
            initial_age_ms: freshness.initial_age_ms,
            got: freshness.got,
            lifetime_seconds: seconds(freshness.lifetime_ms),
            while_revalidate_seconds: window(freshness.stale_while_revalidate_ms),
            if_error_seconds: window(freshness.stale_if_error_ms),
            wall: u32::try_from(wall).unwrap_or(if wall < 0 { 0 } else { u32::MAX }),
            source: freshness.source,
            stale_refused: freshness.stale_refused,
            no_cache: freshness.no_cache,
            immutable: freshness.immutable,
        }
    }

    /// As it was.
    pub fn unpacked(&self) -> Freshness {
        let window = |seconds: u32| (seconds != NO_WINDOW).then(|| Millis::from(seconds) * 1_000);
        Freshness {
            lifetime_ms: Millis::from(self.lifetime_seconds) * 1_000,
            source: self.source,
            initial_age_ms: self.initial_age_ms,
            got: self.got,
            no_cache: self.no_cache,
            immutable: self.immutable,
            stale_refused: self.stale_refused,
            stale_while_revalidate_ms: window(self.while_revalidate_seconds),
            stale_if_error_ms: window(self.if_error_seconds),
        }
    }

    /// The wall clock when the response arrived; it ends in 2106.
    pub fn wall(&self) -> UnixSeconds {
        self.wall.into()
    }
}

/// Ages and lifetimes end at 2³¹ seconds, so this saturates only for absurd clocks.
fn signed(ms: Millis) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// RFC 9111 §4.2.1 in its order, then §4.2.2.
fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    wall: UnixSeconds,
) -> (u32, LifetimeSource) {
    let directives = &control.directives;
    if let Some(seconds) = directives.s_maxage {
        return (seconds, LifetimeSource::SMaxage);
    }
    if let Some(seconds) = directives.max_age {
        return (seconds, LifetimeSource::MaxAge);
    }
    if control.targeted.is_some() {
        // With a targeted field, Expires does not count (RFC 9213 §2.2).
        return (0, LifetimeSource::None);
    }
    let generated = date_of(headers, wall);
    if let Some(expires) = headers.get(header::EXPIRES) {
        // An invalid date, "0" above all, is in the past (RFC 9111 §5.3).
        let seconds = match date::parse(expires.as_bytes(), wall) {
            Some(at) => at.saturating_sub(generated).clamp(0, i64::from(DELTA_SECONDS_MAX)),
            None => 0,
        };
        return (u32::try_from(seconds).unwrap_or(0), LifetimeSource::Expires);
    }
    if !(heuristically_cacheable(status) || directives.public) {
        return (0, LifetimeSource::None);
    }
    match headers.get(header::LAST_MODIFIED).and_then(|value| date::parse(value.as_bytes(), wall)) {
        Some(modified) => {
            let seconds = (generated.saturating_sub(modified) / 10).clamp(0, HEURISTIC_SECONDS_MAX);
            (u32::try_from(seconds).unwrap_or(0), LifetimeSource::Heuristic)
        }
        None => (0, LifetimeSource::None),
    }
}

/// `Date`, or the time of receipt where it is missing or invalid (RFC 9110 §6.6.1).
pub fn date_of(headers: &HeaderMap, wall: UnixSeconds) -> UnixSeconds {
    headers.get(header::DATE).and_then(|value| date::parse(value.as_bytes(), wall)).unwrap_or(wall)
}

/// RFC 9111 §4.2.3.
fn initial_age_ms(headers: &HeaderMap, receipt: Receipt) -> Millis {
    let apparent =
        receipt.wall.saturating_sub(date_of(headers, receipt.wall)).clamp(0, i64::from(DELTA_SECONDS_MAX));
    let apparent_ms = Millis::try_from(apparent).unwrap_or(0) * 1_000;
    // The first member counts, an invalid one is ignored (RFC 9111 §5.1).
    let age_value = list_members(headers, &header::AGE).next().and_then(delta_seconds).unwrap_or(0);
    let delay_ms = receipt.got.saturating_sub(receipt.asked);
    apparent_ms.max(Millis::from(age_value) * 1_000 + delay_ms)
}

/// RFC 9110 §15.1.
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Fresh for so long by `max-age`, for tests.
#[cfg(test)]
pub(crate) fn lasting(seconds: u64) -> Freshness {
    Freshness {
        lifetime_ms: seconds * 1_000,
        source: LifetimeSource::MaxAge,
        initial_age_ms: 0,
        got: 0,
        no_cache: false,
        immutable: false,
        stale_refused: None,
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;
    use http::HeaderName;
    use proptest::prelude::*;

    const WALL: UnixSeconds = 1_790_000_000;

    fn freshness(status: u16, fields: &[(&str, &str)]) -> Freshness {
        let headers = map(fields);
        let control = Control::of(&headers, &[HeaderName::from_static("cdn-cache-control")]);
        let receipt = Receipt { asked: 1_000, got: 3_000, wall: WALL };
        Freshness::of(StatusCode::from_u16(status).unwrap(), &headers, &control, receipt, SMaxage::default())
    }

    #[test]
    fn lifetimes() {
        use LifetimeSource as S;
        let date = &date::format(WALL);
        let (minute, past) = (&date::format(WALL + 60), &date::format(WALL - 60));
        let (ten_days, years) = (&date::format(WALL - 864_000), &date::format(WALL - 400_000_000));
        type Row<'a> = (u16, &'a [(&'a str, &'a str)], u64, S);
        let rows: [Row<'_>; 18] = [
            (200, &[("cache-control", "max-age=5, s-maxage=7"), ("expires", minute)], 7, S::SMaxage),
            (200, &[("cache-control", "max-age=5"), ("expires", minute)], 5, S::MaxAge),
            (200, &[("cache-control", "max-age=0"), ("expires", minute)], 0, S::MaxAge),
            (200, &[("date", date), ("expires", minute)], 60, S::Expires),
            (200, &[("expires", minute)], 60, S::Expires),
            (200, &[("date", date), ("expires", past)], 0, S::Expires),
            (200, &[("date", date), ("expires", date)], 0, S::Expires),
            (200, &[("expires", "0"), ("last-modified", ten_days)], 0, S::Expires),
            (200, &[("date", "junk"), ("expires", minute)], 60, S::Expires),
            (200, &[("cdn-cache-control", "public"), ("expires", minute)], 0, S::None),
            (200, &[("cdn-cache-control", "max-age=3"), ("cache-control", "max-age=5")], 3, S::MaxAge),
            (200, &[("last-modified", ten_days)], 86_400, S::Heuristic),
            (200, &[("last-modified", years)], 86_400, S::Heuristic),
            (200, &[("last-modified", past)], 6, S::Heuristic),
            (200, &[("last-modified", minute)], 0, S::Heuristic),
            (500, &[("last-modified", ten_days)], 0, S::None),
            (500, &[("last-modified", past), ("cache-control", "public")], 6, S::Heuristic),
            (200, &[], 0, S::None),
        ];
        for (status, fields, seconds, source) in rows {
            let got = freshness(status, fields);
            assert_eq!((got.lifetime_ms, got.source), (seconds * 1_000, source), "{status} {fields:?}");
        }
    }

    #[test]
    fn ages() {
        let date = |offset: i64| date::format(WALL + offset);
        // The response took 2 s.
        let rows: [(&[(&str, &str)], u64); 9] = [
            (&[], 2_000),
            (&[("date", &date(0))], 2_000),
            (&[("date", &date(-10))], 10_000),
            (&[("date", &date(10))], 2_000),
            (&[("age", "5")], 7_000),
            (&[("age", "5, 9")], 7_000),
            (&[("age", "x"), ("age", "9")], 2_000),
            (&[("age", "-5")], 2_000),
            (&[("age", "99999999999")], 2_147_483_648_000 + 2_000),
        ];
        for (fields, expected) in rows {
            assert_eq!(freshness(200, fields).initial_age_ms, expected, "{fields:?}");
        }
        let old = freshness(200, &[("age", "99999999999"), ("cache-control", "max-age=99999999999")]);
        assert_eq!(old.age_seconds(3_000), DELTA_SECONDS_MAX);
        assert!(old.left_ms(3_000, None) < 0);
    }

    #[test]
    fn fresh_only_if_lifetime_exceeds_age() {
        let f = Freshness { initial_age_ms: 0, got: 0, ..freshness(200, &[("cache-control", "max-age=10")]) };
        assert_eq!(f.left_ms(9_999, None), 1);
        assert_eq!(f.left_ms(10_000, None), 0);
        assert_eq!(f.left_ms(10_001, None), -1);
        // A soft purge ends it early, and never prolongs it.
        assert_eq!(f.left_ms(5_000, Some(4_000)), -1_000);
        assert_eq!(f.left_ms(12_000, Some(11_000)), -2_000);
        // Age counts whole seconds.
        assert_eq!((f.age_seconds(999), f.age_seconds(1_000)), (0, 1));
    }

    #[test]
    fn what_forbids_stale_use() {
        let refused = |control: &str, s_maxage| {
            let headers = map(&[("cache-control", control)]);
            let control = Control::of(&headers, &[]);
            let receipt = Receipt { asked: 0, got: 0, wall: WALL };
            Freshness::of(StatusCode::OK, &headers, &control, receipt, s_maxage).stale_refused
        };
        use StaleRefused as R;
        for (control, strict, lenient) in [
            ("max-age=1", None, None),
            ("max-age=1, must-revalidate", Some(R::MustRevalidate), Some(R::MustRevalidate)),
            ("max-age=1, proxy-revalidate", Some(R::ProxyRevalidate), Some(R::ProxyRevalidate)),
            ("max-age=1, no-cache", Some(R::NoCache), Some(R::NoCache)),
            ("max-age=1, no-cache=\"x\"", None, None),
            ("s-maxage=1, stale-while-revalidate=9", Some(R::SMaxage), None),
            ("s-maxage=1, must-revalidate", Some(R::MustRevalidate), Some(R::MustRevalidate)),
        ] {
            assert_eq!(refused(control, SMaxage::Strict), strict, "{control}");
            assert_eq!(refused(control, SMaxage::LifetimeOnly), lenient, "{control}");
        }
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(
            age in 0u64..1 << 41, got in any::<u64>(), lifetime in 0u64..=1 << 31, window in proptest::option::of(0u64..=1 << 31),
            wall in 0i64..=u32::MAX.into(), flags in any::<[bool; 2]>(),
        ) {
            let freshness = Freshness {
                lifetime_ms: lifetime * 1_000,
                source: LifetimeSource::SMaxage,
                initial_age_ms: age,
                got,
                no_cache: flags[0],
                immutable: flags[1],
                stale_refused: flags[0].then_some(StaleRefused::SMaxage),
                stale_while_revalidate_ms: window.map(|s| s * 1_000),
                stale_if_error_ms: flags[1].then_some(0),
            };
            let packed = Packed::of(&freshness, wall);
            prop_assert_eq!((packed.unpacked(), packed.wall()), (freshness, wall));
        }

        #[test]
        fn time_only_takes_away(
            lifetime in 0u64..1 << 42, age in 0u64..1 << 42, got in 0u64..1 << 50,
            step in 0u64..1 << 50, more in 0u64..1 << 50, soft in proptest::option::of(any::<u64>()),
        ) {
            let f = Freshness {
                lifetime_ms: lifetime, initial_age_ms: age, got,
                ..freshness(200, &[])
            };
            let (early, late) = (got + step, got + step + more);
            prop_assert!(f.left_ms(late, soft) <= f.left_ms(early, soft));
            prop_assert!(f.left_ms(early, soft) <= f.left_ms(early, None));
            prop_assert!(f.age_seconds(late) >= f.age_seconds(early));
            // A clock that went back (it never does) makes nothing younger than on arrival.
            prop_assert!(f.age_ms(0) >= age);
        }
    }
}
