//! What a renderer knows of its last render, as bytes: a build, or a renderer on another machine, begins with it.
//!
//! Owns the format: the graph, a head, parsed content; where the head begins (8 bytes, little-endian, counted from the
//! graph); a digest of all that. A memo is of one build of the program, checked by its digest before anything is read from it,
//! and never needed: without it, or with one that does not fit, a render makes everything. It holds what outputs read, as
//! names and digests, and front matter; neither outputs nor secrets. What it knows of a folder's files and, by keyed digests,
//! of the environment is kept only where nobody else will read it, and so is what was read beside a variable.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diagnostic::{Diagnostic, Errors};
use crate::graph::{Graph, KeptGraph, Key, Rows, Told, Value};
use crate::kept::Before;
use crate::library::Parsed;
use crate::reads::Node;
use crate::render::{Handed, Input, RenderId, Renderer, Summary};
use crate::sources::{Sources, Stamp};
use crate::view;

/// First bytes of every memo.
const MAGIC: &[u8; 16] = b"bakehouse memo 5";
/// A digest of the renderer's sources and of what it is built on: other code may make other outputs.
const PROGRAM: &[u8] = env!("BAKEHOUSE_RENDERER").as_bytes();
/// The largest memo that is read, in bytes.
pub const MEMO_BYTES_MAX: u64 = 2 << 30;

/// What tells whether anything is different at all, without a look at the rest.
#[derive(Serialize, Deserialize)]
struct Head<Files> {
    summary: Counts,
    warnings: Vec<Diagnostic>,
    /// Keys the digests of the environment.
    key: Key,
    environment: Vec<(Arc<str>, Value)>,
    days: Vec<(Arc<str>, Value)>,
    /// Whether other servers are asked in each render.
    elsewhere: bool,
    before: Before<Files>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counts {
    pages: usize,
    sections: usize,
    outputs: usize,
    assets: usize,
}

/// Parsed content by path, and the digest of the configuration and schemas that it was parsed under.
type KeptParsed = (Option<[u8; 32]>, Vec<(Arc<str>, Arc<Parsed>)>);

/// What an earlier render knew, read back.
pub struct Memo {
    head: Head<Vec<Stamp>>,
    /// [`KeptParsed`].
    parsed: Bytes,
    /// [`KeptGraph`].
    graph: Bytes,
}

/// Who will read a memo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only who made it, on this machine, for the same folder.
    Own,
    /// All who may read the site's bucket.
    All,
}

impl Memo {
    /// Reads a memo; none where it is damaged, or of another build of the program.
    pub fn open(bytes: Bytes) -> Option<Self> {
        let (sealed, digest) = bytes.split_last_chunk::<32>()?;
        let sealed = sealed.strip_prefix(MAGIC)?.strip_prefix(PROGRAM)?;
        if blake3::hash(sealed).as_bytes() != digest {
            return None;
        }
        let (parts, head_at) = sealed.split_last_chunk()?;
        let (graph, rest) = parts.split_at_checked(usize::try_from(u64::from_le_bytes(*head_at)).ok()?)?;
        let (head, parsed) = postcard::take_from_bytes(rest).ok()?;
        Some(Self { head, parsed: bytes.slice_ref(parsed), graph: bytes.slice_ref(graph) })
    }

    /// The files of the folder `root` as they were then, to be listed again: those that did not change are not read again.
    pub fn sources(&self, root: &Path) -> Sources {
        Sources::from_stamps(root, &self.head.before.files)
    }

    /// Whether a render of `input` would make what is there already, with nothing different that it reads.
    pub fn is_current(&self, input: &Input) -> bool {
        let head = &self.head;
        !head.elsewhere
            && input.faults.is_empty()
            // Files that may change without showing it are not among those, and one of them may be gone.
            && input.sources.len() == head.before.count
            && input.sources.are(&head.before.files)
            && head.before.fits(input)
            && head.environment.iter().all(|(name, value)| view::environment(name, &head.key) == *value)
            && head.days.iter().all(|(zone, value)| view::day(zone, input.now) == *value)
    }

