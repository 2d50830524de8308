//! Which line of its file each block of a content comes from: for previews, and off in every other render.
//!
//! Owns the way from a place in a text to a line of its file, and the attribute in which HTML carries it. A mark is an
//! event of its own, before the event that writes the block's tag; the attribute goes into that tag while it is written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write};

use pulldown_cmark::{Event, html};

use crate::highlight::escape;

/// Says file and line of a block: `content/a.md:12`.
const ATTRIBUTE: &str = "data-bake-source";

/// What a mark begins with: HTML of an author never does, since a tag or a comment does.
const MARK: char = '\0';

/// The lines of a text, each with the number of the line of the file that it comes from.
pub(crate) struct Lines<'a> {
    source: &'a str,
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    numbers: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Of the body of the file `source`, which begins at byte `body` of its text.
    pub(crate) fn of_file(source: &'a str, text: &str, body: usize) -> Self {
        let (before, body) = text.split_at(body);
        let first = before.matches('\n').count() + 1;
        let starts = starts(body);
        let numbers = (first..first + starts.len()).collect();
        Self { source, starts, numbers }
    }

    /// Of what the templates in that body made of it. A line that was left as it was is found again by its text; what
    /// lies between two of these was made by the first line that was not.
    pub(crate) fn of_expanded(source: &'a str, text: &str, body: usize, expanded: &str) -> Self {
        let (before, body) = text.split_at(body);
        let first = before.matches('\n').count() + 1;
        let own: Vec<&str> = body.lines().map(str::trim).collect();
        let mut times: HashMap<&str, (usize, usize)> = HashMap::new();
        for (i, line) in own.iter().enumerate() {
            times.entry(line).and_modify(|(times, _)| *times += 1).or_insert((1, i));
        }
        let mut next = 0;
        let numbers = expanded.split('\n').map(str::trim).map(|line| {
            while next + 1 < own.len() && own[next].is_empty() {
                next += 1;
            }
            let same = own.get(next).is_some_and(|own| *own == line).then_some(next);
            let later = || times.get(line).filter(|(times, at)| *times == 1 && *at > next).map(|(_, at)| *at);
            match same.or_else(later).filter(|_| !line.is_empty()) {
                Some(at) => {
                    next = at + 1;
                    first + at
                }
                None => first + next.min(own.len().saturating_sub(1)),
            }
        });
        Self { source, numbers: numbers.collect(), starts: starts(expanded) }
    }

    /// The file and the line of the byte at `at`: `content/a.md:12`.
    pub(crate) fn place(&self, at: usize) -> String {
        let line = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        format!("{}:{}", self.source, self.numbers.get(line).copied().unwrap_or(1))
    }
}

/// Where the lines of a text begin; never empty.
fn starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i + 1)).collect()
}

/// The event that marks the block of the next event.
pub(crate) fn mark<'a>(place: &str) -> Event<'a> {
    Event::Html(format!("{MARK}{place}").into())
}

/// Writes events as HTML, marks as attributes of the tags behind them.
pub(crate) fn push_html<'a>(out: &mut String, mut events: impl Iterator<Item = Event<'a>>) {
    let pending: RefCell<Option<(String, At)>> = RefCell::new(None);
    let unmarked = std::iter::from_fn(|| {
        // A block that wrote no tag, such as a comment, takes its mark along.
        let mut next = None;
        let event = loop {
            match events.next()? {
                Event::Html(html) if html.starts_with(MARK) => {
                    next = Some((html[MARK.len_utf8()..].to_owned(), At::Text));
                }
                event => break event,
            }
        };
        *pending.borrow_mut() = next;
        Some(event)
    });
    // Writing to a string cannot fail.
    let _ = html::write_html_fmt(Marking { out, pending: &pending }, unmarked);
}

/// How far the next tag has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Text,
    Open,
    Name,
}

struct Marking<'o> {
    out: &'o mut String,
    pending: &'o RefCell<Option<(String, At)>>,
}

impl Write for Marking<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut pending = self.pending.borrow_mut();
        let Some((place, at)) = pending.as_mut() else {
            self.out.push_str(text);
            return Ok(());
        };
        for (i, c) in text.char_indices() {
            *at = match (*at, c) {
                (At::Text, '<') => At::Open,
                (At::Open, c) if c.is_ascii_alphabetic() => At::Name,
                (At::Name, c) if c.is_ascii_alphanumeric() || c == '-' => At::Name,
                (At::Name, _) => {
                    self.out.push_str(&text[..i]);
                    write!(self.out, " {ATTRIBUTE}=\"")?;
                    escape(self.out, place);
                    self.out.push('"');
                    self.out.push_str(&text[i..]);
                    *pending = None;
                    return Ok(());
                }
                _ => At::Text,
            };
        }
        self.out.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file_are_counted_from_its_first() {
        let text = "+++\n+++\none\n\ntwo\n";
        let lines = Lines::of_file("content/a.md", text, 8);
        assert_eq!(lines.place(0), "content/a.md:3");
        assert_eq!(lines.place(5), "content/a.md:5");
        assert_eq!(lines.place(999), "content/a.md:6");
    }

    #[test]
    fn lines_that_templates_made_are_those_of_the_template() {
        let text = "+++\n+++\nbefore\n\n{% for x in y %}\n- {{ x }}\n{% endfor %}\n\nafter\n\nbefore\n";
        let expanded = "before\n\n\n- 1\n\n- 2\n\n\nafter\n\nbefore\n";
        let lines = Lines::of_expanded("a.md", text, 8, expanded);
        let line = |what: &str| lines.place(expanded.find(what).unwrap());
        assert_eq!(line("before"), "a.md:3");
        assert_eq!(line("- 1"), "a.md:5");
        assert_eq!(line("- 2"), "a.md:5");
        assert_eq!(line("after"), "a.md:9");
        assert_eq!(lines.place(expanded.rfind("before").unwrap()), "a.md:11");
    }

    #[test]
    fn marks_become_attributes_of_the_tag_behind_them() {
        let mut out = String::new();
        let html = |text: &'static str| Event::Html(text.into());
        let events = [mark("a\"b:1"), html("<!-- c -->\n"), mark("x:2"), html("<my-tag class=\"y\"><p>")];
        push_html(&mut out, events.into_iter().chain([mark("x:3"), Event::Rule, Event::Text("<".into())]));
        assert_eq!(
            out,
            "<!-- c -->\n<my-tag data-bake-source=\"x:2\" class=\"y\"><p>\n<hr data-bake-source=\"x:3\" />\n&lt;"
        );
    }
}
