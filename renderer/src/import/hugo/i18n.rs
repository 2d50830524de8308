//! Texts by language: `i18n/de.yaml` as `[translations]`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::table::{find, read, text};

/// What a file of texts says.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The texts, by what templates call them.
    pub(super) texts: BTreeMap<String, String>,
    /// What cannot be converted.
    pub(super) notes: Vec<String>,
}

/// The language that a file of texts is for, by its name below `i18n/`, and the end of its name.
pub(super) fn language(file: &str) -> Option<(String, &str)> {
    let (code, extension) = file.rsplit_once('.')?;
    ["toml", "yaml", "yml", "json"].contains(&extension).then(|| (code.to_lowercase(), extension))
}

/// Reads a file of texts, of which each is a text, or a table with the forms for some numbers.
pub(super) fn texts(extension: &str, file: &str) -> Result<Texts, String> {
    let mut out = Texts::default();
    for (name, value) in read(extension, file)? {
        match one(&value) {
            Some(words) if words.contains("{{") => {
                out.notes.push(format!("the text `{name}` has code of Hugo in it and is not converted"));
            }
            Some(words) => {
                if has_forms(&value) {
                    out.notes.push(format!("of the forms of the text `{name}`, `other` alone is converted"));
                }
                out.texts.insert(name, words);
            }
            None => out.notes.push(format!("the text `{name}` is not converted")),
        }
    }
    Ok(out)
}

/// The text for most numbers.
fn one(value: &Value) -> Option<String> {
    match value {
        Value::Table(forms) => ["other", "translation"].iter().find_map(|key| text(find(forms, key)?)),
        value => text(value),
    }
}

fn has_forms(value: &Value) -> bool {
    let forms = ["zero", "one", "two", "few", "many"];
    value.as_table().is_some_and(|table: &Table| forms.iter().any(|form| find(table, form).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_code_are_read() {
        let made = texts(
            "yaml",
            "a: A\nb: {description: x, other: B}\nc: {one: one C, other: many C}\nd: '{{ .Count }} D'\ne: {f: {other: F}}\n",
        );
        let made = made.unwrap();
        let expected = [("a", "A"), ("b", "B"), ("c", "many C")];
        assert_eq!(made.texts, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        insta::assert_snapshot!(made.notes.join("\n"), @"
        of the forms of the text `c`, `other` alone is converted
        the text `d` has code of Hugo in it and is not converted
        the text `e` is not converted
        ");
        assert_eq!(language("pt-BR.toml"), Some(("pt-br".to_owned(), "toml")));
        assert!(texts("yaml", "- id: a\n  translation: b\n").is_err());
    }
}
