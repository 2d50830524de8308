//! Sites that are edited at random, and the edits.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "a module of several test binaries")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use renderer::data::{self, DataSet, Faults, SourceConfig};
use renderer::{BaseUrl, ImageOptions, Input, Options, Renderer, Sources, Whole};

/// A picture, as text: a character for each byte.
pub fn picture(width: u32) -> String {
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
pub struct Draft {
    pub files: BTreeMap<String, String>,
    /// Of each group of [`CONFIG`] the choice.
    config: [u8; CONFIG.len()],
    /// Whether the rows of the file of news make pages.
    rows: bool,
    pub hours: i64,
    drafts: bool,
    pub images: u8,
    math: bool,
    base_url: u8,
    pub source_lines: bool,
}

/// One edit: what, and two choices within it.
pub type Edit = (u8, u8, u8);

const FOLDERS: &[&str] = &["", "blog/", "blog/deep/", "docs/", "notes/", "tags/x/"];
const NAMES: &[&str] =
    &["a", "b", "c", "d", "2026-03-04-dated", "bundle/index", "e.fr", "A", "caf\u{e9}", "cafe\u{301}"];
/// What may follow the name of a content.
const FORMS: &[&str] = &[".md", "/index.md", "/_index.md", ".fr.md", ".en.md", "/index.fr.md"];
pub const TITLES: &[&str] = &["Alpha", "Beta", "Gamma", "Über <b>", "Zeta"];
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
    "{{ trans(key=\"hello\") }} {{ config.extra.colour | default(value=0) }}",
    "{% set p = get_page(path=\"docs/b.md\", allow_missing=true) %}{% if p %}{{ p.title }}{{ p.word_count }}{% endif %}",
    "{% set i = resize_image(path=\"pic.png\", width=3, height=3) %}{{ i.url }}",
    "{% set i = resize_image(path=\"blog/bundle/photo.png\", width=3, height=3, op=\"fill\") %}{{ i.url }}",
    "{{ get_hash(path=\"blog/bundle/photo.png\") }}{% set i = get_image_metadata(path=\"blog/photo.png\", allow_missing=true) %}{% if i %}{{ i.width }}{% endif %}",
    "{{ now() | date(timezone=\"Pacific/Auckland\", format=\"%d\") }}",
    "$x^2$ and <img src=\"/pic.png\">\n\n[r]: @/docs/b.md\n\n[r]",
    "## A heading\n\n## A heading\n\n[fr](@/blog/e.fr.md)",
    NAMED_BY_THE_ENVIRONMENT,
    "",
];
/// Reads a file whose name is made of a variable that is there in tests.
pub const NAMED_BY_THE_ENVIRONMENT: &str = "{{ load_data(path=\"data/\" ~ get_env(name=\"CARGO_PKG_NAME\", default=\"renderer\") ~ \".toml\", format=\"plain\", required=false) }}";
/// Two taxonomies have one slug.
const TAGS: &[&str] = &[
    "",
    "tags = [\"x\"]",
    "tags = [\"x\", \"y\"]",
    "tags = [\"Y\"]\nkinds = [\"k\"]",
    "tags = [\"y\"]\nTags = [\"x\"]",
];
/// Lines of the front matter of pages; the last of all are of none that can be rendered.
const PAGE_LINES: &[&str] = &[
    "weight = 2",
    "weight = 1",
    "description = \"## d [b](@/docs/b.md)\"",
    "description = \"e\"",
    "date = 2026-01-02",
    "date = 2026-01-03",
    "date = 2026-06-03",
    "updated = 2026-02-01",
    "draft = true",
    "slug = \"other\"",
    "slug = \"a\"",
    "path = \"blog\"",
    "path = \"tags/x\"",
    "aliases = [\"old\", \"older/path\"]",
    "aliases = [\"blog/a\"]",
    "template = \"other.html\"",
    "template = \"late.html\"",
    "in_search_index = false",
    "include_in_feeds = false",
    "hidden = true",
    "hidden = false",
    "render = false",
    "expiry_date = 2026-06-02",
    "authors = [\"me\"]",
    "colour = 1",
    "shape = 3",
    "cache_groups = [\"g\"]",
    "weight =",
];
/// The same of sections.
const SECTION_LINES: &[&str] = &[
    "sort_by = \"date\"",
    "sort_by = \"title\"",
    "sort_by = \"weight\"",
    "sort_by = \"slug\"",
    "sort_by = \"update_date\"",
    "paginate_by = 1",
    "paginate_by = 2",
    "paginate_by = 5",
    "paginate_path = \"p\"",
    "paginate_path = \"\"",
    "paginate_reversed = true",
    "transparent = true",
    "redirect_to = \"docs\"",
    "redirect_to = \"@/docs/b.md\"",
    "render = false",
    "draft = true",
    "hidden = true",
    "page_template = \"other.html\"",
    "template = \"other.html\"",
    "generate_feeds = true",
    "aliases = [\"old\"]",
    "in_search_index = false",
    "weight = 3",
    "insert_anchor_links = \"left\"",
    "description = \"d\"",
    "extra = { colour = 2 }",
    "sort_by = \"nothing\"",
];
const RATINGS: &[&str] = &["extra.rating = 3", "extra.rating = \"high\"", "[extra]\nrating = 1"];
pub const SCHEMAS: &[&str] = &[
    "{}",
    "{ \"properties\": { \"rating\": { \"type\": \"integer\" } } }",
    "{ \"properties\": { \"rating\": { \"maximum\": 2 } }, \"additionalProperties\": false }",
    "{ \"$ref\": \"/schemas/other.json\" }",
    "{ \"type\": \"objekt\" }",
];
/// The parts of the configuration, each in some variants: lines of its root, then tables.
const CONFIG: &[&[&str]] = &[
    &["title = \"Site\"", "title = \"Renamed\""],
    &["generate_feeds = true", ""],
    &["feed_limit = 3", "", "feed_limit = 1"],
    &[
        "taxonomies = [{ name = \"tags\", paginate_by = 2, feed = true }, { name = \"kinds\" }, { name = \"Tags\" }]",
        "taxonomies = [{ name = \"tags\" }, { name = \"kinds\", render = false }, { name = \"Tags\", paginate_by = 1, feed = true }]",
        "taxonomies = [{ name = \"tags\", paginate_by = 1, paginate_path = \"p\" }, { name = \"kinds\", feed = true }, { name = \"Tags\", render = false }]",
    ],
    &["", "theme = \"t\""],
    &["", "feed_filenames = [\"atom.xml\", \"rss.xml\"]", "feed_filenames = [\"rss.xml\"]"],
    &["", "taxonomy_root = \"blog\""],
    &["", "build_search_index = true"],
    &["", "exclude_paginated_pages_in_sitemap = true", "generate_sitemap = false"],
    &["", "generate_robots_txt = false", "minify_html = true"],
    &["", "compile_sass = true"],
    &[
        "",
        "ignored_content = [\"docs/c*\"]",
        "ignored_static = [\"robots.txt\"]",
        "skip_content_templating = [\"docs/*\"]",
    ],
    &[
        "",
        "[languages.fr]",
        "[languages.fr]\ngenerate_feeds = true\ntaxonomies = [{ name = \"tags\" }, { name = \"kinds\" }]",
        "[languages.fr]\ntitle = \"Le\"\nbuild_search_index = true\n[languages.fr.translations]\nhello = \"Salut\"",
        "[languages.en]\n[languages.fr]\ntaxonomies = [{ name = \"tags\", feed = true, paginate_by = 1 }]",
    ],
    &[
        "",
        "[markdown]\ninsert_anchor_links = \"right\"",
        "[markdown]\nsmart_punctuation = true\nbottom_footnotes = true\nlazy_async_image = true",
    ],
    &[
        "",
        "[markdown.highlighting]\ntheme = \"github-dark\"",
        "[markdown.highlighting]\nstyle = \"class\"\ntheme = \"github-dark\"",
        "[markdown.highlighting]\nlight_theme = \"github-light\"\ndark_theme = \"github-dark\"",
        "[markdown.highlighting]\ntheme = \"github-dark\"\ndata_attr_position = \"none\"",
    ],
    &["", "[slugify]\npaths = \"safe\"", "[slugify]\npaths_keep_dates = true\ntaxonomies = \"safe\""],
    &["", "[link_checker]\ninternal_level = \"warn\""],
    &["", "[extra]\ncolour = 1", "[extra]\ncolour = 2", "[extra]\nother = { colour = 3 }"],
    &["", "[translations]\nhello = \"Hello\"", "[translations]\nhello = \"Hi\""],
    &["", "[search]\nindex_format = \"fuse_json\"", "[search]\ninclude_date = true\ninclude_path = true"],
];

