//! URLs brought to one spelling, and the way between URL paths and manifest paths.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Bytes of the longest request target that is looked at.
pub const TARGET_BYTES_MAX: usize = 8 << 10;

/// What is escaped in a path that we write: all but unreserved characters, sub-delimiters, `:`, `@`
/// and `/` (RFC 3986 §3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A URL as a purge names it, brought to one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `scheme://host[:port]` in lower case without a default port; none for a path of the site.
    pub authority: Option<String>,
    /// The path, normalised (RFC 3986 §6.2.2); begins with a slash.
    pub path: String,
    /// The query, as it was written; without one, all query variants are meant.
    pub query: Option<String>,
}

/// A text that is no URL and no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an absolute http or https URL nor a path that begins with a slash")]
pub struct BadTarget(String);

impl std::str::FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.chars().take(200).collect());
        if text.len() > TARGET_BYTES_MAX || text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(bad());
        }
        let (authority, rest) = match text.split_once("://") {
            Some((scheme, rest)) if !text.starts_with('/') => {
                let scheme = scheme.to_ascii_lowercase();
                let default_port = match scheme.as_str() {
                    "http" => ":80",
                    "https" => ":443",
                    _ => return Err(bad()),
                };
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let host = rest[..end].to_ascii_lowercase();
                let host = host.strip_suffix(default_port).unwrap_or(&host).trim_end_matches(':');
                if !is_authority(host) {
                    return Err(bad());
                }
                (Some(format!("{scheme}://{host}")), &rest[end..])
            }
            _ if text.starts_with('/') => (None, text),
            _ => return Err(bad()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        Ok(Self { authority, path: normalise(path).into_owned(), query })
    }
}

impl Target {
    /// Whether a site of these hosts may show it: any may where it has none. So may what is named by the address of a machine:
    /// an edge or origin answers at its own, whatever the site is called.
    pub fn is_of(&self, hosts: &[String]) -> bool {
        let Some((_, said)) = self.authority.as_deref().and_then(|text| text.split_once("://")) else {
            return true;
        };
        let name = without_port(said);
        let is_machine = name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_machine || hosts.is_empty() || hosts.iter().any(|own| same_host(own, said))
    }
}

/// Whether a site's host is meant by what a request or URL says: with its port, or without.
pub fn same_host(own: &str, said: &str) -> bool {
    own.eq_ignore_ascii_case(said) || own.eq_ignore_ascii_case(without_port(said))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether this is a host, maybe with a port (RFC 3986 §3.2), and no user.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address.parse::<Ipv6Addr>().is_ok(), None),
        Some((address, port)) => {
            (address.parse::<Ipv6Addr>().is_ok(), Some(port.strip_prefix(':').unwrap_or("no")))
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (!name.is_empty() && !name.contains(|c: char| c.is_ascii() && !is_of_name(c)), port)
        }
    };
    is_host && port.is_none_or(|port| port.parse::<NonZeroU16>().is_ok() && !port.starts_with('+'))
}

/// Whether a registered name may hold this ASCII character (RFC 3986 §3.2.2).
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c)
}

/// Normalises a path (RFC 3986 §6.2.2): hexadecimal digits in upper case, unreserved characters
/// unescaped, characters that no path may hold escaped, dot segments removed. The empty path is `/`.
pub fn normalise(path: &str) -> Cow<'_, str> {
    let plain = path.starts_with('/')
        && !path.contains("/.")
        && path.bytes().all(|b| b.is_ascii_graphic() && !b"%\"#<>?[]\\^`{|}".contains(&b));
    if plain {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len() + 1);
    let bytes = path.as_bytes();
    let mut rest = path;
    while !rest.is_empty() {
        let at = path.len() - rest.len();
        if rest.starts_with('%')
            && let Some(byte) = escaped(bytes, at)
        {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(byte as char);
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
            rest = &rest[3..];
            continue;
        }
        let next = rest.chars().next().map_or(1, char::len_utf8);
        text.extend(utf8_percent_encode(&rest[..next], PATH));
        rest = &rest[next..];
    }
    Cow::Owned(without_dots(&text))
}

/// The byte that the escape at `at` stands for.
fn escaped(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
    if digits.starts_with('+') { None } else { u8::from_str_radix(digits, 16).ok() }
}

/// Removes dot segments from a path (RFC 3986 §5.2.4).
pub fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The path of a URL as the site means it: normalised, then unescaped, so that all spellings of one
/// page are one key: `/caf%C3%A9/` and `/café/` both give `/café/`. None where it is not UTF-8, or
/// holds a control character, or a dot segment beside an escaped slash: no site has such a page.
pub fn site_path(url_path: &str) -> Option<String> {
    let normal = normalise(url_path);
    let text = percent_decode_str(&normal).decode_utf8().ok()?;
    // Sent on, such a path would be another one's: what is stored under it would not hear of that one's changes.
    let is_another = text.split('/').any(|segment| matches!(segment, "." | ".."));
    if is_another || text.chars().any(char::is_control) { None } else { Some(text.into_owned()) }
}

/// A site path as it stands in a URL: the opposite of [`site_path`].
pub fn escape(site_path: &str) -> String {
    utf8_percent_encode(site_path, PATH).to_string()
}

