//! Grammars: which text of a language gets which colour, and where other languages lie within it.
//!
//! A grammar's two queries, for colours and for languages within, are run as one: each run walks the whole tree. Colours are
//! numbers until they are written, and patterns that colour nothing are off.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;

use arborium::tree_sitter::{CaptureQuantifier, Language, Parser, Query, QueryCursor, StreamingIterator};
use arborium_theme::tag_for_capture;

/// How deeply languages are followed into one another.
const DEPTH_MAX: usize = 3;

thread_local! {
    static WORK: RefCell<(Parser, QueryCursor)> = RefCell::new((Parser::new(), QueryCursor::new()));
}

/// A stretch of text that a pattern colours. Stretches may lie in one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Of several for the same stretch, the last pattern counts.
    pub(super) pattern: usize,
    /// As themes name the colour.
    pub(super) tag: &'static str,
}

/// A language that can be coloured.
#[derive(Debug)]
pub(super) struct Grammar {
    language: Language,
    query: Query,
    /// The tag of each capture.
    tags: Vec<Option<&'static str>>,
    /// Patterns up to here colour; those from here say where other languages lie.
    colours: usize,
    /// The captures of another language's text, and of its name.
    inner: Option<u32>,
    named: Option<u32>,
}

impl Grammar {
    fn new(name: &str, language: Language, colours: &str, inner: &str) -> Option<Self> {
        let query = Query::new(&language, &format!("{colours}\n{inner}"));
        let mut query = match query {
            Ok(query) => query,
            Err(error) => {
                tracing::warn!(language = name, %error, "a grammar cannot be used; its code is shown without colours");
                return None;
            }
        };
        let is_colour = |name: &str| !name.starts_with('_') && !name.starts_with("injection.");
        let tags: Vec<_> = query
            .capture_names()
            .iter()
            .map(|name| is_colour(name).then(|| tag_for_capture(name)).flatten())
            .collect();
        let patterns = query.pattern_count();
        let count =
            (0..patterns).find(|i| query.start_byte_for_pattern(*i) > colours.len()).unwrap_or(patterns);
        for pattern in 0..count {
            let captures = query.capture_quantifiers(pattern);
            let colours_nothing = !captures
                .iter()
                .zip(&tags)
                .any(|(often, tag)| tag.is_some() && *often != CaptureQuantifier::Zero);
            if colours_nothing {
                query.disable_pattern(pattern);
            }
        }
        let capture = |name: &str| query.capture_index_for_name(name);
        let (inner, named) = (capture("injection.content"), capture("injection.language"));
        Some(Self { language, tags, colours: count, inner, named, query })
    }

    /// The language that lies where a pattern of this grammar matched.
    fn within(&self, pattern: usize) -> Option<&str> {
        let settings = self.query.property_settings(pattern);
        settings.iter().rev().find(|set| &*set.key == "injection.language")?.value.as_deref()
    }

    /// What is coloured in a text, in no order, with the languages that lie in it.
    pub(super) fn marks(&self, text: &str) -> Vec<Mark> {
        let mut marks = Vec::with_capacity(text.len() / 4);
        WORK.with_borrow_mut(|(parser, cursor)| self.read(text, 0, DEPTH_MAX, parser, cursor, &mut marks));
        marks
    }

    fn read(
        &self,
        text: &str,
        offset: usize,
        depth: usize,
        parser: &mut Parser,
        cursor: &mut QueryCursor,
        marks: &mut Vec<Mark>,
    ) {
        let is_set = parser.set_language(&self.language).is_ok();
        let Some(tree) = is_set.then(|| parser.parse(text, None)).flatten() else { return };
        let mut others: Vec<(Range<usize>, &'static Grammar)> = Vec::new();
        let mut matches = cursor.matches(&self.query, tree.root_node(), text.as_bytes());
        while let Some(found) = matches.next() {
            if found.pattern_index < self.colours {
                marks.extend(found.captures.iter().filter_map(|capture| {
                    let tag = self.tags[capture.index as usize]?;
                    let (start, end) = (capture.node.start_byte(), capture.node.end_byte());
                    let is_text = start < end && text.is_char_boundary(start) && text.is_char_boundary(end);
                    is_text.then_some(Mark {
                        start: offset + start,
                        end: offset + end,
                        pattern: found.pattern_index,
                        tag,
                    })
                }));
            } else if depth > 0 {
                let node = |index: Option<u32>| {
                    found
                        .captures
                        .iter()
                        .rev()
                        .find(|capture| Some(capture.index) == index)
                        .map(|capture| capture.node)
                };
                let named = || node(self.named).and_then(|node| text.get(node.byte_range()));
                let language = self.within(found.pattern_index).or_else(named).and_then(grammar);
                if let (Some(node), Some(grammar)) = (node(self.inner), language) {
                    others.push((node.byte_range(), grammar));
                }
            }
        }
        drop(matches);
        for (range, grammar) in others {
            if let Some(inner) = text.get(range.clone()).filter(|inner| !inner.is_empty()) {
                grammar.read(inner, offset + range.start, depth - 1, parser, cursor, marks);
            }
        }
    }
}

macro_rules! languages {
    ($($($name:literal)|+ => $module:ident,)+) => {
        /// The grammar of a language, by its name or by one that people use for it, in small letters. Made when it is first
        /// asked for.
        pub(super) fn grammar(language: &str) -> Option<&'static Grammar> {
            match language {
                $($($name)|+ => {
                    static GRAMMAR: LazyLock<Option<Grammar>> = LazyLock::new(|| {
                        let language = arborium::$module::language().into();
                        let colours: &str = &arborium::$module::HIGHLIGHTS_QUERY;
                        Grammar::new(stringify!($module), language, colours, arborium::$module::INJECTIONS_QUERY)
                    });
                    GRAMMAR.as_ref()
                })+
                _ => None,
            }
        }

        #[cfg(test)]
        const NAMES: &[&[&str]] = &[$(&[$($name),+]),+];
    };
}

