//! Ids of headings: those that Hugo gave stay, where they would be others here.

use std::collections::HashMap;

/// Ids of a page that are taken, by Hugo and here, each with the number up to which it is taken with
/// numbers behind it, too.
#[derive(Debug, Default)]
pub(super) struct Ids {
    before: HashMap<String, usize>,
    now: HashMap<String, usize>,
}

impl Ids {
    /// Takes an id that is written.
    pub(super) fn written(&mut self, id: &str) {
        self.before.entry(id.to_owned()).or_default();
        self.now.entry(id.to_owned()).or_default();
    }

    /// The id to write for a heading with this text, if it does not get it by itself.
    pub(super) fn of(&mut self, text: &str) -> Option<String> {
        let before = free(
            &mut self.before,
            match id(text) {
                id if id.is_empty() => "heading".to_owned(),
                id => id,
            },
        );
        let now = free(&mut self.now, slug::slugify(text));
        self.before.entry(before.clone()).or_default();
        let differs = before != now;
        self.now.entry(before.clone()).or_default();
        differs.then_some(before)
    }
}

/// An id, or the first with a number behind it that nobody has.
fn free(taken: &mut HashMap<String, usize>, id: String) -> String {
    let Some(&last) = taken.get(&id) else { return id };
    let mut number = last;
    loop {
        number += 1;
        let next = format!("{id}-{number}");
        if !taken.contains_key(&next) {
            taken.insert(id, number - 1);
            return next;
        }
    }
}

/// As GitHub makes them: letters, digits, `_` and `-`, in small letters; each space is a hyphen.
fn id(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '-') {
            out.extend(c.to_lowercase());
        } else if c.is_whitespace() {
            out.push('-');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_would_be_others_are_written() {
        let mut ids = Ids::default();
        ids.written("own");
        for (text, expected) in [
            ("Plain words", None),
            ("What's new?", Some("whats-new")),
            ("What's new?", Some("whats-new-1")),
            ("C++ & co", Some("c--co")),
            ("Über uns", Some("über-uns")),
            ("Dots v1.2", Some("dots-v12")),
            ("Same", None),
            ("Same", None),
            ("own", None),
            ("A -- b", Some("a----b")),
            ("!!!", Some("heading")),
        ] {
            assert_eq!(ids.of(text).as_deref(), expected, "{text}");
        }
    }
}
