//! `bakehouse.toml`: what a site says of itself beside what Zola's configuration says.
//!
//! Every key can also be given in the environment: `BAKE_` and the key in capitals, with `_` for the
//! dots: `BAKE_EDGE_MEMORY`. A flag beats the environment, the environment beats the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::Context;
use origin::policy::{self, CacheRule, Policies, ResponseRule, Rules};
use release::keys::Site;
use renderer::data::{DataError, SourceConfig, Unknown};
use renderer::schedule::{Schedule, ScheduleConfig, ScheduleError};
use renderer::{Diagnostic, Errors, ImageOptions, TomlWords, Whole, from_toml, right_tables};
use serde::Deserialize;
use toml::{Table, Value};

use crate::edge_flags::ClientFlags;
use crate::failure::HintExt;
use crate::memory_bytes::MemoryBytes;
use crate::render::content;

/// The file's name.
pub const FILE: &str = "bakehouse.toml";
/// Bytes of the largest configuration that is read.
pub const BYTES_MAX: u64 = 1 << 20;

/// The whole file. Every table and key is optional.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The site's name in the bucket: `main`.
    pub site: Site,
    /// Host names the site answers to; any, where there are none.
    pub hosts: Vec<String>,
    /// The store for everything; without an endpoint or a name, `bake up` brings its own.
    pub bucket: Store,
    /// A store for the journal alone, where the bucket's has no conditional writes.
    pub journal: Option<Store>,
    /// Bounds on content.
    pub limits: Limits,
    /// What images in content are shown with.
    pub images: ImageOptions,
    /// Markdown, beyond what Zola's configuration says.
    pub markdown: MarkdownTable,
    /// The edge.
    pub edge: EdgeTable,
    /// Publishing.
    pub publish: PublishTable,
    /// How long responses may be kept, by path.
    pub cache: Vec<CacheRule>,
    /// Which fields responses have, by path.
    pub response: Vec<ResponseRule>,
    /// Dynamic sources, and files whose rows are data.
    pub source: Vec<SourceConfig>,
    /// When to render again.
    pub schedule: Vec<ScheduleConfig>,
}

impl Default for Config {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant")]
        let site = "main".parse().expect("a site's name");
        Self {
            site,
            hosts: Vec::new(),
            bucket: Store::default(),
            journal: None,
            limits: Limits::default(),
            images: ImageOptions::default(),
            markdown: MarkdownTable::default(),
            edge: EdgeTable::default(),
            publish: PublishTable::default(),
            cache: Vec::new(),
            response: Vec::new(),
            source: Vec::new(),
            schedule: Vec::new(),
        }
    }
}

/// An S3-compatible store. What is left out comes from the standard AWS variables and profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// URL of the store; AWS's own where it is left out.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Name of the bucket.
    pub name: Option<String>,
    /// Access key, with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// Secret key; better in the environment than in a file.
    pub secret_access_key: Option<Secret>,
    /// Checksums on every request, not only where S3 demands them.
    pub checksums: bool,
    /// The operator's word that only one process ever writes: allows a store without conditional writes.
    pub single_writer: bool,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Store {
    /// Whether anything is said of a store.
    pub fn is_given(&self) -> bool {
        self.endpoint.is_some() || self.name.is_some()
    }
}

/// Bounds on content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of the largest page's source: 10 MiB.
    pub page_bytes_max: Whole<u64, 1, { 1 << 40 }>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page_bytes_max: whole(10 << 20) }
    }
}

/// Seconds of a lease: without one an edge is always cut off, and after a day nobody waits for its receipt.
pub type LeaseSeconds = Whole<u64, 1, 86_400>;

/// The edge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeTable {
    /// Bytes that the edge may take: stored responses, connections and itself: 256 MiB.
    pub memory: MemoryBytes,
    /// Seconds that an edge goes without news before it counts as cut off: 10.
    pub lease_seconds: LeaseSeconds,
    /// What it does then: `serve` (and say so), `validate` or `refuse`.
    pub on_lease_lapse: OnLeaseLapse,
    /// URLs of upstreams that know nothing of Bakehouse.
    pub upstream: Vec<String>,
    /// What `Host` is set to for them; otherwise the client's is kept.
    pub upstream_host: Option<String>,
    /// How requests are spread over them: `round-robin`.
    pub balance: Option<edge::Balance>,
    /// Path that each of them is asked for now and then.
    pub health_path: Option<String>,
    /// What clients may do, and where the RFCs leave a choice: as the flags of `bake edge`.
    pub clients: ClientFlags,
}

