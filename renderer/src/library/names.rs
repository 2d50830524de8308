//! What the names of files say: languages, dates, counterparts in other languages.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::relative;
use crate::config::Config;
use crate::front_matter::Date;

/// `content/blog/x.fr.md` in `fr` is `content/blog/x.md`.
pub(super) fn without_language(source: &str, lang: &str) -> String {
    match source
        .strip_suffix(".md")
        .and_then(|stem| stem.strip_suffix(lang))
        .and_then(|stem| stem.strip_suffix('.'))
    {
        Some(stem) => format!("{stem}.md"),
        None => source.to_owned(),
    }
}

/// The path of a content as links and functions name it: the default language has no part in it, also where the
/// file's name says it.
pub(crate) fn canonical<'a>(relative: &'a str, config: &Config) -> Cow<'a, str> {
    let suffix = format!(".{}.md", config.default_language);
    match relative.strip_suffix(&suffix).filter(|_| config.names_language(&config.default_language)) {
        Some(stem) => format!("{stem}.md").into(),
        None => relative.into(),
    }
}

/// The relative path of a content in a language, whichever language's file is named: `blog/x.fr.md` in the default one is
/// `blog/x.md`.
pub(crate) fn counterpart<'a>(relative: &'a str, lang: &str, config: &'a Config) -> Cow<'a, str> {
    if config.languages.is_empty() || !relative.ends_with(".md") {
        return relative.into();
    }
    let Name { folder, stem, lang: named } = name_of(relative, config);
    let says_none = folder.len() + stem.len() + ".md".len() == relative.len();
    match config.is_default(lang) {
        true if says_none => relative.into(),
        true => format!("{folder}{stem}.md").into(),
        false if named == lang => relative.into(),
        false => format!("{folder}{stem}.{lang}.md").into(),
    }
}

/// `de` of `_index.de.md`.
pub(crate) fn index_language(name: &str) -> Option<&str> {
    name.strip_prefix("_index.")?.strip_suffix(".md")
}

pub(super) struct Name<'a> {
    /// Folders below `content/`, with a slash at the end, or empty.
    pub(super) folder: &'a str,
    /// The file's name without language and `.md`.
    pub(super) stem: &'a str,
    pub(super) lang: &'a str,
}

pub(super) fn name_of<'a>(source: &'a str, config: &'a Config) -> Name<'a> {
    let inside = relative(source);
    let cut = inside.rfind('/').map_or(0, |i| i + 1);
    let (folder, file) = inside.split_at(cut);
    let stem = file.strip_suffix(".md").unwrap_or(file);
    if let Some((rest, code)) = stem.rsplit_once('.')
        && !rest.is_empty()
        && config.names_language(code)
    {
        return Name { folder, stem: rest, lang: code };
    }
    Name { folder, stem, lang: &config.default_language }
}

/// The date that the name of a page's file, without its ending, begins with, as it is written there, and the rest of the name:
/// it is the page's date, unless its front matter has another.
pub fn dated_name(stem: &str) -> Option<(Box<str>, &str)> {
    dated(stem).map(|(date, rest)| (date.text, rest))
}

/// A time behind a date: only one with its offset is the date's.
static TIME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^T\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)").ok());

/// The date at the head of a file name, and the rest of the name; all of it, where nothing or no separator follows.
pub(super) fn dated(stem: &str) -> Option<(Date, &str)> {
    let day = stem.get(..10).filter(|day| matches!(day.as_bytes(), [_, _, _, _, b'-', _, _, b'-', _, _]))?;
    let time = TIME.as_ref().and_then(|re| re.find(&stem[10..])).map_or(0, |time| time.len());
    let (date, rest) = match Date::parse(&stem[..10 + time]) {
        Some(date) => (date, &stem[10 + time..]),
        None => (Date::parse(day)?, &stem[10..]),
    };
    // Where no name is left, the date is part of it.
    let name = rest.trim_start().strip_prefix(['-', '_']).filter(|name| !name.is_empty());
    Some((date, name.unwrap_or(stem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_names() {
        assert_eq!(dated("2026-03-04-dated").unwrap().1, "dated");
        assert_eq!(dated("2026-03-04_dated").unwrap().1, "dated");
        assert_eq!(dated("2026-03-04T10:00:00Z-x").unwrap().1, "x");
        assert_eq!(dated("2026-03-04 -new one").unwrap().1, "new one");
        assert_eq!(dated("2026-03-04T10:00:00-05:00_x").unwrap().1, "x");
        for whole in [
            "2026-03-04",
            "2026-03-04-",
            "2026-03-04 z",
            "2026-03-04th-thing",
            "2026-03-04Tea-time",
            "2026-03-04T10-x",
            "2026-03-04T10:00:00-x",
            "2026-03-04T25:00:00Z-x",
        ] {
            let (date, rest) = dated(whole).unwrap();
            assert_eq!((&*date.text, rest), ("2026-03-04", whole));
        }
        let (date, rest) = dated("2026-03-04T10:00:00Z").unwrap();
        assert_eq!((&*date.text, rest), ("2026-03-04T10:00:00Z", "2026-03-04T10:00:00Z"));
        assert!(dated("2026-13-04-x").is_none());
        assert!(dated("über-lang-x").is_none());
    }
}
