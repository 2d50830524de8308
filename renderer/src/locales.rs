//! Names of months and days in the languages of the world, and patterns such as `d MMMM y`.
//!
//! The names are those of Unicode's Common Locale Data Repository, as a table of text: its data as code, for all
//! languages and all that can be said in them, would take minutes to compile.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::ZonedDateTime as Zoned;

/// A line for each language, and for the regions and scripts that differ from it: their codes, then lists with `|`
/// between, in the order of [`List`]. Nothing where a region has what its language has, and where names stand alone as
/// they stand beside a day.
const TABLE: &str = include_str!("../vendor/locales.txt");

type Lists = Vec<&'static str>;

static LISTS: LazyLock<HashMap<&'static str, Lists>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter_map(|line| line.split_once('\t'));
    lines
        .flat_map(|(codes, lists)| {
            let lists: Lists = lists.split('\t').collect();
            codes.split(' ').map(move |code| (code, lists.clone()))
        })
        .collect()
});

#[derive(Clone, Copy)]
enum List {
    Months,
    ShortMonths,
    LoneMonths,
    LoneShortMonths,
    /// From Sunday on.
    Days,
    ShortDays,
    LoneDays,
    LoneShortDays,
    /// Before noon and after.
    Halves,
    Digits,
}

/// What a language calls the parts of a date, in one of its regions or scripts.
#[derive(Default)]
pub(crate) struct Locale {
    own: Option<&'static Lists>,
    language: Option<&'static Lists>,
}

impl Locale {
    fn list(&self, list: List) -> &'static str {
        let said = [self.own, self.language].into_iter().flatten();
        let text = said.filter_map(|lists| lists.get(list as usize)).find(|text| !text.is_empty());
        match (text, list) {
            (Some(text), _) => text,
            (None, List::LoneMonths) => self.list(List::Months),
            (None, List::LoneShortMonths) => self.list(List::ShortMonths),
            (None, List::LoneDays) => self.list(List::Days),
            (None, List::LoneShortDays) => self.list(List::ShortDays),
            (None, _) => "",
        }
    }

    fn nth(&self, list: List, index: usize) -> String {
        self.list(list).split('|').nth(index).unwrap_or_default().to_owned()
    }

    /// A number in the digits of the language.
    fn number(&self, value: i64, width: usize) -> String {
        let number = format!("{value:0width$}");
        let digits: Vec<char> = self.list(List::Digits).chars().collect();
        number
            .chars()
            .map(|c| c.to_digit(10).and_then(|digit| digits.get(digit as usize)).copied().unwrap_or(c))
            .collect()
    }
}

/// The language of a code such as `pt-BR`, without script or region (RFC 5646 §2.2.1).
pub(crate) fn language(code: &str) -> &str {
    code.split(['-', '_']).next().unwrap_or(code)
}

/// What a language calls them in the region or script of a code; none where it is not known here.
pub(crate) fn find(locale: &str) -> Option<Locale> {
    let code = locale.to_ascii_lowercase().replace('_', "-");
    let mut parts = code.split('-');
    let name = parts.next()?;
    let language = Some(LISTS.get(name)?);
    let whole = LISTS.get(code.as_str());
    let own = whole.or_else(|| parts.find_map(|part| LISTS.get(format!("{name}-{part}").as_str())));
    Some(Locale { own, language })
}

pub(crate) fn english() -> Locale {
    find("en").unwrap_or_default()
}

/// Formats a moment by a pattern of Unicode's UTS 35, in a language. Letters that stand for nothing are text.
///
/// # Errors
/// Letters that stand for what is not known here.
pub(crate) fn format(when: &Zoned, names: &Locale, pattern: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            if chars.peek() == Some(&'\'') {
                chars.next();
                out.push('\'');
                continue;
            }
            // Within quotes too, two of them are one that is meant.
            while let Some(quoted) = chars.next() {
                if quoted == '\'' && chars.next_if_eq(&'\'').is_none() {
                    break;
                }
                out.push(quoted);
            }
            continue;
        }
        if !c.is_ascii_alphabetic() {
            out.push(c);
            continue;
        }
        let mut width = 1;
        while chars.peek() == Some(&c) {
            chars.next();
            width += 1;
        }
        match field(when, names, c, width) {
            Some(text) => out.push_str(&text),
            None if "GzZXxOvVbBecF".contains(c) => {
                return Err(format!("the date pattern `{pattern}` has a letter that is not known: {c}"));
            }
            None => out.extend(std::iter::repeat_n(c, width)),
        }
    }
    Ok(out)
}

/// What a letter of a pattern stands for, so many times in a row.
fn field(when: &Zoned, names: &Locale, letter: char, width: usize) -> Option<String> {
    let number = |value: i64| names.number(value, width);
    let month = usize::try_from(when.month() - 1).unwrap_or_default();
    let day = usize::try_from(when.weekday().to_sunday_zero_offset()).unwrap_or_default();
    let hour = i64::from(when.hour());
    Some(match (letter, width) {
        ('y' | 'u', 2) => number(i64::from(when.year() % 100)),
        ('y' | 'u', _) => number(i64::from(when.year())),
        ('M' | 'L', 1 | 2) => number(i64::from(when.month())),
        ('M', 3) => names.nth(List::ShortMonths, month),
        ('M', _) => names.nth(List::Months, month),
        ('L', 3) => names.nth(List::LoneShortMonths, month),
        ('L', _) => names.nth(List::LoneMonths, month),
        ('d', _) => number(i64::from(when.day())),
        ('D', _) => number(i64::from(when.day_of_year())),
        ('E', ..=3) => names.nth(List::ShortDays, day),
        ('E', _) => names.nth(List::Days, day),
        ('c', 3) => names.nth(List::LoneShortDays, day),
        ('c', 4..) => names.nth(List::LoneDays, day),
        ('H', _) => number(hour),
        ('h', _) => number((hour + 11) % 12 + 1),
        ('K', _) => number(hour % 12),
        ('m', _) => number(i64::from(when.minute())),
        ('s', _) => number(i64::from(when.second())),
        ('a', _) => names.nth(List::Halves, usize::from(hour >= 12)),
        _ => return None,
    })
}
