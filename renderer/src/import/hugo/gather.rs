//! Where the settings of a site for Hugo are, and whether there are any.

use toml::{Table, Value};

use super::Note;
use super::table::{find, read};
use crate::diagnostic::{Diagnostic, Errors};
use crate::sources::Sources;

/// The ends of the files that may hold settings, and their names, in the order in which they are looked for.
const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];
const NAMES: [&str; 2] = ["hugo", "config"];
/// Where settings may be in several files.
const FOLDER: &str = "config/_default/";

/// The settings of all files, and the file that notes name.
pub(super) fn gather(sources: &Sources, notes: &mut Vec<Note>) -> Result<(String, Table), Errors> {
    let names = || NAMES.iter().flat_map(|name| EXTENSIONS.map(|extension| format!("{name}.{extension}")));
    let load = |path: &str| -> Result<Table, Errors> {
        let wrong = |problem: String| Errors::from(Diagnostic::in_file(path, problem));
        let Some(file) = sources.get(path) else { return Ok(Table::new()) };
        let bytes = file.read().map_err(|e| wrong(format!("the file cannot be read: {e}")))?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| wrong("the file is not valid UTF-8".to_owned()))?;
        read(extension(path), text)
            .map_err(|problem| wrong(format!("the settings cannot be read: {problem}")))
    };
    let root = names().find(|name| sources.get(name).is_some());
    let in_folder: Vec<&str> = sources.under(FOLDER).map(|(path, _)| path).collect();
    if root.is_none() && in_folder.is_empty() {
        let of_zola = sources.get("zola.toml").is_some();
        let what =
            if of_zola { "this is a site for Zola, not for Hugo" } else { "there is no site for Hugo" };
        let hint = if of_zola {
            "`bake build` takes it as it is, or `bake import zola` where it is for Zola 0.22 or older"
                .to_owned()
        } else {
            format!(
                "name the folder that holds one of {}, or {FOLDER}",
                names().collect::<Vec<_>>().join(", ")
            )
        };
        return Err(Diagnostic::new(what).hint(hint).into());
    }
    let mut settings = Table::new();
    let file = root.clone().unwrap_or_else(|| in_folder[0].to_owned());
    if let Some(root) = &root {
        settings = load(root)?;
        if settings.contains_key("base_url") && find(&settings, "baseURL").is_none() {
            let text = format!("this is a site for Zola, not for Hugo: {root} has `base_url`");
            return Err(Diagnostic::new(text)
                .hint("use `bake import zola`, or name the folder of a site for Hugo")
                .into());
        }
    }
    for path in in_folder.iter().filter(|path| EXTENSIONS.contains(&extension(path))) {
        let own = load(path)?;
        let name = path[FOLDER.len()..].rsplit_once('.').map_or("", |(name, _)| name);
        let (key, language) = name.split_once('.').map_or((name, None), |(key, code)| (key, Some(code)));
        let (key, own) = match (NAMES.contains(&key), language) {
            (true, None) => {
                merge(&mut settings, own);
                continue;
            }
            (_, None) => (key, own),
            (_, Some(code)) => {
                let mut table = Table::new();
                table.insert(key.to_owned(), Value::Table(own));
                let mut languages = Table::new();
                languages.insert(code.to_owned(), Value::Table(table));
                ("languages", languages)
            }
        };
        let mut whole = Table::new();
        whole.insert(key.to_owned(), Value::Table(own));
        merge(&mut settings, whole);
    }
    for (path, _) in sources.under("config/").filter(|(path, _)| !path.starts_with(FOLDER)) {
        notes.push(Note::new(path, "settings of an environment are not converted"));
    }
    Ok((file, settings))
}

/// Adds what is not there yet, in tables within tables.
fn merge(into: &mut Table, more: Table) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(more)) => merge(into, more),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}