    /// What the render made that this is of.
    pub fn summary(&self) -> Summary {
        let Counts { pages, sections, outputs, assets } = self.head.summary;
        Summary {
            render: RenderId::default(),
            handed: Handed::Changes,
            pages,
            sections,
            outputs,
            rendered: 0,
            highlighted: 0,
            postponed: false,
            assets,
            next_change: self.head.before.next_change.and_then(|at| Timestamp::from_second(at).ok()),
            warnings: self.head.warnings.clone(),
            // Builds ask for none.
            places: Vec::new(),
            errors: Errors::default(),
            failed: BTreeMap::new(),
        }
    }

    /// A renderer that remembers that render, and its name. Most of the memo is read with the next render; one that
    /// contradicts itself is like none.
    pub fn renderer(self, memory_bytes_max: usize) -> (Renderer, RenderId) {
        let Self { head: Head { key, before, .. }, parsed, graph } = self;
        let parsed = move || {
            let (config, parsed): KeptParsed = postcard::from_bytes(&parsed).unwrap_or_default();
            (config.map(blake3::Hash::from_bytes), Arc::new(parsed.into_iter().collect()))
        };
        let graph = move || {
            let kept: Option<KeptGraph> = postcard::from_bytes(&graph).ok();
            let Some(graph) = kept.and_then(|kept| Graph::restore(kept, key)) else { return Graph::new() };
            graph
        };
        (Renderer::restored(memory_bytes_max, graph, parsed, before), RenderId::default())
    }
}

/// Writes what a renderer knows after a render of `input` that ended well with `summary`; nothing where it remembers nothing.
pub(crate) fn write(
    renderer: &Renderer,
    input: &Input,
    summary: &Summary,
    readers: Readers,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let written = renderer.with_knowledge(|graph, config, parsed| {
        let own = readers == Readers::Own;
        let told = if own { Told::ALL } else { Told::to_others(graph) };
        let (mut environment, mut days, mut elsewhere) = (Vec::new(), Vec::new(), false);
        for node in graph.nodes() {
            match node {
                Node::Environment(name) if own => {
                    environment.push((name.clone(), view::environment(name, &graph.key)));
                }
                Node::Day(zone) => days.push((zone.clone(), view::day(zone, input.now))),
                Node::Elsewhere => elsewhere = true,
                _ => {}
            }
        }
        let files = if own { input.sources.stamps().count() } else { 0 };
        let head = Head {
            summary: Counts {
                pages: summary.pages,
                sections: summary.sections,
                outputs: summary.outputs,
                assets: summary.assets,
            },
            // Others take them from what was read.
            warnings: if own { summary.warnings.clone() } else { Vec::new() },
            key: if own { graph.key } else { Key::default() },
            environment,
            days,
            elsewhere,
            before: Before {
                options: options(input),
                data: data(input),
                now: input.now.as_second(),
                next_change: summary.next_change.map(Timestamp::as_second),
                count: input.sources.len(),
                files: Rows(files, || input.sources.stamps().filter(|_| own)),
            },
        };
        let parsed = Rows(parsed.len(), || parsed.iter());
        out.write_all(MAGIC)?;
        out.write_all(PROGRAM)?;
        let mut sealing = Sealing { out, digest: blake3::Hasher::new() };
        let rest = (head, (config.map(|digest| *digest.as_bytes()), parsed));
        // The rest is made meanwhile: some 300 bytes a page.
        let (rest, graph) = rayon::join(
            || postcard::to_stdvec(&rest),
            || {
                let mut buffered = BufWriter::new(&mut sealing);
                postcard::to_io(&graph.keep(&told), &mut buffered).map_err(io::Error::other)?;
                buffered.flush()
            },
        );
        graph?;
        let head_at = sealing.digest.count();
        sealing.write_all(&rest.map_err(io::Error::other)?)?;
        sealing.write_all(&head_at.to_le_bytes())?;
        let Sealing { out, digest } = sealing;
        out.write_all(digest.finalize().as_bytes())
    });
    written.unwrap_or(Ok(()))
}

/// Passes on what is written, and makes its digest.
struct Sealing<'a> {
    out: &'a mut (dyn Write + Send),
    digest: blake3::Hasher,
}

impl Write for Sealing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.digest.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A digest of how to render.
pub(crate) fn options(input: &Input) -> Value {
    view::half(&blake3::hash(format!("{:?}", input.options).as_bytes()))
}

