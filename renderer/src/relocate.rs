//! A page or a section moves: what else must change with it, so that no link breaks and no address vanishes.
//!
//! A plan is made from the site as it is and from the site as it will be, each with its own addresses, so that slugs,
//! languages and dates need not be understood here. Nothing is written; who carries the plan out is for others to say.

mod alias;
pub(crate) mod links;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Url;

use crate::check::{Finding, Severity};
use crate::config;
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::front_matter;
use crate::job;
use crate::library::{self, CONTENT};
use crate::markdown;
use crate::redirects::{self, REDIRECTS};
use crate::render::{Input, Renderer};
use crate::site::Site;
use alias::Edit;

/// What a move does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Files that move, by their site-relative paths: from, to.
    pub renames: Vec<(String, String)>,
    /// The folder that moves with all of them, if one does: from, to.
    pub folder: Option<(String, String)>,
    /// Files whose text changes, in the order of their paths.
    pub rewrites: Vec<Rewrite>,
    /// Addresses that lead to the new place from now on.
    pub aliases: Vec<String>,
    /// Addresses of files beside what moves, before and after: nothing leads from one to the other.
    pub files: Vec<(String, String)>,
    /// What is no translation of each other any more: what moves, by its new path, and a content that stays.
    pub parted: Vec<(String, String)>,
}

/// A file whose text changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Where it is, before anything moves.
    pub path: String,
    /// Its text as it is.
    pub before: String,
    /// What is put where, in order.
    pub edits: Vec<(Range<usize>, String)>,
}

impl Rewrite {
    /// Its text as it will be.
    pub fn after(&self) -> String {
        let mut out = String::with_capacity(self.before.len() + 64);
        let mut at = 0;
        for (range, put) in &self.edits {
            out.push_str(&self.before[at..range.start]);
            out.push_str(put);
            at = range.end;
        }
        out.push_str(&self.before[at..]);
        out
    }
}

impl Renderer {
    /// Plans to move content: a page's file with its translations, or a folder with all that is in it. Both paths are
    /// below `content/`; a new one that ends in a slash is a folder to move into.
    ///
    /// # Errors
    /// What is wrong with the site, before or after; that there is nothing at `old`, or something at `new`.
    pub fn relocate(&self, input: &Input, old: &str, new: &str) -> Result<Relocation, Errors> {
        let mut input = input.clone();
        // Links of drafts are rewritten too.
        input.options.drafts = true;
        let unmoved = input.clone();
        let before = sound(self, &input)?;
        let (renames, folder) = renames(&before, old, new)?;
        input.sources = input.sources.changed(&renames, []);
        let rows = input.row_pages.iter().filter_map(|row| Some(row.place.as_ref()?.0.clone())).collect();
        let after = sound(self, &input)?;
        let moved = Moved::new(&before, &after, &renames, rows);
        let parted = parted(&before, &after, &renames);
        let files = moved.files.iter().filter(|(old, new)| old != new);
        let files = files.map(|(old, new)| (old.clone(), new.clone())).collect();
        let mut plan = Relocation { renames, folder, files, parted, ..Relocation::default() };
        let mut errors = Errors::default();
        for (path, _) in before.sources.iter() {
            match moved.rewrite(&before, path, &mut plan.aliases) {
                Ok(edits) if edits.1.is_empty() => {}
                Ok((before, edits)) => plan.rewrites.push(Rewrite { path: path.to_owned(), before, edits }),
                Err(wrong) => errors.append(wrong),
            }
        }
        std::mem::take(&mut errors).into_result()?;
        // What will be must be a site: an alias may be where another page is.
        let to: HashMap<&str, &str> = plan.renames.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let texts = plan.rewrites.iter().map(|rewrite| {
            let path = to.get(rewrite.path.as_str()).copied().unwrap_or(&rewrite.path);
            (path.to_owned(), Bytes::from(rewrite.after()))
        });
        input.sources = input.sources.changed(&[], texts);
        job::plan(&Arc::new(sound(self, &input)?), &mut errors);
        std::mem::take(&mut errors).into_result()?;
        // A template asks for a page in the language that it renders, by the one name that all translations had.
        if !plan.parted.is_empty() {
            let mut known = self.check(&unmoved);
            for path in known.findings.iter_mut().filter_map(|found| found.diagnostic.path.as_mut()) {
                if let Some(new) = to.get(path.as_str()) {
                    *path = (*new).to_owned();
                }
            }
            let is_new = |found: &Finding| !known.findings.iter().any(|other| other.is_that_of(found));
            let found = self.check(&input).findings.into_iter();
            errors.extend(
                found
                    .filter(|found| found.severity == Severity::Error && is_new(found))
                    .map(|f| f.diagnostic),
            );
        }
        errors.into_result()?;
        Ok(plan)
    }
}

