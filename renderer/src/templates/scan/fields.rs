//! Which fields of pages and sections a template reads, whose, and which it only counts.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{CALLS, references};
use crate::functions;
use crate::templates::pieces::{Piece, pieces};
use crate::templates::{Field, Fields};

/// A look-up by a name that is only known when the template runs.
static DYNAMIC: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"([A-Za-z0-9_]+)\??\[\s*[A-Za-z_(]|\)\??\[\s*[A-Za-z_(]",
        r"|get\([^()]*\bkey\s*=\s*[A-Za-z_(]|attribute\s*=\s*[A-Za-z_(]"
    ))
    .ok()
});

/// All fields of something, handed to a component or put into a map.
static SPREAD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{(?:[^{}%]*,)?\s*\.\.\.\s*[A-Za-z_(]").ok());

fn spreads(text: &str) -> bool {
    SPREAD.as_ref().is_none_or(|re| re.is_match(text))
}

/// A walk over the keys of something that is named as a whole, or of one of many pages; a page or a section that is shown as it is.
static WALK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let one_of_pages = r"[^%}]*\.(?:pages\s*(?:\[[^%}]*\]|\|\s*(?:first|last|nth)\b[^%}]*)|lower|higher)";
    Regex::new(&format!(
        r"\bfor\s+\w+\s*,\s*\w+\s+in\s+(?:\w+\s*[|%-]|get_(?:page|section)\(|{one_of_pages}\s*-?%\}})|\{{\{{-?\s*(?:page|section)\s*(?:\||-?\}}\}})"
    ))
    .ok()
});

/// Whether a text may read fields whose names it does not say.
pub(in crate::templates) fn reads_any(text: &str) -> bool {
    ["__tera_context", "json_encode", "| pairs", "| keys", "| values", "|pairs", "|keys", "|values"]
        .iter()
        .any(|word| text.contains(word))
        || spreads(text)
        || WALK.as_ref().is_none_or(|re| re.is_match(text))
        || DYNAMIC.as_ref().is_none_or(|re| {
            re.captures_iter(text).any(|found| {
                found
                    .get(1)
                    .is_none_or(|base| !matches!(base.as_str(), "extra" | "taxonomies" | "data" | "labels"))
            })
        })
}

/// The fields whose names are somewhere in these texts. Values hold these alone: a list of ten thousand pages of
/// which a title is shown need not carry thirty fields each.
pub(in crate::templates) fn mentioned_fields<'t>(texts: impl Iterator<Item = &'t str>) -> Fields {
    let mut out = Fields::default();
    for text in texts {
        if reads_any(text) {
            return Fields::FRONT;
        }
        // The filter asks where it is.
        if text.contains("markdown") {
            out = out.or(Fields::of(&[Field::Permalink]));
        }
        let named: Vec<Field> =
            Field::ALL.iter().copied().filter(|field| names(text, field.name())).collect();
        out = out.or(Fields::of(&named));
    }
    out.and(Fields::FRONT)
}

