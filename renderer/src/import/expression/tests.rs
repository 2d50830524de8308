use super::*;

#[test]
fn what_changed_is_changed() {
    for (old, new) in [
        ("a.0.b", "a[0].b"),
        ("h | default(value=w / 2)", "h | default(value=((w / 2) if (w / 2) % 1 else (w / 2) | int))"),
        ("x is starting_with(\"http\")", "x is starting_with(pat=\"http\")"),
        ("n is not divisibleby(2)", "n is not divisible_by(divisor=2)"),
        ("x is object", "x is map"),
        ("x is matching(pat=\"a\")", "x is matching(pat=\"a\")"),
        ("a | as_str | trim_start_matches(pat=\"./\")", "a | str | trim_start(pat=\"./\")"),
        ("section.pages | slice(end=5)", "section.pages[:5]"),
        ("a ~ b | slice(start=1, end=n)", "(a ~ b)[1:n]"),
        ("pages | concat(with=get_page(path=p))", "[...pages, get_page(path=p)]"),
        ("pages | concat(with=[1, 2])", "[...pages, 1, 2]"),
        ("pages | concat(with=s.pages)", "[...pages, ...s.pages]"),
        (
            "pages | filter(attribute=\"extra.a\", value=true) | length",
            "[it for it in pages if it?.extra?.a == true] | length",
        ),
        ("tags | concat(with=t)", "[...tags, ...(t if t is array else [t])]"),
        (
            "config.generate_feed and config.feed_filename",
            "config.generate_feeds and config.feed_filenames[0]",
        ),
        (
            "pages | map(attribute=\"date\")",
            "[it.date for it in pages if it?.date is defined and it?.date is not none]",
        ),
        (
            "a.b | int(default=0)",
            "(a.b | float | round(method=\"floor\") | int if a.b is number or a.b is matching(pat=\"^ *[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)? *$\") else 0)",
        ),
        ("n | int(base=16, default=0)", "n | int(base=16)"),
        ("n + m | int", "(n + m) | round(method=\"floor\") | int"),
        ("n * 1.5 | int", "(n * 1.5) | round(method=\"floor\") | int"),
        (
            "a | unique(attribute=\"b\")",
            "[it[0] for key, it in [it for it in a if it?.b is defined and it?.b is not none] | group_by(attribute=\"b\")]",
        ),
        ("n | round(method=\"common\", precision=1)", "n | round(precision=1)"),
        ("n | round(method=\"ceil\")", "n | round(method=\"ceil\") | int"),
        ("page.extra.a | default(value=\"x.y\")", "page?.extra?.a | default(value=\"x.y\")"),
        ("get_taxonomy_url(kind=\"tags\", name=t)", "get_taxonomy_url(kind=\"tags\", term=t)"),
        ("\"a.0 | as_str\"", "\"a.0 | as_str\""),
        ("1.5 + 2", "1.5 + 2"),
    ] {
        assert_eq!(convert(read(old), false), new);
    }
    let condition = convert(read("page.extra.a and not b[c].d"), true);
    assert_eq!(condition, "page?.extra?.a and not b?[c]?.d");
    let condition = convert(read("a.b[c.d].e and b[loop.index0][0].f"), true);
    assert_eq!(
        condition,
        "a?.b?[c?.d if c?.d is defined and c?.d is not none else \"\"]?.e and b?[loop?.index0]?[0]?.f"
    );
}

