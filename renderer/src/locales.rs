//! Names of months and days in the languages that most sites are written in, and patterns such as `d MMMM y`.
//!
//! Small on purpose: the full data of all languages would double the size of what templates need to compile. The names
//! are those of Unicode's common locale data, in the form that stands beside a day.

use jiff::ZonedDateTime as Zoned;

/// What a language calls the parts of a date, each list with `|` between.
pub(crate) struct Locale {
    code: &'static str,
    months: &'static str,
    short_months: &'static str,
    /// From Sunday on.
    days: &'static str,
    short_days: &'static str,
    /// Before noon and after.
    halves: &'static str,
}

#[rustfmt::skip]
pub(crate) const ENGLISH: Locale = Locale {
    code: "en",
    months: "January|February|March|April|May|June|July|August|September|October|November|December",
    short_months: "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec",
    days: "Sunday|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday",
    short_days: "Sun|Mon|Tue|Wed|Thu|Fri|Sat",
    halves: "AM|PM",
};

#[rustfmt::skip]
const ALL: &[Locale] = &[
    ENGLISH,
    Locale {
        code: "de",
        months: "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember",
        short_months: "Jan.|Feb.|März|Apr.|Mai|Juni|Juli|Aug.|Sept.|Okt.|Nov.|Dez.",
        days: "Sonntag|Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag",
        short_days: "So.|Mo.|Di.|Mi.|Do.|Fr.|Sa.",
        halves: "AM|PM",
    },
    Locale {
        code: "fr",
        months: "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
        short_months: "janv.|févr.|mars|avr.|mai|juin|juil.|août|sept.|oct.|nov.|déc.",
        days: "dimanche|lundi|mardi|mercredi|jeudi|vendredi|samedi",
        short_days: "dim.|lun.|mar.|mer.|jeu.|ven.|sam.",
        halves: "AM|PM",
    },
    Locale {
        code: "es",
        months: "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
        short_months: "ene|feb|mar|abr|may|jun|jul|ago|sept|oct|nov|dic",
        days: "domingo|lunes|martes|miércoles|jueves|viernes|sábado",
        short_days: "dom|lun|mar|mié|jue|vie|sáb",
        halves: "a. m.|p. m.",
    },
    Locale {
        code: "it",
        months: "gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre",
        short_months: "gen|feb|mar|apr|mag|giu|lug|ago|set|ott|nov|dic",
        days: "domenica|lunedì|martedì|mercoledì|giovedì|venerdì|sabato",
        short_days: "dom|lun|mar|mer|gio|ven|sab",
        halves: "AM|PM",
    },
    Locale {
        code: "pt",
        months: "janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro",
        short_months: "jan.|fev.|mar.|abr.|mai.|jun.|jul.|ago.|set.|out.|nov.|dez.",
        days: "domingo|segunda-feira|terça-feira|quarta-feira|quinta-feira|sexta-feira|sábado",
        short_days: "dom.|seg.|ter.|qua.|qui.|sex.|sáb.",
        halves: "AM|PM",
    },
    Locale {
        code: "nl",
        months: "januari|februari|maart|april|mei|juni|juli|augustus|september|oktober|november|december",
        short_months: "jan|feb|mrt|apr|mei|jun|jul|aug|sep|okt|nov|dec",
        days: "zondag|maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag",
        short_days: "zo|ma|di|wo|do|vr|za",
        halves: "a.m.|p.m.",
    },
    Locale {
        code: "sv",
        months: "januari|februari|mars|april|maj|juni|juli|augusti|september|oktober|november|december",
        short_months: "jan.|feb.|mars|apr.|maj|juni|juli|aug.|sep.|okt.|nov.|dec.",
        days: "söndag|måndag|tisdag|onsdag|torsdag|fredag|lördag",
        short_days: "sön|mån|tis|ons|tors|fre|lör",
        halves: "fm|em",
    },
    Locale {
        code: "da",
        months: "januar|februar|marts|april|maj|juni|juli|august|september|oktober|november|december",
        short_months: "jan.|feb.|mar.|apr.|maj|jun.|jul.|aug.|sep.|okt.|nov.|dec.",
        days: "søndag|mandag|tirsdag|onsdag|torsdag|fredag|lørdag",
        short_days: "søn.|man.|tirs.|ons.|tors.|fre.|lør.",
        halves: "AM|PM",
    },
    Locale {
        code: "nb",
        months: "januar|februar|mars|april|mai|juni|juli|august|september|oktober|november|desember",
        short_months: "jan.|feb.|mars|apr.|mai|juni|juli|aug.|sep.|okt.|nov.|des.",
        days: "søndag|mandag|tirsdag|onsdag|torsdag|fredag|lørdag",
        short_days: "søn.|man.|tirs.|ons.|tors.|fre.|lør.",
        halves: "a.m.|p.m.",
    },
    Locale {
        code: "fi",
        months: "tammikuuta|helmikuuta|maaliskuuta|huhtikuuta|toukokuuta|kesäkuuta|heinäkuuta|elokuuta|syyskuuta|lokakuuta|marraskuuta|joulukuuta",
        short_months: "tammik.|helmik.|maalisk.|huhtik.|toukok.|kesäk.|heinäk.|elok.|syysk.|lokak.|marrask.|jouluk.",
        days: "sunnuntaina|maanantaina|tiistaina|keskiviikkona|torstaina|perjantaina|lauantaina",
        short_days: "su|ma|ti|ke|to|pe|la",
        halves: "ap.|ip.",
    },
    Locale {
        code: "pl",
        months: "stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia",
        short_months: "sty|lut|mar|kwi|maj|cze|lip|sie|wrz|paź|lis|gru",
        days: "niedziela|poniedziałek|wtorek|środa|czwartek|piątek|sobota",
        short_days: "niedz.|pon.|wt.|śr.|czw.|pt.|sob.",
        halves: "AM|PM",
    },
    Locale {
        code: "cs",
        months: "ledna|února|března|dubna|května|června|července|srpna|září|října|listopadu|prosince",
        short_months: "led|úno|bře|dub|kvě|čvn|čvc|srp|zář|říj|lis|pro",
        days: "neděle|pondělí|úterý|středa|čtvrtek|pátek|sobota",
        short_days: "ne|po|út|st|čt|pá|so",
        halves: "dop.|odp.",
    },
    Locale {
        code: "sk",
        months: "januára|februára|marca|apríla|mája|júna|júla|augusta|septembra|októbra|novembra|decembra",
        short_months: "jan|feb|mar|apr|máj|jún|júl|aug|sep|okt|nov|dec",
        days: "nedeľa|pondelok|utorok|streda|štvrtok|piatok|sobota",
        short_days: "ne|po|ut|st|št|pi|so",
        halves: "AM|PM",
    },
    Locale {
        code: "ru",
        months: "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря",
        short_months: "янв.|февр.|мар.|апр.|мая|июн.|июл.|авг.|сент.|окт.|нояб.|дек.",
        days: "воскресенье|понедельник|вторник|среда|четверг|пятница|суббота",
        short_days: "вс|пн|вт|ср|чт|пт|сб",
        halves: "AM|PM",
    },
    Locale {
        code: "uk",
        months: "січня|лютого|березня|квітня|травня|червня|липня|серпня|вересня|жовтня|листопада|грудня",
        short_months: "січ.|лют.|бер.|квіт.|трав.|черв.|лип.|серп.|вер.|жовт.|лист.|груд.",
        days: "неділя|понеділок|вівторок|середа|четвер|пʼятниця|субота",
        short_days: "нд|пн|вт|ср|чт|пт|сб",
        halves: "дп|пп",
    },
    Locale {
        code: "hu",
        months: "január|február|március|április|május|június|július|augusztus|szeptember|október|november|december",
        short_months: "jan.|febr.|márc.|ápr.|máj.|jún.|júl.|aug.|szept.|okt.|nov.|dec.",
        days: "vasárnap|hétfő|kedd|szerda|csütörtök|péntek|szombat",
        short_days: "V|H|K|Sze|Cs|P|Szo",
        halves: "de.|du.",
    },
    Locale {
        code: "ro",
        months: "ianuarie|februarie|martie|aprilie|mai|iunie|iulie|august|septembrie|octombrie|noiembrie|decembrie",
        short_months: "ian.|feb.|mar.|apr.|mai|iun.|iul.|aug.|sept.|oct.|nov.|dec.",
        days: "duminică|luni|marți|miercuri|joi|vineri|sâmbătă",
        short_days: "dum.|lun.|mar.|mie.|joi|vin.|sâm.",
        halves: "a.m.|p.m.",
    },
    Locale {
        code: "el",
        months: "Ιανουαρίου|Φεβρουαρίου|Μαρτίου|Απριλίου|Μαΐου|Ιουνίου|Ιουλίου|Αυγούστου|Σεπτεμβρίου|Οκτωβρίου|Νοεμβρίου|Δεκεμβρίου",
        short_months: "Ιαν|Φεβ|Μαρ|Απρ|Μαΐ|Ιουν|Ιουλ|Αυγ|Σεπ|Οκτ|Νοε|Δεκ",
        days: "Κυριακή|Δευτέρα|Τρίτη|Τετάρτη|Πέμπτη|Παρασκευή|Σάββατο",
        short_days: "Κυρ|Δευ|Τρί|Τετ|Πέμ|Παρ|Σάβ",
        halves: "π.μ.|μ.μ.",
    },
    Locale {
        code: "tr",
        months: "Ocak|Şubat|Mart|Nisan|Mayıs|Haziran|Temmuz|Ağustos|Eylül|Ekim|Kasım|Aralık",
        short_months: "Oca|Şub|Mar|Nis|May|Haz|Tem|Ağu|Eyl|Eki|Kas|Ara",
        days: "Pazar|Pazartesi|Salı|Çarşamba|Perşembe|Cuma|Cumartesi",
        short_days: "Paz|Pzt|Sal|Çar|Per|Cum|Cmt",
        halves: "ÖÖ|ÖS",
    },
    Locale {
        code: "id",
        months: "Januari|Februari|Maret|April|Mei|Juni|Juli|Agustus|September|Oktober|November|Desember",
        short_months: "Jan|Feb|Mar|Apr|Mei|Jun|Jul|Agu|Sep|Okt|Nov|Des",
        days: "Minggu|Senin|Selasa|Rabu|Kamis|Jumat|Sabtu",
        short_days: "Min|Sen|Sel|Rab|Kam|Jum|Sab",
        halves: "AM|PM",
    },
    Locale {
        code: "ja",
        months: "1月|2月|3月|4月|5月|6月|7月|8月|9月|10月|11月|12月",
        short_months: "1月|2月|3月|4月|5月|6月|7月|8月|9月|10月|11月|12月",
        days: "日曜日|月曜日|火曜日|水曜日|木曜日|金曜日|土曜日",
        short_days: "日|月|火|水|木|金|土",
        halves: "午前|午後",
    },
    Locale {
        code: "zh",
        months: "一月|二月|三月|四月|五月|六月|七月|八月|九月|十月|十一月|十二月",
        short_months: "1月|2月|3月|4月|5月|6月|7月|8月|9月|10月|11月|12月",
        days: "星期日|星期一|星期二|星期三|星期四|星期五|星期六",
        short_days: "周日|周一|周二|周三|周四|周五|周六",
        halves: "上午|下午",
    },
    Locale {
        code: "ko",
        months: "1월|2월|3월|4월|5월|6월|7월|8월|9월|10월|11월|12월",
        short_months: "1월|2월|3월|4월|5월|6월|7월|8월|9월|10월|11월|12월",
        days: "일요일|월요일|화요일|수요일|목요일|금요일|토요일",
        short_days: "일|월|화|수|목|금|토",
        halves: "오전|오후",
    },
];

