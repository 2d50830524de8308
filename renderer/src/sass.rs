//! Style sheets from `sass/`, the site's and its theme's.

pub(crate) mod apart;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use blake3::Hash;
use bytes::Bytes;
use grass::sass_value::{ArgumentResult, QuoteKind, SassNumber, Value};
use grass::{Builtin, Visitor};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::functions::random_index;
use crate::sources::Sources;

/// Sources as the compiler sees them, and the paths that it has asked for.
#[derive(Debug)]
struct Tree<'a> {
    sources: &'a Sources,
    asked: RefCell<BTreeSet<String>>,
}

impl Tree<'_> {
    /// A path as sources name it, noted.
    fn ask(&self, path: &Path) -> String {
        let path = text_of(path);
        self.asked.borrow_mut().insert(path.clone());
        path
    }
}

/// What style sheets were made, of what.
#[derive(Default)]
pub(crate) struct Sheets {
    digest: Option<Hash>,
    /// Paths beyond the folders of style sheets that were looked at, whether or not anything is there.
    beyond: BTreeSet<String>,
    /// By output path.
    made: BTreeMap<String, Bytes>,
    /// What was wrong with them: to find it again may take seconds.
    wrong: Errors,
}

fn text_of(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name.to_str().unwrap_or("")),
            std::path::Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.join("/")
}

impl grass::Fs for Tree<'_> {
    fn is_dir(&self, path: &Path) -> bool {
        is_folder(self.sources, &self.ask(path))
    }

    fn is_file(&self, path: &Path) -> bool {
        self.sources.get(&self.ask(path)).is_some()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.sources.get(&self.ask(path)) {
            Some(file) => Ok(without_modules(&file.read()?)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(PathBuf::from(text_of(path)))
    }
}

static USES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"@use\s+["']sass:(math|string)["'](?:\s+as\s+([\w-]+))?"#).ok());
static CALLS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([A-Za-z_][\w-]*)\.(random|unique-id)\(").ok());

/// A style sheet that calls `random` where it calls `math.random`: the compiler takes ours for the one and has none for the
/// other. All else stays where it is.
fn without_modules(sheet: &[u8]) -> Vec<u8> {
    let (Ok(text), Some(uses), Some(calls)) = (std::str::from_utf8(sheet), &*USES, &*CALLS) else {
        return sheet.to_vec();
    };
    let modules: HashMap<&str, &str> = uses
        .captures_iter(text)
        .filter_map(|used| {
            let module = used.get(1)?.as_str();
            Some((used.get(2).map_or(module, |alias| alias.as_str()), module))
        })
        .collect();
    let bare = calls.replace_all(text, |call: &Captures<'_>| {
        let module = if &call[2] == "random" { "math" } else { "string" };
        match modules.get(&call[1]) {
            Some(used) if *used == module => format!("{:>1$}(", &call[2], call[0].len() - 1),
            _ => call[0].to_owned(),
        }
    });
    bare.into_owned().into_bytes()
}

thread_local! {
    /// The style sheet that this thread compiles, and how often it has drawn: equal sources give equal style sheets.
    static DRAWN: RefCell<(String, u64)> = RefCell::default();
}

fn draw(below: usize) -> usize {
    DRAWN.with_borrow_mut(|(sheet, times)| {
        *times += 1;
        random_index(Some(sheet), *times, below)
    })
}

fn random(mut args: ArgumentResult, _: &mut Visitor<'_>) -> grass::Result<Value> {
    args.max_args(1)?;
    let span = args.span();
    let number = match args.default_arg(0, "limit", Value::Null) {
        Value::Null => draw(1 << 30) as f64 / f64::from(1 << 30),
        limit => {
            let limit = limit.assert_number_with_name("limit", span)?.assert_int_with_name("limit", span)?;
            match usize::try_from(limit) {
                Ok(limit @ 1..) => (draw(limit) + 1) as f64,
                _ => return Err((format!("$limit: Must be greater than 0, was {limit}."), span).into()),
            }
        }
    };
    Ok(Value::Dimension(SassNumber::new_unitless(number)))
}