#[test]
fn values_are_what_they_were() {
    for (old, new) in [
        ("a.b.c or d.e", "true if a?.b?.c or d?.e else false"),
        ("not a.b", "not a?.b"),
        ("f(x=a or b)", "f(x=a or b)"),
        ("a ~ \".\" | f(x=1) | g", "(a ~ \".\") | f(x=1) | g"),
        ("a | f + 2 * b.c | g > -1 | h", "a | f + (2 * b.c) | g > -1 | h"),
        ("n / 2 | round", "(n / 2) | round | int"),
        (
            "a | split(pat=\" \") | map(attribute=\"b\")",
            "[it.b for it in a | split(pat=\" \") if it?.b is defined and it?.b is not none]",
        ),
        ("a.b | default(value=c) | slice(end=2)", "(a?.b | default(value=c))[:2]"),
        ("a | truncate | escape_xml", "a | truncate(length=255) | escape_html"),
        (
            "a | addslashes",
            r#"a | replace(from="\\", to="\\\\") | replace(from="\"", to="\\\"") | replace(from="\'", to="\\\'")"#,
        ),
        (
            "n | trim | float(default=x) | f",
            "(n | trim | float if n | trim is number or n | trim is matching(pat=\"^ *[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)? *$\") else x) | f",
        ),
        ("p | filter(attribute=\"a.0\", value=1)", "[it for it in p if it?.a?[0] == 1]"),
        ("n / 2 | int | f", "(n / 2) | round(method=\"floor\") | int | f"),
        ("a.b is defined", "a?.b is defined"),
        ("x.y is iterable and z", "true if (x?.y is array or x?.y is map) and z else false"),
        ("a or b | f is not iterable", "true if a or (b | f is not array and b | f is not map) else false"),
        (
            "n | filesizeformat",
            "n | filesize_format | replace(from=\"KiB\", to=\"kB\") | replace(from=\"iB\", to=\"B\")",
        ),
        ("n | filesizeformat(binary=true)", "n | filesizeformat(binary=true)"),
        ("a | indent(prefix='  ', first=true)", "a | indent(width=2, indentation=\" \", first=true)"),
        ("a | indent(prefix='> ')", "a | indent(prefix='> ')"),
        ("n | round(precision=0)", "n | round(precision=0) | int"),
        ("n | round(method=\"ceil\") | int", "n | round(method=\"ceil\") | int"),
        ("x | split(pat=\"\\n\") | join(sep='\\n')", "x | split(pat=\"\\n\") | join(sep='\\n')"),
        ("x | join(sep='\\d')", "x | join(sep='\\\\d')"),
        (
            "d | date(format=\"%-d de %B, %Y %H:%M\", locale=l)",
            "d | date(format=\"d' de 'MMMM, y HH:mm\", locale=l)",
        ),
        ("d | date(format='%d de %B', locale=l)", "d | date(format=\"dd' de 'MMMM\", locale=l)"),
        ("d | date(format='%d.%m', locale=l)", "d | date(format='dd.MM', locale=l)"),
        ("d | date(format='%j', locale=l)", "d | date(format='%j', locale=l)"),
        (
            "d | date(format=x.f | default(value=\"%d %B\"), locale=l)",
            "d | date(format=<zola.date_pattern format={x?.f | default(value=\"%d %B\")} />, locale=l)",
        ),
        ("d | date(format=f)", "d | date(format=f)"),
        ("d | date(locale=\"de\")", "d | date(locale=\"de\", format=\"y-MM-dd\")"),
        ("d | date(format=\"%F\")", "d | date(format=\"%F\")"),
        ("d | date(format=`%v %%x %+`)", "d | date(format=`%e-%b-%Y %%x %Y-%m-%dT%H:%M:%S%.f%:z`)"),
        ("d | date(timezone=\"UTC\")", "d | date(timezone=\"UTC\")"),
        ("d | date", "d | date"),
        ("x is matching(\"^\\d\")", "x is matching(pat=\"^\\\\d\")"),
        ("page.description | default(value=config.a.b) | safe", "(page?.description or config?.a?.b) | safe"),
        ("page.extra.title | default(value=a.b)", "page?.extra?.title | default(value=a?.b)"),
        (
            "page.title | default(value=a.title) | default(value=\"x\")",
            "((page?.title or a?.title) or \"x\")",
        ),
        (
            "pages | group_by(attribute=\"extra.a\")",
            "[it for it in pages if it?.extra?.a is defined and it?.extra?.a is not none] | group_by(attribute=\"extra.a\")",
        ),
        ("pages | group_by(attribute=\"year\")", "pages | group_by(attribute=\"year\")"),
        ("found | filter(attribute=\"\") | first", "[it for it in found if it is not none] | first"),
        ("a | filter(attribute='', value=1)", "[it for it in a if it == 1]"),
        (
            "a | map(attribute=`b.c-d`)",
            "[it.b[\"c-d\"] for it in a if it?.b?[\"c-d\"] is defined and it?.b?[\"c-d\"] is not none]",
        ),
        ("a | filter(attribute=key, value=x.y)", "[it for it in a if it?[key] == x.y]"),
        ("a | group_by(attribute=\"b.\" ~ key)", "a | group_by(attribute=\"b.\" ~ key)"),
    ] {
        assert_eq!(convert_value(read(old)), new);
    }
}

