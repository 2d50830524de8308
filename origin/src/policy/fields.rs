//! Response fields by path: what a site's configuration may add to its responses.
//!
//! Owns which fields may be given and how they are read. A field that the server decides on itself, for each response or
//! for all of a connection, is refused where it is read: it would be wrong, or would break caches.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderName, HeaderValue};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Error;

/// Fields of one rule.
const FIELDS_MAX: usize = 32;
/// Bytes of the longest value; a long `Content-Security-Policy` has some 4,000.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// Bytes of names and values that rules may add to one response; clients take heads of 16 KiB and more, and content
/// has fields of its own.
const RESPONSE_BYTES_MAX: usize = 12 << 10;

/// A rule as it stands in the configuration:
///
/// ```toml
/// [[response]]
/// path = "/**"
/// fields.Strict-Transport-Security = "max-age=31536000"
/// fields.X-Frame-Options = "DENY"
/// ```
///
/// All rules that match count; of several that give one field, the first does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseRule {
    /// Which paths, as in [`CacheRule`](super::CacheRule).
    pub path: String,
    /// Which fields their responses have.
    pub fields: Fields,
}

/// Response fields: valid, each once, none of them the server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Lower-case names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Why a field cannot be given.
const LIFETIME: &str = "how long responses may be kept stands in [[cache]]";
const CONTENT: &str = "the server derives it from the content";
const EACH: &str = "the server writes it into each response by itself";
const CONNECTION: &str = "it belongs to a connection, not to content";
const EVERYONE: &str =
    "a release answers everyone alike; what is of one visitor belongs to a service of its own";
const REDIRECT: &str = "what leads elsewhere stands in static/_redirects, or in `aliases` of front matter";
const GROUPS: &str = "name groups in `cache_groups` of front matter";

/// Fields that are not for configurations, and what to do instead.
const RESERVED: [(&str, &str); 43] = [
    ("accept-ranges", EACH),
    ("age", EACH),
    ("bakehouse-cache-control", LIFETIME),
    ("bakehouse-chunks", CONTENT),
    ("bakehouse-release", EACH),
    ("cache-control", LIFETIME),
    ("cache-group-invalidation", GROUPS),
    ("cache-groups", GROUPS),
    ("cache-status", EACH),
    ("cdn-cache-control", LIFETIME),
    ("connection", CONNECTION),
    ("content-digest", CONTENT),
    ("content-encoding", CONTENT),
    ("content-length", CONTENT),
    ("content-md5", CONTENT),
    ("content-range", CONTENT),
    ("date", EACH),
    ("digest", CONTENT),
    ("etag", CONTENT),
    ("expires", LIFETIME),
    ("http2-settings", CONNECTION),
    ("keep-alive", CONNECTION),
    ("last-modified", CONTENT),
    ("location", REDIRECT),
    ("pragma", LIFETIME),
    ("proxy-authenticate", CONNECTION),
    ("proxy-authentication-info", CONNECTION),
    ("proxy-authorization", CONNECTION),
    ("proxy-connection", CONNECTION),
    ("proxy-status", EACH),
    ("repr-digest", CONTENT),
    ("retry-after", EACH),
    ("set-cookie", EVERYONE),
    ("set-cookie2", EVERYONE),
    ("surrogate-control", LIFETIME),
    ("te", CONNECTION),
    ("trailer", CONNECTION),
    ("transfer-encoding", CONNECTION),
    ("upgrade", CONNECTION),
    (
        "vary",
        "release content depends on its path alone; `Vary: Accept-Encoding` is added where it is compressed",
    ),
    ("via", EACH),
    ("warning", EACH),
    ("www-authenticate", EVERYONE),
];

/// What to do instead of giving this field, where it may not be given.
pub fn hint_of_field(name: &str) -> Option<&'static str> {
    RESERVED.iter().find(|(reserved, _)| reserved.eq_ignore_ascii_case(name)).map(|(_, hint)| *hint)
}

/// The name as entries have it.
fn name_of(written: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(written.as_bytes()).map_err(|_| {
        let shown: String = written.chars().take(80).collect();
        format!("`{}` is no name of a field: letters, digits and `-` are expected", shown.escape_debug())
    })?;
    match hint_of_field(name.as_str()) {
        Some(_) => Err(format!("the response field `{written}` cannot be given")),
        None => Ok(name.as_str().to_owned()),
    }
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "the response field `{name}` has {} bytes, and {VALUE_BYTES_MAX} are allowed",
            value.len()
        ));
    }
    // White space around a value is no part of it (RFC 9110 §5.5).
    let is_plain = value.is_ascii() && value.trim() == value && !value.is_empty();
    if is_plain && HeaderValue::from_str(value).is_ok() {
        return Ok(());
    }
    Err(format!(
        "the value of the response field `{name}` cannot be sent: printable ASCII in one line is expected, without spaces around it"
    ))
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

/// A name, checked where it is read, so that an error has its place.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        name_of(&written).map(Self).map_err(D::Error::custom)
    }
}

