//! The outputs of a site: which there are, and how each is made.
//!
//! A plan is a list of small descriptions; each is run on its own, so that outputs stream and nothing waits for
//! anything. Two outputs that would have one path are an error; static files take the place of what has theirs.

mod feeds;
mod pager;
mod plan;
mod taxonomies;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use release::File;
use serde::{Deserialize, Serialize};
use tera::{Context, Value};

use crate::diagnostic::Diagnostic;
use crate::front_matter;
use crate::images::Wish;
use crate::library::{Content, Library, PageId, Section, SectionId};
use crate::mime;
use crate::minify;
use crate::reads::{Node, note, unnoted};
use crate::redirects::{MOVED, in_field};
use crate::scope::Scope;
use crate::search;
use crate::site::{Capped, Pages, Rendered, Site, encode_path};
use crate::templates::{self, Fields, Needs};
use crate::theme;

use feeds::{feed, sitemap};
pub(crate) use pager::{section_pager, term_pager};
use plan::job_output;
pub(crate) use plan::{Plan, plan};
use taxonomies::{taxonomy_list, taxonomy_term};

/// The template of what leads elsewhere.
const REDIRECT: &str = "internal/alias.html";

/// How many cache groups a response has at most: what RFC 9875 asks a cache to support.
const GROUPS_MAX: usize = 32;

/// One output, or a few that are made together.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Page(PageId),
    /// Content that has no output of its own, but may be wrong.
    Check(Content),
    Section(SectionId),
    /// Pager `n` of a section, from 1.
    SectionPager(SectionId, usize),
    TaxonomyList(usize),
    Term(usize, usize),
    TermPager(usize, usize, usize),
    Feed(FeedOf, String, Entries),
    Sitemap,
    Robots,
    NotFound,
    Redirect {
        path: String,
        to: String,
        status: u16,
    },
    Copy {
        source: String,
        path: String,
        /// What would be at its path without it, where that is worth a word.
        instead_of: Option<Box<str>>,
    },
    ThemeAsset {
        path: String,
        hashed: String,
    },
    Generated(String),
    Search(String),
}

/// What a job makes, and of what, under a name that the next render knows it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct JobName {
    kind: Kind,
    name: Arc<str>,
    n: usize,
}

/// What a job makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    Page,
    Check,
    Section,
    SectionPager,
    TaxonomyList,
    Term,
    TermPager,
    Feed,
    Sitemap,
    Robots,
    NotFound,
    Redirect,
    Copy,
    ThemeAsset,
    Generated,
    Search,
}

impl Job {
    pub(crate) fn name(&self, site: &Site) -> JobName {
        let library = &site.library;
        let (kind, name, n) = match self {
            Self::Page(id) => (Kind::Page, library.page(*id).source.clone(), 0),
            Self::Check(content) => (Kind::Check, site.source_of(*content).clone(), 0),
            Self::Section(id) => (Kind::Section, library.section(*id).source.clone(), 0),
            Self::SectionPager(id, n) => (Kind::SectionPager, library.section(*id).source.clone(), *n),
            Self::TaxonomyList(index) => (Kind::TaxonomyList, library.taxonomies[*index].id.clone(), 0),
            Self::Term(index, term) => (Kind::Term, library.taxonomies[*index].terms[*term].id.clone(), 0),
            Self::TermPager(index, term, n) => {
                (Kind::TermPager, library.taxonomies[*index].terms[*term].id.clone(), *n)
            }
            Self::Feed(of, path, _) => {
                // Several sections and terms may have one address.
                let of: &str = match of {
                    FeedOf::Language(lang) => lang,
                    FeedOf::Section(id) => &library.section(*id).source,
                    FeedOf::Term(index, term) => &library.taxonomies[*index].terms[*term].id,
                };
                (Kind::Feed, Arc::from(format!("{path}\0{of}")), 0)
            }
            Self::Generated(path) => (Kind::Generated, Arc::from(path.as_str()), 0),
            Self::Sitemap => (Kind::Sitemap, Arc::from(""), 0),
            Self::Robots => (Kind::Robots, Arc::from(""), 0),
            Self::NotFound => (Kind::NotFound, Arc::from(""), 0),
            Self::Redirect { path, to, status } => {
                (Kind::Redirect, Arc::from(format!("{path}\0{to}")), usize::from(*status))
            }
            Self::Copy { source, path, instead_of: None } => {
                (Kind::Copy, Arc::from(format!("{path}\0{source}")), 0)
            }
            Self::Copy { source, path, instead_of: Some(other) } => {
                (Kind::Copy, Arc::from(format!("{path}\0{source}\0{other}")), 0)
            }
            Self::ThemeAsset { path, hashed } => {
                (Kind::ThemeAsset, Arc::from(format!("{hashed}\0{path}")), 0)
            }
            Self::Search(lang) => (Kind::Search, Arc::from(lang.as_str()), 0),
        };
        JobName { kind, name, n }
    }

