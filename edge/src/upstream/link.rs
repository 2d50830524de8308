//! One connection to an upstream, led by whoever asks on it: no task of its own, no channels. A request goes out, its content
//! as it comes, and the response comes in, both at once.

use std::{
    fmt, io, mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncRead, ReadBuf},
    runtime::{self, Handle},
};
use tokio_util::io::poll_read_buf;

use super::{
    Ask, Informational,
    body::{BoxError, RequestBody},
    connect::{Io, Line},
    message::{self, Ending, Head},
    outgoing::Outgoing,
    patience::Patience,
    upstream::UnderWay,
};
use crate::http1::{
    Refusal,
    decoder::{Decoder, Part},
    head::Framing,
};

/// Bytes of a response's head; beyond, it is refused.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEAD_TOO_LARGE: &str = "its head is too large";
/// Room for bytes that are read, and after a read that brought as much as it could.
const READ_BYTES: usize = 16 << 10;
const READ_BYTES_MAX: usize = 64 << 10;
/// With less room left, there is new. What was read keeps all of the old for as long as anybody has some of it: with new room for each
/// read, an upstream that sends single bytes would have each of them take a page.
const READ_BYTES_MIN: usize = 4 << 10;
/// Parts of a content that are here already become one up to so many bytes: each costs whoever passes it on as much as a large one.
const JOINED_BYTES: usize = 4 << 10;

/// A connection and where it is in what is said on it. Dropped, it ends.
pub(super) struct Link {
    io: Io,
    line: Line,
    /// In which it was made.
    runtime: runtime::Id,
    /// What was read and not yet taken.
    read: BytesMut,
    /// Whether the last read brought as much as it could.
    is_full: bool,
    out: Outgoing,
    /// Whether a 100 is one that was asked for.
    asks_for_word: bool,
    /// Why no more of the request goes out; there may be a response for all that.
    refused: Option<io::Error>,
    content: Content,
    /// What follows the part that was told last, where that is known.
    next: Option<Result<Part, Refusal>>,
    keep_alive: bool,
    patience: Patience,
}

/// Why there is no response, or no more of one.
#[derive(Debug)]
pub(super) enum Broke {
    /// The connection broke.
    Line(io::Error),
    /// What was said on it cannot be understood.
    Response(String),
    /// The content of the request broke off.
    Request(BoxError),
    /// It takes too long.
    Late,
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(error) => write!(f, "the connection broke: {error}"),
            Self::Response(reason) => write!(f, "its response is not HTTP: {reason}"),
            Self::Request(error) => error.fmt(f),
            Self::Late => f.write_str("it takes too long"),
        }
    }
}

/// Where a response's content is.
#[derive(Debug)]
enum Content {
    Framed(Decoder),
    Close,
    Closed,
}

impl Link {
    pub(super) fn new(io: Io) -> Self {
        Self {
            line: io.line().clone(),
            io,
            runtime: Handle::current().id(),
            read: BytesMut::new(),
            is_full: false,
            out: Outgoing::default(),
            asks_for_word: false,
            refused: None,
            content: Content::Framed(Decoder::new(Framing::Sized(0))),
            next: None,
            keep_alive: true,
            patience: Patience::new(),
        }
    }

    /// Its record.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Whose its socket and its timer are: in another, each of its events would be handed on from thread to thread, and at the end
    /// of this one it would be of no use.
    pub(super) fn runtime(&self) -> runtime::Id {
        self.runtime
    }

