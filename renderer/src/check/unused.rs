//! Files and templates of a site that nothing uses.
//!
//! A file is used where an output names it or a template reads it. Texts are searched for names word by word, and in
//! doubt a file counts as used: who is told that a file may go must be able to believe it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::{Finding, Rule, Severity, finding};
use crate::diagnostic::Diagnostic;
use crate::library::{self, CONTENT};
use crate::reads::Node;
use crate::site::Site;
use crate::templates::BY_NAME;

/// Files that are asked for though nothing names them: by browsers, by crawlers, by hosts.
const BY_CONVENTION: &[&str] = &[
    "favicon.ico",
    "favicon.svg",
    "favicon.png",
    "browserconfig.xml",
    "site.webmanifest",
    "manifest.json",
    "robots.txt",
    "ads.txt",
    "app-ads.txt",
    "humans.txt",
    "llms.txt",
    "security.txt",
    "sitemap.xml",
    "crossdomain.xml",
    "sw.js",
    "service-worker.js",
    "CNAME",
    "_headers",
    "_redirects",
    "keybase.txt",
];

/// What other hosts read fields of responses from.
const HEADERS: &str = "static/_headers";

static DEFINED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%-?\s*component\s+([A-Za-z_][A-Za-z0-9_.]*)\s*\(").ok());

/// A file that may be unused. In a site of several languages it may have an output in each.
struct Candidate {
    source: String,
    outputs: Vec<String>,
    used: AtomicBool,
}

/// What has been used so far.
pub(super) struct Usage {
    files: Vec<Candidate>,
    /// Candidates by the last part of their output's path, by their source, by their output.
    by_name: HashMap<String, Vec<usize>>,
    by_source: HashMap<String, usize>,
    by_output: HashMap<String, usize>,
    /// Names of templates that outputs are made by.
    templates: Mutex<HashSet<String>>,
    /// Files in `content/` that a template reads.
    read: Mutex<HashSet<String>>,
    copied: Mutex<HashSet<String>>,
}

impl Usage {
    pub(super) fn new(site: &Site) -> Self {
        let own = site.sources.under("static/").map(|(source, _)| (source, &source["static/".len()..]));
        let beside = site.colocated.iter().map(|(output, source)| (&**source, output.as_str()));
        let mut usage = Self {
            files: Vec::new(),
            by_name: HashMap::new(),
            by_source: HashMap::new(),
            by_output: HashMap::new(),
            templates: Mutex::default(),
            read: Mutex::default(),
            copied: Mutex::default(),
        };
        for (source, output) in own.chain(beside) {
            let index = *usage.by_source.entry(source.to_owned()).or_insert(usage.files.len());
            if index == usage.files.len() {
                let used = AtomicBool::new(false);
                usage.files.push(Candidate { source: source.to_owned(), outputs: Vec::new(), used });
            }
            let name = output.rsplit('/').next().unwrap_or(output);
            usage.by_name.entry(name.to_owned()).or_default().push(index);
            usage.by_output.insert(output.to_owned(), index);
            usage.files[index].outputs.push(output.to_owned());
        }
        usage
    }

    fn mark(&self, index: usize) {
        self.files[index].used.store(true, Ordering::Relaxed);
    }

    /// A link leads to this output.
    pub(super) fn output(&self, output: &str) {
        if let Some(index) = self.by_output.get(output) {
            self.mark(*index);
        }
    }

    /// Something is made of this file.
    pub(super) fn source(&self, source: &str) {
        if let Some(index) = self.by_source.get(source) {
            self.mark(*index);
        }
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned());
    }

    /// This file is an output; others may be ignored.
    pub(super) fn copied(&self, source: &str) {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned());
    }

    /// Something was read while an output was made.
    pub(super) fn read(&self, site: &Site, node: &Node) {
        match node {
            Node::File(path) => {
                if let Some((source, _)) = site.data_digest(path) {
                    self.source(&source);
                }
            }
            Node::Template(name) => {
                self.templates.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string());
            }
            _ => {}
        }
    }

    /// Marks what a text names.
    pub(super) fn text(&self, text: &str) {
        let ends = |c: char| c.is_whitespace() || "\"'<>()`,;=\\?#&|{}[]".contains(c);
        for word in text.split(ends).filter(|word| word.contains('.')) {
            let decoded = percent_encoding::percent_decode_str(word).decode_utf8_lossy();
            let word = decoded.trim_start_matches(['.', '/']);
            let name = word.rsplit('/').next().unwrap_or(word);
            // A full stop may follow a name.
            for (name, word) in [(name, word), (name.trim_end_matches('.'), word.trim_end_matches('.'))] {
                let Some(candidates) = self.by_name.get(name) else { continue };
                for index in candidates {
                    let mut outputs = self.files[*index].outputs.iter();
                    if outputs.any(|output| ends_with_path(output, word) || ends_with_path(word, output)) {
                        self.mark(*index);
                    }
                }
            }
        }
    }

    /// What nothing uses.
    pub(super) fn findings(&self, site: &Site) -> Vec<Finding> {
        let mut out = Vec::new();
        let mut say = |rule: Rule, source: &str, message: &str, hint: &str| {
            out.push(finding(Severity::Warning, rule, Diagnostic::in_file(source, message).hint(hint)));
        };
        let copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if site.beyond_zola && copied.contains(HEADERS) {
            let hint = "say it by [[response]] in bakehouse.toml, and remove the file or name it in `ignored_static`";
            say(Rule::UnusedFile, HEADERS, "it is published as it is, and gives no response a field", hint);
        }
        for file in &self.files {
            let asked_for = file.outputs.iter().any(|output| is_asked_for(output));
            if !file.used.load(Ordering::Relaxed) && copied.contains(&file.source) && !asked_for {
                let message = "no output names the file";
                say(Rule::UnusedFile, &file.source, message, "remove it, or link to it");
            }
        }
        let ignored = library::globs("zola.toml", &site.config.ignored_content).unwrap_or_default();
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let beside: HashSet<&str> = site.colocated.values().map(|source| &**source).collect();
        for (source, _) in site.sources.under(CONTENT) {
            let inside = &source[CONTENT.len()..];
            let name = inside.rsplit('/').next().unwrap_or(inside);
            let left_out =
                name.ends_with(".md") || name.starts_with('.') || library::is_ignored(&ignored, inside);
            if !left_out && !beside.contains(source) && !read.contains(source) {
                let message = "the file is not published: it lies beside no page that takes it along";
                let hint = "put it into the folder of a page that is an index.md, into that of a section, or into static/";
                say(Rule::UnusedFile, source, message, hint);
            }
        }
        for source in self.unused_templates(site) {
            let message = "no output uses the template";
            say(
                Rule::UnusedTemplate,
                &source,
                message,
                "remove it, or name it in `template` of front matter",
            );
        }
        out
    }

    fn unused_templates(&self, site: &Site) -> BTreeSet<String> {
        const FOLDER: &str = "templates/";
        let rendered = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used: HashSet<String> = HashSet::new();
        for name in rendered.iter().map(String::as_str).chain(BY_NAME.iter().copied()) {
            used.insert(name.to_owned());
            used.extend(site.engine.needs(name).closure.iter().cloned());
        }
        let read = |path: &str| {
            let bytes = site.sources.get(path)?.read().ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        // Components are used where they are called: by templates in use, and by content.
        let mut unsure: Vec<(String, String)> = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for (path, _) in site.sources.under(FOLDER).filter(|(path, _)| crate::render::is_template(path)) {
            let Some(text) = read(path) else { continue };
            let name = path[FOLDER.len()..].to_owned();
            if used.contains(&name) { texts.push(text) } else { unsure.push((name, text)) }
        }
        if unsure.is_empty() {
            return BTreeSet::new();
        }
        if let Some(theme) = &site.theme {
            let folder = format!("themes/{theme}/templates/");
            texts.extend(site.sources.under(&folder).filter_map(|(path, _)| read(path)));
        }
        let pages = site.library.pages.iter().map(|page| (&page.parsed, &page.source));
        let sections = site.library.sections.iter().filter_map(|s| Some((s.parsed.as_ref()?, &s.source)));
        let templated = pages.chain(sections).filter(|(parsed, _)| parsed.templated);
        texts.extend(templated.filter_map(|(_, source)| read(source)));
        while let Some(at) = unsure.iter().position(|(name, text)| is_called(name, text, &texts)) {
            let (_, text) = unsure.swap_remove(at);
            texts.push(text);
        }
        unsure.into_iter().map(|(name, _)| format!("{FOLDER}{name}")).collect()
    }
}