    /// The output that it makes, or that of the content which it looks at.
    pub(crate) fn output(&self, site: &Site) -> Option<String> {
        match self {
            Self::Page(id) => Some(output_of(&site.library.page(*id).path)),
            // The output of a page without one of its own is that of another.
            Self::Check(Content::Page(_)) => None,
            Self::Check(Content::Section(id)) => Some(output_of(&site.library.section(*id).path)),
            Self::Copy { path, .. } => Some(path.clone()),
            job => job_output(site, job),
        }
    }

    /// Whether it is put together from what all pages have left.
    pub(crate) fn is_index(&self) -> bool {
        matches!(self, Self::Search(_))
    }

    /// The content that it renders, by its source: for the check of links to headings.
    pub(crate) fn content(&self, library: &Library) -> Option<(Content, Arc<str>)> {
        match self {
            Self::Page(id) | Self::Check(Content::Page(id)) => {
                Some((Content::Page(*id), library.page(*id).source.clone()))
            }
            Self::Section(id) | Self::Check(Content::Section(id)) => {
                let section = library.section(*id);
                section.parsed.as_ref()?;
                Some((Content::Section(*id), section.source.clone()))
            }
            _ => None,
        }
    }
}

/// What a feed is of.
#[derive(Debug, Clone)]
pub(crate) enum FeedOf {
    Language(String),
    Section(SectionId),
    Term(usize, usize),
}

/// What a feed shows.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    /// Newest first, as many as a feed may have.
    pub(crate) pages: Arc<[PageId]>,
    /// The latest date of any page that the feed is of, also of those for which it has no room.
    pub(crate) updated: Option<Arc<str>>,
}

/// What a job made.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) files: Vec<File>,
    /// The content that was rendered, for the check of anchors.
    pub(crate) content: Option<(Content, Arc<Rendered>)>,
}

/// `/blog/first/` as an output: `blog/first/index.html`.
pub(crate) fn output_of(path: &str) -> String {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() { "index.html".to_owned() } else { format!("{trimmed}/index.html") }
}

/// What has moved for good.
fn moved(path: String, to: String) -> Job {
    Job::Redirect { path, to, status: MOVED }
}

type Result2<T> = Result<T, Vec<Diagnostic>>;

/// Makes the output of a job.
///
/// # Errors
/// What is wrong with the content or the templates it uses.
pub(crate) fn run(site: &Arc<Site>, job: &Job) -> Result2<Done> {
    match job {
        Job::Page(id) => page(site, *id),
        Job::Check(content) => {
            let rendered = match content {
                Content::Page(id) => {
                    site.note_page(*id, Fields::ALL.alone(), false);
                    site.page_html(*id, false)?
                }
                Content::Section(id) => {
                    site.note_section(*id, Fields::ALL, false);
                    site.section_html(*id, false)?
                }
            };
            search::remember(site, *content, &rendered);
            Ok(Done { files: Vec::new(), content: Some((*content, rendered)) })
        }
        Job::Section(id) => section(site, *id, 1),
        Job::SectionPager(id, n) => section(site, *id, *n),
        Job::TaxonomyList(index) => taxonomy_list(site, *index),
        Job::Term(index, term) => taxonomy_term(site, *index, *term, 1),
        Job::TermPager(index, term, n) => taxonomy_term(site, *index, *term, *n),
        Job::Feed(of, path, entries) => feed(site, of, path, entries),
        Job::Sitemap => sitemap(site),
        Job::Robots => {
            let context = site.context(&site.config.default_language, true);
            let needs = site.engine.needs("robots.txt");
            let body = render(site, "robots.txt", &context, "robots.txt", true, &needs)?;
            Ok(one(file("robots.txt", body, 200, &[])))
        }
        Job::NotFound => not_found(site),
        Job::Redirect { path, to, status } => redirect(site, path, to, *status),
        Job::Copy { source, path, instead_of } => {
            if let Some(other) = instead_of {
                replaces(site, source, path, other);
            }
            let body = copied(site, source)?;
            Ok(one(file(path, body, 200, &[])))
        }
        Job::ThemeAsset { path, hashed } => {
            let found = theme::assets().into_iter().find(|(name, _)| name == path);
            let body = found.map_or_else(Bytes::new, |(_, bytes)| Bytes::from_static(bytes));
            let mut file = file(hashed, body, 200, &[]);
            file.immutable = true;
            Ok(one(file))
        }
        Job::Generated(path) => {
            note(|| Node::Generated(path.as_str().into()));
            Ok(one(file(path, site.generated.get(path).cloned().unwrap_or_default(), 200, &[])))
        }
        Job::Search(lang) => {
            note(|| Node::Config);
            note(|| Node::Search(lang.as_str().into()));
            Ok(Done { files: unnoted(|| search::files(site, lang))?, content: None })
        }
    }
}

