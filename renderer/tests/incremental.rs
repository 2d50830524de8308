//! Whatever is edited, a render that knows the last one gives what a render that knows nothing gives, byte for byte:
//! outputs, what is gone, warnings and errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/packs.rs"]
mod packs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use release::File;
use renderer::data::{self, DataSet, SourceConfig};
use renderer::{
    Errors, Handed, ImageOptions, Input, Memo, Options, Readers, RenderId, Renderer, Sink, SinkClosed,
    Sources, Summary,
};

use self::packs::Packs;

/// Sites that are edited in each of four tests, and edits of each site.
const SITES: u32 = 24;
const EDITS: usize = 40;

type Outputs = BTreeMap<String, File>;

#[derive(Default)]
struct Taken {
    put: Mutex<Outputs>,
    removed: Mutex<Vec<String>>,
}

impl Taken {
    /// Brings what a receiver has up to date; `lost` is what it may have no more.
    fn hand_over(self, summary: &Summary, outputs: &mut Outputs, lost: &str) {
        if summary.handed == Handed::All {
            outputs.clear();
        }
        let put = self.put.into_inner().unwrap();
        for path in self.removed.into_inner().unwrap() {
            assert!(!put.contains_key(&path), "{path} was put and removed");
            let there = outputs.remove(&path).is_some();
            assert!(there || path == lost, "{path} was removed and not there");
        }
        outputs.extend(put);
    }
}

impl Sink for Taken {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let before = self.put.lock().unwrap().insert(file.path.clone(), file);
        assert!(before.is_none(), "an output came twice: {before:?}");
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        self.removed.lock().unwrap().push(path.to_owned());
        Ok(())
    }
}

/// A picture, as text: a character for each byte.
fn picture(width: u32) -> String {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, 4);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![7; width as usize * 4]).unwrap();
    writer.finish().unwrap();
    bytes.into_iter().map(char::from).collect()
}

/// A site in the making: files by path, and what else a render is a function of.
#[derive(Clone)]
struct Draft {
    files: BTreeMap<String, String>,
    /// Whether the rows of the file of news make pages.
    rows: bool,
    day: i64,
    drafts: bool,
    images: u8,
}

/// One edit: what, and two choices within it.
type Edit = (u8, u8, u8);

const FOLDERS: &[&str] = &["", "blog/", "blog/deep/", "docs/", "notes/"];
const NAMES: &[&str] = &["a", "b", "c", "d", "2026-03-04-dated", "bundle/index", "e.fr"];
const TITLES: &[&str] = &["Alpha", "Beta", "Gamma", "Über <b>", "Zeta"];
const BODIES: &[&str] = &[
    "Plain words.",
    "Other words, more of them.\n\n## A heading\n\nText.",
    "Before.\n\n<!-- more -->\n\nAfter.",
    "Before.\n\n<!-- more -->\n\nAfter, changed.",
    "A [link](@/blog/a.md) and [one](@/blog/_index.md).",
    "A [link](@/docs/b.md#a-heading).",
    "A [heading](#a-heading).\n\n## A heading\n\n### Below",
    "An image ![x](/pic.png) and ![y](photo.png).",
    "```rust\nfn main() {}\n```\n",
    "```python\nx = 1\n```\n",
    "{{ <card p={page} /> }} and {{ get_url(path=\"/pic.png\") }}.",
    "{% set s = get_section(path=\"blog/_index.md\") %}{{ s.title }}: {{ s.pages | length }}.",
    "{{ load_data(path=\"data.toml\", required=false) }}",
    "{{ data.news | length }} news, {{ config.title }}.",
    "Note[^1].\n\n[^1]: A footnote.",
];
const TAGS: &[&str] = &["", "tags = [\"x\"]", "tags = [\"x\", \"y\"]", "tags = [\"Y\"]\nkinds = [\"k\"]"];
const EXTRAS: &[&str] = &[
    "",
    "weight = 2\n",
    "weight = 1\ndescription = \"d\"\ncolour = 1\n",
    "date = 2026-01-02\n",
    "date = 2026-01-03\nupdated = 2026-02-01\n",
    "date = 2026-06-03\n",
    "draft = true\n",
    "slug = \"other\"\n",
    "aliases = [\"old\", \"older/path\"]\n",
    "template = \"other.html\"\n",
    "in_search_index = false\n",
    "hidden = true\n",
    "render = false\n",
    "expiry_date = 2026-06-02\n",
    "authors = [\"me\"]\ncolour = 2\nshape = 3\n",
];
const RATINGS: &[&str] = &["extra.rating = 3", "extra.rating = \"high\"", "[extra]\nrating = 1"];
const SCHEMAS: &[&str] = &[
    "{}",
    "{ \"properties\": { \"rating\": { \"type\": \"integer\" } } }",
    "{ \"properties\": { \"rating\": { \"maximum\": 2 } }, \"additionalProperties\": false }",
    "{ \"$ref\": \"/schemas/other.json\" }",
    "{ \"type\": \"objekt\" }",
];
const SECTIONS: &[&str] = &[
    "title = \"One\"\n",
    "title = \"Two\"\nsort_by = \"date\"\n",
    "title = \"Two\"\nsort_by = \"date\"\npaginate_by = 2\n",
    "title = \"Three\"\nsort_by = \"title\"\npaginate_by = 1\npaginate_reversed = true\n",
    "title = \"Four\"\nsort_by = \"weight\"\npage_template = \"other.html\"\n",
    "title = \"Five\"\ntransparent = true\n",
    "title = \"Six\"\ngenerate_feeds = true\nsort_by = \"slug\"\n",
    "title = \"Seven\"\nredirect_to = \"docs\"\n",
    "title = \"Eight\"\nrender = false\n",
    "title = \"Nine\"\ninsert_anchor_links = \"left\"\n",
    "title = \"Ten\"\nin_search_index = false\nweight = 3\n",
    "title = \"Draft\"\ndraft = true\n",
];
const CONFIGS: &[&str] = &[
    "title = \"Site\"\ngenerate_feeds = true\nfeed_limit = 3\n",
    "title = \"Site\"\ngenerate_feeds = true\nbuild_search_index = true\n",
    "title = \"Renamed\"\ntheme = \"t\"\n",
    "title = \"Site\"\ngenerate_feeds = true\nfeed_filenames = [\"atom.xml\", \"rss.xml\"]\n[languages.fr]\ngenerate_feeds = true\ntaxonomies = [{ name = \"tags\" }, { name = \"kinds\" }]\n",
    "title = \"Site\"\n[markdown]\ninsert_anchor_links = \"right\"\n[markdown.highlighting]\ntheme = \"github-dark\"\n",
    "title = \"Site\"\n[link_checker]\ninternal_level = \"warn\"\n",
    "title = \"Site\"\nexclude_paginated_pages_in_sitemap = true\n[slugify]\npaths = \"safe\"\n[languages.fr]\n",
];
const TAXONOMIES: &[&str] = &[
    "taxonomies = [{ name = \"tags\", paginate_by = 2, feed = true }, { name = \"kinds\" }]\n",
    "taxonomies = [{ name = \"tags\" }, { name = \"kinds\", render = false }]\n",
];

