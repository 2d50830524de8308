//! What is wrong with a site beyond what a render refuses: links, files, headings, images, templates.
//!
//! The site is rendered as for a build, and each output is read for what it names and then let go. Nothing is written.
//! Other hosts are asked by [`outside`], and only when someone wants that.

mod cache;
mod links;
pub mod outside;
mod page;
mod place;
mod unused;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use release::File;
use serde::Serialize;

use crate::config::Level;
use crate::diagnostic::{Diagnostic, Errors};
use crate::job::{self, Job};
use crate::reads::{self, Node};
use crate::render::{Checks, Input, Renderer};
use crate::site::{Site, anchor_hash};
use links::{End, Facts, Home, Links, Named, Origin};
use page::{Page, Use};
use place::Places;
use unused::Usage;

/// Findings that are kept; further ones are counted.
pub const FINDINGS_MAX: usize = 2_000;
/// Outputs that a message names.
const SHOWN_MAX: usize = 3;
/// Hints of which a finding's nearest name is looked for: it is compared with every output.
const NEAREST_MAX: usize = 200;

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

/// What came of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// All that was found, in the order of files and lines, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond that.
    pub more: usize,
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
        let errors = self.findings.iter().filter(|f| f.severity == Severity::Error).count();
        (errors, self.findings.len() - errors)
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
            self.more += self.findings.len() - FINDINGS_MAX;
            self.findings.truncate(FINDINGS_MAX);
            self.findings.sort();
        }
    }

    fn render_errors(errors: Errors) -> Self {
        let mut report = Self::default();
        report.add(errors.0.into_iter().map(|d| finding(Severity::Error, Rule::Render, d)).collect());
        report
    }
}

fn finding(severity: Severity, rule: Rule, diagnostic: Diagnostic) -> Finding {
    Finding { diagnostic, severity, rule }
}

impl Renderer {
    /// Renders a site and looks for mistakes in what comes out.
    ///
    /// Equal inputs give equal reports. What a render refuses is in the report too; where it is the configuration, a
    /// template that cannot be parsed or front matter, nothing else is.
    pub fn check(&self, input: &Input) -> Report {
        let planned = self.prepare(input, 1, false).and_then(|site| {
            let site = Arc::new(site);
            Ok((job::plan(&site)?, site))
        });
        match planned {
            Ok(((jobs, _), site)) => Check::new(&site).run(&jobs),
            Err(errors) => Report::render_errors(errors),
        }
    }
}

