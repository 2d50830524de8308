//! The command line: help, exit codes, a plain folder of files.

use std::path::Path;

use crate::harness::{World, files, paths, site};

#[test]
fn help_is_complete() {
    let world = World::new();
    let help = world.bake(".", &["--help"]).ok().stdout;
    for command in [
        "up", "build", "publish", "releases", "diff", "rollback", "resume", "purge", "origin", "edge",
        "renderer", "bucket", "import", "new", "preview", "check", "mv",
    ] {
        assert!(help.lines().any(|l| l.trim_start().starts_with(command)), "{command} is missing:\n{help}");
        let own = world.bake(".", &[command, "--help"]).ok().stdout;
        assert!(own.contains("Usage: bake"), "{own}");
    }
    // A command appears when it works, not before.
    for later in ["jobs", "gc", "verify", "why"] {
        assert!(!help.lines().any(|l| l.trim_start().starts_with(&format!("{later} "))), "{later}:\n{help}");
    }
    let version = world.bake(".", &["--version"]).ok().stdout;
    assert_eq!(version.trim(), format!("bake {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2() {
    let world = World::new();
    world.bake(".", &["bulid"]).run().code(2).says(&["build"]);
    world.bake(".", &["up", "--lisen", "x"]).run().code(2).says(&["--listen"]);
    world.bake(".", &["up", "--listen", "nonsense"]).run().code(2).says(&["nonsense"]);
    world.bake(".", &[]).run().code(2);
}

#[test]
fn a_folder_that_is_no_site_is_named() {
    let world = World::new();
    for args in [["build", "nowhere", "--out", "x"], ["build", ".", "--out", "x"]] {
        world.bake("empty", &args).run().code(1).says(&["error:", "content", "hint:"]);
    }
}

#[test]
fn a_site_may_have_no_content_yet() {
    let world = World::new();
    world.write("site/zola.toml", "base_url = \"https://x.example\"\n");
    world.write("site/templates/index.html", "{{ config.base_url }}");
    world.bake("site", &["build", "--out", "../out"]).ok();
    assert_eq!(std::fs::read_to_string(world.path("out/index.html")).unwrap(), "https://x.example");
}

#[test]
fn a_new_site_builds_and_takes_pages() {
    let world = World::new();
    // Where it is tomorrow already, nothing is held back until then.
    let ahead = ("TZ", "AHEAD-24");
    world.bake(".", &["new", "site", "bakery", "--title", "The \"Crumb\""]).var(ahead.0, ahead.1).ok();
    world.bake("bakery", &["new", "page", "posts/rye-bread"]).var(ahead.0, ahead.1).ok();
    world.bake("bakery", &["new", "page", "content/posts/2026-01-02-old.md", "--bundle"]).ok();
    world.bake("bakery", &["new", "page", "posts/later", "--draft", "--title", "Not yet"]).ok();
    world.bake("bakery", &["new", "section", "recipes"]).ok();
    world.bake(".", &["new", "page", "recipes/spelt", "--in", "bakery"]).ok();
    let told = world.bake("bakery", &["new", "page", "lost/page"]).ok().stdout;
    assert!(told.contains("lost has no _index.md, so that no section lists this page"), "{told}");
    let told = world.bake("bakery", &["new", "section", "lost/deep"]).ok().stdout;
    assert!(told.contains("lost has no _index.md, so that no section lists this section"), "{told}");
    world.bake("bakery", &["build", "--out", "../out"]).ok();
    let page = |path: &str| std::fs::read_to_string(world.path(&format!("out/{path}index.html"))).unwrap();
    assert!(page("").contains("The &quot;Crumb&quot;"), "{}", page(""));
    let posts = page("posts/");
    for title in ["First post", "Rye bread", "Old"] {
        assert!(posts.contains(title), "{title}: {posts}");
    }
    assert!(!posts.contains("Not yet") && page("recipes/").contains("Spelt"));
    assert!(page("posts/old/").contains("2026"));
    // By the names of files too.
    world.bake("bakery", &["new", "section", "tales/_index.md"]).ok();
    world.bake("bakery", &["new", "page", "tales/long/index.md"]).ok();
    assert!(world.read("bakery/content/tales/_index.md").contains("\"Tales\""));
    assert!(world.read("bakery/content/tales/long/index.md").contains("\"Long\""));
    let section = world.bake("bakery", &["new", "page", "posts/_index"]).run().code(1);
    section.says(&["is the file of a section", "hint: begin one with `bake new section posts`"]);
    for what in ["page", "section"] {
        world.bake("bakery", &["new", what, "content/_index.md"]).run().code(1).says(&["is the front page"]);
    }
    world.bake("bakery", &["new", "page", "posts/???"]).run().code(1).says(&["an address", "hint:"]);
    world.bake("bakery", &["check"]).ok();
    // Nothing is overwritten, and nothing is made outside content/.
    let again = world.bake("bakery", &["new", "page", "posts/rye-bread"]).run().code(1);
    again.says(&["content/posts/rye-bread.md", "hint:"]);
    let beside = world.bake("bakery", &["new", "page", "posts/2026-01-02-old"]).run().code(1);
    beside.says(&["content/posts/2026-01-02-old/index.md", "same address", "hint:"]);
    let section = world.bake("bakery", &["new", "section", "posts/2026-01-02-old"]).run().code(1);
    section.says(&["content/posts/2026-01-02-old/index.md", "same address", "hint:"]);
    // Names that differ can have one address, and a term one that nobody wrote.
    for (what, path, output, by) in [
        ("page", "posts/Rye Bread", "posts/rye-bread/index.html", "content/posts/rye-bread.md"),
        ("page", "posts/2027-01-02-old", "posts/old/index.html", "content/posts/2026-01-02-old/index.md"),
        ("page", "tags", "tags/index.html", "the taxonomy `tags`"),
        ("section", "tags", "tags/index.html", "the taxonomy `tags`"),
    ] {
        let refused = world.bake("bakery", &["new", what, path]).run().code(1);
        refused.says(&[
            &format!("is not made: the output `{output}` is made by {by}"),
            "hint: choose another name",
        ]);
    }
    world.bake("bakery", &["check"]).ok();
    // What a schema asks for is its author's to write, and a site that is broken can have a page more.
    world.write("bakery/schemas/page.json", "{\"required\": [\"rating\"]}");
    world.bake("bakery", &["new", "page", "posts/rated"]).ok();
    world.write("bakery/zola.toml", "base_url = 1\n");
    world.bake("bakery", &["new", "page", "posts/anyway"]).ok();
    world.bake(".", &["new", "site", "bakery"]).run().code(1).says(&["not empty", "hint:"]);
    world.bake("bakery", &["new", "page", "posts\\rye"]).run().code(2).says(&["write `posts/rye`"]);
    // The folder that one is in has a name, and what is to be typed next is typed as a shell takes it.
    world.bake("Bob's bakery", &["new", "site", "."]).ok();
    assert!(world.read("Bob's bakery/zola.toml").contains("\"Bob's bakery\""));
    let next = world.bake(".", &["new", "site", "Bob's other"]).ok().stdout;
    assert!(next.contains("next: bake up 'Bob'\\''s other'"), "{next}");
    // A fresh repository is as good as empty.
    world.write("fresh/.git/HEAD", "ref: refs/heads/main\n");
    world.write("fresh/.gitignore", "mine\n");
    world.bake("fresh", &["new", "site", "."]).ok();
    assert_eq!(world.read("fresh/.gitignore"), "mine\n");
    for path in ["../evil", "/tmp/evil", "", "a/../../evil", ".hidden"] {
        world.bake("bakery", &["new", "page", path]).run().code(2).says(&["content/"]);
    }
    world.bake(".", &["new", "page", "x", "--in", "nowhere"]).run().code(1).says(&["content", "hint:"]);
}

#[test]
fn an_old_zola_site_is_imported_and_compared() {
    let world = World::new();
    let write = |path: &str, text: &str| world.write(&format!("old/{path}"), text);
    write(
        "config.toml",
        "base_url = \"https://old.example\"\ngenerate_feed = true\n[markdown]\nhighlight_code = false\n",
    );
    write(
        "content/a.md",
        "+++\ntitle = \"A\"\ndate = 2026-01-02\n+++\n{{ image(src=\"/i.png\", alt=\"An i\") }}\n\n`${{ secrets.X }}` {{ gone(a=1) }}\n",
    );
    write(
        "content/seen.md",
        "+++\ntitle = \"Seen\"\ndate = 2026-01-01\n+++\n{{ youtube(id=\"y\", autoplay=true, playlist=\"p&q\") }}\n{{ vimeo(id=1, class=\"wide\") }}\n{{ streamable(id=\"s\") }}\n{{ gist(url=\"https://gist.github.com/a/b\", file=\"c d.rs\") }}\n",
    );
    write(
        "templates/shortcodes/image.html",
        "<figure>\n\n    <img src=\"{{ src }}\" alt=\"{{ alt | default(value=\"\") }}\">{% if caption is defined %}{{ caption }}{% endif %}\n</figure>\n",
    );
    write(
        "templates/macros.html",
        "{% macro title(page) %}<h1>{{ page.title | as_str }}</h1>{% endmacro title %}",
    );
    write(
        "templates/page.html",
        "{% import \"macros.html\" as m %}\n{{ m::title(page=page) }}{% if page.extra.a.b %}x{% endif %}{{ page.content | safe }}{{ page.path is starting_with(\"/a\") }}",
    );
    write("templates/index.html", "{% for p in section.pages | slice(end=1) %}{{ p.title }}{% endfor %}");
    world.write("output/a/index.html", "<h1>A</h1><figure><img src=\"/i.png\" alt=\"An i\"></figure> <p><code>${{ secrets.X }}</code> {{ gone(a=1) }}</p> true");
    world.write("output/index.html", "B");
    world.write("output/atom.xml", "");
    let done = world.bake(".", &["import", "zola", "old", "--out", "new", "--compare", "output"]).ok();
    for line in [
        "look at content/a.md:7: no template defines the shortcode `gone`",
        "~ index.html: words differ: `B` was, `A` is",
        "+ robots.txt: is new",
    ] {
        assert!(done.stdout.contains(line), "{line} is missing:\n{}", done.stdout);
    }
    assert!(!done.stdout.contains("a/index.html"), "{}", done.stdout);
    assert!(world.read("new/zola.toml").contains("generate_feeds = true"));
    assert!(
        world
            .read("new/templates/components/image.html")
            .contains("{% component image(src, alt = \"\", caption = none) %}")
    );
    world.bake(".", &["build", "new", "--out", "built"]).ok();
    let seen = world.read("built/seen/index.html");
    for part in [
        "<div><iframe src=\"https://www.youtube-nocookie.com/embed/y?list=p&amp;q&amp;autoplay=1\"",
        "<div class=\"wide\"><iframe src=\"https://player.vimeo.com/video/1\"",
        "<div><iframe src=\"https://streamable.com/e/s\"",
        "<div><script src=\"https://gist.github.com/a/b.js?file=c%20d%2Ers\"></script></div>",
    ] {
        assert!(seen.contains(part), "{part} is missing:\n{seen}");
    }
    world.bake(".", &["import", "zola", "old", "--out", "new"]).run().code(1).says(&["not empty", "hint:"]);
}

#[test]
fn a_hugo_site_is_imported_with_a_list_of_what_is_left() {
    let world = World::new();
    let write = |path: &str, text: &str| world.write(&format!("old/{path}"), text);
    write("hugo.yaml", "baseURL: https://h.example/\ntitle: H\nparams: {a: 1}\npagination: {pagerSize: 3}\n");
    write(
        "content/posts/a.md",
        "---\ntitle: A\ndate: 2026-01-02T10:00:00+01:00\ntags: [x]\nlayout: wide\nown: 1\naliases: [was-a]\n---\n\
         [b]({{< ref \"posts/b.md\" >}}) [c](../../see/c/) {{< figure src=\"x.png\" alt=\"X\" >}} {{< own >}}\n\n\
         {{ not }} {% this %} {{</* shown */>}}\n\n```go {linenos=true}\nx\n```\n",
    );
    write("content/posts/x.png", "");
    write(
        "content/posts/b.md",
        "+++\ntitle = \"B\"\nlastmod = 2026-02-03\ndate = 2026-01-01\ndraft = false\n+++\nB.\n",
    );
    write("content/c.md", "{\"title\": \"C\", \"url\": \"/see/c/\"}\nC.\n");
    write("layouts/index.html", "{{ .Title }}");
    let done = world.bake(".", &["import", "hugo", "old", "--out", "new"]).ok();
    for line in [
        "look at content/posts/a.md: `layout` is not converted",
        "look at content/posts/a.md: the shortcode `own` is not converted",
        "look at hugo.yaml: the setting `pagination` is not converted",
        "look at layouts/index.html: templates of Hugo are not converted",
    ] {
        assert!(done.stdout.contains(line), "{line} is missing:\n{}", done.stdout);
    }
    world.bake("new", &["build", ".", "--out", "public"]).ok();
    let built = files(&world.path("new/public"));
    for path in [
        "posts/a/index.html",
        "posts/was-a/index.html",
        "posts/b/index.html",
        "see/c/index.html",
        "tags/x/index.html",
        "index.xml",
        "posts/index.xml",
        "tags/x/index.xml",
    ] {
        assert!(built.contains_key(path), "{path} is missing: {:?}", built.keys());
    }
    let page = String::from_utf8_lossy(&built["posts/a/index.html"]).into_owned();
    for text in [
        "https://h.example/posts/b/",
        "https://h.example/see/c/",
        "<figure><img",
        "{{&lt; own &gt;}}",
        "{{ not }} {% this %} {{&lt; shown &gt;}}",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let feed = String::from_utf8_lossy(&built["posts/index.xml"]).into_owned();
    assert!(feed.contains("<rss") && feed.contains("https://h.example/posts/a/"), "{feed}");
    // What is none is not taken for one.
    world
        .bake(".", &["import", "hugo", "new", "--out", "newer"])
        .run()
        .code(1)
        .says(&["a site for Zola", "hint:"]);
    world.write("nothing/content/a.md", "");
    world
        .bake(".", &["import", "hugo", "nothing", "--out", "newer"])
        .run()
        .code(1)
        .says(&["hugo.toml", "config/_default/"]);
}

#[test]
fn build_writes_a_plain_folder_the_same_each_time() {
    let world = World::new();
    site::small(&world, "site");
    world.bake("site", &["build", "--out", "../one"]).ok();
    assert_eq!(world.read("site/.bakehouse/.gitignore"), "*\n");
    world
        .bake(".", &["build", "site", "--out", "two"])
        .var("RAYON_NUM_THREADS", "1")
        .var("TZ", "Asia/Tokyo")
        .ok();
    let (one, two) = (files(&world.path("one")), files(&world.path("two")));
    assert!(one.keys().eq(two.keys()), "{:?} and {:?}", one.keys(), two.keys());
    for (path, bytes) in &one {
        assert!(bytes == &two[path], "{path} differs from one build to the next");
    }
    for path in [
        "index.html",
        "about/index.html",
        "blog/index.html",
        "blog/first/index.html",
        "tags/index.html",
        "tags/rye/index.html",
        "404.html",
        "sitemap.xml",
        "robots.txt",
        "atom.xml",
        "plain.txt",
    ] {
        assert!(one.contains_key(path), "{path} is missing: {:?}", one.keys());
    }
}

#[test]
fn what_is_served_is_what_is_built() {
    let world = World::new();
    site::small(&world, "site");
    let base = "https://bread.example";
    world.bake("site", &["build", "--out", "../out"]).ok();
    let up = world.up_with("site", &["--base-url", base], &[]);
    for (path, bytes) in files(&world.path("out")) {
        let url = format!("/{path}");
        let reply = up.get(&url);
        assert!(
            reply.body == bytes,
            "{path} differs:\n{}\n{}",
            reply.text(),
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn a_build_into_its_own_sources_is_refused() {
    let world = World::new();
    site::small(&world, "site");
    std::os::unix::fs::symlink("content", world.path("site/linked")).unwrap();
    let before = files(&world.path("site"));
    for (out, sources) in [
        ("content", "content"),
        ("content/new/public", "content"),
        ("static/x", "static"),
        ("linked/x", "content"),
    ] {
        let said = world.bake("site", &["build", "--out", out]).run().code(1);
        said.says(&[&format!("`{out}`"), &format!("`./{sources}`"), "hint:", "--out"]);
    }
    assert!(files(&world.path("site")) == before);
    world.bake("site", &["build", "--out", "contents"]).ok();
}

#[test]
fn what_is_in_the_way_of_a_build_is_named() {
    let world = World::new();
    site::small(&world, "site");
    let build = || world.bake("site", &["build", "--out", "../out"]).run();
    world.write("out/about/index.html/keep.txt", "mine");
    build()
        .code(1)
        .says(&["`../out/about/index.html` cannot be written: a folder is there", "hint: move it"]);
    std::fs::remove_dir_all(world.path("out")).unwrap();
    world.write("out/blog", "mine");
    build().code(1).says(&[
        "`../out/blog/",
        "cannot be written: `../out/blog` is a file, and a folder is needed there",
        "hint: move it",
    ]);
    assert_eq!(world.read("out/blog"), "mine");
    std::fs::remove_file(world.path("out/blog")).unwrap();
    build().success();
}

#[test]
fn a_build_that_fails_leaves_what_was_there() {
    let world = World::new();
    site::small(&world, "site");
    world.bake("site", &["build", "--out", "../out"]).ok();
    let before = files(&world.path("out"));
    world.write("site/content/about.md", "+++\ntitle = \n+++\n");
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&["content/about.md:2", "hint:"]);
    assert!(files(&world.path("out")) == before);
}

/// Each metric is in the tables of the documentation, and nothing else is.
#[test]
fn every_metric_has_its_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("content/run/observing.md")).unwrap();
    let mut known: Vec<String> = Vec::new();
    for folder in ["src", "origin/src", "renderer/src", "edge/src"] {
        for path in paths(&root.join(folder)).into_values() {
            known.extend(metrics(&std::fs::read_to_string(path).unwrap(), '"'));
        }
    }
    let mut told = metrics(&page, '`');
    // A histogram comes in three parts, of which the page need not tell.
    known.retain(|name| !["_bucket", "_sum", "_count"].iter().any(|part| name.ends_with(part)));
    for names in [&mut known, &mut told] {
        names.sort_unstable();
        names.dedup();
    }
    assert_eq!(known, told);
}

/// The metrics that a text names, each after a quote.
fn metrics(text: &str, quote: char) -> Vec<String> {
    let begin = format!("{quote}bakehouse_");
    let rests = text.split(&begin).skip(1);
    let is_part = |c: &char| c.is_ascii_lowercase() || *c == '_';
    rests.map(|rest| format!("bakehouse_{}", rest.chars().take_while(is_part).collect::<String>())).collect()
}
