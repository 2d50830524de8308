//! Which outputs a site has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use globset::GlobSet;
use release::file::check_path;

use super::feeds::entries;
use super::{FeedOf, Job, moved, output_of, section_pager, term_pager};
use crate::diagnostic::{Diagnostic, Errors};
use crate::front_matter;
use crate::images;
use crate::library::{CONTENT, Content, PageId, SectionId, pagers_path};
use crate::redirects::{self, REDIRECTS, Redirect, Ways, output_at};
use crate::render::ignored_static;
use crate::search;
use crate::site::Site;

/// All outputs of a site.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Job>,
    /// How many of them are copies.
    pub(crate) assets: usize,
    /// What is not right with it, which must be said as long as it stands.
    pub(crate) warnings: Vec<Diagnostic>,
}

struct Planner<'a> {
    site: &'a Site,
    plan: Plan,
    /// Output → what makes it, for content.
    taken: HashMap<String, String>,
    errors: &'a mut Errors,
}

/// Lists all outputs. Adds to `errors` each path that two contents claim; the first of them has it.
pub(crate) fn plan(site: &Arc<Site>, errors: &mut Errors) -> Plan {
    let mut planner = Planner { site, plan: Plan::default(), taken: HashMap::new(), errors };
    // It holds every address at once: first, while little else is in memory.
    if site.config.generate_sitemap {
        planner.plan.jobs.push(Job::Sitemap);
    }
    planner.content();
    planner.taxonomies();
    planner.feeds();
    planner.redirects();
    planner.single_files();
    let copies = planner.copies();
    planner.copy(copies);
    planner.plan
}

