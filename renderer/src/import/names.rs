//! What is known of a site while its templates are converted.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{self, Arguments, Token};
use super::template;
use super::variables::Variables;
use crate::templates::pieces::Piece;

/// What is known of a site while its templates are converted.
#[derive(Default)]
pub(super) struct Names {
    /// The name space of each file of macros, by its template name.
    pub(super) spaces: BTreeMap<String, String>,
    /// What other templates import name spaces as: who extends one of these, or is included, need not import.
    pub(super) aliases: BTreeMap<String, String>,
    /// The parameters of each macro, by the name of its component: what else it was given was passed over.
    pub(super) takes: BTreeMap<String, BTreeSet<String>>,
    /// All templates.
    pub(super) files: BTreeSet<String>,
    /// What templates extend, and the blocks that they have.
    pub(super) frames: BTreeMap<String, Frame>,
    /// What macros and shortcodes are given.
    pub(super) given: Given,
    /// The shortcodes that content calls.
    pub(super) called: BTreeSet<String>,
    /// By a file of macros, what these read that a shortcode which imports it is given: they saw it.
    pub(super) lent: BTreeMap<String, BTreeSet<String>>,
    /// What each template reads, includes and imports: an included one sees what the macro or the shortcode is given that
    /// includes it.
    pub(super) includes: BTreeMap<String, Reads>,
    /// The templates that are shown in content, too, as parts of shortcodes.
    pub(super) shown_in_content: BTreeSet<String>,
    /// The components of macros that read the body of the shortcode that calls them.
    pub(super) with_body: BTreeSet<String>,
    /// The languages, where there are several.
    pub(super) languages: Option<Languages>,
}

/// The languages of a site.
pub(super) struct Languages {
    /// The default one.
    pub(super) own: String,
    pub(super) others: Vec<String>,
}

/// The kinds of values that the parameters of each macro and shortcode are given: a component takes no others than that
/// of a parameter's default.
#[derive(Default)]
pub(super) struct Given(BTreeMap<(String, String), BTreeSet<Option<Kind>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Integer,
    Float,
    Truth,
    List,
}

impl Kind {
    /// That of a literal.
    fn of(value: &[Token]) -> Option<Self> {
        match value {
            [Token::Text(_)] => Some(Self::Text),
            [Token::Number(number)] => Some(if number.contains('.') { Self::Float } else { Self::Integer }),
            [Token::Mark(minus), number @ Token::Number(_)] if minus == "-" => {
                Self::of(std::slice::from_ref(number))
            }
            [Token::Word(word)] if matches!(word.to_lowercase().as_str(), "true" | "false") => {
                Some(Self::Truth)
            }
            [Token::Mark(open), .., Token::Mark(close)] if open == "[" && close == "]" => Some(Self::List),
            _ => None,
        }
    }
}

impl Given {
    pub(super) fn add(&mut self, name: &str, arguments: &Arguments) {
        for (parameter, value) in arguments {
            let parameter = parameter.clone().unwrap_or_else(|| expression::write(value));
            self.0.entry((name.to_owned(), parameter)).or_default().insert(Kind::of(value));
        }
    }

    /// Whether a parameter is only ever given texts, or only what is no text; none where that is not known.
    pub(super) fn is_text(&self, name: &str, parameter: &str) -> Option<bool> {
        let given = self.0.get(&(name.to_owned(), parameter.to_owned()))?;
        let mut are_texts = given.iter().map(|kind| kind.map(|kind| kind == Kind::Text));
        let first = are_texts.next()??;
        are_texts.all(|is_text| is_text == Some(first)).then_some(first)
    }

    /// Whether a call of that name gives a parameter.
    pub(super) fn has(&self, name: &str, parameter: &str) -> bool {
        self.0.contains_key(&(name.to_owned(), parameter.to_owned()))
    }

