//! What is wrong with a site beyond what a render refuses: links, files, headings, images, templates.
//!
//! The site is rendered as for a build, and each output is read for what it names and then let go. Nothing is written.
//! Other hosts are asked by [`outside`], and only when someone wants that.

mod cache;
mod judge;
mod links;
mod listed;
mod look;
pub mod outside;
mod page;
mod place;
mod resolve;
mod unused;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use release::File;
use serde::Serialize;

use crate::config::Level;
use crate::diagnostic::{Diagnostic, Errors};
use crate::headings::Checks;
use crate::job::{self, Job, Plan};
use crate::library::{Content, pagers_path};
use crate::markup::names_the_top;
use crate::reads::{self, Node};
use crate::render::{Input, Renderer, and_in_contents};
use crate::site::{Site, anchor_hash, has_id};
use links::{Facts, Home, Links, Origin};
use page::{Page, Use};
use unused::Usage;

/// Findings that are kept; further ones are counted.
pub const FINDINGS_MAX: usize = 2_000;
/// Outputs that a message names.
const SHOWN_MAX: usize = 3;
/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A reader meets it: something is missing.
    Error,
    /// It works, and could be better.
    Warning,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// What a render says of itself.
    Render,
    /// A link within the site.
    Link,
    /// The part of a link that names a place in a page.
    Fragment,
    /// An image, script, style sheet or other file that a page is made of.
    MissingFile,
    /// A link to another host.
    ExternalLink,
    /// A file that no output names.
    UnusedFile,
    /// A template that nothing uses.
    UnusedTemplate,
    /// Headings that skip a level, or several first ones.
    HeadingOrder,
    /// An image without words.
    AltText,
    /// An id that a page has twice.
    DuplicateId,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, what, and what to do.
    pub diagnostic: Diagnostic,
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub rule: Rule,
}

impl Finding {
    /// Whether it is the same, though its line may be another.
    pub(crate) fn is_that_of(&self, other: &Self) -> bool {
        let (own, others) = (&self.diagnostic, &other.diagnostic);
        self.rule == other.rule && own.message == others.message && own.path == others.path
    }
}

/// What came of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// All that was found, in the order of files and lines, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Errors and warnings beyond that.
    pub more: (usize, usize),
    /// Pages and sections.
    pub pages: usize,
    /// Files of all kinds.
    pub outputs: usize,
    /// Links of all kinds.
    pub links: u64,
    /// Whether the site's `[link_checker]` asks for links to other hosts to be looked at.
    pub asks_for_external: bool,
    /// Links to other hosts, which were not looked at.
    pub external: Vec<outside::Outside>,
    severity_outside: Option<Severity>,
}

impl Report {
    /// How many findings are errors, and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let (errors, warnings) = counts(&self.findings);
        (errors + self.more.0, warnings + self.more.1)
    }

    /// Adds findings, keeping their order and bound.
    fn add(&mut self, mut found: Vec<Finding>) {
        self.findings.append(&mut found);
        // Of what is said twice, the graver stays.
        self.findings.sort();
        self.findings.dedup_by(|b, a| a.diagnostic == b.diagnostic && a.rule == b.rule);
        if self.findings.len() > FINDINGS_MAX {
            // Errors are never lost to warnings.
            self.findings.sort_by_key(|finding| finding.severity);
            let (errors, warnings) = counts(&self.findings.split_off(FINDINGS_MAX));
            self.more = (self.more.0 + errors, self.more.1 + warnings);
            self.findings.sort();
        }
    }

    /// Adds what a render says.
    fn add_errors(&mut self, errors: &Errors) {
        self.more.0 += errors.more();
        self.add(refused(errors).collect());
    }
}

/// Of a site of which nothing can be looked at.
impl From<&Errors> for Report {
    fn from(errors: &Errors) -> Self {
        let mut report = Self::default();
        report.add_errors(errors);
        report
    }
}

fn counts(findings: &[Finding]) -> (usize, usize) {
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    (errors, findings.len() - errors)
}

/// What a render refuses, as findings.
fn refused(errors: &Errors) -> impl Iterator<Item = Finding> {
    errors.list().iter().map(|d| finding(Severity::Error, Rule::Render, d.clone()))
}

fn finding(severity: Severity, rule: Rule, diagnostic: Diagnostic) -> Finding {
    Finding { diagnostic, severity, rule }
}

impl Renderer {
    /// Renders a site and looks for mistakes in what comes out.
    ///
    /// Equal inputs give equal reports. What a render refuses is in the report too; where it is the configuration or a
    /// template that cannot be parsed, there is nothing else to look at.
    pub fn check(&self, input: &Input) -> Report {
        let (mut errors, mut report) = (Errors::default(), Report::default());
        match self.prepare(input, &mut errors) {
            Ok((site, lacks_templates)) => {
                let site = Arc::new(if lacks_templates { site } else { site.for_check() });
                let Plan { jobs, warnings, .. } = job::plan(&site, &mut errors);
                lock(&site.warnings).extend(warnings);
                match lacks_templates {
                    true => errors = and_in_contents(&site, &jobs, errors),
                    false => report = Check::new(&site).run(&jobs),
                }
            }
            Err(wrong) => errors.append(wrong),
        }
        report.add_errors(&errors);
        input.point_at_rows(report.findings.iter_mut().map(|finding| &mut finding.diagnostic));
        report.findings.sort();
        report
    }
}

