//! Notes that stand at the end of a text: where each is referred to, and the list of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use pulldown_cmark::{CowStr, Event, Tag, TagEnd};

use super::{Spanned, Writer, skip_to_end};
use crate::highlight::escape;

/// The notes of a text whose notes stand at its end.
#[derive(Default)]
pub(super) struct Footnotes<'a> {
    /// Names in the order of their first use, as it is written: a note that refers to another one does so where it stands.
    used: Vec<Footnote<'a>>,
    /// The number of the note at each reference, by where that is in the text, and which of its references it is.
    references: HashMap<usize, (usize, usize)>,
}

struct Footnote<'a> {
    name: CowStr<'a>,
    times: usize,
    /// What is between start and end of each of its definitions; most have one.
    definitions: Vec<Vec<Spanned<'a>>>,
}

impl<'a> Footnotes<'a> {
    pub(super) fn of(events: &[Spanned<'a>]) -> Self {
        let mut found = Self::default();
        let mut by_name: HashMap<CowStr<'a>, usize> = HashMap::new();
        let mut definitions: HashMap<CowStr<'a>, Vec<Vec<Spanned<'a>>>> = HashMap::new();
        for (i, (event, range)) in events.iter().enumerate() {
            match event {
                Event::Start(Tag::FootnoteDefinition(name)) => {
                    let inside = &events[i + 1..skip_to_end(events, i)];
                    definitions.entry(name.clone()).or_default().push(inside.to_vec());
                }
                Event::FootnoteReference(name) => {
                    let index = *by_name.entry(name.clone()).or_insert_with(|| {
                        found.used.push(Footnote { name: name.clone(), times: 0, definitions: Vec::new() });
                        found.used.len() - 1
                    });
                    found.used[index].times += 1;
                    found.references.insert(range.start, (index + 1, found.used[index].times));
                }
                _ => {}
            }
        }
        for note in &mut found.used {
            note.definitions = definitions.remove(&note.name).unwrap_or_default();
        }
        found
    }
}

impl<'a> Writer<'_, 'a> {
    pub(super) fn footnote_reference(&mut self, name: &CowStr<'a>, range: &Range<usize>) {
        let Some(&(number, times)) = self.footnotes.references.get(&range.start) else { return };
        let mut html = String::from("<sup class=\"footnote-reference\" id=\"fr-");
        escape(&mut html, name);
        let _ = write!(html, "-{times}\"><a href=\"#fn-");
        escape(&mut html, name);
        let _ = write!(html, "\">[{number}]</a></sup>");
        self.result.anchors.push(format!("fr-{name}-{times}"));
        self.out.push(Event::InlineHtml(html.into()));
    }

    pub(super) fn write_footnotes(&mut self) {
        let mut items: Vec<Event<'a>> = Vec::new();
        let used = std::mem::take(&mut self.footnotes.used);
        let notes = used.iter().flat_map(|note| note.definitions.iter().map(move |inside| (note, inside)));
        for (Footnote { name, times, .. }, definition) in notes {
            let mut inside = self.walked(definition, &[]);
            let mut back = String::new();
            for n in 1..=*times {
                back.push_str(" <a href=\"#fr-");
                escape(&mut back, name);
                let _ = write!(back, "-{n}\">↩");
                if n > 1 {
                    let _ = write!(back, "{n}");
                }
                back.push_str("</a>");
            }
            // In the note's last paragraph, or else below all of it.
            let paragraph = inside.iter().rposition(|event| *event == Event::End(TagEnd::Paragraph));
            inside.insert(paragraph.unwrap_or(inside.len()), Event::InlineHtml(back.into()));
            self.result.anchors.push(format!("fn-{name}"));
            let mut open = String::from("<li id=\"fn-");
            escape(&mut open, name);
            open.push_str("\">\n");
            items.push(Event::Html(open.into()));
            items.extend(inside);
            items.push(Event::Html("</li>\n".into()));
        }
        if items.is_empty() {
            return;
        }
        self.out.push(Event::Html("<section class=\"footnotes\">\n<ol class=\"footnotes-list\">\n".into()));
        self.out.extend(items);
        self.out.push(Event::Html("</ol>\n</section>\n".into()));
    }
}
