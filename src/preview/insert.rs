//! What goes into a page on its way to the browser, and what of a page is left out when two of its states are compared.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};
use serde::Serialize;

/// Where the preview's own paths begin. An empty segment is in no path of an output (`release::file::check_path`), so
/// none of a site's can be one of these.
pub const OURS: &str = "/bake//";

/// What the script knows of its page.
#[derive(Debug, Serialize)]
pub struct About<'a> {
    /// What the page shows, for the first question of what is new.
    pub seen: &'a str,
    /// The file it comes from, and the line there.
    pub file: Option<&'a str>,
    pub line: Option<usize>,
    /// The file of its template.
    pub template: Option<&'a str>,
    /// The badge.
    pub mark: Option<Badge>,
    /// Whether it stands where a page would be that has not been rendered yet.
    pub failed: bool,
}

/// The badge of a page that a build leaves out, or that is special in another way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Badge {
    /// A word or two.
    pub label: String,
    /// A sentence.
    pub detail: String,
}

/// A page with the script in it: before the end of its body, or at its end.
pub fn script(html: &[u8], about: &About<'_>) -> serde_json::Result<Vec<u8>> {
    let about = serde_json::to_string(about)?;
    let tag = format!("<script src=\"{OURS}client.js\" data-bake=\"{}\" defer></script>", escape(&about));
    let is_end = |at: &usize| html[*at..].get(..6).is_some_and(|tag| tag.eq_ignore_ascii_case(b"</body"));
    let at = memchr::memmem::rfind_iter(html, b"</").find(is_end).unwrap_or(html.len());
    let mut out = Vec::with_capacity(html.len() + tag.len());
    out.extend_from_slice(&with_leave(&html[..at]));
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(&html[at..]);
    Ok(out)
}

/// A page whose own content security policies (CSP3 §3.3) let the script run and ask: without that, one would follow nothing
/// and say nothing.
fn with_leave(html: &[u8]) -> Cow<'_, [u8]> {
    static POLICY: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let meta = r#"(?is)(<meta\s[^>]*\bcontent\s*=\s*)(?:"([^"]*)"|'([^']*)')"#;
        Regex::new(meta).ok()
    });
    let Some(policy) = POLICY.as_ref() else { return Cow::Borrowed(html) };
    policy.replace_all(html, |found: &Captures<'_>| {
        let whole = &found[0];
        let end = html[found.get(0).map_or(0, |whole| whole.end())..].split(|b| *b == b'>').next();
        let tag = [whole, end.unwrap_or_default()].concat().to_ascii_lowercase();
        if memchr::memmem::find(&tag, b"content-security-policy").is_none() {
            return whole.to_vec();
        }
        let (quote, text) = match (found.get(2), found.get(3)) {
            (Some(text), _) => ('"', text.as_bytes()),
            (None, text) => ('\'', text.map_or(&b""[..], |text| text.as_bytes())),
        };
        let text = String::from_utf8_lossy(text);
        [&found[1], format!("{quote}{}{quote}", policy_with_leave(&text)).as_bytes()].concat()
    })
}

/// A policy as an attribute has it, with leave for scripts of this server, and for questions to it.
fn policy_with_leave(policy: &str) -> String {
    let policy = policy.replace("&#39;", "'");
    let directives = policy.split(';').map(|directive| {
        let mut words = directive.split_whitespace();
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        if !matches!(&*name, "default-src" | "script-src" | "script-src-elem" | "connect-src") {
            return directive.to_owned();
        }
        let kept = words.filter(|word| !word.eq_ignore_ascii_case("'none'"));
        std::iter::once(&*name).chain(kept).chain(["'self'"]).collect::<Vec<_>>().join(" ")
    });
    directives.collect::<Vec<_>>().join(";").replace('\'', "&#39;")
}