/// A check under way.
struct Check<'a> {
    site: &'a Arc<Site>,
    home: Option<Home>,
    links: Mutex<Links>,
    checks: Mutex<Checks>,
    findings: Mutex<Vec<Finding>>,
    /// What the render of an output refuses.
    errors: Mutex<Errors>,
    /// Findings that several outputs may share: with the outputs.
    shared: Mutex<BTreeMap<Finding, BTreeSet<String>>>,
    usage: Usage,
    /// Outputs, or folders of outputs, that are missing because their render failed.
    failed: Mutex<Vec<String>>,
    outputs: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Check<'a> {
    fn new(site: &'a Arc<Site>) -> Self {
        Self {
            site,
            home: Home::new(&site.base.absolute),
            links: Mutex::default(),
            checks: Mutex::default(),
            findings: Mutex::default(),
            errors: Mutex::default(),
            shared: Mutex::default(),
            usage: Usage::new(site),
            failed: Mutex::new(site.faults.outputs().collect()),
            outputs: Mutex::default(),
        }
    }

    fn run(self, jobs: &[Job]) -> Report {
        jobs.par_iter().for_each(|job| self.job(job));
        let mut wishes = BTreeMap::new();
        for (path, wish) in self.site.images.take() {
            self.usage.source(&wish.source);
            self.plain_output(path);
            wishes.entry(wish.source.clone()).or_insert(wish);
        }
        // Making the copies would take longer than all else; each image is looked at once.
        wishes.into_par_iter().for_each(|(_, wish)| {
            if let Err(problem) = job::can_process(self.site, &wish) {
                lock(&self.errors).push(problem);
            }
        });
        self.finish()
    }

    fn job(&self, job: &Job) {
        if let Job::Copy { source, path, instead_of } = job
            && !is_text(path)
        {
            if let Some(other) = instead_of {
                job::replaces(self.site, source, path, other);
            }
            self.plain_output(path.clone());
            self.usage.copied(source);
            return;
        }
        let (result, reads) = reads::noted(|| job::run(self.site, job));
        let template = reads.iter().find_map(|node| match node {
            Node::Template(name) if self.site.engine.first(&[&**name]).is_some() => Some(name.clone()),
            _ => None,
        });
        for node in reads {
            self.usage.read(self.site, &node);
        }
        let source = match job {
            Job::Copy { source, .. } => {
                self.usage.copied(source);
                Some(Arc::from(source.as_str()))
            }
            Job::SectionPager(id, _) => Some(self.site.library.section(*id).source.clone()),
            job => job.content(&self.site.library).map(|(_, source)| source),
        };
        match result {
            Ok(done) => {
                if let Some((content, rendered)) = &done.content {
                    lock(&self.checks).add(self.site, *content, rendered.facts.clone());
                }
                let written = matches!(job, Job::Copy { .. });
                for file in done.files {
                    let origin = Origin {
                        output: file.path.clone(),
                        source: source.clone(),
                        template: template.clone(),
                    };
                    self.file(&Arc::new(origin), &file, written);
                }
            }
            Err(problems) => {
                if let Some((content, source)) = job.content(&self.site.library) {
                    let facts = self.site.facts_despite(&source);
                    lock(&self.checks).add_failed(self.site, content, facts);
                }
                lock(&self.failed).push(self.failing(job));
                lock(&self.errors).extend(problems);
            }
        }
    }

    /// What is not there where a job fails: an output, or a folder of several.
    fn failing(&self, job: &Job) -> String {
        let library = &self.site.library;
        let index = |path: &str| format!("{}index.html", path.trim_start_matches('/'));
        let path = match job {
            Job::Page(id) | Job::Check(Content::Page(id)) => return index(&library.page(*id).path),
            Job::Section(id) | Job::Check(Content::Section(id)) => return index(&library.section(*id).path),
            Job::SectionPager(id, n) => {
                let section = library.section(*id);
                return index(&format!("{}{n}/", pagers_path(&section.path, &section.matter.paginate_path)));
            }
            Job::TaxonomyList(index) => library.taxonomies[*index].path.as_str(),
            Job::Term(index, term) | Job::TermPager(index, term, _) => {
                &*library.taxonomies[*index].terms[*term].path
            }
            Job::Feed(_, path, _) | Job::Redirect { path, .. } | Job::Copy { path, .. } => path.as_str(),
            Job::Generated(path) | Job::ThemeAsset { hashed: path, .. } => path.as_str(),
            Job::Sitemap => "sitemap",
            Job::Robots => "robots.txt",
            Job::NotFound => "404.html",
            Job::Search(_) => "search_index",
        };
        path.trim_start_matches('/').to_owned()
    }

    fn plain_output(&self, path: String) {
        *lock(&self.outputs) += 1;
        lock(&self.links).output(path, Facts::default());
    }

    /// Reads an output; `written` is what someone wrote by hand and is copied as it is.
    fn file(&self, origin: &Arc<Origin>, file: &File, written: bool) {
        *lock(&self.outputs) += 1;
        let to = file.fields.iter().find(|(name, _)| name == "location").map(|(_, to)| to.clone());
        let Ok(text) = std::str::from_utf8(&file.body) else {
            return lock(&self.links).output(file.path.clone(), Facts { ids: None, to });
        };
        self.usage.text(text);
        let kind = file.fields.iter().find(|(name, _)| name == "content-type").map_or("", |(_, kind)| kind);
        let is_html = kind.starts_with("text/html");
        let page = if is_html {
            page::html(text)
        } else if kind.starts_with("text/css") {
            page::css(text)
        } else if kind.contains("xml") {
            page::xml(text)
        } else {
            Page::default()
        };
        let ids = is_html.then(|| page.ids.iter().map(|id| anchor_hash(id)).collect::<Box<[u64]>>());
        if to.is_none() {
            if is_html && !written {
                self.look(origin, &page);
            }
            let meant = self.meant(origin, &page, ids.as_deref());
            lock(&self.links).take(origin, meant);
        }
        lock(&self.links).output(file.path.clone(), Facts { ids, to });
    }

    /// What the addresses of a page mean; those that name a place in the page itself are looked up at once.
    fn meant(&self, origin: &Origin, page: &Page, ids: Option<&[u64]>) -> Vec<(Use, String, Box<str>)> {
        let Some(home) = &self.home else { return Vec::new() };
        let Some(here) = home.address(&origin.path()) else { return Vec::new() };
        let base = page.base.as_ref().and_then(|base| here.join(base).ok());
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for (of, written) in &page.references {
            if !seen.insert((*of, written.as_str())) {
                continue;
            }
            if base.is_none()
                && let Some(fragment) = written.strip_prefix('#')
                && let Some(ids) = ids
                && (names_the_top(fragment) || has_id(ids, fragment))
            {
                continue;
            }
            // What has a scheme means the same everywhere; joining it would only cost time.
            let meant = if written.starts_with("https://") || written.starts_with("http://") {
                written.as_str().into()
            } else {
                match base.as_ref().unwrap_or(&here).join(written) {
                    Ok(url) => String::from(url).into(),
                    Err(_) => written.as_str().into(),
                }
            };
            out.push((*of, written.clone(), meant));
        }
        out
    }

    fn finish(self) -> Report {
        let site = self.site;
        let level = |level: Level| if level == Level::Warn { Severity::Warning } else { Severity::Error };
        let inside = level(site.config.link_checker.internal_level);
        let mut report = Report {
            pages: site.library.pages.len() + site.library.sections.len(),
            outputs: *lock(&self.outputs),
            asks_for_external: site.config.link_checker.external_level.is_some(),
            severity_outside: site.config.link_checker.external_level.map(level),
            ..Report::default()
        };
        let mut found = std::mem::take(&mut *lock(&self.findings));
        let failed = std::mem::take(&mut *lock(&self.failed));
        let mut errors = std::mem::take(&mut *lock(&self.errors));
        if let Some(wrong) = &site.found {
            errors.extend(std::mem::take(&mut *lock(wrong)));
        }
        report.more.0 += errors.more();
        found.extend(refused(&errors));
        let warnings = std::mem::take(&mut *lock(&site.warnings));
        found.extend(warnings.into_iter().map(|d| finding(Severity::Warning, Rule::Render, d)));
        let broken = lock(&self.checks).broken(site, |_| None);
        found.extend(broken.into_iter().map(|d| finding(inside, Rule::Fragment, d)));
        if failed.is_empty() {
            // Whether something is used is known when all has been made.
            found.extend(self.usage.findings(site));
        }
        for (mut shared, outputs) in std::mem::take(&mut *lock(&self.shared)) {
            on(&mut shared.diagnostic, outputs.iter().map(String::as_str), outputs.len());
            found.push(shared);
        }
        self.links(inside, &failed, &mut report, &mut found);
        report.add(found);
        report
    }
}

/// Adds to a message on which pages it holds: `, on /a/, /b/ and 3 more`.
fn on<'o>(diagnostic: &mut Diagnostic, outputs: impl Iterator<Item = &'o str>, number: usize) {
    let shown: Vec<&str> = outputs.take(SHOWN_MAX).collect();
    if shown.is_empty() {
        return;
    }
    diagnostic.message.push_str(&format!(", on {}", shown.join(", ")));
    if number > shown.len() {
        diagnostic.message.push_str(&format!(" and {} more", number - shown.len()));
    }
}

/// Whether an output is a text, which may name others.
fn is_text(path: &str) -> bool {
    let kind = crate::mime::of(path);
    kind.starts_with("text/") || ["xml", "json", "javascript"].iter().any(|part| kind.contains(part))
}