/// The translations that a move takes apart.
fn parted(before: &Site, after: &Site, renames: &[(String, String)]) -> Vec<(String, String)> {
    let together = |site: &Site, source: &str| -> HashSet<Arc<str>> {
        let lang = match site.library.page_of(source) {
            Some(id) => &site.library.page(id).lang,
            None => match site.library.section_of(source) {
                Some(id) => &site.library.section(id).lang,
                None => return HashSet::new(),
            },
        };
        site.library
            .translations_of(source, lang)
            .iter()
            .map(|content| site.source_of(*content).clone())
            .collect()
    };
    let to: HashMap<&str, &str> = renames.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut out = Vec::new();
    for (from, new) in renames {
        let is = together(after, new);
        let was = together(before, from).into_iter().filter(|other| !to.contains_key(&**other));
        // The shortest is that of the default language.
        let lost = was.filter(|other| !is.contains(other)).min_by_key(|other| (other.len(), other.clone()));
        out.extend(lost.map(|other| (new.clone(), other.to_string())));
    }
    out
}

/// A site with which nothing is wrong.
fn sound(renderer: &Renderer, input: &Input) -> Result<Site, Errors> {
    let mut errors = Errors::default();
    let (site, _) = renderer.prepare(input, &mut errors)?;
    errors.into_result()?;
    Ok(site)
}

type Renames = (Vec<(String, String)>, Option<(String, String)>);