impl Planner<'_> {
    fn take(&mut self, path: String, by: &str) -> bool {
        self.take_as(path, by, "")
    }

    /// Takes an output for what makes it, which is named so in its front matter.
    fn take_as(&mut self, path: String, by: &str, written: &str) -> bool {
        if let Err(bad) = check_path(&path) {
            let wrong = self.in_file(by, bad.to_string(), written).hint(PATHS);
            self.errors.push(wrong);
            return false;
        }
        match self.taken.get(&path) {
            Some(other) if other == by => false,
            // Where a content will be that cannot be parsed is not known.
            Some(other) if self.stands_in(by) || self.stands_in(other) => false,
            Some(other) => {
                let message = format!("the output `{path}` is also made by {other}");
                let found = self.in_file(by, message, written);
                let found = found.hint("give one of the two another `slug`, `path` or alias");
                // Zola refuses only what content and its aliases claim twice.
                if self.site.beyond_zola || (is_claim(by) && is_claim(other)) {
                    self.errors.push(found);
                } else {
                    self.plan.warnings.push(found);
                }
                false
            }
            None => {
                self.taken.insert(path, by.to_owned());
                true
            }
        }
    }

    /// A message about what makes an output: where its address is written, if it is a content.
    fn in_file(&self, by: &str, message: String, written: &str) -> Diagnostic {
        match by.find(CONTENT) {
            Some(at) => {
                let wrong = Diagnostic::in_file(&by[at..], message);
                front_matter::point(&self.site.sources, wrong, written, &["path", "slug"])
            }
            None => Diagnostic::in_file(by, message),
        }
    }

    /// Whether what makes an output is a content that another stands in for, or its alias.
    fn stands_in(&self, by: &str) -> bool {
        self.site.library.stand_ins.contains(by.strip_prefix(ALIAS_IN).unwrap_or(by))
    }

    fn content(&mut self) {
        let site = self.site;
        let pages = site.library.pages.iter().enumerate();
        let (last, first): (Vec<_>, Vec<_>) = pages.partition(|(_, page)| self.stands_in(&page.source));
        for (id, page) in first.into_iter().chain(last) {
            if !page.matter().render || self.take(output_of(&page.path), &page.source) {
                self.plan.jobs.push(Job::Page(id as PageId));
            } else {
                self.plan.jobs.push(Job::Check(Content::Page(id as PageId)));
            }
        }
        for (id, section) in site.library.sections.iter().enumerate() {
            let id = id as SectionId;
            if !section.matter.render {
                self.plan.jobs.push(Job::Check(Content::Section(id)));
                continue;
            }
            // A list in parts is one, whatever else is said.
            if let Some(to) =
                section.matter.redirect_to.as_ref().filter(|_| section.matter.paginate_by.is_none())
            {
                let to = if to.starts_with("http://") || to.starts_with("https://") {
                    to.to_string()
                } else if let Some(content) = to.strip_prefix("@/") {
                    let Some(to) = site.resolve(content, false) else {
                        if site.faults.lacks_page(&format!("{CONTENT}{content}")) {
                            continue;
                        }
                        let message = format!("`redirect_to` leads to no content: `{to}`");
                        let wrong = Diagnostic::in_file(&*section.source, message);
                        let wrong = front_matter::point(&site.sources, wrong, to, &["redirect_to"]);
                        let hint = site.near_target(content);
                        let hint =
                            hint.unwrap_or_else(|| "name a file below `content/`, or an address".to_owned());
                        self.errors.push(wrong.hint(hint));
                        continue;
                    };
                    to
                } else {
                    let target = to.trim_matches('/');
                    let slash = if target.is_empty() || !site.ends_with_slash(target) { "" } else { "/" };
                    site.permalink(&format!("/{target}{slash}"), false)
                };
                let path = output_of(&section.path);
                if self.take(path.clone(), &section.source) {
                    self.plan.jobs.push(moved(path, to));
                }
                self.plan.jobs.push(Job::Check(Content::Section(id)));
                continue;
            }
            if self.take(output_of(&section.path), &section.source) {
                self.plan.jobs.push(Job::Section(id));
            } else {
                self.plan.jobs.push(Job::Check(Content::Section(id)));
            }
            if section.matter.paginate_by.is_some() {
                let base = pagers_path(&section.path, &section.matter.paginate_path);
                for n in 1..=section.pagers() {
                    let path = output_of(&format!("{base}{n}/"));
                    if !self.take(path.clone(), &format!("pager {n} of {}", section.source)) {
                        continue;
                    }
                    self.plan.jobs.push(match n {
                        1 => moved(path, site.permalink(&section.path, false)),
                        n => Job::SectionPager(id, n),
                    });
                }
            }
        }
    }

    fn taxonomies(&mut self) {
        let site = self.site;
        for (index, taxonomy) in site.library.taxonomies.iter().enumerate() {
            if !taxonomy.config.render || taxonomy.terms.is_empty() {
                continue;
            }
            let by = format!("the taxonomy `{}` ({})", taxonomy.config.name, taxonomy.lang);
            if self.take(output_of(&taxonomy.path), &by) {
                self.plan.jobs.push(Job::TaxonomyList(index));
            }
            for (number, term) in taxonomy.terms.iter().enumerate() {
                let by = format!("the term `{}` of {by}", term.name);
                if self.take(output_of(&term.path), &by) {
                    self.plan.jobs.push(Job::Term(index, number));
                }
                if let Some(size) = taxonomy.config.paginate_by.filter(|n| *n > 0) {
                    let base = pagers_path(&term.path, taxonomy.config.paginate_path());
                    for n in 1..=term.pages.len().div_ceil(size).max(1) {
                        let path = output_of(&format!("{base}{n}/"));
                        if !self.take(path.clone(), &format!("pager {n} of {by}")) {
                            continue;
                        }
                        self.plan.jobs.push(match n {
                            1 => moved(path, site.permalink(&term.path, false)),
                            n => Job::TermPager(index, number, n),
                        });
                    }
                }
            }
        }
    }

    fn feeds(&mut self) {
        let site = self.site;
        let config = &site.config;
        let mut feeds = Vec::new();
        for lang in config.language_codes() {
            if config.feeds_for(lang) {
                let folder = if config.is_default(lang) { String::new() } else { format!("{lang}/") };
                feeds.push((FeedOf::Language(lang.to_owned()), folder, lang.to_owned()));
            }
        }
        for (id, section) in site.library.sections.iter().enumerate() {
            // The front page's feed is that of its language.
            if section.matter.generate_feeds && !(section.is_index() && config.feeds_for(&section.lang)) {
                let folder = section.path.trim_start_matches('/').to_owned();
                feeds.push((FeedOf::Section(id as SectionId), folder, section.lang.to_string()));
            }
        }
        for (index, taxonomy) in site.library.taxonomies.iter().enumerate() {
            if taxonomy.config.feed && taxonomy.config.render {
                for (number, term) in taxonomy.terms.iter().enumerate() {
                    let folder = term.path.trim_start_matches('/').to_owned();
                    feeds.push((FeedOf::Term(index, number), folder, taxonomy.lang.to_string()));
                }
            }
        }
        for (of, folder, lang) in feeds {
            let entries = entries(site, &of);
            for name in config.feed_filenames_for(&lang) {
                let path = format!("{folder}{name}");
                if self.take(path.clone(), &format!("{FEED}{path}")) {
                    self.plan.jobs.push(Job::Feed(of.clone(), path, entries.clone()));
                }
            }
        }
    }

    fn redirects(&mut self) {
        let site = self.site;
        let pages = site.library.pages.iter().map(|p| (&p.matter().aliases, &p.path, &p.source));
        let sections = site.library.sections.iter().map(|s| (&s.matter.aliases, &s.path, &s.source));
        for (aliases, target, source) in pages.chain(sections) {
            for alias in aliases {
                let path = output_at(alias.trim().trim_start_matches('/'));
                // Where a content is it need not lead to.
                let by = format!("{ALIAS_IN}{source}");
                if path != output_of(target) && self.take_as(path.clone(), &by, alias) {
                    self.plan.jobs.push(moved(path, site.permalink(target, false)));
                }
            }
        }
    }

    fn single_files(&mut self) {
        let config = &self.site.config;
        self.plan.jobs.push(Job::NotFound);
        if config.generate_robots_txt {
            self.plan.jobs.push(Job::Robots);
        }
        for lang in config.language_codes() {
            if config.search_index_for(lang) {
                self.plan.jobs.push(Job::Search(lang.to_owned()));
            }
        }
        for path in self.site.generated.keys() {
            self.plan.jobs.push(Job::Generated(path.clone()));
        }
        for (path, hashed) in &self.site.assets {
            if self.site.static_source(path).is_none() {
                self.plan.assets += 1;
                self.plan.jobs.push(Job::ThemeAsset { path: path.clone(), hashed: hashed.clone() });
            }
        }
    }

    /// What is copied, by output: co-located files, then static ones, where the later takes the earlier's place.
    fn copies(&mut self) -> BTreeMap<String, String> {
        let site = self.site;
        let mut copies: BTreeMap<String, String> = BTreeMap::new();
        // As with Zola, the files of a page that is not rendered stay where they are.
        let pages = site.library.pages.iter().filter(|page| site.beyond_zola || page.matter().render);
        let pages = pages.map(|page| (&page.assets, &page.source, &page.path));
        let sections = site.library.sections.iter().map(|s| (&s.assets, &s.source, &s.path));
        for (assets, source, path) in pages.chain(sections) {
            let folder = &source[..source.rfind('/').map_or(0, |i| i + 1)];
            for asset in assets.iter() {
                let rest = asset.strip_prefix(folder).unwrap_or(asset);
                let path = format!("{}{rest}", path.trim_start_matches('/'));
                let other =
                    copies.get(&path).filter(|other| **other != **asset).or_else(|| self.claimant(&path));
                if let Some(other) = other.filter(|_| site.beyond_zola) {
                    let message = format!("the output `{path}` is also made by {other}");
                    let found = Diagnostic::in_file(&**asset, message)
                        .hint("rename the file, or give the content another `slug` or `path`");
                    self.errors.push(found);
                }
                copies.insert(path, asset.to_string());
            }
        }
        let ignored = ignored_static(&site.config).unwrap_or_else(|wrong| {
            self.errors.push(wrong);
            GlobSet::empty()
        });
        let listed = redirects::are_read(site);
        let mut folders = Vec::new();
        if let Some(theme) = &site.theme {
            folders.push(format!("themes/{theme}/static/"));
        }
        folders.push("static/".to_owned());
        for folder in folders {
            for (source, _) in site.sources.under(&folder) {
                let path = &source[folder.len()..];
                let is_own = folder == "static/";
                let is_read = listed && source == REDIRECTS;
                // Zola keeps its copies of images there, and none that nothing asks for any more.
                let is_kept = is_own && !site.beyond_zola && path.starts_with(images::FOLDER);
                if !(is_read || is_kept || is_own && ignored.is_match(path)) {
                    copies.insert(path.to_owned(), source.to_owned());
                }
            }
        }
        // What is copied replaces what would be made.
        self.plan.jobs.retain(|job| !job_output(site, job).is_some_and(|path| copies.contains_key(&path)));
        let lines = if listed { self.listed_redirects(&copies) } else { Lines::default() };
        self.folders(&copies, &lines);
        copies
    }

    /// What makes an output that no copied file takes the place of without a word. Feeds may be replaced, as the files
    /// that every site has.
    fn claimant(&self, path: &str) -> Option<&String> {
        self.taken.get(path).filter(|by| !by.starts_with(FEED))
    }

    /// No output may be a file where others lie in a folder of its name.
    fn folders(&mut self, copies: &BTreeMap<String, String>, lines: &Lines) {
        let site = self.site;
        let made = self.plan.jobs.iter().filter_map(|job| job_output(site, job));
        // Which copies of images there are is known when they are asked for.
        let made = made.chain([images::FOLDER.to_owned()]);
        let made: Vec<String> = made.filter(|path| !self.taken.contains_key(path)).collect();
        let all = || {
            let by = |path: &str| if lines.offsets.contains_key(path) { REDIRECTS } else { ITSELF };
            let made = made.iter().map(move |path| (path.as_str(), by(path)));
            self.taken.iter().chain(copies).map(|(path, by)| (path.as_str(), by.as_str())).chain(made)
        };
        // No folder is called `index.html`, and most outputs are.
        let files = all().filter(|(path, _)| !path.ends_with("/index.html"));
        let files: HashMap<&str, &str> = files.collect();
        let mut clashes: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for (path, by) in all() {
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            for file in folders.filter(|folder| files.contains_key(folder)) {
                let first = clashes.entry(file).or_insert((path, by));
                *first = (*first).min((path, by));
            }
        }
        for (file, (path, by)) in clashes {
            let message = format!("the output `{file}` is a file, where {by} needs a folder for `{path}`");
            if let Some(offset) = lines.offsets.get(file).or_else(|| lines.offsets.get(path)) {
                redirects::tell(self.errors, &lines.text, *offset, (message, NOTHING_ELSE));
                continue;
            }
            let at = if files[file] == ITSELF { by } else { files[file] };
            let found = self.in_file(at, message, "");
            self.errors.push(found.hint("rename one of the two, or give the page another `slug` or `path`"));
        }
    }

    fn copy(&mut self, copies: BTreeMap<String, String>) {
        let site = self.site;
        for (path, source) in copies {
            if let Err(bad) = check_path(&path) {
                self.errors.push(Diagnostic::in_file(source, bad.to_string()).hint(PATHS));
                continue;
            }
            let is_static = !source.starts_with(CONTENT);
            let instead_of =
                self.claimant(&path).map(String::as_str).or(site.colocated.get(&path).map(|s| &**s));
            let instead_of = instead_of.filter(|_| site.beyond_zola && is_static).map(Box::from);
            self.plan.assets += 1;
            self.plan.jobs.push(Job::Copy { source, path, instead_of });
        }
    }

    /// The lines of the file of redirects. They take nobody's place, and nobody takes theirs.
    fn listed_redirects(&mut self, copies: &BTreeMap<String, String>) -> Lines {
        let site = self.site;
        let Some(file) = site.sources.get(REDIRECTS) else { return Lines::default() };
        let bytes = match file.read() {
            Ok(bytes) => bytes,
            Err(e) => {
                self.errors.push(Diagnostic::unreadable(REDIRECTS, &e));
                return Lines::default();
            }
        };
        let redirects = redirects::parse(&bytes, self.errors);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut offsets = HashMap::new();
        let single: HashSet<String> = self.plan.jobs.iter().filter_map(|job| job_output(site, job)).collect();
        let maker = |output: &str| {
            let content = self.taken.get(output).or_else(|| copies.get(output));
            content.map(String::as_str).or_else(|| single.contains(output).then_some(ITSELF))
        };
        let mut ways = Ways::default();
        for job in &self.plan.jobs {
            if let Job::Redirect { path, to, .. } = job {
                ways.add(path, to, &site.base.links);
            }
        }
        for redirect in &redirects {
            // `/feed.xml` would show the file, and never the index of a folder of that name.
            let file = redirect.output.strip_suffix("/index.html").unwrap_or(&redirect.output);
            let taken = [redirect.output.as_str(), file];
            let taken = taken.into_iter().find_map(|output| Some((output, maker(output)?)));
            if let Some((output, by)) = taken {
                let message = format!("the output `{output}` is also made by {by}");
                redirects::tell(self.errors, &text, redirect.offset, (message, NOTHING_ELSE));
                continue;
            }
            offsets.insert(redirect.output.clone(), redirect.offset);
            ways.add(&redirect.output, &redirect.to, &site.base.absolute);
        }
        ways.circles(&redirects, &text, self.errors);
        let good = redirects.into_iter().filter(|redirect| offsets.contains_key(&redirect.output));
        self.plan.jobs.extend(good.map(|Redirect { output, to, status, .. }| {
            let to = if to.starts_with('/') { site.permalink(&to, false) } else { to };
            Job::Redirect { path: output, to, status }
        }));
        Lines { text, offsets }
    }
}