    /// Whether a parameter is only ever given what is like its default.
    pub(super) fn is_like(&self, name: &str, parameter: &str, default: &[Token]) -> bool {
        let kind = Kind::of(default);
        let given = self.0.get(&(name.to_owned(), parameter.to_owned()));
        kind.is_some() && given.is_none_or(|given| given.iter().all(|given| *given == kind))
    }
}

/// What a template extends, and the blocks that it has.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) parent: Option<String>,
    pub(super) blocks: BTreeSet<String>,
}

impl Frame {
    /// Adds what a template of that name says of itself; there may be one of the site and one of the theme.
    pub(super) fn read(&mut self, pieces: &[Piece<'_>]) {
        for piece in pieces {
            let Piece::Tag(tag, ..) = piece else { continue };
            match tag.trim().split_once(char::is_whitespace) {
                Some(("extends", name)) => {
                    self.parent = Some(name.trim().trim_matches(['"', '\'', '`']).to_owned());
                }
                Some(("block", name)) => drop(self.blocks.insert(name.trim().to_owned())),
                _ => {}
            }
        }
    }
}

/// What a template reads that it does not set, what it includes, and whose macros it imports.
#[derive(Default)]
pub(super) struct Reads {
    variables: BTreeSet<String>,
    includes: BTreeSet<String>,
    imports: BTreeSet<String>,
}

impl Reads {
    pub(super) fn read(&mut self, pieces: &[Piece<'_>]) {
        self.variables.extend(Variables::of(pieces, BTreeSet::new()).free.into_keys());
        self.includes.extend(included(pieces));
        let tags = pieces.iter().filter_map(Piece::tag);
        self.imports.extend(tags.filter_map(template::import_of).map(|(file, _)| file));
    }
}

/// The names of the templates that one includes, or may include.
fn included(pieces: &[Piece<'_>]) -> impl Iterator<Item = String> {
    let tags = pieces.iter().filter_map(|piece| piece.tag()?.trim().strip_prefix("include "));
    let texts = tags.flat_map(|rest| {
        expression::read(rest).into_iter().filter_map(|token| match token {
            Token::Text(name) => Some(name.trim_matches(['"', '\'', '`']).to_owned()),
            _ => None,
        })
    });
    texts.collect::<Vec<_>>().into_iter()
}

/// The templates that shortcodes of HTML include, or whose macros they call, and those that these do: content escapes
/// nothing, and these were escaped as the shortcode was.
pub(super) fn shown_in_content(reads: &BTreeMap<String, Reads>) -> BTreeSet<String> {
    let is_shortcode = |name: &&String| name.starts_with("shortcodes/") && !name.ends_with(".md");
    let mut found = BTreeSet::new();
    let mut next: Vec<&String> = reads.keys().filter(is_shortcode).collect();
    while let Some(read) = next.pop().and_then(|name| reads.get(name)) {
        let others = read.includes.iter().chain(&read.imports);
        next.extend(others.filter(|name| reads.contains_key(*name) && found.insert((*name).clone())));
    }
    found
}

impl Names {
    /// What the templates read that a part of one includes, and those that these include.
    pub(super) fn read_by_includes(&self, pieces: &[Piece<'_>]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut next: Vec<String> = included(pieces).collect();
        while let Some(name) = next.pop() {
            if let Some(reads) = self.includes.get(&name).filter(|_| seen.insert(name.clone())) {
                found.extend(reads.variables.iter().cloned());
                next.extend(reads.includes.iter().cloned());
            }
        }
        found
    }

    /// Whether a block of a template that extends another is shown nowhere, since nothing that it extends has it. In doubt
    /// it is shown.
    pub(super) fn is_lost(&self, frame: &Frame, block: &str) -> bool {
        let mut parent = frame.parent.as_ref();
        let mut steps = 0;
        while let Some(name) = parent {
            let Some(above) = self.frames.get(name).filter(|_| steps < self.frames.len()) else {
                return false;
            };
            if above.blocks.contains(block) {
                return false;
            }
            parent = above.parent.as_ref();
            steps += 1;
        }
        frame.parent.is_some()
    }
}