/// Templates, each in some variants.
pub const TEMPLATES: &[(&str, &[&str])] = &[
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
            "<html>{{ load_data(path=\"data/news.csv\", format=\"plain\", required=false) }}{{ get_hash(path=\"data/news.csv\") }}{{ now(timezone=\"Asia/Tokyo\") | date(format=\"%Y-%m-%d\") }}{% block main %}{% endblock %}</html>",
            "<html>{{ trans(key=\"hello\") }}{% block main %}{% endblock %}{{ config.extra.colour | default(value=0) }}</html>",
            "<html>{% set i = get_image_metadata(path=\"pic.png\", allow_missing=true) %}{% if i %}{{ i.width }}{% endif %}{% block main %}{% endblock %}{{ get_url(path=\"style.css\", cachebust=true) }}</html>",
            "<html>{% set t = get_taxonomy(kind=\"kinds\", required=false) %}{% if t %}{% for t in t.items %}{{ t.name }}{{ t.page_count }}{% endfor %}{% endif %}{% block main %}{% endblock %}{% include \"late.html\" %}</html>",
            "<html>{{ now() | date(timezone=\"Asia/Tokyo\") }}{{ now(timestamp=true) | date(timezone=\"America/Los_Angeles\") }}{% set s = get_section(path=\"docs/_index.md\", allow_missing=true) %}{% if s %}{{ s.description }}{{ s.weight }}{{ s.aliases | length }}{{ s.draft }}{{ s.paginate_by }}{{ s.transparent }}{{ s.generate_feeds }}{{ s.paginate_reversed }}{% endif %}{% block main %}{% endblock %}</html>",
            "<html>{% set s = get_section(path=\"blog/_index.md\", allow_missing=true) %}{% if s %}{% for p in s.pages %}{{ p.permalink }}{% endfor %}{% endif %}{% block main %}{% endblock %}{{ trans(key=\"hello\", lang=\"fr\") }}</html>",
            "<html>{% set s = get_section(path=\"notes/_index.md\", allow_missing=true) %}{% if s %}{{ s.extra.colour | default(value=0) }}{{ s.assets | length }}{{ s.toc | length }}{% endif %}{% block main %}{% endblock %}{{ get_hash(path=\"pic.png\") }}</html>",
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
            "{% set p = get_page(path=\"blog/a.md\", allow_missing=true) %}{% if p and p.higher %}{{ p.higher.title }}{{ p.higher.summary }}{% endif %}{% set s = get_section(path=\"blog/_index.md\", allow_missing=true) %}{% if s and s.lower %}{{ s.lower.title }}{{ s.lower.pages | length }}{% endif %}",
            "{% extends \"base.html\" %}{% block main %}{{ page.content | safe }}{% set i = resize_image(path=\"pic.png\", width=2, height=2) %}{{ i.url }}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{{ page.description | default(value=\"\") | markdown | safe }}{{ page.extra.rating | default(value=0) }}{{ page.aliases | length }}{{ page.updated }}{% endblock %}",
            "{% extends \"t/templates/page.html\" %}",
            "{{ page.title }}{% set p = get_page(path=\"blog/a.md\", lang=\"fr\", allow_missing=true) %}{% if p %}{{ p.title }}{% endif %}{% for p in get_section(path=\"_index.md\").pages %}{{ p.content }}{% endfor %}",
        ],
    ),
    (
        "section.html",
        &[
            "{% extends \"base.html\" %}{% block main %}{{ section.title }}{{ section.content | safe }}{% if paginator %}{{ paginator.current_index }}/{{ paginator.number_pagers }}{% for p in paginator.pages %}{{ <card p={p} /> }}{% endfor %}{% else %}{% for p in section.pages %}{{ <card p={p} /> }}{% endfor %}{% endif %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{% for page in section.pages %}{{ page.content | safe }}{% endfor %}{% endblock %}",
            "{% for p in section.pages %}{% if p.lower %}{{ p.lower.title }}{{ p.lower.summary }}{% endif %}{% if p.higher %}{{ p.higher.word_count }}{% endif %}{% endfor %}{% if section.higher %}{% for p in section.higher.pages %}{{ p.title }}{% endfor %}{% endif %}",
            "{% extends \"base.html\" %}{% block main %}{% for p in section.subsections %}{% set s = get_section(path=p) %}{{ s.title }}{% for p in s.pages %}{{ p.permalink }}{% endfor %}{% endfor %}{{ section.word_count }}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{{ section.title }}{% if paginator %}{{ paginator.first }}{{ paginator.last }}{{ paginator.base_url }}{% endif %}{{ section.extra.colour | default(value=0) }}{% if section.higher %}{{ section.higher.title }}{% endif %}{% for t in section.translations %}{{ t.title }}{% endfor %}{% for b in section.backlinks %}{{ b.title }}{% endfor %}{% endblock %}",
            "{{ section | json_encode }}",
            "{% component whole(description, ...rest) %}{{ description }}{% endcomponent whole %}{% for p in section.pages %}{{ <whole {...p} /> }}{% endfor %}",
        ],
    ),
    (
        "index.html",
        &[
            "{% extends \"base.html\" %}{% block main %}{{ section.content | safe }}{% for p in section.pages %}{{ p.title }}{{ p.date }}{% endfor %}{% endblock %}",
            "{% extends \"base.html\" %}{% block main %}{% set posts = get_section(path=\"blog/_index.md\") %}{% for p in posts.pages | slice(end=2) %}{{ p.summary | default(value=\"\") | safe }}{% endfor %}{% endblock %}",
            "{% set s = get_section(path=\"blog/_index.md\", first=1, allow_missing=true) %}{% if s %}{{ s.title }}{% for p in s.pages %}{{ p.title }}{{ p.summary }}{% endfor %}{{ s.page_count }}{% endif %}",
            "{{ config.title }} {{ get_taxonomy_url(kind=\"tags\", term=\"x\", required=false) }}",
            "{% component one(name: string, pages: array, ...rest) %}{{ name }}{% for p in pages %}{{ p.title }}{% endfor %}{% endcomponent one %}{% set tags = get_taxonomy(kind=\"tags\") %}{% for t in tags.items %}{{ <one {...t} /> }}{% endfor %}",
            "{% component all(news: array) %}{% for n in news %}{{ n.title }}{% endfor %}{% endcomponent all %}{{ <all {...data} /> }}",
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
            "{% set d = load_data(path=\"data.toml\", required=false) %}{% if d %}{{ d.x }}{% endif %}",
            "{{ <card p={config} /> }}{{ get_taxonomy_url(kind=\"tags\", term=\"y\", lang=\"fr\", required=false) }}",
            NAMED_BY_THE_ENVIRONMENT,
            "{{ load_data(path=\"content/blog/a.md\", format=\"plain\", required=false) }}",
        ],
    ),
    (
        "card.html",
        &[
            "{% component card(p: map) %}<i>{{ p.title }}</i>{% endcomponent card %}",
            "{% component card(p: map) %}<i>{{ p.title }}{{ p.summary }}</i>{% endcomponent card %}",
            "{# {% component card(p: map) %}{% endcomponent card %} #}{% component card(p: map) %}{# not endcomponent #}{{ p.summary }}{%include`foot.html`%}{% endcomponent card %}",
            "{% component card(p: map) %}<i>{{ p.permalink }}{% include \"foot.html\" %}</i>{% endcomponent card %}",
            "{% component card(p: map) %}<i>{{ p.word_count | default(value=0) }}</i>{% set s = get_section(path=\"docs/_index.md\", allow_missing=true) %}{% if s %}{{ s.title }}{% endif %}{% endcomponent card %}",
        ],
    ),
    (
        "taxonomy_list.html",
        &[
            "{% for t in terms %}{{ t.name }}{{ t.pages | length }}{% endfor %}",
            "{% for t in terms %}{{ t.name }}{% for p in t.pages %}{{ p.title }}{% endfor %}{% endfor %}",
            "{% for t in terms %}{% for p in t.pages %}{% if p.higher %}{{ p.higher.title }}{% endif %}{% endfor %}{% endfor %}",
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
            "{{ trans(key=\"hello\") }}",
            "{% include \"foot.html\" %}",
            "{{ lang }}",
        ],
    ),
    ("late.html", &["late", "{{ broken", "{{ nothing }}"]),
    ("summary-cutoff.html", &["…", "{% include \"foot.html\" %}", "{{ lang }}"]),
    ("robots.txt", &["{{ config.title }}", "{{ get_url(path=\"/\", cachebust=false) }}"]),
    ("internal/alias.html", &["to {{ url }}", "{% include \"foot.html\" %}{{ url }}"]),
    (
        "atom.xml",
        &[
            "{{ feed_url }}{% for p in pages %}{{ p.title }}{{ p.content }}{% endfor %}",
            "{% if section %}{{ section.title }}{% endif %}{% if term %}{{ term.name }}{{ term.page_count }}{% endif %}{{ lang }}",
            "{% if section %}{{ section.content }}{% if section.lower %}{{ section.lower.title }}{% endif %}{% endif %}",
        ],
    ),
    (
        "kinds/list.html",
        &["{% for t in terms %}{{ t.name }}{{ t.pages | length }}{% endfor %}{{ taxonomy.name }}"],
    ),
];

