//! Whatever changes between two builds, the second gives what a build that knows nothing gives: files that change and do not
//! show it, links, folders that were files, the environment, answers of other servers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::upstream::{Answer, Upstream};
use crate::harness::{World, files, settle};

/// Builds of a site that is edited before each, unless `BAKE_TEST_BUILDS` says how many; each is compared with a clean one.
const BUILDS: u64 = 50;
/// Edits before one build.
const EDITS_MAX: usize = 3;
/// The seed of the first of two tests, which run side by side.
const SEED: u64 = 20_261_127;

const PAGES: &[&str] = &["content/a.md", "content/b.md", "content/blog/c.md", "content/bundle/index.md"];
const OTHERS: &[&str] = &[
    "content/bundle/x.txt",
    "static/s.txt",
    "static/u.txt",
    "static/deep/s.txt",
    "themes/t/static/s.txt",
    "themes/t/static/t.txt",
    "data.toml",
];
const TEMPLATES: &[(&str, &[&str])] = &[
    ("templates/index.html", &[INDEX, "{{ now() | date(timezone=\"Asia/Tokyo\") }}{{ lang }}"]),
    ("templates/page.html", &[PAGE, "{% include \"part.html\" %}{{ page.content | safe }}"]),
    ("templates/part.html", &["part 1111", "part {{ config.title }}"]),
    (
        "themes/t/templates/part.html",
        &["of the theme 1111", "{{ get_env(name=\"OVEN\", default=\"cold\") }}"],
    ),
    ("templates/section.html", &["{% for p in section.pages %}{{ p.title }}{% endfor %}"]),
];
const INDEX: &str = "{% for p in section.pages %}{{ p.title }}{% endfor %}\
    {{ get_env(name=\"OVEN\", default=\"cold\") }}{{ trans(key=\"hello\") }}{{ config.extra.colour | default(value=0) }}";
const PAGE: &str = "{{ page.title }}{{ page.content | safe }}\
    {% for a in page.assets %}{{ a }} {{ get_hash(path=a) }}{% endfor %}\
    {{ load_data(path=\"data.toml\", required=false, format=\"plain\") }}\
    {{ get_url(path=\"s.txt\", cachebust=true) }}\
    {{ load_data(path=\"static/linked/s.txt\", required=false, format=\"plain\") }}";
/// Links, and where they may lead.
const LINKS: &[(&str, &[&str])] = &[
    ("content/link.md", &["a.md", "b.md", "blog/c.md", "nowhere.md", "../data.toml"]),
    ("content/bundle/link.txt", &["x.txt", "../../static/s.txt", "../../data.toml"]),
    ("content/linked", &["blog", "bundle", "nowhere", "a.md"]),
    ("static/linked", &["deep", "../themes/t/static", "../content/bundle"]),
    ("static/deep/up", &["../s.txt", "../../content/blog"]),
    ("templates/part.html", &["page.html", "../themes/t/templates/part.html", "section.html"]),
    ("data.toml", &["static/s.txt", "content/a.md", "nowhere"]),
];
const CONFIG: &[&[&str]] = &[
    &["title = \"Loaf\"", "title = \"Roll\""],
    &["", "theme = \"t\""],
    &["", "compile_sass = true", "minify_html = true", "build_search_index = true"],
    &["[translations]\nhello = \"Hello\"", "[translations]\nhello = \"Good day\""],
    &["", "[extra]\ncolour = 1", "[extra]\ncolour = 2"],
    &[
        "",
        "[markdown.highlighting]\ntheme = \"github-dark\"",
        "[markdown.highlighting]\ntheme = \"github-light\"\nstyle = \"class\"",
        "[markdown.highlighting]\nlight_theme = \"github-light\"\ndark_theme = \"github-dark\"",
    ],
    &["", "[languages.fr]\n[languages.fr.translations]\nhello = \"Bonjour\""],
];

/// A site that is edited at random.
struct Site<'w> {
    world: &'w World,
    random: StdRng,
    config: [usize; CONFIG.len()],
    oven: Option<&'static str>,
    /// Status and body that the other server answers with.
    answer: Arc<Mutex<(u16, u32)>>,
    server: Upstream,
}

impl<'w> Site<'w> {
    fn new(world: &'w World, seed: u64) -> Self {
        let answer = Arc::new(Mutex::new((200, 0)));
        let theirs = Arc::clone(&answer);
        let server = Upstream::start(move |_| {
            let (status, number) = *theirs.lock().unwrap();
            let body = format!("answer {number}");
            let length = body.len();
            Answer::Send(
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(),
            )
        });
        let random = StdRng::seed_from_u64(seed);
        let mut site = Self { world, random, config: [0; CONFIG.len()], oven: None, answer, server };
        site.begin();
        site
    }

