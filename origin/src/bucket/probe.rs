//! Whether a store keeps the promises that the journal rests on.
//!
//! Not every store that speaks S3 does: some ignore `If-None-Match` and answer 200 to all who create, and then two
//! publishers fork the journal without either noticing. So a store that is not our own is asked before anything is
//! written: a second creation is refused, of sixteen concurrent ones exactly one wins, reads see what was written,
//! expired requests are refused. The verdict is kept in the bucket for a day.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use release::bucket::{Bucket, BucketError, Written};
use serde::{Deserialize, Serialize};

use super::s3::S3Bucket;

/// The record of the last verdict.
const VERDICT_KEY: &str = "probe/verdict";
const VERDICT_BYTES_MAX: u64 = 64 * 1024;
/// How long a verdict counts.
const VERDICT_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The version of the record, and of what is asked: another version asks again.
const VERSION: u32 = 1;
/// Creators in one race: as many made every careless store that we measured fail.
const WRITERS: usize = 16;
/// Some careless stores lose only most races.
const RACES: usize = 4;
/// Writes after each of which a read must see it.
const READS: usize = 4;
/// Attempts of what the client does not repeat by itself, where the store gives no answer.
const ATTEMPTS_MAX: u32 = 3;

/// A store that can be asked.
#[async_trait]
pub trait Probed: Bucket {
    /// Where it is; a verdict on another place does not count.
    fn place(&self) -> &str;

    /// Sends a read that was signed to expire before `now`. `true`: the store refused it.
    ///
    /// # Errors
    /// Where the store gave no answer.
    async fn refuses_expired(&self, key: &str, now: SystemTime) -> Result<bool, BucketError>;
}

#[async_trait]
impl Probed for S3Bucket {
    fn place(&self) -> &str {
        Self::place(self)
    }

    async fn refuses_expired(&self, key: &str, now: SystemTime) -> Result<bool, BucketError> {
        Self::refuses_expired(self, key, now).await
    }
}

/// A promise that the store broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "flaw", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Flaw {
    /// An object that was there was created a second time: `If-None-Match` is ignored.
    CreatedTwice,
    /// Not exactly one of the concurrent creators won.
    Race {
        /// How many were told that they had.
        winners: usize,
        /// Of how many.
        writers: usize,
    },
    /// The winner of a race was told so, and another's content is there.
    WinnerLost,
    /// A read did not see what had been written before it began.
    StaleRead,
    /// A listing did not show what had been written before it began.
    StaleList,
    /// A request was carried out although it had expired.
    ExpiredAccepted,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CreatedTwice => f.write_str("it ignores `If-None-Match: *` and overwrites what exists"),
            Self::Race { winners, writers } => {
                write!(
                    f,
                    "{winners} of {writers} concurrent creators of one object were told that they had won"
                )
            }
            Self::WinnerLost => f.write_str("the winner among concurrent creators was overwritten"),
            Self::StaleRead => f.write_str("a read did not return what had been written before"),
            Self::StaleList => f.write_str("a listing did not show what had been written before"),
            Self::ExpiredAccepted => f.write_str("it carried out a request that had expired"),
        }
    }
}

impl Flaw {
    /// Whether only the coordination of several writers is at stake.
    fn is_about_writers(&self) -> bool {
        matches!(self, Self::CreatedTwice | Self::Race { .. } | Self::WinnerLost)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where.
    pub place: String,
    /// What is broken; empty where all is well.
    pub flaws: Vec<Flaw>,
    /// Whether it was read from the record of an earlier probe.
    pub from_record: bool,
}

/// Why a store cannot be used, or not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It breaks promises that cannot be done without.
    #[error("the bucket {place} cannot hold a journal: {}", list(flaws))]
    Unsuitable {
        /// Where.
        place: String,
        /// Which promises.
        flaws: Vec<Flaw>,
    },
    /// It did not answer.
    #[error("cannot probe the bucket {place}: {source}")]
    Bucket {
        /// Where.
        place: String,
        /// What the client says.
        source: BucketError,
    },
}

fn list(flaws: &[Flaw]) -> String {
    flaws.iter().map(Flaw::to_string).collect::<Vec<_>>().join("; ")
}