/// Files of all other kinds, each in some variants; pictures say their own.
const FILES: &[(&str, &[&str])] = &[
    ("static/pic.png", &[]),
    ("content/blog/bundle/photo.png", &[]),
    ("content/blog/photo.png", &[]),
    ("themes/t/static/pic.png", &[]),
    ("static/blog/a/index.html", &["1", "2"]),
    ("static/blog/index.html", &["1", "2"]),
    ("static/tags/x/index.html", &["1", "2"]),
    ("static/robots.txt", &["1", "2"]),
    ("static/sitemap.xml", &["1", "2"]),
    ("static/style.css", &["1", "2"]),
    ("content/blog/bundle/deep/x.txt", &["1", "2"]),
    ("content/notes/x.txt", &["1", "2"]),
    // A folder and a file of one name, and names that differ in their case alone.
    ("static/notes", &["1"]),
    ("content/blog/a/x.txt", &["1", "2"]),
    ("static/Pic.png", &[]),
    ("static/Style.css", &["1", "2"]),
    ("data.toml", &["x = 1", "x = 2", "x ="]),
    ("data/renderer.toml", &["x = 1", "x = 2"]),
    ("bakehouse.toml", &[""]),
    ("themes/t/theme.toml", &["", "[extra]\ncolour = 7", "[extra]\nother = 8"]),
    ("sass/style.scss", &["@import \"part\"; a { color: $c }", "a { color: red }", "a {"]),
    ("sass/_part.scss", &["$c: red;", "$c: blue;"]),
    ("themes/t/sass/style.scss", &["b { color: red }", "@import \"../../../sass/part\"; b { color: $c }"]),
    (
        "static/_redirects",
        &["/gone /", "/gone /blog/ 301", "/gone / 301\n/away https://y.example/", "/a /", "?"],
    ),
    ("schemas/page.json", SCHEMAS),
    ("schemas/blog/page.json", SCHEMAS),
    ("schemas/nowhere/page.json", SCHEMAS),
    ("schemas/section.json", SCHEMAS),
    ("schemas/other.json", SCHEMAS),
    ("themes/t/schemas/docs/page.json", SCHEMAS),
];

