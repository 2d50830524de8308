//! The inverted index that elasticlunr.js loads.
//!
//! Words are taken from a text when its page is rendered; an index is put together from the words of all pages, and
//! written as it is made: a page that changed costs its own words. The bytes are those of the crate `elasticlunr-rs`, which
//! owns what a word is in each language; a test holds that.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use elasticlunr::{Language, Pipeline, lang};

use super::{Fragment, Item};
use crate::config::SearchConfig;
use crate::locales;

/// Words of a language whose stems a thread remembers: stemming is most of the work, and most words come again.
const STEMS_MAX: usize = 50_000;

/// What turns texts of a language into words.
struct Words {
    language: Box<dyn Language>,
    pipeline: Pipeline,
    stems: HashMap<String, Option<Box<str>>>,
}

thread_local! {
    static WORDS: RefCell<HashMap<String, Words>> = RefCell::default();
}

/// The language of a code such as `pt-BR`; English where there is none for it, as the index then says itself.
fn language(code: &str) -> Box<dyn Language> {
    lang::from_code(locales::language(code)).unwrap_or_else(|| Box::new(lang::English::new()))
}

impl Words {
    fn of(code: &str) -> Self {
        let language = language(code);
        Self { pipeline: language.make_pipeline(), language, stems: HashMap::new() }
    }

    /// The words of a text as they are looked up; none for those that are not.
    fn of_text(&mut self, field: &str, text: &str, mut each: impl FnMut(&str)) {
        let words = if field == "path" { words_of_path(text) } else { self.language.tokenize(text) };
        for word in words {
            if let Some(known) = self.stems.get(&word) {
                known.iter().for_each(|stem| each(stem));
                continue;
            }
            let stem = self.pipeline.run(vec![word.clone()]).pop().map(String::into_boxed_str);
            stem.iter().for_each(|stem| each(stem));
            if self.stems.len() == STEMS_MAX {
                self.stems.clear();
            }
            self.stems.insert(word, stem);
        }
    }
}

/// The words of a page, field by field.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// All words, one after the other.
    text: Box<str>,
    terms: Box<[Term]>,
    /// How many words each field has, repeated ones included.
    lengths: Box<[usize]>,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    /// Where the word is in the text.
    start: u32,
    end: u32,
    /// How often it stands in the field, and in those before it.
    count: u32,
    field: u8,
}

impl Terms {
    /// About what they occupy, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.terms.len() * size_of::<Term>() + self.lengths.len() * size_of::<usize>()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Term)> {
        self.terms.iter().map(|term| (&self.text[term.start as usize..term.end as usize], *term))
    }
}

/// The fields of an index, in the order in which their words are counted.
fn fields(config: &SearchConfig) -> Vec<&'static str> {
    let all = [
        ("title", config.include_title),
        ("description", config.include_description),
        ("date", config.include_date),
        ("path", config.include_path),
        ("body", config.include_content),
    ];
    all.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// The texts of the fields, in that order. As in Zola, of what has no date each field after that has the text of the next:
/// nothing is in the last.
fn texts(item: &Item) -> impl Iterator<Item = &str> {
    let Item { url: _, title, description, date, path, body } = item;
    [title, description, date, path, body].into_iter().filter_map(Option::as_deref)
}

/// The words of an address: what slashes and hyphens part.
fn words_of_path(path: &str) -> Vec<String> {
    let parts = path.split(|c: char| c.is_whitespace() || matches!(c, '-' | '/'));
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}

