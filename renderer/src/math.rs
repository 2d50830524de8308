//! Formulas in TeX as MathML, which browsers show without a script or a font.
//!
//! A formula may come from anyone: its length and its nesting are bounded, and what the converter writes is looked at
//! before it goes into a page.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use math_core::{LatexToMathML, MathCoreConfig, MathDisplay};
use pulldown_cmark::{Event as Markdown, Tag, TagEnd};
use quick_xml::events::{BytesStart, Event};

use crate::diagnostic::nearest;
use crate::highlight::escape;

/// The longest formula, in bytes. A page of matrices has a tenth of it.
const FORMULA_BYTES_MAX: usize = 10_000;

/// How deep groups may nest in each other. Browsers lose count at some hundreds of elements.
const NESTING_MAX: usize = 100;

/// Commands and groups of a formula that is converted where it is met, on whatever stack is left there. The converter
/// calls itself for each that is within another, and takes less than 2 KiB then.
const STEPS_HERE_MAX: usize = 100;

/// The stack for all other formulas, in bytes: more than thrice what the longest could take.
const STACK_BYTES: usize = 32 << 20;

/// How the HTML of a formula begins; a value and the rest of the tag follow.
const BEGINNING: &str = "<math alttext=\"";

/// The elements that a formula may become.
const ELEMENTS: [&str; 36] = [
    "a",
    "b",
    "code",
    "em",
    "i",
    "math",
    "menclose",
    "merror",
    "mfrac",
    "mi",
    "mmultiscripts",
    "mn",
    "mo",
    "mover",
    "mpadded",
    "mphantom",
    "mprescripts",
    "mroot",
    "mrow",
    "ms",
    "mspace",
    "msqrt",
    "mstyle",
    "msub",
    "msubsup",
    "msup",
    "mtable",
    "mtd",
    "mtext",
    "mtr",
    "munder",
    "munderover",
    "none",
    "s",
    "span",
    "u",
];

/// What is wrong with a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Where in the formula, in bytes.
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// Commands that are known, by which one that is misspelt gets the nearest.
const COMMANDS: &str = "alpha approx arccos arcsin arctan arg bar begin beta big binom bmod boldsymbol bullet cap cdot \
    cdots chi circ cos cosh cot coth csc cup ddots deg delta Delta det dfrac dim displaystyle div dot dots ell emptyset end \
    epsilon equiv eta exists exp forall frac gamma Gamma gcd ge geq gg hat hbar hom iff iint imath implies in inf infty int \
    iota jmath kappa ker label lambda Lambda land langle lceil ldots le left leftarrow leq lfloor lim liminf limsup ll ln log \
    lor mapsto mathbb mathbf mathcal mathfrak mathit mathop mathrm mathscr mathsf max mid min mp mu nabla ne neg neq ni \
    notin nu oint omega Omega operatorname oplus otimes overbrace overline overset partial perp phi Phi pi Pi pm pmod prod \
    propto psi Psi qquad quad rangle rceil rfloor rho right rightarrow sec setminus sigma Sigma sim simeq sin sinh sqrt star \
    subset subseteq sum sup supset supseteq tan tanh tau text tfrac theta Theta tilde times to underbrace underline \
    underset uparrow upsilon varepsilon varphi vdots vec vee wedge widehat xi Xi zeta";

/// Commands that define others.
const DEFINITIONS: [&str; 5] = ["newcommand", "renewcommand", "providecommand", "def", "DeclareMathOperator"];

/// What the converter says, with the nearest name of a command that it does not know.
fn in_words(said: &str) -> String {
    let unknown = said.strip_prefix("Unknown command \"\\").and_then(|rest| rest.strip_suffix('"'));
    let Some(name) = unknown else { return said.to_owned() };
    if DEFINITIONS.contains(&name) {
        return format!("definitions of commands, as by `\\{name}`, are not read");
    }
    let near = nearest(name, COMMANDS.split(' ')).map(|near| format!(", did you mean `\\{near}`?"));
    format!("unknown command `\\{name}`{}", near.unwrap_or_default())
}

/// How the converter writes a reference to a label that it has not met, and its end; the label is between them.
const UNMET: (&str, &str) = ("<mtext><a href=\"#", "\">(??)</a></mtext>");

/// The formulas of one page: equations are counted through it, and references lead to labels in it.
#[derive(Default)]
pub(crate) struct Formulas {
    converter: Option<LatexToMathML>,
    /// Labels that were referred to before they came, as addresses have them.
    unmet: BTreeSet<String>,
}

