//! The configuration as a site has it: one file, and that of the theme that it names.

use std::collections::HashSet;

use blake3::Hash;

use super::{BAKEHOUSE_NAME, Config, config_path, key_offset};
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::sources::Sources;
use crate::toml_words::{from_toml, text_at_root};

/// What a site for Hugo is known by.
const HUGO_NAMES: [&str; 3] = ["hugo.toml", "hugo.yaml", "hugo.json"];

/// All that is wrong with a site's configuration and its theme's; `given` is its name, if not the usual one.
pub fn config_errors(sources: &Sources, given: Option<&str>) -> Errors {
    Config::load(sources, given).err().unwrap_or_default()
}

impl Config {
    /// Reads a site's configuration, and its digest.
    ///
    /// # Errors
    /// All that is wrong with it, and with its theme's.
    pub(crate) fn load(sources: &Sources, given: Option<&str>) -> Result<(Hash, Self), Errors> {
        let given = given.map(|path| path.trim_start_matches("./"));
        let Some(path) = config_path(sources, given) else {
            let name = given.unwrap_or("zola.toml");
            let is_hugo = given.is_none() && HUGO_NAMES.iter().any(|name| sources.get(name).is_some());
            let hint = match is_hugo {
                true => "`bake import hugo` makes a site of here of one for Hugo",
                false => "create one with the line base_url = \"https://example.com\"",
            };
            return Err(Diagnostic::new(format!("the site has no {name}")).hint(hint).into());
        };
        let (digest, text) = sources.text(&path)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(digest.as_bytes());
        let parsed = Self::parse(&path, &text, sources.get(BAKEHOUSE_NAME).is_some());
        // Where all else is wrong, what it says of its theme may still be read.
        let theme = match &parsed {
            Ok(config) => config.theme.clone(),
            Err(_) => text_at_root(&text, "theme"),
        };
        let mut errors = Errors::default();
        let extra = match theme.filter(|name| !name.is_empty()) {
            Some(name) if sources.under(&format!("themes/{name}/")).next().is_none() => {
                errors.push(no_theme(sources, &path, &text, &name));
                None
            }
            Some(name) => theme_extra(sources, &name, &mut hasher).unwrap_or_else(|wrong| {
                errors.append(wrong);
                None
            }),
            None => None,
        };
        match parsed {
            Ok(mut config) => {
                errors.into_result()?;
                extra.iter().for_each(|extra| merge_extra(&mut config.extra, extra));
                Ok((hasher.finalize(), config))
            }
            Err(wrong) => {
                errors.append(wrong);
                Err(errors)
            }
        }
    }
}

/// Says that there is no theme of that name.
fn no_theme(sources: &Sources, path: &str, text: &str, name: &str) -> Diagnostic {
    let known: HashSet<&str> =
        sources.under("themes/").filter_map(|(path, _)| path.split('/').nth(1)).collect();
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("put the theme into themes/{name}/, or remove the key `theme`"),
    };
    let wrong = Diagnostic::in_file(path, format!("there is no theme `{name}`"));
    wrong.at(text, key_offset(text, "", "theme")).hint(hint)
}

/// Puts a theme's `[extra]` under the site's own.
fn merge_extra(site: &mut toml::Table, theme: &toml::Table) {
    for (name, value) in theme {
        match site.get_mut(name) {
            None => {
                site.insert(name.clone(), value.clone());
            }
            Some(toml::Value::Table(own)) => {
                if let toml::Value::Table(theirs) = value {
                    merge_extra(own, theirs);
                }
            }
            Some(_) => {}
        }
    }
}

/// What a theme says under `extra`.
fn theme_extra(
    sources: &Sources,
    name: &str,
    hasher: &mut blake3::Hasher,
) -> Result<Option<toml::Table>, Errors> {
    let path = format!("themes/{name}/theme.toml");
    if sources.get(&path).is_none() {
        return Ok(None);
    }
    let (digest, text) = sources.text(&path)?;
    hasher.update(digest.as_bytes());
    let mut table: toml::Table = from_toml(&path, &text, &|_| None)?;
    Ok(match table.remove("extra") {
        Some(toml::Value::Table(extra)) => Some(extra),
        _ => None,
    })
}
