//! Addresses in a text that are no links: Hugo makes links of them.

use std::ops::Range;

/// The addresses in a text, and what they are as links.
pub(super) fn addresses(text: &str) -> Vec<(Range<usize>, String)> {
    let mut out = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(|c: char| c.is_whitespace() || c == '<') {
        let start = at;
        at += word.len();
        let word = word.trim_end_matches(|c: char| c.is_whitespace() || c == '<');
        let Some((from, kind)) = begins(word) else { continue };
        let address = &word[from..from + length(&word[from..])];
        let link = match kind {
            Kind::Web if address.ends_with("://") => continue,
            Kind::Web => format!("<{address}>"),
            Kind::Host if !address["www.".len()..].contains('.') => continue,
            Kind::Host => format!("[{address}](https://{address})"),
            Kind::Mail if !is_mail(address) => continue,
            Kind::Mail => format!("<{address}>"),
        };
        out.push((start + from..start + from + address.len(), link));
    }
    out
}

#[derive(Clone, Copy)]
enum Kind {
    Web,
    Host,
    Mail,
}

/// Where in a word an address begins: at its head, or behind what is no letter.
fn begins(word: &str) -> Option<(usize, Kind)> {
    let known = [("https://", Kind::Web), ("http://", Kind::Web), ("www.", Kind::Host)];
    for (head, kind) in known {
        if let Some(at) = word.find(head)
            && !word[..at].ends_with(char::is_alphanumeric)
        {
            return Some((at, kind));
        }
    }
    let sign = word.find('@')?;
    let name = word[..sign].trim_end_matches(is_of_mail);
    Some((name.len(), Kind::Mail))
}

fn is_of_mail(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+".contains(c)
}

fn is_mail(address: &str) -> bool {
    address.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && host.contains('.')
            && host.chars().all(|c| is_of_mail(c) && !matches!(c, '_' | '+'))
    })
}

/// Its length without the signs that belong to the text around it.
fn length(address: &str) -> usize {
    let opened = address.matches('(').count();
    let mut closed = address.matches(')').count();
    let mut end = address.len();
    for c in address.chars().rev() {
        match c {
            ')' if closed > opened => closed -= 1,
            c if "?!.,:;*_~'\"".contains(c) => {}
            _ => break,
        }
        end -= c.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_kinds() {
        for (text, expected) in [
            ("See https://x.example/a_(b)_c, or", vec!["<https://x.example/a_(b)_c>"]),
            ("(http://y.example). https:// xhttp://z", vec!["<http://y.example>"]),
            ("www.x.example, www.no", vec!["[www.x.example](https://www.x.example)"]),
            ("Mail <ida@x.example or (a.b@y.example).", vec!["<ida@x.example>", "<a.b@y.example>"]),
            ("@name a@b x@", vec![]),
        ] {
            let found: Vec<_> = addresses(text).into_iter().map(|(_, link)| link).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(addresses("é (https://x.example)")[0].0, 4..21);
    }
}
