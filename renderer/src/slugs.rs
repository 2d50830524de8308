//! Names made fit for URLs and anchors, by the strategy that the configuration names.

use serde::Deserialize;

/// How much a name is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Slugify {
    /// Lower-case ASCII with hyphens.
    #[default]
    On,
    /// Only what no file system bears is removed.
    Safe,
    /// Nothing is changed.
    Off,
}

/// A path component or a slug.
pub(crate) fn path_component(name: &str, strategy: Slugify) -> String {
    match strategy {
        Slugify::On => slug::slugify(name),
        Slugify::Safe => safe(name),
        Slugify::Off => name.to_owned(),
    }
}

/// An anchor: besides the strategy, white space of ASCII always goes, since HTML has none of it in an id. As in Zola, that
/// at the ends counts too.
pub(crate) fn anchor(text: &str, strategy: Slugify) -> String {
    match strategy {
        Slugify::On => slug::slugify(text),
        Slugify::Safe | Slugify::Off => text.replace(|c: char| c.is_ascii_whitespace(), "_"),
    }
}

fn safe(name: &str) -> String {
    name.trim_end_matches([' ', '.'])
        .chars()
        .filter(|c| !matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*') && !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy() {
        assert_eq!(path_component("Mixed Case Näme", Slugify::On), "mixed-case-name");
        assert_eq!(path_component("Mixed: Näme?", Slugify::Safe), "Mixed Näme");
        assert_eq!(path_component("a (b) #c. ", Slugify::Safe), "a (b) #c");
        assert_eq!(path_component("a ?", Slugify::Safe), "a ");
        assert_eq!(path_component("Mixed Näme", Slugify::Off), "Mixed Näme");
        assert_eq!(anchor("Größe & co ", Slugify::Safe), "Größe_&_co_");
        assert_eq!(anchor("a\u{a0}b", Slugify::Off), "a\u{a0}b");
    }
}
