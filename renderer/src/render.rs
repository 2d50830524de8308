//! A render: sources and data in, files out.
//!
//! Owns the order of things: configuration, templates, content, then all outputs in parallel, streamed to a [`Sink`].
//! No rendered page is kept but in the bounded memory; what a site of many pages costs is its front matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use jiff::Timestamp;
use rayon::prelude::*;
use release::File;

use crate::config::{self, Config};
use crate::data::{DataSet, RowPage};
use crate::diagnostic::{Diagnostic, Errors};
use crate::highlight::CodeStyle;
use crate::job::{self, Job};
use crate::library::{self, Content, Library, Making, ParsedFiles};
use crate::limits::Limits;
use crate::sass;
use crate::search;
use crate::site::{Base, Memory, Parts, Site};
use crate::sources::Sources;
use crate::templates::{Engine, Sheaf};
use crate::theme;

/// What a render is a function of.
#[derive(Debug, Clone)]
pub struct Input {
    /// The site's files.
    pub sources: Sources,
    /// The recorded data of dynamic sources.
    pub data: Arc<DataSet>,
    /// The pages that rows of these sources make.
    pub row_pages: Arc<Vec<RowPage>>,
    /// The render's time: `now()` in templates, and what dates of pages are compared with.
    pub now: Timestamp,
    /// How to render.
    pub options: Options,
}

/// How to render.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether drafts are rendered, and pages whose time has not come or is over.
    pub drafts: bool,
    /// What links begin with.
    pub base_url: BaseUrl,
    /// The configuration's name, if not `zola.toml` or `config.toml`.
    pub config: Option<String>,
    /// Bounds.
    pub limits: Limits,
}

/// What links begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BaseUrl {
    /// The configuration's `base_url`.
    #[default]
    Configured,
    /// Nothing: links in pages are root-relative; feeds, the sitemap and canonical addresses keep `base_url`.
    RootRelative,
    /// This address.
    Given(String),
}

/// Where files go. Called from several threads, in no particular order; every path comes once.
pub trait Sink: Sync {
    /// Takes a file.
    ///
    /// # Errors
    /// That no more files are wanted; the render stops.
    fn put(&self, file: File) -> Result<(), SinkClosed>;
}

/// The receiver of files has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of rendered files has gone")]
pub struct SinkClosed;

/// What a render made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Pages.
    pub pages: usize,
    /// Sections.
    pub sections: usize,
    /// Files of all kinds.
    pub outputs: usize,
    /// Files that were copied: static ones, co-located ones, the theme's.
    pub assets: usize,
    /// When a date in the future makes the next render differ; only where there is a `bakehouse.toml`.
    pub next_change: Option<Timestamp>,
    /// What is not wrong enough to stop.
    pub warnings: Vec<Diagnostic>,
}

/// Renders sites, and remembers what the next render can use.
pub struct Renderer {
    memory: Arc<Memory>,
    parsed: Mutex<Arc<ParsedFiles>>,
    config: Mutex<Option<(Hash, Arc<Config>)>>,
    engine: Mutex<Option<(Hash, Arc<Engine>)>>,
    sass: Mutex<Option<(Hash, BTreeMap<String, Bytes>)>>,
    renders: AtomicU64,
}