/// A check under way.
struct Check<'a> {
    site: &'a Arc<Site>,
    home: Option<Home>,
    links: Mutex<Links>,
    checks: Mutex<Checks>,
    findings: Mutex<Vec<Finding>>,
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
            shared: Mutex::default(),
            usage: Usage::new(site),
            failed: Mutex::default(),
            outputs: Mutex::default(),
        }
    }

    fn run(self, jobs: &[Job]) -> Report {
        jobs.par_iter().for_each(|job| self.job(job));
        for (path, wish) in self.site.images.take() {
            self.usage.source(&wish.source);
            self.plain_output(path);
        }
        self.finish()
    }

    fn job(&self, job: &Job) {
        if let Job::Copy { source, path } = job
            && !is_text(path)
        {
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
                lock(&self.failed).push(self.failing(job));
                let errors = problems.into_iter().map(|d| finding(Severity::Error, Rule::Render, d));
                lock(&self.findings).extend(errors.take(FINDINGS_MAX));
            }
        }
    }

    /// What is not there where a job fails: an output, or a folder of several.
    fn failing(&self, job: &Job) -> String {
        let library = &self.site.library;
        let index = |path: &str| format!("{}index.html", path.trim_start_matches('/'));
        let path = match job {
            Job::Page(id) => return index(&library.page(*id).path),
            Job::Section(id) | Job::CheckSection(id) => return index(&library.section(*id).path),
            Job::SectionPager(id, n) => {
                let section = library.section(*id);
                return index(&format!("{}{}/{n}/", section.path, section.matter.paginate_path));
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
                && (links::names_the_top(fragment) || links::has_id(ids, fragment))
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

    /// What can be told from a page alone.
    fn look(&self, origin: &Origin, page: &Page) {
        let mut places = Places::new(self.site);
        let say = |rule: Rule, place: Option<place::Place>, message: String, hint: &str| {
            let is_own = place.as_ref().is_some_and(place::Place::is_content);
            let diagnostic = match place {
                Some(place) => place.point(message),
                None => Diagnostic::new(message),
            }
            .hint(hint);
            let found = finding(Severity::Warning, rule, diagnostic);
            let mut shared = lock(&self.shared);
            if shared.len() < FINDINGS_MAX || shared.contains_key(&found) {
                let outputs = shared.entry(found).or_default();
                if !is_own {
                    outputs.insert(origin.path());
                }
            }
        };
        for id in &page.repeated {
            let place = places.of(origin, &[format!("id=\"{id}\""), format!("#{id}"), id.clone()]);
            let message = format!("the id `{id}` is there more than once");
            say(
                Rule::DuplicateId,
                place,
                message,
                "a link to it leads to the first; give the others ids of their own",
            );
        }
        for source in &page.wordless {
            let place = places.of(origin, &self.spellings(origin, source));
            let message = format!("the image `{source}` has no `alt`");
            say(
                Rule::AltText,
                place,
                message,
                "say in `alt` what it shows, or alt=\"\" if it only decorates",
            );
        }
        for source in page.decorative.iter().filter(|_| origin.source.is_some()) {
            // Markdown has no other way to say that there are no words; in HTML an empty `alt` is a decision.
            let written: Vec<String> =
                self.spellings(origin, source).iter().map(|spelling| format!("![]({spelling}")).collect();
            let place = origin.source.as_ref().and_then(|source| places.in_source(source, &written));
            if place.is_some() {
                let message = format!("the image `{source}` has no words");
                let hint =
                    "write what it shows between the brackets; what only decorates is <img alt=\"\" src=…>";
                say(Rule::AltText, place, message, hint);
            }
        }
        let mut before: Option<&page::Title> = None;
        let mut first: Option<&page::Title> = None;
        for title in &page.headings {
            if let Some(first) = first.filter(|_| title.level == 1) {
                let place =
                    places.heading(origin, 1, &title.text).or_else(|| places.heading(origin, 1, &first.text));
                let message = format!("`{}` is a second heading of the first level", title.text);
                let hint = format!(
                    "`{}` is the first; headings in the text begin with the second level",
                    first.text
                );
                say(Rule::HeadingOrder, place, message, &hint);
            }
            if let Some(before) = before.filter(|before| title.level > before.level + 1) {
                let place = places.heading(origin, title.level, &title.text);
                let message = format!(
                    "the heading `{}` is of level {} and follows one of level {}",
                    title.text, title.level, before.level
                );
                let hint =
                    format!("make it level {}: tools that read pages aloud go by levels", before.level + 1);
                say(Rule::HeadingOrder, place, message, &hint);
            }
            if title.level == 1 {
                first = first.or(Some(title));
            }
            before = Some(title);
        }
    }

    /// How an address may be written where it comes from.
    fn spellings(&self, origin: &Origin, written: &str) -> Vec<String> {
        let base = &self.site.base;
        let mut out = vec![written.to_owned()];
        let path = written.strip_prefix(base.absolute.as_str()).filter(|_| !base.absolute.is_empty());
        let path = path.unwrap_or(written);
        let plain = path.split(['?', '#']).next().unwrap_or(path);
        for spelling in [path, plain] {
            out.push(spelling.to_owned());
            if let Some(beside) = spelling.strip_prefix(&origin.path()) {
                out.push(beside.to_owned());
                out.push(format!("./{beside}"));
            }
            out.push(spelling.trim_start_matches('/').to_owned());
        }
        let decoded: Vec<String> = out
            .iter()
            .filter(|spelling| spelling.contains('%'))
            .map(|spelling| percent_encoding::percent_decode_str(spelling).decode_utf8_lossy().into_owned())
            .collect();
        out.extend(decoded);
        if let Some((_, fragment)) = written.split_once('#') {
            out.push(format!("#{fragment}"));
        }
        out.retain(|spelling| !spelling.is_empty() && spelling != "/" && spelling != "./");
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
        let warnings = std::mem::take(&mut *lock(&site.warnings));
        found.extend(warnings.into_iter().map(|d| finding(Severity::Warning, Rule::Render, d)));
        if failed.is_empty() {
            let broken = lock(&self.checks).broken(site);
            found.extend(broken.into_iter().map(|d| finding(inside, Rule::Fragment, d)));
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

    /// Looks where all links lead.
    fn links(&self, inside: Severity, failed: &[String], report: &mut Report, found: &mut Vec<Finding>) {
        let links = lock(&self.links);
        report.links = links.references;
        if links.full {
            let message = "the site has more different links than are looked at".to_owned();
            found.push(finding(Severity::Warning, Rule::Link, Diagnostic::new(message)));
        }
        let Some(home) = &self.home else {
            let message = format!("`{}` is no address: links cannot be looked at", self.site.base.absolute);
            found.push(finding(Severity::Error, Rule::Link, Diagnostic::new(message)));
            return;
        };
        // What a render has said of a link to a heading need not be said again.
        let said: HashSet<(String, String)> = found
            .iter()
            .filter(|f| f.rule == Rule::Fragment)
            .filter_map(|f| {
                let link = f.diagnostic.message.split('`').nth(1)?;
                Some((f.diagnostic.path.clone()?, link.split_once('#')?.1.to_owned()))
            })
            .collect();
        let exempt = &self.site.config.link_checker.skip_anchor_prefixes;
        let exempt = |address: &str| exempt.iter().any(|prefix| address.starts_with(prefix.as_str()));
        let mut places = Places::new(self.site);
        let mut hints = 0;
        let mut outside: BTreeMap<String, outside::Outside> = BTreeMap::new();
        for (address, named) in links.sorted() {
            let written = named.first.values().next().map_or(address, |written| &**written);
            let what = if named.of == Use::Link { "link" } else { "file" };
            let rule = if named.of == Use::Link { Rule::Link } else { Rule::MissingFile };
            let mut say = |severity, rule, message: String, hint: Option<String>| {
                self.everywhere(
                    &mut places,
                    named,
                    &said,
                    finding(severity, rule, Diagnostic::new(message).maybe_hint(hint)),
                    found,
                );
            };
            match links.end(home, address, exempt) {
                End::Output(output) => self.usage.output(output),
                End::NoId(output) => {
                    let message = format!("the link `{written}` names a place that is not on its page");
                    let near = format!("no element of `{output}` has that id");
                    say(inside, Rule::Fragment, message, Some(near));
                }
                End::Nothing(path) => {
                    let file = release::url::manifest_path(&path);
                    if failed.iter().any(|prefix| file.starts_with(prefix.as_str())) {
                        continue;
                    }
                    hints += 1;
                    let near = if hints <= NEAREST_MAX { nearest(&path, links.paths()) } else { None };
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    let message = match named.of {
                        Use::Link => format!("the link `{written}` leads to nothing"),
                        Use::File => format!("the file `{written}` does not exist"),
                    };
                    say(inside, rule, message, hint);
                }
                End::Beside => {
                    let message = format!("the {what} `{written}` is on this host, but outside of the site");
                    let hint = format!("all of the site is below {}", self.site.base.absolute);
                    say(Severity::Warning, rule, message, Some(hint));
                }
                End::Malformed => {
                    say(inside, rule, format!("the {what} `{written}` is no address"), None);
                }
                End::Circle => {
                    say(inside, rule, format!("the {what} `{written}` is redirected in a circle"), None);
                }
                End::Elsewhere(mut url) => {
                    let skip = &self.site.config.link_checker.skip_prefixes;
                    if skip.iter().any(|prefix| address.starts_with(prefix.as_str())) {
                        continue;
                    }
                    let fragment = url.fragment().map(str::to_owned);
                    url.set_fragment(None);
                    let entry = outside
                        .entry(String::from(url))
                        .or_insert_with_key(|url| outside::Outside::new(url.clone()));
                    let fragment = fragment.filter(|f| !links::names_the_top(f) && !exempt(address));
                    self.everywhere(
                        &mut places,
                        named,
                        &HashSet::new(),
                        finding(Severity::Error, Rule::ExternalLink, Diagnostic::new("")),
                        entry.places.entry(fragment).or_default(),
                    );
                }
                End::Aside => {}
            }
        }
        report.external = outside.into_values().collect();
    }

    /// A finding at each place in the sources that the outputs have it from, or once for those that are not found.
    fn everywhere(
        &self,
        places: &mut Places<'_>,
        named: &Named,
        said: &HashSet<(String, String)>,
        template: Finding,
        found: &mut Vec<Finding>,
    ) {
        let mut lost: Vec<String> = Vec::new();
        let mut shared: BTreeMap<Diagnostic, Vec<String>> = BTreeMap::new();
        for (origin, written) in &named.first {
            if let (Some(source), Some((_, fragment))) = (&origin.source, written.split_once('#'))
                && said.contains(&(source.to_string(), fragment.to_owned()))
            {
                continue;
            }
            match places.of(origin, &self.spellings(origin, written)) {
                Some(place) => {
                    let mut diagnostic = place.point(template.diagnostic.message.clone());
                    diagnostic.hint.clone_from(&template.diagnostic.hint);
                    let outputs = shared.entry(diagnostic).or_default();
                    if !place.is_content() {
                        outputs.push(origin.path());
                    }
                }
                None => lost.push(origin.path()),
            }
        }
        let unnamed = named.outputs - named.first.len().min(named.outputs);
        for (mut diagnostic, outputs) in shared {
            let number = if outputs.is_empty() { 0 } else { outputs.len() + unnamed };
            on(&mut diagnostic, outputs.iter().map(String::as_str), number);
            found.push(Finding { diagnostic, ..template.clone() });
        }
        if !lost.is_empty() {
            let mut diagnostic = template.diagnostic.clone();
            on(&mut diagnostic, lost.iter().map(String::as_str), lost.len() + unnamed);
            found.push(Finding { diagnostic, ..template });
        }
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

/// The path that was probably meant: of the same name elsewhere, or else the one with the fewest different letters.
fn nearest<'o>(path: &str, outputs: impl Iterator<Item = &'o str>) -> Option<String> {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let own = name(path);
    let edits_max = (own.chars().count() / 3).clamp(1, 4);
    let mut best: Option<(usize, String)> = None;
    for output in outputs {
        let folder = output.strip_suffix("index.html").filter(|f| f.is_empty() || f.ends_with('/'));
        let shown = format!("/{}", folder.unwrap_or(output));
        let apart = if name(&shown) == own && !own.is_empty() {
            1
        } else if shown.len().abs_diff(path.len()) <= edits_max {
            strsim::osa_distance(path, &shown)
        } else {
            continue;
        };
        if apart <= edits_max && best.as_ref().is_none_or(|known| (apart, &shown) < (known.0, &known.1)) {
            best = Some((apart, shown));
        }
    }
    best.map(|(_, shown)| shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_path_is_near() {
        let outputs = ["index.html", "docs/start/index.html", "docs/stop/index.html", "img/loaf.png"];
        for (path, near) in [
            ("/docs/strat/", Some("/docs/start/")),
            ("/start/", Some("/docs/start/")),
            ("/loaf.png", Some("/img/loaf.png")),
            ("/img/loaf.jpg", Some("/img/loaf.png")),
            ("/elsewhere/", None),
        ] {
            assert_eq!(nearest(path, outputs.into_iter()).as_deref(), near, "{path}");
        }
    }
}
