//! Whatever is edited, a render that knows the last one gives what a render that knows nothing gives, byte for byte:
//! outputs, what is gone, warnings and errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/draft.rs"]
mod draft;
#[path = "support/packs.rs"]
mod packs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use release::File;
use renderer::{
    Errors, Handed, Input, Memo, Readers, RenderId, Renderer, Sink, SinkClosed, Sources, Summary,
};

use self::draft::{Draft, Edit, NAMED_BY_THE_ENVIRONMENT, SCHEMAS, TEMPLATES, TITLES, picture};
use self::packs::Packs;

/// Sites that are edited in each of five tests, unless `BAKE_TEST_SITES` says how many: more are worth their time when anything
/// is changed that decides what is rendered again.
const SITES: u32 = 24;
/// How often each site is edited and rendered.
const STEPS: usize = 40;
/// Edits of one step.
const EDITS_MAX: usize = 2;
/// Renders of a site that cannot be rendered, before it is mended.
const BROKEN_MAX: usize = 3;

/// Edits between two renders, and what else is done.
type Step = (Vec<Edit>, u8);

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

/// A sink that does some work as soon as there is an output.
struct Meanwhile<'a> {
    taken: Taken,
    work: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl Sink for Meanwhile<'_> {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let work = self.work.lock().unwrap().take();
        work.into_iter().for_each(|work| work());
        self.taken.put(file)
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        self.taken.remove(path)
    }
}

/// What a receiver has: the outputs of a render.
type Held = (Option<RenderId>, Outputs);

/// A renderer and those for whom it renders.
struct World {
    renderer: Renderer,
    packs: Arc<Packs>,
    /// One that is always up to date, and one that lags behind.
    held: Vec<Held>,
    /// An output that the first has lost.
    lost: String,
    /// What a renderer knew at some time, and its outputs.
    memo: Option<(Vec<u8>, Outputs)>,
}

impl World {
    fn new() -> Self {
        let packs = Arc::new(Packs::default());
        let renderer = Renderer::new(8 << 20).with_blocks(packs.clone());
        Self { renderer, packs, held: vec![Held::default(); 2], lost: String::new(), memo: None }
    }

    /// Renders, and holds what comes of it against a clean render; another site, if any, is rendered at the same time.
    fn render(
        &mut self,
        input: &Input,
        expected: &Result<(Summary, Outputs), Errors>,
        lags: bool,
        other: Option<&Input>,
    ) -> Option<Summary> {
        let (since, outputs) = &mut self.held[usize::from(lags)];
        let work = other.map(|other| -> Box<dyn FnOnce() + Send> {
            Box::new(|| {
                let taken = Taken::default();
                let (Ok(_), Ok((_, expected))) = (self.renderer.render(other, None, &taken), clean(other))
                else {
                    return;
                };
                assert_eq!(differing(&expected, &taken.put.into_inner().unwrap()), []);
            })
        });
        let sink = Meanwhile { taken: Taken::default(), work: Mutex::new(work) };
        let found = self.renderer.render(input, *since, &sink);
        match (expected, found) {
            (Ok((expected, files)), Ok(summary)) => {
                sink.taken.hand_over(&summary, outputs, &self.lost);
                *since = Some(summary.render);
                assert_eq!(differing(files, outputs), []);
                assert_eq!(said(&summary), said(expected));
                return Some(summary);
            }
            (Err(expected), Err(found)) => assert_eq!(found, *expected),
            (Ok(_), Err(found)) => panic!("a clean render is well, this one {found}"),
            (Err(expected), Ok(_)) => panic!("this render is well, a clean one {expected}"),
        }
        None
    }

