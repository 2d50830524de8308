//! Hugo's own shortcodes, and its options of blocks of code, as what they stand for: HTML, or markdown.

use pulldown_cmark::{Options, Parser, html};

use super::body::escaped;
use super::shortcode::Tag;

/// What a call of one of Hugo's shortcodes stands for, where that is an element of HTML.
pub(super) fn element(tag: &Tag<'_>) -> Option<String> {
    let attribute = |name: &str, value: &str| format!(" {name}=\"{}\"", escaped(value));
    match tag.name {
        "figure" => figure(tag),
        "youtube" => {
            let id = tag.argument("id", 0)?;
            let times: Vec<String> = ["start", "end"]
                .iter()
                .filter_map(|name| Some(format!("{name}={}", tag.named(name)?)))
                .collect();
            let query = if times.is_empty() { String::new() } else { format!("?{}", times.join("&")) };
            let src = attribute("src", &format!("https://www.youtube.com/embed/{id}{query}"));
            Some(player(&src, tag.named("title").unwrap_or("YouTube video")))
        }
        "vimeo" => {
            let src =
                attribute("src", &format!("https://player.vimeo.com/video/{}?dnt=1", tag.argument("id", 0)?));
            Some(player(&src, tag.named("title").unwrap_or("Vimeo video")))
        }
        "gist" => {
            let (user, id) = (tag.argument("user", 0)?, tag.argument("id", 1)?);
            let file = tag.argument("file", 2).map(|file| format!("?file={file}")).unwrap_or_default();
            let src = attribute("src", &format!("https://gist.github.com/{user}/{id}.js{file}"));
            Some(format!("<script{src}></script>"))
        }
        _ => None,
    }
}

fn player(src: &str, title: &str) -> String {
    format!(
        "<iframe{src} title=\"{}\" width=\"560\" height=\"315\" loading=\"lazy\" allowfullscreen></iframe>",
        escaped(title)
    )
}

fn figure(tag: &Tag<'_>) -> Option<String> {
    let attributes = |names: &[(&str, &str)]| -> String {
        let written = names.iter().filter_map(|(argument, attribute)| {
            let value = tag.named(argument)?;
            Some(format!(" {attribute}=\"{}\"", escaped(value)))
        });
        written.collect()
    };
    let src = tag.argument("src", 0)?;
    let caption = tag.named("caption");
    let alt = tag.named("alt").map(str::to_owned).or_else(|| Some(plain(caption?))).unwrap_or_default();
    let size = attributes(&[("width", "width"), ("height", "height"), ("loading", "loading")]);
    let image = format!("<img src=\"{}\" alt=\"{}\"{size}>", escaped(src), escaped(&alt));
    let image = match tag.named("link") {
        Some(_) => {
            let link = attributes(&[("link", "href"), ("target", "target"), ("rel", "rel")]);
            format!("<a{link}>{image}</a>")
        }
        None => image,
    };
    let title = tag.named("title").map(|title| format!("<h4>{}</h4>", inline(title))).unwrap_or_default();
    let attr = tag.named("attr").map(inline).map(|attr| match tag.named("attrlink") {
        Some(_) => format!("<a{}>{attr}</a>", attributes(&[("attrlink", "href")])),
        None => attr,
    });
    let words: Vec<String> = caption.map(inline).into_iter().chain(attr).collect();
    let words = if words.is_empty() { String::new() } else { format!("<p>{}</p>", words.join(" ")) };
    let below = if title.is_empty() && words.is_empty() {
        String::new()
    } else {
        format!("<figcaption>{title}{words}</figcaption>")
    };
    Some(format!("<figure{}>{image}{below}</figure>", attributes(&[("class", "class")])))
}

/// Markdown of a line as HTML.
fn inline(text: &str) -> String {
    let mut out = String::new();
    html::push_html(&mut out, Parser::new_ext(text, Options::empty()));
    out.trim().trim_start_matches("<p>").trim_end_matches("</p>").replace('\n', " ")
}

/// The words of markdown alone.
fn plain(text: &str) -> String {
    use pulldown_cmark::Event;
    let words = Parser::new(text).filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.into_string()),
        Event::SoftBreak | Event::HardBreak => Some(" ".to_owned()),
        _ => None,
    });
    words.collect()
}

/// `{{< details >}}`, with markdown inside.
pub(super) fn details(tag: &Tag<'_>, inner: &str) -> String {
    let open = if tag.named("open").is_some_and(|open| open != "false") { " open" } else { "" };
    let summary = inline(tag.argument("summary", 0).unwrap_or("Details"));
    format!("<details{open}><summary>{summary}</summary>\n\n{}\n\n</details>", inner.trim_matches('\n'))
}

/// A link to a post elsewhere: as HTML, since within that markdown is none.
pub(super) fn post(tag: &Tag<'_>) -> Option<String> {
    let address = if tag.name == "instagram" {
        format!("instagram.com/p/{}/", tag.argument("id", 0)?)
    } else {
        format!("x.com/{}/status/{}", tag.named("user")?, tag.named("id")?)
    };
    let address = escaped(&address);
    Some(format!("<a href=\"https://{address}\">{address}</a>"))
}