impl Default for EdgeTable {
    fn default() -> Self {
        Self {
            memory: MemoryBytes::default(),
            lease_seconds: whole(10),
            on_lease_lapse: OnLeaseLapse::Serve,
            upstream: Vec::new(),
            upstream_host: None,
            balance: None,
            health_path: None,
            clients: ClientFlags::default(),
        }
    }
}

/// Markdown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarkdownTable {
    /// Whether `$` and `$$` are around formulas in TeX, which become MathML.
    pub math: bool,
}

/// Publishing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishTable {
    /// What happens where an address of the last release would lead to nothing: `warn`, `fail` or `allow`.
    pub vanished: Vanished,
}

/// What happens where an address of the last release would lead to nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vanished {
    /// It is published, and said.
    #[default]
    Warn,
    /// It is not published.
    Fail,
    /// It is published.
    Allow,
}

/// What an edge does that has had no news for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnLeaseLapse {
    /// Serves what it holds, with `detail=lease-expired`.
    Serve,
    /// Validates with an origin before it serves.
    Validate,
    /// Answers 503.
    Refuse,
}

/// A default.
#[expect(clippy::expect_used, reason = "a constant")]
fn whole<T: Copy + TryFrom<u64>, const MIN: u64, const MAX: u64>(number: u64) -> Whole<T, MIN, MAX> {
    Whole::new(number).expect("a number within the bounds of its key")
}

/// Keys of texts that can be given in the environment, just as they are: a bucket may be called `2026`.
const TEXTS: [&str; 22] = [
    "site",
    "bucket.endpoint",
    "bucket.region",
    "bucket.name",
    "bucket.access_key_id",
    "bucket.secret_access_key",
    "journal.endpoint",
    "journal.region",
    "journal.name",
    "journal.access_key_id",
    "journal.secret_access_key",
    "images.format",
    "images.sizes",
    "edge.memory",
    "edge.on_lease_lapse",
    "edge.upstream_host",
    "edge.balance",
    "edge.health_path",
    "edge.clients.client_validation",
    "edge.clients.set_cookie",
    "edge.clients.s_maxage",
    "publish.vanished",
];

/// Keys of numbers, booleans and lists that can be given in the environment, written as in TOML.
const VALUES: [&str; 28] = [
    "hosts",
    "bucket.checksums",
    "bucket.single_writer",
    "journal.checksums",
    "journal.single_writer",
    "limits.page_bytes_max",
    "images.dimensions",
    "images.widths",
    "images.quality",
    "markdown.math",
    "edge.lease_seconds",
    "edge.upstream",
    "edge.clients.connections",
    "edge.clients.connections_per_client",
    "edge.clients.requests_per_connection",
    "edge.clients.client_idle_seconds",
    "edge.clients.content_seconds",
    "edge.clients.proxy_protocol_from",
    "edge.clients.head_bytes",
    "edge.clients.head_seconds",
    "edge.clients.stall_seconds",
    "edge.clients.drain_seconds",
    "edge.clients.targeted_field",
    "edge.clients.query_without",
    "edge.clients.query_only",
    "edge.clients.trust_forwarded",
    "cache",
    "response",
];

/// Keys that other programs know, and where they stand here.
const ELSEWHERE: [(&str, &str); 5] = [
    ("headers", "response fields are written as [[response]] with `path` and `fields`"),
    ("fields", "response fields are written as [[response]] with `path` and `fields`"),
    ("redirects", "redirects are lines of static/_redirects: /old /new 301"),
    ("redirect", "redirects are lines of static/_redirects: /old /new 301"),
    ("rewrites", "a release answers each path with what it holds; static/_redirects leads elsewhere"),
];

impl Config {
    /// Reads the configuration in `folder`, where one is named, and the environment.
    pub fn load(folder: Option<&Path>) -> anyhow::Result<Self> {
        let file = folder.map_or_else(|| PathBuf::from(FILE), |folder| folder.join(FILE));
        // Without what it says, limits and rules would be others than whoever named it believes.
        if folder.is_some() && !file.exists() {
            return Err(anyhow::anyhow!("there is no `{}`", shown(&file)))
                .hint(|| format!("name the folder that holds a {FILE}, or leave --config out"));
        }
        Self::load_as(folder.map(|_| &*file), &file)
    }