/// The words of an item.
pub(super) fn terms(config: &SearchConfig, code: &str, item: &Item) -> Terms {
    WORDS.with_borrow_mut(|words| {
        let words = words.entry(code.to_owned()).or_insert_with(|| Words::of(code));
        // A field's words count in those after it too.
        let mut counts: BTreeMap<Box<str>, u32> = BTreeMap::new();
        let (mut all, mut terms, mut lengths) = (String::new(), Vec::new(), Vec::new());
        let mut places: HashMap<Box<str>, u32> = HashMap::new();
        for (field, (name, text)) in fields(config).into_iter().zip(texts(item)).enumerate() {
            let mut length = 0;
            words.of_text(name, text, |word| {
                length += 1;
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(word.into(), 1);
                    }
                }
            });
            lengths.push(length);
            for (word, count) in counts.iter().filter(|(word, _)| !word.is_empty()) {
                let start = *places.entry(word.clone()).or_insert_with(|| {
                    all.push_str(word);
                    (all.len() - word.len()) as u32
                });
                let end = start + word.len() as u32;
                terms.push(Term { start, end, count: *count, field: field as u8 });
            }
        }
        Terms { text: all.into(), terms: terms.into(), lengths: lengths.into() }
    })
}

/// The index of pages that are in the order of their addresses.
pub(super) fn index(config: &SearchConfig, code: &str, pages: &[impl AsRef<Fragment>]) -> String {
    let language = language(code);
    let fields = fields(config);
    let refs: Vec<String> = pages.iter().map(|page| quoted(&page.as_ref().item.url)).collect();
    let mut found: Vec<HashMap<&str, Vec<(u32, u32)>>> = fields.iter().map(|_| HashMap::new()).collect();
    for (number, page) in pages.iter().enumerate() {
        for (word, term) in page.as_ref().terms.iter() {
            let field = &mut found[usize::from(term.field)];
            field.entry(word).or_default().push((number as u32, term.count));
        }
    }
    let bytes: usize = pages.iter().map(|page| page.as_ref().bytes()).sum();
    let mut out = String::with_capacity(bytes * 4);
    let names: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    let steps: Vec<String> = language.make_pipeline().queue.iter().map(|step| quoted(&step.name())).collect();
    let version = quoted(elasticlunr::ELASTICLUNR_VERSION);
    out.push_str(&format!(
        "{{\"fields\":[{}],\"pipeline\":[{}],\"ref\":\"id\",\"version\":{version},\"index\":{{",
        names.join(","),
        steps.join(",")
    ));
    let mut frequencies = Frequencies::default();
    let mut sorted: Vec<usize> = (0..fields.len()).collect();
    sorted.sort_by_key(|field| fields[*field]);
    for (place, field) in sorted.iter().enumerate() {
        comma(&mut out, place);
        out.push_str(&format!("{}:{{\"root\":", names[*field]));
        let mut words: Vec<(&str, Vec<(u32, u32)>)> =
            std::mem::take(&mut found[*field]).into_iter().collect();
        words.sort_unstable_by_key(|(word, _)| *word);
        trie(&mut out, &words, &refs, &mut frequencies);
        out.push('}');
    }
    out.push_str("},\"documentStore\":{\"save\":true,\"docs\":{");
    for (number, page) in pages.iter().enumerate() {
        comma(&mut out, number);
        out.push_str(&refs[number]);
        out.push_str(":{");
        let item = &page.as_ref().item;
        let mut shown: Vec<(&str, &str)> =
            fields.iter().copied().zip(texts(item)).chain([("id", item.url.as_str())]).collect();
        shown.sort_unstable();
        for (place, (field, text)) in shown.into_iter().enumerate() {
            comma(&mut out, place);
            out.push_str(&format!("{}:{}", quoted(field), quoted(text)));
        }
        out.push('}');
    }
    out.push_str("},\"docInfo\":{");
    for (number, page) in pages.iter().enumerate() {
        comma(&mut out, number);
        out.push_str(&refs[number]);
        out.push_str(":{");
        let lengths = &page.as_ref().terms.lengths;
        for (place, field) in sorted.iter().filter(|field| **field < lengths.len()).enumerate() {
            comma(&mut out, place);
            out.push_str(&format!("{}:{}", names[*field], lengths[*field]));
        }
        out.push('}');
    }
    out.push_str(&format!("}},\"length\":{}}},\"lang\":{}}}", pages.len(), quoted(&language.name())));
    out
}