fn unique_id(args: ArgumentResult, _: &mut Visitor<'_>) -> grass::Result<Value> {
    args.max_args(0)?;
    Ok(Value::String(format!("id-{:016x}", draw(usize::MAX)), QuoteKind::None))
}

/// A theme's style sheets are always compiled, the site's where `compile_sass` says so.
fn folders(config: &Config) -> Vec<String> {
    let mut folders = Vec::new();
    if let Some(theme) = config.theme.as_deref().filter(|name| !name.is_empty()) {
        folders.push(format!("themes/{theme}/sass/"));
    }
    if config.compile_sass {
        folders.push("sass/".to_owned());
    }
    folders
}

fn is_folder(sources: &Sources, path: &str) -> bool {
    sources.under(&format!("{path}/")).next().is_some()
}

/// What the style sheets are made from: all files of their folders, and what lies at the paths `beyond` these.
fn digest(sources: &Sources, config: &Config, beyond: &BTreeSet<String>) -> Result<Hash, Diagnostic> {
    let mut hasher = blake3::Hasher::new();
    let folders = folders(config);
    let within = folders.iter().flat_map(|folder| sources.under(folder));
    let beyond_files = beyond.iter().filter_map(|path| Some((path.as_str(), sources.get(path)?)));
    for (path, file) in within.chain(beyond_files) {
        hasher.update(path.as_bytes());
        let digest = file.digest().map_err(|e| Diagnostic::unreadable(path, &e))?;
        hasher.update(digest.as_bytes());
    }
    for path in beyond {
        hasher.update(&[u8::from(is_folder(sources, path))]);
    }
    Ok(hasher.finalize())
}

impl Sheets {
    /// All style sheets but partials, by output path, made anew where anything differs of what these were made from; the
    /// site's take the place of its theme's. Adds to `errors` what is wrong with them; one that cannot be compiled is as it
    /// was before, or empty.
    pub(crate) fn make(
        &mut self,
        sources: &Sources,
        config: &Config,
        errors: &mut Errors,
    ) -> BTreeMap<String, Bytes> {
        match digest(sources, config, &self.beyond) {
            Ok(now) if self.digest == Some(now) => {
                errors.append(self.wrong.clone());
                return self.made.clone();
            }
            Ok(_) => {}
            Err(wrong) => {
                errors.push(wrong);
                return self.made.clone();
            }
        }
        let mut wrong = Errors::default();
        let (made, beyond) = compile(sources, config, &self.made, &mut wrong);
        let digest = digest(sources, config, &beyond).map_err(|unread| wrong.push(unread)).ok();
        *self = Self { digest, beyond, made: made.clone(), wrong: wrong.clone() };
        errors.append(wrong);
        made
    }
}

/// The name that was probably meant where the compiler says that one is not there; `rest` is the line from that on.
fn meant(sources: &Sources, folders: &[String], message: &str, rest: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let word = |text: &str| text[..text.find(|c| !is_part(c)).unwrap_or(text.len())].to_owned();
    let sheets = || folders.iter().flat_map(|folder| sources.under(folder)).map(|(path, _)| path);
    let texts = || sheets().filter_map(|path| Some(sources.text(path).ok()?.1));
    let (sign, wrong, known): (_, _, BTreeSet<String>) = match message {
        "Undefined variable" => {
            let defined = |text: String| -> Vec<String> {
                let named = text.split('$').skip(1).map(|rest| (word(rest), rest));
                let defined = named.filter(|(name, rest)| rest[name.len()..].trim_start().starts_with(':'));
                defined.map(|(name, _)| name).collect()
            };
            ("$", word(rest.strip_prefix('$')?), texts().flat_map(defined).collect())
        }
        "Undefined mixin" => {
            let defined = |text: String| -> Vec<String> {
                text.split("@mixin ").skip(1).map(|rest| word(rest.trim_start())).collect()
            };
            ("", word(rest), texts().flat_map(defined).collect())
        }
        "Can't find stylesheet to import" => {
            let name = |path: &str| {
                let folder = folders.iter().find(|folder| path.starts_with(folder.as_str()))?;
                let (name, _) = path[folder.len()..].rsplit_once('.')?;
                let (above, name) = name.rsplit_once('/').map_or(("", name), |(above, name)| (above, name));
                let slash = if above.is_empty() { "" } else { "/" };
                Some(format!("{above}{slash}{}", name.trim_start_matches('_')))
            };
            let written = rest.split(['"', '\'']).nth(1)?;
            ("", written.to_owned(), sheets().filter_map(name).collect())
        }
        _ => return None,
    };
    Some(format!("{sign}{}", nearest(&wrong, known.iter().map(String::as_str))?))
}