/// Whether a text reads `.field`, or has the name in quotes, as filters take it.
pub(super) fn names(text: &str, field: &str) -> bool {
    text.match_indices(field).any(|(i, found)| {
        let before = text[..i].trim_end().chars().next_back();
        let after = text[i + found.len()..].chars().next();
        matches!(before, Some('.' | '"' | '\'' | '`'))
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Where `page` or `section` is given to something else, for all that is included from there.
static REBOUND: LazyLock<Option<[Regex; 2]>> = LazyLock::new(|| {
    let of =
        |name: &str| Regex::new(&format!(r"(?:\bfor\s+|,\s*){name}\s+in\b|\bset(?:_global)?\s+{name}\b"));
    Some([of("page").ok()?, of("section").ok()?])
});

/// Where a component takes an argument of that name, for itself.
static PARAMETER: LazyLock<Option<[Regex; 2]>> = LazyLock::new(|| {
    let of = |name: &str| Regex::new(&format!(r"^\{{%-?\s*component\b(?:[^%]|%[^}}])*[(,]\s*@?{name}\b"));
    Some([of("page").ok()?, of("section").ok()?])
});

/// What of a template is code: HTML says `content`, `title` and `summary` for its own reasons.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len() / 2);
    for piece in pieces(text) {
        if let Piece::Print(..) | Piece::Tag(..) | Piece::Open(_) = piece {
            out.push_str(piece.whole(text));
            out.push('\n');
        }
    }
    out
}

/// The fields of pages and sections that a template may read of others than the one that is rendered.
pub(super) fn fields_of_others(texts: &[&str]) -> Fields {
    if texts.iter().any(|text| text.contains("__tera_context") || text.contains("json_encode")) {
        return Fields::ALL;
    }
    // `page.content` is the page that is rendered, unless the name is bound anew: perhaps in a template that
    // includes this one.
    let finds = |names: &LazyLock<Option<[Regex; 2]>>, i: usize, text: &str| {
        names.as_ref().is_none_or(|names| names[i].is_match(text))
    };
    let everywhere = [0, 1].map(|i| {
        texts.iter().any(|text| {
            finds(&REBOUND, i, text) || (finds(&PARAMETER, i, text) && !references(text).is_empty())
        })
    });
    let mut out = Fields::default();
    for text in texts {
        let text = &code_of(text);
        let [page, section] = [0, 1].map(|i| everywhere[i] || finds(&PARAMETER, i, text));
        if reads_any(text) {
            out = Fields::ALL;
        }
        let reads = |field: &Field| {
            let field = field.name();
            text.match_indices(field).any(|(i, _)| {
                let after = text[i + field.len()..].chars().next();
                if after.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    return false;
                }
                if text[..i].ends_with(['"', '\'', '`']) {
                    return true;
                }
                let before = text[..i].trim_end();
                match before.chars().next_back() {
                    Some('.') => {
                        let owner = before[..before.len() - 1].trim_end().trim_end_matches('?').trim_end();
                        let start = owner
                            .rfind(|c: char| {
                                !(c.is_alphanumeric() || matches!(c, '_' | '.' | '?' | ']' | '['))
                            })
                            .map_or(0, |i| i + owner[i..].chars().next().map_or(1, char::len_utf8));
                        let outside = owner[..start].trim_end();
                        // The name of one of the theme's components. Others may be what is compared.
                        if &owner[start..] == "theme"
                            && (outside.ends_with('<')
                                || outside.ends_with("</")
                                || outside.ends_with("component"))
                        {
                            return false;
                        }
                        let quoted = owner[..start].ends_with(['"', '\'']);
                        match &owner[start..] {
                            "page" => page || quoted,
                            "section" => section || quoted,
                            // Words of the theme in the site's language.
                            "labels" => quoted,
                            _ => true,
                        }
                    }
                    _ => false,
                }
            })
        };
        let read: Vec<Field> = Field::ALL.iter().copied().filter(reads).collect();
        out = out.or(Fields::of(&read));
    }
    out
}

/// Whether what follows is the name of a field; three dots spread a variable.
fn follows_dot(before: &str) -> bool {
    before.ends_with('.') && !before.ends_with("...")
}

/// Whether a text may do more with a variable than read these of its fields or ask whether it is there.
pub(super) fn reads_whole(text: &str, name: &str, fields: &[&str]) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(i, _)| {
        let (before, after) = (&text[..i], &text[i + name.len()..]);
        if before.ends_with(word) || follows_dot(before) || after.starts_with(word) {
            return false;
        }
        let after = after.trim_start();
        if let Some(rest) = after.strip_prefix("?.").or_else(|| after.strip_prefix('.')) {
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            return !fields.contains(&&rest[..end]);
        }
        // An argument of that name.
        if after.starts_with('=') && !after.starts_with("==") {
            return false;
        }
        let asked = ["if", "elif", "and", "or", "not"].iter().any(|word| before.trim_end().ends_with(word));
        !asked || after.starts_with(['[', '|', '?'])
    })
}