languages! {
    "asm" | "assembly" => lang_asm,
    "bash" | "sh" | "shell" | "shellscript" => lang_bash,
    "batch" | "bat" | "cmd" => lang_batch,
    "c" | "h" => lang_c,
    "c-sharp" | "cs" | "csharp" => lang_c_sharp,
    "clojure" | "clj" => lang_clojure,
    "cmake" => lang_cmake,
    "cpp" | "c++" | "cxx" | "hpp" => lang_cpp,
    "css" => lang_css,
    "dart" => lang_dart,
    "diff" | "patch" => lang_diff,
    "dockerfile" | "docker" => lang_dockerfile,
    "elixir" | "ex" | "exs" => lang_elixir,
    "erlang" | "erl" => lang_erlang,
    "fish" => lang_fish,
    "go" | "golang" => lang_go,
    "graphql" | "gql" => lang_graphql,
    "haskell" | "hs" => lang_haskell,
    "hcl" | "terraform" | "tf" => lang_hcl,
    "html" | "htm" => lang_html,
    "ini" | "cfg" | "conf" => lang_ini,
    "java" => lang_java,
    "javascript" | "cjs" | "js" | "jsx" | "mjs" => lang_javascript,
    "jinja2" | "j2" | "jinja" => lang_jinja2,
    "json" | "jsonc" => lang_json,
    "just" | "justfile" => lang_just,
    "kdl" => lang_kdl,
    "kotlin" | "kt" | "kts" => lang_kotlin,
    "lua" => lang_lua,
    "make" | "makefile" => lang_make,
    "markdown" | "md" | "mdx" => lang_markdown,
    "nix" => lang_nix,
    "php" => lang_php,
    "powershell" | "ps1" | "pwsh" => lang_powershell,
    "proto" | "protobuf" => lang_proto,
    "python" | "py" | "py3" | "python3" => lang_python,
    "r" | "rlang" => lang_r,
    "regex" => lang_regex,
    "ron" => lang_ron,
    "ruby" | "rb" => lang_ruby,
    "rust" | "rs" => lang_rust,
    "scss" | "sass" => lang_scss,
    "sql" | "mysql" | "postgres" | "postgresql" | "sqlite" => lang_sql,
    "svelte" => lang_svelte,
    "swift" => lang_swift,
    "toml" => lang_toml,
    "tsx" => lang_tsx,
    "typescript" | "cts" | "mts" | "ts" => lang_typescript,
    "vue" => lang_vue,
    "xml" | "svg" | "xsl" | "xslt" => lang_xml,
    "yaml" | "yml" => lang_yaml,
    "zig" => lang_zig,
    "zsh" => lang_zsh,
}

#[cfg(test)]
mod tests {
    use super::super::Token;
    use super::*;

    fn texts<'t>(language: &str, text: &'t str) -> Vec<(&'t str, &'static str)> {
        let mut marks = grammar(language).unwrap().marks(text);
        marks.sort();
        marks.iter().map(|mark| (&text[mark.start..mark.end], mark.tag)).collect()
    }

    #[test]
    fn every_grammar_can_be_used() {
        for name in NAMES.iter().copied().flatten() {
            let grammar = grammar(name).unwrap_or_else(|| panic!("{name}"));
            for tag in grammar.tags.iter().copied().flatten() {
                assert!(
                    Token::pack(&[Token { start: 0, end: 1, tag }]).is_some(),
                    "{name}: `{tag}` is not kept"
                );
            }
        }
        assert!(grammar("klingon").is_none());
    }

    #[test]
    fn every_language_is_documented() {
        let names =
            |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let documented = include_str!("../../../content/write/markdown.md");
        for language in NAMES {
            let mut said = names(&language[..1]);
            if language.len() > 1 {
                said = format!("{said} ({})", names(&language[1..]));
            }
            assert!(documented.contains(&said), "{said}");
        }
    }

    #[test]
    fn languages_are_coloured_where_they_lie_in_another() {
        let page = "<p>ü</p>\n<script>const x = /a+/;</script>\n<style>p { color: red }</style>\n";
        let marks = texts("html", page);
        assert!(marks.contains(&("const", "k")), "{marks:?}");
        assert!(marks.iter().any(|(text, _)| *text == "color"), "{marks:?}");
        let marks = texts("markdown", "# Bread\n\n```rust\nfn knead() {}\n```\n");
        assert!(marks.contains(&("fn", "k")), "{marks:?}");
    }
}