/// A style sheet to be compiled.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wanted {
    /// The folder of style sheets that it is in.
    folder: String,
    path: String,
}

/// One that was, well or not.
#[derive(Debug, Serialize, Deserialize)]
struct Compiled {
    css: Result<String, Diagnostic>,
    /// The paths that the compiler has asked for.
    asked: BTreeSet<String>,
}

/// Compiles all style sheets, and says which paths beyond their folders the compiler has asked for.
fn compile(
    sources: &Sources,
    config: &Config,
    before: &BTreeMap<String, Bytes>,
    errors: &mut Errors,
) -> (BTreeMap<String, Bytes>, BTreeSet<String>) {
    let folders = folders(config);
    let mut wanted = Vec::new();
    for folder in &folders {
        let mut stems: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, _) in sources.under(folder) {
            let Some(stem) = path.strip_suffix(".scss").or_else(|| path.strip_suffix(".sass")) else {
                continue;
            };
            // Partials, and what is in folders of such names.
            if path[folder.len()..].split('/').any(|part| part.starts_with('_')) {
                continue;
            }
            if let Some(other) = stems.insert(stem, path) {
                let wrong = Diagnostic::in_file(path, format!("`{other}` becomes the same style sheet"));
                errors.push(
                    wrong.hint("rename one of the two, or begin its name with `_` if others import it"),
                );
                continue;
            }
            wanted.push(Wanted { folder: folder.clone(), path: path.to_owned() });
        }
    }
    let compiled = apart::compile(sources, &folders, &wanted)
        .unwrap_or_else(|| sheets(sources, &folders, &wanted).collect());
    let (mut made, mut beyond) = (BTreeMap::new(), BTreeSet::new());
    for (sheet, Compiled { css, asked }) in wanted.iter().zip(compiled) {
        beyond.extend(asked);
        let stem = sheet.path.rsplit_once('.').map_or("", |(stem, _)| &stem[sheet.folder.len()..]);
        let output = format!("{stem}.css");
        let css = match css {
            Ok(css) => Bytes::from(css),
            Err(wrong) => {
                errors.push(wrong);
                before.get(&output).cloned().unwrap_or_default()
            }
        };
        made.insert(output, css);
    }
    beyond.retain(|path| !folders.iter().any(|folder| path.starts_with(folder)));
    (made, beyond)
}