/// A value of this field, likewise.
struct ValueOf<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let value = String::deserialize(deserializer)?;
        check_value(self.0, &value).map_err(D::Error::custom)?;
        Ok(value)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of response fields, such as `X-Frame-Options = \"DENY\"`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields: Vec<(String, String)> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value_seed(ValueOf(&name))?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("the response field `{name}` is given twice")));
            }
            if fields.len() == FIELDS_MAX {
                return Err(A::Error::custom(format!("a rule gives at most {FIELDS_MAX} response fields")));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

/// Checks that no response can get more than clients take, whichever rules match it: each field in its longest form.
pub(super) fn check(rules: &[ResponseRule]) -> Result<(), Error> {
    let mut longest: HashMap<&str, usize> = HashMap::new();
    for rule in rules {
        for (name, value) in rule.fields.iter() {
            let known = longest.entry(name).or_default();
            *known = (*known).max(name.len() + value.len());
        }
        let bytes: usize = longest.values().sum();
        if bytes > RESPONSE_BYTES_MAX {
            let reason = format!(
                "with those before it a response may get {bytes} bytes of fields, and {RESPONSE_BYTES_MAX} are allowed"
            );
            return Err(Error::Rule { kind: "response", path: rule.path.clone(), reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Policies, Rules};
    use super::*;
    use release::File;

    fn rule(path: &str, fields: &[(&str, &str)]) -> Result<ResponseRule, String> {
        let fields: serde_json::Map<_, _> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let rule = serde_json::json!({ "path": path, "fields": fields });
        serde_json::from_str(&rule.to_string()).map_err(|e| e.to_string())
    }

    fn of(rules: Vec<ResponseRule>, path: &str) -> Vec<(String, String)> {
        let policies = Policies::new(&Rules { response: rules, ..Rules::default() }).unwrap();
        let mut fields = policies.fields(&File {
            path: path.into(),
            body: Default::default(),
            status: 200,
            fields: vec![("content-type".into(), "text/html".into())],
            groups: vec![],
            immutable: false,
        });
        fields.sort();
        fields
    }

    fn given(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_rules_that_match_count_and_the_first_decides() {
        let rules = || {
            vec![
                rule("/embed/", &[("X-Frame-Options", "SAMEORIGIN")]).unwrap(),
                rule("/**", &[("X-Frame-Options", "DENY"), ("Strict-Transport-Security", "max-age=1")])
                    .unwrap(),
                rule("/**.bin", &[("Content-Type", "application/wasm")]).unwrap(),
            ]
        };
        let hsts = ("strict-transport-security", "max-age=1");
        let html = ("content-type", "text/html");
        assert_eq!(of(rules(), "a.txt"), given(&[html, hsts, ("x-frame-options", "DENY")]));
        let embed = given(&[html, hsts, ("x-frame-options", "SAMEORIGIN")]);
        assert_eq!(of(rules(), "embed/index.html"), embed);
        let wasm = ("content-type", "application/wasm");
        assert_eq!(of(rules(), "x/a.bin"), given(&[wasm, hsts, ("x-frame-options", "DENY")]));
        assert_eq!(of(vec![], "a.txt"), given(&[html]));
    }

    #[test]
    fn usual_fields_may_be_given() {
        for (name, value) in [
            ("Content-Security-Policy", "default-src 'self'; img-src https: data:"),
            ("Link", "</app.css>; rel=preload; as=style, </app.js>; rel=preload; as=script"),
            ("Access-Control-Allow-Origin", "*"),
            ("X-Content-Type-Options", "nosniff"),
            ("Permissions-Policy", "camera=(), interest-cohort=()"),
            ("Content-Disposition", "attachment; filename=\"a.pdf\""),
        ] {
            assert!(rule("/", &[(name, value)]).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_the_server_owns_or_nobody_can_send_is_refused() {
        for (name, hint) in [
            ("Cache-Control", "[[cache]]"),
            ("expires", "[[cache]]"),
            ("Content-Length", "content"),
            ("ETag", "content"),
            ("Transfer-Encoding", "connection"),
            ("Set-Cookie", "everyone"),
            ("Location", "static/_redirects"),
            ("Cache-Groups", "cache_groups"),
            ("Vary", "path alone"),
            ("Via", "by itself"),
        ] {
            let error = rule("/", &[(name, "x")]).unwrap_err();
            assert!(error.contains(&format!("`{name}` cannot be given")), "{error}");
            assert!(hint_of_field(name).unwrap().contains(hint), "{name}");
        }
        for name in ["", "a b", "X:", "é", "a\r\nb"] {
            assert!(rule("/", &[(name, "x")]).unwrap_err().contains("no name of a field"), "{name:?}");
        }
        for value in ["", " x", "x ", "a\r\nSet-Cookie: b", "a\nb", "a\0", "é", "\u{7f}"] {
            assert!(rule("/", &[("X-A", value)]).unwrap_err().contains("cannot be sent"), "{value:?}");
        }
        assert!(rule("/", &[("X-A", "1"), ("x-a", "2")]).unwrap_err().contains("given twice"));
    }

    #[test]
    fn too_much_is_refused() {
        let long = "x".repeat(VALUE_BYTES_MAX);
        assert!(rule("/", &[("X-A", &long)]).is_ok());
        assert!(rule("/", &[("X-A", &format!("{long}x"))]).unwrap_err().contains("8193 bytes"));
        let names: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("x-{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        assert!(rule("/", &many).unwrap_err().contains("at most 32"));
        let rules = |second: &str| {
            let response =
                vec![rule("/a", &[("X-A", &long)]).unwrap(), rule("/b", &[(second, &long)]).unwrap()];
            Policies::new(&Rules { response, ..Rules::default() })
        };
        assert!(rules("X-A").is_ok(), "one field, whichever rule gives it");
        let error = rules("X-B").unwrap_err().to_string();
        assert!(error.starts_with("the response rule for `/b` is wrong: with those before it"), "{error}");
    }
}
