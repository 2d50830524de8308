//! Highlighted code outlives the process that highlighted it, and is never anything but what would be made anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/packs.rs"]
mod packs;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use release::File;
use renderer::{Input, Memo, Options, Readers, RenderId, Renderer, Sink, SinkClosed, Sources, Summary};

use self::packs::Packs;

const PAGES: usize = 8;
const LANGUAGES: [&str; 4] = ["rust", "python", "toml", "html"];

/// A site with two blocks on each page, in a theme's own colours.
#[derive(Clone)]
struct Site(BTreeMap<String, String>);

impl Site {
    fn new() -> Self {
        let mut site = Self(BTreeMap::new());
        site.config("github-light");
        site.set("templates/page.html", "<h1>{{ page.title }}</h1>{{ page.content | safe }}");
        site.set("content/_index.md", "+++\ntitle = \"Home\"\n+++\n");
        site.set("content/plain.md", "+++\ntitle = \"Plain\"\n+++\nNo code.\n");
        (0..PAGES).for_each(|number| site.page(number, 1));
        site
    }

    fn set(&mut self, path: &str, text: &str) {
        self.0.insert(path.to_owned(), text.to_owned());
    }

    fn config(&mut self, theme: &str) {
        let text = format!(
            "base_url = \"https://a.example\"\n[markdown.highlighting]\ntheme = \"{theme}\"\nstyle = \"inline\"\n"
        );
        self.set("zola.toml", &text);
    }

    /// A page whose blocks are others in each state.
    fn page(&mut self, number: usize, state: usize) {
        let language = LANGUAGES[number % LANGUAGES.len()];
        let text = format!(
            "+++\ntitle = \"Page {number}\"\n+++\n```{language}\nlet a{number} = \"{state}\"\n```\n\nAnd:\n\n\
             ```rust,linenos\nfn f{number}() -> u32 {{\n    {state} // ü\n}}\n```\n"
        );
        self.set(&format!("content/p{number}.md"), &text);
    }

    fn input(&self) -> Input {
        let files = self.0.iter().map(|(path, text)| (path.clone(), bytes::Bytes::from(text.clone())));
        Input {
            sources: Sources::from_files(files),
            data: Arc::default(),
            row_pages: Arc::default(),
            faults: renderer::data::Faults::default(),
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            options: Options::default(),
        }
    }

    /// What a process that knows nothing makes.
    fn clean(&self) -> BTreeMap<String, File> {
        render(&Renderer::for_one_render(1 << 20), None, self).1
    }
}

/// What a render puts.
#[derive(Default)]
struct Taken(Mutex<BTreeMap<String, File>>);

impl Sink for Taken {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        self.0.lock().unwrap().insert(file.path.clone(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        panic!("{path} is still there")
    }
}

fn render(renderer: &Renderer, since: Option<RenderId>, site: &Site) -> (Summary, BTreeMap<String, File>) {
    let taken = Taken::default();
    let summary = renderer.render(&site.input(), since, &taken).unwrap();
    (summary, taken.0.into_inner().unwrap())
}

/// What a new process makes of all pages, which is what one that knows nothing makes; and keeps. How many blocks it highlighted.
fn highlights(site: &Site, packs: &Arc<Packs>) -> usize {
    let renderer = Renderer::new(4 << 20).with_blocks(packs.clone());
    let (summary, files) = render(&renderer, None, site);
    assert!(files == site.clean(), "not what a clean render makes");
    renderer.keep_blocks().unwrap();
    summary.highlighted
}

#[test]
fn a_process_highlights_what_no_other_has() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    assert_eq!(highlights(&site, &packs), 2 * PAGES);
    site.set("templates/page.html", "<h2>{{ page.title }}</h2>{{ page.content | safe }}");
    assert_eq!(highlights(&site, &packs), 0);
    // The colours of another theme are of the same words.
    let before = site.clean();
    site.config("dracula");
    assert_ne!(site.clean(), before);
    assert_eq!(highlights(&site, &packs), 0);
    site.page(3, 2);
    assert_eq!(highlights(&site, &packs), 2);
    assert_eq!(highlights(&site, &packs), 0);
}

/// A render of a process that has begun with the memo of another, and its memo.
fn after(memo: Vec<u8>, site: &Site, packs: &Arc<Packs>) -> (Summary, Vec<u8>) {
    let (renderer, since) = Memo::open(memo.into()).unwrap().renderer(4 << 20);
    rendered(&renderer.with_blocks(packs.clone()), Some(since), site)
}

fn rendered(renderer: &Renderer, since: Option<RenderId>, site: &Site) -> (Summary, Vec<u8>) {
    let summary = render(renderer, since, site).0;
    renderer.keep_blocks().unwrap();
    let mut memo = Vec::new();
    renderer.write_memo(&site.input(), &summary, Readers::All, &mut memo).unwrap();
    (summary, memo)
}