/// Compiles these style sheets, each when it is asked for.
fn sheets<'a>(
    sources: &'a Sources,
    folders: &'a [String],
    wanted: &'a [Wanted],
) -> impl Iterator<Item = Compiled> + 'a {
    wanted.iter().map(move |Wanted { folder, path }| {
        let tree = Tree { sources, asked: RefCell::default() };
        let options = grass::Options::default()
            .fs(&tree)
            .style(grass::OutputStyle::Compressed)
            .quiet(true)
            .load_path(folder.trim_end_matches('/'))
            .add_custom_fn("random", Builtin::new(random))
            .add_custom_fn("unique-id", Builtin::new(unique_id));
        DRAWN.set((path.clone(), 0));
        let css = grass::from_path(path, &options).map_err(|e| match e.kind() {
            grass::ErrorKind::ParseError { message, loc, .. } => {
                let place = loc.file.name().to_owned();
                let message = message.trim_end_matches('.').to_owned();
                let (line, column) = (loc.begin.line, loc.begin.column);
                let text = loc.file.source();
                let rest = text.lines().nth(line).unwrap_or_default().chars().skip(column);
                let meant = meant(sources, folders, &message, &rest.collect::<String>());
                Diagnostic::in_file(place, format!("the style sheet is wrong: {message}"))
                    .at_line(text, line + 1, column + 1)
                    .maybe_hint(meant.map(|name| format!("did you mean `{name}`?")))
            }
            grass::ErrorKind::IoError(e) => Diagnostic::in_file(path, format!("it cannot be read: {e}")),
            _ => Diagnostic::in_file(path, "it is not valid UTF-8").hint("save it as UTF-8"),
        });
        Compiled { css, asked: tree.asked.into_inner() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_the_same_each_time() {
        let sheet = |text: &str| {
            let sources =
                Sources::from_files([("sass/a.scss".to_owned(), Bytes::copy_from_slice(text.as_bytes()))]);
            let config = Config { compile_sass: true, ..Config::default() };
            let mut errors = Errors::default();
            let made = Sheets::default().make(&sources, &config, &mut errors);
            assert!(errors.is_empty(), "{text}: {errors}");
            String::from_utf8(made["a.css"].to_vec()).unwrap()
        };
        let drawn = sheet("a { b: random(1000000); c: random(1000000) }");
        assert_eq!(drawn, sheet("@use 'sass:math'; a { b: math.random(1000000); c: math.random(1000000) }"));
        assert_eq!(drawn, sheet("@use 'sass:math' as m; a { b: m.random(1000000); c: random(1000000) }"));
        assert_eq!(drawn, sheet("@use 'sass:math' as *; a { b: random(1000000); c: random(1000000) }"));
        let numbers: Vec<u32> = drawn.split([':', ';', '}']).filter_map(|part| part.parse().ok()).collect();
        assert!(matches!(numbers[..], [b, c] if b != c && b <= 1_000_000 && c <= 1_000_000), "{drawn}");
        assert_eq!(sheet("a { b: 7 - random(1); c: random() < 1 }"), "a{b:6;c:true}");
        assert!(sheet("@use 'sass:string'; a { b: string.unique-id() }").starts_with("a{b:id-"));
    }

    #[test]
    fn compiles_with_partials_and_tells_places() {
        let file = |path: &str, text: &str| (path.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        let sources = Sources::from_files([
            file("sass/style.scss", "@use 'parts/colours'; .a { .b { color: colours.$c } }"),
            file("sass/parts/_colours.scss", "$c: #123456;"),
        ]);
        let config = Config { compile_sass: true, ..Config::default() };
        let mut errors = Errors::default();
        let mut sheets = Sheets::default();
        let made = sheets.make(&sources, &config, &mut errors);
        assert_eq!(&made["style.css"][..], b".a .b{color:#123456}");
        assert_eq!((made.len(), errors.list().len()), (1, 0));
        let broken = Sources::from_files([
            file("sass/style.scss", "a { b: $no; }"),
            file("sass/x.scss", "a { b: 1; }"),
            file("sass/y.scss", "a { b: $no; }"),
        ]);
        let last = sheets.make(&broken, &config, &mut errors);
        assert_eq!((&last["style.css"], &last["x.css"][..]), (&made["style.css"], &b"a{b:1}"[..]));
        assert_eq!(&last["y.css"][..], b"");
        let places: Vec<_> = errors.list().iter().map(|e| (e.path.as_deref(), e.line)).collect();
        assert_eq!(places, [(Some("sass/style.scss"), Some(1)), (Some("sass/y.scss"), Some(1))]);
        let mut again = Errors::default();
        assert_eq!((sheets.make(&broken, &config, &mut again), again), (last, errors));
        let twice =
            Sources::from_files([file("sass/a.sass", "a\n  b: 1"), file("sass/a.scss", "a { b: 2; }")]);
        let mut errors = Errors::default();
        compile(&twice, &config, &BTreeMap::new(), &mut errors);
        assert_eq!(errors.list()[0].message, "`sass/a.sass` becomes the same style sheet");
    }
}