/// Templates, each in some variants.
const TEMPLATES: &[(&str, &[&str])] = &[
    (
        "base.html",
        &[
            "<html>{% block main %}{% endblock %}</html>",
            "<html><nav>{% for p in get_section(path=\"_index.md\").subsections %}{% set s = get_section(path=p, metadata_only=true) %}{{ s.title }}{% endfor %}</nav>{% block main %}{% endblock %}</html>",
            "<html><aside>{% set s = get_section(path=\"blog/_index.md\", allow_missing=true) %}{% if s %}{% for p in s.pages %}{{ p.title }}{% endfor %}{% endif %}</aside>{% block main %}{% endblock %}{{ now() | date(format=\"%Y-%m-%d\") }}</html>",
            "<html>{% for t in get_taxonomy(kind=\"tags\").items %}{{ t.name }}{{ t.pages | length }}{% endfor %}{% block main %}{% endblock %}</html>",
            "<html>{% set d = load_data(path=\"data.toml\", required=false) %}{% if d %}{{ d.x }}{% endif %}{% block main %}{% endblock %}{% include \"foot.html\" %}</html>",
            "<html>{{ get_url(path=\"pic.png\", cachebust=false) }}{% block main %}{% endblock %}{{ data.news | length }}</html>",
            "<html>{% set p = get_page(path=\"blog/a.md\", allow_missing=true) %}{% if p %}{{ p.title }}{{ p.summary }}{{ p.word_count }}{% endif %}{% block main %}{% endblock %}</html>",
        ],
    ),
    (
        "page.html",
        &[
            "{% extends \"base.html\" %}{% block main %}{{ page.title }}{{ page.content | safe }}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{{ page.content | safe }}{% if page.lower %}{{ page.lower.title }}{% endif %}{% if page.higher %}{{ page.higher.permalink }}{{ page.higher.summary }}{% endif %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{{ page.title }}{% for h in page.toc %}{{ h.title }}{% endfor %}{{ page.reading_time }}{% for b in page.backlinks %}{{ b.title }}{% endfor %}{% for t in page.translations %}{{ t.permalink }}{% endfor %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{{ <card p={page} /> }}{% for a in page.ancestors %}{{ get_section(path=a).title }}{% endfor %}{{ page.taxonomies | json_encode }}{% for a in page.assets %}{{ a }}{% endfor %}{% endblock %}",
            "{{ page | json_encode }}{{ lang }}",
        ],
    ),
    (
        "section.html",
        &[
            "{% extends \"base.html\" %}{% block main %}{{ section.title }}{{ section.content | safe }}{% if paginator %}{{ paginator.current_index }}/{{ paginator.number_pagers }}{% for p in paginator.pages %}{{ <card p={p} /> }}{% endfor %}{% else %}{% for p in section.pages %}{{ <card p={p} /> }}{% endfor %}{% endif %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{% for page in section.pages %}{{ page.content | safe }}{% endfor %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{% for p in section.subsections %}{% set s = get_section(path=p) %}{{ s.title }}{% for p in s.pages %}{{ p.permalink }}{% endfor %}{% endfor %}{{ section.word_count }}{% endblock %}",
        ],
    ),
    (
        "index.html",
        &[
            "{% extends \"base.html\" %}{% block main %}{{ section.content | safe }}{% for p in section.pages %}{{ p.title }}{{ p.date }}{% endfor %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{% set posts = get_section(path=\"blog/_index.md\") %}{% for p in posts.pages | slice(end=2) %}{{ p.summary | default(value=\"\") | safe }}{% endfor %}{% endblock %}",
            "{% set s = get_section(path=\"blog/_index.md\", first=1, allow_missing=true) %}{% if s %}{{ s.title }}{% for p in s.pages %}{{ p.title }}{{ p.summary }}{% endfor %}{{ s.page_count }}{% endif %}",
            "{{ config.title }} {{ get_taxonomy_url(kind=\"tags\", term=\"x\", required=false) }}",
        ],
    ),
    (
        "other.html",
        &[
            "other {{ page.title }} {{ page.path }}",
            "{% extends \"page.html\" %}",
            "{{ page.title }} {{ page.extra | length }}",
        ],
    ),
    (
        "foot.html",
        &[
            "foot",
            "foot {{ config.title }}",
            "{% set t = get_taxonomy_term(kind=\"tags\", term=\"x\", required=false) %}{% if t %}{{ t.page_count }}{% for p in t.pages %}{{ p.title }}{% endfor %}{% endif %}",
        ],
    ),
    (
        "card.html",
        &[
            "{% component card(p: map) %}<i>{{ p.title }}</i>{% endcomponent card %}",
            "{% component card(p: map) %}<i>{{ p.title }}{{ p.summary }}</i>{% endcomponent card %}",
            "{% component card(p: map) %}<i>{{ p.permalink }}{% include \"foot.html\" %}</i>{% endcomponent card %}",
        ],
    ),
    (
        "taxonomy_list.html",
        &[
            "{% for t in terms %}{{ t.name }}{{ t.pages | length }}{% endfor %}",
            "{% for t in terms %}{{ t.name }}{% for p in t.pages %}{{ p.title }}{% endfor %}{% endfor %}",
        ],
    ),
    (
        "taxonomy_single.html",
        &[
            "{{ term.name }}{% if paginator %}{% for p in paginator.pages %}{{ p.title }}{% endfor %}{% endif %}",
            "{{ term.name }}{% for p in term.pages %}{{ p.title }}{{ p.content }}{% endfor %}",
            "{{ term.name }}{% if paginator %}{% for p in paginator.pages %}{{ p.title }}{% endfor %}{% else %}{% for p in term.pages %}{{ p.title }}{% endfor %}{% endif %}",
        ],
    ),
    ("tags/single.html", &["tags only: {{ term.name }} {{ term.page_count }}"]),
    ("404.html", &["lost", "{% extends \"base.html\" %}{% block main %}lost{% endblock %}"]),
    (
        "sitemap.xml",
        &[
            "{% for e in entries %}{{ e.permalink }}{{ e.updated }}\n{% endfor %}",
            "{% for e in entries %}{{ e.permalink }}{{ e.extra | length }}{% endfor %}",
        ],
    ),
    (
        "anchor-link.html",
        &[
            "<a href=\"#{{ id }}\">{{ level }}</a>",
            "<a href=\"#{{ id }}\">{{ get_url(path=\"pic.png\") }}</a>",
        ],
    ),
];