impl Renderer {
    /// A renderer whose memory of rendered content is bounded by `memory_bytes_max`.
    pub fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory: Arc::new(Memory::new(memory_bytes_max)),
            parsed: Mutex::new(Arc::new(ParsedFiles::new())),
            config: Mutex::new(None),
            engine: Mutex::new(None),
            sass: Mutex::new(None),
            renders: AtomicU64::new(0),
        }
    }

    /// Renders a site: every output goes to `sink`, from rayon's threads, while the render is going on.
    ///
    /// Equal inputs give equal files, whatever the number of threads, the hour and the machine. After an error some
    /// files may have been put; they are of no release.
    ///
    /// # Errors
    /// All that is wrong with the site.
    pub fn render(&self, input: &Input, sink: &dyn Sink) -> Result<Summary, Errors> {
        let site = Arc::new(self.prepare(input)?);
        let (jobs, assets) = job::plan(&site)?;
        let closed = AtomicBool::new(false);
        let outputs = AtomicU64::new(0);
        let errors = Mutex::new(Errors::default());
        let checks: Mutex<Checks> = Mutex::new(Checks::default());
        let put = |file: File| {
            outputs.fetch_add(1, Ordering::Relaxed);
            if sink.put(file).is_err() {
                closed.store(true, Ordering::Relaxed);
            }
        };
        jobs.par_iter().for_each(|job| {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            match job::run(&site, job) {
                Ok(done) => {
                    if let Some((content, rendered)) = done.content {
                        let mut checks = checks.lock().unwrap_or_else(PoisonError::into_inner);
                        checks.anchors.insert(key_of(content), rendered.anchors().into());
                        let wanted: Vec<_> =
                            rendered.links.iter().filter(|link| link.anchor.is_some()).cloned().collect();
                        if !wanted.is_empty() {
                            checks.links.push((site.source_of(content).to_owned(), wanted));
                        }
                    }
                    done.files.into_iter().for_each(put);
                }
                Err(more) => {
                    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                    more.into_iter().for_each(|d| errors.push(d));
                }
            }
        });
        // Copies of images are known when all templates have run.
        site.images.take().par_iter().for_each(|(path, wish)| match job::image(&site, path, wish) {
            Ok(file) => put(file),
            Err(diagnostic) => errors.lock().unwrap_or_else(PoisonError::into_inner).push(diagnostic),
        });
        if closed.load(Ordering::Relaxed) {
            return Err(Diagnostic::new(SinkClosed.to_string()).into());
        }
        let mut errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut warnings = site.warnings.lock().map(|mut w| std::mem::take(&mut *w)).unwrap_or_default();
        // Without all content, a heading may seem to be missing only because its page failed.
        if errors.is_empty() {
            let checks = checks.into_inner().unwrap_or_else(PoisonError::into_inner);
            let found = checks.broken(&site);
            if site.config.link_checker.internal_level == config::Level::Warn {
                warnings.extend(found);
            } else {
                found.into_iter().for_each(|d| errors.push(d));
            }
        }
        errors.into_result()?;
        warnings.sort();
        warnings.dedup();
        Ok(Summary {
            pages: site.library.pages.len(),
            sections: site.library.sections.len(),
            outputs: usize::try_from(outputs.into_inner()).unwrap_or(usize::MAX),
            assets,
            next_change: site.library.next_change.and_then(|s| Timestamp::from_second(s).ok()),
            warnings,
        })
    }

    /// Everything that outputs are made from.
    fn prepare(&self, input: &Input) -> Result<Site, Errors> {
        let sources = &input.sources;
        let beyond_zola = sources.get(config::BAKEHOUSE_NAME).is_some();
        let config = self.config(input)?;
        let engine = self.engine(sources, &config, beyond_zola)?;
        let absolute = match &input.options.base_url {
            BaseUrl::Given(url) => url.trim_end_matches('/').to_owned(),
            _ => config.base_url.clone(),
        };
        let root_relative = input.options.base_url == BaseUrl::RootRelative;
        let base = Base {
            links: if root_relative { String::new() } else { absolute.clone() },
            // A template may write `{{ config.base_url }}/x` or `{{ config.base_url }}` alone: `/.` is right in both.
            shown: if root_relative { "/.".to_owned() } else { absolute.clone() },
            absolute,
        };
        let known = self.parsed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (library, parsed) = Library::make(&Making {
            sources,
            rows: &input.row_pages,
            config: &config,
            limits: &input.options.limits,
            drafts: input.options.drafts,
            now: beyond_zola.then(|| input.now.as_second()),
            count_words: engine.counts_words,
            backlinks: engine.backlinks,
            known: &known,
        })?;
        *self.parsed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(parsed);
        let code_style =
            CodeStyle::new(config.markdown.highlighting.as_ref(), engine.built_in_look || beyond_zola);
        let mut generated = BTreeMap::new();
        generated.extend(self.sass(sources, &config)?);
        if config.loads_elasticlunr() {
            generated.insert("elasticlunr.min.js".to_owned(), Bytes::from_static(search::ELASTICLUNR));
        }
        for sheet in CodeStyle::sheets(config.markdown.highlighting.as_ref()) {
            generated.insert(sheet.name.to_owned(), Bytes::from(sheet.css));
        }
        let mut assets = BTreeMap::new();
        if looks_built_in(&engine, &config) {
            for (path, bytes) in theme::assets() {
                assets.insert(path.to_owned(), theme::hashed_name(path, &blake3::hash(bytes)));
            }
        }
        let look = {
            let mut hasher = blake3::Hasher::new();
            hasher.update(
                format!("{:?}", (&config.markdown, &config.slugify, &config.default_language)).as_bytes(),
            );
            hasher.update(code_style.fingerprint().as_bytes());
            hasher.update(&[u8::from(beyond_zola), u8::from(code_style.strict)]);
            for template in ["anchor-link.html", "summary-cutoff.html"] {
                let theme = config.theme.as_deref().unwrap_or("");
                for name in [format!("templates/{template}"), format!("themes/{theme}/templates/{template}")]
                {
                    let Some(file) = sources.get(&name) else { continue };
                    let digest = file
                        .digest()
                        .map_err(|e| Diagnostic::in_file(name, format!("the file cannot be read: {e}")))?;
                    hasher.update(digest.as_bytes());
                }
            }
            hasher.finalize()
        };
        let mut colocated = HashSet::new();
        for page in &library.pages {
            collect_assets(&mut colocated, &page.assets, &page.source, &page.path);
        }
        for section in &library.sections {
            collect_assets(&mut colocated, &section.assets, &section.source, &section.path);
        }
        let data = crate::value::from_json(&input.data.to_value());
        let site = Site::new(Parts {
            sources: sources.clone(),
            config,
            look,
            library,
            engine,
            memory: self.memory.clone(),
            limits: input.options.limits.clone(),
            base,
            now: input.now,
            beyond_zola,
            data,
            code_style,
            assets,
            generated,
            colocated,
            render: self.renders.fetch_add(1, Ordering::Relaxed),
        });
        let highlighting = site.config.markdown.highlighting.as_ref();
        for (name, given) in [
            ("extra_grammars", highlighting.map(|h| &h.extra_grammars)),
            ("extra_themes", highlighting.map(|h| &h.extra_themes)),
        ] {
            if given.is_some_and(|given| !given.is_empty()) {
                let path = config::config_path(sources, input.options.config.as_deref()).unwrap_or_default();
                site.warn(
                    Diagnostic::in_file(
                        path,
                        format!("`{name}` is not supported: TextMate's files are not read"),
                    )
                    .hint("built-in grammars and themes are used; see the page on sites made for Zola"),
                );
            }
        }
        for id in &site.library.unsorted {
            let page = site.library.page(*id);
            site.warn(
                Diagnostic::in_file(page.source.to_string(), "the page lacks what its section sorts by")
                    .hint("it is rendered, but its section does not list it"),
            );
        }
        Ok(site)
    }

    fn config(&self, input: &Input) -> Result<Arc<Config>, Errors> {
        let sources = &input.sources;
        let given = input.options.config.as_deref().map(|path| path.trim_start_matches("./"));
        let Some(path) = config::config_path(sources, given) else {
            let name = given.unwrap_or("zola.toml");
            return Err(Diagnostic::new(format!("the site has no {name}"))
                .hint("create one with the line base_url = \"https://example.com\"")
                .into());
        };
        let (digest, text) = read_text(sources, &path)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(digest.as_bytes());
        let mut config = Config::parse(&path, &text)?;
        if let Some(name) = config.theme.clone().filter(|name| !name.is_empty()) {
            let theme_path = format!("themes/{name}/theme.toml");
            if sources.under(&format!("themes/{name}/")).next().is_none() {
                let known: HashSet<&str> =
                    sources.under("themes/").filter_map(|(path, _)| path.split('/').nth(1)).collect();
                let near = crate::diagnostic::nearest(&name, known);
                return Err(Diagnostic::in_file(path, format!("there is no theme `{name}`"))
                    .maybe_hint(near.map(|near| format!("did you mean `{near}`?")))
                    .into());
            }
            if sources.get(&theme_path).is_some() {
                let (digest, text) = read_text(sources, &theme_path)?;
                hasher.update(digest.as_bytes());
                let table: toml::Table = toml::from_str(&text).map_err(|e| {
                    let diagnostic = Diagnostic::in_file(theme_path.clone(), e.message().to_owned());
                    match e.span() {
                        Some(span) => diagnostic.at(&text, span.start),
                        None => diagnostic,
                    }
                })?;
                if let Some(extra) = table.get("extra").and_then(toml::Value::as_table) {
                    config::merge_extra(&mut config.extra, extra);
                }
            }
        }
        let name = hasher.finalize();
        let mut kept = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = kept.as_ref()
            && *known == name
        {
            return Ok(config.clone());
        }
        let config = Arc::new(config);
        *kept = Some((name, config.clone()));
        // Which files are pages and in which language follows from the configuration.
        drop(kept);
        *self.parsed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(ParsedFiles::new());
        Ok(config)
    }

    fn engine(&self, sources: &Sources, config: &Config, beyond_zola: bool) -> Result<Arc<Engine>, Errors> {
        let mut folders = vec![("templates/".to_owned(), String::new())];
        if let Some(name) = config.theme.as_deref().filter(|name| !name.is_empty()) {
            folders.push((format!("themes/{name}/templates/"), format!("{name}/templates/")));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::from(beyond_zola)]);
        let unreadable = |path: &str, e: &dyn std::fmt::Display| {
            Diagnostic::in_file(path, format!("the template cannot be read: {e}"))
        };
        for (folder, prefix) in &folders {
            hasher.update(prefix.as_bytes());
            for (path, file) in sources.under(folder) {
                hasher.update(path.as_bytes());
                hasher.update(file.digest().map_err(|e| unreadable(path, &e))?.as_bytes());
            }
        }
        let name = hasher.finalize();
        let mut kept = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, engine)) = kept.as_ref()
            && *known == name
        {
            return Ok(engine.clone());
        }
        let mut errors = Errors::default();
        let mut sheaves = Vec::new();
        for (folder, prefix) in folders {
            let mut templates = BTreeMap::new();
            for (path, _) in sources.under(&folder) {
                if !is_template(path) {
                    continue;
                }
                match read_text(sources, path) {
                    Ok((_, text)) => {
                        templates.insert(path[folder.len()..].to_owned(), text);
                    }
                    Err(diagnostic) => errors.push(diagnostic),
                }
            }
            sheaves.push(Sheaf { folder, prefix, templates });
        }
        errors.into_result()?;
        let engine = Arc::new(Engine::build(sheaves, beyond_zola)?);
        *kept = Some((name, engine.clone()));
        Ok(engine)
    }

    fn sass(&self, sources: &Sources, config: &Config) -> Result<BTreeMap<String, Bytes>, Errors> {
        let name = sass::digest(sources, config)?;
        let mut kept = self.sass.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, made)) = kept.as_ref()
            && *known == name
        {
            return Ok(made.clone());
        }
        let made = sass::compile(sources, config)?;
        *kept = Some((name, made.clone()));
        Ok(made)
    }
}

