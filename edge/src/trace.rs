//! The live trace: what was decided about each request, and by which clause. It costs one look at a flag while nobody
//! reads.

use std::{
    borrow::Cow,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::{metrics::Result as Counted, network::Network};

/// Readers at the same time; each costs every request some work.
const READERS_MAX: usize = 8;
/// Records that a reader may lag behind; beyond, it misses some and is told how many.
const LAG_MAX: usize = 1_024;
/// Steps of one request that are kept: requests do not decide more than that.
const STEPS_MAX: usize = 64;

/// The result of a validation behind an answer, which is no request of a client.
pub(crate) const BEHIND: &str = "behind";

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was decided, or found.
    pub what: Cow<'static, str>,
    /// The clause that says so, such as `RFC 9111 §4.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clause: Option<&'static str>,
}

impl Step {
    /// What was found.
    pub(crate) fn found(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), clause: None }
    }

    /// What was decided, by a clause.
    pub(crate) fn by(clause: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), clause: Some(clause) }
    }
}

/// A request with all that was decided about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// When its response was finished, in milliseconds since 1970.
    pub time_ms: i64,
    /// The request's id, as in `x-request-id`.
    pub id: String,
    /// Who asked.
    pub client: String,
    /// Method.
    pub method: String,
    /// Host.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Status of the response.
    pub status: u16,
    /// `hit`, `stale`, `failed`, `local` (asked about this server itself), or why it was forwarded; `behind`: not a client's
    /// request, but a validation that an answer with a stale copy left behind.
    pub result: &'static str,
    /// Microseconds from the end of the request's head to the end of the response.
    pub us: u64,
    /// Bytes of content sent.
    pub bytes: u64,
    /// What was decided, in order.
    pub steps: Vec<Step>,
}

type Steps = Arc<Mutex<Vec<Step>>>;

tokio::task_local! {
    static STEPS: Option<Steps>;
}

/// Readers of all tracers of this process: one look decides whether a request is traced at all.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// Whether anybody reads.
pub(crate) fn is_on() -> bool {
    READERS.load(Ordering::Relaxed) > 0
}

/// Notes a step of the request that this task works for.
pub(crate) fn note(step: impl FnOnce() -> Step) {
    if !is_on() {
        return;
    }
    // Outside a request there is nothing to add to.
    let _ = STEPS.try_with(|steps| {
        if let Some(steps) = steps {
            push(steps, step());
        }
    });
}

fn push(steps: &Steps, step: Step) {
    let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
    if steps.len() < STEPS_MAX {
        steps.push(step);
    }
}

/// Runs a future whose steps are kept in `trace`.
pub(crate) async fn within<F: Future>(trace: &Trace, future: F) -> F::Output {
    if trace.0.is_none() {
        return future.await;
    }
    STEPS.scope(trace.0.clone(), future).await
}

/// The same for what works for the request of this task, in whichever task that is.
pub(crate) fn carried<T: 'static>(future: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    match STEPS.try_with(Clone::clone).ok().flatten() {
        None => future,
        steps => Box::pin(STEPS.scope(steps, future)),
    }
}

/// A request's steps so far, where anybody reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Option<Steps>);

impl Trace {
    /// For a new request.
    pub(crate) fn begin() -> Self {
        Self(is_on().then(Steps::default))
    }

    /// Notes a step, outside of the task that works for it.
    pub(crate) fn add(&self, step: Step) {
        if let Some(steps) = &self.0 {
            push(steps, step);
        }
    }

    /// Whether it is traced.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The steps; `None`: it is not traced.
    pub(crate) fn steps(&self) -> Option<Vec<Step>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Hands records to those who read.
#[derive(Debug)]
pub(crate) struct Tracer {
    sender: broadcast::Sender<Arc<Record>>,
    readers: Arc<AtomicUsize>,
}

impl Default for Tracer {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(LAG_MAX), readers: Arc::default() }
    }
}

