//! The orders that pages and sections have.

use std::cmp::Ordering;

use super::{Page, PageId, Section, SectionId};
use crate::front_matter::SortBy;

/// So many of some pages, or all where there are fewer.
pub(crate) fn first(pages: &[PageId], most: usize) -> &[PageId] {
    &pages[..pages.len().min(most)]
}

/// Pages in order, and those that lack what the order needs.
pub(crate) fn sort_pages(pages: &[Page], ids: &[PageId], by: SortBy) -> (Vec<PageId>, Vec<PageId>) {
    let page = |id: &PageId| &pages[*id as usize];
    let has = |id: &PageId| match by {
        SortBy::None | SortBy::Slug | SortBy::Permalink => true,
        SortBy::Date => page(id).date.is_some(),
        SortBy::UpdateDate => page(id).date.is_some() || page(id).matter().updated.is_some(),
        SortBy::Title | SortBy::TitleBytes => page(id).title().is_some(),
        SortBy::Weight => page(id).matter().weight.is_some(),
    };
    let (mut sorted, rest): (Vec<PageId>, Vec<PageId>) = ids.iter().copied().partition(has);
    if by == SortBy::None {
        return (sorted, rest);
    }
    let seconds = |id: &PageId| page(id).date.as_ref().map_or(i64::MIN, |d| d.seconds);
    let latest =
        |id: &PageId| page(id).matter().updated.as_ref().map_or(i64::MIN, |d| d.seconds).max(seconds(id));
    sorted.sort_by(|a, b| {
        let order = match by {
            SortBy::None => Ordering::Equal,
            SortBy::Date => seconds(b).cmp(&seconds(a)),
            SortBy::UpdateDate => latest(b).cmp(&latest(a)),
            SortBy::Title => natural(page(a).title().unwrap_or(""), page(b).title().unwrap_or("")),
            SortBy::TitleBytes => page(a).title().cmp(&page(b).title()),
            SortBy::Weight => page(a).matter().weight.cmp(&page(b).matter().weight),
            SortBy::Slug => natural(&page(a).slug, &page(b).slug),
            SortBy::Permalink => Ordering::Equal,
        };
        order.then_with(|| page(a).path.cmp(&page(b).path))
    });
    (sorted, rest)
}

/// Puts subsections in the order that the section above asks for: by title or address where its pages are, by weight otherwise.
/// Those without a title are not among those that are sorted by it.
pub(super) fn sort_sections(sections: &[Section], ids: &mut Vec<SectionId>, by: SortBy) {
    let section = |id: &SectionId| &sections[*id as usize];
    fn title(section: &Section) -> Option<&str> {
        section.matter.title.as_deref()
    }
    if matches!(by, SortBy::Title | SortBy::TitleBytes) {
        ids.retain(|id| title(section(id)).is_some());
    }
    ids.sort_by(|a, b| {
        let (a, b) = (section(a), section(b));
        match by {
            SortBy::Title => {
                natural(title(a).unwrap_or(""), title(b).unwrap_or("")).then_with(|| a.path.cmp(&b.path))
            }
            SortBy::TitleBytes => title(a).cmp(&title(b)).then_with(|| a.path.cmp(&b.path)),
            SortBy::Permalink => a.path.cmp(&b.path),
            _ => (a.matter.weight, a.relative()).cmp(&(b.matter.weight, b.relative())),
        }
    });
}

/// The order of people: character by character, letters by what they are in ASCII; of two numbers the one with more digits,
/// zeros included, is greater; what is neither letter nor digit comes first.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (plain_a, plain_b) = (plain(a), plain(b));
    let (mut left, mut right) = (plain_a.as_str(), plain_b.as_str());
    while let (Some(c), Some(d)) = (left.chars().next(), right.chars().next()) {
        let (n, m) = (leading_digits(left), leading_digits(right));
        let (order, n, m) = if n > 0 && m > 0 {
            (n.cmp(&m).then_with(|| left[..n].cmp(&right[..m])), n, m)
        } else {
            let order = c.is_alphanumeric().cmp(&d.is_alphanumeric()).then_with(|| c.cmp(&d));
            (order, c.len_utf8(), d.len_utf8())
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[n..], &right[m..]);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn leading_digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// Small letters and digits of ASCII where there are some that stand for a letter.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Accents of their own.
            '\u{300}'..='\u{36f}' => {}
            c if c.is_ascii() || !c.is_alphanumeric() => out.push(c.to_ascii_lowercase()),
            c => match any_ascii::any_ascii_char(c) {
                "" => out.push(c),
                letters => out.push_str(&letters.to_ascii_lowercase()),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        let mut names = vec!["b10", "b9", "A", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["A", "a", "b9", "b10"]);
        let mut names = vec!["a b", "a - b", "ab", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "a - b", "a b", "ab"]);
        let mut names = vec!["éa", "“b”", "e\u{301}b", "10", "007", "日本", "9", "ea", "Ж", "z", "—"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["—", "“b”", "9", "10", "007", "ea", "éa", "e\u{301}b", "日本", "z", "Ж"]);
    }
}