    /// A site with which nothing is wrong, whatever was there.
    fn begin(&mut self) {
        ["content", "static", "templates", "themes", "data.toml"].iter().for_each(|path| self.remove(path));
        self.config = [0; CONFIG.len()];
        self.configure();
        for path in PAGES.iter().chain(OTHERS) {
            self.write_new(path);
        }
        for (path, texts) in TEMPLATES {
            self.put(path, texts[0]);
        }
        self.put("content/_index.md", "+++\ntitle = \"Home\"\n+++\nHome 1111.\n");
        self.put("content/blog/_index.md", "+++\ntitle = \"Blog\"\n+++\nBlog 1111.\n");
        self.put("themes/t/theme.toml", "[extra]\ncolour = 7777\n");
    }

    fn path(&self, path: &str) -> PathBuf {
        self.world.path("site").join(path)
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).unwrap()
    }

    fn digits(&mut self) -> u32 {
        self.random.random_range(1_000..10_000)
    }

    fn configure(&mut self) {
        let lines = CONFIG.iter().zip(self.config).map(|(lines, choice)| format!("{}\n", lines[choice]));
        let text = format!("base_url = \"https://bread.example\"\n{}", lines.collect::<String>());
        self.put("zola.toml", &text);
    }

    /// A file with this text, whatever is in its place; not through a link.
    fn put(&self, path: &str, text: &str) {
        self.remove(path);
        let path = self.path(path);
        // A folder above may have become a file, or a link to one.
        if fs::create_dir_all(path.parent().unwrap()).is_ok() {
            fs::write(path, text).unwrap();
        }
    }

    fn remove(&self, path: &str) {
        let path = self.path(path);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
    }

    /// Another text in a file; numbers in it are as long as before.
    fn write_new(&mut self, path: &str) {
        let (one, two) = (self.digits(), self.digits());
        let text = match path {
            "data.toml" => format!("x = {one}\n"),
            page if page.ends_with(".md") => {
                let more = [
                    "```rust\nfn f() {}\n```".to_owned(),
                    "{{ get_env(name=\"OVEN\", default=\"cold\") }}".to_owned(),
                    format!("{{{{ load_data(url=\"{}/\", required=false, format=\"plain\") }}}}", self.server.url),
                    "[b](@/b.md)".to_owned(),
                    "{% set s = get_section(path=\"blog/_index.md\", allow_missing=true) %}{% if s %}{{ s.pages | length }}{% endif %}".to_owned(),
                    String::new(),
                ];
                let more = more.choose(&mut self.random).unwrap();
                format!("+++\ntitle = \"Loaf {one}\"\n+++\nText {two}.\n\n{more}\n")
            }
            _ => format!("text {one}"),
        };
        self.put(path, &text);
    }

    /// Some regular file.
    fn some(&mut self) -> PathBuf {
        let root = self.world.path("site");
        let all: Vec<PathBuf> = ["content", "static", "templates", "themes"]
            .iter()
            .flat_map(|folder| regular(&root.join(folder)))
            .collect();
        all.choose(&mut self.random).unwrap().clone()
    }

    fn edit(&mut self) {
        match self.random.random_range(0..16) {
            0..3 => {
                let path = self.choose(PAGES);
                self.write_new(path);
            }
            3 => {
                let path = self.choose(OTHERS);
                self.write_new(path);
            }
            4 | 5 => self.edit_quietly(),
            6 => self.swap(),
            7 | 8 => {
                let (link, targets) = self.choose(LINKS);
                let target = self.choose(targets);
                self.remove(link);
                if fs::create_dir_all(self.path(link).parent().unwrap()).is_ok() {
                    symlink(target, self.path(link)).unwrap();
                }
            }
            9 => {
                let link = self.choose(LINKS).0;
                self.remove(link);
            }
            10 => {
                let path = [PAGES, OTHERS].concat();
                let path = self.choose(&path);
                self.remove(path);
            }
            11 => self.turn(),
            12 => self.oven = self.choose(&[None, Some("warm"), Some("hot")]),
            13 => {
                *self.answer.lock().unwrap() = (self.choose(&[200, 200, 500]), self.random.random_range(0..3))
            }
            14 => {
                let group = self.random.random_range(0..CONFIG.len());
                self.config[group] = self.random.random_range(0..CONFIG[group].len());
                self.configure();
            }
            _ => {
                let (path, texts) = self.choose(TEMPLATES);
                let text = self.choose(texts);
                self.put(path, text);
            }
        }
    }

    /// An edit that keeps size and time of modification: in place, or by another file.
    fn edit_quietly(&mut self) {
        let path = self.some();
        let text = fs::read_to_string(&path).unwrap();
        let Some(at) = text.find(|c: char| c.is_ascii_digit()) else { return };
        let digit = self.random.random_range(1..10);
        let edited = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
        let modified = path.metadata().unwrap().modified().unwrap();
        let place = if self.random.random() { path.clone() } else { self.world.path("new") };
        fs::write(&place, edited).unwrap();
        fs::File::options().write(true).open(&place).unwrap().set_modified(modified).unwrap();
        fs::rename(place, path).unwrap();
    }

    /// Each of two files in the other's place, with all that the system says of it but its name.
    fn swap(&mut self) {
        let (one, two, between) = (self.some(), self.some(), self.world.path("between"));
        if one.extension() == two.extension() {
            fs::rename(&one, &between).unwrap();
            // They may be one file.
            fs::rename(&two, &one).or_else(|_| fs::rename(&between, &one)).unwrap();
            fs::rename(&between, &two).ok();
        }
    }

    /// A file becomes a folder of its name, or a page one with files of its own, or the other way around.
    fn turn(&mut self) {
        for (one, two) in [("content/a.md", "content/a/index.md"), ("static/u.txt", "static/u.txt/u.txt")] {
            let (from, to) = if self.path(one).is_file() { (one, two) } else { (two, one) };
            let Ok(text) = fs::read_to_string(self.path(from)) else { continue };
            self.remove(from);
            self.put(to, &text);
        }
    }

    /// What somebody may do to an output.
    fn damage(&mut self, out: &Path) {
        let outputs = regular(out);
        let Some(output) = outputs.choose(&mut self.random) else { return };
        match self.random.random_range(0..3) {
            0 => fs::remove_file(output).unwrap(),
            1 => fs::write(output, "not what was built").unwrap(),
            _ => fs::remove_dir_all(out).unwrap(),
        }
    }

    /// Builds into a folder; whether that went well, and what it said.
    fn build(&self, out: &Path, more: &[&str]) -> (bool, String) {
        let args = [&["build", "--out", out.to_str().unwrap()], more].concat();
        let mut run = self.world.bake("site", &args);
        if let Some(oven) = self.oven {
            run = run.var("OVEN", OsStr::new(oven));
        }
        let done = run.run();
        (done.status.success(), done.stderr)
    }
}