/// A digest of the data of all dynamic sources, and of the pages that its rows make.
pub(crate) fn data(input: &Input) -> Value {
    let mut hasher = blake3::Hasher::new();
    for (name, snapshot) in input.data.iter() {
        hasher.update(blake3::hash(name.as_bytes()).as_bytes());
        hasher.update(blake3::hash(&snapshot.to_bytes()).as_bytes());
    }
    for page in &*input.row_pages {
        hasher.update(blake3::hash(format!("{page:?}").as_bytes()).as_bytes());
    }
    view::half(&hasher.finalize())
}

/// Bytes among what is kept, taken at once: each page has several of them, and one by one they would be much of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Serialize for Whole<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Whole<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>;

        impl<const N: usize> Visitor<'_> for Bytes<N> {
            type Value = Whole<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Whole<N>, E> {
                bytes.try_into().map(Whole).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Digests among what is kept.
pub(crate) mod digest {
    use blake3::Hash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Whole;

    pub(crate) fn serialize<S: Serializer>(digest: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        Whole(*digest.as_bytes()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        Whole::deserialize(deserializer).map(|Whole(bytes)| Hash::from_bytes(bytes))
    }
}

/// Halves of digests among what is kept.
pub(crate) mod half {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Value, Whole};

    pub(crate) fn serialize<S: Serializer>(half: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        Whole(half.to_le_bytes()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Whole::deserialize(deserializer).map(|Whole(bytes)| Value::from_le_bytes(bytes))
    }
}

/// Values of templates among what is kept: those that front matter can have.
pub(crate) mod values {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tera::value::ValueKind;

    use crate::value;

    /// A value in one row, so that reading it back takes no more stack than its depth is allowed to have.
    #[derive(Serialize, Deserialize)]
    enum Token {
        None,
        Bool(bool),
        U64(u64),
        I64(i64),
        F64(f64),
        Text(String),
        /// So many values follow.
        List(usize),
        /// So many pairs of a text and a value follow.
        Map(usize),
    }

    fn write(value: &tera::Value, tokens: &mut Vec<Token>) {
        tokens.push(match value.kind() {
            ValueKind::Bool => Token::Bool(value.as_bool().unwrap_or_default()),
            ValueKind::U64 => Token::U64(value.as_u64().unwrap_or_default()),
            ValueKind::I64 => Token::I64(value.as_i64().unwrap_or_default()),
            ValueKind::F64 => Token::F64(value.as_f64().unwrap_or_default()),
            ValueKind::String => Token::Text(value.as_str().unwrap_or_default().to_owned()),
            ValueKind::Array => {
                let list = value.as_array().unwrap_or_default();
                tokens.push(Token::List(list.len()));
                return list.iter().for_each(|value| write(value, tokens));
            }
            ValueKind::Map => {
                let Some(map) = value.as_map() else { return };
                tokens.push(Token::Map(map.len()));
                for (key, value) in map {
                    tokens.push(Token::Text(key.to_string()));
                    write(value, tokens);
                }
                return;
            }
            // Front matter has no others.
            _ => Token::None,
        });
    }

    /// `depth` is how much deeper it may be.
    fn read(tokens: &mut impl Iterator<Item = Token>, depth: usize) -> Option<tera::Value> {
        let depth = depth.checked_sub(1)?;
        Some(match tokens.next()? {
            Token::None => tera::Value::none(),
            Token::Bool(value) => value.into(),
            Token::U64(value) => value.into(),
            Token::I64(value) => value.into(),
            Token::F64(value) => value.into(),
            Token::Text(value) => value.into(),
            Token::List(count) => (0..count).map(|_| read(tokens, depth)).collect::<Option<Vec<_>>>()?.into(),
            Token::Map(count) => {
                let mut pair = || match tokens.next()? {
                    Token::Text(name) => Some((value::owned_key(&name), read(tokens, depth)?)),
                    _ => None,
                };
                value::map((0..count).map(|_| pair()).collect::<Option<_>>()?)
            }
        })
    }

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<tera::Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut tokens = Vec::new();
        if let Some(value) = value {
            write(value, &mut tokens);
        }
        tokens.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<tera::Value>, D::Error> {
        let tokens = Vec::<Token>::deserialize(deserializer)?;
        if tokens.is_empty() {
            return Ok(None);
        }
        let broken = || D::Error::custom("a value is broken off, or nested too deeply");
        read(&mut tokens.into_iter(), value::DEPTH_MAX + 2).map(Some).ok_or_else(broken)
    }
}