/// Which files move where, and which folder where it is a whole one.
fn renames(site: &Site, old: &str, new: &str) -> Result<Renames, Diagnostic> {
    let sources = &site.sources;
    let clean = |path: &str| path.trim_matches('/').to_owned();
    let (old, into) = (clean(old), new.ends_with('/'));
    let named = |path: &str| format!("{CONTENT}{path}");
    let is_file = |path: &str| sources.get(&named(path)).is_some();
    let is_folder = |path: &str| sources.under(&named(&format!("{path}/"))).next().is_some();
    let new = clean(new);
    for path in [&old, &new] {
        if path.split('/').any(|part| matches!(part, "." | "..")) || (path.is_empty() && !into) {
            return Err(Diagnostic::new(format!("`{path}` is no path below content/")));
        }
    }
    // A bundle and a section are their folders.
    let (folder, name) = old.rsplit_once('/').unwrap_or(("", old.as_str()));
    let whole = matches!(name, "index.md" | "_index.md").then(|| folder.to_owned());
    let (old, as_folder) = match whole {
        Some(folder) if folder.is_empty() => {
            return Err(Diagnostic::new("the front page cannot be moved")
                .hint("it is what is found at the address of the site"));
        }
        Some(folder) if is_file(&old) => (folder, true),
        _ if old.ends_with(".md") && is_file(&old) => (old, false),
        _ if is_file(&format!("{old}.md")) => (format!("{old}.md"), false),
        _ if !old.is_empty() && is_folder(&old) => (old, true),
        _ => {
            let short = |path: &'_ str| {
                path.trim_end_matches(".md").trim_end_matches("index").trim_end_matches(['_', '/']).to_owned()
            };
            let known: Vec<String> =
                site.library.paths().map(short).filter(|path| !path.is_empty()).collect();
            let near = nearest(old.trim_end_matches(".md"), known.iter().map(String::as_str));
            return Err(Diagnostic::new(format!("there is no content `{old}`"))
                .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
        }
    };
    let last = old.rsplit('/').next().unwrap_or(&old);
    let joined = |folder: &str| if folder.is_empty() { last.to_owned() } else { format!("{folder}/{last}") };
    let mut out = Vec::new();
    let mut whole = None;
    if as_folder {
        let new = if into { joined(&new) } else { new };
        let new = ["/index.md", "/_index.md"].iter().find_map(|end| new.strip_suffix(end)).unwrap_or(&new);
        if new.ends_with(".md") {
            return Err(Diagnostic::new(format!("`{old}` is a folder, and `{new}` a file"))
                .hint("name a folder: what lies beside the page moves with it"));
        }
        if new == old || new.starts_with(&format!("{old}/")) {
            return Err(Diagnostic::new(format!("`{old}` cannot move into itself")));
        }
        if is_folder(new) || is_file(&format!("{new}.md")) {
            return Err(Diagnostic::new(format!("there is content at `{new}` already"))
                .hint(format!("to move it below that, write `{new}/`")));
        }
        let folder = named(&format!("{old}/"));
        for (path, _) in sources.under(&folder) {
            out.push((path.to_owned(), named(&format!("{new}/{}", &path[folder.len()..]))));
        }
        whole = Some((named(&old), named(new)));
    } else {
        let new = if into { joined(&new) } else { new };
        let new = if new.ends_with(".md") { new } else { format!("{new}.md") };
        // In all languages: `a.md`, `a.fr.md`.
        let (from, to) = (old.trim_end_matches(".md"), new.trim_end_matches(".md"));
        out.push((named(&old), named(&new)));
        for code in site.config.language_codes().into_iter().filter(|code| site.config.names_language(code)) {
            let other = named(&format!("{from}.{code}.md"));
            if sources.get(&other).is_some() {
                out.push((other, named(&format!("{to}.{code}.md"))));
            }
        }
        if old == new {
            return Err(Diagnostic::new(format!("`{old}` is there already")));
        }
    }
    match out.iter().find(|(_, to)| sources.get(to).is_some()) {
        Some((_, to)) => {
            Err(Diagnostic::in_file(to.as_str(), "there is a file already, which is not overwritten"))
        }
        None => Ok((out, whole)),
    }
}

/// Where a content or a file of it goes.
#[derive(Debug, Clone)]
struct To {
    /// Its new address within the site.
    path: String,
    /// How content names it: its path below `content/`.
    relative: String,
}

/// All that moves.
struct Moved {
    /// By address within the site, with a slash before it.
    by_address: HashMap<String, To>,
    /// By path below `content/`, as links may name it.
    by_relative: HashMap<String, String>,
    /// By source: its address before and after.
    addresses: HashMap<String, (String, String)>,
    /// Those of files beside it.
    files: BTreeMap<String, String>,
    /// What is there and stays, by its address: how content names it.
    known: HashMap<String, String>,
    /// Files whose rows make pages.
    rows: HashSet<Arc<str>>,
}

/// The address of each content.
fn addresses(site: &Site) -> BTreeMap<&str, &str> {
    let pages = site.library.pages.iter().map(|page| (&*page.source, &*page.path));
    let sections = site.library.sections.iter().map(|section| (&*section.source, &*section.path));
    pages.chain(sections).collect()
}

/// The files beside each content, by its source.
fn beside(site: &Site) -> HashMap<&str, &[Arc<str>]> {
    let pages = site.library.pages.iter().map(|page| (&*page.source, &*page.assets));
    let sections = site.library.sections.iter().map(|section| (&*section.source, &*section.assets));
    pages.chain(sections).collect()
}