/// Whether a text compares `page` or `section` as a whole, or looks for it in a list.
pub(super) fn compares_whole(text: &str) -> bool {
    const EQUALS: [&str; 2] = ["==", "!="];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if !EQUALS.iter().chain(&["page in ", "section in ", " not in ", "pat"]).any(|part| text.contains(part)) {
        return false;
    }
    let code = code_of(text);
    ["page", "section"].iter().any(|name| {
        code.match_indices(name).any(|(i, _)| {
            let (before, after) = (&code[..i], &code[i + name.len()..]);
            if before.ends_with(|c| word(c) || matches!(c, '.' | '"' | '\'' | '`' | '/' | '-'))
                || after.starts_with(|c| {
                    word(c) || matches!(c, '.' | '?' | '[' | '=') && !after.starts_with("==")
                })
            {
                return false;
            }
            let (before, after) = (before.trim_end(), after.trim_start());
            let is_bound = before.ends_with("for") || before.ends_with(',');
            EQUALS.iter().any(|sign| before.ends_with(sign) || after.starts_with(sign))
                || before.ends_with("pat=")
                || (!is_bound && (after.starts_with("in ") || after.starts_with("not in ")))
        })
    })
}

/// A template's text without what only an output without a pager shows: the other branches of `if paginator`. The whole
/// text, where what its tags mean is not plain to see.
pub(super) fn where_paginated(text: &str) -> Cow<'_, str> {
    const WHOLE: [&str; 4] = ["component", "set paginator", "set_global paginator", "for paginator"];
    const TESTS: [&str; 3] = ["paginator", "paginator is defined", "paginator is defined and paginator"];
    if !text.contains("if paginator") || WHOLE.iter().any(|part| text.contains(part)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    // What ends each open block, and whether it is such a test.
    let mut open: Vec<(&str, bool)> = Vec::new();
    // How many blocks are open around the branch that is left out.
    let mut left_out: Option<usize> = None;
    for piece in pieces(text) {
        let Piece::Tag(code, ..) = piece else {
            if left_out.is_none() {
                out.push_str(piece.whole(text));
            }
            continue;
        };
        let code = code.trim();
        let (word, test) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
        match word {
            "if" => open.push(("endif", TESTS.contains(&test.trim()))),
            "for" => open.push(("endfor", false)),
            "block" => open.push(("endblock", false)),
            "raw" => open.push(("endraw", false)),
            "elif" | "else" if open.last().is_some_and(|(_, is_test)| *is_test) => {
                left_out = left_out.or(Some(open.len()));
            }
            end if end.starts_with("end") => {
                if open.last().is_none_or(|(wanted, _)| *wanted != end) {
                    return text.into();
                }
                if left_out == Some(open.len()) {
                    left_out = None;
                }
                open.pop();
            }
            _ => {}
        }
        if left_out.is_none() {
            out.push_str(piece.whole(text));
        }
    }
    if open.is_empty() { out.into() } else { text.into() }
}

/// Whether a text may read `data` otherwise than by `data.NAME`.
pub(super) fn reads_all_data(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.contains("__tera_context")
        || text.match_indices("data").any(|(i, found)| {
            let (before, after) = (&text[..i], &text[i + found.len()..]);
            let named = after.strip_prefix('.').is_some_and(|rest| rest.starts_with(word));
            // `data-x` is an attribute of HTML, `data/x` a path.
            let longer = after.strip_prefix(['-', '/']).unwrap_or(after).starts_with(word);
            !(named || longer || before.ends_with(word) || follows_dot(before))
        })
}

/// Whether a text may call a function, or the filter that looks for what links lead to.
pub(super) fn asks(text: &str) -> bool {
    let code = code_of(text);
    functions::NAMES.iter().chain(&["markdown"]).any(|name| code.contains(name))
}

/// Whether all that is done with `.pages` is to count them: then a list of terms need not hold every page.
pub(super) fn counts_pages_only(text: &str) -> bool {
    let quoted = ["\"pages", "'pages", "`pages"].iter().any(|start| text.contains(start));
    if text.contains("__tera_context") || text.contains("json_encode") || quoted || spreads(text) {
        return false;
    }
    text.match_indices("pages").filter(|(i, _)| text[..*i].trim_end().ends_with('.')).all(|(i, found)| {
        let rest = text[i + found.len()..].trim_start();
        rest.strip_prefix('|').is_some_and(|rest| rest.trim_start().starts_with("length"))
    })
}