fn pick<T>(from: &[T], choice: u8) -> &T {
    &from[choice as usize % from.len()]
}

impl Draft {
    fn new() -> Self {
        let mut draft = Self { files: BTreeMap::new(), rows: false, day: 0, drafts: false, images: 0 };
        draft.config(0, 0);
        for (name, variants) in TEMPLATES.iter().take(9) {
            draft.set(&format!("templates/{name}"), variants[0]);
        }
        draft.set("content/_index.md", "+++\ntitle = \"Home\"\n+++\nWelcome.\n");
        draft.section(1, 2);
        draft.section(3, 4);
        for (folder, name) in [(1, 0), (1, 1), (1, 5), (3, 1), (3, 2), (0, 3)] {
            draft.page(folder, name, folder + name, name);
        }
        draft.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n");
        draft.set("static/pic.png", "pic");
        draft.news(1, 0);
        draft.set("themes/t/theme.toml", "");
        draft.set("themes/t/templates/foot.html", "theme's foot");
        draft
    }

    fn set(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    fn config(&mut self, a: u8, b: u8) {
        let text = format!("base_url = \"https://a.example\"\n{}{}", pick(TAXONOMIES, b), pick(CONFIGS, a));
        self.set("zola.toml", &text);
    }

    fn page(&mut self, folder: u8, name: u8, a: u8, b: u8) {
        let path = format!("content/{}{}.md", pick(FOLDERS, folder), pick(NAMES, name));
        let (title, tags) = (pick(TITLES, a), pick(TAGS, b));
        let text = format!(
            "+++\ntitle = \"{title}\"\n{}[taxonomies]\n{tags}\n+++\n{}\n",
            pick(EXTRAS, a.wrapping_mul(3).wrapping_add(b)),
            pick(BODIES, b.wrapping_mul(5).wrapping_add(a))
        );
        self.set(&path, &text);
    }

    fn section(&mut self, folder: u8, a: u8) {
        let path = format!("content/{}_index.md", pick(FOLDERS, folder));
        self.set(&path, &format!("+++\n{}+++\nA section.\n", pick(SECTIONS, a)));
    }

    fn some(&self, prefix: &str, choice: u8) -> Option<String> {
        let all: Vec<&String> = self.files.keys().filter(|path| path.starts_with(prefix)).collect();
        (!all.is_empty()).then(|| (*pick(&all, choice)).clone())
    }

    fn toggle(&mut self, path: &str, text: &str, present: bool) {
        if present {
            self.set(path, text);
        } else {
            self.files.remove(path);
        }
    }

    fn edit(&mut self, (what, a, b): Edit) {
        match what % 25 {
            // The text of a page, its front matter as it was.
            0..=3 => {
                if let Some(path) = self.some("content/", a)
                    && let Some((head, _)) = self.files[&path].rsplit_once("+++\n")
                {
                    let text = format!("{head}+++\n{}\n", pick(BODIES, b));
                    self.set(&path, &text);
                }
            }
            // Its title, the rest as it was.
            4 | 5 => {
                if let Some(path) = self.some("content/", a) {
                    let lines = self.files[&path].lines().map(|line| {
                        if line.starts_with("title") {
                            format!("title = \"{}\"", pick(TITLES, b))
                        } else {
                            line.to_owned()
                        }
                    });
                    let text = lines.collect::<Vec<_>>().join("\n");
                    self.set(&path, &text);
                }
            }
            6 | 7 => self.page(a, b, a / 7, b / 7),
            8 | 9 => self.section(a, b),
            10 => {
                if let Some(path) = self.some("content/", a)
                    && let Some(text) = self.files.remove(&path)
                {
                    let to = format!("content/{}{}.md", pick(FOLDERS, b), pick(NAMES, b / 5));
                    self.files.insert(to, text);
                }
            }
            11 => {
                if let Some(path) = self.some("content/", a)
                    && path != "content/_index.md"
                {
                    self.files.remove(&path);
                }
            }
            12..=14 => {
                let (name, variants) = pick(TEMPLATES, a);
                self.set(&format!("templates/{name}"), pick::<&str>(variants, b));
            }
            // A theme's template, and the absence of an override.
            15 => {
                let (name, variants) = pick(TEMPLATES, a);
                self.set(&format!("themes/t/templates/{name}"), pick::<&str>(variants, b));
            }
            16 => {
                let (name, _) = pick(&TEMPLATES[4..], a);
                self.files.remove(&format!("templates/{name}"));
            }
            17 => self.config(a, b),
            18 => self.toggle("data.toml", &format!("x = {b}"), a % 3 != 0),
            19 => {
                let path = *pick(
                    &[
                        "static/pic.png",
                        "static/blog/a/index.html",
                        "static/robots.txt",
                        "content/blog/bundle/photo.png",
                        "content/blog/photo.png",
                        "static/sitemap.xml",
                    ],
                    a,
                );
                let is_picture = path.ends_with(".png") && b % 4 != 0;
                let text = if is_picture { picture(u32::from(b % 16) + 1) } else { b.to_string() };
                self.toggle(path, &text, b % 3 != 0);
            }
            20 => self.news(a % 4, b % 3),
            21 => self.rows = b % 2 == 0,
            22 if b % 3 == 0 => {
                let lines =
                    ["/gone /", "/gone /blog/ 301", "/gone / 301\n/away https://y.example/", "/a /", "?"];
                self.toggle("static/_redirects", pick::<&str>(&lines, b / 3), a % 4 != 0);
            }
            22 => self.toggle("bakehouse.toml", "", a % 2 == 0),
            23 if a % 2 == 0 => {
                if let Some(path) = self.some("content/", a / 2)
                    && let Some((head, body)) = self.files[&path].rsplit_once("+++\n")
                {
                    let text = match head.split_once("rating") {
                        // What follows is its value, or lines of tables that were there before.
                        Some((before, _)) => format!("{before}rating = {b}\n+++\n{body}"),
                        None if head.contains("[taxonomies]") => {
                            format!("{head}[extra]\nrating = {b}\n+++\n{body}")
                        }
                        None => format!("{head}{}\n+++\n{body}", pick(RATINGS, b)),
                    };
                    self.set(&path, &text);
                }
            }
            23 => {
                let path = *pick(
                    &[
                        "schemas/page.json",
                        "schemas/blog/page.json",
                        "schemas/nowhere/page.json",
                        "schemas/section.json",
                        "schemas/other.json",
                        "themes/t/schemas/docs/page.json",
                    ],
                    a / 2,
                );
                self.toggle(path, pick::<&str>(SCHEMAS, b / 3), b % 3 != 0);
            }
            _ => match a % 3 {
                0 => self.day = i64::from(b % 4),
                1 => self.drafts = b % 2 == 0,
                _ => self.images = b % 3,
            },
        }
    }

    /// So many rows, of some edition.
    fn news(&mut self, rows: u8, edition: u8) {
        let line = |i: u8| format!("row-{i},Row {i} of {rows},\"Body {i},\nedition {edition}.\"\n");
        let lines: String = (0..rows).map(line).collect();
        self.set("data/news.csv", &format!("slug,title,body\n{lines}"));
    }

    fn input(&self) -> Input {
        let sources = Sources::from_files(self.files.iter().map(|(path, text)| {
            let bytes: Vec<u8> = match path.ends_with(".png") {
                true => text.chars().map(|c| c as u8).collect(),
                false => text.as_bytes().to_vec(),
            };
            (path.clone(), Bytes::from(bytes))
        }));
        let page = "[page]\nsection = 'notes'\nslug = 'slug'\ntitle = 'title'\nbody = 'body'";
        let source: SourceConfig = toml::from_str(&format!(
            "name = 'news'\ntype = 'file'\npath = 'data/news.csv'\n{}",
            if self.rows { page } else { "" }
        ))
        .unwrap();
        let read = data::from_file(&source, source.file().unwrap(), &sources, false);
        let data = DataSet::from_iter([("news".to_owned(), read.snapshot.unwrap())]);
        let now: jiff::Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let widths = if self.images == 2 { vec![3, 6] } else { Vec::new() };
        let images = ImageOptions { dimensions: self.images > 0, widths, ..ImageOptions::default() };
        Input {
            sources,
            row_pages: Arc::new(read.pages),
            faults: renderer::data::Faults::default(),
            data: Arc::new(data),
            now: now + jiff::SignedDuration::from_hours(24 * self.day),
            options: Options { drafts: self.drafts, images, ..Options::default() },
        }
    }
}

fn clean(input: &Input) -> Result<(Summary, Outputs), Errors> {
    let taken = Taken::default();
    let summary = Renderer::for_one_render(1 << 20).render(input, None, &taken)?;
    assert!(taken.removed.lock().unwrap().is_empty());
    Ok((summary, taken.put.into_inner().unwrap()))
}

/// What a summary says of the site, not of the render.
fn said(summary: &Summary) -> Summary {
    Summary {
        render: RenderId::default(),
        handed: Handed::All,
        rendered: 0,
        highlighted: 0,
        ..summary.clone()
    }
}

fn differing<'a>(
    expected: &'a Outputs,
    found: &'a Outputs,
) -> Vec<(&'a str, Option<&'a File>, Option<&'a File>)> {
    let mut paths: Vec<&String> = expected.keys().chain(found.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| (path.as_str(), expected.get(path), found.get(path)))
        .filter(|(_, a, b)| a != b)
        .collect()
}