/// A text as HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page without the digests of other files: of `cachebust=true` (`?h=…`) and of `integrity`. Where such a file changes,
/// that is told of the file, and the page is what it was.
pub fn without_digests(html: &[u8]) -> Cow<'_, [u8]> {
    match without(html, b"?h=", |b| b.is_ascii_hexdigit()) {
        Cow::Borrowed(html) => without(html, b"integrity=\"", |b| b != b'"'),
        Cow::Owned(html) => Cow::Owned(without(&html, b"integrity=\"", |b| b != b'"').into_owned()),
    }
}

/// A text without what stands behind each `head`, as far as it is of that kind.
fn without<'a>(text: &'a [u8], head: &[u8], is_part: fn(u8) -> bool) -> Cow<'a, [u8]> {
    let mut out = Vec::new();
    let mut kept = 0;
    for at in memchr::memmem::find_iter(text, head) {
        let part = at + head.len();
        if part < kept {
            continue;
        }
        out.extend_from_slice(&text[kept..part]);
        kept = part + text[part..].iter().take_while(|b| is_part(**b)).count();
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[kept..]);
    Cow::Owned(out)
}

/// The page that stands at an address until what belongs there can be rendered.
pub fn failed_page(text: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>This does not render</title></head>\n\
         <body>\n<h1>This does not render</h1>\n<pre>{}</pre>\n</body>\n</html>\n",
        escape(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_put_before_the_end_of_the_body() {
        let about = About {
            seen: "1-2-3",
            file: Some("content/\"><b>.md"),
            line: Some(1),
            template: None,
            mark: None,
            failed: false,
        };
        let page = |html: &str| String::from_utf8(script(html.as_bytes(), &about).unwrap()).unwrap();
        let whole = page("<body><!-- </body> -->x</BODY></html>");
        assert!(whole.starts_with("<body><!-- </body> -->x<script src=\"/bake//client.js\""), "{whole}");
        assert!(whole.ends_with("defer></script></BODY></html>"), "{whole}");
        assert!(whole.contains("content/\\&quot;&gt;&lt;b&gt;.md"), "{whole}");
        assert!(page("<p>no body").starts_with("<p>no body<script"));
        assert!(page("").starts_with("<script"));
        assert!(failed_page("<b>").contains("<pre>&lt;b&gt;</pre>"));
    }

    #[test]
    fn a_policy_of_the_page_lets_the_script_run() {
        let page = |html: &str| String::from_utf8(with_leave(html.as_bytes()).into_owned()).unwrap();
        for (policy, with) in [
            ("script-src 'none'; img-src *", "script-src &#39;self&#39;; img-src *"),
            ("Default-Src 'sha256-x'", "default-src &#39;sha256-x&#39; &#39;self&#39;"),
            ("connect-src &#39;none&#39; https://a.example", "connect-src https://a.example &#39;self&#39;"),
        ] {
            let tag = |policy: &str| {
                format!(
                    "<head><META http-equiv=Content-Security-Policy content=\"{policy}\"><meta name=x content='script-src'>"
                )
            };
            assert_eq!(page(&tag(policy)), tag(with));
        }
        let after = "<meta content='script-src a' http-equiv=\"content-security-policy\">";
        assert_eq!(page(after), after.replace(" a'", " a &#39;self&#39;'"));
        let plain = "<meta name=\"description\" content=\"script-src\"><p>content-security-policy";
        assert_eq!(page(plain), plain);
    }

    #[test]
    fn digests_of_other_files_are_no_part_of_a_page() {
        let page = |digest: &str| {
            format!("<link href=\"/a.css?h={digest}\" integrity=\"sha384-{digest}\"><a href=\"/?h\">x?h=</a>")
        };
        let (one, other) = (page("0aF9"), page("77"));
        assert_eq!(without_digests(one.as_bytes()), without_digests(other.as_bytes()));
        assert_ne!(without_digests(b"a?h=1&b"), without_digests(b"a?h=1&c"));
        assert!(matches!(without_digests(b"plain"), Cow::Borrowed(_)));
    }
}