/// `{{< highlight >}}` as a block of code, and the options that there is no word for; none where it is within a line.
pub(super) fn highlight(tag: &Tag<'_>, inner: &str) -> Option<(String, Vec<String>)> {
    let language = tag.argument("lang", 0).or(tag.named("language"))?;
    let (words, unknown) =
        words(&options(tag.argument("options", 1).or(tag.named("opts")).unwrap_or_default()));
    if unknown.iter().any(|name| name == "hl_inline") {
        return None;
    }
    let code = inner.trim_matches('\n');
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    Some((format!("{fence}{language}{words}\n{code}\n{fence}"), unknown))
}

/// The words behind a fence with Hugo's options in braces, and the options that there is no word for; none where it has
/// no options.
pub(super) fn fence(info: &str) -> Option<(String, Vec<String>)> {
    let (language, braces) = info.split_at(info.find('{')?);
    let inside = braces.strip_prefix('{')?.trim_end().strip_suffix('}')?;
    let (words, unknown) = words(&options(inside));
    let language = match language.trim() {
        "" if !words.is_empty() => "text",
        language => language,
    };
    Some((format!("{language}{words}"), unknown))
}

/// `a=1,b=[2,"3-4"] c="5"` as names and values.
fn options(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(['=', ',', ' ']).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let length = match after.chars().next() {
                Some('[') => after.find(']').map_or(after.len(), |at| at + 1),
                Some(quote @ ('"' | '\'')) => after[1..].find(quote).map_or(after.len(), |at| at + 2),
                // Lines may have spaces between them where nothing is around them.
                _ => {
                    let is_next = |at: usize| !after[at + 1..].starts_with(|c: char| c.is_ascii_digit());
                    let next = after.match_indices(' ').map(|(at, _)| at).find(|at| is_next(*at));
                    let next = next.unwrap_or(after.len());
                    after[..next].find(',').unwrap_or(next)
                }
            };
            value = after[..length].to_owned();
            rest = &after[length..];
        }
        out.push((name, value));
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    out
}

/// Options of a block as words behind its language.
fn words(options: &[(String, String)]) -> (String, Vec<String>) {
    let mut out = String::new();
    let mut unknown = Vec::new();
    for (name, value) in options {
        let lines = || {
            let parts =
                value.split(|c: char| !c.is_ascii_digit() && c != '-').filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(" ")
        };
        let bare = value.trim_matches(['"', '\'']);
        match name.to_lowercase().as_str() {
            "hl_lines" => out += &format!(",hl_lines={}", lines()),
            "linenos" if bare == "false" => {}
            "linenos" => out += ",linenos",
            "linenostart" => out += &format!(",linenostart={bare}"),
            _ => unknown.push(name.clone()),
        }
    }
    (out, unknown)
}

#[cfg(test)]
mod tests {
    use super::super::shortcode::{Piece, pieces};
    use super::*;

    fn called(text: &str) -> Option<String> {
        let Some(Piece::Tag(tag)) = pieces(text).into_iter().next() else { panic!("{text}") };
        element(&tag)
    }

    #[test]
    fn options_of_blocks_of_code() {
        for (info, expected, unknown) in [
            ("go {hl_lines=[1,\"3-5\"],linenos=true}", "go,hl_lines=1 3-5,linenos", vec![]),
            (
                "go{linenos=table,hl_lines=8 15-17,linenostart=199}",
                "go,linenos,hl_lines=8 15-17,linenostart=199",
                vec![],
            ),
            ("rust {linenos=false hl_lines=\"2\"}", "rust,hl_lines=2", vec![]),
            ("{style=monokai .wide}", "", vec!["style", ".wide"]),
        ] {
            let (made, left) = fence(info).unwrap();
            assert_eq!(
                (made.as_str(), left),
                (expected, unknown.iter().map(|s| (*s).to_owned()).collect()),
                "{info}"
            );
        }
        assert_eq!(fence("go"), None);
    }

    #[test]
    fn elements() {
        insta::assert_snapshot!(
            called("{{< figure src=\"a.png\" title=\"A & B\" caption=\"The *end*\" link=\"/x/\" attr=\"Me\" width=300 >}}").unwrap(),
            @r#"<figure><a href="/x/"><img src="a.png" alt="The end" width="300"></a><figcaption><h4>A &amp; B</h4><p>The <em>end</em> Me</p></figcaption></figure>"#
        );
        insta::assert_snapshot!(
            called("{{< youtube id=\"x\" start=30 >}}").unwrap(),
            @r#"<iframe src="https://www.youtube.com/embed/x?start=30" title="YouTube video" width="560" height="315" loading="lazy" allowfullscreen></iframe>"#
        );
        insta::assert_snapshot!(
            called("{{< gist a 1 b.go >}}").unwrap(),
            @r#"<script src="https://gist.github.com/a/1.js?file=b.go"></script>"#
        );
        assert_eq!(called("{{< own >}}"), None);
    }
}
