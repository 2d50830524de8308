//! A real browser on the built-in theme.

use std::fs;
use std::path::Path;

use crate::harness::browser::{Browser, FLAGS, View, lighthouse};
use crate::harness::{World, wait_until};

/// A site that shows every part of the theme.
const BREAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/theme");
const PHONE: View = View { size: (390, 844), phone: true };
const DESKTOP: View = View { size: (1280, 900), phone: false };

/// What Lighthouse must say at least: of performance, and of all else. Nothing of it is impossible without TLS, since a
/// loopback address counts as safe.
const PERFORMANCE: u64 = 95;
const ALL_ELSE: u64 = 100;
/// A busy machine makes pages slower than they are; the best of so many counts.
const TRIES: u32 = 3;

#[test]
fn axe_finds_nothing_wrong_with_the_theme() {
    let world = World::new();
    let up = world.up(BREAD);
    let browser = Browser::start(&world);
    let page = browser.open(up.edge());
    let paths = [
        "/",
        "/blog/sourdough/",
        "/blog/",
        "/handbook/starter/",
        "/tags/rye/",
        "/search/?q=rye",
        "/no-such-page",
    ];
    let mut problems = Vec::new();
    for path in paths {
        for view in [PHONE, DESKTOP] {
            page.look(&format!("{}{path}", up.edge()), view);
            if path.starts_with("/search/") {
                page.wait("document.querySelectorAll('#results a').length > 0");
            }
            // What is folded is looked at too.
            page.eval("for (const one of document.querySelectorAll('details')) one.open = true");
            let mut found = page.axe();
            page.colours("dark");
            found.extend(page.axe().into_iter().map(|problem| format!("in the dark: {problem}")));
            if page.eval("document.documentElement.scrollWidth > document.documentElement.clientWidth")
                == true
            {
                found.push("wider than its window".to_owned());
            }
            // The browser itself reports the status of the page that is not there.
            let expected = |complaint: &String| path == "/no-such-page" && complaint.contains("404");
            found.extend(page.complaints().into_iter().filter(|complaint| !expected(complaint)));
            problems.extend(found.into_iter().map(|problem| format!("{path}, {view:?}: {problem}")));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_phone_has_names_whole_and_notes_beside_their_numbers() {
    let world = World::new();
    copy(Path::new(BREAD), &world.path("site"));
    let config = world.read("site/zola.toml").replace("bottom_footnotes = true\n", "");
    world.write("site/zola.toml", config);
    let flags = "| flag | does |\n| --- | --- |\n| `--skip-external-links` | asks no other host, whatever else is said |\n\
                 | `--api ADDR`, `--bucket-listen ADDR` | where the API and the bucket are listened for |\n";
    world.write(
        "site/content/blog/flags.md",
        format!("+++\ntitle = \"Flags\"\ndate = 2026-01-01\n+++\nA flag[^1].\n\n{flags}\n[^1]: A note.\n"),
    );
    let up = world.up("site");
    let browser = Browser::start(&world);
    let page = browser.open(up.edge());
    page.look(&format!("{}/blog/flags/", up.edge()), PHONE);
    let lines = "[...document.querySelectorAll('td code')].map((code) => \
                 Math.round(code.getBoundingClientRect().height / 20)).join(' ')";
    assert_eq!(page.text(lines), "1 1 1");
    assert_eq!(
        page.eval(
            "(() => { const t = document.querySelector('table'); return t.scrollWidth > t.clientWidth; })()"
        ),
        false
    );
    let beside = "(() => { const [a, b] = ['.footnote-definition sup', '.footnote-definition p'].map((s) => \
                  document.querySelector(s).getBoundingClientRect()); return a.top < b.bottom && a.bottom > b.top && a.right <= b.left; })()";
    assert_eq!(page.eval(beside), true);
}

#[test]
fn lighthouse_gives_the_theme_its_best_marks() {
    let world = World::new();
    let up = world.up(BREAD);
    let paths = ["/", "/blog/sourdough/", "/tags/rye/", "/search/"];
    let urls: Vec<String> = paths.iter().map(|path| format!("{}{path}", up.edge())).collect();
    let found = lighthouse(&world, TRIES, PERFORMANCE.try_into().unwrap(), &urls);
    assert_eq!(found.len(), 2 * paths.len());
    for page in found {
        let scores = page["scores"].as_object().unwrap();
        let names: Vec<&str> = scores.keys().map(String::as_str).collect();
        assert_eq!(names, ["accessibility", "best-practices", "performance", "seo"]);
        for (name, score) in scores {
            let wanted = if name == "performance" { PERFORMANCE } else { ALL_ELSE };
            assert!(score.as_u64() >= Some(wanted), "{name} {score}, not {wanted}: {page:#}");
        }
        println!("{} {} {}", page["url"], page["device"], page["scores"]);
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn pages_are_found_by_their_words_whatever_the_index_is() {
    let world = World::new();
    copy(Path::new(BREAD), &world.path("site"));
    let config = world.read("site/zola.toml");
    // The theme's site has typographer's quotes, which no keyboard has.
    let quotes = "+++\ntitle = \"Quotes\"\ndate = 2026-01-01\n+++\nIt is a baker's \"windowpane\".\n";
    world.write("site/content/blog/quotes.md", quotes);
    for n in 0..51 {
        let page = format!("+++\ntitle = \"Loaf {n}\"\ndate = 2026-01-01\n+++\nA batch.\n");
        world.write(&format!("site/content/blog/loaf-{n}.md"), page);
    }
    let up = world.up("site");
    let browser = Browser::start(&world);
    let page = browser.open(up.edge());
    let results = "[...document.querySelectorAll('#results a')].map((a) => a.pathname).join(' ')";
    for (format, ending) in [
        ("elasticlunr_javascript", "js"),
        ("elasticlunr_json", "json"),
        ("fuse_javascript", "js"),
        ("fuse_json", "json"),
    ] {
        let search = format!("[search]\nindex_format = {format:?}\ninclude_description = true\n");
        world.write("site/zola.toml", format!("{config}\n{search}"));
        // The index of before has its pages without what they say of themselves.
        let is_new = |text: &str| {
            text.contains("documentStore") == format.starts_with("elasticlunr")
                && text.contains("A loaf of rye sourdough")
        };
        wait_until(format, crate::harness::SOON, || {
            let index = up.get(&format!("/search_index.en.{ending}"));
            index.status == 200 && is_new(&index.text()) && up.get("/search/").text().contains(ending)
        });
        page.look(&format!("{}/search/", up.edge()), PHONE);
        let ask = |words: &str| {
            page.eval(&format!(
                "{{ const q = document.getElementById('q'); q.focus(); q.value = {words:?}; q.dispatchEvent(new Event('input')); }}"
            ));
            page.wait("document.getElementById('found').textContent !== ''");
        };
        // Every word, anywhere in title or text, without regard to case and accents.
        ask("KNÉAD sourd");
        assert_eq!(page.text(results), "/blog/sourdough/", "{format}");
        assert_eq!(page.text("document.querySelector('#results mark').textContent"), "sourd", "{format}");
        assert_eq!(page.text("document.getElementById('found').textContent"), "1 found", "{format}");
        assert_eq!(page.text("location.search"), "?q=KN%C3%89AD%20sourd", "{format}");
        ask("baker's \"windowpane\"");
        assert_eq!(page.text(results), "/blog/quotes/", "{format}");
        assert_eq!(page.text("document.querySelector('#results mark').textContent"), "baker’s", "{format}");
        // Of many only the first are shown, which is said.
        ask("batch");
        page.wait("document.getElementById('found').textContent === '50 / 51 found'");
        // A title counts for more than a text.
        ask("starter");
        assert!(page.text(results).starts_with("/handbook/starter/ "), "{format}: {}", page.text(results));
        ask("no such words");
        page.wait("document.getElementById('found').textContent === 'Nothing was found.'");
        assert_eq!(page.text(results), "", "{format}");
        // An address with words in it searches at once.
        page.look(&format!("{}/search/?q=heating", up.edge()), PHONE);
        page.wait("document.querySelectorAll('#results a').length === 1");
        assert_eq!(page.text(results), "/handbook/oven/", "{format}");
        let complaints = page.complaints();
        assert!(complaints.is_empty(), "{format}: {complaints:?}");
    }
}

#[test]
fn chromium_shows_the_documentation_without_a_complaint() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    for (number, path) in ["/", "/start/quick-start/", "/write/", "/no-such-page"].iter().enumerate() {
        for (kind, size) in [("wide", "1280,900"), ("phone", "390,844")] {
            let picture = world.path(&format!("{number}-{kind}.png"));
            let profile = world.path(&format!("profile-{number}-{kind}"));
            let own = [
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
                &format!("--window-size={size}"),
                &format!("--user-data-dir={}", profile.display()),
                &format!("--screenshot={}", picture.display()),
                "--dump-dom",
                &format!("{}{path}", up.edge()),
            ];
            let done = world.program("chromium", ".", &[&FLAGS[..], &own].concat()).ok();
            let complaints: Vec<&str> = done
                .stderr
                .lines()
                .filter(|l| l.contains("CONSOLE") || l.contains("Uncaught"))
                // The browser itself reports the status of the page that is not there.
                .filter(|l| !(*path == "/no-such-page" && l.contains("404")))
                .collect();
            assert!(complaints.is_empty(), "{path}, {kind}: {complaints:?}");
            assert!(done.stdout.contains("<main"), "{path}: {}", done.stdout);
        }
    }
}

#[test]
fn pages_can_be_read_without_scripts() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    let text = up.get("/start/quick-start/").text();
    let main = text.split("<main").nth(1).expect("a main element").split("</main").next().unwrap();
    for element in ["<pre", "<h2", "<table"] {
        assert!(main.contains(element), "no `{element}` without scripts: {main}");
    }
    let words: String =
        main.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    for text in ["cargo run --release -- up", "bake rollback"] {
        assert!(words.contains(text), "no `{text}` without scripts: {words}");
    }
}
