//! What is wrong with a value by a schema, in words for authors.

use std::collections::BTreeSet;

use boon::{ErrorKind, InstanceToken, Type, ValidationError};
use serde_json::Value;

use super::{Schemas, decoded, named};
use crate::diagnostic::nearest;

/// Names or values that a hint lists.
const LISTED_MAX: usize = 8;

impl Schemas {
    /// The single faults that an error is made of.
    pub(super) fn collect(&self, error: &ValidationError<'_, '_>, extra: &Value, out: &mut Vec<Fault>) {
        match &error.kind {
            ErrorKind::Group
            | ErrorKind::Schema { .. }
            | ErrorKind::Reference { .. }
            | ErrorKind::AllOf
            | ErrorKind::ContentSchema
                if !error.causes.is_empty() =>
            {
                error.causes.iter().for_each(|cause| self.collect(cause, extra, out));
            }
            ErrorKind::AnyOf | ErrorKind::OneOf(None) => self.alternatives(error, extra, out),
            _ => self.fault(error, extra, out),
        }
    }

    /// Of several schemas none holds. Where only one of them is for this kind of value, what that one says is meant.
    fn alternatives(&self, error: &ValidationError<'_, '_>, extra: &Value, out: &mut Vec<Fault>) {
        let here = steps(error);
        let branches: Vec<Vec<Fault>> = error
            .causes
            .iter()
            .map(|cause| {
                let mut faults = Vec::new();
                self.collect(cause, extra, &mut faults);
                faults.sort();
                faults
            })
            .collect();
        let of_kind = |faults: &&Vec<Fault>| !faults.iter().any(|fault| fault.is_kind && fault.at == here);
        let mut fitting = branches.iter().filter(of_kind);
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            return out.extend(only.iter().cloned());
        }
        let wanted: BTreeSet<&str> =
            branches.iter().flatten().filter_map(|fault| fault.wanted.as_deref()).collect();
        let (file, _) = named(error.schema_url);
        let hint = (!wanted.is_empty())
            .then(|| format!("one of: {}", listed(wanted.into_iter().map(str::to_owned))));
        out.push(Fault::new(here, |name| format!("{name} is none of what {file} allows"), hint));
    }

    fn fault(&self, error: &ValidationError<'_, '_>, extra: &Value, out: &mut Vec<Fault>) {
        let at = steps(error);
        let (file, pointer) = named(error.schema_url);
        let plain = |wanted: String| {
            let told =
                Fault::new(at.clone(), |name| format!("{name} is not {wanted}, as {file} wants it"), None);
            Fault { wanted: Some(wanted), ..told }
        };
        let here = || value_at(extra, &at);
        out.push(match &error.kind {
            ErrorKind::Type { got, want } => {
                let wanted = one_of(want.iter().map(|kind| kind_name(kind).to_owned()).collect());
                let got = kind_name(*got);
                let told = |name: &str| format!("{name} is {got}, and {file} wants {wanted}");
                let fault = Fault::new(at.clone(), told, None);
                Fault { wanted: Some(wanted.clone()), is_kind: true, ..fault }
            }
            ErrorKind::Enum { want } => {
                let texts: Vec<&str> = want.iter().filter_map(Value::as_str).collect();
                let given = here().and_then(Value::as_str);
                let near = given.and_then(|given| nearest(given, texts.iter().copied()));
                let values = listed(want.iter().map(shown));
                let hint = match near {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("one of: {values}"),
                };
                let given = here().map_or_else(String::new, |given| format!(" {}", shown(given)));
                let told = |name: &str| format!("{name} is{given}, which {file} does not know");
                Fault { wanted: Some(values.clone()), ..Fault::new(at.clone(), told, Some(hint)) }
            }
            ErrorKind::Const { want } => plain(shown(want)),
            ErrorKind::Required { want } => {
                let known = self.properties(&file, pointer);
                let given: Vec<&String> =
                    here().and_then(Value::as_object).into_iter().flat_map(|map| map.keys()).collect();
                for missing in want {
                    let strays = given.iter().filter(|name| !known.contains(&name.as_str()));
                    let near = nearest(missing, strays.map(|name| name.as_str()));
                    let told = |name: &str| format!("{name} has no `{missing}`, and {file} requires it");
                    let hint = near.map(|near| format!("did you mean it by `{near}`?"));
                    out.push(Fault::new(at.clone(), told, hint));
                }
                return;
            }
            ErrorKind::AdditionalProperties { got } => {
                let known = self.properties(&file, pointer);
                let given = here().and_then(Value::as_object);
                for stray in got {
                    let free =
                        known.iter().copied().filter(|name| given.is_none_or(|map| !map.contains_key(*name)));
                    let near = nearest(stray, free).or_else(|| nearest(stray, known.iter().copied()));
                    let mut inner = at.clone();
                    inner.push(Step::Key(stray.to_string()));
                    let hint = match near {
                        Some(near) => Some(format!("did you mean `{near}`?")),
                        None if known.is_empty() => None,
                        None => {
                            Some(format!("it may have: {}", listed(known.iter().map(|n| format!("`{n}`")))))
                        }
                    };
                    out.push(Fault::new(inner, |name| format!("{name} is unknown to {file}"), hint));
                }
                return;
            }
            ErrorKind::FalseSchema => {
                Fault::new(at.clone(), |name| format!("{name} is not allowed by {file}"), None)
            }
            ErrorKind::PropertyName { prop } => {
                let mut inner = at.clone();
                inner.push(Step::Key(prop.clone()));
                Fault::new(inner, |name| format!("{name} is no name that {file} allows"), None)
            }
            ErrorKind::Pattern { want, .. } => plain(format!("of the pattern `{want}`")),
            ErrorKind::Format { want, .. } => plain(match *want {
                "date" => "a date such as 2026-01-31".to_owned(),
                "date-time" => "a time such as 2026-01-31T10:30:00Z".to_owned(),
                "uri" => "a whole address such as https://example.com/".to_owned(),
                "email" => "an e-mail address".to_owned(),
                other => format!("in the format `{other}`"),
            }),
            ErrorKind::MinLength { want, .. } => plain(format!("at least {want} characters long")),
            ErrorKind::MaxLength { want, .. } => plain(format!("at most {want} characters long")),
            ErrorKind::MinItems { want, .. } => plain(format!("at least {want} values long")),
            ErrorKind::MaxItems { want, .. } => plain(format!("at most {want} values long")),
            ErrorKind::Minimum { want, .. } => plain(format!("at least {want}")),
            ErrorKind::Maximum { want, .. } => plain(format!("at most {want}")),
            ErrorKind::ExclusiveMinimum { want, .. } => plain(format!("more than {want}")),
            ErrorKind::ExclusiveMaximum { want, .. } => plain(format!("less than {want}")),
            ErrorKind::MultipleOf { want, .. } => plain(format!("a multiple of {want}")),
            ErrorKind::UniqueItems { got: [i, j] } => {
                let told =
                    |name: &str| format!("{name}[{i}] and {name}[{j}] are equal, which {file} forbids");
                Fault::new(at.clone(), told, None)
            }
            ErrorKind::DependentRequired { prop, missing } | ErrorKind::Dependency { prop, missing } => {
                let missing = listed(missing.iter().map(|name| format!("`{name}`")));
                let told =
                    |name: &str| format!("{name} has `{prop}` without {missing}, and {file} wants both");
                Fault::new(at.clone(), told, None)
            }
            ErrorKind::RefCycle { .. } => {
                let told = |name: &str| {
                    format!("{name} cannot be held to {file}: a `$ref` there leads back to itself")
                };
                Fault::new(at.clone(), told, Some("let it lead to what says something".to_owned()))
            }
            other => {
                Fault::new(at.clone(), |name| format!("{name} is not as {file} wants it: {other}"), None)
            }
        });
    }

    /// The keys that the schema at a place of a file names.
    fn properties(&self, file: &str, pointer: &str) -> Vec<&str> {
        let schema = self.documents.get(file).and_then(|document| document.pointer(&decoded(pointer)));
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        properties.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect()
    }
}