/// The files below a folder that are no links, in order.
fn regular(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        match kind {
            kind if kind.is_dir() => found.extend(regular(&path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

fn run(seed: u64) {
    let world = World::new();
    let mut site = Site::new(&world, seed);
    let builds = std::env::var("BAKE_TEST_BUILDS").map_or(BUILDS, |builds| builds.parse().unwrap());
    let mut went_well = 0;
    for build in 0..builds {
        // One of two folders lags behind.
        let out = world.path(if site.random.random_bool(0.8) { "out" } else { "other" });
        let clean = world.path("clean");
        if clean.exists() {
            fs::remove_dir_all(&clean).unwrap();
        }
        // A listing soon after a save cannot go by times; one later does.
        if site.random.random_bool(0.5) {
            settle();
        }
        let (is_well, said) = site.build(&out, &[]);
        let (is_clean_well, clean_said) = site.build(&clean, &["--no-memo"]);
        assert_eq!((is_well, said), (is_clean_well, clean_said), "build {build} of seed {seed}");
        if is_well {
            went_well += 1;
            let (expected, found) = (files(&clean), files(&out));
            let paths = expected.keys().chain(found.keys());
            let wrong: Vec<_> = paths.filter(|path| expected.get(*path) != found.get(*path)).collect();
            assert!(wrong.is_empty(), "build {build} of seed {seed}: {wrong:?}");
            if site.random.random_bool(0.1) {
                site.damage(&out);
            }
        } else if site.random.random_bool(0.7) {
            // Left to edits, it would stay broken.
            site.begin();
        }
        for _ in 0..site.random.random_range(0..=EDITS_MAX) {
            site.edit();
        }
    }
    assert!(went_well * 2 > builds, "{went_well} of {builds} are of sites that can be built");
}

#[test]
fn what_changes_between_builds_is_in_the_second_1() {
    run(SEED);
}

#[test]
fn what_changes_between_builds_is_in_the_second_2() {
    run(SEED + 1);
}