fn one(file: File) -> Done {
    Done { files: vec![file], content: None }
}

fn file(path: &str, body: Bytes, status: u16, groups: &[String]) -> File {
    let kind = mime::of_text(path, &body);
    File {
        path: path.to_owned(),
        status,
        fields: vec![("content-type".to_owned(), kind.to_owned())],
        groups: groups.to_vec(),
        immutable: false,
        body,
    }
}

/// A file as search indexes are.
pub(crate) fn plain_file(path: &str, body: Bytes) -> File {
    file(path, body, 200, &[])
}

/// Says that a static file stands where content would.
pub(crate) fn replaces(site: &Site, source: &str, path: &str, other: &str) {
    site.warn(
        Diagnostic::in_file(source, format!("it takes the place of {other} as the output `{path}`"))
            .hint("remove or rename one of the two, or give the page another `slug` or `path`"),
    );
}

fn copied(site: &Site, source: &str) -> Result2<Bytes> {
    let unreadable = |e: io::Error| vec![Diagnostic::unreadable(source, &e)];
    note(|| Node::Source(source.into()));
    let gone = || unreadable(io::ErrorKind::NotFound.into());
    let found = site.sources.get(source).ok_or_else(gone)?;
    let digest = found.digest().map_err(unreadable)?;
    if let Some(known) = site.memory.files.get(&digest) {
        return Ok(known);
    }
    let body = found.read().map_err(unreadable)?;
    site.memory.files.insert(digest, body.clone(), body.len() + 64);
    Ok(body)
}

/// Makes the copy of an image.
///
/// # Errors
/// What its format refuses.
pub(crate) fn image(site: &Site, path: &str, wish: &Wish) -> Result<File, Diagnostic> {
    let name = wish.name();
    if let Some(known) = site.memory.files.get(&name) {
        return Ok(processed(site, path, known));
    }
    let made = Bytes::from(of_source(site, wish, Wish::make)?);
    site.memory.files.insert(name, made.clone(), made.len() + 64);
    Ok(processed(site, path, made))
}

/// Whether an image can be processed: all is done but that.
pub(crate) fn can_process(site: &Site, wish: &Wish) -> Result<(), Diagnostic> {
    of_source(site, wish, Wish::part_of).map(drop)
}

/// What is made of the source of a processed image.
fn of_source<T>(
    site: &Site,
    wish: &Wish,
    make: impl FnOnce(&Wish, &[u8]) -> Result<T, String>,
) -> Result<T, Diagnostic> {
    let fail = |problem: &dyn std::fmt::Display| {
        Diagnostic::in_file(wish.source.as_str(), format!("the image cannot be resized: {problem}"))
    };
    let source = site.sources.get(&wish.source).ok_or_else(|| fail(&"it is gone"))?;
    make(wish, &source.read().map_err(|e| fail(&e))?).map_err(|e| fail(&e))
}

/// A processed image: its name is a digest of all that it is made from.
fn processed(site: &Site, path: &str, body: Bytes) -> File {
    File { immutable: site.beyond_zola, ..file(path, body, 200, &[]) }
}