fn nth(list: &'static str, index: usize) -> &'static str {
    list.split('|').nth(index).unwrap_or_default()
}

/// The language of a code such as `pt-BR`, without script or region (RFC 5646 §2.2.1).
pub(crate) fn language(code: &str) -> &str {
    code.split(['-', '_']).next().unwrap_or(code)
}

/// What a language calls them; none where that is not known here.
pub(crate) fn find(locale: &str) -> Option<&'static Locale> {
    let code = language(locale).to_ascii_lowercase();
    let code = if code == "no" || code == "nn" { "nb" } else { &code };
    ALL.iter().find(|names| names.code == code)
}

/// The languages that are known here.
pub(crate) fn known() -> String {
    ALL.iter().map(|names| names.code).collect::<Vec<_>>().join(", ")
}

/// Formats a moment by a pattern of Unicode's UTS 35, in a language.
///
/// # Errors
/// Letters that mean nothing.
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
        let number = |value: i64| if width >= 2 { format!("{value:02}") } else { value.to_string() };
        let month = usize::try_from(when.month() - 1).unwrap_or_default();
        let day = usize::try_from(when.weekday().to_sunday_zero_offset()).unwrap_or_default();
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
                3 => nth(names.short_months, month).to_owned(),
                _ => nth(names.months, month).to_owned(),
            },
            'd' => number(i64::from(when.day())),
            'E' | 'c' | 'e' => {
                let list = if width <= 3 { names.short_days } else { names.days };
                nth(list, day).to_owned()
            }
            'H' => number(i64::from(when.hour())),
            'h' => number(i64::from((when.hour() + 11) % 12 + 1)),
            'm' => number(i64::from(when.minute())),
            's' => number(i64::from(when.second())),
            'a' => nth(names.halves, usize::from(when.hour() >= 12)).to_owned(),
            _ => return Err(format!("the date pattern `{pattern}` has a letter that is not known: {c}")),
        });
    }
    Ok(out)
}