/// The files that Zola reads as templates; others in the folder are left alone.
fn is_template(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.starts_with('.')
        && name.rsplit_once('.').is_some_and(|(_, extension)| {
            matches!(
                extension,
                "html"
                    | "htm"
                    | "xml"
                    | "md"
                    | "txt"
                    | "json"
                    | "svg"
                    | "css"
                    | "js"
                    | "yaml"
                    | "yml"
                    | "toml"
                    | "ics"
                    | "csv"
                    | "atom"
                    | "rss"
                    | "webmanifest"
                    | "tera"
            )
        })
}

fn collect_assets(out: &mut HashSet<String>, assets: &[Arc<str>], source: &str, path: &str) {
    let folder = &source[..source.rfind('/').map_or(0, |i| i + 1)];
    for asset in assets {
        out.insert(format!(
            "{}{}",
            path.trim_start_matches('/'),
            asset.strip_prefix(folder).unwrap_or(asset)
        ));
    }
}

fn read_text(sources: &Sources, path: &str) -> Result<(Hash, String), Diagnostic> {
    let Some(file) = sources.get(path) else { return Err(Diagnostic::in_file(path, "the file is gone")) };
    let unreadable =
        |e: &dyn std::fmt::Display| Diagnostic::in_file(path, format!("the file cannot be read: {e}"));
    let bytes = file.read().map_err(|e| unreadable(&e))?;
    let digest = file.digest().map_err(|e| unreadable(&e))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok((digest, text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())),
        Err(e) => {
            let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
            Err(Diagnostic::in_file(path, "the file is not valid UTF-8").at(&good, good.len()))
        }
    }
}