/// What is known of the file of redirects.
#[derive(Default)]
struct Lines {
    text: String,
    /// Output → where its line begins, in bytes.
    offsets: HashMap<String, usize>,
}

/// How an alias is named as what makes an output.
const ALIAS_IN: &str = "an alias in ";
/// How what every site has is.
const ITSELF: &str = "the render itself";
/// How a feed is.
const FEED: &str = "the feed ";
/// What to do about a redirect where something else is.
const NOTHING_ELSE: &str =
    "remove the line, or what is at its address: a redirect stands where nothing else does";
/// What to do about a path that none can be.
const PATHS: &str = "a path stays within the site: short plain names between slashes, and no `..`";

/// Whether what makes an output is a content or its alias.
fn is_claim(by: &str) -> bool {
    by.starts_with(CONTENT) || by.starts_with(ALIAS_IN)
}

/// The one output of a job that a copied file may replace. Pages are still rendered, for what is wrong with them.
pub(super) fn job_output(site: &Site, job: &Job) -> Option<String> {
    let library = &site.library;
    Some(match job {
        Job::Section(id) => output_of(&library.section(*id).path),
        Job::SectionPager(id, n) => output_of(&section_pager(library.section(*id), *n)?.path_of(*n)),
        Job::TaxonomyList(index) => output_of(&library.taxonomies[*index].path),
        Job::Term(index, number) => output_of(&library.taxonomies[*index].terms[*number].path),
        Job::TermPager(index, number, n) => {
            let taxonomy = &library.taxonomies[*index];
            output_of(&term_pager(taxonomy, &taxonomy.terms[*number], *n)?.path_of(*n))
        }
        Job::Feed(_, path, _) | Job::Redirect { path, .. } | Job::Generated(path) => path.clone(),
        Job::Search(lang) => search::index_name(site.config.search_for(lang), lang),
        Job::Sitemap => "sitemap.xml".to_owned(),
        Job::Robots => "robots.txt".to_owned(),
        Job::NotFound => "404.html".to_owned(),
        Job::ThemeAsset { hashed, .. } => hashed.clone(),
        Job::Page(_) | Job::Check(_) | Job::Copy { .. } => return None,
    })
}