fn run(edits: &[Edit]) {
    let packs = Arc::new(Packs::default());
    let mut renderer = Renderer::new(8 << 20).with_blocks(packs.clone());
    let mut draft = Draft::new();
    let mut lost = String::new();
    // What receivers have: the last, and one that lags behind.
    let mut held: Vec<(Option<RenderId>, Outputs)> = vec![(None, Outputs::new()); 2];
    let mut expected = clean(&draft.input());
    for n in 0..=edits.len() {
        let input = draft.input();
        let which = usize::from(n % 3 == 2);
        let (since, outputs) = &mut held[which];
        let taken = Taken::default();
        let found = renderer.render(&input, *since, &taken);
        match (&expected, found) {
            (Ok((expected, files)), Ok(summary)) => {
                taken.hand_over(&summary, outputs, &lost);
                *since = Some(summary.render);
                let differing = differing(files, outputs);
                assert!(differing.is_empty(), "after {:?}: {differing:#?}", &edits[..n]);
                assert_eq!(said(&summary), said(expected), "after {:?}", &edits[..n]);
                if n % 5 == 4 {
                    let readers = if n % 2 == 0 { Readers::All } else { Readers::Own };
                    let mut memo = Vec::new();
                    renderer.write_memo(&input, &summary, readers, &mut memo).unwrap();
                    let memo = Memo::open(memo.into()).unwrap();
                    let (next, render) = memo.renderer(8 << 20);
                    renderer.keep_blocks().unwrap();
                    if n % 3 == 0 {
                        for bytes in packs.kept.lock().unwrap().values_mut() {
                            let at = n * 7 % bytes.len();
                            bytes[at] ^= 1;
                        }
                    }
                    renderer = next.with_blocks(packs.clone());
                    let known = std::mem::take(&mut held[which].1);
                    // Nobody else can have what this renderer has never made.
                    held = vec![(Some(render), known), (None, Outputs::new())];
                }
                if n % 4 == 1 {
                    renderer.expect_saves();
                }
                if n % 6 == 5
                    && let (Some(since), outputs) = &mut held[0]
                {
                    lost = outputs.keys().nth(n % outputs.len()).unwrap().clone();
                    let file = outputs.remove(&lost).unwrap();
                    outputs.insert("foreign.txt".to_owned(), file);
                    renderer.distrust(*since, [lost.as_str(), "foreign.txt"]);
                }
            }
            (Err(expected), Err(found)) => assert_eq!(found, *expected, "after {:?}", &edits[..n]),
            (expected, found) => panic!(
                "after {:?}: a clean render {}, this one {}",
                &edits[..n],
                expected.as_ref().map_or_else(ToString::to_string, |_| "is well".to_owned()),
                found.map_or_else(|e| e.to_string(), |_| "is well".to_owned())
            ),
        }
        // What cannot be rendered is taken back by the next edit but one, or sites would stay broken.
        if let Some(edit) = edits.get(n) {
            let before = draft.clone();
            draft.edit(*edit);
            let next = clean(&draft.input());
            if n % 4 != 0 && next.is_err() {
                draft = before;
            } else {
                expected = next;
            }
        }
    }
}

