//! RFC 9110 §13, RFC 9111 §4.3.

use edge::policy::query::QueryKey;

use crate::support::{Reply, Upstream, eventually, field, front, run, send, upstream_config};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test]
async fn a_304_changes_all_fields_but_the_length() {
    let upstream = Upstream::script(vec![
        send(
            200,
            &[
                ("cache-control", "max-age=0"),
                ("etag", "\"a\""),
                ("content-type", "text/old"),
                ("content-location", "/old"),
                ("x-kept", "1"),
                ("x-many", "1"),
                ("x-many", "2"),
            ],
            "body",
        ),
        send(
            304,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("content-type", "text/new"),
                ("content-location", "/new"),
                ("content-length", "99"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("x-many", "3"),
            ],
            "",
        ),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    for told in ["fwd=stale", "hit"] {
        let seen = edge.get("/").await;
        assert_eq!(
            (seen.status, seen.text(), seen.field("content-length").as_deref()),
            (200, "body", Some("4"))
        );
        assert_eq!(seen.field("content-type").as_deref(), Some("text/new"));
        assert_eq!(seen.field("content-location").as_deref(), Some("/new"));
        assert_eq!(
            (seen.field("x-kept").as_deref(), seen.field("x-many").as_deref()),
            (Some("1"), Some("3"))
        );
        assert_eq!(seen.field("x-hop"), None);
        assert!(seen.cache_status().contains(told), "{}", seen.cache_status());
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_304_about_something_else_is_no_answer() {
    let upstream = Upstream::script(vec![
        send(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], "old"),
        send(304, &[("etag", "\"b\"")], ""),
        send(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], "new"),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    assert_eq!(edge.get("/").await.text(), "new");
    let asked = upstream.requests();
    assert_eq!(field(&asked[1], "if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(field(&asked[2], "if-none-match"), None);
}

#[tokio::test]
async fn a_variant_that_is_not_held_is_asked_for_by_the_tags_of_those_that_are() {
    let upstream = Upstream::start(|head| {
        let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language"), ("etag", "\"en\"")];
        let known = field(head, "if-none-match").is_some_and(|tags| tags.contains("\"en\""));
        send(if known { 304 } else { 200 }, &fields, "hello")
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.ask("GET", "/", &[("accept-language", "en")]).await.text(), "hello");
    let other = edge.ask("GET", "/", &[("accept-language", "fr")]).await;
    assert_eq!((other.status, other.text()), (200, "hello"));
    assert!(other.cache_status().contains("fwd=vary-miss; fwd-status=304"), "{}", other.cache_status());
    for language in ["en", "fr"] {
        let hit = edge.ask("GET", "/", &[("accept-language", language)]).await;
        assert!(hit.cache_status().contains("hit"), "{language}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn our_request_selects_what_is_held() {
    let upstream = Upstream::start(|_| {
        let fields = [("cache-control", "max-age=0"), ("vary", "Accept, X-None"), ("etag", "\"a\"")];
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.ask("GET", "/", &[("accept", "text/html, text/css")]).await;
    edge.ask("GET", "/", &[("accept", "TEXT/css ,text/html")]).await;
    let asked = upstream.requests();
    assert_eq!(field(&asked[0], "accept").as_deref(), Some("text/html, text/css"));
    assert_eq!(field(&asked[1], "accept").as_deref(), Some("text/css,text/html"));
    assert_eq!(field(&asked[1], "if-none-match").as_deref(), Some("\"a\""));
}

#[tokio::test]
async fn a_head_updates_what_agrees_and_ends_what_does_not() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap();
        if head.starts_with("GET") {
            return send(200, &[("cache-control", "max-age=0"), ("etag", "\"a\""), ("x-a", "1")], "body");
        }
        let fields = [("cache-control", "max-age=60"), ("x-a", "2")];
        match path {
            "/agrees" => send(200, &[&fields[..], &[("etag", "\"a\"")]].concat(), "body"),
            "/tag" => send(200, &[&fields[..], &[("etag", "\"b\"")]].concat(), "body"),
            "/length" => send(200, &[&fields[..], &[("etag", "\"a\"")]].concat(), "longer"),
            "/bare" => send(200, &fields, "body"),
            _ => send(410, &fields, "body"),
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (path, hit) in
        [("/agrees", true), ("/tag", false), ("/length", false), ("/bare", false), ("/gone", false)]
    {
        edge.get(path).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        // Nothing of the content of a HEAD is read, whatever its length says.
        let head = edge.ask("HEAD", path, &[]).await;
        assert_eq!(head.field("x-a").as_deref(), Some("2"), "{path}");
        let seen = edge.get(path).await;
        assert_eq!(seen.cache_status().contains("hit"), hit, "{path} {}", seen.cache_status());
        let field = seen.field("x-a");
        assert_eq!((seen.text(), field.as_deref()), ("body", Some(if hit { "2" } else { "1" })), "{path}");
    }
}

/// RFC 9111 §4.3.5: what the answer to a HEAD says is news only if it is what a GET would bring.
#[tokio::test]
async fn a_head_that_asks_for_more_than_is_keyed_updates_nothing() {
    let upstream = Upstream::start(|head| {
        let asked = format!("{}{}", head.lines().next().unwrap(), field(head, "content-length").is_some());
        send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-asked", &asked)], "body")
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.rules.query = QueryKey::Without(vec!["utm_*".into()]);
    let edge = run(config).await;
    let first = edge.get("/").await.field("x-asked");
    eventually("the store", || edge.edge.state().flights == 0).await;
    let heads = [
        "HEAD / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi",
        "HEAD /?utm_x=evil HTTP/1.1\r\nhost: site.test\r\nif-match: *\r\n\r\n",
    ];
    for request in heads {
        let head = edge.raw(request.as_bytes(), true).await;
        assert!(head.status == 200 && head.field("x-asked") != first, "{request}");
        let seen = edge.get("/").await;
        assert!(seen.cache_status().contains("hit"), "{request}");
        assert_eq!(seen.field("x-asked"), first, "{request}");
    }
    // One that asks for what is keyed does.
    let head = edge.ask("HEAD", "/", &[("if-match", "*")]).await;
    assert_eq!(edge.get("/").await.field("x-asked"), head.field("x-asked"));
}

#[tokio::test]
async fn conditions_for_the_upstream_alone_reach_it_unchanged() {
    let upstream = Upstream::start(|head| {
        if field(head, "if-match").is_some() {
            send(412, &[], "")
        } else {
            send(200, &[("cache-control", "max-age=60")], "x")
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let seen = edge.ask("GET", "/", &[("if-match", "\"z\"")]).await;
    assert_eq!(seen.status, 412);
    assert!(seen.cache_status().contains("fwd=bypass"), "{}", seen.cache_status());
    assert_eq!(edge.ask("GET", "/", &[("if-unmodified-since", DATE)]).await.status, 200);
    let asked = upstream.requests();
    assert_eq!(field(&asked[1], "if-match").as_deref(), Some("\"z\""));
    assert_eq!(field(&asked[2], "if-unmodified-since").as_deref(), Some(DATE));
}

#[tokio::test]
async fn conditions_are_answered_for_successes_alone() {
    let upstream = Upstream::start(|head| {
        let status = head.split(' ').nth(1).unwrap()[1..].parse().unwrap();
        send(status, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (path, status) in [("/200", 304), ("/203", 304), ("/404", 404)] {
        edge.get(path).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        for fields in [&[("if-none-match", "\"b\", W/\"a\"")][..], &[("if-none-match", "*")]] {
            let seen = edge.ask("GET", path, fields).await;
            assert_eq!((seen.status, seen.field("etag").as_deref()), (status, Some("\"a\"")), "{path}");
        }
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_tag_of_another_coding_is_not_trusted() {
    // An upstream that gives the same strong tag to every coding, which it should not.
    let upstream = Upstream::start(|head| {
        let gzip = field(head, "accept-encoding").is_some_and(|codings| codings.contains("gzip"));
        let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Encoding"), ("etag", "\"a\"")];
        if field(head, "if-none-match").is_some() {
            return send(304, &fields, "");
        }
        if gzip {
            send(200, &[&fields[..], &[("content-encoding", "gzip")]].concat(), "coded")
        } else {
            send(200, &fields, "plain")
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.ask("GET", "/", &[("accept-encoding", "gzip")]).await.text(), "coded");
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert_eq!(edge.get("/").await.text(), "plain");
    assert_eq!(field(&upstream.requests()[1], "if-none-match"), None);
}

/// RFC 9111 §4.3.5.
#[tokio::test]
async fn a_head_says_as_much_about_parts() {
    for (tag, length, hit) in [("\"a\"", 10, true), ("\"b\"", 10, false), ("\"a\"", 11, false)] {
        let upstream = Upstream::start(move |head| {
            if head.starts_with("HEAD") {
                let text =
                    format!("HTTP/1.1 200 OK\r\netag: {tag}\r\nx-new: 1\r\ncontent-length: {length}\r\n\r\n");
                return crate::support::Reply::Send(text.into());
            }
            let fields =
                [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-range", "bytes 0-4/10")];
            send(206, &fields, "01234")
        })
        .await;
        let edge = front(&[&upstream]).await;
        let part = async || {
            let seen = edge.ask("GET", "/", &[("range", "bytes=0-4")]).await;
            eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
            seen
        };
        part().await;
        assert_eq!(edge.ask("HEAD", "/", &[]).await.status, 200);
        let seen = part().await;
        assert_eq!(seen.text(), "01234");
        assert_eq!(seen.cache_status().contains("; hit"), hit, "{tag} {length}: {}", seen.head);
        assert_eq!(seen.field("x-new").is_some(), hit);
    }
}

/// RFC 9110 §13.1.2, §13.1.3, §13.2.1.
#[tokio::test]
async fn what_is_not_stored_is_not_sent_to_one_who_has_it() {
    let upstream = Upstream::start(|head| {
        let has_it = field(head, "if-none-match").as_deref() == Some("\"p\"")
            || field(head, "if-modified-since").as_deref() == Some(DATE);
        let control = if head.starts_with("GET /private") { "private" } else { "max-age=60" };
        let fields = [("cache-control", control), ("etag", "\"p\""), ("last-modified", DATE)];
        send(if has_it { 304 } else { 200 }, &fields, "mine")
    })
    .await;
    for (path, asked) in [
        ("/private", [("if-none-match", "\"p\""), ("x", "1")]),
        ("/private", [("if-modified-since", DATE), ("x", "1")]),
        ("/", [("if-none-match", "\"p\""), ("cache-control", "no-store")]),
        ("/", [("if-none-match", "\"p\""), ("authorization", "Basic eA==")]),
    ] {
        let edge = front(&[&upstream]).await;
        for known in [false, true] {
            // That it is for one client is known of a request that says so, or once the upstream has.
            let sent_on = known || asked[1].0 == "cache-control";
            let seen = edge.ask("GET", path, &asked).await;
            assert_eq!(
                (seen.status, seen.body.len(), seen.field("content-length")),
                (304, 0, None),
                "{asked:?}"
            );
            assert_eq!(seen.field("etag").as_deref(), Some("\"p\""));
            let status = if sent_on { "fwd-status=304" } else { "fwd-status=200" };
            assert!(seen.cache_status().contains(status), "{asked:?} {}", seen.head);
            let last = upstream.requests().pop().unwrap();
            assert_eq!(field(&last, asked[0].0).is_some(), sent_on, "{last}");
        }
        let other = edge.ask("GET", path, &[("if-none-match", "\"q\""), asked[1]]).await;
        assert_eq!((other.status, other.text()), (200, "mine"), "{asked:?}");
        assert_eq!(edge.edge.state().entries, 0);
    }
}

/// RFC 9111 §4.3.4, but for a copy that has validators where the 304 has none.
#[tokio::test]
async fn a_304_without_validators_is_about_the_only_copy_that_was_asked_about() {
    let upstream = Upstream::start(|head| {
        if field(head, "if-none-match").is_some() {
            return send(304, &[("cache-control", "max-age=60"), ("x-new", "1")], "");
        }
        let variant = field(head, "x-v").unwrap();
        let tag = format!("\"{variant}\"");
        send(200, &[("cache-control", "max-age=0"), ("vary", "x-v"), ("etag", &tag)], &variant)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let ask = async |variant: &str| {
        let seen = edge.ask("GET", "/", &[("x-v", variant)]).await;
        eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
        seen
    };
    ask("1").await;
    let renewed = ask("1").await;
    assert_eq!((renewed.text(), renewed.field("x-new").as_deref()), ("1", Some("1")));
    assert!(ask("1").await.cache_status().contains("; hit"));
    assert_eq!(upstream.requests().len(), 2);
    // With the tags of others beside it, or of others alone, it may be about any of them: the whole is asked for.
    for _ in 0..2 {
        let before = upstream.requests().len();
        let seen = ask("2").await;
        assert_eq!((seen.text(), seen.field("x-new")), ("2", None));
        let asked = upstream.requests().split_off(before);
        assert!(field(&asked[0], "if-none-match").unwrap().contains("\"1\""));
        assert_eq!((asked.len(), field(&asked[1], "if-none-match")), (2, None));
    }
}

/// RFC 9530 §2: a 304 has no content.
#[tokio::test]
async fn a_304_has_no_digest_of_content() {
    let upstream = Upstream::start(|_| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("content-digest", "sha-256=:AAAA:"),
            ("content-md5", "AAAA"),
            ("repr-digest", "sha-256=:BBBB:"),
        ];
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    // On the short way and the long one.
    for tags in ["\"a\"", "\"b\", \"a\""] {
        let seen = edge.ask("GET", "/", &[("if-none-match", tags)]).await;
        assert_eq!((seen.status, seen.field("content-digest"), seen.field("content-md5")), (304, None, None));
        assert_eq!(seen.field("repr-digest").as_deref(), Some("sha-256=:BBBB:"));
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// RFC 9111 §4.
#[tokio::test]
async fn of_several_that_are_selected_the_latest_answers() {
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
            .unwrap();
    for (latest_first, control, answer) in [
        (true, "max-age=60", "latest"),
        (false, "max-age=60", "latest"),
        // One that must be validated first is no answer beside one that need not be.
        (true, "max-age=0", "earlier"),
    ] {
        let upstream = Upstream::start(move |head| {
            let is_latest = field(head, "x-a").as_deref() == Some("1");
            let date = edge::policy::date::format(if is_latest { now } else { now - 30 });
            let (vary, control, body) =
                if is_latest { ("x-a", control, "latest") } else { ("x-b", "max-age=60", "earlier") };
            let fields = [("cache-control", control), ("vary", vary), ("date", &date), ("etag", "\"a\"")];
            send(200, &fields, body)
        })
        .await;
        let edge = front(&[&upstream]).await;
        let mut asked = [[("x-a", "1"), ("x-b", "1")], [("x-a", "2"), ("x-b", "2")]];
        if !latest_first {
            asked.reverse();
        }
        for fields in asked {
            edge.ask("GET", "/", &fields).await;
            eventually("the store", || edge.edge.state().flights == 0).await;
        }
        // On the short way and the long one.
        for way in [("x", "1"), ("cache-control", "max-stale=0")] {
            let seen = edge.ask("GET", "/", &[("x-a", "1"), ("x-b", "2"), way]).await;
            assert_eq!(seen.text(), answer, "{latest_first} {control} {way:?}");
            assert!(seen.cache_status().contains("; hit"), "{}", seen.head);
        }
    }
}

/// RFC 9530 §2, §B.2: a HEAD or a 304 that digests its own content, which is none, says nothing about that of the stored response.
#[tokio::test]
async fn a_digest_of_no_content_is_not_that_of_the_stored_one() {
    let upstream = Upstream::start(|head| {
        let digest = |text| [("etag", "\"a\""), ("content-digest", text)];
        let (status, control, fields) = if head.starts_with("HEAD") {
            (200, "max-age=60", digest("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"))
        } else if field(head, "if-none-match").is_some() {
            (304, "max-age=60", digest("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"))
        } else {
            (200, "max-age=0", digest("sha-256=:BODY:"))
        };
        let fields = [&[("cache-control", control), ("repr-digest", "sha-256=:BODY:")], &fields[..]].concat();
        let Reply::Send(mut bytes) = send(status, &fields, "x") else { unreachable!() };
        // A HEAD tells how long the content is, and brings none.
        bytes.truncate(bytes.len() - usize::from(head.starts_with("HEAD")));
        Reply::Send(bytes)
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (path, method) in [("/head", "HEAD"), ("/get", "GET")] {
        edge.get(path).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        edge.ask(method, path, &[]).await;
        let held = edge.get(path).await;
        let digests = ["content-digest", "repr-digest"].map(|name| held.field(name));
        assert_eq!(digests, [(); 2].map(|()| Some("sha-256=:BODY:".to_owned())), "{path} {}", held.head);
        // On the short way and the long one.
        for fields in [&[][..], &[("via", "1.1 other")]] {
            let head = edge.ask("HEAD", path, fields).await;
            assert!(head.cache_status().contains("hit"), "{}", head.head);
            assert_eq!(head.field("content-digest"), None);
            assert_eq!(head.field("repr-digest").as_deref(), Some("sha-256=:BODY:"));
        }
    }
}

/// RFC 9110 §15.4.5: a 304 stands for a success, and so says nothing about a stored response that is none.
#[tokio::test]
async fn a_304_does_not_renew_what_is_no_success() {
    for status in [404, 410, 301, 503] {
        let upstream = Upstream::start(move |head| {
            let is_conditional =
                ["if-none-match", "if-modified-since"].iter().any(|name| field(head, name).is_some());
            let fields = [("cache-control", "max-age=0"), ("last-modified", DATE), ("etag", "\"a\"")];
            // What was missing is there by then, and is older than the page that said so.
            let is_there = field(head, "x-there").is_some();
            match (is_there, is_conditional) {
                (true, true) => send(304, &fields, ""),
                (true, false) => send(200, &fields, "here"),
                (false, _) => send(status, &fields, "gone"),
            }
        })
        .await;
        let edge = front(&[&upstream]).await;
        assert_eq!(edge.get("/").await.text(), "gone");
        eventually("the store", || edge.edge.state().flights == 0).await;
        let seen = edge.ask("GET", "/", &[("x-there", "1")]).await;
        assert_eq!((seen.status, seen.text()), (200, "here"), "{status} {}", seen.head);
    }
}

/// RFC 9110 §15.4.5: a 304 is about what somebody holds.
#[tokio::test]
async fn a_304_to_no_condition_is_no_response() {
    let upstream = Upstream::start(|_| send(304, &[("etag", "\"a\"")], "")).await;
    let edge = front(&[&upstream]).await;
    for (method, fields, status) in [
        ("GET", &[][..], 502),
        ("HEAD", &[], 502),
        ("HEAD", &[("if-match", "\"a\"")], 502),
        ("HEAD", &[("if-none-match", "\"a\"")], 304),
        ("HEAD", &[("if-modified-since", "Mon, 23 Nov 2026 12:00:00 GMT")], 304),
        ("GET", &[("if-match", "*"), ("if-none-match", "\"b\"")], 304),
        ("POST", &[("content-length", "0")], 304),
    ] {
        assert_eq!(edge.ask(method, "/", fields).await.status, status, "{method} {fields:?}");
    }
    // To one with content, which has no other way.
    let seen = edge.raw(b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx", false).await;
    assert_eq!(seen.status, 502);
}

/// What an upstream says in place of a response stands for none.
#[tokio::test]
async fn stale_stands_in_for_a_304_that_fits_nothing() {
    let fits_nothing = || send(304, &[("etag", "\"b\"")], "");
    let whole = send(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], "old");
    for (method, tries) in [("GET", 2), ("HEAD", 1)] {
        let replies = std::iter::once(whole.clone()).chain((0..tries).map(|_| fits_nothing())).collect();
        let upstream = Upstream::script(replies).await;
        let edge = front(&[&upstream]).await;
        edge.get("/").await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        let seen = edge.ask(method, "/", &[]).await;
        let told = "Bakehouse; fwd=stale; ttl=0; detail=disconnected";
        assert_eq!((seen.status, seen.cache_status().as_str()), (200, told), "{method}");
        assert_eq!(upstream.requests().len(), 1 + tries);
    }
}

/// RFC 9111 §5.1: `Age` says that a response was not confirmed by the upstream for this request.
#[tokio::test]
async fn what_was_just_confirmed_has_no_age() {
    let (short, long) = (("cache-control", "max-age=0"), ("cache-control", "max-age=60"));
    let tag = ("etag", "\"a\"");
    let upstream = Upstream::script(vec![
        send(200, &[short, tag], "x"),
        send(304, &[short, tag, ("age", "7")], ""),
        send(304, &[short, tag], ""),
        send(304, &[long, tag], ""),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    for (told, age) in [
        ("fwd=uri-miss; fwd-status=200", None),
        // By a cache in between, which says so.
        ("fwd=stale; fwd-status=304", Some("7")),
        ("fwd=stale; fwd-status=304", None),
        ("fwd=stale; fwd-status=304", None),
        ("hit", Some("0")),
    ] {
        let seen = edge.get("/").await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        assert!(seen.cache_status().starts_with(&format!("Bakehouse; {told}")), "{}", seen.cache_status());
        // However slow the machine is.
        assert_eq!(seen.field("age").is_some(), age.is_some(), "{told}");
        assert!(age != Some("7") || seen.field("age").is_some_and(|age| age.parse::<u32>().unwrap() >= 7));
    }
    assert_eq!(upstream.requests().len(), 4);
}