fn relative(source: &str) -> &str {
    source.strip_prefix(CONTENT).unwrap_or(source)
}

impl Moved {
    fn new(before: &Site, after: &Site, renames: &[(String, String)], rows: HashSet<Arc<str>>) -> Self {
        let canonical = |source: &str| library::canonical(relative(source), &before.config).into_owned();
        let (was, is) = (addresses(before), addresses(after));
        let contents = was.iter().map(|(source, path)| ((*path).to_owned(), canonical(source)));
        let files = before.colocated.iter().map(|(output, source)| (format!("/{output}"), canonical(source)));
        let mut moved = Self {
            by_address: HashMap::new(),
            by_relative: HashMap::new(),
            addresses: HashMap::new(),
            files: BTreeMap::new(),
            known: contents.chain(files).collect(),
            rows,
        };
        let files = beside(before);
        let to: HashMap<&str, &str> = renames.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        for (from, new) in renames {
            for (from, new) in [(relative(from), relative(new)), (&*canonical(from), &*canonical(new))] {
                moved.by_relative.insert(from.to_owned(), new.to_owned());
            }
            let (Some(old), Some(path)) = (was.get(from.as_str()), is.get(new.as_str())) else { continue };
            moved.addresses.insert(from.clone(), ((*old).to_owned(), (*path).to_owned()));
            let content = To { path: (*path).to_owned(), relative: canonical(new) };
            moved.by_address.insert((*old).to_owned(), content);
            let folder = &from[..from.rfind('/').map_or(0, |i| i + 1)];
            for file in files.get(from.as_str()).copied().unwrap_or_default() {
                let Some(new) = to.get(&**file) else { continue };
                let rest = file.strip_prefix(folder).unwrap_or(file);
                let file = To { path: format!("{path}{rest}"), relative: canonical(new) };
                moved.files.insert(format!("{old}{rest}"), file.path.clone());
                moved.by_address.insert(format!("{old}{rest}"), file);
            }
        }
        moved
    }