    /// The same of a site's folder: messages name the file as they name all others of the site.
    pub fn of_site(folder: &Path) -> anyhow::Result<Self> {
        Self::load_as(Some(&folder.join(FILE)), Path::new(FILE))
    }

    fn load_as(file: Option<&Path>, name: &Path) -> anyhow::Result<Self> {
        let text = match file.filter(|file| file.exists()) {
            Some(file) => text_of(read(file)?, name)?,
            None => String::new(),
        };
        Self::parse(&text, name, &|name| std::env::var(name).ok())
    }

    /// Reads the configuration from its text, as it lies among a release's sources.
    pub fn parse(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let name = shown(file);
        // First the file by itself, so that errors have their lines.
        if let Err(mut wrong) = from_toml::<Self>(&name, text, &elsewhere) {
            wrong.append(Self::of_right_tables(text).check(&name, text));
            return content(Err(wrong));
        }
        let mut table: Table = content(from_toml(&name, text, &elsewhere))?;
        let mut wrong = Errors::default();
        let texts = TEXTS.map(|key| (key, true));
        for (key, is_text) in texts.into_iter().chain(VALUES.map(|key| (key, false))) {
            let variable = format!("BAKE_{}", key.replace('.', "_").to_uppercase());
            let Some(text) = env(&variable) else { continue };
            match if is_text {
                right(key, Value::String(text))
            } else {
                value(&text).and_then(|v| right(key, v))
            } {
                Ok(value) => set(&mut table, key, value),
                Err(TomlWords { message, hint }) => {
                    wrong.push(Diagnostic::new(format!("the variable {variable}: {message}")).hint(hint));
                }
            }
        }
        content(wrong.into_result())?;
        let config: Self =
            Value::Table(table).try_into().with_context(|| format!("`{name}` and the environment"))?;
        content(config.check(&name, text).into_result())?;
        Ok(config)
    }

    /// What a file with something wrong in it says in those tables that are right by themselves.
    fn of_right_tables(text: &str) -> Self {
        Self {
            images: right_tables(text, "images").pop().unwrap_or_default(),
            cache: right_tables(text, "cache"),
            response: right_tables(text, "response"),
            source: right_tables(text, "source"),
            schedule: right_tables(text, "schedule"),
            ..Self::default()
        }
    }

    /// What can be taken of a file with something wrong in it, and what of sources it may have beyond that.
    pub fn despite(text: &str) -> (Self, Unknown) {
        let mut config = Self {
            limits: right_tables(text, "limits").pop().unwrap_or_default(),
            markdown: right_tables(text, "markdown").pop().unwrap_or_default(),
            ..Self::of_right_tables(text)
        };
        if config.images.check().is_err() {
            config.images = ImageOptions::default();
        }
        let twice = twice(config.source.iter().map(|source| &source.name));
        config.source.retain(|source| !twice.contains(&source.name));
        if text.parse::<Table>().is_err() {
            return (config, Unknown { data: text.contains("source"), pages: text.contains("page") });
        }
        let is_right = |table: &Table| {
            let name = table.get("name").and_then(Value::as_str);
            config.source.iter().any(|source| Some(&*source.name) == name)
        };
        let tables: Vec<Table> = right_tables(text, "source");
        let wrong: Vec<&Table> = tables.iter().filter(|table| !is_right(table)).collect();
        let pages = wrong.iter().any(|table| table.contains_key("page"));
        let unknown = Unknown { data: !wrong.is_empty(), pages };
        (config, unknown)
    }

    /// The sources that are asked for their rows: all but files, which are read with the site.
    pub fn asked(&self) -> impl Iterator<Item = &SourceConfig> {
        self.source.iter().filter(|source| source.file().is_none())
    }