type ContentKey = (bool, u32);

fn key_of(content: Content) -> ContentKey {
    match content {
        Content::Page(id) => (true, id),
        Content::Section(id) => (false, id),
    }
}

/// Links to headings, checked when all headings are known.
#[derive(Default)]
struct Checks {
    anchors: HashMap<ContentKey, Box<[u64]>>,
    links: Vec<(String, Vec<crate::markdown::ContentLink>)>,
}

impl Checks {
    fn broken(&self, site: &Site) -> Vec<Diagnostic> {
        self.links
            .par_iter()
            .flat_map_iter(|(from, links)| {
                links.iter().filter_map(|link| {
                    site.check_anchor(from, link, |content| self.anchors.get(&key_of(content)).cloned())
                })
            })
            .collect()
    }
}

/// The kinds of outputs, counted: what `plan` promises `run` makes.
pub(crate) type Plan = (Vec<Job>, usize);

/// Patterns of static files that are not copied.
pub(crate) fn ignored_static(config: &Config) -> Result<globset::GlobSet, Diagnostic> {
    library::globs("zola.toml", &config.ignored_static)
}
/// Whether any page may look like the built-in theme, and so needs its assets: a site's own template may extend the
/// theme's, and what it has no template for falls to the theme.
fn looks_built_in(engine: &Engine, config: &Config) -> bool {
    engine.built_in_look
        || ["index.html", "section.html", "page.html", "404.html"]
            .iter()
            .any(|name| engine.rests_on_theme(name))
        || engine.names().iter().any(|name| engine.rests_on_theme(name))
        || config.language_codes().iter().flat_map(|lang| config.taxonomies_for(lang)).any(|taxonomy| {
            taxonomy.render
                && ["list", "single"].iter().any(|kind| {
                    let own = format!("{}/{kind}.html", taxonomy.name);
                    engine
                        .first(&[&own, &format!("taxonomy_{kind}.html")])
                        .is_some_and(|name| engine.rests_on_theme(name))
                })
        })
}