/// However a site is broken meanwhile: once nothing is wrong with it, a render that kept going gives what a clean one does.
fn run_kept_going(edits: &[Edit]) {
    let renderer = Renderer::new(8 << 20);
    let mut draft = Draft::new();
    let (mut since, mut outputs) = (None, Outputs::new());
    for n in 0..=edits.len() {
        let mut input = draft.input();
        input.options.keep_going = true;
        let taken = Taken::default();
        if let Ok(summary) = renderer.render(&input, since, &taken) {
            taken.hand_over(&summary, &mut outputs, "");
            since = Some(summary.render);
            let clean = clean(&input).unwrap();
            let errors = |summary: &Summary| summary.errors.is_empty();
            assert_eq!(errors(&summary), errors(&clean.0), "after {:?}: {}", &edits[..n], summary.errors);
            if errors(&summary) {
                let differing = differing(&clean.1, &outputs);
                assert!(differing.is_empty(), "after {:?}: {differing:#?}", &edits[..n]);
                assert_eq!(said(&summary), said(&clean.0), "after {:?}", &edits[..n]);
            }
        }
        if let Some(edit) = edits.get(n) {
            let before = draft.clone();
            draft.edit(*edit);
            // What breaks it is taken back at times, or sites would stay broken.
            if n % 4 == 3 && clean(&draft.input()).is_err() {
                draft = before;
            }
        }
    }
}

/// What a render hands over after one edit of a fresh site.
fn put_after(edit: impl FnOnce(&mut Draft)) -> Vec<String> {
    put_after_in(Draft::new(), edit)
}

/// The same, of another site.
fn put_after_in(mut draft: Draft, edit: impl FnOnce(&mut Draft)) -> Vec<String> {
    let renderer = Renderer::new(8 << 20);
    draft.set("templates/base.html", TEMPLATES[0].1[2]);
    let first = renderer.render(&draft.input(), None, &Taken::default()).unwrap();
    edit(&mut draft);
    let taken = Taken::default();
    let summary = renderer.render(&draft.input(), Some(first.render), &taken).unwrap();
    assert_eq!(summary.handed, Handed::Changes);
    let put = taken.put.into_inner().unwrap().into_keys();
    let removed = taken.removed.into_inner().unwrap().into_iter().map(|path| format!("-{path}"));
    put.chain(removed).collect()
}

/// A large site: a save is handed over without the search index, which the next render makes of what is remembered.
#[test]
fn the_search_index_of_a_large_site_follows() {
    const INDEX: &str = "search_index.en.js";
    let mut draft = Draft::new();
    draft.config(1, 0);
    for number in 0..600 {
        draft.set(
            &format!("content/blog/p{number}.md"),
            &format!("+++\ntitle = \"Post {number}\"\ndate = 2026-01-02\n+++\nWords.\n"),
        );
    }
    let renderer = Renderer::new(8 << 20);
    let first = renderer.render_soon(&draft.input(), None, &Taken::default()).unwrap();
    assert!(!first.postponed, "nobody has an earlier index");
    draft.set("content/blog/p7.md", "+++\ntitle = \"Post 7\"\ndate = 2026-01-02\n+++\nOther words.\n");
    let saved = Taken::default();
    let second = renderer.render_soon(&draft.input(), Some(first.render), &saved).unwrap();
    assert!(second.postponed);
    let saved = saved.put.into_inner().unwrap();
    assert!(saved.contains_key("blog/p7/index.html") && !saved.contains_key(INDEX), "{:?}", saved.keys());
    let whole = Taken::default();
    let third = renderer.render(&draft.input(), Some(second.render), &whole).unwrap();
    assert!(!third.postponed);
    let put = whole.put.into_inner().unwrap();
    assert_eq!(put.keys().collect::<Vec<_>>(), [INDEX]);
    let clean = Taken::default();
    Renderer::for_one_render(1 << 20).render(&draft.input(), None, &clean).unwrap();
    assert_eq!(put[INDEX], clean.put.into_inner().unwrap()[INDEX]);
}