impl ProbeError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsuitable { flaws, .. } if flaws.iter().all(Flaw::is_about_writers) => Some(
                "keep the journal in a store with conditional writes, by a `[journal]` table with its own endpoint \
                 and credentials (for instance a `bake bucket` beside this store), or declare with \
                 `single_writer = true` that only one process ever publishes"
                    .to_owned(),
            ),
            Self::Unsuitable { .. } => Some("use another store, for instance `bake bucket`".to_owned()),
            Self::Bucket { source: BucketError::Denied { .. }, .. } => {
                Some("check the bucket's name, and that the credentials may read, write, list and delete".to_owned())
            }
            Self::Bucket { .. } => Some("check the endpoint, and that the store is running".to_owned()),
        }
    }
}

impl Verdict {
    /// Fails where the store must not hold the journal. With a declared single writer, conditions that are ignored are
    /// no obstacle.
    ///
    /// # Errors
    /// [`ProbeError::Unsuitable`] with the flaws that are one.
    pub fn require(&self, single_writer: bool) -> Result<(), ProbeError> {
        let flaws: Vec<Flaw> =
            self.flaws.iter().filter(|flaw| !(single_writer && flaw.is_about_writers())).cloned().collect();
        if flaws.is_empty() {
            Ok(())
        } else {
            Err(ProbeError::Unsuitable { place: self.place.clone(), flaws })
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    place: String,
    at_ms: u64,
    flaws: Vec<Flaw>,
}

/// The verdict on a store: that of the last day, or a new one, which is recorded.
///
/// # Errors
/// [`ProbeError::Bucket`] where the store does not answer or refuses; then nothing is recorded.
pub async fn probe(bucket: &dyn Probed, now: SystemTime) -> Result<Verdict, ProbeError> {
    let failed = |source| ProbeError::Bucket { place: bucket.place().to_owned(), source };
    let now_ms = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    if let Some(record) = recorded(bucket).await.map_err(failed)?
        && record.version == VERSION
        && record.place == bucket.place()
        && now_ms.checked_sub(record.at_ms).is_some_and(|age| age < VERDICT_AGE_MAX.as_millis() as u64)
    {
        return Ok(Verdict { place: record.place, flaws: record.flaws, from_record: true });
    }
    let folder = format!("probe/{:032x}", rand::random::<u128>());
    let asked = ask(bucket, &folder, now).await;
    let removed = remove(bucket, &folder).await;
    let flaws = asked.map_err(failed)?;
    removed.map_err(failed)?;
    let record = Record { version: VERSION, place: bucket.place().to_owned(), at_ms: now_ms, flaws };
    match serde_json::to_vec(&record) {
        Ok(text) => bucket.put(VERDICT_KEY, Bytes::from(text)).await.map_err(failed)?,
        Err(error) => tracing::warn!(%error, "the verdict on the bucket cannot be recorded"),
    }
    Ok(Verdict { place: record.place, flaws: record.flaws, from_record: false })
}

async fn recorded(bucket: &dyn Probed) -> Result<Option<Record>, BucketError> {
    match bucket.get(VERDICT_KEY, VERDICT_BYTES_MAX).await {
        // A record that cannot be read is as good as none: the store is asked, and the record replaced.
        Ok(object) => Ok(object.and_then(|object| serde_json::from_slice(&object.bytes).ok())),
        Err(BucketError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn ask(bucket: &dyn Probed, folder: &str, now: SystemTime) -> Result<Vec<Flaw>, BucketError> {
    let mut flaws = Vec::new();
    let key = format!("{folder}/once");
    let first = create(bucket, &key, Bytes::from_static(b"first")).await?;
    let second = create(bucket, &key, Bytes::from_static(b"second")).await?;
    if (first, second) != (Written::Yes, Written::Refused) {
        flaws.push(Flaw::CreatedTwice);
    }
    for race in 0..RACES {
        if let Some(flaw) = run_race(bucket, &format!("{folder}/race-{race}")).await? {
            flaws.push(flaw);
            break;
        }
    }
    flaws.extend(read_after_write(bucket, folder).await?);
    if !refuses_expired(bucket, &key, now).await? {
        flaws.push(Flaw::ExpiredAccepted);
    }
    Ok(flaws)
}

/// Creates an object with content that no other creator has. Where the reply is lost, the object itself
/// says whose it is, as it does for an entry of the journal; an absent one is created again.
async fn create(bucket: &dyn Probed, key: &str, content: Bytes) -> Result<Written, BucketError> {
    let mut attempt = 1;
    loop {
        let refused = match bucket.create(key, content.clone()).await {
            Ok(Written::Yes) => return Ok(Written::Yes),
            // Before this attempt none can have been carried out.
            Ok(Written::Refused) if attempt == 1 => return Ok(Written::Refused),
            Ok(Written::Refused) => None,
            Err(error @ BucketError::Unknown { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        match (bucket.get(key, VERDICT_BYTES_MAX).await?, refused) {
            (Some(object), _) if object.bytes == content => return Ok(Written::Yes),
            (Some(_), _) | (None, None) => return Ok(Written::Refused),
            (None, Some(error)) if attempt == ATTEMPTS_MAX => return Err(error),
            (None, Some(_)) => attempt += 1,
        }
    }
}

async fn refuses_expired(bucket: &dyn Probed, key: &str, now: SystemTime) -> Result<bool, BucketError> {
    let mut attempt = 1;
    loop {
        match bucket.refuses_expired(key, now).await {
            Err(BucketError::Unknown { .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
            answer => return answer,
        }
    }
}

async fn run_race(bucket: &dyn Probed, key: &str) -> Result<Option<Flaw>, BucketError> {
    let content = |writer: usize| Bytes::from(format!("writer {writer}"));
    let outcomes = join_all((0..WRITERS).map(|writer| create(bucket, key, content(writer)))).await;
    let mut winners = Vec::new();
    for (writer, outcome) in outcomes.into_iter().enumerate() {
        if outcome? == Written::Yes {
            winners.push(writer);
        }
    }
    let [winner] = winners[..] else {
        return Ok(Some(Flaw::Race { winners: winners.len(), writers: WRITERS }));
    };
    let object = bucket.get(key, VERDICT_BYTES_MAX).await?;
    let is_winners = object.is_some_and(|object| object.bytes == content(winner));
    Ok((!is_winners).then_some(Flaw::WinnerLost))
}

async fn read_after_write(bucket: &dyn Probed, folder: &str) -> Result<Vec<Flaw>, BucketError> {
    let mut flaws = Vec::new();
    let key = format!("{folder}/read");
    for at in 0..READS {
        let bytes = Bytes::from(at.to_string());
        bucket.put(&key, bytes.clone()).await?;
        let read = bucket.get(&key, VERDICT_BYTES_MAX).await?;
        if read.is_none_or(|object| object.bytes != bytes) {
            flaws.push(Flaw::StaleRead);
            break;
        }
    }
    if !bucket.list(&key, None, 10).await?.keys.contains(&key) {
        flaws.push(Flaw::StaleList);
    }
    Ok(flaws)
}

async fn remove(bucket: &dyn Probed, folder: &str) -> Result<(), BucketError> {
    let mut keys: Vec<String> = (0..RACES).map(|race| format!("{folder}/race-{race}")).collect();
    keys.extend(["once", "read"].map(|name| format!("{folder}/{name}")));
    for removed in join_all(keys.iter().map(|key| bucket.delete(key))).await {
        removed?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use release::bucket::memory::{Fault, MemoryBucket};
    use release::bucket::{Listing, Object};
    use std::ops::Range;

    #[derive(Debug, Default)]
    struct Store {
        inner: MemoryBucket,
        ignores_conditions: bool,
        accepts_expired: bool,
        forgets: bool,
    }

    #[async_trait]
    impl Bucket for Store {
        async fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Object>, BucketError> {
            if self.forgets && key.ends_with("read") {
                return Ok(None);
            }
            self.inner.get(key, bytes_max).await
        }
        async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BucketError> {
            self.inner.get_range(key, range).await
        }
        async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
            self.inner.put(key, bytes).await
        }
        async fn create(&self, key: &str, bytes: Bytes) -> Result<Written, BucketError> {
            if self.ignores_conditions {
                return self.inner.put(key, bytes).await.map(|()| Written::Yes);
            }
            self.inner.create(key, bytes).await
        }
        async fn replace(&self, key: &str, bytes: Bytes, tag: &str) -> Result<Written, BucketError> {
            self.inner.replace(key, bytes, tag).await
        }
        async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Listing, BucketError> {
            self.inner.list(prefix, after, max).await
        }
        async fn delete(&self, key: &str) -> Result<(), BucketError> {
            self.inner.delete(key).await
        }
    }

    #[async_trait]
    impl Probed for Store {
        fn place(&self) -> &str {
            "memory"
        }
        async fn refuses_expired(&self, _: &str, _: SystemTime) -> Result<bool, BucketError> {
            Ok(!self.accepts_expired)
        }
    }

    const DAY: Duration = VERDICT_AGE_MAX;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    #[tokio::test]
    async fn an_honest_store_is_asked_once_a_day() {
        let store = Store::default();
        let verdict = probe(&store, noon()).await.unwrap();
        assert_eq!((verdict.flaws.len(), verdict.from_record), (0, false));
        verdict.require(false).unwrap();
        assert_eq!(store.inner.keys(), [VERDICT_KEY], "nothing else stays behind");
        for (now, from_record) in [
            (noon() + DAY - Duration::from_secs(1), true),
            (noon() - Duration::from_secs(1), false),
            (noon() + DAY, false),
        ] {
            let verdict = probe(&store, now).await.unwrap();
            assert_eq!(verdict.from_record, from_record);
        }
        store.inner.tamper(VERDICT_KEY, Some(Bytes::from_static(b"nonsense")));
        assert!(!probe(&store, noon()).await.unwrap().from_record);
    }

    #[tokio::test]
    async fn a_store_that_ignores_conditions_is_refused_unless_one_writes() {
        let store = Store { ignores_conditions: true, ..Store::default() };
        let verdict = probe(&store, noon()).await.unwrap();
        assert_eq!(verdict.flaws, [Flaw::CreatedTwice, Flaw::Race { winners: 16, writers: 16 }]);
        let error = verdict.require(false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the bucket memory cannot hold a journal: it ignores `If-None-Match: *` and overwrites what exists; \
             16 of 16 concurrent creators of one object were told that they had won"
        );
        assert!(error.hint().unwrap().contains("[journal]"));
        verdict.require(true).unwrap();
        // The record says the same.
        let again = probe(&store, noon() + Duration::from_secs(5)).await.unwrap();
        assert_eq!((again.flaws, again.from_record), (verdict.flaws, true));
    }

    #[tokio::test]
    async fn other_flaws_are_refused_whoever_writes() {
        let store = Store { accepts_expired: true, forgets: true, ..Store::default() };
        let verdict = probe(&store, noon()).await.unwrap();
        assert_eq!(verdict.flaws, [Flaw::StaleRead, Flaw::ExpiredAccepted]);
        assert!(verdict.require(true).unwrap_err().hint().unwrap().contains("another store"));
    }

    #[tokio::test]
    async fn a_store_without_answers_has_no_verdict() {
        let store = Store::default();
        store.inner.fail([Fault { op: "create", done: false }; ATTEMPTS_MAX as usize]);
        assert!(matches!(probe(&store, noon()).await, Err(ProbeError::Bucket { .. })));
        assert_eq!(store.inner.keys(), Vec::<String>::new(), "nothing stays behind");
    }

    #[tokio::test]
    async fn lost_replies_and_requests_change_no_verdict() {
        for done in [true, false] {
            for lost in [1, 2, 7, 30] {
                let store = Store::default();
                store.inner.fail((0..lost).map(|n| Fault { op: "create", done: done || n % 3 == 0 }));
                let verdict = probe(&store, noon()).await;
                // Requests that get lost three times in a row leave no verdict; a wrong one never comes of it.
                match verdict {
                    Ok(verdict) => assert_eq!(verdict.flaws, [], "{lost} lost, done: {done}"),
                    Err(error) => assert!(!done && lost > 2, "{lost} lost, done: {done}: {error}"),
                }
            }
            let careless = Store { ignores_conditions: true, ..Store::default() };
            careless.inner.fail((0..8).map(|_| Fault { op: "put", done }));
            if let Ok(verdict) = probe(&careless, noon()).await {
                verdict.require(false).unwrap_err();
            }
        }
    }
}
