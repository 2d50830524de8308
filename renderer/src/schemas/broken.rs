//! What is wrong with a file that should be a schema.

use boon::ErrorKind;
use serde_json::Value;

use super::faults::shown;
use super::{FOLDER, SCHEME, files, named};
use crate::diagnostic::{Diagnostic, nearest};
use crate::sources::Sources;

/// Patterns are searched for in time that grows with the text alone.
const PATTERN_HINT: &str = "patterns cannot look ahead, look behind or refer back";

/// What is wrong with a schema.
pub(super) fn broken(sources: &Sources, path: &str, error: &boon::CompileError) -> Diagnostic {
    use boon::CompileError as E;
    let (wrong, written) = unplaced(path, error);
    let file = wrong.path.as_deref().unwrap_or(path);
    let Some(bytes) = sources.get(file).and_then(|file| file.read().ok()) else { return wrong };
    let text = String::from_utf8_lossy(&bytes);
    let mut at = None;
    for part in &written {
        let from = at.unwrap_or(0);
        at = text[from..].find(part).map(|found| from + found).or(at);
    }
    let wrong = match at {
        Some(at) => wrong.at(&text, at),
        None => wrong,
    };
    let refers =
        matches!(error, E::LoadUrlError { .. } | E::UnsupportedUrlScheme { .. } | E::JsonPointerNotFound(_));
    let near = || {
        let (target, _) = named(written.last()?);
        let known = files(sources, FOLDER).map(|(path, _)| path.rsplit('/').next().unwrap_or(path));
        nearest(&target, known).map(|near| format!("did you mean `{near}`?"))
    };
    if refers { wrong.maybe_hint(near()) } else { wrong }
}

/// What is wrong with a schema, and what of it is written there, from the outside in.
fn unplaced(path: &str, error: &boon::CompileError) -> (Diagnostic, Vec<String>) {
    use boon::CompileError as E;
    let of = |url: &str| named(url).0;
    let last = |url: &str| vec!["\"$ref\"".to_owned(), url.rsplit('/').next().unwrap_or(url).to_owned()];
    let mut written = Vec::new();
    let wrong = match error {
        E::LoadUrlError { url, src } => {
            written = last(url);
            Diagnostic::in_file(path, format!("a `$ref` leads nowhere: {src}"))
                .hint("schemas of a site lie below `schemas/`, and refer to each other by relative paths")
        }
        E::UnsupportedUrlScheme { url } => {
            written = last(url);
            Diagnostic::in_file(path, format!("a `$ref` leads nowhere: `{url}` is not fetched"))
                .hint("put the schema below `schemas/`, and refer to it by a relative path")
        }
        E::ValidationError { url, src } => {
            let mut worst = src;
            while let Some(cause) = worst.causes.first() {
                worst = cause;
            }
            let place = &worst.instance_location;
            let steps = place.to_string();
            let steps = steps.split('/').skip(1).filter(|step| step.parse::<usize>().is_err());
            written = steps.map(|step| format!("\"{step}\"")).collect();
            if let ErrorKind::Format { got, want: "regex", .. } = &worst.kind {
                let message = format!("`{place}` is no pattern that can be used: {got}");
                return (Diagnostic::in_file(of(url), message).hint(PATTERN_HINT), written);
            }
            let message = match place.tokens.is_empty() {
                true => format!("the file is no schema: {}", worst.kind),
                false => format!("`{place}` is not what a schema may have there: {}", worst.kind),
            };
            Diagnostic::in_file(of(url), message)
                .hint("see https://json-schema.org/understanding-json-schema for what each keyword takes")
        }
        E::InvalidRegex { url, regex, .. } => {
            written = vec![shown(&Value::from(regex.as_str()))];
            Diagnostic::in_file(of(url), format!("`{regex}` is no pattern that can be used"))
                .hint(PATTERN_HINT)
        }
        E::UnsupportedDraft { url } => {
            written = vec!["\"$schema\"".to_owned()];
            let message = format!("no version of JSON Schema is called `{}`", of(url));
            Diagnostic::in_file(path, message)
                .hint("\"$schema\": \"https://json-schema.org/draft/2020-12/schema\"")
        }
        E::JsonPointerNotFound(reference) => {
            written = last(reference);
            Diagnostic::in_file(path, format!("a `$ref` leads nowhere: `{}`", relative(reference)))
        }
        other => {
            Diagnostic::in_file(path, format!("the schema cannot be used: {}", relative(&other.to_string())))
        }
    };
    (wrong, written)
}

fn relative(text: &str) -> String {
    text.replace(SCHEME, "")
}