/// A schema is no part of any output, and what it forbids is seen at once, in files that have not changed too.
#[test]
fn a_schema_is_held_to_what_has_not_changed() {
    let mut draft = Draft::new();
    draft.set("bakehouse.toml", "");
    for text in draft.files.values_mut() {
        *text = text.replace("![y](photo.png)", "no other");
    }
    draft.set("content/docs/b.md", "+++\ntitle = \"B\"\nextra.rating = 3\n+++\n## A heading\n");
    assert_eq!(put_after_in(draft.clone(), |d| d.set("schemas/page.json", SCHEMAS[1])), [""; 0]);
    let renderer = Renderer::new(8 << 20);
    let render = |draft: &Draft, since| renderer.render(&draft.input(), since, &Taken::default());
    let first = render(&draft, None).unwrap().render;
    draft.set("schemas/docs/page.json", SCHEMAS[2]);
    for _ in 0..2 {
        let errors = render(&draft, Some(first)).unwrap_err();
        assert_eq!(errors.list()[0].path.as_deref(), Some("content/docs/b.md"), "{errors}");
        assert!(errors.list()[0].message.contains("schemas/docs/page.json"), "{errors}");
    }
    draft.set("schemas/docs/page.json", SCHEMAS[3]);
    assert!(render(&draft, Some(first)).unwrap_err().to_string().contains("there is no schema"));
    draft.set("schemas/other.json", SCHEMAS[2]);
    assert!(render(&draft, Some(first)).unwrap_err().to_string().contains("schemas/other.json"));
    draft.set("schemas/other.json", SCHEMAS[0]);
    let last = render(&draft, Some(first)).unwrap();
    assert_eq!((last.handed, last.rendered), (Handed::Changes, 0));
}

/// A link that leads nowhere may be only warned of, and then the hint names what is nearest now.
#[test]
fn a_warning_names_what_is_there_now() {
    let renderer = Renderer::new(1 << 20);
    let render = |more: &str, since| {
        let config = "base_url = \"https://x.example\"\n[link_checker]\ninternal_level = \"warn\"\n";
        let files = [("zola.toml", config), ("content/a.md", "[b](@/rye-bred.md)"), (more, "")];
        let files = files.map(|(path, text)| (path.to_owned(), Bytes::from_static(text.as_bytes())));
        let input = Input { sources: Sources::from_files(files), ..Draft::new().input() };
        let summary = renderer.render(&input, since, &Taken::default()).unwrap();
        (summary.render, summary.warnings[0].hint.clone().unwrap())
    };
    let (first, hint) = render("content/rye-beer.md", None);
    assert_eq!(hint, "did you mean `@/rye-beer.md`?");
    let (_, hint) = render("content/rye-bread.md", Some(first));
    assert_eq!(hint, "did you mean `@/rye-bread.md`?");
}

/// What is wrong with a page keeps only that from being made, and what it said last stands in for it elsewhere.
#[test]
fn a_broken_page_leaves_the_rest() {
    let mut draft = Draft::new();
    let renderer = Renderer::new(8 << 20);
    let render = |draft: &Draft, since| {
        let mut input = draft.input();
        input.options.keep_going = true;
        let taken = Taken::default();
        let summary = renderer.render(&input, since, &taken).unwrap();
        let put: Vec<String> = taken.put.into_inner().unwrap().into_keys().collect();
        assert_eq!(taken.removed.into_inner().unwrap(), [""; 0]);
        (summary, put)
    };
    let text = |matter: &str, text: &str| format!("+++\n{matter}\nweight = 1\n+++\n## A heading\n\n{text}\n");
    let (first, _) = render(&draft, None);
    assert_eq!((first.errors.list().len(), first.failed.len()), (0, 0), "{}", first.errors);
    draft.set("content/docs/b.md", &text("title = \"B", "Words."));
    draft.set("templates/404.html", "gone");
    let (broken, put) = render(&draft, Some(first.render));
    assert_eq!(put, ["404.html"]);
    assert_eq!(broken.errors.list()[0].path.as_deref(), Some("content/docs/b.md"), "{}", broken.errors);
    assert_eq!((broken.errors.list().len(), broken.failed.len(), broken.outputs), (1, 0, first.outputs));
    // A text that is broken: what lists the title stays as it is.
    draft.set("content/docs/b.md", &text("title = \"B\"", "[a](@/nowhere.md)"));
    let (broken, put) = render(&draft, Some(broken.render));
    assert!(!put.contains(&"docs/b/index.html".to_owned()), "{put:?}");
    assert_eq!(broken.failed.keys().collect::<Vec<_>>(), ["docs/b/index.html"]);
    assert_eq!((broken.errors.list().len(), broken.outputs), (1, first.outputs), "{}", broken.errors);
    draft.set("content/docs/b.md", &text("title = \"B\"", "Words."));
    let (mended, put) = render(&draft, Some(broken.render));
    assert!(put.contains(&"docs/b/index.html".to_owned()) && mended.errors.is_empty(), "{put:?}");
    // One that never was good is somewhere, and nothing misses it.
    draft.set("content/docs/new.md", "+++\ntitle =\n+++\n");
    draft.set("content/docs/b.md", &text("title = \"B\"", "[new](@/docs/new.md#part)"));
    let (broken, put) = render(&draft, Some(mended.render));
    assert!(put.contains(&"docs/b/index.html".to_owned()), "{put:?}");
    assert_eq!((broken.errors.list().len(), broken.outputs), (1, first.outputs), "{}", broken.errors);
}

