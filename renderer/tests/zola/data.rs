//! Files and answers that templates read.

use crate::shown;
use crate::support::{errors, render, text, with};

#[test]
fn files_are_looked_up_in_the_documented_order() {
    let template = "{{ load_data(path='a.txt') }}{{ load_data(path='b.txt') }}{{ load_data(path='c.txt') }}{{ load_data(path='d.txt') }}{{ load_data(path='@/c.txt') }} {{ load_data(path='p/e.txt') }}{{ load_data(path='none.txt', required=false) is none }} {{ get_hash(path='css/x.css', sha_type=256, base64=false) | truncate(length=6, end='') }} {{ get_url(path='search_index.en.js', cachebust=true) is containing(pat='?h=') }}";
    let made = shown(
        template,
        &[
            ("zola.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\nbuild_search_index = true\n"),
            ("a.txt", "root"),
            ("static/a.txt", "no"),
            ("content/a.txt", "no"),
            ("static/b.txt", "-static"),
            ("content/b.txt", "no"),
            ("themes/t/static/b.txt", "no"),
            ("content/c.txt", "-content"),
            ("themes/t/static/c.txt", "no"),
            ("themes/t/static/d.txt", "-theme"),
            ("themes/t/sass/css/x.scss", "a { b: c }"),
            ("content/p.md", ""),
            ("content/p/index.md", "+++\nslug = \"q\"\n+++\n"),
            ("content/q/index.md", "+++\npath = \"p\"\nrender = false\n+++\n"),
            ("content/q/e.txt", "beside"),
        ],
    );
    assert_eq!(made, "root-static-content-theme-content besidetrue d1c454 true");
}

#[test]
fn files_of_content_are_named_as_files_are() {
    let template = "{% set b = get_page(path='./a/./b.md') %}{% set a = get_section(path='a//_index.md') %}{% set same = get_page(path='@/./a/b.md') %}{{ b.title }} {{ a.title }} {{ same.title }} {{ get_page(path='/a/b.md', allow_missing=true) is none }}";
    let more = [
        ("content/a/_index.md", "+++\ntitle = \"A\"\n+++\n"),
        ("content/a/b.md", "+++\ntitle = \"B\"\n+++\n"),
    ];
    assert_eq!(shown(template, &more), "B A B true");
}

#[test]
fn data_of_every_format() {
    let template = "{% set d = load_data(path='d.FORMAT') %}{{ d }}";
    for (file, content, expected) in [
        ("d.toml", "a = 1\n[b]\nc = 2026-01-02", r#"{"a": 1, "b": {"c": "2026-01-02"}}"#),
        ("d.json", "{\"a\": [1, 2.5]}", r#"{"a": [1, 2.5]}"#),
        ("d.yaml", "a: [x]", r#"{"a": ["x"]}"#),
        ("d.yml", "a: 1", r#"{"a": 1}"#),
        ("d.csv", "n,t\n1,a b", r#"{"headers": ["n", "t"], "records": [["1", "a b"]]}"#),
        ("d.xml", "<r><i>1</i><i>2</i></r>", r#"{"r": {"i": [1, 2]}}"#),
        ("d.bibtex", "@book{k, title = {T}}", "{\"preambles\""),
        ("d.bib", "@book{k}", "@book{k}"),
        ("d.txt", "{{ as is }}", "{{ as is }}"),
    ] {
        let template = template.replace("d.FORMAT", file).replace("{{ d }}", "{{ d | safe }}").leak();
        let made = shown(template, &[(file, content)]);
        assert!(made.starts_with(expected), "{file}: {made}");
    }
    assert_eq!(
        shown(
            "{% set l = load_data(literal='{\"a\": 1}', format='json') %}{% set d = load_data(path='d.txt', format='json') %}{{ l.a }}{{ d[0] }}",
            &[("d.txt", "[7]")]
        ),
        "17"
    );
    let wrong = errors(&with(&[
        ("content/p.md", ""),
        ("d.json", "{"),
        ("templates/page.html", "{{ load_data(path='d.json') }}"),
    ]));
    assert!(wrong.contains("--> d.json:1:1") && wrong.contains("templates/page.html:1 reads it"), "{wrong}");
    let wrong = errors(&with(&[
        ("content/p.md", ""),
        ("templates/page.html", "{{ load_data(literal='x', format='jsn') }}"),
    ]));
    assert!(wrong.contains("did you mean `json`?"), "{wrong}");
}

#[test]
fn data_from_other_servers() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        // Three different requests; a fourth would be one that was asked twice.
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body_follows = |seen: &str| seen.starts_with("POST") && !seen.ends_with("question");
            loop {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
                let seen = String::from_utf8_lossy(&request).into_owned();
                if n == 0 || (seen.contains("\r\n\r\n") && !body_follows(&seen)) {
                    break;
                }
            }
            let request = String::from_utf8(request).unwrap();
            let answer = match request.split(' ').nth(1).unwrap() {
                "/json" => "200 OK\r\ncontent-length: 9\r\n\r\n{\"n\": 42}",
                "/post" => "200 OK\r\ncontent-length: 2\r\n\r\nok",
                _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n",
            };
            asked.push(request);
            write!(stream, "HTTP/1.1 {answer}").unwrap();
        }
        asked
    });
    let template = format!(
        "{{% set d = load_data(url='http://{address}/json', format='json') %}}{{{{ d.n }}}} {{{{ load_data(url='http://{address}/post', method='POST', content_type='text/plain', headers=['x-own=yes'], body='question') }}}} {{{{ load_data(url='http://{address}/none', required=false) is none }}}}"
    )
    .leak();
    let (_, files) =
        render(&with(&[("content/a.md", ""), ("content/b.md", ""), ("templates/page.html", template)]))
            .map_err(|e| e.to_string())
            .unwrap();
    assert_eq!(text(&files, "a/index.html"), "42 ok true");
    assert_eq!(text(&files, "b/index.html"), "42 ok true");
    let asked = server.join().unwrap();
    let post = asked.iter().find(|request| request.starts_with("POST /post")).unwrap();
    assert!(post.contains("x-own: yes") && post.contains("content-type: text/plain"), "{post}");
    let gone = format!("{{{{ load_data(url='http://{address}/none') }}}}").leak();
    let told = errors(&with(&[("content/a.md", ""), ("templates/page.html", gone)]));
    assert!(told.contains("cannot be read"), "{told}");
}
