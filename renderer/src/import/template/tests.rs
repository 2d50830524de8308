use super::*;
use crate::import::shortcode;

fn shortcode(file: &str, text: &str, names: &Names) -> Converted {
    shortcode::shortcode(file, text, names).0
}

fn names() -> Names {
    Names {
        spaces: [("macros/links.html".to_owned(), "links".to_owned())].into(),
        aliases: [("inherited".to_owned(), "links".to_owned())].into(),
        files: ["there.html".to_owned()].into(),
        ..Names::default()
    }
}

#[test]
fn blocks_that_nothing_above_has_are_left_out() {
    let base = "{% block a %}{% endblock %}";
    let page = "{% extends 'base.html' %}{% block a %}{% block in %}x{% endblock %}{% endblock a %} {%- block lost -%}{% if a %}{% block b %}y{% endblock %}{% endif %}{% endblock lost %}{% block a2 %}{% endblock %}";
    let mut names = names();
    for (name, text) in [("base.html", base), ("page.html", page)] {
        names.frames.entry(name.to_owned()).or_default().read(&pieces(text));
    }
    let made = convert("page.html", page, &names);
    insta::assert_snapshot!(made.text, @"{% extends 'base.html' %}{% block a %}{% block in %}x{% endblock %}{% endblock a %}");
    assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
    // What is above is not known: nothing is left out.
    let kept = "{% extends 'theme/templates/x.html' %}{% block lost %}{% endblock lost %}";
    assert_eq!(convert("z.html", kept, &names).text, kept);
}

