//! Values as what a page and a section mean by them, and what is wrong with them.

use tera::{Map, Value};

use super::{Date, PageMatter, Place, SectionMatter, SortBy, point};
use crate::config::AnchorLinks;
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::sources::Sources;
use crate::value;

const PAGE_KEYS: &[&str] = &[
    "title",
    "description",
    "updated",
    "date",
    "expiry_date",
    "draft",
    "render",
    "slug",
    "path",
    "taxonomies",
    "weight",
    "authors",
    "aliases",
    "template",
    "in_search_index",
    "include_in_feeds",
    "hidden",
    "cache_groups",
    "extra",
];

const SECTION_KEYS: &[&str] = &[
    "title",
    "description",
    "sort_by",
    "weight",
    "template",
    "paginate_by",
    "paginate_reversed",
    "paginate_path",
    "insert_anchor_links",
    "render",
    "draft",
    "redirect_to",
    "in_search_index",
    "transparent",
    "hidden",
    "page_template",
    "aliases",
    "generate_feeds",
    "cache_groups",
    "extra",
];

/// What the engine calls a kind of value, in words for authors.
pub(crate) fn in_words(kind: &str) -> &str {
    match kind.trim_start_matches('&') {
        "map/struct" | "Map" => "a table",
        "array" | "[Value]" | "Vec<Value>" => "a list",
        "string" | "str" | "String" => "a text",
        "bool" => "true or false",
        "i64" | "u64" | "i128" | "u128" | "f64" | "i32" | "u32" | "usize" | "u8" => "a number",
        "none" => "nothing",
        "undefined" => "something that is not defined",
        _ => kind,
    }
}

struct Reader<'a> {
    place: &'a Place<'a>,
    values: Map,
    errors: Errors,
}

impl Reader<'_> {
    fn take(&mut self, name: &'static str) -> Option<Value> {
        let found = self.values.shift_remove(&value::key(name))?;
        if found.is_none() { None } else { Some(found) }
    }

    fn wrong(&mut self, name: &str, expected: &str, got: &Value) {
        let kind = match in_words(got.name()) {
            "a list" if expected == "a list of texts" => "a list of other things",
            "a number" if expected == "a whole number" => "one with a fraction",
            kind => kind,
        };
        self.errors.push(
            self.place
                .at_key(name, format!("`{name}` is {expected}, not {kind}"))
                .hint(format!("write {expected}, or leave the key out")),
        );
    }

    fn text(&mut self, name: &'static str) -> Option<Box<str>> {
        let found = self.take(name)?;
        match found.as_str() {
            Some(text) => Some(text.into()),
            None => {
                self.wrong(name, "a text", &found);
                None
            }
        }
    }

    fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.maybe_flag(name).unwrap_or(default)
    }

    fn maybe_flag(&mut self, name: &'static str) -> Option<bool> {
        let found = self.take(name)?;
        if found.as_bool().is_none() {
            self.wrong(name, "true or false", &found);
        }
        found.as_bool()
    }

    fn integer(&mut self, name: &'static str) -> Option<i64> {
        let found = self.take(name)?;
        match found.as_i64() {
            Some(number) => Some(number),
            None => {
                self.wrong(name, "a whole number", &found);
                None
            }
        }
    }

    fn count(&mut self, name: &'static str) -> Option<usize> {
        let number = self.integer(name)?;
        let count = usize::try_from(number).ok();
        if count.is_none() {
            let message = format!("`{name}` is a whole number from 0 on, not {number}");
            self.errors.push(self.place.at_key(name, message).hint("write how many, or leave the key out"));
        }
        count
    }

    fn date(&mut self, name: &'static str) -> Option<Date> {
        let found = self.take(name)?;
        let Some(text) = found.as_str() else {
            self.wrong(name, "a date", &found);
            return None;
        };
        let date = Date::parse(text);
        if date.is_none() {
            self.errors.push(
                self.place
                    .at_key(name, format!("`{name}` is no date: {text}"))
                    .hint("write 2026-01-31 or 2026-01-31T10:30:00Z"),
            );
        }
        date
    }

    fn texts(&mut self, name: &'static str) -> Vec<Box<str>> {
        let Some(found) = self.take(name) else { return Vec::new() };
        let list = found
            .as_array()
            .map(|list| list.iter().map(|v| v.as_str().map(Box::from)).collect::<Option<Vec<_>>>());
        match list.flatten() {
            Some(list) => list,
            None => {
                self.wrong(name, "a list of texts", &found);
                Vec::new()
            }
        }
    }

    fn extra(&mut self) -> Option<Value> {
        let found = self.take("extra")?;
        match found.as_map() {
            Some(map) if map.is_empty() => None,
            Some(_) => Some(found),
            None => {
                self.wrong("extra", "a table", &found);
                None
            }
        }
    }

    fn taxonomies(&mut self) -> Vec<(Box<str>, Vec<Box<str>>)> {
        let Some(found) = self.take("taxonomies") else { return Vec::new() };
        let Some(map) = found.as_map() else {
            self.wrong("taxonomies", "a table", &found);
            return Vec::new();
        };
        let mut out = Vec::new();
        for (kind, terms) in map {
            let kind = kind.to_string();
            let list = terms.as_array().map(|list| {
                list.iter().map(|v| v.as_str().map(Box::from)).collect::<Option<Vec<Box<str>>>>()
            });
            match list.flatten() {
                Some(list) if list.iter().any(|term| term.trim().is_empty()) => {
                    let wrong = self.place.at_key(&kind, format!("`{kind}` has an empty term"));
                    self.errors.push(wrong.hint("remove the empty text from the list"));
                }
                Some(list) => out.push((kind.into_boxed_str(), list)),
                None => self.wrong(&kind, "a list of texts", terms),
            }
        }
        out
    }
}