impl Formulas {
    /// Converts a formula. Its source is kept in the attribute `alttext`, for those who cannot see it and for searches.
    ///
    /// # Errors
    /// What the converter does not understand, and what exceeds a bound.
    pub(crate) fn html(&mut self, tex: &str, is_block: bool) -> Result<String, Wrong> {
        let wrong = |at: usize, message: String| Wrong { at, message };
        if tex.len() > FORMULA_BYTES_MAX {
            let message = format!("it has {} bytes, the limit is {FORMULA_BYTES_MAX}", tex.len());
            return Err(wrong(0, message));
        }
        if let Some(at) = too_deep(tex) {
            return Err(wrong(at, format!("its groups nest deeper than {NESTING_MAX}")));
        }
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let made = LatexToMathML::new(MathCoreConfig::default());
                none.insert(made.map_err(|_| wrong(0, "the converter cannot be set up".to_owned()))?)
            }
        };
        let display = if is_block { MathDisplay::Block } else { MathDisplay::Inline };
        let mut convert = || {
            // A mistake of the converter is an error of one page, not the end of a renderer.
            match catch_unwind(AssertUnwindSafe(|| converter.convert_with_global_state(tex, display))) {
                Ok(Ok(made)) => Ok(made.mathml),
                Ok(Err(e)) => {
                    let said = e.error_message();
                    Err(wrong(tex.floor_char_boundary(e.0.start), in_words(said.trim_end_matches('.'))))
                }
                Err(_) => Err(wrong(0, "the converter failed".to_owned())),
            }
        };
        let made = if steps(tex) <= STEPS_HERE_MAX {
            convert()?
        } else {
            thread::scope(|scope| {
                let begun = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, convert);
                let failed = |why: &str| wrong(0, format!("a thread for it failed: {why}"));
                begun.map_err(|e| failed(&e.to_string()))?.join().map_err(|_| failed("it ended early"))?
            })?
        };
        if !is_mathml(&made) {
            let message = "it becomes more than MathML: names of operators have no `<`, `>` and `&`";
            return Err(wrong(0, message.to_owned()));
        }
        if tex.contains("\\eqref") {
            let labels = made.split(UNMET.0).skip(1).filter_map(|rest| Some(rest.split_once(UNMET.1)?.0));
            self.unmet.extend(labels.filter(|label| !label.contains('"')).map(str::to_owned));
        }
        let rest = made.strip_prefix("<math").unwrap_or_default();
        let mut html = String::with_capacity(made.len() + tex.len() + 16);
        html.push_str(BEGINNING);
        escape(&mut html, tex.trim());
        html.push('"');
        html.push_str(rest);
        Ok(html)
    }

    /// What became of the references to labels that had not come when they were written, now that all formulas are known.
    pub(crate) fn references(&mut self) -> Vec<Reference> {
        let unmet = std::mem::take(&mut self.unmet);
        let references = unmet.into_iter().filter_map(|label| {
            let name = percent_encoding::percent_decode_str(&label).decode_utf8().ok()?.into_owned();
            let html = self.html(&format!("\\eqref{{{name}}}"), false).ok()?;
            let found = &html[html.find(UNMET.0)?..];
            let end = "</mtext>";
            let late = found[..found.find(end)? + end.len()].to_owned();
            let early = format!("{}{label}{}", UNMET.0, UNMET.1);
            Some(if late == early { Reference::Unknown(name) } else { Reference::Met { early, late } })
        });
        let references = references.collect();
        self.unmet.clear();
        references
    }
}

/// A reference to a label that had not come when the reference was written.
#[derive(Debug)]
pub(crate) enum Reference {
    /// How it was written, and how it is written now.
    Met { early: String, late: String },
    /// No equation of the page has the label.
    Unknown(String),
}

