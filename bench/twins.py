"""Writes one site twice, page for page the same: for Zola 0.23 (which `bake` reads) and for Hugo.

    python3 bench/twins.py PAGES FOLDER [--shape blog|docs] [--code distinct|few|none]

FOLDER/zola and FOLDER/hugo have the same markdown bodies, tags and dates; the same arguments give the same bytes. `blog`: up
to 20 paginated sections, tag pages, a feed, a sitemap. `docs`: sections of 50 pages, and on every page a sidebar (all
sections, the pages of its own), breadcrumbs and the year, as themes for documentation have. `distinct`: two code blocks a
page, each different, 5 to 40 lines, in eight languages; `few`: about a hundred different blocks in all; `none`: no code.
"""

import argparse
import pathlib
import random

ap = argparse.ArgumentParser()
ap.add_argument("pages", type=int)
ap.add_argument("out", type=pathlib.Path)
ap.add_argument("--shape", choices=("blog", "docs"), default="blog")
ap.add_argument("--code", choices=("distinct", "few", "none"), default="distinct")
o = ap.parse_args()
docs = o.shape == "docs"
WORDS = ("edge cache origin render release manifest blob purge stale fresh header vary etag query shard replica latency throughput page "
         "author draft publish schedule queue worker bucket object prefix region node client browser request response the a of to and in is it "
         "that for with on as are this be by from or an which when where each every other most more than").split()
NOUNS = WORDS[:33]
TAGS = [f"tag-{i}" for i in range(50)]


def name(r):
    return f"{r.choice(NOUNS)}_{r.choice(NOUNS)}{r.randint(1, 999)}"


# one line of code in each language; {a} {b} are names, {n} a number, {s} a string
LINES = {
    "rust": ["    let {a}: Vec<u64> = (0..{n}).map(|x| x * {n}).collect();", "    if {a}.len() > {n} {{ return Err(\"{s}\".into()); }}", "    // {s}",
             "    {a}.insert(\"{s}\".to_string(), {b}.clone())?;", "    for (i, {a}) in {b}.iter().enumerate() {{ println!(\"{{i}}: {{}}\", {a}); }}"],
    "python": ["    {a} = [x ** {n} for x in {b} if x % {n} == 0]", "    # {s}", "    {a}[\"{s}\"] = {b}.get({n}, None)", "    with open(f\"{{{a}}}.txt\") as {b}: pass",
               "    assert isinstance({a}, ({b}, int)), \"{s}\""],
    "javascript": ["  const {a} = {b}.filter((x) => x !== {n}).map(String);", "  await fetch(`/{s}/${{{a}}}`, {{ method: 'POST' }});", "  // {s}", "  if ({a} === null || {b} > {n}) throw new Error('{s}');"],
    "go": ["\t{a} := make(map[string]int, {n})", "\tif err := {a}({b}, {n}); err != nil {{ return fmt.Errorf(\"{s}: %w\", err) }}", "\t// {s}", "\tgo func() {{ {a} <- {b} }}()"],
    "c": ["    for (size_t {a} = 0; {a} < {n}; {a}++) {b}[{a}] ^= 0x{n};", "    /* {s} */", "    if (!{a} || {b}->len > {n}u) return -{n};", "    printf(\"%s: %d\\n\", \"{s}\", {a});"],
    "bash": ["for {a} in $(seq 1 {n}); do echo \"${a} {s}\"; done", "# {s}", "[ -f \"${a}\" ] || {{ echo '{s}' >&2; exit {n}; }}", "{a}=$(grep -c '{s}' \"${b}\" | head -{n})"],
    "json": ["  \"{a}\": {{ \"{b}\": {n}, \"note\": \"{s}\" }},", "  \"{a}\": [{n}, true, null, \"{s}\"],"],
    "yaml": ["{a}:", "  - {b}: {n}  # {s}", "  - \"{s}\"", "  - *{b}"],
}


def sentence(r):
    w = [r.choice(WORDS) for _ in range(r.randint(8, 18))]
    if r.random() < .25:
        w[r.randrange(len(w))] = f"**{r.choice(WORDS)}**"
    if r.random() < .2:
        w[r.randrange(len(w))] = f"[{r.choice(WORDS)}](https://example.org/{r.choice(WORDS)}/)"
    if r.random() < .15:
        w[r.randrange(len(w))] = f"`{r.choice(WORDS)}()`"
    return " ".join(w).capitalize() + "."