/// How often a kind of edits comes, and what it does.
type Kind = (u8, fn(&mut Draft, u8, u8));

const EDITS: &[Kind] = &[
    (4, Draft::edit_text),
    (2, Draft::edit_title),
    (6, Draft::edit_line),
    (2, Draft::edit_page),
    (1, Draft::edit_section),
    (1, Draft::edit_rating),
    (1, Draft::respell),
    (1, Draft::rename),
    (1, Draft::relocate),
    (2, Draft::turn),
    (1, Draft::delete),
    (4, |draft, a, b| draft.edit_template("templates/", a, b)),
    (1, |draft, a, b| draft.edit_template("themes/t/templates/", a, b)),
    (1, |draft, a, _| drop(draft.files.remove(&format!("templates/{}", pick(&TEMPLATES[4..], a).0)))),
    (3, |draft, a, b| draft.config(usize::from(a) % CONFIG.len(), b)),
    (3, Draft::edit_file),
    (1, |draft, a, b| draft.news(a % 4, b % 4)),
    (1, Draft::edit_options),
];

fn pick<T: Clone>(from: &[T], choice: u8) -> T {
    from[choice as usize % from.len()].clone()
}

impl Draft {
    pub fn new() -> Self {
        let mut draft = Self {
            files: BTreeMap::new(),
            config: [0; CONFIG.len()],
            rows: false,
            hours: 0,
            drafts: false,
            images: 0,
            math: false,
            base_url: 0,
            source_lines: false,
        };
        draft.config(0, 0);
        for (name, variants) in TEMPLATES.iter().take(9) {
            draft.set(&format!("templates/{name}"), variants[0]);
        }
        draft.set("content/_index.md", "+++\ntitle = \"Home\"\n+++\nWelcome.\n");
        draft.set(
            "content/blog/_index.md",
            "+++\ntitle = \"Two\"\nsort_by = \"date\"\npaginate_by = 2\n+++\nA section.\n",
        );
        draft.set(
            "content/docs/_index.md",
            "+++\ntitle = \"Four\"\nsort_by = \"weight\"\npage_template = \"other.html\"\n+++\nA section.\n",
        );
        for (path, title, line, tags, text) in [
            ("blog/a.md", 1, "date = 2026-01-02", 0, 1),
            ("blog/b.md", 2, "slug = \"other\"", 1, 7),
            ("blog/bundle/index.md", 1, "aliases = [\"old\", \"older/path\"]", 1, 1),
            ("docs/c.md", 0, "weight = 1\ndescription = \"d\"\ncolour = 1", 2, 0),
            ("d.md", 3, "render = false", 3, 3),
        ] {
            let matter = matter_of(TITLES[title], line, TAGS[tags]);
            draft.set_content(&format!("content/{path}"), &matter, &format!("{}\n", BODIES[text]));
        }
        draft.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n");
        draft.set("static/pic.png", "pic");
        draft.news(1, 0);
        draft.set("themes/t/theme.toml", "");
        draft.set("themes/t/templates/foot.html", "theme's foot");
        draft
    }