/// Types the front matter of a page.
///
/// # Errors
/// Each key with a value that it cannot have.
pub(crate) fn page(place: &Place<'_>, values: Map) -> Result<PageMatter, Errors> {
    let mut reader = Reader { place, values, errors: Errors::default() };
    let matter = PageMatter {
        title: reader.text("title"),
        description: reader.text("description"),
        updated: reader.date("updated"),
        date: reader.date("date"),
        expiry_date: reader.date("expiry_date"),
        draft: reader.flag("draft", false),
        render: reader.flag("render", true),
        slug: reader.text("slug"),
        path: reader.text("path"),
        taxonomies: reader.taxonomies(),
        weight: reader.integer("weight"),
        authors: reader.texts("authors"),
        aliases: reader.texts("aliases"),
        template: reader.text("template"),
        in_search_index: reader.flag("in_search_index", true),
        include_in_feeds: reader.flag("include_in_feeds", true),
        hidden: reader.maybe_flag("hidden"),
        cache_groups: reader.texts("cache_groups"),
        extra: reader.extra(),
        unknown: Vec::new(),
    };
    let unknown = reader.values.keys().map(|name| name.to_string().into()).collect();
    let matter = PageMatter { unknown, ..matter };
    if let Some(path) = &matter.path
        && path.trim_matches('/').is_empty()
        && !path.contains('/')
    {
        let wrong = place.at_key("path", "`path` is empty".to_owned());
        reader.errors.push(wrong.hint("write \"/\" for the front page, or leave the key out"));
    }
    for (name, given) in [("path", &matter.path), ("slug", &matter.slug)] {
        if given.as_deref().is_some_and(|p| p.split('/').any(|part| part == "..")) {
            let wrong = place.at_key(name, format!("`{name}` leads out of the site"));
            reader.errors.push(wrong.hint("write an address of this site, without `..`"));
        }
    }
    reader.errors.into_result()?;
    Ok(matter)
}