/// Words letter by letter: each letter is an object in that of the letter before it.
fn trie(out: &mut String, words: &[(&str, Vec<(u32, u32)>)], refs: &[String], frequencies: &mut Frequencies) {
    out.push_str("{\"docs\":{},\"df\":0");
    let mut open: Vec<char> = Vec::new();
    for (word, pages) in words {
        let shared = open.iter().zip(word.chars()).take_while(|(a, b)| *a == b).count();
        (shared..open.len()).for_each(|_| out.push('}'));
        open.truncate(shared);
        let mut letters = word.chars().skip(shared).peekable();
        while let Some(letter) = letters.next() {
            open.push(letter);
            out.push(',');
            out.push_str(&quoted(letter.encode_utf8(&mut [0; 4])));
            out.push_str(":{\"docs\":{");
            let pages: &[(u32, u32)] = if letters.peek().is_none() { pages } else { &[] };
            for (place, (page, count)) in pages.iter().enumerate() {
                comma(out, place);
                out.push_str(&refs[*page as usize]);
                out.push_str(":{\"tf\":");
                out.push_str(frequencies.of(*count));
                out.push('}');
            }
            // A text takes what is written to it.
            let _infallible = write!(out, "}},\"df\":{}", pages.len());
        }
    }
    (0..=open.len()).for_each(|_| out.push('}'));
}

/// Square roots of counts, as JSON.
#[derive(Default)]
struct Frequencies(Vec<Option<String>>);

impl Frequencies {
    /// Counts whose roots are remembered.
    const KNOWN_MAX: usize = 1 << 16;

    fn of(&mut self, count: u32) -> &str {
        let at = (count as usize).min(Self::KNOWN_MAX);
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        if at == Self::KNOWN_MAX {
            self.0[at] = None;
        }
        self.0[at].get_or_insert_with(|| serde_json::Value::from(f64::from(count).sqrt()).to_string())
    }
}

fn comma(out: &mut String, place: usize) {
    if place > 0 {
        out.push(',');
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(Cow::Borrowed(text)).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn item(url: &str, title: &str, date: Option<&str>, body: &str) -> Item {
        Item {
            url: url.to_owned(),
            title: Some(title.to_owned()),
            description: Some(String::new()),
            date: date.map(str::to_owned),
            body: Some(body.to_owned()),
            path: url.strip_prefix("https://a.example").map(str::to_owned),
        }
    }

    #[test]
    fn an_index_is_that_of_the_crate() {
        let config = SearchConfig {
            include_description: true,
            include_date: true,
            include_path: true,
            ..SearchConfig::default()
        };
        let date = Some("2026-01-02");
        let items = [
            item("https://a.example/", "", None, ""),
            item(
                "https://a.example/\"quoted\"/",
                "Bread \"and\" butter",
                date,
                "flour flours flour-mill \u{1} é Über",
            ),
            item(
                "https://a.example/b/the-best bread/",
                "Crêpes à la carte 🥐",
                None,
                "the of and a b ab abc abcd — 12 3.5 x_y",
            ),
            item(
                "https://a.example/c-runs/",
                "Running runs run",
                date,
                "run\nrunning\t\"runs\" the the the bread butter 호밀빵, 같다",
            ),
        ];
        assert_eq!(language("ko-KR").code(), "ko");
        for code in ["en", "de", "fr", "ko", "ru", "tr", "xx", "pt-BR"] {
            let fields = fields(&config);
            let short = code.split('-').next().unwrap();
            let theirs = match lang::from_code(short) {
                Some(language) => elasticlunr::IndexBuilder::with_language(language),
                None => elasticlunr::IndexBuilder::new(),
            };
            let with_field = |index: elasticlunr::IndexBuilder, field: &&str| match *field {
                "path" => index.add_field_with_tokenizer(field, Box::new(words_of_path)),
                field => index.add_field(field),
            };
            let mut theirs = fields.iter().fold(theirs, with_field).build();
            for item in &items {
                theirs.add_doc(&item.url, texts(item));
            }
            let ours: Vec<Arc<Fragment>> = items
                .iter()
                .map(|item| {
                    let terms = terms(&config, code, item);
                    Arc::new(Fragment { item: item.clone(), terms })
                })
                .collect();
            assert_eq!(index(&config, code, &ours), theirs.to_json(), "{code}");
        }
    }
}
