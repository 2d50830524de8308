//! All that outputs are made from: configuration, templates, style sheets, contents, data; each is made again only where what it was
//! made from has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use blake3::Hash;
use bytes::Bytes;

use super::{BaseUrl, Input, Renderer, lock};
use crate::config::{self, Config};
use crate::data::DataSet;
use crate::diagnostic::{Diagnostic, Errors};
use crate::front_matter;
use crate::highlight::CodeStyle;
use crate::images::ImageOptions;
use crate::job;
use crate::library::{self, Library, Making, PageId, ParsedFiles};
use crate::schemas::{self, Schemas};
use crate::search;
use crate::site::{Base, Makings, Memory, Site};
use crate::sources::Sources;
use crate::templates::{self, Engine, Sheaf};
use crate::theme;
use crate::view::half;
/// Parsed content, and the configuration and schemas under which it was parsed.
pub(super) type KnownFiles = (Option<Hash>, Arc<ParsedFiles>);

/// What all content of a site rests on.
pub(super) struct Basis {
    pub(super) beyond_zola: bool,
    pub(super) config_digest: Hash,
    pub(super) config: Arc<Config>,
    pub(super) engine: Arc<Engine>,
    pub(super) base: Base,
    /// Half a digest of configuration, options and addresses.
    pub(super) settings: u128,
    pub(super) schemas: Arc<Schemas>,
    /// The configuration and the schemas: what decides whether a content may be what it is.
    pub(super) rules: Hash,
    pub(super) known: Arc<ParsedFiles>,
    /// What is wrong that hinders nothing else from being looked at.
    pub(super) errors: Errors,
    /// Whether the site's own templates are missing, since the engine takes them not: then nothing can be made.
    pub(super) lacks_templates: bool,
}

impl Basis {
    pub(super) fn making<'a>(&'a self, input: &'a Input) -> Making<'a> {
        Making {
            sources: &input.sources,
            rows: &input.row_pages,
            config: &self.config,
            limits: &input.options.limits,
            schemas: &self.schemas,
            drafts: input.options.drafts,
            now: self.beyond_zola.then(|| input.now.as_second()),
            wants: self.engine.wants,
            known: &self.known,
            keeps_last: input.options.keep_going,
        }
    }
}

impl Renderer {
    /// Everything that outputs are made from, and whether its templates are missing in it. Adds to `errors` what is wrong
    /// with a part of it.
    pub(crate) fn prepare(&self, input: &Input, errors: &mut Errors) -> Result<(Site, bool), Errors> {
        let mut basis = self.basis(input)?;
        let lacks_templates = basis.lacks_templates;
        errors.append(std::mem::take(&mut basis.errors));
        Ok((self.make(input, basis, 1, false, errors), lacks_templates))
    }