    /// Begins to ask.
    ///
    /// # Errors
    /// Where the request cannot be written.
    pub(super) fn begin(
        &mut self,
        ask: &Ask,
        host: Option<&http::HeaderValue>,
        authority: &str,
        content: Option<RequestBody>,
        word: Duration,
    ) -> Result<(), &'static str> {
        self.read.reserve(READ_BYTES);
        self.asks_for_word = ask.expects_continue;
        self.out.begin(ask, host, authority, content, word)
    }

    /// The head of the final response; those before it are told. It may take `first_byte` from the last of the content that went
    /// out.
    pub(super) fn poll_head(
        &mut self,
        method: &Method,
        informational: Option<&Informational>,
        first_byte: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Broke>> {
        self.send(cx)?;
        if self.has_its_time_anew() {
            self.patience.lasts(first_byte);
        }
        let mut looked_at = 0;
        loop {
            // A head ends with a line: without a new one there is nothing new to find.
            if memchr::memchr(b'\n', &self.read[looked_at..]).is_some()
                && let Some(head) = message::parse(&mut self.read, method).map_err(Broke::Response)?
            {
                if head.bytes > HEAD_BYTES_MAX {
                    return Poll::Ready(Err(Broke::Response(HEAD_TOO_LARGE.into())));
                }
                self.read.advance(head.bytes);
                looked_at = 0;
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    if head.status == StatusCode::CONTINUE && mem::take(&mut self.asks_for_word) {
                        // It was asked for here (RFC 9110 §15.2); the client is told when its content is taken.
                        self.out.go_on();
                        self.send(cx)?;
                    } else if let Some(informational) = informational {
                        informational.call(head.status, &head.headers);
                    }
                    // There may be no end to them, and then nothing is waited for.
                    if self.patience.is_over() {
                        return Poll::Ready(Err(Broke::Late));
                    }
                    continue;
                }
                self.keep_alive = head.keep_alive;
                if self.out.is_held() {
                    // Nobody knows whether the upstream takes what comes next for the content or for a request.
                    self.keep_alive = false;
                    self.out = Outgoing::default();
                }
                self.content = match head.ending {
                    Ending::Framed(framing) => Content::Framed(Decoder::new(framing)),
                    Ending::Close => Content::Close,
                };
                return Poll::Ready(Ok(head));
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Poll::Ready(Err(Broke::Response(HEAD_TOO_LARGE.into())));
            }
            looked_at = self.read.len();
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    let error = self.refused.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(Broke::Line(error)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broke::Line(error))),
                Poll::Pending => return self.poll_late(cx).map(|()| Err(Broke::Late)),
            }
        }
    }

    /// Whether more of the request's content has gone out, or has yet to come: what a client takes to send it is not the
    /// upstream's fault, and who takes it is alive.
    pub(super) fn has_its_time_anew(&mut self) -> bool {
        self.out.has_moved() || self.out.waits()
    }

    /// Ready when it takes the upstream too long. The client whose content is waited for has a deadline of its own.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out.waits() { Poll::Pending } else { self.patience.poll(cx) }
    }

    /// What comes next in the content, without an end to patience.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broke>> {
        self.send(cx)?;
        loop {
            match &mut self.content {
                Content::Framed(decoder) => {
                    match self.next.take().unwrap_or_else(|| decoder.decode(&mut self.read)) {
                        Ok(Part::Wait) => {}
                        Ok(Part::Data(data)) if data.len() < JOINED_BYTES && !self.read.is_empty() => {
                            let (data, next) = join(&data, decoder, &mut self.read);
                            self.next = next;
                            return Poll::Ready(Ok(Part::Data(data)));
                        }
                        Ok(part) => return Poll::Ready(Ok(part)),
                        Err(refusal) => return Poll::Ready(Err(Broke::Response(refusal.text.into()))),
                    }
                }
                Content::Close if self.read.is_empty() => {}
                Content::Close => return Poll::Ready(Ok(Part::Data(self.read.split().freeze()))),
                Content::Closed => return Poll::Ready(Ok(Part::End)),
            }
            match (ready!(self.poll_fill(cx)), &self.content) {
                (Err(error), _) => return Poll::Ready(Err(Broke::Line(error))),
                (Ok(0), Content::Close) if !self.was_reset() => self.content = Content::Closed,
                (Ok(0), _) => return Poll::Ready(Err(Broke::Line(io::ErrorKind::UnexpectedEof.into()))),
                (Ok(_), _) => {}
            }
        }
    }

    /// Whether the upstream broke it off before it had ended it. The system says so only once, and it may have been told to whoever
    /// wrote; an end that comes before is told there as a broken pipe.
    fn was_reset(&self) -> bool {
        self.refused.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    /// Whether the content has come to its end.
    pub(super) fn is_end(&self) -> bool {
        match &self.content {
            Content::Framed(decoder) => decoder.is_end() && self.next.is_none(),
            Content::Close => false,
            Content::Closed => true,
        }
    }

    /// Whether another request may follow, once this one is out.
    pub(super) fn may_be_kept(&self) -> bool {
        // Bytes behind a content are no response to what has yet to be asked.
        let is_at_rest = self.keep_alive && self.refused.is_none() && self.read.is_empty() && self.is_end();
        is_at_rest && !self.io.is_cramped()
    }

    /// Whether all of the request is out.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_done()
    }

    /// Sends the rest of the request.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        self.out.poll(&mut self.io, cx)
    }

    /// Lets go of what it needs only while something is said on it.
    pub(super) fn rests(&mut self) {
        if self.read.capacity() > READ_BYTES {
            self.read = BytesMut::new();
        }
        self.out.rests();
        self.is_full = false;
    }

    /// Whether it is as it was left: an upstream that has closed it, or says something that nobody asked for, is found out.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Whether nothing has come on it, not even its end, that its thread has not been told of yet.
    pub(super) fn is_silent(&self) -> bool {
        self.io.is_silent()
    }

    /// How long whoever asks waits.
    pub(super) fn patience(&mut self) -> &mut Patience {
        &mut self.patience
    }

    /// After a 101: the connection itself, and what has come on it already.
    pub(super) fn into_upgraded(self, under_way: UnderWay) -> Upgraded {
        Upgraded { io: Box::new(self.io), early: self.read.freeze(), under_way }
    }

    /// Sends what can be sent of the request now. What the upstream does not take is no reason not to hear it.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broke> {
        if self.out.is_done() {
            return Ok(());
        }
        match self.out.poll(&mut self.io, cx) {
            Poll::Ready(Err(Broke::Line(error))) => {
                self.out = Outgoing::default();
                self.refused = Some(error);
                Ok(())
            }
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < READ_BYTES_MIN {
            self.read.reserve(if self.is_full { READ_BYTES_MAX } else { READ_BYTES });
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read))?;
        self.is_full = self.read.len() == self.read.capacity();
        Poll::Ready(Ok(read))
    }
}

