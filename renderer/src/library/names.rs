//! What the names of files say: languages, dates, counterparts in other languages.

use std::borrow::Cow;

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

/// The date at the head of a file name, and the rest of the name; all of it, where nothing or no separator follows.
pub(super) fn dated(stem: &str) -> Option<(Date, &str)> {
    let head = stem.get(..10)?;
    let bytes = head.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date = Date::parse(head)?;
    let rest = &stem[10..];
    if let Some(name) = rest.trim_start().strip_prefix(['-', '_']).filter(|name| !name.is_empty()) {
        return Some((date, name));
    }
    // The longest date and time that a separator follows.
    let times =
        rest.char_indices().filter(|(i, c)| rest.starts_with('T') && *i > 0 && matches!(c, '-' | '_'));
    let timed = times
        .filter_map(|(i, _)| Some((Date::parse(&stem[..10 + i])?, &rest[i + 1..])))
        .rfind(|(_, name)| !name.is_empty());
    // Where no name is left, the date is part of it.
    Some(timed.unwrap_or((date, stem)))
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
        for whole in ["2026-03-04", "2026-03-04-", "2026-03-04 z", "2026-03-04th-thing", "2026-03-04Tea-time"]
        {
            let (date, rest) = dated(whole).unwrap();
            assert_eq!((&*date.text, rest), ("2026-03-04", whole));
        }
        assert!(dated("2026-13-04-x").is_none());
        assert!(dated("über-lang-x").is_none());
    }
}