/// Whether nothing is done with the pages of `terms` but count them: whoever names `terms` only counts pages, and hands
/// nothing on to where pages are read.
pub(super) fn counts_terms_only(texts: &[&str]) -> bool {
    let hands_on = |code: &str| {
        code.contains("include") || code.contains("set") || CALLS.as_ref().is_none_or(|re| re.is_match(code))
    };
    // Most texts say neither, and need not be taken apart for that.
    let may_read = |text: &&&str| text.contains("terms") || text.contains("__tera_context");
    texts.iter().filter(may_read).all(|text| {
        let code = code_of(text);
        !code.contains("__tera_context")
            && (!code.contains("terms") || counts_pages_only(&code) && !reads_any(&code) && !hands_on(&code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_a_pager_the_other_branch_is_not_read() {
        let one = "a{% if paginator %}b{% for p in x %}c{% else %}d{% endfor %}{%- else -%}e{% if y %}f{% else %}g\
                   {% endif %}{% endif %}h";
        let without = "a{% if paginator %}b{% for p in x %}c{% else %}d{% endfor %}{% endif %}h";
        assert_eq!(where_paginated(one), without);
        let two = "{% if paginator is defined and paginator -%}b{% elif z %}c{% else %}d{% endif %}{% if q %}e{% else %}f\
                   {% endif %}";
        let without =
            "{% if paginator is defined and paginator -%}b{% endif %}{% if q %}e{% else %}f{% endif %}";
        assert_eq!(where_paginated(two), without);
        let three = "{# {% if #}{% if paginator %}{% raw %}{% if %}{% endraw %}{% else %}{{ \"{% endif %}\" }}{% endif %}";
        let without = "{# {% if #}{% if paginator %}{% raw %}{% if %}{% endraw %}{% endif %}";
        assert_eq!(where_paginated(three), without);
        for whole in [
            "{% if not paginator %}a{% else %}b{% endif %}",
            "{% if paginator.next %}a{% else %}b{% endif %}",
            "{% set paginator = false %}{% if paginator %}a{% else %}b{% endif %}",
            "{% if paginator %}a{% else %}b",
            "{% if paginator %}{% set x %}a{% endset %}{% else %}b{% endif %}",
            "{% raw %}{% if paginator %}{% endraw %}a{% else %}b{% endif %}",
            "{% if paginator %}a{% else %}b{% endif",
        ] {
            assert_eq!(where_paginated(whole), whole);
        }
    }

    #[test]
    fn comparisons_of_wholes() {
        for text in [
            "{% if p == page %}",
            "{% if page != p %}",
            "{{ page in s.pages }}",
            "{{ section not in x }}",
            "{% if x is containing(pat=page) %}",
            "{% if a and section==s %}",
        ] {
            assert!(compares_whole(text), "{text}");
        }
        for text in [
            "{% if p.path == page.path %}",
            "{% for page in pages %}{% if x == 1 %}{% endif %}{% endfor %}",
            "{% for k, page in pages %}{{ 1 == 1 }}",
            "{{ <card page={page} /> }}{{ x == 'page' }}",
            "{{ current_page == page_number }} {{ f(page=page, pat='x') }}",
            "a page == b",
            "{% if page?.title == \"x\" %}",
        ] {
            assert!(!compares_whole(text), "{text}");
        }
    }

    #[test]
    fn only_content_of_others_counts() {
        let reads = |texts: &[&str], field| fields_of_others(texts).has(field);
        assert_eq!(fields_of_others(&["{{ page.content | safe }} {{ section.toc }}"]), Fields::default());
        assert!(reads(&["{% for page in pages %}{{ page.content }}{% endfor %}"], Field::Content));
        assert!(reads(
            &["{% for page in pages %}{% include 'x' %}{% endfor %}", "{{ page.date }}"],
            Field::Date
        ));
        assert!(reads(&["{{ p.summary }}"], Field::Summary));
        assert!(reads(&["{% if 1 <p.weight %}{{ 8 /p.year }}{% endif %}"], Field::Weight));
        assert!(reads(&["{% if 1 <p.weight %}{{ 8 /p.year }}{% endif %}"], Field::Year));
        let component = "{% component card(page: map) %}{{ page.title }}{% endcomponent card %}";
        assert!(reads(&["{{ <card page={page} /> }}{{ page.toc }}", component], Field::Title));
        assert!(!reads(&["{{ <card page={page} /> }}{{ page.toc }}", component], Field::Toc));
        assert!(reads(&["{{ page.lower?.title }}{{ section.path }}"], Field::Title));
        assert!(!reads(&["{{ page.lower?.title }}{{ section.path }}"], Field::Path));
        assert!(reads(&["{{ get_page(path=\"x\").content }}"], Field::Content));
        assert!(!reads(&["{{ page.content_type }}"], Field::Content));
        assert!(reads(&["{{ x | map(attribute=\"toc\") }}"], Field::Toc));
        assert!(reads(&["{{ x | map(attribute=\"page.toc\") }}"], Field::Toc));
        let wide = "{% component card(w = \"50%\", page: map) %}{{ page.title }}{% endcomponent card %}";
        assert!(reads(&["{{ <card page={page} /> }}", wide], Field::Title));
    }

    #[test]
    fn fields_without_their_names_may_be_any() {
        for text in [
            "{{ <card {...p} /> }}",
            "{% set q = {\"x\": 1, ...p} %}{{ <card {q} /> }}",
            "{{ p | get(default=\"\", key=field) }}",
            "{{ get_page(path=\"x\")[field] }}",
            "{% for k, v in get_page(path=\"x\") %}",
        ] {
            assert_eq!(fields_of_others(&[text]), Fields::ALL, "{text}");
        }
        for text in ["so on, ...and on", "{% for k, v in load_data(path=\"x\") %}", "{{ get_env(name=x) }}"] {
            assert!(!reads_any(text), "{text}");
        }
        for text in [
            "{{ <c {...data} /> }}",
            "{% set all = { ...data } %}",
            "{% for k, v in data-%}",
            "{{ <c data/> }}",
        ] {
            assert!(reads_all_data(text), "{text}");
        }
        for text in ["<a data-x=1>", "{{ load_data(path='data/x') }}", "{{ data.news }}", "{{ x.data }}"] {
            assert!(!reads_all_data(text), "{text}");
        }
        assert!(reads_whole("{{ <c {...section} /> }}", "section", &[]));
    }

    #[test]
    fn pages_of_terms_are_left_out_where_they_are_only_counted() {
        let nav = "{% for p in section.pages %}{{ p.title }}{% endfor %}";
        let list = "<ul class=terms>{% for t in terms %}{{ t.name }} {{ t.pages | length }}{% endfor %}";
        assert!(counts_terms_only(&[list, nav]));
        for read in [
            "{% for t in terms %}{{ t.pages }}{% endfor %}",
            "{% for t in terms %}{% include \"nav\" %}{% endfor %}",
            "{% for t in terms %}{{ <card t={t} /> }}{% endfor %}",
            "{% set all = terms %}",
            "{{ terms | map(attribute='pages.0') }}",
            "{{ terms | json_encode }}",
            "{{ __tera_context }}",
        ] {
            assert!(!counts_terms_only(&[list, nav, read]), "{read}");
        }
    }

    #[test]
    fn code_is_told_from_html() {
        let text = "<a title=\"toc\">{{ \"}}\" ~ x({\"a\": {}}) }}b{%- if y -%}c{{ <d e={f}/>}}";
        assert_eq!(code_of(text), "{{ \"}}\" ~ x({\"a\": {}}) }}\n{%- if y -%}\n{{ <d e={f}/>}}\n");
    }

    #[test]
    fn pages_that_are_only_counted() {
        assert!(counts_pages_only("{{ t.pages | length }}"));
        for read in ["{% for p in t.pages %}", "{% for p in t . pages %}", "{{ <term {...t} /> }}"] {
            assert!(!counts_pages_only(read), "{read}");
        }
    }
}