/// A broken page hides no error of another output, and of a broken site nothing is handed over, nor held for known later.
#[test]
fn a_broken_page_hides_no_other_error() {
    let mut draft = Draft::new();
    let renderer = Renderer::new(8 << 20);
    let mut outputs = Outputs::new();
    let taken = Taken::default();
    let first = renderer.render(&draft.input(), None, &taken).unwrap();
    taken.hand_over(&first, &mut outputs, "");
    let page = draft.files["content/docs/b.md"].clone();
    draft.set("content/docs/b.md", "+++\ntitle =\n+++\n");
    draft.set("templates/404.html", "{{ nothing }}");
    draft.set("static/pic.png", "new");
    let taken = Taken::default();
    let errors = renderer.render(&draft.input(), Some(first.render), &taken).unwrap_err();
    let places: Vec<_> = errors.list().iter().filter_map(|wrong| wrong.path.as_deref()).collect();
    assert_eq!(places, ["content/docs/b.md", "templates/404.html"], "{errors}");
    assert!(taken.put.into_inner().unwrap().is_empty() && taken.removed.into_inner().unwrap().is_empty());
    draft.set("content/docs/b.md", &page.replace("title", "description = \"New\"\ntitle"));
    draft.set("templates/404.html", "mended");
    let taken = Taken::default();
    let mended = renderer.render(&draft.input(), Some(first.render), &taken).unwrap();
    taken.hand_over(&mended, &mut outputs, "");
    let clean = clean(&draft.input()).unwrap().1;
    let differing = differing(&clean, &outputs);
    assert!(differing.is_empty(), "{differing:#?}");
}

/// In the fresh site, `base.html` lists the titles of `blog/`, and `blog/` shows two pages at a time.
#[test]
fn an_edit_renders_what_reads_it() {
    let text = |text: &str| format!("+++\ntitle = \"C\"\nweight = 1\n+++\n{text}\n");
    assert_eq!(put_after(|_| ()), Vec::<String>::new());
    // A page's text: itself, since it has no date and is in no feed.
    assert_eq!(
        put_after(
            |d| d.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n\nMore.\n")
        ),
        ["docs/b/index.html"]
    );
    // Its title: its section's lists too, and its neighbour.
    let renamed =
        put_after(|d| d.set("content/docs/b.md", "+++\ntitle = \"New\"\nweight = 1\n+++\n## A heading\n"));
    assert!(renamed.iter().all(|path| path.starts_with("docs/")), "{renamed:?}");
    assert!(renamed.contains(&"docs/index.html".to_owned()), "{renamed:?}");
    assert_eq!(put_after(|d| d.set("templates/404.html", "gone")), ["404.html"]);
    assert_eq!(put_after(|d| d.set("static/pic.png", "new")), ["pic.png"]);
    assert_eq!(put_after(|d| d.set("static/new.txt", "new")), ["new.txt"]);
    assert_eq!(put_after(|d| drop(d.files.remove("static/pic.png"))), ["-pic.png"]);
    // A file that nobody looked for.
    assert_eq!(put_after(|d| d.set("data.toml", "x = 1")), Vec::<String>::new());
    // A new page: itself, its section, the sitemap, and its neighbour.
    let added = put_after(|d| d.set("content/docs/z.md", &text("New.")));
    assert!(
        added.contains(&"docs/z/index.html".to_owned()) && added.contains(&"sitemap.xml".to_owned()),
        "{added:?}"
    );
    assert!(added.iter().all(|path| path.starts_with("docs/") || path == "sitemap.xml"), "{added:?}");
    // The title of a page that every page lists.
    let listed = put_after(|d| {
        let text = d.files["content/blog/a.md"].replace(TITLES[1], "Changed");
        d.set("content/blog/a.md", &text);
    });
    for path in ["blog/a/index.html", "blog/bundle/index.html", "docs/index.html"] {
        assert!(listed.iter().any(|listed| listed == path), "{listed:?}");
    }
    assert!(!listed.contains(&"sitemap.xml".to_owned()), "{listed:?}");
}

#[test]
fn an_edit_of_an_image_renders_what_shows_it() {
    let mut site = Draft::new();
    site.images = 2;
    site.set("bakehouse.toml", "");
    site.set("static/pic.png", &picture(8));
    let page = |text: &str| format!("+++\ntitle = \"B\"\nweight = 1\n+++\n{text}\n## A heading\n");
    for path in site.files.clone().keys().filter(|path| path.starts_with("content/") && !path.contains('_')) {
        site.set(path, &page("Words."));
    }
    site.set("content/docs/b.md", &page("![x](/pic.png)"));
    let put = put_after_in(site.clone(), |d| d.set("static/pic.png", &picture(9)));
    let is_copy = |path: &&String| path.contains("processed_images/pic.");
    let (copies, others): (Vec<_>, Vec<_>) = put.iter().partition(is_copy);
    assert_eq!(others, ["docs/b/index.html", "pic.png"]);
    assert_eq!(copies.iter().filter(|path| path.starts_with('-')).count(), 2, "{copies:?}");
    assert_eq!(copies.len(), 4, "{copies:?}");
    // What is not shown any more has no copies.
    let put = put_after_in(site, |d| d.set("content/docs/b.md", &page("Words.")));
    assert_eq!(put.iter().filter(|path| path.starts_with("-processed_images/pic.")).count(), 2, "{put:?}");
}

#[test]
fn a_page_whose_place_another_took_for_a_while_is_made_from_what_it_says_now() {
    let page = |slug: &str, body: &str| format!("+++\ntitle = \"T\"\nslug = \"{slug}\"\n+++\n{body}\n");
    let renderer = Renderer::new(8 << 20);
    let mut draft = Draft::new();
    draft.set("content/docs/x.md", &page("x", "One."));
    draft.set("content/docs/y.md", &page("y", "Two."));
    let (taken, mut outputs) = (Taken::default(), Outputs::new());
    let first = renderer.render(&draft.input(), None, &taken).unwrap();
    taken.hand_over(&first, &mut outputs, "");
    draft.set("content/docs/y.md", &page("x", "Two, in the place of one."));
    renderer.render(&draft.input(), Some(first.render), &Taken::default()).unwrap_err();
    draft.files.remove("content/docs/x.md");
    let (input, taken) = (draft.input(), Taken::default());
    let last = renderer.render(&input, Some(first.render), &taken).unwrap();
    taken.hand_over(&last, &mut outputs, "");
    let (_, expected) = clean(&input).unwrap();
    assert_eq!(differing(&expected, &outputs), []);
}