    /// What all content rests on.
    pub(super) fn basis(&self, input: &Input) -> Result<Basis, Errors> {
        let sources = &input.sources;
        let beyond_zola = sources.get(config::BAKEHOUSE_NAME).is_some();
        let mut errors = input.faults.errors.clone();
        let (config_digest, config) = match self.config(input) {
            Ok(config) => config,
            Err(wrong) => {
                errors.append(wrong);
                return Err(errors);
            }
        };
        let (engine, lacks_templates) = match self.engine(sources, &config, beyond_zola) {
            Ok(engine) => (engine, false),
            Err(wrong) => {
                errors.append(wrong);
                (Arc::new(Engine::build(Vec::new(), beyond_zola)?), true)
            }
        };
        let written = match &input.options.base_url {
            BaseUrl::Given(url) => url,
            _ => &config.base_url_written,
        };
        let absolute = written.trim_end_matches('/').to_owned();
        let root_relative = input.options.base_url == BaseUrl::RootRelative;
        let base = Base {
            links: if root_relative { String::new() } else { absolute.clone() },
            // A template may write `{{ config.base_url }}/x` or `{{ config.base_url }}` alone: `/.` is right in both.
            shown: if root_relative { "/.".to_owned() } else { written.clone() },
            written: written.clone(),
            absolute,
        };
        let (schemas_digest, schemas) = match beyond_zola {
            true => self.schemas(sources, &config, &mut errors),
            false => Default::default(),
        };
        let rules = match schemas_digest {
            Some(digest) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(config_digest.as_bytes());
                hasher.update(digest.as_bytes());
                hasher.finalize()
            }
            None => config_digest,
        };
        // Which files are pages and in which language follows from the configuration.
        let known = match &**lock(&self.parsed) {
            (known, parsed) if *known == Some(rules) => parsed.clone(),
            _ => Arc::default(),
        };
        let settings = {
            let mut hasher = blake3::Hasher::new();
            hasher.update(config_digest.as_bytes());
            // How code looks that the filter `markdown` shows.
            let look = engine.built_in_look;
            hasher.update(format!("{:?}{base:?}{beyond_zola}{look}", input.options).as_bytes());
            half(&hasher.finalize())
        };
        Ok(Basis {
            beyond_zola,
            config_digest,
            config,
            engine,
            base,
            settings,
            schemas,
            rules,
            known,
            errors,
            lacks_templates,
        })
    }

    pub(super) fn make(
        &self,
        input: &Input,
        basis: Basis,
        render: u64,
        tracked: bool,
        errors: &mut Errors,
    ) -> Site {
        let sources = &input.sources;
        let (library, parsed) = Library::make(&basis.making(input), errors);
        let Basis {
            beyond_zola,
            config_digest,
            config,
            engine,
            base,
            settings,
            schemas,
            rules,
            lacks_templates,
            ..
        } = basis;
        // What is rendered without the site's templates may not be what it is with them.
        let memory = if lacks_templates { Arc::new(Memory::new(0)) } else { self.memory.clone() };
        // A memo tells of the render that is remembered, and of no other at the same time.
        if tracked || self.graph.is_none() {
            **lock(&self.parsed) = (Some(rules), Arc::new(parsed));
        }
        let code_style = self.style(config_digest, &config, engine.built_in_look || beyond_zola);
        let mut generated = BTreeMap::new();
        generated.extend(lock(&self.sass).make(sources, &config, errors));
        if config.loads_elasticlunr() {
            generated.insert("elasticlunr.min.js".to_owned(), Bytes::from_static(search::ELASTICLUNR));
        }
        for sheet in CodeStyle::sheets(config.markdown.highlighting.as_ref()) {
            generated.insert(sheet.name.to_owned(), Bytes::from(sheet.css));
        }
        let mut assets = BTreeMap::new();
        let searches = || library.pages.iter().any(|p| p.matter().template.as_deref() == Some("search.html"));
        if looks_built_in(&engine, &config, &library) || (engine.rests_on_theme("search.html") && searches())
        {
            for (path, bytes) in theme::assets() {
                assets.insert(path.to_owned(), theme::hashed_name(path, &blake3::hash(bytes)));
            }
        }
        let images = if beyond_zola { input.options.images.clone() } else { ImageOptions::default() };
        let math = beyond_zola && input.options.math;
        let look = {
            let mut hasher = blake3::Hasher::new();
            hasher.update(
                format!("{:?}", (&config.markdown, &config.slugify, &config.default_language, &images))
                    .as_bytes(),
            );
            hasher.update(code_style.fingerprint().as_bytes());
            let flags = [beyond_zola, code_style.strict, input.options.source_lines, math];
            hasher.update(&flags.map(u8::from));
            for template in templates::WITHIN_CONTENT {
                hasher.update(engine.needs(template).digest.as_bytes());
            }
            hasher.finalize()
        };
        let mut colocated = HashMap::new();
        for page in &library.pages {
            collect_assets(&mut colocated, &page.assets, &page.source, &page.path);
        }
        for section in &library.sections {
            collect_assets(&mut colocated, &section.assets, &section.source, &section.path);
        }
        let data = self.data(&input.data);
        let site = Site::new(Makings {
            sources: sources.clone(),
            config,
            look,
            library,
            engine,
            memory,
            limits: input.options.limits.clone(),
            faults: input.faults.clone(),
            image_options: images,
            math,
            base,
            now: input.now,
            beyond_zola,
            source_lines: input.options.source_lines,
            data: data.value,
            data_values: data.digests,
            settings,
            tracked,
            code_style,
            assets,
            generated,
            colocated,
            render,
        });
        warn_of_whole(&site, &schemas, input);
        site
    }

    /// The data as templates see it; made anew only where it changed.
    pub(super) fn data(&self, set: &Arc<DataSet>) -> Data {
        let mut kept = lock(&self.data);
        if let Some((known, data)) = kept.as_ref()
            && (Arc::ptr_eq(known, set) || known == set)
        {
            return data.clone();
        }
        let data = Data {
            value: crate::value::from_json(&set.to_value()),
            digests: set
                .iter()
                .map(|(name, snapshot)| (name.to_owned(), half(&blake3::hash(&snapshot.to_bytes()))))
                .collect(),
        };
        *kept = Some((set.clone(), data.clone()));
        data
    }

    fn style(&self, digest: Hash, config: &Config, coloured: bool) -> CodeStyle {
        let mut kept = lock(&self.style);
        if let Some((known, with, style)) = kept.as_ref()
            && (*known, *with) == (digest, coloured)
        {
            return style.clone();
        }
        let style = CodeStyle::new(config.markdown.highlighting.as_ref(), coloured);
        *kept = Some((digest, coloured, style.clone()));
        style
    }

    fn config(&self, input: &Input) -> Result<(Hash, Arc<Config>), Errors> {
        let (name, config) = Config::load(&input.sources, input.options.config.as_deref())?;
        let mut kept = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = kept.as_ref()
            && *known == name
        {
            return Ok((name, config.clone()));
        }
        let config = Arc::new(config);
        *kept = Some((name, config.clone()));
        Ok((name, config))
    }

    fn engine(&self, sources: &Sources, config: &Config, beyond_zola: bool) -> Result<Arc<Engine>, Errors> {
        let mut folders = vec![("templates/".to_owned(), String::new())];
        if let Some(name) = config.theme.as_deref().filter(|name| !name.is_empty()) {
            folders.push((format!("themes/{name}/templates/"), format!("{name}/templates/")));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::from(beyond_zola)]);
        for (folder, prefix) in &folders {
            hasher.update(prefix.as_bytes());
            for (path, file) in sources.under(folder) {
                hasher.update(path.as_bytes());
                hasher.update(file.digest().map_err(|e| Diagnostic::unreadable(path, &e))?.as_bytes());
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
                match sources.text(path) {
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

    /// The schemas, and what they are known by where there are any; read anew only where one changed. Where something is
    /// wrong with them there are none.
    fn schemas(
        &self,
        sources: &Sources,
        config: &Config,
        errors: &mut Errors,
    ) -> (Option<Hash>, Arc<Schemas>) {
        let theme = config.theme.as_deref();
        let name = match schemas::digest(sources, theme) {
            Ok(Some(name)) => name,
            Ok(None) => return Default::default(),
            Err(wrong) => {
                errors.push(wrong);
                return Default::default();
            }
        };
        let mut kept = lock(&self.schemas);
        if let Some((known, schemas)) = kept.as_ref()
            && *known == name
        {
            return (Some(name), schemas.clone());
        }
        match Schemas::read(sources, theme) {
            Ok(schemas) => {
                let schemas = Arc::new(schemas);
                *kept = Some((name, schemas.clone()));
                (Some(name), schemas)
            }
            Err(wrong) => {
                errors.append(wrong);
                Default::default()
            }
        }
    }
}

/// Says what is not right with a site as a whole.
pub(super) fn warn_of_whole(site: &Site, schemas: &Schemas, input: &Input) {
    schemas.idle(&site.sources).into_iter().for_each(|idle| site.warn(idle));
    site.engine.warnings.iter().for_each(|warning| site.warn(warning.clone()));
    for (name, first, others) in &site.library.unknown {
        let page = site.library.page(*first);
        let is_taxonomy =
            site.config.taxonomies_for(&page.lang).iter().any(|taxonomy| taxonomy.name == **name);
        site.warn(front_matter::unknown_key(&site.sources, &page.source, name, *others, is_taxonomy));
    }
    let highlighting = site.config.markdown.highlighting.as_ref();
    for (name, given) in [
        ("extra_grammars", highlighting.map(|h| &h.extra_grammars)),
        ("extra_themes", highlighting.map(|h| &h.extra_themes)),
    ] {
        if given.is_some_and(|given| !given.is_empty()) {
            let path =
                config::config_path(&site.sources, input.options.config.as_deref()).unwrap_or_default();
            site.warn(
                Diagnostic::in_file(
                    path,
                    format!("`{name}` is not supported: TextMate's files are not read"),
                )
                .hint("built-in grammars and themes are used; see the page on sites made for Zola"),
            );
        }
    }
    for source in &site.library.foreign {
        let code = source.rsplit('/').next().and_then(library::index_language).unwrap_or_default();
        let message = format!("`{code}` is no language of the site: the section is left out");
        let hint = format!("add [languages.{code}] to the configuration, or remove the file");
        site.warn(Diagnostic::in_file(source.to_string(), message).hint(hint));
    }
    for (id, by) in &site.library.unsorted {
        let page = site.library.page(*id);
        let message = format!("the page has no {}, by which its section is sorted", by.needed());
        site.warn(
            Diagnostic::in_file(page.source.to_string(), message)
                .hint("it is rendered, but its section does not list it"),
        );
    }
}

/// The files that Zola reads as templates; others in the folder are left alone.
pub(crate) fn is_template(path: &str) -> bool {
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

/// The data of dynamic sources, as templates see it and as digests.
#[derive(Clone)]
pub(super) struct Data {
    pub(super) value: tera::Value,
    pub(super) digests: BTreeMap<String, u128>,
}

/// Adds the outputs of a content's co-located files; of two contents with one output the first is asked for it.
fn collect_assets(out: &mut HashMap<String, Arc<str>>, assets: &[Arc<str>], source: &str, path: &str) {
    let folder = &source[..source.rfind('/').map_or(0, |i| i + 1)];
    for asset in assets {
        let output =
            format!("{}{}", path.trim_start_matches('/'), asset.strip_prefix(folder).unwrap_or(asset));
        out.entry(output).or_insert_with(|| asset.clone());
    }
}

/// Patterns of static files that are not copied.
pub(crate) fn ignored_static(config: &Config) -> Result<globset::GlobSet, Diagnostic> {
    library::globs("zola.toml", &config.ignored_static)
}

/// Whether any page may look like the built-in theme, and so needs its assets: a site's own template may extend the
/// theme's, and what it has no template for falls to the theme.
fn looks_built_in(engine: &Engine, config: &Config, library: &Library) -> bool {
    let mut sections = library.sections.iter().filter(|section| section.matter.render);
    let mut pages = (0..library.pages.len() as PageId).filter(|id| library.page(*id).matter().render);
    engine.built_in_look
        || engine.rests_on_theme("404.html")
        || sections.any(|section| engine.rests_on_theme(job::section_template(section)))
        || engine.rests_on_theme("page.html")
            && pages.any(|id| job::page_template(library, id) == "page.html")
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