/// The manifest path that serves a site path, by itself or as the index of a folder.
pub fn manifest_path(site_path: &str) -> String {
    let path = site_path.strip_prefix('/').unwrap_or(site_path);
    if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() }
}

/// The site paths whose responses depend on a manifest path: itself, and for the index of a folder
/// the folder with and without its slash. A change of `404.html` besides changes every 404.
pub fn dependents(manifest_path: &str) -> Vec<String> {
    let mut paths = vec![format!("/{manifest_path}")];
    if manifest_path == "index.html" {
        paths.push("/".to_owned());
    } else if let Some(folder) = manifest_path.strip_suffix("/index.html") {
        paths.push(format!("/{folder}/"));
        paths.push(format!("/{folder}"));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_brought_to_one_spelling() {
        for (path, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/%7euser/%2e%2E/x", "/x"),
            ("/a%2fb", "/a%2Fb"),
            ("/café", "/caf%C3%A9"),
            ("/100%", "/100%25"),
            ("/a b", "/a%20b"),
            ("/a//b", "/a//b"),
        ] {
            assert_eq!(normalise(path), normal, "{path}");
        }
    }

    #[test]
    fn targets_of_purges() {
        let target: Target = "HTTPS://Example.ORG:443/a/../b?x=1#f".parse().unwrap();
        assert_eq!(target.authority.as_deref(), Some("https://example.org"));
        assert_eq!((target.path.as_str(), target.query.as_deref()), ("/b", Some("x=1")));
        assert_eq!("http://h:8080".parse::<Target>().unwrap().path, "/");
        assert_eq!("http://[::1]:80/a".parse::<Target>().unwrap().authority.as_deref(), Some("http://[::1]"));
        assert_eq!("http://bäcker.example:8080/".parse::<Target>().unwrap().path, "/");
        let hosts = ["http://[", "http://[::1", "http://[::1]x/", "http://[1]/", "http://a]/", "http://a|b/"];
        let ports =
            ["http://a:99999/", "http://a:0/", "http://a:x/about/", "http://a:1:2/", "http://[::1]:+8/"];
        for bad in
            ["a/b", "ftp://x/", "http:///x", "http://u@h/", "/a b", ""].iter().chain(&hosts).chain(&ports)
        {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_site_shows_the_urls_of_its_hosts() {
        let hosts = ["a.example".to_owned(), "b.example:8443".to_owned()];
        let is_of = |text: &str, hosts: &[String]| text.parse::<Target>().unwrap().is_of(hosts);
        for own in ["/x", "https://A.example/x", "http://a.example:8080/", "https://b.example:8443/"] {
            assert!(is_of(own, &hosts), "{own}");
        }
        for machine in
            ["http://127.0.0.1:8080/", "http://[::1]:8080/", "http://[::1]/", "http://localhost:80"]
        {
            assert!(is_of(machine, &hosts), "{machine}");
        }
        for foreign in
            ["https://c.example/x", "https://a.example.org/", "https://b.example/", "http://1.2.3.4.5/"]
        {
            assert!(!is_of(foreign, &hosts) && is_of(foreign, &[]), "{foreign}");
        }
    }

    #[test]
    fn a_manifest_path_and_the_urls_that_show_it() {
        assert_eq!(manifest_path("/"), "index.html");
        assert_eq!(manifest_path("/a/"), "a/index.html");
        assert_eq!(manifest_path("/a.css"), "a.css");
        assert_eq!(dependents("index.html"), ["/index.html", "/"]);
        assert_eq!(dependents("a/index.html"), ["/a/index.html", "/a/", "/a"]);
        assert_eq!(dependents("a/myindex.html"), ["/a/myindex.html"]);
    }

    #[test]
    fn a_path_that_would_be_another_one_is_none() {
        for path in ["/..%2fe", "..%2fe%2e", "/a/%2E%2e%2Fb", "/a%2f..", "/a%2f./b"] {
            assert_eq!(site_path(path), None, "{path}");
        }
        for (path, site) in [("/a%2Fb", "/a/b"), ("/..a%2f.b", "/..a/.b"), ("/a/%2e%2e/b", "/b")] {
            assert_eq!(site_path(path).as_deref(), Some(site), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_site_path_stands_for_itself_alone(path in "(/|%2e|%2F|%25|%3f|\\.|a|é|%|%41| ){0,12}") {
            if let Some(path) = site_path(&path) {
                prop_assert_eq!(site_path(&escape(&path)), Some(path.clone()));
                prop_assert!(dependents(&manifest_path(&path)).contains(&path));
            }
        }

        #[test]
        fn normalising_twice_is_normalising_once(path in "(/|%2e|%2F|\\.|a|é|%|%41| ){0,12}") {
            let once = normalise(&path).into_owned();
            prop_assert_eq!(normalise(&once), once.as_str());
        }

        #[test]
        fn escaping_is_undone(path in "/[a-zé%?# .]{0,20}") {
            prop_assume!(!path.contains("/."));
            prop_assert_eq!(site_path(&escape(&path)), Some(path));
        }
    }
}
