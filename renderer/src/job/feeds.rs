//! What lists a whole site for machines: feeds, and the sitemap.

use std::collections::BTreeMap;
use std::sync::Arc;

use tera::{Map, Value};

use super::{Done, Entries, FeedOf, Result2, file, groups, one, render, template_groups};
use crate::config::{ExcludePaginated, config_path};
use crate::diagnostic::Diagnostic;
use crate::front_matter::{Date, SortBy};
use crate::library::{PageId, Taxonomy, pagers_path, sort_pages};
use crate::reads::{Node, note};
use crate::site::{Pages, Site};
use crate::templates::Fields;
use crate::value::{self, key};

/// How many addresses one sitemap file may have (sitemaps.org allows 50,000; Zola splits here).
const SITEMAP_ENTRIES_MAX: usize = 30_000;

/// A message about a text that the configuration has, with its place there where it is found.
fn in_config(site: &Site, wrong: Diagnostic, text: &str) -> Diagnostic {
    let Some(path) = config_path(&site.sources, None) else { return wrong };
    let Ok((_, config)) = site.sources.text(&path) else { return wrong };
    match config.find(&format!("\"{text}\"")) {
        Some(at) => Diagnostic { path: Some(path), ..wrong }.at(&config, at + 1),
        None => wrong,
    }
}

/// What a feed shows.
pub(super) fn entries(site: &Site, of: &FeedOf) -> Entries {
    let library = &site.library;
    let candidates: Vec<PageId> = match of {
        FeedOf::Language(lang) => {
            (0..library.pages.len() as PageId).filter(|id| *library.page(*id).lang == **lang).collect()
        }
        FeedOf::Section(id) => library.section(*id).pages.clone(),
        FeedOf::Term(index, number) => library.taxonomies[*index].terms[*number].pages.clone(),
    };
    let wanted: Vec<PageId> = candidates
        .into_iter()
        .filter(|id| {
            let page = library.page(*id);
            page.matter().include_in_feeds && !page.hidden && page.matter().render
        })
        .collect();
    let (mut sorted, _) = sort_pages(&library.pages, &wanted, SortBy::Date);
    // As in Zola, the greatest as text, whatever the offsets, and of the dates the first alone.
    let updated = sorted
        .iter()
        .filter_map(|id| library.page(*id).matter().updated.as_ref())
        .chain(sorted.first().and_then(|id| library.page(*id).date.as_ref()))
        .map(|date| &*date.text)
        .max()
        .map(Arc::from);
    sorted.truncate(site.config.feed_limit.unwrap_or(usize::MAX));
    Entries { pages: sorted.into(), updated }
}

pub(super) fn feed(site: &Arc<Site>, of: &FeedOf, path: &str, entries: &Entries) -> Result2<Done> {
    note(|| Node::Feed(path.into()));
    let library = &site.library;
    let lang = match of {
        FeedOf::Language(lang) => lang.clone(),
        FeedOf::Section(id) => library.section(*id).lang.to_string(),
        FeedOf::Term(index, _) => library.taxonomies[*index].lang.to_string(),
    };
    // A name may have folders of its own: it is that of the template, too.
    let is_end = |name: &&String| {
        let folder = path.strip_suffix(name.as_str());
        folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    };
    let names = site.config.feed_filenames_for(&lang);
    let name = names.iter().filter(is_end).max_by_key(|name| name.len()).map_or(path, String::as_str);
    let template = match site.engine.first(&[name]) {
        Some(name) => name,
        None => {
            let wrong = Diagnostic::new(format!("there is no template for the feed `{name}`"));
            let wrong = wrong.hint(format!("create templates/{name}, or use atom.xml or rss.xml"));
            return Err(vec![in_config(site, wrong, name)]);
        }
    };
    let mut context = site.context(&lang, true);
    let needs = site.engine.needs(template);
    let fields = needs.fields;
    let mut pages = Vec::with_capacity(entries.pages.len());
    for id in &*entries.pages {
        if fields.any(Fields::CONTENT) {
            site.page_html(*id, true)?;
        }
        pages.push(site.page_value(*id, fields, true));
    }
    if let Some(updated) = entries.updated.as_deref() {
        context.insert_value("last_updated", Value::from(updated));
    }
    context.insert_value("pages", Value::from(pages));
    // For templates of a site or a theme the feed of a language is found beside the default one's, as in Zola.
    let address = match of {
        FeedOf::Language(_) if !site.engine.rests_on_theme(template) => name,
        _ => path,
    };
    context.insert_value("feed_url", Value::from(format!("{}/{address}", site.base.absolute)));
    let mut names = Vec::new();
    match of {
        FeedOf::Language(_) => names.push("section:/".to_owned()),
        FeedOf::Section(id) => {
            let section = if needs.section_text || needs.section_pages {
                site.note_section(*id, Fields::ALL, true);
                let rendered = site.section_html(*id, true)?;
                site.own_section_value(*id, &rendered, &needs, true, !needs.section_pages)
            } else {
                site.section_value(*id, site.engine.mentioned.and(Fields::FRONT), true, true)
            };
            context.insert_value("section", section);
            names.push(format!("section:{}", library.section(*id).path));
        }
        FeedOf::Term(index, number) => {
            let taxonomy = &library.taxonomies[*index];
            let term = &taxonomy.terms[*number];
            context.insert_value("term", site.term_value(term, Fields::default(), true, Pages::Counted));
            context.insert_value("taxonomy", value::map(site.taxonomy_map(taxonomy, true)));
            names.push(format!("term:{}/{}", taxonomy.config.name, taxonomy.terms[*number].slug));
        }
    }
    let body = render(site, template, &context, path, true, &needs)?;
    names.extend(template_groups(&needs));
    Ok(one(file(path, body, 200, &groups(names))))
}