/// What was read of a content after its `first` part, together with that; and what follows, if it is no such part.
fn join(first: &[u8], decoder: &mut Decoder, read: &mut BytesMut) -> (Bytes, Option<Result<Part, Refusal>>) {
    let mut all = BytesMut::from(first);
    while all.len() < JOINED_BYTES && !decoder.is_end() {
        match decoder.decode(read) {
            Ok(Part::Data(data)) => all.extend_from_slice(&data),
            Ok(Part::Wait | Part::End) => break,
            next @ (Ok(Part::Trailers(_)) | Err(_)) => return (all.freeze(), Some(next)),
        }
    }
    (all.freeze(), None)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A connection after a 101.
pub(crate) struct Upgraded {
    pub(crate) io: Box<Io>,
    /// What has come on it already.
    pub(crate) early: Bytes,
    /// For as long as it is there.
    pub(crate) under_way: UnderWay,
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::upstream::{address::Address, connect::Dialer};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Both ends of a connection.
    async fn pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dialer = Dialer::new(&Address::parse(&url).unwrap(), None, PATIENCE, std::sync::Arc::default());
        let link = Link::new(dialer.connect().await.unwrap());
        (link, listener.accept().unwrap().0)
    }

    fn begin(link: &mut Link, content: Option<RequestBody>) {
        let method = if content.is_some() { Method::POST } else { Method::GET };
        let ask = Ask::new(method, "/".into(), HeaderMap::new());
        link.begin(&ask, None, "h", content, PATIENCE).unwrap();
        link.patience().lasts(PATIENCE);
    }

    async fn head(link: &mut Link) -> Result<Head, Broke> {
        poll_fn(|cx| link.poll_head(&Method::GET, None, PATIENCE, cx)).await
    }

    async fn part(link: &mut Link) -> Result<Part, Broke> {
        tokio::time::timeout(PATIENCE, poll_fn(|cx| link.poll_part(cx))).await.unwrap()
    }

    #[tokio::test]
    async fn a_head_has_a_bound_however_it_comes() {
        for (beyond, is_whole) in [(0, true), (1, false), (9 << 10, false)] {
            let (mut link, mut upstream) = pair().await;
            let (line, end) = ("HTTP/1.1 204 X\r\nx: ", "\r\n\r\n");
            let filling = "x".repeat(HEAD_BYTES_MAX + beyond - line.len() - end.len());
            let sending = std::thread::spawn(move || {
                upstream.write_all(format!("{line}{filling}{end}").as_bytes()).unwrap();
                upstream
            });
            let _upstream = sending.join().unwrap();
            begin(&mut link, None);
            assert_eq!(head(&mut link).await.is_ok(), is_whole, "{beyond}");
        }
    }

    #[tokio::test]
    async fn single_bytes_share_their_room() {
        let (mut link, mut upstream) = pair().await;
        upstream.set_nodelay(true).unwrap();
        begin(&mut link, None);
        upstream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n").unwrap();
        head(&mut link).await.unwrap();
        let mut parts = Vec::new();
        for _ in 0..100 {
            upstream.write_all(b"x").unwrap();
            let Part::Data(data) = part(&mut link).await.unwrap() else { panic!("no content") };
            assert_eq!(data, "x");
            parts.push(data);
        }
        let places = || parts.iter().map(|part| part.as_ptr() as usize);
        assert!(places().max().unwrap() - places().min().unwrap() < READ_BYTES);
        assert!(link.may_be_kept());
    }

    #[tokio::test]
    async fn small_chunks_that_are_here_become_one_part() {
        let chunks = "1\r\na\r\n2\r\nbc\r\n1\r\nd\r\n";
        for (after, expected) in [
            ("0\r\n\r\n", Some(None)),
            ("0\r\nx: y\r\n\r\n", Some(Some("y"))),
            ("no chunk\r\n", None),
            ("0\r\nno field\r\n\r\n0\r\n\r\n", None),
        ] {
            let (mut link, mut upstream) = pair().await;
            let text = format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{after}");
            upstream.write_all(text.as_bytes()).unwrap();
            begin(&mut link, None);
            head(&mut link).await.unwrap();
            assert_eq!(part(&mut link).await.unwrap(), Part::Data("abcd".into()), "{after:?}");
            assert_eq!(link.is_end(), expected == Some(None), "{after:?}");
            match part(&mut link).await {
                Ok(Part::End) => assert_eq!(expected, Some(None)),
                Ok(Part::Trailers(fields)) => assert_eq!(expected, Some(Some(fields["x"].to_str().unwrap()))),
                Ok(part) => panic!("{part:?}"),
                Err(_) => assert_eq!(expected, None, "{after:?}"),
            }
            assert_eq!(link.may_be_kept(), expected.is_some(), "{after:?}");
        }
    }

    /// Content that has a part whenever there is one in the channel.
    fn content(parts: tokio::sync::mpsc::Receiver<&'static str>) -> RequestBody {
        let parts = futures_util::stream::unfold(parts, async |mut parts| {
            let part = parts.recv().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(part.as_bytes()))), parts))
        });
        BodyExt::boxed(StreamBody::new(parts))
    }

    #[tokio::test]
    async fn content_up_to_the_end_of_its_connection_is_whole_only_if_that_was_ended() {
        for is_reset in [false, true] {
            let (mut link, mut upstream) = pair().await;
            let (send, parts) = tokio::sync::mpsc::channel(1);
            begin(&mut link, Some(content(parts)));
            // The request begins, and is waited for.
            let first = poll_fn(|cx| Poll::Ready(link.poll_head(&Method::POST, None, PATIENCE, cx))).await;
            assert!(first.is_pending());
            assert!(upstream.read(&mut [0; 1 << 10]).unwrap() > 0);
            upstream.write_all(b"HTTP/1.1 413 X\r\n\r\nsome").unwrap();
            if is_reset {
                socket2::SockRef::from(&upstream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(upstream);
            // What is written now is what is told of it.
            send.send("more").await.unwrap();
            let head = head(&mut link).await.unwrap();
            send.send("more").await.ok();
            assert_eq!(
                (head.status.as_u16(), part(&mut link).await.unwrap()),
                (413, Part::Data("some".into()))
            );
            let end = part(&mut link).await;
            assert_eq!(end.is_err(), is_reset, "{end:?}");
        }
    }
}
