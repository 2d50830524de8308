//! Where the command line finds a running system, and how it talks to it.

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use release::keys::Site;
use release::wire::Failure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Secret;
use crate::failure::{HintExt, hinted};

/// The folder in a site where `bake up` keeps its work.
pub const DATA: &str = ".bakehouse";
/// Where the API of a `bake up` is unless it is said.
const EXAMPLE: &str = "http://127.0.0.1:8081";
/// What to do about an answer that is of no API.
const NO_API: &str =
    "give the address of an API, not that of a site: `bake up` and `bake edge --admin` print it";
/// Longest that a call may take: a publish of a large site, rendered and uploaded.
const CALL: Duration = Duration::from_secs(15 * 60);
/// Longest that somebody may watch.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Bytes of one line of a trace.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Longest that a trace may say nothing: an edge that has nothing to tell says so three times as often.
const SILENT: Duration = Duration::from_secs(30);
/// Longest that a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Flags of every command that talks to a running system.
#[derive(Debug, Clone, clap::Args)]
pub struct SystemArgs {
    /// URL of an origin's API; otherwise the `bake up` of the site
    #[arg(long, env = "BAKE_API", value_name = "URL")]
    pub api: Option<String>,
    /// Token for the API
    #[arg(long, env = "BAKE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Folder of the running `bake up` [default: SITE/.bakehouse]
    #[arg(long, env = "BAKE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The site's name, where the system has several
    #[arg(long, value_name = "NAME")]
    pub site: Option<Site>,
}

/// Has git pass over a folder of ours within a site: nobody wants its keys in a repository.
pub fn keep_out_of_git(folder: &Path) {
    let made =
        std::fs::File::create_new(folder.join(".gitignore")).and_then(|mut file| file.write_all(b"*\n"));
    if let Err(error) =
        made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
    {
        tracing::debug!(folder = %folder.display(), %error, "git may see this folder");
    }
}

/// `DATA/up.json`: how to reach a running `bake up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpFile {
    /// Its process.
    pub pid: u32,
    /// URL of the edge.
    pub edge: String,
    /// URL of the API.
    pub api: String,
    /// URL where the edge tells its operators what it does; with the token of the API.
    pub admin: String,
    /// The bucket.
    pub bucket: UpBucket,
    /// Token for the API.
    pub token: String,
}

/// How to reach the bucket of a running `bake up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpBucket {
    /// URL of the store.
    pub endpoint: String,
    /// Name of the bucket.
    pub name: String,
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key_id: String,
    /// Secret key.
    pub secret_access_key: String,
}

impl UpFile {
    /// Where it lies in a data folder.
    pub fn path(data: &Path) -> PathBuf {
        data.join("up.json")
    }