pub(super) fn sitemap(site: &Arc<Site>) -> Result2<Done> {
    note(|| Node::Sitemap);
    let library = &site.library;
    let mut entries: BTreeMap<String, (Option<String>, Value)> = BTreeMap::new();
    let mut add = |path: &str, updated: Option<String>, extra: Option<&Value>| {
        entries.insert(site.permalink(path, true), (updated, extra.cloned().unwrap_or_else(value::empty)));
    };
    for page in library.pages.iter().filter(|p| p.matter().render && !p.hidden) {
        let matter = page.matter();
        let updated = matter.updated.as_ref().or(page.date.as_ref()).map(Date::instant);
        add(&page.path, updated, matter.extra.as_ref());
    }
    let pagers = site.config.exclude_paginated_pages_in_sitemap == ExcludePaginated::None;
    for section in library.sections.iter().filter(|s| s.matter.render && !s.hidden) {
        add(&section.path, None, section.matter.extra.as_ref());
        if section.matter.paginate_by.is_some() && pagers && !section.pages.is_empty() {
            let base = pagers_path(&section.path, &section.matter.paginate_path);
            for n in 1..=section.pagers() {
                add(&format!("{base}{n}/"), None, None);
            }
        }
    }
    // Zola names the list of a taxonomy that no page is in, though there is none. Nobody could mend what a check says of that.
    let leads =
        |taxonomy: &Taxonomy| !taxonomy.terms.is_empty() || !(site.beyond_zola || site.found.is_some());
    for taxonomy in library.taxonomies.iter().filter(|taxonomy| taxonomy.config.render && leads(taxonomy)) {
        add(&taxonomy.path, None, None);
        for term in &taxonomy.terms {
            add(&term.path, None, None);
            if let Some(size) = taxonomy.config.paginate_by.filter(|n| *n > 0 && pagers) {
                let base = pagers_path(&term.path, taxonomy.config.paginate_path());
                for n in 1..=term.pages.len().div_ceil(size).max(1) {
                    add(&format!("{base}{n}/"), None, None);
                }
            }
        }
    }
    let all: Vec<Value> = entries
        .into_iter()
        .map(|(permalink, (updated, extra))| {
            let mut map = Map::with_capacity(3);
            map.insert(key("permalink"), Value::from(permalink));
            map.insert(key("updated"), updated.map_or_else(Value::none, Value::from));
            map.insert(key("extra"), extra);
            value::map(map)
        })
        .collect();
    let lang = &site.config.default_language;
    let write = |entries: Vec<Value>, path: &str| {
        let mut context = site.context(lang, true);
        context.insert_value("entries", Value::from(entries));
        render(site, "sitemap.xml", &context, path, true, &site.engine.needs("sitemap.xml"))
            .map(|body| file(path, body, 200, &[]))
    };
    if all.len() < SITEMAP_ENTRIES_MAX {
        return Ok(one(write(all, "sitemap.xml")?));
    }
    let mut done = Done::default();
    let mut addresses = Vec::new();
    for (i, part) in all.chunks(SITEMAP_ENTRIES_MAX).enumerate() {
        let path = format!("sitemap{}.xml", i + 1);
        done.files.push(write(part.to_vec(), &path)?);
        addresses.push(Value::from(format!("{}/{path}", site.base.absolute)));
    }
    let mut context = site.context(lang, true);
    context.insert_value("sitemaps", Value::from(addresses));
    let needs = site.engine.needs("split_sitemap_index.xml");
    let body = render(site, "split_sitemap_index.xml", &context, "sitemap.xml", true, &needs)?;
    done.files.push(file("sitemap.xml", body, 200, &[]));
    Ok(done)
}
