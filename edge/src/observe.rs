//! What is kept of each finished response: the access log's line, the histograms, the trace.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{HeaderValue, StatusCode, Version, header};

use crate::{
    Edge,
    access_log::{Line, TEXT_BYTES_MAX},
    clock,
    http1::Refusal,
    inbound::Inbound,
    metrics::{Result as Counted, count},
    respond::Response,
    trace::{BEHIND, Record, Step, Trace},
};

/// A request whose response is not yet known.
#[derive(Debug)]
pub(crate) struct Begun {
    started: Instant,
    request: Option<Box<Kept>>,
    pub(crate) trace: Trace,
}

/// What the log and the trace want of a request.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) client: IpAddr,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) referer: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) id: HeaderValue,
}

/// A response on its way: when this is dropped it counts as finished.
#[derive(Debug)]
pub(crate) struct Observation(Box<Observed>);

#[derive(Debug)]
struct Observed {
    edge: Arc<Edge>,
    begun: Begun,
    status: u16,
    result: Counted,
    sent: AtomicU64,
}

/// 64 random bits in hexadecimal: enough to find a request in a log.
pub(crate) fn request_id() -> [u8; 16] {
    let bits = rand::random::<u64>();
    std::array::from_fn(|index| {
        let nibble = usize::try_from((bits >> (60 - 4 * index)) & 0xf).unwrap_or(0);
        b"0123456789abcdef"[nibble]
    })
}

/// The same, as a field's value.
pub(crate) fn request_id_value() -> HeaderValue {
    HeaderValue::from_bytes(&request_id()).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Longest id of a request that is taken over from a proxy: what they make is half as long.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Whether a proxy may call a request so.
pub(crate) fn is_request_id(text: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

impl Edge {
    /// Begins to observe a request.
    pub(crate) fn observe(&self, inbound: &Inbound) -> Begun {
        let trace = Trace::begin();
        let wanted = self.access_log.is_some() || trace.is_some();
        let request = wanted.then(|| {
            Box::new(Kept {
                client: inbound.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                method: inbound.method.as_str().to_owned(),
                host: inbound.host.clone(),
                target: inbound.target.clone(),
                version: inbound.version,
                referer: inbound.headers.get(header::REFERER).cloned(),
                user_agent: inbound.headers.get(header::USER_AGENT).cloned(),
                id: inbound.id.clone(),
            })
        });
        Begun { started: Instant::now(), request, trace }
    }

    /// Observes the rest of a hit that its client did not take at once. `sent`: bytes of content that it did.
    pub(crate) fn observe_rest(
        self: &Arc<Self>,
        started: Instant,
        status: StatusCode,
        sent: u64,
        kept: impl FnOnce() -> Kept,
    ) -> Observation {
        let request = self.access_log.is_some().then(|| Box::new(kept()));
        let begun = Begun { started, request, trace: Trace::default() };
        Observation::new(self, begun, status, Counted::Hit, sent)
    }

    /// Counts and observes a request that is refused.
    pub(crate) fn observe_refused(self: &Arc<Self>, refusal: Refusal, kept: Kept) -> Observation {
        refusal.count();
        Counted::Failed.count();
        count(|counts| counts.requests.add(1));
        let trace = Trace::begin();
        trace.add(Step::by(refusal.clause, format!("refused: {}", refusal.text)));
        let begun = Begun { started: Instant::now(), request: Some(Box::new(kept)), trace };
        Observation::new(self, begun, refusal.status, Counted::Failed, 0)
    }
}

impl Begun {
    /// The response is known: from now on its end is waited for.
    pub(crate) fn answered(self, edge: &Arc<Edge>, response: &Response) -> Observation {
        response.result.count();
        let sent = response.body.exact_bytes().unwrap_or(0);
        Observation::new(edge, self, response.status, response.result, sent)
    }

    /// What was begun behind an answer has ended, with this status. It is told to those who read the trace, and is no
    /// response: it has no line in the access log.
    pub(crate) fn ended_behind(self, edge: &Edge, status: StatusCode) {
        if let Some(record) = self.record(status.as_u16(), BEHIND, 0, clock::wall_ms()) {
            edge.tracer.send(record);
        }
    }

    /// What is told to those who read the trace; `None`: it is not traced.
    fn record(&self, status: u16, result: &'static str, bytes: u64, time_ms: i64) -> Option<Record> {
        let (request, steps) = (self.request.as_ref()?, self.trace.steps()?);
        Some(Record {
            time_ms,
            id: String::from_utf8_lossy(request.id.as_bytes()).into_owned(),
            client: request.client.to_string(),
            method: cut(&request.method),
            host: cut(&request.host),
            target: cut(&request.target),
            status,
            result,
            us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            bytes,
            steps,
        })
    }
}

/// What is told of a text: who reads may lag behind by many records.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

impl Observation {
    fn new(edge: &Arc<Edge>, begun: Begun, status: StatusCode, result: Counted, sent: u64) -> Self {
        let (edge, status, sent) = (Arc::clone(edge), status.as_u16(), AtomicU64::new(sent));
        Self(Box::new(Observed { edge, begun, status, result, sent }))
    }

    /// Notes what was decided later, where anybody reads.
    pub(crate) fn note(&self, step: Step) {
        self.0.begun.trace.add(step);
    }

    /// So many bytes more of content from the store went out.
    pub(crate) fn sent_more(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
        count(|counts| counts.sent_bytes.add(bytes));
    }

    /// Says how many bytes of content were sent, where that is another number than the response's length.
    pub(crate) fn sent(&self, bytes: u64) {
        self.0.sent.store(bytes, Ordering::Relaxed);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let duration = self.begun.started.elapsed();
        count(|counts| counts.latency(self.result, duration));
        let Some(request) = &self.begun.request else { return };
        let (sent, wall_ms) = (self.sent.load(Ordering::Relaxed), clock::wall_ms());
        if let Some(log) = &self.edge.access_log {
            log.write(&Line {
                client: request.client,
                wall_ms,
                method: request.method.as_bytes(),
                host: request.host.as_bytes(),
                target: request.target.as_bytes(),
                version: request.version,
                status: self.status,
                sent,
                referer: request.referer.as_ref().map(HeaderValue::as_bytes),
                user_agent: request.user_agent.as_ref().map(HeaderValue::as_bytes),
                result: self.result.as_str(),
                duration,
                id: request.id.as_bytes(),
            });
        }
        if let Some(record) = self.begun.record(self.status, self.result.as_str(), sent, wall_ms) {
            self.edge.tracer.send(record);
        }
    }
}
