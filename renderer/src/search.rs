//! Search indexes: elasticlunr's inverted index, or fuse's list of pages with their text.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use release::File;
use serde::Serialize;

use crate::config::{IndexFormat, SearchConfig};
use crate::diagnostic::Diagnostic;
use crate::job::plain_file;
use crate::library::{Library, PageId, SectionId};
use crate::math;
use crate::site::Site;

/// The library that reads elasticlunr's index, in the version whose index we write.
pub(crate) const ELASTICLUNR: &[u8] = include_bytes!("../vendor/elasticlunr.min.js");

/// One page in an index.
#[derive(Debug, Serialize)]
struct Item {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// The text of HTML: markup goes, what is escaped stays so, and no line is empty. A formula of content is its source.
fn text_of(html: &str, has_math: bool) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let tail = &rest[start..];
        if let Some(comment) = tail.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        if let Some((source, after)) = math::source(tail).filter(|_| has_math) {
            out.push_str(source);
            rest = after;
            continue;
        }
        let skipped = ["script", "style"].iter().find(|name| tail[1..].starts_with(**name));
        let end = match skipped {
            Some(name) => tail.find(&format!("</{name}")).and_then(|i| tail[i..].find('>').map(|j| i + j)),
            None => tail.find('>'),
        };
        rest = end.map_or("", |end| &tail[end + 1..]);
    }
    out.push_str(rest);
    let plain = out.replace("&quot;", "\"").replace("&#39;", "'").replace('\u{a0}', "&nbsp;");
    plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn item(
    config: &SearchConfig,
    title: Option<&str>,
    description: Option<&str>,
    date: Option<&str>,
    path: &str,
    text: Option<String>,
    url: String,
) -> Item {
    let mut body = text;
    if let (Some(text), Some(max)) = (&mut body, config.truncate_content_length)
        && let Some((cut, _)) = text.char_indices().nth(max)
    {
        text.truncate(cut);
    }
    Item {
        url,
        title: title.filter(|_| config.include_title).map(str::to_owned),
        description: description.filter(|_| config.include_description).map(str::to_owned),
        date: date.filter(|_| config.include_date).map(str::to_owned),
        body,
        path: config.include_path.then(|| path.to_owned()),
    }
}

/// The index that elasticlunr.js loads.
fn elasticlunr_index(config: &SearchConfig, lang: &str, items: &[Item]) -> String {
    let mut fields = Vec::new();
    for (name, wanted) in [
        ("title", config.include_title),
        ("description", config.include_description),
        ("date", config.include_date),
        ("path", config.include_path),
        ("body", config.include_content),
    ] {
        if wanted {
            fields.push(name);
        }
    }
    let code = lang.split(['-', '_']).next().unwrap_or(lang);
    let mut index = match elasticlunr::lang::from_code(code) {
        Some(language) => elasticlunr::Index::with_language(language, &fields),
        None => elasticlunr::Index::new(&fields),
    };
    for item in items {
        let row: Vec<&str> = fields
            .iter()
            .map(|field| match *field {
                "title" => item.title.as_deref().unwrap_or(""),
                "description" => item.description.as_deref().unwrap_or(""),
                "date" => item.date.as_deref().unwrap_or(""),
                "path" => item.path.as_deref().unwrap_or(""),
                _ => item.body.as_deref().unwrap_or(""),
            })
            .collect();
        index.add_doc(&item.url, row);
    }
    index.to_json()
}

/// The pages that a language's index holds: those that sections list. A page that no section holds is none of them.
pub(crate) fn pages(library: &Library, lang: &str) -> BTreeSet<PageId> {
    let sections = library.sections.iter().filter(|s| *s.lang == *lang && s.matter.in_search_index);
    let listed = sections.flat_map(|section| section.pages.iter().copied());
    listed
        .filter(|id| {
            let matter = library.page(*id).matter();
            matter.in_search_index && matter.render
        })
        .collect()
}

/// The search index of a language.
pub(crate) fn files(site: &Arc<Site>, lang: &str) -> Result<Vec<File>, Vec<Diagnostic>> {
    let config = site.config.search_for(lang);
    let library = &site.library;
    let text = |content: &tera::Value| {
        let html = content.as_str().unwrap_or("");
        config.include_content.then(|| text_of(html, site.math))
    };
    let mut items = Vec::new();
    for (id, section) in library.sections.iter().enumerate() {
        if *section.lang != *lang || section.hidden {
            continue;
        }
        if section.matter.in_search_index && section.matter.redirect_to.is_none() && section.parsed.is_some()
        {
            let rendered = site.section_html(id as SectionId, false)?;
            items.push(item(
                config,
                section.matter.title.as_deref(),
                section.matter.description.as_deref(),
                None,
                &section.path,
                text(&rendered.content),
                site.permalink(&section.path, false),
            ));
        }
    }
    for id in pages(library, lang) {
        let page = library.page(id);
        let matter = page.matter();
        let rendered = site.page_html(id, false)?;
        items.push(item(
            config,
            page.title(),
            matter.description.as_deref(),
            page.date.as_ref().map(|d| &*d.text),
            &page.path,
            text(&rendered.content),
            site.permalink(&page.path, false),
        ));
    }
    items.sort_by(|a, b| a.url.cmp(&b.url));
    let json = if config.index_format.is_elasticlunr() {
        elasticlunr_index(config, lang, &items)
    } else {
        serde_json::to_string(&items)
            .map_err(|e| vec![Diagnostic::new(format!("the search index cannot be written: {e}"))])?
    };
    let text = match config.index_format {
        IndexFormat::ElasticlunrJson | IndexFormat::FuseJson => json,
        IndexFormat::ElasticlunrJavascript | IndexFormat::FuseJavascript => {
            format!("window.searchIndex = {json};")
        }
    };
    Ok(vec![plain_file(&index_name(config, lang), Bytes::from(text))])
}

/// The file name of a language's index.
pub(crate) fn index_name(config: &SearchConfig, lang: &str) -> String {
    let extension = match config.index_format {
        IndexFormat::ElasticlunrJson | IndexFormat::FuseJson => "json",
        IndexFormat::ElasticlunrJavascript | IndexFormat::FuseJavascript => "js",
    };
    format!("search_index.{lang}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_markup() {
        assert_eq!(text_of("<p>a <b>b</b>&amp;c</p>\n<script>x</script>\n<p>d", false), "a b&amp;c\nd");
        assert_eq!(text_of("a<!-- <b> > --> b&quot;\u{a0}c", false), "a b\"&nbsp;c");
    }
}