#[test]
fn quotients_are_shown_as_they_were() {
    assert_eq!(convert_shown(read(" n / 2 ")), "(n / 2) | str | trim_end(pat=\".0\")");
    assert_eq!(convert_shown(read("f(a=n / 2)")), "f(a=n / 2)");
    assert_eq!(convert_shown(read("n / 2 == 1")), "n / 2 == 1");
    assert_eq!(convert_shown(read("n * 1.5")), "(n * 1.5) | str | trim_end(pat=\".0\")");
    assert_eq!(convert_set(read("n / 2")), "(n / 2) if (n / 2) % 1 else (n / 2) | int");
    for other in ["1.5", "[1.5]", "n / 2 < 1", "f(a=n / 2) - 1"] {
        assert_eq!(convert_set(read(other)), other);
    }
}

#[test]
fn functions_ask_for_the_language_that_they_took() {
    for (old, new) in [
        ("get_section(path=\"a/_index.md\") ", "get_section(path=\"a/_index.md\", lang=\"de\") "),
        ("get_page(path=\"a.fr.md\")", "get_page(path=\"a.fr.md\", lang=\"fr\")"),
        ("get_url(path='@/a.fr.md#b')", "get_url(path='@/a.fr.md#b', lang=\"fr\")"),
        (
            "get_page(path=a.b)",
            "get_page(path=a.b, lang=\"fr\" if a.b is ending_with(pat=\".fr.md\") else \"de\")",
        ),
        (
            "get_section(path=a | last)",
            "get_section(path=a | last, lang=\"fr\" if (a | last) is ending_with(pat=\".fr.md\") else \"de\")",
        ),
        ("get_page(path=\"a.md\", lang=lang)", "get_page(path=\"a.md\", lang=lang)"),
        ("get_url(path=\"@/a.md\",)", "get_url(path=\"@/a.md\", lang=\"de\")"),
        ("get_url(path=\"a\") ~ x.trans()", "get_url(path=\"a\") ~ x.trans()"),
        ("trans(key=a) | upper", "trans(key=a, lang=\"de\") | upper"),
    ] {
        let mut tokens = read(old);
        let languages = Languages { own: "de".to_owned(), others: vec!["fr".to_owned()] };
        ask_for_language(&mut tokens, &languages);
        assert_eq!(write(&tokens), new);
    }
}

#[test]
fn texts_of_components_go_into_others_unescaped() {
    let set = ["toc".to_owned()].into();
    for (old, new) in [
        ("a | replace(from=\"x\", to=m::f()) | safe", "a | replace(from=\"x\", to=<f> | str) | safe"),
        ("toc | replace(from=toc, to=b.toc) | safe", "toc | str | replace(from=toc | str, to=b.toc) | safe"),
        ("m::f() | upper", "<f> | upper"),
    ] {
        let mut tokens = replace_calls(&read(old), &|call| format!("<{}>", call.name));
        keep_unsafe(&mut tokens, &set);
        assert_eq!(write(&tokens), new);
    }
    assert!(ends_safe(&read("a | safe ")) && !ends_safe(&read("safe")));
}

#[test]
fn parameters_that_were_not_given_are_none() {
    let parameters = ["a".to_owned(), "c".to_owned()].into();
    for (old, new) in [
        ("a is defined and ba is defined", "a is not none and ba is defined"),
        ("x.a is not defined or a is not defined", "x.a is not defined or a is none"),
        (
            "a | default(value=c | default(value=1)) | f",
            "(a if a is not none else (c if c is not none else 1)) | f",
        ),
    ] {
        assert_eq!(convert(ask_for_none(&read(old), &parameters), false), new);
    }
}

#[test]
fn calls_of_macros() {
    let tokens = read("\"x\" ~ m::link(a=1, b=m::f(x=y)) | safe");
    let found: Vec<Call> = calls(&tokens).collect();
    assert_eq!(found.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["link", "f"]);
    assert_eq!(write(&found[0].arguments[1].1), "m::f(x=y)");
    let made = replace_calls(&tokens, &|call| format!("<{}>", call.name));
    assert_eq!(write(&made), "\"x\" ~ <link> | safe");
}

#[test]
fn any_text_is_read_and_written_again() {
    for text in ["", "a b", "((", "\"open", "a.", "|", "is", "x is", "a | ", "]", "ü.0"] {
        assert_eq!(write(&read(text)), text);
        convert(read(text), true);
        convert_value(read(text));
    }
}