/// Renders a template.
fn render(
    site: &Arc<Site>,
    template: &str,
    context: &Context,
    name: &str,
    absolute: bool,
    needs: &Needs,
) -> Result2<Bytes> {
    note(|| Node::Template(template.into()));
    if needs.all_data {
        note(|| Node::Data);
    }
    for source in &needs.data {
        note(|| Node::DataOf(source.as_str().into()));
    }
    let mut scope = Scope::new(site.clone(), name, absolute, needs.fields);
    if needs.pages_counted_only {
        scope.pages = Pages::Counted;
    }
    let mut out = Capped::new(site.limits.output_bytes_max);
    match scope.enter(|| site.engine.tera.render_to(template, context, &mut out)) {
        Ok(()) if site.config.minify_html && template.ends_with(".html") => {
            match std::str::from_utf8(&out.bytes) {
                Ok(html) => Ok(Bytes::from(minify::html(html))),
                Err(_) => Ok(Bytes::from(out.bytes)),
            }
        }
        Ok(()) => Ok(Bytes::from(out.bytes)),
        Err(e) if site.may_follow(&e, None) => Err(Vec::new()),
        Err(e) => {
            let told = templates::explain_render(&e, name, &|name| site.template_file(name));
            Err(vec![site.at_data(told)])
        }
    }
}

/// The groups of an output, each once, in order, as many as a cache must take.
fn groups(candidates: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(candidates.len());
    for group in candidates {
        let group = encode_path(&group).into_owned();
        if out.len() < GROUPS_MAX && !out.contains(&group) {
            out.push(group);
        }
    }
    out
}

fn template_groups(needs: &Needs) -> impl Iterator<Item = String> + '_ {
    needs.closure.iter().map(|name| {
        let bare = name
            .strip_prefix(theme::THEME_PREFIX)
            .or_else(|| name.strip_prefix(theme::SMALL_PREFIX))
            .unwrap_or(name);
        format!("template:{bare}")
    })
}

/// Says that a template is not there which the front matter in `source` names, unless it may name another once it can be read.
fn unknown_template(site: &Site, source: &str, name: &str) -> Vec<Diagnostic> {
    if site.lacks_template() || site.library.stand_ins.contains(source) {
        return Vec::new();
    }
    let built_in = templates::BY_NAME.iter().copied().filter(|name| site.engine.first(&[name]).is_some());
    let near = crate::diagnostic::nearest(name, site.engine.names().into_iter().chain(built_in));
    let wrong = Diagnostic::in_file(source, format!("there is no template `{name}`")).hint(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("create templates/{name}"),
    });
    vec![front_matter::point(&site.sources, wrong, name, &[])]
}

fn page(site: &Arc<Site>, id: PageId) -> Result2<Done> {
    let page = site.library.page(id);
    site.note_page(id, Fields::ALL.alone(), false);
    note(|| Node::Around(page.source.clone()));
    let rendered = site.page_html(id, false)?;
    search::remember(site, Content::Page(id), &rendered);
    let content = Some((Content::Page(id), rendered.clone()));
    let path = output_of(&page.path);
    if !page.matter().render || site.static_source(&path).is_some() {
        return Ok(Done { files: Vec::new(), content });
    }
    let template = page_template(&site.library, id);
    if !site.engine.tera.contains_template(template) {
        let own = page.matter().template.is_some();
        let giver = inheritance(&site.library, id).find(|_| !own).map_or(&page.source, |(source, _)| source);
        return Err(unknown_template(site, giver, template));
    }
    let needs = site.engine.needs(template);
    let mut context = site.context(&page.lang, false);
    site.place(&mut context, &page.path);
    let own = match needs.compares {
        true => site.page_value(id, Fields::ALL, false),
        false => site.own_page_value(id, &rendered, &needs, false),
    };
    context.insert_value("page", own);
    let body = render(site, template, &context, &page.source, false, &needs)?;
    let mut names = vec![format!("page:{}", page.path)];
    if let Some(section) = page.section {
        names.push(format!("section:{}", site.library.section(section).path));
    }
    if let Some(source) = &page.made_by {
        names.push(format!("source:{source}"));
    }
    names.extend(page.matter().cache_groups.iter().map(ToString::to_string));
    for (kind, terms) in &page.matter().taxonomies {
        names.extend(terms.iter().map(|term| {
            format!("term:{kind}/{}", crate::slugs::path_component(term, site.config.slugify.taxonomies))
        }));
    }
    names.extend(data_groups(site, &needs));
    names.extend(template_groups(&needs));
    Ok(Done { files: vec![file(&path, body, 200, &groups(names))], content })
}