    /// Reads it; none where no `bake up` has finished starting there.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = Self::path(data);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e).with_context(|| format!("`{}` cannot be read", path.display())),
        };
        let file = serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` is damaged", path.display()))
            .hint(|| "start `bake up` again: it writes the file anew".into())?;
        Ok(Some(file))
    }
}

/// An API that gives no answer, or not all of it.
#[derive(Debug)]
pub struct Gone {
    api: String,
    what: String,
    /// Whether it was there when it was asked.
    pub was_there: bool,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API at {} {}", self.api, self.what)
    }
}

impl std::error::Error for Gone {}

/// A client of a running system's API.
pub struct Client {
    http: reqwest::Client,
    api: String,
    token: Secret,
}

/// Lines that are being received.
pub struct Lines {
    api: String,
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line.
    pub async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..=end);
                return Ok(line);
            }
            anyhow::ensure!(self.buffer.len() < LINE_BYTES_MAX, "a line does not end");
            match said(&self.api, self.response.chunk()).await? {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Err(gone(&self.api, "has ended its answer".into(), true)),
                Err(error) => return Err(broke_off(&self.api, error)),
            }
        }
    }
}

/// What comes of it, unless the API has said nothing for too long.
async fn said<T>(api: &str, saying: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(SILENT, saying).await.map_err(|_| {
        let what = format!("has said nothing for {} s", SILENT.as_secs());
        gone(api, what, true)
    })
}

fn broke_off(api: &str, error: reqwest::Error) -> anyhow::Error {
    gone(api, format!("has broken off its answer: {}", cause(error)), true)
}

fn gone(api: &str, what: String, was_there: bool) -> anyhow::Error {
    let hint = "see whether `bake up`, `bake origin` or `bake edge --admin` still runs there";
    hinted(Gone { api: api.to_owned(), what, was_there }, Some(hint.into()))
}

/// The first cause says it all: those before it are the layers of the client.
fn cause(error: reqwest::Error) -> String {
    anyhow::Error::from(error).root_cause().to_string()
}

impl SystemArgs {
    /// The data folder that is meant, for a site in `folder`.
    pub fn data_folder(&self, folder: &Path) -> PathBuf {
        self.data.clone().unwrap_or_else(|| folder.join(DATA))
    }

    /// The `bake up` that runs on the site in `folder`, unless flags name another system.
    pub fn running(&self, folder: &Path) -> anyhow::Result<Option<UpFile>> {
        if self.api.is_some() { Ok(None) } else { UpFile::read(&self.data_folder(folder)) }
    }

    /// A client of the system that flags, environment or the current folder name.
    pub fn client(&self) -> anyhow::Result<Client> {
        let folder = Path::new(".");
        if let Some(api) = &self.api {
            let token = self
                .token
                .clone()
                .context("there is no token for the API")
                .hint(|| "give it with --token or BAKE_TOKEN".into())?;
            return Client::new(api, token);
        }
        let up = self.running(folder)?.with_context(|| {
            format!(
                "no running system is known: `{}` is not there",
                UpFile::path(&self.data_folder(folder)).display()
            )
        });
        let up = up.hint(|| {
            "start `bake up` in this folder, or name a system with --api and --token (BAKE_API, BAKE_TOKEN)".into()
        })?;
        Client::new(&up.api, self.token.clone().unwrap_or(up.token))
    }
}

impl Client {
    /// A client of the API at this URL.
    pub fn new(api: &str, token: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .no_proxy()
            .build()
            .context("the HTTP client cannot be made")?;
        let url = reqwest::Url::parse(api).ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https"))
            .with_context(|| format!("`{api}` is no URL of an API"))
            .hint(|| format!("write it with http:// or https://, such as {EXAMPLE}"))?;
        Ok(Self { http, api: api.trim_end_matches('/').to_owned(), token: Secret(token) })
    }

    /// Where it is.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// `GET`s JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.http.get(format!("{}{path}", self.api));
        self.json(self.send(request).await?).await
    }

    /// `POST`s JSON for JSON.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self
            .http
            .post(format!("{}{path}", self.api))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body)?);
        self.json(self.send(request).await?).await
    }

    /// `POST`s without a body, and expects none.
    pub async fn poke(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.http.post(format!("{}{path}", self.api))).await.map(|_| ())
    }

    /// `PUT`s bytes.
    pub async fn put(&self, path: &str, bytes: bytes::Bytes) -> anyhow::Result<()> {
        self.send(self.http.put(format!("{}{path}", self.api)).body(bytes)).await.map(|_| ())
    }

    /// `POST`s JSON for lines that go on until the other side ends them.
    pub async fn lines(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Lines> {
        let request = self
            .http
            .post(format!("{}{path}", self.api))
            .timeout(ENDLESS)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body)?);
        let response = said(&self.api, self.send(request)).await??;
        Ok(Lines { api: self.api.clone(), response, buffer: Vec::new() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request.bearer_auth(&self.token.0).send().await.map_err(|error| {
            let was_there = !error.is_connect();
            gone(&self.api, format!("cannot be reached: {}", cause(error)), was_there)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let failure = serde_json::from_str::<Failure>(&text).unwrap_or_else(|_| Failure {
            error: format!("{} answered {status}, and not as an API does", self.api),
            hint: Some(NO_API.to_owned()),
        });
        let hint = failure.hint.or_else(|| {
            (status.as_u16() == 401).then(|| "the token is wrong: see --token and BAKE_TOKEN".to_owned())
        });
        Err(anyhow::anyhow!(failure.error)).maybe_hint(hint)
    }

    async fn json<T: DeserializeOwned>(&self, response: reqwest::Response) -> anyhow::Result<T> {
        let bytes = response.bytes().await.map_err(|error| broke_off(&self.api, error))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} answered, and not as an API does", self.api))
            .hint(|| NO_API.to_owned())
    }
}
