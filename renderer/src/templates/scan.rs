//! What templates read, found in their texts: the fields that are named, whose pages' text, which templates they call.

mod fields;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use blake3::Hash;
use regex::Regex;

use super::pieces::{Piece, offset, pieces};
use super::{Field, Fields, Needs, Sheaf};
use crate::theme;
use fields::{
    asks, compares_whole, counts_pages_only, counts_terms_only, fields_of_others, names, reads_all_data,
    reads_whole, where_paginated,
};
pub(super) use fields::{mentioned_fields, reads_any};

pub(super) fn digest<'t>(texts: impl Iterator<Item = &'t str>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

static REFERENCES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\{%-?\s*(?:extends|include)\s*["'`]([^"'`]+)["'`]"#).ok());
static COMPONENTS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%-?\s*component\s+([A-Za-z_][A-Za-z0-9_.]*)\s*\(").ok());
static DATA: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\bdata\.([A-Za-z_][A-Za-z0-9_]*)|get_data\(\s*name\s*=\s*["']([^"']+)["']"#).ok()
});
static CALLS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"<\s*([A-Za-z_][A-Za-z0-9_.]*)").ok());

/// The components that templates define.
pub(super) fn components<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let Some(component) = COMPONENTS.as_ref() else { return Vec::new() };
    texts.flat_map(|text| component.captures_iter(text).map(|c| c.extract::<1>().1[0])).collect()
}

/// Where a template defines a component.
pub(super) fn definition(text: &str, component: &str) -> Option<usize> {
    let found = definitions(text).into_iter().find(|(name, _)| *name == component);
    found.map(|(name, _)| offset(text, name))
}

/// The components that a template defines, and where each stands in it. What is commented out, or raw, defines none.
fn definitions(text: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    let mut open = None;
    for piece in pieces(text) {
        let Piece::Tag(code, ..) = piece else { continue };
        let whole = piece.whole(text);
        let start = offset(text, whole);
        let begun = COMPONENTS.as_ref().and_then(|re| re.captures(whole)?.get(1));
        if let Some(name) = begun {
            open = Some((name.as_str(), start));
        } else if code.trim_start().starts_with("endcomponent") {
            found.extend(open.take().map(|(name, begin)| (name, begin..start + whole.len())));
        }
    }
    found
}

static ASSIGNED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%-?\s*set(?:_global)?\s+([A-Za-z_][A-Za-z0-9_]*)").ok());

/// The variables that a template sets.
pub(crate) fn assigned(text: &str) -> impl Iterator<Item = &str> {
    ASSIGNED.iter().flat_map(|re| re.captures_iter(text)).map(|c| c.extract::<1>().1[0])
}

/// A tag that names another template.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Extends,
    Include,
}

static EXTENDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\{%-?\s*extends\s*["'`]([^"'`]+)["'`]\s*-?%\}"#).ok());
static INCLUDES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\{%-?\s*include\s*["'`]([^"'`]+)["'`]\s*-?%\}"#).ok());

/// The template that one extends.
pub(super) fn parent(text: &str) -> Option<&str> {
    Some(EXTENDS.as_ref()?.captures(text)?.extract::<1>().1[0])
}

/// A template with blanks for all tags of a kind, so that every other place in it stays what it was.
pub(super) fn without(text: &str, tag: Tag) -> String {
    let tags = match tag {
        Tag::Extends => &EXTENDS,
        Tag::Include => &INCLUDES,
    };
    let blank = |found: &regex::Captures<'_>| -> String {
        found[0].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
    };
    tags.as_ref().map_or_else(|| text.to_owned(), |tags| tags.replace_all(text, blank).into_owned())
}

fn references(text: &str) -> Vec<String> {
    REFERENCES.as_ref().map_or_else(Vec::new, |re| re.captures_iter(text).map(|c| c[1].to_owned()).collect())
}

/// Templates that a render asks for by these names; all others are asked for by content, or by these.
pub(crate) const BY_NAME: &[&str] = &[
    "404.html",
    "robots.txt",
    "sitemap.xml",
    "split_sitemap_index.xml",
    "atom.xml",
    "rss.xml",
    "anchor-link.html",
    "summary-cutoff.html",
    "internal/alias.html",
    "index.html",
    "section.html",
    "page.html",
    "taxonomy_list.html",
    "taxonomy_single.html",
    "search.html",
];

/// Kinds of files that Zola does not read, and that may say `{{` for reasons of their own.
const NOT_OF_ZOLA: &[&str] = &["css", "csv", "js", "svg", "toml", "yaml", "yml"];

/// All templates of the site and its theme, and those built-in ones that are asked for.
///
/// Built-in templates that nothing uses are left out, since the engine checks all it is given: a site's `base.html`
/// need not have the blocks that a built-in page fills. So are, in a site that is Zola's alone, files that Zola would not
/// read.
pub(super) fn reachable(sheaves: &[Sheaf], beyond_zola: bool) -> BTreeMap<String, String> {
    let is_read = |name: &str| {
        beyond_zola || !name.rsplit_once('.').is_some_and(|(_, kind)| NOT_OF_ZOLA.contains(&kind))
    };
    let mut texts = BTreeMap::new();
    let mut wanted: Vec<String> = BY_NAME.iter().map(|name| (*name).to_owned()).collect();
    let mut open = Vec::new();
    for sheaf in sheaves.iter().filter(|sheaf| !sheaf.folder.is_empty()) {
        for (name, text) in sheaf.templates.iter().filter(|(name, _)| is_read(name)) {
            texts.insert(format!("{}{name}", sheaf.prefix), text.clone());
            open.push(text.clone());
        }
    }
    let mut uses_components = false;
    for text in &open {
        wanted.extend(references(text));
        uses_components |= text.contains("<theme.");
    }
    let mut seen = HashSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let found = sheaves.iter().find_map(|sheaf| {
            let full = format!("{}{name}", sheaf.prefix);
            sheaf.templates.get(&name).map(|text| (full, text)).or_else(|| {
                let bare = name.strip_prefix(&*sheaf.prefix).filter(|_| !sheaf.prefix.is_empty())?;
                sheaf.templates.get(bare).map(|text| (name.clone(), text))
            })
        });
        if let Some((full, text)) = found
            && !texts.contains_key(&full)
        {
            uses_components |= text.contains("<theme.");
            wanted.extend(references(text));
            texts.insert(full, text.clone());
        }
    }
    if uses_components && let Some(sheaf) = sheaves.iter().find(|sheaf| sheaf.prefix == theme::THEME_PREFIX) {
        for (name, text) in sheaf.templates.iter().filter(|(_, text)| text.contains("component theme.")) {
            texts.insert(format!("{}{name}", sheaf.prefix), text.clone());
        }
    }
    texts
}

/// Searches template sources for what they read.
pub(super) struct Scan<'a> {
    /// Each template without the components it defines.
    bodies: HashMap<&'a str, String>,
    components: HashMap<String, String>,
    prefixes: &'a [String],
}

impl<'a> Scan<'a> {
    pub(super) fn new(texts: &'a BTreeMap<String, String>, prefixes: &'a [String]) -> Self {
        let mut bodies = HashMap::new();
        let mut components = HashMap::new();
        // Of two components of one name the site's own is called, then the theme's.
        let rank =
            |name: &str| prefixes.iter().position(|prefix| name.starts_with(prefix)).map_or(0, |i| i + 1);
        let mut ordered: Vec<(&String, &String)> = texts.iter().collect();
        ordered.sort_by_key(|(name, _)| rank(name));
        for (name, text) in ordered {
            let mut rest = String::with_capacity(text.len());
            let mut position = 0;
            for (called, place) in definitions(text) {
                rest.push_str(&text[position..place.start]);
                position = place.end;
                components.entry(called.to_owned()).or_insert_with(|| text[place].to_owned());
            }
            rest.push_str(&text[position..]);
            bodies.insert(name.as_str(), rest);
        }
        Self { bodies, components, prefixes }
    }

    fn resolve(&self, name: &str) -> Option<&'a str> {
        if let Some((known, _)) = self.bodies.get_key_value(name) {
            return Some(known);
        }
        self.prefixes.iter().find_map(|prefix| {
            let full = format!("{prefix}{name}");
            self.bodies.get_key_value(full.as_str()).map(|(known, _)| *known)
        })
    }

    pub(super) fn needs(&self, name: &str) -> Needs {
        let mut closure = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        let mut open = vec![name.to_owned()];
        let mut seen = HashSet::new();
        let mut called = HashSet::new();
        while let Some(name) = open.pop() {
            let Some(resolved) = self.resolve(&name) else { continue };
            if seen.insert(resolved) {
                closure.push(resolved.to_owned());
                self.follow(&self.bodies[resolved], &mut texts, &mut open, &mut called);
            }
        }
        let mut data = Vec::new();
        if let Some(re) = DATA.as_ref() {
            for text in &texts {
                data.extend(
                    re.captures_iter(text)
                        .filter_map(|c| Some(c.iter().skip(1).flatten().next()?.as_str().to_owned())),
                );
            }
        }
        // The built-in theme shows what is paginated by its pagers alone.
        let of_theme = closure.iter().filter(|name| name.starts_with(theme::THEME_PREFIX));
        let of_theme: Vec<&str> = of_theme.map(|name| &*self.bodies[name.as_str()]).collect();
        let all_but = |these: Fields| -> Vec<&str> {
            let others = Field::ALL.iter().filter(|field| !these.has(**field));
            others.map(|field| field.name()).collect()
        };
        let all_but_pages = all_but(Fields::of(&[Field::Pages]));
        let all_but_text = all_but(Fields::CONTENT);
        let compares = texts.iter().any(|text| compares_whole(text));
        Needs {
            fields: if compares { Fields::ALL } else { fields_of_others(&texts) },
            compares,
            pages_counted_only: texts.iter().all(|text| counts_pages_only(text)),
            terms_counted_only: counts_terms_only(&texts),
            term_pages: texts.iter().any(|text| {
                let text = where_paginated(text);
                reads_whole(&text, "term", &["name", "slug", "path", "permalink", "page_count"])
            }),
            section_pages: texts
                .iter()
                .filter(|text| !of_theme.contains(text))
                .any(|text| reads_whole(&where_paginated(text), "section", &all_but_pages)),
            section_text: texts.iter().any(|text| reads_whole(text, "section", &all_but_text)),
            all_data: texts.iter().any(|text| reads_all_data(text)),
            extra: texts.iter().any(|text| text.contains("extra") || reads_any(text)),
            asks: texts.iter().any(|text| asks(text)),
            beside: texts.iter().any(|text| {
                reads_any(text) || [Field::Lower, Field::Higher].iter().any(|field| names(text, field.name()))
            }),
            // The order in which they were found says which is within which.
            digest: digest(closure.iter().map(String::as_str).chain(texts.iter().copied())),
            closure,
            data,
        }
    }

    /// Adds a text, the components it calls, and the names of templates that these refer to.
    fn follow<'s>(
        &'s self,
        text: &'s str,
        texts: &mut Vec<&'s str>,
        open: &mut Vec<String>,
        called: &mut HashSet<&'s str>,
    ) {
        texts.push(text);
        open.extend(references(text));
        let Some(re) = CALLS.as_ref() else { return };
        for call in re.captures_iter(text) {
            if let Some((name, body)) = self.components.get_key_value(&call[1])
                && called.insert(name)
            {
                self.follow(body, texts, open, called);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::Engine;

    fn sheaf(templates: &[(&str, &str)]) -> Sheaf {
        Sheaf {
            folder: "templates/".to_owned(),
            prefix: String::new(),
            templates: templates.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect(),
        }
    }

    #[test]
    fn the_built_in_theme_asks_no_list_for_content() {
        let engine = Engine::build(Vec::new(), true).map_err(|e| e.to_string()).unwrap();
        for name in ["index.html", "section.html", "page.html", "taxonomy_list.html", "taxonomy_single.html"]
        {
            let fields = engine.needs(name).fields;
            assert!(!fields.has(Field::Content) && !fields.has(Field::Toc), "{name}: {fields:?}");
        }
    }

    #[test]
    fn components_count_where_they_are_called() {
        let engine = Engine::build(
            vec![sheaf(&[
                ("page.html", "{{ page.content }}"),
                ("list.html", "{% include \"inner.html\" %}"),
                ("inner.html", "{{ <card p={page} /> }}"),
                ("c.html", "{% component card(p: map) %}{{ p.summary }}{% endcomponent card %}"),
            ])],
            false,
        )
        .map_err(|e| e.to_string())
        .unwrap();
        assert!(!engine.needs("page.html").fields.any(Fields::CONTENT));
        assert!(engine.needs("list.html").fields.has(Field::Summary));
        assert!(!engine.needs("list.html").fields.has(Field::Content));
    }

    #[test]
    fn a_component_is_what_the_engine_takes_for_it() {
        let engine = Engine::build(
            vec![sheaf(&[
                ("list.html", "{{ <card p={page} /> }}"),
                (
                    "a.html",
                    "{# {% component card(p: map) %}{{ p.title }}{% endcomponent card %} #}\
                     {% raw %}{% component card(p: map) %}{% endcomponent card %}{% endraw %}",
                ),
                (
                    "c.html",
                    "{% component card(p: map) %}{# before endcomponent #}{{ p.summary }}{% include`d.html` %}\
                     {% endcomponent card %}",
                ),
                ("d.html", "{{ page.toc }}{% for n in data.news-%}{% endfor %}"),
            ])],
            false,
        )
        .map_err(|e| e.to_string())
        .unwrap();
        let needs = engine.needs("list.html");
        assert!(needs.fields.has(Field::Summary) && !needs.fields.has(Field::Title), "{:?}", needs.fields);
        assert_eq!(needs.closure, ["list.html", "d.html"]);
        assert_eq!(needs.data, ["news"]);
        assert!(!needs.all_data);
    }

    #[test]
    fn values_hold_what_is_named() {
        let engine = Engine::build(
            vec![sheaf(&[(
                "page.html",
                "{{ page.title }}{% for p in x | sort(attribute=\"date\") %}{{ p ?. slug }}{% endfor %}",
            )])],
            false,
        )
        .map_err(|e| e.to_string())
        .unwrap();
        let reads = |field| engine.mentioned.has(field);
        assert!(reads(Field::Title) && reads(Field::Date) && reads(Field::Slug));
        assert!(!reads(Field::ColocatedPath));
        let engine = Engine::build(vec![sheaf(&[("page.html", "{{ page[key] }}")])], false)
            .map_err(|e| e.to_string())
            .unwrap();
        assert!(engine.mentioned.has(Field::ColocatedPath));
    }

    #[test]
    fn all_broken_templates_are_named() {
        let errors =
            Engine::build(vec![sheaf(&[("a.html", "{{ x"), ("b.html", "\n{% if %}")])], false).err().unwrap();
        assert_eq!(errors.list().len(), 2);
        assert_eq!(errors.list()[1].path.as_deref(), Some("templates/b.html"));
        assert_eq!(errors.list()[1].line, Some(2));
        let errors = Engine::build(vec![sheaf(&[("a.html", "{{ x | uper }}")])], false).err().unwrap();
        assert_eq!(errors.list()[0].hint.as_deref(), Some("did you mean `upper`?"));
        let errors = Engine::build(
            vec![sheaf(&[("a.html", "{% include 'b.html' %}"), ("b.html", "{% include 'a.html' %}")])],
            false,
        )
        .err()
        .unwrap();
        assert!(errors.list()[0].message.contains("includes itself"));
        let errors = Engine::build(
            vec![sheaf(&[("a.html", "{% extends 'b.html' %}"), ("b.html", "{% extends 'a.html' %}")])],
            false,
        )
        .err()
        .unwrap();
        assert!(errors.list()[0].message.contains("extends itself"));
    }
}