/// The sources that a template reads by name.
fn data_groups(site: &Site, needs: &Needs) -> Vec<String> {
    let Some(data) = site.data.as_map() else { return Vec::new() };
    data.keys()
        .map(ToString::to_string)
        .filter(|name| needs.data.iter().any(|read| read == name))
        .map(|name| format!("source:{name}"))
        .collect()
}

/// The template of a page: its own, or what the sections above it say.
pub(crate) fn page_template(library: &Library, id: PageId) -> &str {
    let own = library.page(id).matter().template.as_deref();
    own.or_else(|| Some(inheritance(library, id).next()?.1)).unwrap_or("page.html")
}

/// The template of a section: its own, or the one of its kind.
pub(crate) fn section_template(section: &Section) -> &str {
    let default = if section.is_index() { "index.html" } else { "section.html" };
    section.matter.template.as_deref().unwrap_or(default)
}

/// The sections above a page that say a template for it, the nearest first, and the template. Transparent ones say it, too.
fn inheritance(library: &Library, id: PageId) -> impl Iterator<Item = (&Arc<str>, &str)> {
    let own = library.page(id).section.map(|id| library.section(id));
    let above = own.into_iter().flat_map(|section| section.ancestors.iter().rev());
    let above = own.into_iter().chain(above.map(|id| library.section(*id)));
    above.filter_map(|section| Some((&section.source, section.matter.page_template.as_deref()?)))
}

fn section(site: &Arc<Site>, id: SectionId, n: usize) -> Result2<Done> {
    let section = site.library.section(id);
    site.note_section(id, Fields::ALL, false);
    note(|| Node::Around(section.source.clone()));
    let rendered = site.section_html(id, false)?;
    if n == 1 {
        search::remember(site, Content::Section(id), &rendered);
    }
    let template = section_template(section);
    if !site.engine.tera.contains_template(template) {
        return Err(unknown_template(site, &section.source, template));
    }
    let needs = site.engine.needs(template);
    let mut context = site.context(&section.lang, false);
    let mut path = section.path.to_string();
    let mut metadata_only = false;
    if let Some(pager) = section_pager(section, n) {
        metadata_only = !needs.section_pages;
        path = pager.path_of(n);
        context.insert_value("paginator", pager.value(site, needs.fields));
    }
    let own = match needs.compares {
        true => site.section_value(id, Fields::ALL, false, false),
        false => site.own_section_value(id, &rendered, &needs, false, metadata_only),
    };
    context.insert_value("section", own);
    site.place(&mut context, &path);
    if section.is_index() && !site.beyond_zola {
        // Zola leaves the language out of it where the list goes on.
        let further = path.strip_prefix(section.path.trim_end_matches('/')).unwrap_or(&path);
        let path = if n == 1 { site.shown_path(section) } else { further };
        context.insert_value("current_path", Value::from(path));
    }
    let name = if n == 1 { section.source.to_string() } else { format!("{} (pager {n})", section.source) };
    let body = render(site, template, &context, &name, false, &needs)?;
    let mut names = vec![format!("section:{}", section.path)];
    names.extend(section.matter.cache_groups.iter().map(ToString::to_string));
    names.extend(data_groups(site, &needs));
    names.extend(template_groups(&needs));
    Ok(Done {
        files: vec![file(&output_of(&path), body, 200, &groups(names))],
        content: (n == 1).then_some((Content::Section(id), rendered)),
    })
}

fn not_found(site: &Arc<Site>) -> Result2<Done> {
    let needs = site.engine.needs("404.html");
    let context = site.context(&site.config.default_language, false);
    let body = render(site, "404.html", &context, "404.html", false, &needs)?;
    let names = template_groups(&needs).collect();
    Ok(one(file("404.html", body, 404, &groups(names))))
}

fn redirect(site: &Arc<Site>, path: &str, to: &str, status: u16) -> Result2<Done> {
    let mut context = site.context(&site.config.default_language, false);
    context.insert_value("url", Value::from(to));
    let needs = site.engine.needs(REDIRECT);
    let body = render(site, REDIRECT, &context, path, false, &needs)?;
    let mut file = file(path, body, status, &[]);
    file.fields.push(("location".to_owned(), in_field(to)));
    Ok(one(file))
}