#[test]
fn packs_are_read_when_a_block_is_asked_for() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    let first = Renderer::new(4 << 20).with_blocks(packs.clone());
    let (_, memo) = rendered(&first, None, &site);
    packs.read.store(0, Ordering::Relaxed);

    let (summary, memo) = after(memo, &site, &packs);
    assert_eq!((summary.rendered, packs.read.load(Ordering::Relaxed)), (0, 0));
    site.set("content/plain.md", "+++\ntitle = \"Plain\"\n+++\nStill no code.\n");
    let (summary, memo) = after(memo, &site, &packs);
    assert_eq!((summary.rendered, packs.read.load(Ordering::Relaxed)), (1, 0));
    site.set("templates/page.html", "<h2>{{ page.title }}</h2>{{ page.content | safe }}");
    let (summary, _) = after(memo, &site, &packs);
    assert!(summary.rendered > PAGES);
    assert_eq!((summary.highlighted, packs.read.load(Ordering::Relaxed)), (0, 1));
}

#[test]
fn damage_costs_time_alone() {
    let packs = Arc::new(Packs::default());
    let site = Site::new();
    highlights(&site, &packs);
    let whole = packs.kept.lock().unwrap().clone();
    let (name, bytes) = whole.first_key_value().unwrap();
    let put = |bytes: Vec<u8>| *packs.kept.lock().unwrap() = BTreeMap::from([(name.clone(), bytes)]);
    for at in (0..bytes.len()).step_by(bytes.len() / 24) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x08;
        put(broken);
        let again = highlights(&site, &packs);
        assert!((1..=2 * PAGES).contains(&again), "byte {at}: {again}");
        assert_eq!(highlights(&site, &packs), 0, "byte {at} was not made good");
    }
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        put(bytes[..length].to_vec());
        assert_eq!(highlights(&site, &packs), 2 * PAGES, "{length} bytes");
        assert_eq!(highlights(&site, &packs), 0);
    }
    packs.kept.lock().unwrap().clear();
    assert_eq!(highlights(&site, &packs), 2 * PAGES);
    assert_eq!(*packs.kept.lock().unwrap(), whole);
}

#[test]
fn blocks_that_no_page_has_are_dropped() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    let size = |packs: &Packs| packs.kept.lock().unwrap().values().map(Vec::len).sum::<usize>();
    highlights(&site, &packs);
    let once = size(&packs);
    for state in 2..7 {
        (0..PAGES).for_each(|number| site.page(number, state));
        assert_eq!(highlights(&site, &packs), 2 * PAGES);
        assert!(size(&packs) <= once * 5 / 2, "{} of {once} bytes after {state}", size(&packs));
    }
}

/// A render that did not look at all pages knows nothing of what the others have.
#[test]
fn blocks_of_pages_that_are_not_rendered_stay() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    let first = Renderer::new(4 << 20).with_blocks(packs.clone());
    let (_, mut memo) = rendered(&first, None, &site);
    for state in 2..20 {
        site.page(1, state);
        let summary;
        (summary, memo) = after(memo, &site, &packs);
        assert_eq!((summary.rendered, summary.highlighted), (1, 2));
        assert!(packs.kept.lock().unwrap().len() <= 5);
    }
    assert_eq!(highlights(&site, &packs), 0);
}

#[test]
fn processes_that_keep_at_once_lose_nothing() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    highlights(&site, &packs);
    let both: Vec<(Renderer, Site)> = [2, 3]
        .map(|state| {
            let mut site = site.clone();
            (0..3).for_each(|number| site.page(number, state));
            let renderer = Renderer::new(4 << 20).with_blocks(packs.clone());
            render(&renderer, None, &site);
            (renderer, site)
        })
        .into();
    both.iter().for_each(|(renderer, _)| renderer.keep_blocks().unwrap());
    for (_, site) in &both {
        assert_eq!(highlights(site, &packs), 0);
    }
    site.page(7, 9);
    assert_eq!(highlights(&site, &packs), 2);
}

/// A renderer that goes on running finds what it has put into a pack, and puts it there once.
#[test]
fn a_running_renderer_keeps_what_it_has_kept() {
    let packs = Arc::new(Packs::default());
    let mut site = Site::new();
    let renderer = Renderer::new(1 << 10).with_blocks(packs.clone());
    for (state, expected) in [(1, 2 * PAGES), (2, 2), (2, 0)] {
        site.page(4, state);
        site.set("templates/page.html", &format!("{expected}{{{{ page.content | safe }}}}"));
        let (summary, files) = render(&renderer, None, &site);
        assert_eq!(summary.highlighted, expected);
        assert!(files == site.clean());
        renderer.keep_blocks().unwrap();
    }
    let kept = packs.kept.lock().unwrap().clone();
    renderer.keep_blocks().unwrap();
    assert_eq!(*packs.kept.lock().unwrap(), kept);
}