#[test]
fn macros_become_components() {
    let made = convert(
        "macros/links.html",
        "{% macro one(a, b=\"x\") %}{{ self::two(c=a) }}{% endmacro one %}\n{% macro two(c) -%}{{ c | as_str }}{% endmacro %}",
        &names(),
    );
    insta::assert_snapshot!(made.text, @r#"
    {% component links.one(a, b="x") %}{{ <links.two c={a} /> }}{% endcomponent links.one %}
    {% component links.two(c) -%}{{ c | str }}{% endcomponent links.two %}
    "#);
    let made = convert(
        "page.html",
        "{% import \"macros/links.html\" as m %}\n{%- if page.extra.a %}{{ m::one(a=page.title, b='y') | safe }}{% endif %}{% set x = m::two(c=1) %}{% for p in s.pages | slice(end=3) %}{% raw %}{{ m::x() }}{% endraw %}{% endfor %}",
        &names(),
    );
    insta::assert_snapshot!(made.text, @r#"{%- if page?.extra?.a %}{{ <links.one a={page.title} b={'y'} /> | safe }}{% endif %}{% set x = <links.two c={1} /> %}{% for p in s.pages[:3] %}{% raw %}{{ m::x() }}{% endraw %}{% endfor %}"#);
}

#[test]
fn what_has_another_name_now_is_told() {
    let made = convert(
        "page.html",
        "page.later {% if page.later or page.heavier %}{{ page.later.title }}{% endif %}{% if config.markdown.highlight_theme == 'css' %}{% endif %}{% if config.generate_rss %}rss.xml{% endif %}",
        &names(),
    );
    let notes: Vec<String> = made.notes.iter().map(|(part, note)| format!("{part}: {note}")).collect();
    insta::assert_snapshot!(notes.join("\n"), @"
     if page.later or page.heavier : there is no `page.later` any more: it is `page.lower` now
     if page.later or page.heavier : there is no `page.heavier` any more: it is `page.higher` now
     if config.markdown.highlight_theme == 'css' : there is no `config.markdown.highlight_theme` any more: it is `config.markdown.highlighting.theme` now
     if config.generate_rss : there is no `config.generate_rss` any more: it is `config.generate_feeds` now
    ");
}

#[test]
fn macros_take_what_they_could_see() {
    let blind = convert("x.html", "{% macro m() %}{{ title }}{% if x %}{% endif %}{% endmacro %}", &names());
    assert!(blind.notes[0].1.contains("the macro `m` reads `title`,"), "{:?}", blind.notes);
    let made = convert(
        "pager.html",
        "{% macro pager() %}{{ paginator.current_index }} {{ lang }}{% endmacro pager %}{% macro one(page, s=\"x\") %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endmacro %}",
        &names(),
    );
    insta::assert_snapshot!(made.text, @r#"{% component pager(@lang = none, @paginator = none) %}{{ paginator.current_index }} {{ lang }}{% endcomponent pager %}{% component one(page, s="x", @section = none) %}{{ page.title }}{% set config = 1 %}{{ config }}{{ section.title }}{% endcomponent one %}"#);
}

#[test]
fn macros_are_called_within_expressions() {
    let made = convert(
        "page.html",
        "{% import 'theme/templates/macros/links.html' as m %}{% if m::one(a=m::two(c=1)) == \"1\" and not x.y.z %}{{ t | replace(from=\"a\", to=m::two(c=p or q.r)) }}{% endif %}{{- self::gone() | trim -}}",
        &names(),
    );
    insta::assert_snapshot!(made.text, @r#"{% if <links.one a={<links.two c={1} />} /> == "1" and not x?.y?.z %}{{ t | replace(from="a", to=<links.two c={true if p or q?.r else false} />) }}{% endif %}{{- <gone /> | trim -}}"#);
    assert_eq!(made.notes.len(), 0);
}

#[test]
fn parameters_take_what_they_are_given() {
    let mut names = names();
    for call in ["m::two(s=\"\", b=x.y, n=-1)", "m::two(s=\"a\", n=2)"] {
        let tokens = expression::read(call);
        expression::calls(&tokens).for_each(|call| names.given.add(&call.name, &call.arguments));
    }
    let text = "{% macro two(a, s=\"\\d\", b=false, n=1) -%}\n{{ a }}{% endmacro wrong %}";
    insta::assert_snapshot!(convert("x.html", text, &names).text, @r#"
    {% component two(a, s="\\d", b=none, n=1) %}{% set b = false if b is none else b -%}
    {{ a }}{% endcomponent two %}
    "#);
    let text = "{% if b %}{{ b | default(value=\"x\") }}{{ n | default(value=\"x\") }}{% endif %}";
    insta::assert_snapshot!(shortcode("two.html", text, &names).text, @r#"
    {% component two(b = none, n = none) -%}
    {% if b -%}
    {{ (b if b is not none else "x") | str | escape }}{{ (n if n is not none else "x") | str | escape }}
    {% endif -%}
    {%- endcomponent two %}
    "#);
}

#[test]
fn ends_have_the_names_of_what_they_end() {
    let text = "{% block a %}{%- block b -%}{% endblock a %}{% endblock wrong -%}{% filter linebreaksbr %}{% endfilter %}";
    let made = convert("x.html", text, &names());
    insta::assert_snapshot!(made.text, @"{% block a %}{%- block b -%}{% endblock b %}{% endblock a -%}{% filter newlines_to_br | safe %}{% endfilter %}");
}

#[test]
fn what_stands_outside_of_the_blocks_of_a_child_is_left_out() {
    let text = "{# why #}\n{% extends \"base.html\" %}\nlost\n{% set x = 1 %}{% macro m() %}x{% endmacro m %}\n{% if x %}{% block a %}{{ x }}{% endblock %}{% endif %}";
    let made = convert("x.html", text, &names());
    insta::assert_snapshot!(made.text, @r#"
    {# why #}
    {% extends "base.html" %}{% component m() %}x{% endcomponent m %}
    {% block a %}{{ x }}{% endblock %}
    "#);
    assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
}

#[test]
fn shortcodes_of_markdown_keep_their_lines() {
    let text = "## A\n\n- {{ a }}\n\n    code\n";
    insta::assert_snapshot!(shortcode("m.md", text, &names()).text, @"
    {% component m(a) %}## A

    - {{ a }}

        code
    {% endcomponent m %}
    ");
}

#[test]
fn what_a_parent_imports_or_may_include_is_known() {
    let made = convert(
        "page.html",
        "{{ inherited::one(a=1) }}{% include \"none.html\" ignore missing %}{% include ['none.html', 'there.html'] %}",
        &names(),
    );
    assert_eq!(made.text, "{{ <links.one a={1} /> }}{% include \"none.html\" %}{% include \"there.html\" %}");
    assert_eq!((made.empty, made.notes.len()), (vec!["none.html".to_owned()], 0));
}

#[test]
fn shortcodes_become_components() {
    let made = shortcode(
        "image.html",
        "{% if not id %}\n{# none #}\n{% set id = 1 %}\n{% endif %}\n<figure>\n\n  <img src=\"{{ get_url(path=src) }}\" alt=\"{{ alt | default(value=\"\") }}\">\n  {% if caption is defined %}<p>{{ caption }}</p>{% endif %}\n  {% for a in page.assets %}{{ a }}{% endfor %}{{ body }}\n</figure>\n",
        &names(),
    );
    insta::assert_snapshot!(made.text, @r#"
    {% component image(src, alt = "", caption = none, id = none, @page = none) %}
    {% if not id -%}
    {# none -#}
    {% set id = 1 -%}
    {% endif -%}
    <figure>
    <img src="{{ get_url(path=src) }}" alt="{{ alt | default(value="") | str | escape }}">
    {% if caption is not none -%}
    <p>{{ caption | str | escape }}</p>
    {% endif -%}
    {% for a in page.assets %}{{ a | str | escape }}{% endfor %}{{ body | str | escape | str | regex_replace(pattern="\n([ \t]*)\n", rep="\n$1&#10;") | safe }}
    </figure>
    {% endcomponent image %}
    "#);
}

#[test]
fn macros_of_a_shortcode_follow_it() {
    let mut names = names();
    names.spaces.insert("shortcodes/team.html".to_owned(), "team".to_owned());
    let text = "{% macro one(who) %}<i>{{ who }}</i>{% endmacro %}\n<div>{% for who in list %}{{ self::one(who=who) }}{% endfor %}</div>\n";
    insta::assert_snapshot!(shortcode("team.html", text, &names).text, @r#"
    {% component team(list) %}
    <div>{% for who in list %}{{ <team.one who={who} /> | trim | safe }}{% endfor %}</div>
    {% endcomponent team %}
    {% component team.one(who) %}<i>{{ who | str | escape }}</i>{% endcomponent team.one %}
    "#);
}

#[test]
fn what_a_shortcode_shows_is_escaped() {
    let mut names = names();
    names.given.add(
        "a",
        &vec![(Some("t".to_owned()), expression::read("'x'")), (Some("n".to_owned()), expression::read("1"))],
    );
    for (old, new) in [
        ("t", "t | escape"),
        ("n", "n"),
        ("t ~ n", "(t ~ n) | str | escape"),
        ("x.body | safe", "x.body | safe"),
        ("body | safe", r#"body | str | regex_replace(pattern="\n([ \t]*)\n", rep="\n$1&#10;") | safe"#),
        (
            "body | markdown",
            r#"body | markdown | str | escape | str | regex_replace(pattern="\n([ \t]*)\n", rep="\n$1&#10;") | safe"#,
        ),
        ("img.url", "img.url | str | escape"),
        ("img.width", "img.width"),
        ("get_url(path=t)", "get_url(path=t)"),
        ("load_data(path=t)", "load_data(path=t) | str | escape"),
        ("trans(key=t) | safe", "trans(key=t) | safe"),
        ("n + 1", "n + 1"),
        ("n % 2", "n % 2"),
        ("m::a()", "<m.a /> | trim | safe"),
        ("t | slugify", "t | slugify"),
    ] {
        let made = shortcode("a.html", &format!("<b>{{{{ {old} }}}}</b>"), &names).text;
        assert!(made.contains(&format!("<b>{{{{ {new} }}}}</b>")), "{old}: {made}");
    }
    assert!(shortcode("a.md", "{{ t }}", &names).text.contains("{{ t }}"));
}

#[test]
fn what_conditions_pass_over_need_not_be_given() {
    let text =
        "{% if o.a %}{{ o.a }}{% elif p[0] is defined %}{{ p[0] }}{% endif %}{% set x = not q %}{{ r }}";
    let head = "{% component a(r, o = none, p = none, q = none) -%}";
    assert_eq!(shortcode("a.html", text, &names()).text.lines().next(), Some(head));
}

#[test]
fn fields_of_a_parameter_that_is_no_map_are_missing() {
    let text = "{% macro m(s=\"\", t=\"\") %}{{ s[k] }}{{ t.a }}{% if t == \"\" %}{% endif %}{% endmacro %}";
    let mut names = names();
    names.given.add(
        "m",
        &vec![(Some("s".to_owned()), expression::read("x")), (Some("t".to_owned()), expression::read("x"))],
    );
    let made = convert("a.html", text, &names).text;
    assert!(
        made.contains("{% set s = {} if s is none else s %}{% set t = \"\" if t is none else t %}"),
        "{made}"
    );
}

#[test]
fn any_template_is_read() {
    let deep = format!("{{{{ {} }}}}", "m::a(b=x | default(value=".repeat(100_000));
    for text in ["", "{{", "{% if", "{# a", "a {{ '}}' }} b", "{% raw %}{{", "{%-%}", "{{-}}", &deep] {
        convert("a.html", text, &names());
        shortcode("a.html", text, &names());
    }
}
