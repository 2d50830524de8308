//! Style sheets from `sass/`, the site's and its theme's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use blake3::Hash;
use bytes::Bytes;

use crate::config::Config;
use crate::diagnostic::{Diagnostic, Errors};
use crate::sources::Sources;

/// Sources as the compiler sees them.
#[derive(Debug)]
struct Tree<'a>(&'a Sources);

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
        let folder = format!("{}/", text_of(path));
        self.0.under(&folder).next().is_some()
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.get(&text_of(path)).is_some()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.get(&text_of(path)) {
            Some(file) => Ok(file.read()?.to_vec()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(PathBuf::from(text_of(path)))
    }
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

/// What the style sheets are made from.
pub(crate) fn digest(sources: &Sources, config: &Config) -> Result<Hash, Diagnostic> {
    let mut hasher = blake3::Hasher::new();
    for folder in folders(config) {
        for (path, file) in sources.under(&folder) {
            hasher.update(path.as_bytes());
            let digest = file
                .digest()
                .map_err(|e| Diagnostic::in_file(path, format!("the file cannot be read: {e}")))?;
            hasher.update(digest.as_bytes());
        }
    }
    Ok(hasher.finalize())
}

/// Compiles all style sheets but partials, by output path; the site's take the place of its theme's. Adds to `errors` what
/// is wrong with them; a style sheet that cannot be compiled is what it is in `before`, or empty.
pub(crate) fn compile(
    sources: &Sources,
    config: &Config,
    before: &BTreeMap<String, Bytes>,
    errors: &mut Errors,
) -> BTreeMap<String, Bytes> {
    let tree = Tree(sources);
    let mut made = BTreeMap::new();
    for folder in folders(config) {
        for (path, _) in sources.under(&folder) {
            let Some(stem) = path.strip_suffix(".scss").or_else(|| path.strip_suffix(".sass")) else {
                continue;
            };
            // Partials, and what is in folders of such names.
            if path[folder.len()..].split('/').any(|part| part.starts_with('_')) {
                continue;
            }
            let options = grass::Options::default()
                .fs(&tree)
                .style(grass::OutputStyle::Compressed)
                .quiet(true)
                .load_path(folder.trim_end_matches('/'));
            let output = format!("{}.css", &stem[folder.len()..]);
            match grass::from_path(path, &options) {
                Ok(css) => {
                    made.insert(output, Bytes::from(css));
                }
                Err(e) => {
                    let last = before.get(&output).cloned().unwrap_or_default();
                    made.insert(output, last);
                    let diagnostic = match e.kind() {
                        grass::ErrorKind::ParseError { message, loc, .. } => {
                            let place = loc.file.name().to_owned();
                            let message = message.trim_end_matches('.').to_owned();
                            Diagnostic::in_file(place, format!("the style sheet is wrong: {message}"))
                                .at_line(loc.file.source(), loc.begin.line + 1, loc.begin.column + 1)
                        }
                        grass::ErrorKind::IoError(e) => {
                            Diagnostic::in_file(path, format!("it cannot be read: {e}"))
                        }
                        _ => Diagnostic::in_file(path, "it is not valid UTF-8").hint("save it as UTF-8"),
                    };
                    errors.push(diagnostic);
                }
            }
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_with_partials_and_tells_places() {
        let file = |path: &str, text: &str| (path.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        let sources = Sources::from_files([
            file("sass/style.scss", "@use 'parts/colours'; .a { .b { color: colours.$c } }"),
            file("sass/parts/_colours.scss", "$c: #123456;"),
        ]);
        let config = Config { compile_sass: true, ..Config::default() };
        let mut errors = Errors::default();
        let made = compile(&sources, &config, &BTreeMap::new(), &mut errors);
        assert_eq!(&made["style.css"][..], b".a .b{color:#123456}");
        assert_eq!((made.len(), errors.list().len()), (1, 0));
        let broken = Sources::from_files([
            file("sass/style.scss", "a { b: $no; }"),
            file("sass/x.scss", "a { b: 1; }"),
            file("sass/y.scss", "a { b: $no; }"),
        ]);
        let last = compile(&broken, &config, &made, &mut errors);
        assert_eq!((&last["style.css"], &last["x.css"][..]), (&made["style.css"], &b"a{b:1}"[..]));
        assert_eq!(&last["y.css"][..], b"");
        let places: Vec<_> = errors.list().iter().map(|e| (e.path.as_deref(), e.line)).collect();
        assert_eq!(places, [(Some("sass/style.scss"), Some(1)), (Some("sass/y.scss"), Some(1))]);
    }
}