impl Tracer {
    /// Begins to read; `None`: too many do already.
    pub(crate) fn read(&self) -> Option<Reader> {
        if self.readers.fetch_add(1, Ordering::AcqRel) >= READERS_MAX {
            self.readers.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        READERS.fetch_add(1, Ordering::AcqRel);
        Some(Reader { receiver: self.sender.subscribe(), readers: Arc::clone(&self.readers) })
    }

    /// Hands out a record.
    pub(crate) fn send(&self, record: Record) {
        // Nobody may be left.
        let _ = self.sender.send(Arc::new(record));
    }
}

/// One who reads.
#[derive(Debug)]
pub(crate) struct Reader {
    receiver: broadcast::Receiver<Arc<Record>>,
    readers: Arc<AtomicUsize>,
}

impl Reader {
    /// The next record, or how many were missed; `None`: there are no more.
    pub(crate) async fn next(&mut self) -> Option<Result<Arc<Record>, u64>> {
        match self.receiver.recv().await {
            Ok(record) => Some(Ok(record)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
        READERS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Which records are wanted: all terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Host(String),
    Path(String),
    Method(String),
    Client(Network),
    Id(String),
    Result(String),
    /// The first digits of a status: `5` is all of 5xx.
    Status(String),
    SlowerThanUs(u64),
}

impl Query {
    /// Terms such as `host=example.com`, `path=/blog/` (a prefix), `status=5xx`, `result=hit` (`miss`: whatever was
    /// forwarded), `method=GET`, `client=192.0.2.1` (or a network), `id=…`, `slower=100ms`.
    ///
    /// # Errors
    /// All terms that are none, and why.
    pub fn parse<'a>(terms: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for text in terms {
            match Term::parse(text) {
                Ok(term) => right.push(term),
                Err(why) => wrong.push(format!("`{text}` is no term of a query: {why}")),
            }
        }
        if wrong.is_empty() { Ok(Self(right)) } else { Err(wrong.join("; ")) }
    }

    /// Whether a record is wanted.
    pub fn takes(&self, record: &Record) -> bool {
        self.0.iter().all(|term| term.holds(record))
    }
}

/// What `result=` may name: how a request was answered, or why it was forwarded.
fn results() -> Vec<&'static str> {
    let mut names = vec!["hit", "miss", BEHIND];
    for name in Counted::all().map(Counted::as_str) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl Term {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
        let value = value.to_owned();
        Ok(match name {
            "host" => Self::Host(value.to_ascii_lowercase()),
            "path" => Self::Path(value),
            "method" => Self::Method(value),
            "client" => Self::Client(value.parse()?),
            "id" => Self::Id(value),
            "result" if results().contains(&value.as_str()) => Self::Result(value),
            "result" => return Err(format!("a result is one of {}", results().join(", "))),
            "status" => {
                let digits = value.trim_end_matches(['x', 'X']);
                if value.len() != 3 || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err("a status is such as 404 or 5xx".to_owned());
                }
                Self::Status(digits.to_owned())
            }
            "slower" => {
                let ms = value.strip_suffix("ms").and_then(|ms| ms.parse::<u64>().ok());
                let ms = ms.ok_or("a time is such as 100ms")?;
                Self::SlowerThanUs(ms.saturating_mul(1_000))
            }
            _ => {
                return Err(
                    "a name is one of host, path, method, client, id, result, status, slower".to_owned()
                );
            }
        })
    }

    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Host(host) => {
                // With or without its port.
                let rest = record.host.strip_prefix(host.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            }
            Self::Path(prefix) => record.target.starts_with(prefix.as_str()),
            Self::Method(method) => record.method.eq_ignore_ascii_case(method),
            Self::Client(clients) => record.client.parse().is_ok_and(|client| clients.contains(client)),
            Self::Id(id) => record.id == *id,
            Self::Result(result) => match result.as_str() {
                "miss" => !matches!(record.result, "hit" | "stale" | "failed" | "local" | BEHIND),
                result => record.result == result,
            },
            Self::Status(digits) => record.status.to_string().starts_with(digits.as_str()),
            Self::SlowerThanUs(us) => record.us > *us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reuse::Forward;

    fn record() -> Record {
        Record {
            time_ms: 0,
            id: "1".into(),
            client: "192.0.2.1".into(),
            method: "GET".into(),
            host: "h:8080".into(),
            target: "/blog/a?b".into(),
            status: 503,
            result: "uri-miss",
            us: 120_000,
            bytes: 5,
            steps: Vec::new(),
        }
    }

    #[test]
    fn queries() {
        let takes = |terms: &[&str]| Query::parse(terms.iter().copied()).unwrap().takes(&record());
        for terms in [
            &[][..],
            &["host=h"],
            &["host=H:8080", "path=/blog/"],
            &["status=5xx"],
            &["status=503"],
            &["status=50x", "result=miss"],
            &["result=uri-miss", "method=GET", "client=192.0.2.1", "id=1", "slower=100ms"],
            &["client=192.0.2.0/24", "client=::ffff:192.0.2.1", "method=get"],
        ] {
            assert!(takes(terms), "{terms:?}");
        }
        for terms in [
            &["host=other"][..],
            &["client=192.0.3.0/24"],
            &["path=/a"],
            &["status=2xx"],
            &["result=hit"],
            &["slower=200ms"],
            &["host=h", "method=POST"],
        ] {
            assert!(!takes(terms), "{terms:?}");
        }
        let none = ["", "host", "status=6", "status=xxx", "slower=1", "color=red", "result=mis", "client=me"];
        for term in none {
            assert!(Query::parse([term]).is_err(), "{term}");
        }
        let of_six = Record { host: "[::1]:80".into(), client: "2001:db8::1".into(), ..record() };
        assert!(Query::parse(["host=[::1]", "client=2001:DB8:0::/48"]).unwrap().takes(&of_six));
        let wrong = Query::parse(["host=h", "color=red", "result=mis"]).unwrap_err();
        assert!(wrong.contains("`color=red`") && wrong.contains("a result is one of hit, miss,"), "{wrong}");
    }

    #[test]
    fn every_result_can_be_asked_for() {
        use Forward::{Bypass, Method, Partial, Request, Stale, UriMiss, VaryMiss};
        let forwarded = [Bypass, Method, UriMiss, VaryMiss, Partial, Request, Stale].map(Counted::Forwarded);
        let all =
            [Counted::Hit, Counted::Stale, Counted::Failed, Counted::Local].into_iter().chain(forwarded);
        for result in all {
            assert!(Query::parse([&*format!("result={}", result.as_str())]).is_ok(), "{result:?}");
        }
    }

    #[tokio::test]
    async fn steps_are_kept_while_somebody_reads() {
        let tracer = Tracer::default();
        let reader = tracer.read().unwrap();
        let trace = Trace::begin();
        within(&trace, async {
            note(|| Step::found("first"));
            let task = tokio::spawn(carried(Box::pin(async { note(|| Step::by("RFC 9111 §4", "second")) })));
            task.await.unwrap();
        })
        .await;
        note(|| Step::found("of no request"));
        let steps = trace.steps().unwrap();
        assert_eq!(steps.iter().map(|step| &*step.what).collect::<Vec<_>>(), ["first", "second"]);
        drop(reader);
        let readers: Vec<Reader> = (0..READERS_MAX).map(|_| tracer.read().unwrap()).collect();
        assert!(tracer.read().is_none());
        drop(readers);
    }
}