/// Where formulas begin that markdown took for text, in bytes, since no dollar ends them or their braces do not match; at
/// most one for each block. Single dollars may be money: of these only two with braces between them count.
pub(crate) fn missed(text: &str, events: &[(Markdown<'_>, Range<usize>)]) -> Vec<usize> {
    let mut missed = Vec::new();
    // The last dollar of this block, and whether one of its formulas is among the missed.
    let (mut before, mut is_known) = (None, false);
    let mut code = false;
    for (event, range) in events {
        match event {
            Markdown::Text(_) if !code && !is_known => {
                for at in dollars(text, range) {
                    let is_double = text[at..].starts_with("$$");
                    let begins = match before.replace(at) {
                        _ if is_double => Some(at),
                        Some(first) => Some(first).filter(|first| is_unbalanced(&text[first + 1..at])),
                        None => None,
                    };
                    if let Some(begins) = begins {
                        missed.push(begins);
                        is_known = true;
                        break;
                    }
                }
            }
            Markdown::InlineMath(_) | Markdown::DisplayMath(_) => before = None,
            Markdown::Start(tag) if is_block(&tag.to_end()) => {
                (before, is_known) = (None, false);
                code = matches!(tag, Tag::CodeBlock(_));
            }
            Markdown::End(tag) if is_block(tag) => (before, is_known, code) = (None, false, false),
            _ => {}
        }
    }
    missed
}

/// The dollars in a part of a text that no backslash takes their meaning from.
fn dollars(text: &str, range: &Range<usize>) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let all = memchr::memchr_iter(b'$', bytes.get(range.clone()).unwrap_or_default());
    all.map(|at| range.start + at).filter(|at| {
        let backslashes = bytes[..*at].iter().rev().take_while(|byte| **byte == b'\\').count();
        backslashes % 2 == 0
    })
}

/// Whether what is between two dollars would be a formula, but for its braces.
fn is_unbalanced(tex: &str) -> bool {
    let mut depth = 0_i64;
    let mut is_escaped = false;
    for byte in tex.bytes() {
        match byte {
            _ if is_escaped => {}
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    depth != 0 && !tex.starts_with(char::is_whitespace) && !tex.ends_with(char::is_whitespace)
}

/// Whether an element holds blocks, or ends the text before it.
fn is_block(tag: &TagEnd) -> bool {
    use TagEnd::{Emphasis, Image, Link, Strikethrough, Strong, Subscript, Superscript};
    !matches!(tag, Emphasis | Image | Link | Strikethrough | Strong | Subscript | Superscript)
}

/// The source of the formula that HTML begins with, its special characters escaped, and what follows the formula.
pub(crate) fn source(html: &str) -> Option<(&str, &str)> {
    let (source, rest) = html.strip_prefix(BEGINNING)?.split_once('"')?;
    let end = "</math>";
    Some((source, rest.find(end).map_or("", |at| &rest[at + end.len()..])))
}

/// What was escaped in the source of a formula.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// Where groups begin to nest too deep.
fn too_deep(tex: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, byte) in tex.bytes().enumerate() {
        match byte {
            _ if is_escaped => {}
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
        if depth > NESTING_MAX {
            return Some(at);
        }
    }
    None
}

/// How many commands and groups there are: none of them is within more others.
fn steps(tex: &str) -> usize {
    tex.bytes().filter(|byte| matches!(byte, b'\\' | b'{' | b'[' | b'(' | b'^' | b'_' | b'\'')).count()
}

/// Whether what the converter wrote is one element of MathML, and everything in it is.
fn is_mathml(html: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(html);
    let is_known = |start: &BytesStart<'_>| {
        ELEMENTS.contains(&start.name().as_ref())
            && start.attributes().all(|a| a.is_ok_and(|a| !a.key.as_ref().starts_with("on")))
    };
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) if is_known(&start) => {
                roots += usize::from(depth == 0);
                depth += 1;
            }
            Ok(Event::Empty(start)) if depth > 0 && is_known(&start) => {}
            // The reader holds that each end has its start.
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Text(_) | Event::GeneralRef(_)) => {}
            Ok(Event::Eof) => return depth == 0 && roots == 1,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inline(tex: &str) -> Result<String, Wrong> {
        Formulas::default().html(tex, false)
    }

    #[test]
    fn formulas_become_mathml() {
        insta::assert_snapshot!(inline("e^{i\\pi} < \"1\"").unwrap(), @r#"<math alttext="e^{i\pi} &lt; &quot;1&quot;"><msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup><mo>&lt;</mo><mi>”</mi><mn>1</mn><mi>”</mi></math>"#);
        insta::assert_snapshot!(Formulas::default().html("\\frac{a}{b}", true).unwrap(), @r#"<math alttext="\frac{a}{b}" display="block"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>"#);
    }

    #[test]
    fn equations_are_counted_through_a_page() {
        let mut page = Formulas::default();
        let equation = "\\begin{equation} x \\end{equation}";
        assert!(page.html(equation, true).unwrap().contains("(1)"));
        assert!(page.html(equation, true).unwrap().contains("(2)"));
    }

    #[test]
    fn references_lead_to_labels_further_down() {
        let mut page = Formulas::default();
        let early = page.html("\\eqref{eq:a-b} and \\eqref{none}", false).unwrap();
        assert_eq!(early.matches("(??)").count(), 2, "{early}");
        page.html("\\begin{equation} y \\end{equation}", true).unwrap();
        page.html("\\begin{equation} x \\label{eq:a-b} \\end{equation}", true).unwrap();
        let references = page.references();
        let [Reference::Met { early: before, late: after }, Reference::Unknown(label)] = &references[..]
        else {
            panic!("{references:?}");
        };
        let late = early.replace(before, after);
        assert!(late.contains(">(2)</a>") && late.matches("(??)").count() == 1, "{late}");
        assert_eq!(label, "none");
        assert!(page.references().is_empty());
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let wrong = inline("x + \\foo").unwrap_err();
        assert_eq!(wrong.at, 4);
        assert!(wrong.message.starts_with("unknown command `\\foo`"), "{wrong:?}");
        let said = |tex: &str| inline(tex).unwrap_err().message;
        assert_eq!(said("\\frc{1}{2}"), "unknown command `\\frc`, did you mean `\\frac`?");
        assert_eq!(said("\\qqqqqqqx"), "unknown command `\\qqqqqqqx`");
        assert!(said("\\newcommand{\\R}{x}").contains("are not read"));
        // What is proposed is known.
        let is_unknown = |name: &&str| {
            inline(&format!("\\{name}")).is_err_and(|wrong| wrong.message.starts_with("unknown command"))
        };
        assert_eq!(COMMANDS.split(' ').filter(is_unknown).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(inline("ä {").unwrap_err().at, 4);
        for tex in [
            "\\operatorname{</math><script>}",
            "\\operatorname{<b onclick=\"x\">x</b>}",
            "\\operatorname{a<b}",
        ] {
            assert!(inline(tex).unwrap_err().message.contains("more than MathML"), "{tex}");
        }
    }

    #[test]
    fn what_markdown_takes_for_text_is_found() {
        let missed = |text: &str| {
            let parser = pulldown_cmark::Parser::new_ext(text, pulldown_cmark::Options::ENABLE_MATH);
            super::missed(text, &parser.into_offset_iter().collect::<Vec<_>>())
        };
        assert_eq!(missed("a $x_{1$ b\n\n$$ \\frac{1}{2 $$\n\n> $$ x"), [2, 12, 32]);
        assert_eq!(missed("*a* $x_{1 *b* c$ and $$"), [4]);
        for text in [
            "$5 and $6",
            "\\$x_{1$",
            "`$x_{1$`",
            "    $$ x_{1\n",
            "```sh\n$$ {\n```",
            "$x_{1}$ {",
            "$5 {\n\nb$",
            "${HOME $ x",
            "[a]($x_{1) b$",
        ] {
            assert_eq!(missed(text), [0; 0], "{text}");
        }
    }

    #[test]
    fn the_source_is_found_again() {
        let html = inline("a < \"b\" \\& c").unwrap();
        let (source, rest) = source(&html).unwrap();
        assert_eq!((unescape(source).as_str(), rest), ("a < \"b\" \\& c", ""));
    }

    #[test]
    fn no_formula_exhausts_the_stack() {
        assert!(inline(&"{".repeat(100_000)).unwrap_err().message.contains("the limit is 10000"));
        assert_eq!(inline(&"{".repeat(9_000)).unwrap_err().at, NESTING_MAX);
        let nested = |n: usize| format!("{}x{}", "{".repeat(n), "}".repeat(n));
        assert!(inline(&nested(NESTING_MAX)).is_ok());
        assert!(inline(&nested(NESTING_MAX + 1)).is_err());
        for part in [
            "\\sqrt ",
            "\\frac1",
            "\\hat",
            "\\left(",
            "\\begin{matrix}",
            "\\bf ",
            "\\sqrt[3]",
            "x^",
            "\\not",
            "'",
            "\\big(",
            "\\text ",
        ] {
            let _ = inline(&part.repeat(FORMULA_BYTES_MAX / part.len()));
            let _ = inline(&format!("{}x", part.repeat(FORMULA_BYTES_MAX / part.len() - 1)));
        }
        let lefts = format!("{}x{}", "\\left(".repeat(700), "\\right)".repeat(700));
        assert!(inline(&lefts).is_ok());
    }

    proptest! {
        #[test]
        fn any_formula_is_converted_or_explained(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "x", "1", " ", "{", "}", "[", "]", "^", "_", "'", "&", "\\\\", "<", "\\frac", "\\sqrt", "\\left(",
                    "\\right)", "\\begin{matrix}", "\\end{matrix}", "\\begin{align}", "\\end{align}", "\\text{a$b}",
                    "\\operatorname{f}", "\\sum", "\\limits", "\\hat", "\\not", "\\middle|", "\\tag{1}", "\\label{a}",
                    "\\eqref{a}", "\\color{red}", "\\hspace{1em}", "\\bar", "\\over", "ä", "#1", "%", "~", "\\", "\"",
                    "\\displaystyle", "\\mathbb", "\\prescript", "\\array", "\\hline", "\\genfrac", "\\substack",
                ]),
                0..40,
            ),
            block: bool,
        ) {
            match Formulas::default().html(&parts.concat(), block) {
                Ok(html) => prop_assert!(source(&html).is_some_and(|(_, rest)| rest.is_empty())),
                Err(wrong) => prop_assert!(!wrong.message.contains("failed"), "{}", wrong.message),
            }
        }
    }
}
