//! Formulas in a text, and references to them.

use std::ops::Range;

use pulldown_cmark::Event;

use super::{Problem, Spanned, Writer};
use crate::math::{self, Reference};

/// As much of a formula as a message shows, in bytes.
const FORMULA_SHOWN_BYTES_MAX: usize = 60;

impl<'a> Writer<'_, 'a> {
    pub(super) fn missed_formulas(&mut self, events: &[Spanned<'a>]) {
        for at in math::missed(self.text, events) {
            let shown = self.text[at..].lines().next().unwrap_or_default();
            let why = "no dollar in its paragraph ends it, or its braces do not match";
            self.wrong_formula(at, shown, why);
        }
    }

    fn wrong_formula(&mut self, at: usize, tex: &str, why: &str) {
        let shown = tex.trim().lines().next().unwrap_or_default();
        let shown = &shown[..shown.floor_char_boundary(FORMULA_SHOWN_BYTES_MAX)];
        self.result.problems.push(Problem {
            at,
            message: format!("the formula `{shown}` cannot be shown: {why}"),
            broken: None,
            hint: Some("a dollar sign that is no formula's is written `\\$`"),
        });
    }

    pub(super) fn formula(&mut self, tex: &str, is_block: bool, range: &Range<usize>) {
        match self.formulas.html(tex, is_block) {
            Ok(html) => {
                // A label in it is an id.
                self.collect_ids(&html);
                self.out.push(Event::InlineHtml(html.into()));
            }
            Err(wrong) => {
                // In a quote, lines of the text begin with what is no part of the formula.
                let dollars = if is_block { 2 } else { 1 };
                let is_whole =
                    self.text.get(range.start + dollars..).is_some_and(|text| text.starts_with(tex));
                let at = range.start + if is_whole { dollars + wrong.at } else { 0 };
                self.wrong_formula(at, tex, &wrong.message);
            }
        }
    }

    /// References to equations that stand further down: their numbers, now that all are known.
    pub(super) fn fill_references(&mut self) {
        for reference in self.formulas.references() {
            match reference {
                Reference::Met { early, late } => {
                    self.result.body = self.result.body.replace(&early, &late);
                    if let Some(summary) = &mut self.result.summary {
                        *summary = summary.replace(&early, &late);
                    }
                }
                Reference::Unknown(label) => {
                    let written = format!("\\eqref{{{label}}}");
                    self.result.problems.push(Problem {
                        at: self.text.find(&written).or_else(|| self.text.find("\\eqref")).unwrap_or(0),
                        message: format!("`{written}` refers to an equation that the page does not have"),
                        broken: None,
                        hint: Some("an equation gets its label by `\\label{…}` in it"),
                    });
                }
            }
        }
    }
}