/// Says that a page has a key that means nothing: sites pass with it, as they do with Zola.
pub(crate) fn unknown_key(
    sources: &Sources,
    page: &str,
    name: &str,
    others: usize,
    is_taxonomy: bool,
) -> Diagnostic {
    let more = if others > 0 { format!(", and of {others} more") } else { String::new() };
    let message = format!("unknown key `{name}` in the front matter of a page{more}");
    let hint = match nearest(name, PAGE_KEYS.iter().copied()) {
        _ if is_taxonomy => format!("terms go into [taxonomies], as `{name}` there"),
        Some(near) => format!("did you mean `{near}`?"),
        None => "data of your own goes into [extra]".to_owned(),
    };
    point(sources, Diagnostic::in_file(page, message).hint(hint), "", &[name])
}

/// Types the front matter of a section.
///
/// # Errors
/// Each unknown key, and each key with a value that it cannot have.
pub(crate) fn section(place: &Place<'_>, values: Map) -> Result<SectionMatter, Errors> {
    let mut reader = Reader { place, values, errors: Errors::default() };
    let sort_by = reader.text("sort_by");
    let anchors = reader.text("insert_anchor_links");
    let mut matter = SectionMatter {
        title: reader.text("title"),
        description: reader.text("description"),
        sort_by: SortBy::None,
        weight: reader.integer("weight").unwrap_or(0),
        template: reader.text("template"),
        paginate_by: reader.count("paginate_by").filter(|n| *n > 0),
        paginate_reversed: reader.flag("paginate_reversed", false),
        paginate_path: reader.text("paginate_path").unwrap_or_else(|| "page".into()),
        insert_anchor_links: None,
        render: reader.flag("render", true),
        draft: reader.flag("draft", false),
        redirect_to: reader.text("redirect_to"),
        in_search_index: reader.flag("in_search_index", true),
        transparent: reader.flag("transparent", false),
        hidden: reader.maybe_flag("hidden"),
        page_template: reader.text("page_template"),
        aliases: reader.texts("aliases"),
        generate_feeds: reader.flag("generate_feeds", false),
        cache_groups: reader.texts("cache_groups"),
        extra: reader.extra(),
    };
    const SORTS: [(&str, SortBy); 8] = [
        ("none", SortBy::None),
        ("date", SortBy::Date),
        ("update_date", SortBy::UpdateDate),
        ("title", SortBy::Title),
        ("title_bytes", SortBy::TitleBytes),
        ("weight", SortBy::Weight),
        ("slug", SortBy::Slug),
        ("permalink", SortBy::Permalink),
    ];
    if let Some(name) = sort_by {
        match SORTS.iter().find(|(known, _)| **known == *name) {
            Some((_, sort)) => matter.sort_by = *sort,
            None => {
                let near = nearest(&name, SORTS.iter().map(|(known, _)| *known));
                reader.errors.push(
                    place.at_key("sort_by", format!("pages cannot be sorted by `{name}`")).hint(
                        near.map_or_else(
                            || format!("known are {}", SORTS.map(|(known, _)| known).join(", ")),
                            |near| format!("did you mean `{near}`?"),
                        ),
                    ),
                );
            }
        }
    }
    if let Some(name) = anchors {
        match AnchorLinks::parse(&name) {
            Some(anchors) => matter.insert_anchor_links = Some(anchors),
            None => reader.errors.push(
                place
                    .at_key("insert_anchor_links", format!("`insert_anchor_links` cannot be `{name}`"))
                    .hint("one of none, left, right, heading"),
            ),
        }
    }
    let unknown: Vec<String> = reader.values.keys().map(ToString::to_string).collect();
    for name in unknown {
        let near = nearest(&name, SECTION_KEYS.iter().copied());
        reader.errors.push(
            place.at_key(&name, format!("unknown key `{name}` in the front matter of a section")).hint(
                match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "data of your own goes into [extra]".to_owned(),
                },
            ),
        );
    }
    reader.errors.into_result()?;
    Ok(matter)
}
