//! What TOML and serde say of a configuration, in words for those who write it, and what to do about it.

/// A message, and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub struct TomlWords {
    /// What is wrong, on one line.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// How serde names what it expected, what that is called here, and how it is written.
const EXPECTED: [(&str, &str, &str); 7] = [
    ("a boolean", "true or false", "write `true` or `false`, without quotes"),
    ("a string", "a text", "write a text in quotes, such as \"bread\""),
    ("path string", "a text", "write a path in quotes"),
    ("a sequence", "a list", "write a list in brackets, such as [\"bread\", \"rolls\"]"),
    ("a map", "a table", TABLE),
    ("struct ", "a table", TABLE),
    ("u", "a whole number", "write a whole number without quotes, such as 300"),
];
const TABLE: &str =
    "write a table: its name in brackets on a line, its keys on lines below; or { key = \"value\" }";

impl TomlWords {
    /// Reads a message of `toml`.
    pub fn of(message: &str) -> Self {
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let mistyped = ["invalid type: ", "invalid value: "].iter().any(|kind| message.starts_with(kind));
        if mistyped
            && let Some((found, expected)) = message.rsplit_once(", expected ")
            && let Some((_, name, hint)) = EXPECTED.iter().find(|(by, ..)| expected.starts_with(by))
        {
            return Self { message: format!("{found}, expected {name}"), hint: (*hint).to_owned() };
        }
        let key = message.split('`').nth(1).unwrap_or_default();
        let hint = if message.starts_with("missing field ") {
            &format!("add `{key} = …` to this table")
        } else if message.starts_with("unknown field ") {
            "remove the key, or write one of those"
        } else if message.starts_with("unknown variant ") {
            "write one of those, in quotes"
        } else if message.starts_with("duplicate key") {
            "remove one of the two"
        } else if message.contains("` is missing") {
            "add that key"
        } else if message.contains('`') && !message.contains("expected `") {
            // Of a value's own check, which names what it wants.
            "correct that key; the reference of the configuration says what it may be"
        } else {
            "TOML is `key = value` or `[table]` on a line; texts are in quotes, lists in brackets"
        };
        Self { hint: hint.to_owned(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is of no interest")]
    struct Oven {
        bread: u64,
        hot: Option<bool>,
        name: Option<String>,
        loaves: Option<Vec<String>>,
        door: Option<Door>,
        kind: Option<Kind>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Door {}

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Deck,
    }

    #[test]
    fn every_message_says_what_to_do_and_none_has_names_of_rust() {
        for (text, message, hint) in [
            ("bread = \"3\"", "expected a whole number", "without quotes"),
            ("bread = -3", "expected a whole number", "300"),
            ("bread = 1\nhot = 1", "expected true or false", "`true`"),
            ("bread = 1\nname = 1", "expected a text", "in quotes"),
            ("bread = 1\nloaves = 1", "expected a list", "in brackets"),
            ("bread = 1\ndoor = 1", "expected a table", "its keys"),
            ("hot = true", "missing field `bread`", "add `bread = …`"),
            ("bread = 1\nbraed = 1", "unknown field `braed`", "remove the key"),
            ("bread = 1\nkind = \"x\"", "unknown variant `x`", "one of those"),
            ("bread = 1\nbread = 2", "duplicate key", "one of the two"),
            ("bread = ", "must be quoted", "`key = value`"),
            ("bread", "expected `=`", "`key = value`"),
        ] {
            let words = TomlWords::of(toml::from_str::<Oven>(text).unwrap_err().message());
            assert!(words.message.contains(message) && words.hint.contains(hint), "{text}: {words:?}");
        }
    }
}
