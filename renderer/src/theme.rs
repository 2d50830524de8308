//! The built-in theme and the small built-in templates, embedded in the binary.
//!
//! A site without templates of its own gets the theme. A site that looks its own way gets only what Zola would give
//! it: feeds, sitemap, robots.txt, a plain 404 page and the anchor link.

use include_dir::{Dir, include_dir};

static THEME: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/theme");
static SMALL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/builtin");

/// Where the theme's templates are among all templates; `{% extends "bakehouse/templates/base.html" %}` names one.
pub(crate) const THEME_PREFIX: &str = "bakehouse/templates/";
/// Where the small templates are, as in Zola: `{% include "__zola_builtins/atom.xml" %}` names what a template stands in for.
pub(crate) const SMALL_PREFIX: &str = "__zola_builtins/";

fn files(dir: &'static Dir<'static>, out: &mut Vec<(&'static str, &'static [u8])>) {
    for file in dir.files() {
        if let Some(path) = file.path().to_str() {
            out.push((path, file.contents()));
        }
    }
    for inner in dir.dirs() {
        files(inner, out);
    }
}

/// The theme's templates, by name without prefix.
pub(crate) fn templates() -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    files(&THEME, &mut out);
    texts(out, "templates/")
}

/// The small templates, by name without prefix.
pub(crate) fn small_templates() -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    files(&SMALL, &mut out);
    texts(out, "")
}

fn texts(found: Vec<(&'static str, &'static [u8])>, prefix: &str) -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<_> = found
        .into_iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix(prefix)?, std::str::from_utf8(bytes).ok()?)))
        .collect();
    out.sort_unstable();
    out
}

/// The theme's static files, by path.
pub(crate) fn assets() -> Vec<(&'static str, &'static [u8])> {
    let mut out = Vec::new();
    files(&THEME, &mut out);
    let mut out: Vec<_> =
        out.into_iter().filter_map(|(path, bytes)| Some((path.strip_prefix("static/")?, bytes))).collect();
    out.sort_unstable();
    out
}

/// `css/a.css` with the digest of its content in the name: `css/a.0123456789abcdef.css`.
pub(crate) fn hashed_name(path: &str, digest: &blake3::Hash) -> String {
    let short = &digest.to_hex()[..16];
    let cut = path.rfind('/').map_or(0, |i| i + 1);
    match path[cut..].rfind('.').filter(|i| *i > 0) {
        Some(i) => format!("{}.{short}{}", &path[..cut + i], &path[cut + i..]),
        None => format!("{path}.{short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_digests() {
        let digest = blake3::hash(b"");
        assert_eq!(hashed_name("a/b.css", &digest), "a/b.af1349b9f5f9a1a6.css");
        assert_eq!(hashed_name("a.b/c", &digest), "a.b/c.af1349b9f5f9a1a6");
    }

    #[test]
    fn the_theme_is_there() {
        assert!(templates().iter().any(|(name, _)| *name == "page.html"));
        assert!(assets().iter().any(|(name, _)| *name == "style.css"));
        assert!(small_templates().iter().any(|(name, _)| *name == "atom.xml"));
    }
}