    /// What may come between two renders.
    fn pass(&mut self, input: &Input, summary: &Summary, lags: bool, what: u8, n: usize) {
        match what % 12 {
            0 | 1 => {
                let readers = if what.is_multiple_of(12) { Readers::All } else { Readers::Own };
                let mut memo = Vec::new();
                self.renderer.write_memo(input, summary, readers, &mut memo).unwrap();
                if n.is_multiple_of(3) {
                    for bytes in self.packs.kept.lock().unwrap().values_mut() {
                        let at = n * 7 % bytes.len();
                        bytes[at] ^= 1;
                    }
                }
                let mut damaged = memo.clone();
                damaged[n * 77 % memo.len()] ^= 1;
                assert!(Memo::open(damaged.into()).is_none());
                let known = self.held[usize::from(lags)].1.clone();
                self.memo = Some((memo, known));
                self.restart();
            }
            // Another clone of the site, which begins with what is not the last that is known.
            2 => self.restart(),
            3 => self.renderer.expect_saves(),
            // What it lost before it has again, or it is gone.
            4 if !lags => {
                if let (Some(since), outputs) = &mut self.held[0] {
                    self.lost = outputs.keys().nth(n % outputs.len()).unwrap().clone();
                    let file = outputs.remove(&self.lost).unwrap();
                    outputs.insert("foreign.txt".to_owned(), file);
                    self.renderer.distrust(*since, [self.lost.as_str(), "foreign.txt"]);
                }
            }
            _ => {}
        }
    }

    /// Goes on with a renderer that knows what is in the memo.
    fn restart(&mut self) {
        let Some((memo, known)) = &self.memo else { return };
        self.renderer.keep_blocks().unwrap();
        let (next, render) = Memo::open(memo.clone().into()).unwrap().renderer(8 << 20);
        self.renderer = next.with_blocks(self.packs.clone());
        // Nobody else can have what this renderer has never made.
        self.held = vec![(Some(render), known.clone()), Held::default()];
    }
}

fn run(steps: &[Step]) {
    let (mut world, mut draft) = (World::new(), Draft::new());
    let mut expected = clean(&draft.input());
    let (mut good, mut broken) = (draft.clone(), 0);
    for (n, (edits, what)) in steps.iter().enumerate() {
        let (input, lags) = (draft.input(), what / 12 % 3 == 2);
        let other = (what / 36 == 6).then(|| good.input());
        if let Some(summary) = world.render(&input, &expected, lags, other.as_ref()) {
            world.pass(&input, &summary, lags, *what, n);
            (good, broken) = (draft.clone(), 0);
        } else {
            broken += 1;
        }
        let before = if broken < BROKEN_MAX { draft.clone() } else { good.clone() };
        edits.iter().for_each(|edit| draft.edit(*edit));
        expected = clean(&draft.input());
        // What cannot be rendered is mostly taken back, or sites would stay broken.
        if expected.is_err() && (what % 4 != 0 || broken >= BROKEN_MAX) {
            draft = before;
            expected = clean(&draft.input());
        }
    }
}