/// Whether one of these texts calls a component that a template defines, or includes or extends the template.
fn is_called(name: &str, template: &str, texts: &[String]) -> bool {
    let defined = DEFINED.as_ref().map_or_else(Vec::new, |re| {
        re.captures_iter(template).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    });
    let names = |text: &str, component: &str| {
        text.match_indices(component).any(|(at, _)| {
            let after = text[at + component.len()..].chars().next();
            text[..at].trim_end().ends_with('<')
                && !after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
        })
    };
    texts.iter().any(|text| {
        text.contains(&format!("\"{name}\""))
            || text.contains(&format!("'{name}'"))
            || defined.iter().any(|component| names(text, component))
    })
}

/// Whether the last parts of a path are these.
fn ends_with_path(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Whether someone asks for an output though no page names it.
fn is_asked_for(output: &str) -> bool {
    let name = output.rsplit('/').next().unwrap_or(output);
    output.split('/').any(|part| part.starts_with('.'))
        || name.ends_with(".html")
        || name.ends_with(".htm")
        // Licences of fonts and the like go with what they are for.
        || ["license", "licence", "ofl", "readme", "copying", "notice"]
            .iter()
            .any(|word| name.to_ascii_lowercase().starts_with(word))
        || (!output.contains('/')
            && (BY_CONVENTION.contains(&name) || name.starts_with("apple-touch-icon")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_end_in_whole_parts() {
        assert!(ends_with_path("a/b/c.png", "c.png") && ends_with_path("a/b.png", "a/b.png"));
        assert!(!ends_with_path("a/bc.png", "c.png"));
        for output in ["favicon.ico", ".well-known/x", "old/page.html", "fonts/OFL.txt"] {
            assert!(is_asked_for(output), "{output}");
        }
        for output in ["a/favicon.ico", "photo.jpg", "notes.txt"] {
            assert!(!is_asked_for(output), "{output}");
        }
    }

    #[test]
    fn components_are_called_by_name() {
        let template = "{% component my.card(x) %}{% endcomponent %}";
        let call = |text: &str| is_called("c.html", template, &[text.to_owned()]);
        assert!(call("{{ <my.card x={1} /> }}") && call("{% < my.card %}") && call("{% include 'c.html' %}"));
        assert!(!call("{{ <my.cards /> }}") && !call("my.card"));
    }
}