    pub fn set(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    /// The configuration with these lines at its root.
    pub fn configure(&mut self, lines: &str) {
        let chosen = CONFIG.iter().zip(self.config).map(|(variants, choice)| pick(variants, choice));
        let chosen: Vec<&str> = chosen.filter(|text| !text.is_empty()).collect();
        self.set("zola.toml", &format!("base_url = \"https://a.example\"\n{lines}\n{}\n", chosen.join("\n")));
    }

    fn config(&mut self, group: usize, choice: u8) {
        self.config[group] = choice;
        self.configure("");
    }

    /// Some file whose path begins so.
    fn some(&self, prefix: &str, choice: u8) -> Option<String> {
        let all: Vec<&String> = self.files.keys().filter(|path| path.starts_with(prefix)).collect();
        (!all.is_empty()).then(|| pick(&all, choice).clone())
    }

    /// Some content: its path, its front matter and its text.
    fn content(&self, choice: u8) -> Option<(String, String, String)> {
        let path = self.some("content/", choice).filter(|path| path.ends_with(".md"))?;
        let (matter, text) = self.files[&path].strip_prefix("+++\n")?.rsplit_once("+++\n")?;
        Some((path.clone(), matter.to_owned(), text.to_owned()))
    }

    fn set_content(&mut self, path: &str, matter: &str, text: &str) {
        self.set(path, &format!("+++\n{matter}+++\n{text}"));
    }

    pub fn edit(&mut self, (what, a, b): Edit) {
        let mut choice = what % EDITS.iter().map(|(often, _)| often).sum::<u8>();
        for (often, edit) in EDITS {
            match choice.checked_sub(*often) {
                Some(rest) => choice = rest,
                None => return edit(self, a, b),
            }
        }
    }

    /// The text of a content, its front matter as it was.
    fn edit_text(&mut self, a: u8, b: u8) {
        if let Some((path, matter, _)) = self.content(a) {
            self.set_content(&path, &matter, &format!("{}\n", pick(BODIES, b)));
        }
    }

    /// Its title, the rest as it was.
    fn edit_title(&mut self, a: u8, b: u8) {
        if let Some((path, matter, text)) = self.content(a) {
            self.set_content(&path, &with_line(&matter, &format!("title = \"{}\"", pick(TITLES, b))), &text);
        }
    }

    /// A line of its front matter, which goes where it is there already.
    fn edit_line(&mut self, a: u8, b: u8) {
        if let Some((path, matter, text)) = self.content(a) {
            let line = if path.contains("/_index.") { pick(SECTION_LINES, b) } else { pick(PAGE_LINES, b) };
            let matter = match matter.lines().any(|known| known == line) {
                true => {
                    matter.lines().filter(|known| *known != line).map(|line| format!("{line}\n")).collect()
                }
                false => with_line(&matter, line),
            };
            self.set_content(&path, &matter, &text);
        }
    }

    /// A page, whole.
    fn edit_page(&mut self, a: u8, b: u8) {
        let path = format!("content/{}{}.md", pick(FOLDERS, a / 7), pick(NAMES, a));
        let (line, text) =
            (pick(PAGE_LINES, b.wrapping_mul(3).wrapping_add(a)), pick(BODIES, b.wrapping_add(a)));
        let matter = matter_of(pick(TITLES, a), line, pick(TAGS, b));
        self.set_content(&path, &matter, &format!("{text}\n"));
    }

    /// A section, whole.
    fn edit_section(&mut self, a: u8, b: u8) {
        let (line, more) = (pick(SECTION_LINES, b), pick(SECTION_LINES, a / 5));
        let matter = with_line(&format!("title = \"One\"\n{line}\n"), more);
        self.set_content(&format!("content/{}_index.md", pick(FOLDERS, a)), &matter, "A section.\n");
    }

    /// What schemas look at.
    fn edit_rating(&mut self, a: u8, b: u8) {
        if let Some((path, matter, text)) = self.content(a) {
            let matter = match matter.split_once("rating") {
                // What follows is its value, or lines of tables that were there before.
                Some((before, _)) => format!("{before}rating = {b}\n"),
                None if matter.contains("[taxonomies]") => format!("{matter}[extra]\nrating = {b}\n"),
                None => format!("{matter}{}\n", pick(RATINGS, b)),
            };
            self.set_content(&path, &matter, &text);
        }
    }

    /// Other ends of lines, or a mark of the byte order, as other editors leave them.
    fn respell(&mut self, a: u8, b: u8) {
        if let Some(path) = self.some("content/", a).filter(|path| path.ends_with(".md")) {
            let plain = self.files[&path].trim_start_matches('\u{feff}').replace("\r\n", "\n");
            let text = match b % 3 {
                0 => plain.replace('\n', "\r\n"),
                1 => format!("\u{feff}{plain}"),
                _ => plain,
            };
            self.set(&path, &text);
        }
    }

    /// Another folder and another name for a content.
    fn rename(&mut self, a: u8, b: u8) {
        if let Some(path) = self.some("content/", a)
            && let Some(text) = self.files.remove(&path)
        {
            self.files.insert(format!("content/{}{}.md", pick(FOLDERS, b), pick(NAMES, b / 5)), text);
        }
    }

    /// Another place for a content, or for a folder of them, with all that leads there.
    fn relocate(&mut self, a: u8, b: u8) {
        let name = if a.is_multiple_of(5) { String::new() } else { format!("{}.md", pick(NAMES, b / 5)) };
        let old = match name.as_str() {
            "" => Some(format!("content/{}", pick(&FOLDERS[1..], a / 5))),
            _ => self.some("content/", a),
        };
        let Some(old) = old else { return };
        let new = format!("{}{name}", pick(FOLDERS, b));
        let old = old.trim_start_matches("content/").trim_end_matches('/');
        let Ok(plan) = Renderer::for_one_render(1 << 20).relocate(&self.input(), old, &new) else { return };
        for rewrite in plan.rewrites {
            self.set(&rewrite.path, &rewrite.after());
        }
        for (from, to) in plan.renames {
            if let Some(text) = self.files.remove(&from) {
                self.files.insert(to, text);
            }
        }
    }

    /// Another form of a content: a page, a page in a folder of its own, a section, another language.
    fn turn(&mut self, a: u8, b: u8) {
        if let Some((path, ..)) = self.content(a)
            && let Some(stem) =
                FORMS.iter().filter_map(|form| path.strip_suffix(form)).min_by_key(|stem| stem.len())
            && stem != "content"
            && let Some(text) = self.files.remove(&path)
        {
            self.files.insert(format!("{stem}{}", pick(FORMS, b)), text);
        }
    }

    fn delete(&mut self, a: u8, _: u8) {
        if let Some(path) = self.some("content/", a)
            && path != "content/_index.md"
        {
            self.files.remove(&path);
        }
    }

    fn edit_template(&mut self, folder: &str, a: u8, b: u8) {
        let (name, variants) = pick(TEMPLATES, a);
        self.set(&format!("{folder}{name}"), pick(variants, b));
    }

    /// Some other file, or its absence.
    fn edit_file(&mut self, a: u8, b: u8) {
        let (path, variants) = pick(FILES, a);
        let text = match variants {
            // Not always a picture at all.
            [] if b % 4 == 1 => b.to_string(),
            [] => picture(u32::from(b % 16) + 1),
            variants => pick(variants, b / 3).to_owned(),
        };
        match b % 3 {
            0 => drop(self.files.remove(path)),
            _ => self.set(path, &text),
        }
    }

    /// So many rows, of some edition; in the last, one is wrong.
    pub fn news(&mut self, rows: u8, edition: u8) {
        let line = |i: u8| match (edition, i) {
            (3, 1) => ",,\n".to_owned(),
            _ => format!("row-{i},Row {i} of {rows},\"Body {i},\nedition {edition}.\"\n"),
        };
        let lines: String = (0..rows).map(line).collect();
        self.set("data/news.csv", &format!("slug,title,body\n{lines}"));
    }

    /// What else a render is a function of.
    fn edit_options(&mut self, a: u8, b: u8) {
        match a % 7 {
            // Days, and parts of them: not each step ends one.
            0 => self.hours = i64::from(b % 4) * 24 + i64::from(b / 4 % 3) * 7,
            1 => self.drafts = b.is_multiple_of(2),
            2 => self.images = b % 3,
            3 => self.rows = b.is_multiple_of(2),
            4 => self.math = b.is_multiple_of(2),
            5 => self.base_url = b,
            _ => self.source_lines = b.is_multiple_of(2),
        }
    }

    pub fn input(&self) -> Input {
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
        let mut faults = Faults::default();
        faults.add(&source, read.snapshot.is_some(), read.errors);
        let data = DataSet::from_iter(read.snapshot.map(|snapshot| ("news".to_owned(), snapshot)));
        let given = BaseUrl::Given("https://b.example/sub".to_owned());
        let base_url = pick(&[BaseUrl::Configured, BaseUrl::RootRelative, given], self.base_url);
        let now: jiff::Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let widths: &[u64] = if self.images == 2 { &[3, 6] } else { &[] };
        let widths = widths.iter().map(|width| Whole::new(*width).unwrap()).collect();
        let images = ImageOptions { dimensions: self.images > 0, widths, ..ImageOptions::default() };
        Input {
            sources,
            row_pages: Arc::new(read.pages),
            faults,
            data: Arc::new(data),
            now: now + jiff::SignedDuration::from_hours(self.hours),
            options: Options {
                drafts: self.drafts,
                images,
                base_url,
                math: self.math,
                source_lines: self.source_lines,
                ..Options::default()
            },
        }
    }
}

fn matter_of(title: &str, line: &str, tags: &str) -> String {
    format!("title = \"{title}\"\n{line}\n[taxonomies]\n{tags}\n")
}

/// A front matter with a line at its root, in place of one with the same key.
fn with_line(matter: &str, line: &str) -> String {
    let key = |line: &str| line.split(' ').next().map(str::to_owned);
    let end = matter.lines().position(|line| line.starts_with('[')).unwrap_or(usize::MAX);
    let kept = matter.lines().enumerate().filter(|(at, known)| *at >= end || key(known) != key(line));
    let kept = kept.map(|(_, known)| known);
    [line].into_iter().chain(kept).map(|line| format!("{line}\n")).collect()
}