    /// The edits of a file, and its text.
    fn rewrite(
        &self,
        site: &Site,
        path: &str,
        aliases: &mut Vec<String>,
    ) -> Result<(String, Vec<Edit>), Errors> {
        let is_content = path.starts_with(CONTENT) && path.ends_with(".md");
        let is_template = path.starts_with("templates/")
            || site.theme.as_ref().is_some_and(|name| path.starts_with(&format!("themes/{name}/templates/")));
        let is_config = config::CONFIG_NAMES.contains(&path);
        let is_data = (path.starts_with("data/") || self.rows.contains(path))
            && matches!(path.rsplit_once('.'), Some((_, "toml" | "json" | "yaml" | "yml" | "csv" | "tsv")));
        let is_redirects = path == REDIRECTS && redirects::are_read(site);
        if !(is_content || is_template || is_config || is_data || is_redirects) {
            return Ok(Default::default());
        }
        let unreadable =
            |e: &dyn std::fmt::Display| Diagnostic::in_file(path, format!("the file cannot be read: {e}"));
        let Some(file) = site.sources.get(path) else { return Ok(Default::default()) };
        let bytes = file.read().map_err(|e| unreadable(&e))?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(e) if is_content => return Err(unreadable(&e).into()),
            // A picture among the templates.
            Err(_) => return Ok(Default::default()),
        };
        let mut edits: BTreeMap<(usize, usize), String> = BTreeMap::new();
        let mut put = |(range, text): Edit| {
            edits.entry((range.start, range.end)).or_insert(text);
        };
        if is_redirects {
            // What is wrong with a line was said when outputs were planned.
            let base = Url::parse(&site.base.absolute).ok();
            let folder = base.as_ref().map_or("", |base| base.path().trim_end_matches('/'));
            for line in redirects::parse(&bytes, &mut Errors::default()) {
                let to = line.target_in(text);
                // A path there is one of the site, whatever the site is below.
                let word = &text[to.clone()];
                let new = match word.starts_with('/') {
                    true => self
                        .target(site, path, &format!("{folder}{word}"), false)
                        .and_then(|new| Some(new.strip_prefix(folder)?.to_owned())),
                    false => self.target(site, path, word, false),
                };
                if let Some(new) = new {
                    put((to, new));
                }
            }
            return Ok((text.to_owned(), in_order(edits)));
        }
        if !is_content {
            self.quoted(text, 0..text.len()).into_iter().for_each(&mut put);
            if is_data {
                let links = links::mentioned(text);
                links
                    .filter_map(|at| Some((at.clone(), self.content_link(&text[at], true)?)))
                    .for_each(&mut put);
            }
            return Ok((text.to_owned(), in_order(edits)));
        }
        let split = front_matter::split(path, text)?;
        if let Some((format, matter, offset)) = split.matter {
            self.quoted(text, offset..offset + matter.len()).into_iter().for_each(&mut put);
            if format == front_matter::Format::Yaml {
                self.bare(text, offset..offset + matter.len()).into_iter().for_each(&mut put);
            }
        }
        let body = &text[split.body..];
        let named = links::markdown(body, markdown::options(&site.config.markdown, site.math));
        for target in &named.targets {
            if let Some(new) = self.target(site, path, &target.address, target.markdown) {
                put((target.at.start + split.body..target.at.end + split.body, new));
            }
        }
        for range in links::code_of_templates(body) {
            if !named.code.iter().any(|code| code.start < range.end && range.start < code.end) {
                self.quoted(text, range.start + split.body..range.end + split.body)
                    .into_iter()
                    .for_each(&mut put);
            }
        }
        let draft = site
            .library
            .page_of(path)
            .map(|id| site.library.page(id).matter())
            .map(|matter| matter.draft || !matter.render)
            .or_else(|| {
                let matter = &site.library.section(site.library.section_of(path)?).matter;
                Some(matter.draft || !matter.render)
            });
        if let Some((old, new)) =
            self.addresses.get(path).filter(|(old, new)| old != new && draft != Some(true))
        {
            let alias = old.trim_matches('/');
            if let Some(edit) = alias::edit(path, text, alias, new)? {
                put(edit);
            }
            aliases.push(old.clone());
        }
        Ok((text.to_owned(), in_order(edits)))
    }

    /// Quoted paths of what moves: `"@/blog/a.md#x"`, and `"blog/a.md"` as functions take it.
    fn quoted(&self, text: &str, within: Range<usize>) -> Vec<Edit> {
        let start = within.start;
        let all = links::quoted(&text[within]);
        let all = all.into_iter().map(|range| range.start + start..range.end + start);
        all.filter_map(|range| {
            let path = &text[range.clone()];
            let new = match path.strip_prefix("@/") {
                // Functions take names as they are; what is written as an address stays one.
                Some(_) => self.content_link(path, path.contains('%'))?,
                None => self.by_relative.get(path).filter(|_| path.contains('.'))?.clone(),
            };
            Some((range, new))
        })
        .collect()
    }

    /// YAML's values without quotes: `link: @/blog/a.md` is none, `path: blog/a.md` is.
    fn bare(&self, text: &str, within: Range<usize>) -> Vec<Edit> {
        let mut out = Vec::new();
        let mut at = within.start;
        for line in text[within].split_inclusive('\n') {
            let value = line.trim_end().rsplit([' ', '\t']).next().unwrap_or_default();
            if let Some(new) = self.by_relative.get(value).filter(|_| value.ends_with(".md")) {
                let start = at + line.trim_end().len() - value.len();
                out.push((start..start + value.len(), new.clone()));
            }
            at += line.len();
        }
        out
    }

    /// `@/blog/a.md#x` where that moves; as an address has it, or as the file is named.
    fn content_link(&self, link: &str, is_address: bool) -> Option<String> {
        let inside = link.strip_prefix("@/")?;
        let end = inside.find('#').unwrap_or(inside.len());
        let (path, fragment) = inside.split_at(end);
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let new = self.by_relative.get(&*decoded)?;
        let new = if is_address { escaped(new) } else { new.clone() };
        Some(format!("@/{new}{fragment}"))
    }

    /// What the target of a link in a content becomes; none where it stays.
    fn target(&self, site: &Site, source: &str, address: &str, markdown: bool) -> Option<String> {
        if address.starts_with("@/") {
            return self.content_link(address, true).filter(|_| markdown);
        }
        if address.is_empty() || address.starts_with(['#', '?']) {
            return None;
        }
        let base = Url::parse(&site.base.absolute).ok()?;
        let folder = base.path().trim_end_matches('/').to_owned();
        let at = |path: &str| base.join(&format!("{folder}{}", release::url::escape(path))).ok();
        let moves = self.addresses.get(source);
        let here = match moves {
            Some((old, _)) => old.clone(),
            None => {
                let id = site.library.page_of(source).map(|id| &*site.library.page(id).path);
                let path = id.or_else(|| Some(&*site.library.section(site.library.section_of(source)?).path));
                path.unwrap_or("/").to_owned()
            }
        };
        let url = at(&here)?.join(address).ok()?;
        if url.origin() != base.origin() {
            return None;
        }
        let inside = url.path().strip_prefix(&folder).filter(|path| path.starts_with('/'))?;
        let path = release::url::site_path(inside)?;
        // The file of a page is another name of its address.
        let path = path.strip_suffix("/index.html").map(|folder| format!("{folder}/")).unwrap_or(path);
        let to = self.by_address.get(&path).or_else(|| self.by_address.get(&format!("{path}/")));
        let is_absolute = address.contains("://") || address.starts_with('/');
        let target = to.map_or(path.as_str(), |to| to.path.as_str());
        // What stands beside the page moves along, and its name stays good.
        let stays = match moves {
            _ if is_absolute => to.is_none_or(|to| to.path == path),
            None => to.is_none_or(|to| to.path == path),
            Some((_, new)) => at(new)?.join(address).ok()?.path() == at(target)?.path(),
        };
        if stays {
            return None;
        }
        let tail = &address[address.find(['?', '#']).unwrap_or(address.len())..];
        let rooted = unmistakable(at(target)?.path());
        if address.contains("://") {
            return Some(format!("{}{}{tail}", base.origin().ascii_serialization(), rooted));
        }
        let relative = to
            .map(|to| &to.relative)
            .or_else(|| self.known.get(&path).or_else(|| self.known.get(&format!("{path}/"))));
        match relative {
            Some(relative) if markdown && !is_absolute && !tail.starts_with('?') => {
                Some(format!("@/{}{tail}", escaped(relative)))
            }
            _ => Some(format!("{rooted}{tail}")),
        }
    }
}

/// The path of an address without what means something around it: brackets in `url(…)` and in markdown, commas in `srcset`, quotes
/// and what begins a reference in HTML.
fn unmistakable(path: &str) -> String {
    with_escapes(path, &['(', ')', ',', '\'', '&'])
}

/// A path as it stands in the target of a link: spaces and brackets would end it, an `&` may begin a reference.
fn escaped(path: &str) -> String {
    with_escapes(path, &[' ', '(', ')', '<', '>', '#', '?', '%', '&'])
}

/// A path that has these characters of ASCII by their escapes.
fn with_escapes(path: &str, of: &[char]) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match of.contains(&c) {
            true => out.push_str(&format!("%{:02X}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Edits by their places; of two that overlap the first.
fn in_order(edits: BTreeMap<(usize, usize), String>) -> Vec<Edit> {
    let mut out: Vec<Edit> = Vec::new();
    for ((start, end), text) in edits {
        if out.last().is_none_or(|(before, _)| before.end <= start) {
            out.push((start..end, text));
        }
    }
    out
}