    /// Looks at what no value tells by itself: at each table alone, and at all that are right together.
    fn check(&self, name: &str, text: &str) -> Errors {
        let mut errors = Errors::default();
        let mut wrong = |message: String, hint: Option<String>| {
            errors.push(placed(Diagnostic::in_file(name, message), text).maybe_hint(hint));
        };
        if let Err(error) = self.images.check() {
            wrong(error.to_string(), Some("correct that key in [images]".into()));
        }
        if self.edge.clients.says_twice_what_counts() {
            let text = "`query_only` and `query_without` say in two ways which parameters count";
            wrong(text.into(), Some("keep one of the two".into()));
        }
        for name in twice(self.source.iter().map(|source| &source.name)) {
            let error = DataError::DuplicateName { name };
            wrong(error.to_string(), error.hint());
        }
        // Also of those with which something else is wrong.
        let sources: Vec<Named> = right_tables(text, "source");
        let sources = || sources.iter().map(|source| &*source.name);
        for schedule in &self.schedule {
            if let Err(error) = Schedule::all(slice::from_ref(schedule), sources()) {
                wrong(error.to_string(), error.hint());
            }
        }
        for name in twice(self.schedule.iter().map(|schedule| &schedule.name)) {
            let error = ScheduleError::DuplicateName { name };
            wrong(error.to_string(), error.hint());
        }
        let mut right = self.rules();
        let mut is_right = |rules: Rules| match Policies::new(&rules) {
            Ok(_) => true,
            Err(error) => {
                wrong(error.to_string(), error.hint());
                false
            }
        };
        right.cache.retain(|rule| is_right(Rules { cache: vec![rule.clone()], ..Rules::default() }));
        right.response.retain(|rule| is_right(Rules { response: vec![rule.clone()], ..Rules::default() }));
        is_right(right);
        errors
    }

    /// What is said of responses by path.
    pub fn rules(&self) -> Rules {
        Rules { cache: self.cache.clone(), response: self.response.clone() }
    }
}

/// A table of which only the name counts.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Names that there are more than once.
fn twice<'n>(names: impl Iterator<Item = &'n String>) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    names.filter(|name| !known.insert(*name)).cloned().collect()
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(file).with_context(|| format!("`{}`", file.display()))?.len();
    anyhow::ensure!(length <= BYTES_MAX, "`{}` has {length} bytes; {BYTES_MAX} are allowed", file.display());
    std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))
}

/// A file as messages name it.
fn shown(file: &Path) -> String {
    file.strip_prefix(".").unwrap_or(file).display().to_string()
}

/// The text of a configuration.
pub fn text_of(bytes: Vec<u8>, file: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let name = shown(file);
        let wrong = Diagnostic::in_file(name, "the file is not valid UTF-8");
        Errors::from(wrong.at(&String::from_utf8_lossy(good), good.len()).hint("save it as UTF-8"))
    });
    content(text)
}

/// Reads a value of the environment, which is written as in TOML.
fn value(text: &str) -> Result<Value, TomlWords> {
    let read = toml::from_str::<Table>(&format!("value = {text}")).ok().filter(|t| t.len() == 1);
    read.and_then(|mut table| table.remove("value")).ok_or_else(|| TomlWords {
        message: format!("`{text}` is no value"),
        hint: "write a number, `true` or `false`, or a list such as `[\"a.example\"]`".to_owned(),
    })
}

/// A value of the environment, if its key takes it.
fn right(key: &str, value: Value) -> Result<Value, TomlWords> {
    let mut alone = Table::new();
    set(&mut alone, key, value.clone());
    let read: Result<Config, _> = Value::Table(alone).try_into();
    read.map(|_| value).map_err(|error| TomlWords::of(error.message()))
}

/// Sets a dotted key.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// Points at the last place where the file has a text, or else a key, that the message names.
fn placed(diagnostic: Diagnostic, text: &str) -> Diagnostic {
    let names: Vec<String> = diagnostic.message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let as_text =
        |name: &String| text.rfind(&format!("\"{name}\"")).or_else(|| text.rfind(&format!("'{name}'")));
    let as_key = |name: &String| {
        let mut at = 0;
        text.split_inclusive('\n').find_map(|line| {
            let begins = at + line.len() - line.trim_start().len();
            at += line.len();
            let rest = line.trim_start().strip_prefix(name.as_str())?;
            rest.trim_start().starts_with('=').then_some(begins)
        })
    };
    match names.iter().find_map(as_text).or_else(|| names.iter().find_map(as_key)) {
        Some(at) => diagnostic.at(text, at),
        None => diagnostic,
    }
}

