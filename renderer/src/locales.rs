//! Names of months and days in the languages that most sites are written in, and patterns such as `d MMMM y`.
//!
//! Small on purpose: the full data of all languages would double the size of what templates need to compile.

use jiff::ZonedDateTime as Zoned;

/// A language, its months and its days from Sunday.
pub(crate) type Locale = (&'static str, [&'static str; 12], [&'static str; 7]);

#[rustfmt::skip]
pub(crate) fn all() -> Vec<Locale> {
    vec![
        ("en", ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"], ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]),
        ("de", ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"], ["Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"]),
        ("fr", ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"], ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"]),
        ("es", ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"], ["domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"]),
        ("it", ["gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre", "ottobre", "novembre", "dicembre"], ["domenica", "lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato"]),
        ("pt", ["janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"], ["domingo", "segunda-feira", "terça-feira", "quarta-feira", "quinta-feira", "sexta-feira", "sábado"]),
        ("nl", ["januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober", "november", "december"], ["zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"]),
        ("sv", ["januari", "februari", "mars", "april", "maj", "juni", "juli", "augusti", "september", "oktober", "november", "december"], ["söndag", "måndag", "tisdag", "onsdag", "torsdag", "fredag", "lördag"]),
        ("da", ["januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober", "november", "december"], ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"]),
        ("nb", ["januar", "februar", "mars", "april", "mai", "juni", "juli", "august", "september", "oktober", "november", "desember"], ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"]),
        ("fi", ["tammikuuta", "helmikuuta", "maaliskuuta", "huhtikuuta", "toukokuuta", "kesäkuuta", "heinäkuuta", "elokuuta", "syyskuuta", "lokakuuta", "marraskuuta", "joulukuuta"], ["sunnuntaina", "maanantaina", "tiistaina", "keskiviikkona", "torstaina", "perjantaina", "lauantaina"]),
        ("pl", ["stycznia", "lutego", "marca", "kwietnia", "maja", "czerwca", "lipca", "sierpnia", "września", "października", "listopada", "grudnia"], ["niedziela", "poniedziałek", "wtorek", "środa", "czwartek", "piątek", "sobota"]),
        ("cs", ["ledna", "února", "března", "dubna", "května", "června", "července", "srpna", "září", "října", "listopadu", "prosince"], ["neděle", "pondělí", "úterý", "středa", "čtvrtek", "pátek", "sobota"]),
        ("ru", ["января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября", "декабря"], ["воскресенье", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота"]),
        ("uk", ["січня", "лютого", "березня", "квітня", "травня", "червня", "липня", "серпня", "вересня", "жовтня", "листопада", "грудня"], ["неділя", "понеділок", "вівторок", "середа", "четвер", "пʼятниця", "субота"]),
        ("tr", ["Ocak", "Şubat", "Mart", "Nisan", "Mayıs", "Haziran", "Temmuz", "Ağustos", "Eylül", "Ekim", "Kasım", "Aralık"], ["Pazar", "Pazartesi", "Salı", "Çarşamba", "Perşembe", "Cuma", "Cumartesi"]),
        ("ja", ["1月", "2月", "3月", "4月", "5月", "6月", "7月", "8月", "9月", "10月", "11月", "12月"], ["日曜日", "月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日"]),
        ("zh", ["一月", "二月", "三月", "四月", "五月", "六月", "七月", "八月", "九月", "十月", "十一月", "十二月"], ["星期日", "星期一", "星期二", "星期三", "星期四", "星期五", "星期六"]),
        ("ko", ["1월", "2월", "3월", "4월", "5월", "6월", "7월", "8월", "9월", "10월", "11월", "12월"], ["일요일", "월요일", "화요일", "수요일", "목요일", "금요일", "토요일"]),
    ]
}

/// Formats a moment by a pattern of Unicode's UTS 35, in a language.
pub(crate) fn format(all: &[Locale], when: &Zoned, locale: &str, pattern: &str) -> Result<String, String> {
    let code = locale.split(['-', '_']).next().unwrap_or(locale).to_ascii_lowercase();
    let code = if code == "no" || code == "nn" { "nb" } else { &code };
    let Some((_, months, days)) = all.iter().find(|(known, _, _)| *known == code) else {
        let known: Vec<&str> = all.iter().map(|(known, _, _)| *known).collect();
        return Err(format!(
            "dates in the language `{locale}` are not known; known are {}",
            known.join(", ")
        ));
    };
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            if chars.peek() == Some(&'\'') {
                chars.next();
                out.push('\'');
                continue;
            }
            for quoted in chars.by_ref() {
                if quoted == '\'' {
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
        let short = |name: &str| name.chars().take(3).collect::<String>();
        let number = |value: i64| if width >= 2 { format!("{value:02}") } else { value.to_string() };
        let month = months[(when.month() - 1) as usize];
        let day = days[when.weekday().to_sunday_zero_offset() as usize];
        out.push_str(&match c {
            'y' | 'u' | 'Y' => {
                if width == 2 {
                    format!("{:02}", when.year() % 100)
                } else {
                    when.year().to_string()
                }
            }
            'M' | 'L' => match width {
                1 | 2 => number(i64::from(when.month())),
                3 => short(month),
                _ => month.to_owned(),
            },
            'd' => number(i64::from(when.day())),
            'E' | 'c' | 'e' => {
                if width <= 3 {
                    short(day)
                } else {
                    day.to_owned()
                }
            }
            'H' => number(i64::from(when.hour())),
            'h' => number(i64::from((when.hour() + 11) % 12 + 1)),
            'm' => number(i64::from(when.minute())),
            's' => number(i64::from(when.second())),
            'a' => (if when.hour() < 12 { "AM" } else { "PM" }).to_owned(),
            _ => return Err(format!("the date pattern `{pattern}` has a letter that is not known: {c}")),
        });
    }
    Ok(out)
}