/// Holds that each edit, one after the other, gives what a clean render gives.
fn holds(mut draft: Draft, edits: &[&dyn Fn(&mut Draft)]) {
    let renderer = Renderer::new(8 << 20);
    let (mut since, mut outputs) = (None, Outputs::new());
    for n in 0..=edits.len() {
        if let Some(edit) = n.checked_sub(1).map(|n| edits[n]) {
            edit(&mut draft);
        }
        let (input, taken) = (draft.input(), Taken::default());
        let summary = renderer.render(&input, since, &taken).unwrap();
        taken.hand_over(&summary, &mut outputs, "");
        since = Some(summary.render);
        let (expected, files) = clean(&input).unwrap();
        assert_eq!(differing(&files, &outputs), [], "after edit {n}");
        assert_eq!(said(&summary), said(&expected), "after edit {n}");
    }
}

#[test]
fn a_template_within_contents_is_followed_with_all_that_it_reads() {
    let mut draft = Draft::new();
    draft.config(4, 0);
    draft.set("templates/page.html", "{{ page.summary }}{{ page.content }}");
    let text = "## A heading\n\nWords.\n\n<!-- more -->\n\nMore.";
    draft.set("content/docs/b.md", &format!("+++\ntitle = \"B\"\nweight = 1\n+++\n{text}\n"));
    draft.set("templates/anchor-link.html", "{% include \"foot.html\" %}");
    draft.set("templates/summary-cutoff.html", "{% include \"foot.html\" %}");
    let reads = "{% set d = load_data(path=\"data.toml\") %}{{ d.x }}";
    holds(
        draft,
        &[
            &|d| d.set("templates/foot.html", "another foot"),
            &|d| {
                d.set("data.toml", "x = 1");
                d.set("templates/foot.html", reads);
            },
            &|d| d.set("data.toml", "x = 2"),
        ],
    );
}

#[test]
fn the_sitemap_has_a_pager_as_soon_as_its_list_has_a_page() {
    let page = |matter: &str| format!("+++\ntitle = \"Z\"\n{matter}+++\n");
    let mut draft = Draft::new();
    draft.set("content/notes/_index.md", "+++\nsort_by = \"weight\"\npaginate_by = 2\n+++\n");
    draft.set("content/notes/z.md", &page(""));
    holds(draft, &[&|d| d.set("content/notes/z.md", &page("weight = 1\n"))]);
}

#[test]
fn what_is_not_right_with_a_plan_is_said_after_a_save_too() {
    let mut draft = Draft::new();
    draft.set("content/notes/z.md", "+++\ntitle = \"Z\"\npath = \"tags\"\n+++\n");
    let edit = |d: &mut Draft| {
        d.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n\nMore.\n");
    };
    holds(draft, &[&edit]);
}

#[test]
fn a_copy_of_an_image_is_immutable_as_soon_as_there_is_a_bakehouse_toml() {
    let mut draft = Draft::new();
    let copy = "{% set copy = resize_image(path=\"pic.png\", width=2, height=2) %}{{ copy.url }}";
    draft.set("templates/404.html", copy);
    draft.set("static/pic.png", &picture(8));
    for text in draft.files.values_mut() {
        *text = text.replace("![y](photo.png)", "no other");
    }
    holds(draft, &[&|d| d.set("bakehouse.toml", ""), &|d| drop(d.files.remove("bakehouse.toml"))]);
}

#[test]
fn a_style_sheet_follows_what_it_reads_beyond_its_folder() {
    let mut draft = Draft::new();
    let config = draft.files["zola.toml"].replace("title", "compile_sass = true\ntitle");
    draft.set("zola.toml", &config);
    draft.set("sass/a.scss", "@import \"../design/colours\"; a { color: $c }");
    draft.set("design/_colours.scss", "$c: red;");
    holds(
        draft,
        &[&|d| d.set("design/_colours.scss", "$c: blue;"), &|d| {
            d.files.remove("design/_colours.scss");
            d.set("design/colours/_index.scss", "$c: green;");
        }],
    );
}

#[test]
fn a_feed_is_of_a_section_as_soon_as_that_has_one() {
    let mut draft = Draft::new();
    draft.files.retain(|path, _| !path.starts_with("content/"));
    draft.set("templates/atom.xml", "{% if section %}section{% endif %}{% if term %}term{% endif %}");
    draft.set(
        "content/tags/x/z.md",
        "+++\ntitle = \"Z\"\ndate = 2026-01-01\ntaxonomies = {tags=[\"x\"]}\n+++\n",
    );
    draft.set("content/tags/x/_index.md", "+++\n+++\n");
    holds(draft, &[&|d| d.set("content/tags/x/_index.md", "+++\ngenerate_feeds = true\n+++\n")]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SITES, failure_persistence: None, max_shrink_iters: 150, ..ProptestConfig::default() })]

    // Four times the same, so that they run side by side.
    #[test]
    fn an_edit_gives_what_a_clean_render_gives_1(edits in prop::collection::vec(any::<Edit>(), EDITS)) {
        run(&edits);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_2(edits in prop::collection::vec(any::<Edit>(), EDITS)) {
        run(&edits);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_3(edits in prop::collection::vec(any::<Edit>(), EDITS)) {
        run(&edits);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_4(edits in prop::collection::vec(any::<Edit>(), EDITS)) {
        run(&edits);
    }

    #[test]
    fn a_site_that_was_broken_gives_what_a_clean_render_gives(edits in prop::collection::vec(any::<Edit>(), EDITS)) {
        run_kept_going(&edits);
    }
}