/// What to do about a key that stands elsewhere, or a field that the server decides on.
fn elsewhere(message: &str) -> Option<String> {
    let named = |head: &str| message.strip_prefix(head)?.split('`').next();
    if let Some(field) = named("the response field `") {
        return policy::hint_of_field(field).map(str::to_owned);
    }
    let unknown = named("unknown field `")?;
    ELSEWHERE.iter().find(|(key, _)| *key == unknown).map(|(_, here)| (*here).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, env: &[(&str, &str)]) -> anyhow::Result<Config> {
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Config::parse(text, Path::new("bakehouse.toml"), &find)
    }

    #[test]
    fn the_environment_beats_the_file() {
        let text = "site = \"blog\"\n[edge]\nmemory = 10000000\n";
        let env =
            [("BAKE_EDGE_MEMORY", "20MB"), ("BAKE_HOSTS", "[\"a.example\"]"), ("BAKE_BUCKET_NAME", "b")];
        let config = parse(text, &env).unwrap();
        assert_eq!(config.site.as_str(), "blog");
        assert_eq!(config.edge.memory.get(), 20_000_000);
        assert_eq!(config.hosts, ["a.example"]);
        assert_eq!(config.bucket.name.as_deref(), Some("b"));
    }

    #[test]
    fn a_text_in_the_environment_is_taken_as_it_is() {
        let env = [
            ("BAKE_BUCKET_NAME", "2026"),
            ("BAKE_BUCKET_SECRET_ACCESS_KEY", "0123456789"),
            ("BAKE_SITE", "7"),
            ("BAKE_JOURNAL_REGION", "true"),
        ];
        let config = parse("", &env).unwrap();
        assert_eq!(config.bucket.name.as_deref(), Some("2026"));
        assert_eq!(config.bucket.secret_access_key, Some(Secret("0123456789".into())));
        assert_eq!(config.site.as_str(), "7");
        assert_eq!(config.journal.unwrap().region.as_deref(), Some("true"));
        for wrong in ["lots", "1\nsite = \"x\"", ""] {
            let error = parse("", &[("BAKE_EDGE_MEMORY", wrong)]).unwrap_err();
            assert!(format!("{error:#}").contains("BAKE_EDGE_MEMORY"), "{error:#}");
        }
        let env =
            [("BAKE_EDGE_MEMORY", "1 sack"), ("BAKE_IMAGES_QUALITY", "400"), ("BAKE_PUBLISH_VANISHED", "no")];
        let error = format!("{:#}", parse("", &env).unwrap_err());
        for words in [
            "the variable BAKE_EDGE_MEMORY: invalid value: string \"1 sack\", expected bytes from 1 MiB to 1 PiB",
            "the variable BAKE_IMAGES_QUALITY: invalid value: integer `400`, expected a whole number from 1 to 100",
            "the variable BAKE_PUBLISH_VANISHED: unknown variant `no`, expected one of `warn`, `fail`, `allow`",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    /// What is said of a configuration that is wrong.
    fn said(text: &str) -> String {
        format!("{:#}", parse(text, &[]).unwrap_err())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest() {
        let error = said("site = \"x\"\n[edge]\nmemroy = 1\nlease_seconds = \"ten\"\n");
        for words in [
            "unknown key `memroy` in [edge]\n --> bakehouse.toml:3:1\n",
            "bakehouse.toml:4:17\n",
            "`memory`?",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn images_are_checked() {
        let config = parse("[images]\nwidths = [480]\n", &[("BAKE_IMAGES_SIZES", "50vw")]).unwrap();
        let widths: Vec<u32> = config.images.widths.iter().map(|width| width.get()).collect();
        assert_eq!((&*widths, config.images.sizes.as_deref()), (&[480][..], Some("50vw")));
        assert!(said("[images]\nformat = \"heic\"\n").contains("bakehouse.toml:2:10\n"));
    }

    #[test]
    fn a_number_that_a_key_does_not_take_is_told_the_bounds() {
        for (line, bounds) in [
            ("[images]\nquality = 400", "from 1 to 100"),
            ("[images]\nwidths = [0]", "from 1 to 65535"),
            ("[limits]\npage_bytes_max = 0", "from 1 to 1099511627776"),
            ("[edge]\nlease_seconds = 0", "from 1 to 86400"),
            ("[edge.clients]\nconnections = 0", "from 1 to 4294967295"),
            ("[edge.clients]\nhead_bytes = 5", "from 1024 to 1048576"),
            ("[edge.clients]\nhead_bytes = 5000000000", "from 1024 to 1048576"),
            ("[edge.clients]\ndrain_seconds = -1", "from 0 to 4294967295"),
            ("[[source]]\nrows_max = 0", "from 1 to 4294967296"),
            ("[[source]]\nbytes_max = -1", "from 1 to 4294967296"),
            ("[[source]]\npaging = { next = \"/a\", pages_max = 0 }", "from 1 to 4294967296"),
        ] {
            let error = said(line);
            assert!(
                error.contains(&format!("expected a whole number {bounds}\n --> bakehouse.toml:2:")),
                "{error}"
            );
            assert!(error.contains("within these bounds"), "{error}");
        }
        for wrong in ["-1", "1.5", "true"] {
            let error = said(&format!("[[cache]]\npath = \"/**\"\nbrowser = {wrong}\n"));
            assert!(error.contains("expected a length of time: seconds, or a text such as `90s`"), "{error}");
            assert!(error.contains("bakehouse.toml:3:11"), "{error}");
        }
        for wrong in ["256", "99999999999999999999", "\"1 sack\"", "-1", "1.5"] {
            let error = said(&format!("[edge]\nmemory = {wrong}\n"));
            assert!(
                error.contains("expected bytes from 1 MiB to 1 PiB, or a text such as `512MiB`"),
                "{error}"
            );
            assert!(
                error.contains("bakehouse.toml:2:10") && error.contains("within these bounds"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_source_is_told_where_it_stands() {
        let source = |name: &str, more: &str| {
            format!("[[source]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"https://a.example/\"\n{more}\n")
        };
        let text = [source("a", ""), source("b", "timeout = \"1h\""), source("c", "rows = \"x\"")].concat();
        let error = said(&text);
        for words in [
            "source `b`: `timeout` must be",
            "bakehouse.toml:10:1\n",
            "source `c`: `rows`",
            "bakehouse.toml:15:1\n",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn formulas_are_asked_for() {
        assert!(!parse("", &[]).unwrap().markdown.math);
        assert!(parse("[markdown]\nmath = true\n", &[]).unwrap().markdown.math);
        assert!(parse("", &[("BAKE_MARKDOWN_MATH", "true")]).unwrap().markdown.math);
    }

    #[test]
    fn response_fields_are_checked_where_they_stand() {
        let text = "[[response]]\npath = \"/**\"\nfields.X-Frame-Options = \"DENY\"\n\n\
                    [[response]]\npath = \"/a/\"\n[response.fields]\nLink = \"</a.css>; rel=preload\"\n";
        let config = parse(text, &[]).unwrap();
        let given: Vec<_> = config.response.iter().flat_map(|rule| rule.fields.iter()).collect();
        assert_eq!(given, [("x-frame-options", "DENY"), ("link", "</a.css>; rel=preload")]);
        for (line, place, hint) in [
            ("fields.Cache-Control = \"no-store\"", "bakehouse.toml:3:", Some("[[cache]]")),
            ("fields.Set-Cookie = \"a=b\"", "bakehouse.toml:3:", Some("everyone")),
            ("fields.X-A = \"a\\r\\nb\"", "bakehouse.toml:3:", None),
            ("fields.\"X A\" = \"a\"", "bakehouse.toml:3:", None),
            ("feilds.X-A = \"a\"", "bakehouse.toml:3:", Some("did you mean `fields`?")),
        ] {
            let text = format!("[[response]]\npath = \"/**\"\n{line}\n");
            let error = said(&text);
            assert!(error.contains(&format!("--> {place}")), "{error}");
            assert!(hint.is_none_or(|hint| error.contains(hint)), "{error}");
        }
        // All that is wrong with one rule.
        let error =
            said("[[response]]\npath = \"/**\"\nfields = { X-A = \"a\\nb\", Date = \"x\", X-B = \" \" }\n");
        for place in ["`x-a` cannot be sent", "bakehouse.toml:3:18", "`Date` cannot", "`x-b` cannot be sent"]
        {
            assert!(error.contains(place), "{place}: {error}");
        }
        let error = said("[[response]]\npath = \"a\"\nfields = {}\n");
        assert!(error.contains("the response rule for `a` is wrong: it must begin with a slash"), "{error}");
        assert!(error.contains("bakehouse.toml:2:8"), "{error}");
        assert!(said("[[headers]]\n").contains("[[response]]"));
        assert!(said("[[redirects]]\n").contains("static/_redirects"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = parse("[bucket]\nsecret_access_key = \"hush\"\n", &[]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