/// One step towards a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

fn steps(error: &ValidationError<'_, '_>) -> Vec<Step> {
    let step = |token: &InstanceToken<'_>| match token {
        InstanceToken::Prop(name) => Step::Key(name.to_string()),
        InstanceToken::Item(n) => Step::Item(*n),
    };
    error.instance_location.tokens.iter().map(step).collect()
}

fn value_at<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(name) => value.get(name.as_str()),
        Step::Item(n) => value.get(*n),
    })
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) at: Vec<Step>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What would be right, to be listed with others.
    wanted: Option<String>,
    /// Whether the value is of another kind.
    is_kind: bool,
}

impl Fault {
    fn new(at: Vec<Step>, told: impl FnOnce(&str) -> String, hint: Option<String>) -> Self {
        let mut name = "extra".to_owned();
        for step in &at {
            match step {
                Step::Key(key) => name.extend([".", key]),
                Step::Item(n) => name += &format!("[{n}]"),
            }
        }
        Self { message: told(&format!("`{name}`")), at, hint, wanted: None, is_kind: false }
    }
}

fn kind_name(kind: Type) -> &'static str {
    match kind {
        Type::Null => "nothing",
        Type::Boolean => "true or false",
        Type::Number => "a number",
        Type::Integer => "a whole number",
        Type::String => "a text",
        Type::Array => "a list",
        Type::Object => "a table",
    }
}

pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `a, b, c`, or the first of many.
pub(super) fn listed(values: impl Iterator<Item = String>) -> String {
    let mut values: Vec<String> = values.collect();
    if values.len() > LISTED_MAX {
        values.truncate(LISTED_MAX);
        values.push("…".to_owned());
    }
    values.join(", ")
}

/// `a, b or c`.
fn one_of(mut values: Vec<String>) -> String {
    let last = values.pop().unwrap_or_default();
    if values.is_empty() { last } else { format!("{} or {last}", values.join(", ")) }
}