def code(r):
    if o.code == "few":
        r = random.Random(r.randint(1, 100))
    lang = r.choice(sorted(LINES))
    lines = [r.choice(LINES[lang]).format(a=name(r), b=name(r), n=r.randint(2, 999), s=" ".join(r.choice(WORDS) for _ in range(3))) for _ in range(r.randint(5, 40))]
    return f"```{lang}\n" + "\n".join(lines) + "\n```\n"


def body(r, i):
    out = []
    for s in range(5):
        out.append(f"## {r.choice(WORDS).capitalize()} {r.choice(WORDS)} {i}-{s}\n")
        out += [" ".join(sentence(r) for _ in range(4)) + "\n" for _ in range(3)]
        if s == 1:
            out.append("\n".join(f"- {sentence(r)}" for _ in range(5)) + "\n")
        if s == 2:
            out.append("| name | value |\n|---|---|\n" + "\n".join(f"| {r.choice(WORDS)} | {r.randint(1, 999)} |" for _ in range(5)) + "\n")
        if s >= 3 and o.code != "none":
            out.append(code(r))
    return "\n".join(out)


def w(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def toml_list(xs):
    return "[" + ", ".join(f'"{x}"' for x in xs) + "]"


zola, hugo = o.out / "zola", o.out / "hugo"
light = o.code != "none"
w(zola / "zola.toml", 'base_url = "https://bench.example"\ntitle = "Bench"\ngenerate_feeds = true\nfeed_limit = 20\ncompile_sass = false\nminify_html = false\n'
  'taxonomies = [{name = "tags", paginate_by = 20, feed = false}]\n[markdown]\n' + ('[markdown.highlighting]\ntheme = "github-dark"\n' if light else ""))
side_z = ('<aside>{% set root = get_section(path="_index.md") %}{% for s in root.subsections %}{% set sub = get_section(path=s) %}<p><a href="{{ sub.permalink }}">{{ sub.title }}</a></p>'
          '{% if page is defined and page.ancestors[1] == s %}<ul>{% for p in sub.pages %}<li><a href="{{ p.permalink }}">{{ p.title }}</a></li>{% endfor %}</ul>{% endif %}{% endfor %}</aside>'
          '{% if page is defined %}<nav>{% for a in page.ancestors %}{% set up = get_section(path=a) %}<a href="{{ up.permalink }}">{{ up.title }}</a> / {% endfor %}</nav>{% endif %}') if docs else ""
side_h = ('<aside>{{ $self := . }}{{ range .Site.Sections }}<p><a href="{{ .Permalink }}">{{ .Title }}</a></p>{{ if eq .Path $self.CurrentSection.Path }}<ul>{{ range .Pages }}'
          '<li><a href="{{ .Permalink }}">{{ .Title }}</a></li>{{ end }}</ul>{{ end }}{{ end }}</aside><nav>{{ range .Ancestors.Reverse }}<a href="{{ .Permalink }}">{{ .Title }}</a> / {{ end }}</nav>') if docs else ""
year_z, year_h = (' {{ now() | date(format="%Y") }}', " {{ now.Year }}") if docs else ("", "")
w(zola / "templates/base.html", '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{% block title %}{{ config.title }}{% endblock %}</title><link rel="canonical" href="{{ current_url | default(value=config.base_url) }}"></head>'
  '<body><nav><a href="{{ config.base_url }}/">home</a></nav>' + side_z + "{% block main %}{% endblock %}<footer>bench" + year_z + "</footer></body></html>\n")
ext = '{% extends "base.html" %}'
w(zola / "templates/index.html", ext + "{% block main %}<h1>{{ config.title }}</h1><ul>{% for s in section.subsections %}<li>{{ s }}</li>{% endfor %}</ul>{% endblock %}")
w(zola / "templates/section.html", ext + '{% block main %}<h1>{{ section.title }}</h1>{% for p in paginator.pages %}<article><a href="{{ p.permalink }}">{{ p.title }}</a> <time>{{ p.date }}</time></article>{% endfor %}{% if paginator.next %}<a href="{{ paginator.next }}">next</a>{% endif %}{% endblock %}')
w(zola / "templates/page.html", ext + '{% block title %}{{ page.title }}{% endblock %}{% block main %}<h1>{{ page.title }}</h1><time>{{ page.date }}</time><ul>{% for t in page.taxonomies.tags %}<li>{{ t }}</li>{% endfor %}</ul><ol>{% for x in page.toc %}<li><a href="{{ x.permalink }}">{{ x.title }}</a></li>{% endfor %}</ol>{{ page.content | safe }}{% if page.lower %}<a href="{{ page.lower.permalink }}">{{ page.lower.title }}</a>{% endif %}{% endblock %}')
w(zola / "templates/tags/list.html", ext + '{% block main %}{% for t in terms %}<a href="{{ t.permalink }}">{{ t.name }}</a>{% endfor %}{% endblock %}')
w(zola / "templates/tags/single.html", ext + '{% block main %}<h1>{{ term.name }}</h1>{% for p in paginator.pages %}<article><a href="{{ p.permalink }}">{{ p.title }}</a></article>{% endfor %}{% endblock %}')
w(zola / "content/_index.md", '+++\ntitle = "Bench"\n+++\n')
w(hugo / "hugo.toml", 'baseURL = "https://bench.example/"\ntitle = "Bench"\n[pagination]\npagerSize = 20\n[services.rss]\nlimit = 20\n[taxonomies]\ntag = "tags"\n[markup.highlight]\n' + ('noClasses = true\nstyle = "github-dark"\n' if light else "codeFences = false\n"))
w(hugo / "layouts/baseof.html", '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ block "title" . }}{{ .Site.Title }}{{ end }}</title><link rel="canonical" href="{{ .Permalink }}"></head>'
  '<body><nav><a href="{{ .Site.BaseURL }}">home</a></nav>' + side_h + '{{ block "main" . }}{{ end }}<footer>bench' + year_h + "</footer></body></html>\n")
w(hugo / "layouts/home.html", '{{ define "main" }}<h1>{{ .Site.Title }}</h1><ul>{{ range .Sections }}<li>{{ .Path }}</li>{{ end }}</ul>{{ end }}')
w(hugo / "layouts/section.html", '{{ define "main" }}<h1>{{ .Title }}</h1>{{ range .Paginator.Pages }}<article><a href="{{ .Permalink }}">{{ .Title }}</a> <time>{{ .Date.Format "2006-01-02" }}</time></article>{{ end }}{{ if .Paginator.HasNext }}<a href="{{ .Paginator.Next.URL }}">next</a>{{ end }}{{ end }}')
w(hugo / "layouts/term.html", '{{ define "main" }}<h1>{{ .Title }}</h1>{{ range .Paginator.Pages }}<article><a href="{{ .Permalink }}">{{ .Title }}</a></article>{{ end }}{{ end }}')
w(hugo / "layouts/taxonomy.html", '{{ define "main" }}{{ range .Pages }}<a href="{{ .Permalink }}">{{ .Title }}</a>{{ end }}{{ end }}')
w(hugo / "layouts/page.html", '{{ define "title" }}{{ .Title }}{{ end }}{{ define "main" }}<h1>{{ .Title }}</h1><time>{{ .Date.Format "2006-01-02" }}</time><ul>{{ range .Params.tags }}<li>{{ . }}</li>{{ end }}</ul>{{ .TableOfContents }}{{ .Content }}{{ with .PrevInSection }}<a href="{{ .Permalink }}">{{ .Title }}</a>{{ end }}{{ end }}')
sections = max(1, o.pages // 50 if docs else min(20, o.pages // 50))
for s in range(sections):
    order = "weight" if docs else "date"
    w(zola / f"content/s{s}/_index.md", f'+++\ntitle = "Section {s}"\nsort_by = "{order}"\npaginate_by = 20\n+++\n')
    w(hugo / f"content/s{s}/_index.md", f'+++\ntitle = "Section {s}"\n+++\n')
for i in range(o.pages):
    r = random.Random(i)
    s, tags = i % sections, toml_list(r.sample(TAGS, 3))
    day = f"20{10 + i % 15:02d}-{1 + i % 12:02d}-{1 + i % 28:02d}"
    text = body(r, i)
    weight = f"weight = {i + 1}\n" if docs else ""
    w(zola / f"content/s{s}/p{i}.md", f'+++\ntitle = "Page {i}"\ndate = {day}\n{weight}[taxonomies]\ntags = {tags}\n+++\n{text}')
    w(hugo / f"content/s{s}/p{i}.md", f'+++\ntitle = "Page {i}"\ndate = {day}\n{weight}tags = {tags}\n+++\n{text}')
print(f"{o.pages} pages in {sections} sections, {o.shape}, code {o.code}")