/// However a site is broken meanwhile: once nothing is wrong with it, a render that kept going gives what a clean one does.
fn run_kept_going(steps: &[Step]) {
    let renderer = Renderer::new(8 << 20);
    let mut draft = Draft::new();
    let mut good = draft.clone();
    let (mut since, mut outputs) = (None, Outputs::new());
    for (edits, what) in steps {
        let mut input = draft.input();
        input.options.keep_going = true;
        let taken = Taken::default();
        let is_well = |summary: &Summary| summary.errors.is_empty();
        if let Ok(summary) = renderer.render(&input, since, &taken) {
            taken.hand_over(&summary, &mut outputs, "");
            since = Some(summary.render);
            let clean = clean(&input).unwrap();
            assert_eq!(is_well(&summary), is_well(&clean.0), "{}", summary.errors);
            if is_well(&summary) {
                assert_eq!(differing(&clean.1, &outputs), []);
                assert_eq!(said(&summary), said(&clean.0));
                good = draft.clone();
            }
        }
        // What breaks it is taken back at times, or sites would stay broken.
        if what % 3 == 0 && clean(&draft.input()).is_err() {
            draft = good.clone();
        }
        edits.iter().for_each(|edit| draft.edit(*edit));
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
    draft.configure("build_search_index = true");
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

/// A draft of a section takes its pages along; once its front matter cannot be read, nobody knows that it is one.
#[test]
fn what_is_wrong_does_not_depend_on_what_a_broken_page_was() {
    let mut draft = Draft::new();
    draft.set("content/hidden/_index.md", "+++\ndraft = true\n+++\n");
    draft.set("content/hidden/b.md", "+++\npath = \"docs/b\"\n+++\n");
    let renderer = Renderer::new(8 << 20);
    let first = renderer.render(&draft.input(), None, &Taken::default()).unwrap();
    draft.set("content/hidden/_index.md", "+++\ndraft = maybe\n+++\n");
    let errors = renderer.render(&draft.input(), Some(first.render), &Taken::default()).unwrap_err();
    assert!(errors.to_string().contains("is also made by"), "{errors}");
    assert_eq!(errors, clean(&draft.input()).unwrap_err());
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
    // Its title: its section's lists too, and what is beside it where that shows it.
    let rename =
        |d: &mut Draft| d.set("content/docs/b.md", "+++\ntitle = \"New\"\nweight = 1\n+++\n## A heading\n");
    assert_eq!(put_after(rename), ["docs/b/index.html", "docs/index.html"]);
    let mut beside = Draft::new();
    beside.set("templates/other.html", "{% if page.lower %}{{ page.lower.title }}{% endif %}");
    assert_eq!(put_after_in(beside, rename), ["docs/b/index.html", "docs/c/index.html", "docs/index.html"]);
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
    // What lists show of none but itself: its description, and its tags.
    let described = |line: &str| format!("+++\ntitle = \"B\"\nweight = 1\n{line}\n+++\n## A heading\n");
    let put = put_after(|d| d.set("content/docs/b.md", &described("description = \"New\"")));
    assert_eq!(put, ["docs/b/index.html"]);
    let put = put_after(|d| d.set("content/docs/b.md", &described("taxonomies.kinds = [\"new\"]")));
    assert_eq!(put, ["docs/b/index.html", "kinds/index.html", "kinds/new/index.html", "sitemap.xml"]);
    // The same of a section whose pages every page lists: its own output, and what shows its title.
    let section = |line: &str| {
        format!("+++\ntitle = \"Two\"\nsort_by = \"date\"\npaginate_by = 2\n{line}\n+++\nA section.\n")
    };
    for line in ["description = \"New\"", "extra.colour = 1"] {
        assert_eq!(put_after(|d| d.set("content/blog/_index.md", &section(line))), ["blog/index.html"]);
    }
    let renamed = |shows: &str| {
        let mut draft = Draft::new();
        draft.set(
            "templates/404.html",
            &format!("{{% set s = get_section(path=\"blog/_index.md\") %}}{shows}"),
        );
        let text = section("").replace("Two", "New");
        let put = put_after_in(draft, |d| d.set("content/blog/_index.md", &text));
        put.contains(&"404.html".to_owned())
    };
    assert!(renamed("{{ s.title }}"));
    assert!(!renamed("{% for p in s.pages %}{{ p.permalink }}{% endfor %}"));
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

/// What a content said before it was broken is no mistake of the content that is there now.
#[test]
fn a_broken_page_is_not_told_what_it_asked_for_before() {
    let mut draft = Draft::new();
    let renderer = Renderer::new(8 << 20);
    draft.set("templates/late.html", "late");
    draft.set("content/docs/b.md", "+++\ntemplate = \"late.html\"\n+++\n");
    let first = renderer.render(&draft.input(), None, &Taken::default()).unwrap();
    draft.files.remove("templates/late.html").unwrap();
    draft.set("content/docs/b.md", "+++\ntemplate = \"late.html\"\nweight =\n+++\n");
    let input = draft.input();
    let errors = renderer.render(&input, Some(first.render), &Taken::default()).unwrap_err();
    assert_eq!(errors.list().len(), 1, "{errors}");
    assert_eq!(errors.to_string(), clean(&input).unwrap_err().to_string());
}

#[test]
fn a_link_that_was_only_warned_of_is_refused_where_a_page_has_no_output() {
    let mut draft = Draft::new();
    draft.configure("link_checker.internal_level = \"warn\"");
    draft.set("content/docs/b.md", "+++\nrender = false\n+++\n[nowhere](@/nowhere.md)\n");
    let renderer = Renderer::new(8 << 20);
    let first = renderer.render(&draft.input(), None, &Taken::default()).unwrap();
    assert!(first.warnings.iter().any(|told| told.message.contains("@/nowhere.md")), "{:?}", first.warnings);
    draft.configure("");
    let input = draft.input();
    let errors = renderer.render(&input, Some(first.render), &Taken::default()).unwrap_err();
    assert_eq!(errors, clean(&input).unwrap_err());
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
    draft.configure("markdown.insert_anchor_links = \"right\"");
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

/// Else nobody would notice that a page with the text of now has the HTML that it had before the configuration changed.
#[test]
fn a_template_within_contents_follows_the_configuration() {
    let mut draft = Draft::new();
    let says = |word: &'static str| {
        move |d: &mut Draft| {
            d.configure(&format!(
                "markdown.insert_anchor_links = \"right\"\ntranslations.hello = \"{word}\""
            ));
        }
    };
    says("one")(&mut draft);
    draft.set("templates/anchor-link.html", "{{ trans(key=\"hello\") }}");
    draft.set("templates/section.html", "{% for p in section.pages %}{{ p.content }}{% endfor %}");
    let page = |text: &str| format!("+++\ntitle = \"B\"\nweight = 1\n+++\n{text}\n");
    draft.set("content/docs/b.md", &page("## A heading"));
    let written = page("<h2 id=\"a-heading\">A headingone</h2>");
    holds(draft, &[&says("two"), &|d| d.set("content/docs/b.md", &written)]);
}

#[test]
fn what_content_asks_for_is_known_where_no_template_asks() {
    let mut draft = Draft::new();
    draft.set("templates/other.html", "{{ page.content }}");
    let asks = "{% set c = get_page(path=\"docs/c.md\") %}{{ c.word_count }} {{ c.backlinks | length }}";
    let page = |text: &str| format!("+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n\n{text}\n");
    draft.set("content/docs/b.md", &page("[c](@/docs/c.md)"));
    draft.set("content/docs/z.md", &page(asks));
    let (_, outputs) = clean(&draft.input()).unwrap();
    let made = String::from_utf8_lossy(&outputs["docs/z/index.html"].body).into_owned();
    assert!(made.contains("2 1"), "{made}");
    holds(
        draft,
        &[
            &|d| d.set("content/docs/z.md", &page("Words.")),
            &|d| d.set("content/docs/z.md", &page(asks)),
            &|d| d.set("content/docs/b.md", &page("No link.")),
            &|d| d.set("templates/404.html", "{% set c = get_page(path=\"docs/c.md\") %}{{ c.word_count }}"),
            &|d| d.set("content/docs/z.md", &page("Words.")),
            &|d| d.set("templates/404.html", "lost"),
            &|d| d.set("content/docs/z.md", &page(asks)),
        ],
    );
}

#[test]
fn who_shows_the_digest_of_a_search_index_follows_all_that_it_has() {
    let mut draft = Draft::new();
    draft.configure("build_search_index = true");
    draft.set("templates/404.html", "{{ get_hash(path='search_index.en.js') }}");
    let page = |text: &str| format!("+++\ntitle = \"B\"\nweight = 1\n+++\n{text}\n");
    holds(
        draft,
        &[
            &|d| d.set("content/docs/b.md", &page("Other words.")),
            &|d| d.set("content/docs/b.md", &page("{{ config.title }}")),
            &|d| d.set("content/docs/c.md", "+++\ntitle = \"C\"\nin_search_index = false\n+++\n"),
            &|d| d.set("static/search_index.en.js", "mine"),
        ],
    );
}

#[test]
fn what_a_template_reads_is_known_however_it_is_written() {
    let mut draft = Draft::new();
    draft.set("templates/404.html", "{{ <all {...data} /> }}{%include`foot.html`%}");
    draft.set("templates/robots.txt", "{% for n in data.news-%}{{ n.title }}{% endfor %}");
    draft.set(
        "templates/all.html",
        "{# {% component all(x: map) %}{% endcomponent all %} #}{% component all(news: array) %}{% for n in news %}\
         {{ n.title }}{% endfor %}{% include \"late.html\" %}{% endcomponent all %}",
    );
    draft.set("templates/late.html", "late");
    holds(
        draft,
        &[&|d| d.news(2, 1), &|d| d.set("templates/foot.html", "another foot"), &|d| {
            d.set("templates/late.html", "later")
        }],
    );
}

#[test]
fn code_that_a_filter_shows_looks_as_the_site_does() {
    let mut draft = Draft::new();
    draft.files.retain(|path, _| !path.starts_with("templates/"));
    draft.files.remove("content/docs/_index.md");
    draft.configure("description = \"```rust\\nfn main() {}\\n```\"");
    draft.set("templates/404.html", "{{ config.description | markdown | safe }}");
    holds(draft, &[&|d| d.set("templates/page.html", "{{ page.title }}")]);
}

#[test]
fn a_memo_tells_nothing_of_another_render_at_the_same_time() {
    let renderer = Renderer::new(8 << 20);
    let mut draft = Draft::new();
    let first = renderer.render(&draft.input(), None, &Taken::default()).unwrap();
    draft.set("static/pic.png", "other");
    let mut edited = draft.clone();
    edited.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n\nMore.\n");
    let (input, later) = (draft.input(), edited.input());
    let work = || drop(renderer.render(&later, None, &Taken::default()).unwrap());
    let sink = Meanwhile { taken: Taken::default(), work: Mutex::new(Some(Box::new(work))) };
    let second = renderer.render(&input, Some(first.render), &sink).unwrap();
    assert!(sink.work.lock().unwrap().is_none());
    let mut memo = Vec::new();
    renderer.write_memo(&input, &second, Readers::Own, &mut memo).unwrap();
    let (mut outputs, taken) = (clean(&input).unwrap().1, Taken::default());
    let (next, render) = Memo::open(memo.into()).unwrap().renderer(8 << 20);
    let third = next.render(&later, Some(render), &taken).unwrap();
    taken.hand_over(&third, &mut outputs, "");
    assert_eq!(differing(&clean(&later).unwrap().1, &outputs), []);
}

#[test]
fn a_memo_for_others_has_no_name_that_is_made_of_the_environment() {
    let mut draft = Draft::new();
    draft.set("templates/404.html", &format!("{NAMED_BY_THE_ENVIRONMENT}{{{{ config.title }}}}"));
    draft.set("content/docs/c.md", &format!("+++\n+++\n{NAMED_BY_THE_ENVIRONMENT}\n"));
    let renderer = Renderer::new(8 << 20);
    let (input, taken) = (draft.input(), Taken::default());
    let summary = renderer.render(&input, None, &taken).unwrap();
    let made = taken.put.into_inner().unwrap();
    let memo = |readers| {
        let mut memo = Vec::new();
        renderer.write_memo(&input, &summary, readers, &mut memo).unwrap();
        memo
    };
    let names = |memo: &[u8]| memo.windows(18).filter(|bytes| bytes == b"data/renderer.toml").count();
    assert!(names(&memo(Readers::Own)) > 0);
    let memo = memo(Readers::All);
    assert_eq!(names(&memo), 0);
    // Whoever begins with it renders what asked for it, and no more; what that is not made from any more is known to go.
    draft.set("data/renderer.toml", "there");
    draft.set("content/docs/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n## A heading\n\nMore.\n");
    draft.files.remove("templates/404.html");
    let (next, render) = Memo::open(memo.into()).unwrap().renderer(8 << 20);
    let (mut outputs, taken) = (made, Taken::default());
    let input = draft.input();
    let last = next.render(&input, Some(render), &taken).unwrap();
    taken.hand_over(&last, &mut outputs, "");
    assert_eq!(differing(&clean(&input).unwrap().1, &outputs), []);
    assert!(last.rendered < last.outputs / 2, "{} of {}", last.rendered, last.outputs);
}

#[test]
fn blocks_say_the_file_that_they_are_of_after_a_rename() {
    let mut draft = Draft::new();
    draft.source_lines = true;
    let rename = |from: &'static str, to: &'static str| {
        move |d: &mut Draft| {
            let text = d.files.remove(from).unwrap();
            d.set(to, &text);
        }
    };
    let (page, bundle) = ("content/blog/a.md", "content/blog/a/index.md");
    holds(draft, &[&rename(page, bundle), &|d| drop(d.files.remove("content/d.md")), &rename(bundle, page)]);
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
fn a_copy_of_an_image_follows_its_image_though_its_name_stays() {
    let mut draft = Draft::new();
    let copy = "{% set copy = resize_image(path=\"pic.png\", width=2, height=2) %}{{ copy.url }}";
    draft.set("templates/404.html", copy);
    draft.set("static/pic.png", &picture(8));
    for text in draft.files.values_mut() {
        *text = text.replace("![y](photo.png)", "no other");
    }
    let put = put_after_in(draft.clone(), |d| d.set("static/pic.png", &picture(9)));
    assert!(put.iter().any(|path| path.starts_with("processed_images/pic.")), "{put:?}");
    holds(draft, &[&|d| d.set("static/pic.png", &picture(9)), &|d| d.set("static/pic.png", &picture(8))]);
}

#[test]
fn a_style_sheet_follows_what_it_reads_beyond_its_folder() {
    let mut draft = Draft::new();
    draft.configure("compile_sass = true");
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

#[test]
fn a_feed_follows_what_is_beside_its_section() {
    let mut draft = Draft::new();
    draft.set(
        "templates/atom.xml",
        "{% if section %}{{ section.content }}{% if section.lower %}{{ section.lower.title }}{% endif %}{% endif %}",
    );
    draft.set("content/docs/_index.md", "+++\ngenerate_feeds = true\n+++\n");
    draft.files.remove("content/blog/_index.md");
    holds(draft, &[&|d| d.set("content/a/_index.md", "+++\ntitle = \"A\"\n+++\n")]);
}

#[test]
fn the_day_begins_at_its_own_hour_in_each_time_zone() {
    // From noon in UTC: 21:00 in Tokyo, 18:00 in Dhaka.
    for (now, zone, hours) in [("now()", "Asia/Tokyo", 3), ("now(timestamp=true)", "Asia/Dhaka", 6)] {
        let mut draft = Draft::new();
        draft.set("templates/404.html", &format!("{{{{ {now} | date(timezone=\"{zone}\") }}}}"));
        let later = move |hours: i64| move |d: &mut Draft| d.hours = hours;
        assert_eq!(put_after_in(draft.clone(), later(hours)), ["404.html"], "{zone}");
        assert_eq!(put_after_in(draft.clone(), later(hours - 2)), [""; 0], "{zone}");
        holds(draft, &[&later(hours)]);
    }
}

/// A site without a `bakehouse.toml`, which forgives that two things claim one address.
fn forgiving(taxonomies: &str) -> Draft {
    let mut draft = Draft::new();
    draft.files.retain(|path, _| !path.starts_with("content/"));
    draft.set("zola.toml", &format!("base_url = \"https://a.example\"\ntaxonomies = [{taxonomies}]\n"));
    draft
}

#[test]
fn taxonomies_of_one_slug_are_told_apart() {
    let page = |title: &str, terms: &str| {
        format!("+++\ntitle = \"{title}\"\ndate = 2026-01-01\n[taxonomies]\n{terms}\n+++\n")
    };
    let mut draft = forgiving("{ name = \"tags\", feed = true }, { name = \"Tags\", feed = true }");
    let shows = |kind: &str| {
        format!(
            "{{% set found = get_taxonomy(kind=\"{kind}\") %}}{{% for t in found.items %}}{{% for p in t.pages %}}{{{{ p.title }}}}{{% endfor %}}{{% endfor %}}"
        )
    };
    draft.set("templates/404.html", &format!("{}|{}", shows("tags"), shows("Tags")));
    draft.set(
        "templates/taxonomy_single.html",
        "{{ taxonomy.name }}{% for p in term.pages %}{{ p.title }}{% endfor %}",
    );
    draft.set("content/a.md", &page("A", "tags = [\"x\"]"));
    draft.set("content/b.md", &page("B", "Tags = [\"x\"]"));
    let body = String::from_utf8_lossy(&clean(&draft.input()).unwrap().1["404.html"].body).into_owned();
    assert_eq!(body, "A|B");
    holds(
        draft,
        &[
            &|d| d.set("content/b.md", &page("C", "Tags = [\"x\"]")),
            &|d| drop(d.files.remove("content/a.md")),
            &|d| d.set("content/a.md", &page("A", "tags = [\"x\"]")),
        ],
    );
}

#[test]
fn pagers_of_a_section_and_a_term_at_one_address_are_told_apart() {
    let page = |day: u8| {
        format!("+++\ntitle = \"{day}\"\ndate = 2026-01-0{day}\ntaxonomies = {{ tags = [\"x\"] }}\n+++\n")
    };
    let mut draft = forgiving("{ name = \"tags\", paginate_by = 1 }");
    draft.set("templates/taxonomy_single.html", "{% for p in paginator.pages %}{{ p.title }}{% endfor %}");
    draft.set("content/tags/x/_index.md", "+++\npaginate_by = 1\n+++\n");
    draft.set("content/tags/x/a.md", &page(1));
    draft.set("content/b.md", &page(2));
    draft.set("content/c.md", &page(4));
    // The last becomes the first, and as many pages as before are in the term.
    holds(draft, &[&|d| d.set("content/tags/x/a.md", &page(5))]);
}

#[test]
fn contents_that_another_render_made_meanwhile_are_noted_by_this_one() {
    // With one thread, the other makes all contents but the first before this one gets to them.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let (mut world, mut draft) = (World::new(), Draft::new());
        for n in 0..3 {
            draft.set(&format!("content/link{n}.md"), "+++\n+++\nTo [b](@/docs/b.md).\n");
        }
        let mut render = |draft: &Draft, is_twice: bool| {
            let input = draft.input();
            world.render(&input, &clean(&input), false, is_twice.then_some(&input)).unwrap();
        };
        render(&draft, true);
        draft.set("content/docs/b.md", "+++\ntitle = \"B\"\nslug = \"elsewhere\"\n+++\n");
        render(&draft, false);
    });
}

/// How many sites, and how long what fails is made smaller.
fn effort() -> ProptestConfig {
    let given = std::env::var("BAKE_TEST_SITES").ok().map(|sites| sites.parse().unwrap());
    let max_shrink_iters = if given.is_some() { 2_000 } else { 150 };
    let cases = given.unwrap_or(SITES);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters, ..ProptestConfig::default() }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edits = prop::collection::vec(any::<Edit>(), 1..=EDITS_MAX);
    prop::collection::vec((edits, any::<u8>()), 1..=STEPS)
}

proptest! {
    #![proptest_config(effort())]

    // Four times the same, so that they run side by side.
    #[test]
    fn an_edit_gives_what_a_clean_render_gives_1(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_2(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_3(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn an_edit_gives_what_a_clean_render_gives_4(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn a_site_that_was_broken_gives_what_a_clean_render_gives(steps in steps()) {
        run_kept_going(&steps);
    }
}
