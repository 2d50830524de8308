//! RFC 9111 §4.2.4, RFC 5861, and the switches beside them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use edge::policy::{reuse::ClientValidation, rules::SMaxage};

use crate::support::{Reply, Running, Upstream, eventually, field, front, run, send, upstream_config};

/// What is sent once, then a failure.
async fn once(control: &'static str, then: Reply) -> Upstream {
    Upstream::script(vec![
        send(200, &[("cache-control", control), ("etag", "\"a\"")], "old"),
        then.clone(),
        then,
    ])
    .await
}

async fn first(upstream: &Upstream, s_maxage: SMaxage) -> Running {
    let mut config = upstream_config(&[upstream]);
    config.settings.rules.s_maxage = s_maxage;
    let edge = run(config).await;
    assert_eq!(edge.get("/").await.text(), "old");
    eventually("the store", || edge.edge.state().flights == 0).await;
    edge
}

#[tokio::test]
async fn s_maxage_forbids_stale_use_and_says_so() {
    for control in ["s-maxage=0, stale-while-revalidate=60", "s-maxage=0, stale-if-error=60"] {
        let upstream = once(control, send(503, &[], "busy")).await;
        let strict = first(&upstream, SMaxage::Strict).await;
        let seen = strict.get("/").await;
        assert_eq!((seen.status, seen.text()), (503, "busy"));
        let told = "Bakehouse; fwd=stale; fwd-status=503; detail=s-maxage";
        assert_eq!(seen.cache_status(), told, "{control}");
        let upstream = once(control, send(503, &[], "busy")).await;
        let lenient = first(&upstream, SMaxage::LifetimeOnly).await;
        let seen = lenient.get("/").await;
        assert_eq!((seen.status, seen.text()), (200, "old"), "{control}");
    }
}

#[tokio::test]
async fn without_an_answer_stale_stands_in_or_504_follows() {
    for (control, status) in [
        ("max-age=0", 200),
        ("max-age=0, must-revalidate", 504),
        ("max-age=0, proxy-revalidate", 504),
        ("max-age=9, no-cache", 504),
        ("s-maxage=0", 504),
    ] {
        let upstream = once(control, Reply::Close).await;
        let edge = first(&upstream, SMaxage::Strict).await;
        let seen = edge.get("/").await;
        assert_eq!(seen.status, status, "{control}");
        let told = (status == 200).then_some("Bakehouse; fwd=stale; ttl=0; detail=disconnected");
        assert_eq!(seen.field("cache-status").as_deref(), told, "{control}");
    }
}

#[tokio::test]
async fn clients_force_validation_only_where_they_may() {
    for (clients, reaches) in [(ClientValidation::Ignored, false), (ClientValidation::Obeyed, true)] {
        let upstream =
            Upstream::start(|_| send(200, &[("cache-control", "max-age=60"), ("age", "5")], "x")).await;
        let mut config = upstream_config(&[&upstream]);
        config.settings.rules.clients = clients;
        let edge = run(config).await;
        edge.get("/").await;
        for fields in [
            &[("cache-control", "no-cache")][..],
            &[("cache-control", "max-age=0")],
            &[("cache-control", "max-age=4, max-stale")],
            &[("pragma", "no-cache")],
        ] {
            eventually("the store", || edge.edge.state().flights == 0).await;
            let seen = edge.ask("GET", "/", fields).await;
            let expected = if reaches { "fwd=request" } else { "hit" };
            assert!(seen.cache_status().contains(expected), "{fields:?} {}", seen.cache_status());
        }
        // These hold always.
        eventually("the store", || edge.edge.state().flights == 0).await;
        let seen = edge.ask("GET", "/", &[("cache-control", "min-fresh=56")]).await;
        assert!(seen.cache_status().contains("fwd=request"), "{}", seen.cache_status());
    }
}

#[tokio::test]
async fn max_stale_accepts_what_nothing_forbids() {
    for (control, hit) in [("max-age=1", true), ("max-age=1, must-revalidate", false)] {
        let upstream = Upstream::start(move |_| {
            send(200, &[("cache-control", control), ("age", "9"), ("etag", "\"a\"")], "x")
        })
        .await;
        let edge = first_of(&upstream).await;
        for (stale, accepted) in [("max-stale", true), ("max-stale=60", true), ("max-stale=7", false)] {
            let seen = edge.ask("GET", "/", &[("cache-control", stale)]).await;
            assert_eq!(
                seen.cache_status().contains("hit"),
                hit && accepted,
                "{control} {stale} {}",
                seen.cache_status()
            );
            eventually("the store", || edge.edge.state().flights == 0).await;
        }
    }
}

async fn first_of(upstream: &Upstream) -> Running {
    let edge = run(upstream_config(&[upstream])).await;
    edge.get("/").await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    edge
}

/// What a GET gets in place of a failure, a HEAD gets too.
#[tokio::test]
async fn stale_stands_in_for_a_head_as_well() {
    for (control, then, status, told) in [
        ("max-age=0", Reply::Close, 200, Some("fwd=stale; ttl=0; detail=disconnected")),
        ("max-age=0, must-revalidate", Reply::Close, 504, None),
        ("max-age=0", send(503, &[], "busy"), 503, Some("fwd=stale; fwd-status=503")),
        (
            "max-age=0, stale-if-error=60",
            send(503, &[], ""),
            200,
            Some("fwd=stale; fwd-status=503; ttl=0; detail=stale-if-error"),
        ),
    ] {
        let upstream = once(control, then).await;
        let edge = first(&upstream, SMaxage::Strict).await;
        let seen = edge.ask("HEAD", "/", &[]).await;
        assert_eq!(seen.status, status, "{control}");
        let told = told.map(|told| format!("Bakehouse; {told}"));
        assert_eq!(seen.field("cache-status"), told, "{control}");
        assert!(upstream.requests()[1].starts_with("HEAD"));
    }
}

#[tokio::test]
async fn stale_parts_stand_in_as_the_whole_would() {
    for (control, then, status, told) in [
        ("max-age=0", Reply::Close, 206, "fwd=stale; ttl=0; detail=disconnected"),
        ("max-age=0, must-revalidate", Reply::Close, 504, ""),
        ("max-age=0", send(503, &[("cache-control", "max-age=9")], "busy"), 503, "fwd=stale; fwd-status=503"),
        (
            "max-age=0, stale-if-error=60",
            send(503, &[], "busy"),
            206,
            "fwd=stale; fwd-status=503; ttl=0; detail=stale-if-error",
        ),
        (
            "max-age=0, stale-if-error=60",
            send(503, &[("cache-control", "max-age=9")], "busy"),
            206,
            "fwd=stale; fwd-status=503; ttl=0; detail=stale-if-error",
        ),
    ] {
        let fields = [("cache-control", control), ("etag", "\"a\""), ("content-range", "bytes 0-4/10")];
        let upstream = Upstream::script(vec![send(206, &fields, "01234"), then.clone(), then]).await;
        let edge = run(upstream_config(&[&upstream])).await;
        let part = async || {
            let seen = edge.ask("GET", "/", &[("range", "bytes=1-3")]).await;
            eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
            seen
        };
        part().await;
        let seen = part().await;
        assert_eq!(seen.status, status, "{control}: {}", seen.head);
        assert!(seen.cache_status().contains(told), "{control}: {}", seen.cache_status());
        if status == 206 {
            assert_eq!((seen.text(), seen.field("content-range").as_deref()), ("123", Some("bytes 1-3/10")));
        }
    }
}

/// What a request accepts of a whole, it accepts of parts.
#[tokio::test]
async fn stale_parts_answer_who_accepts_them() {
    for (control, asked, told) in [
        ("max-age=1", "max-stale", "hit; "),
        ("max-age=1", "max-stale=60", "hit; "),
        ("max-age=1", "max-stale=7", "fwd=stale; fwd-status=206"),
        ("max-age=1", "no-transform", "fwd=stale; fwd-status=206"),
        ("max-age=1, must-revalidate", "max-stale", "fwd=stale; fwd-status=206"),
        // Behind an answer the whole would be asked for.
        ("max-age=1, stale-while-revalidate=60", "max-stale", "fwd=stale; fwd-status=206"),
    ] {
        let fields =
            [("cache-control", control), ("age", "9"), ("etag", "\"a\""), ("content-range", "bytes 0-4/10")];
        let upstream = Upstream::start(move |_| send(206, &fields, "01234")).await;
        let edge = run(upstream_config(&[&upstream])).await;
        for told in ["fwd=uri-miss; fwd-status=206", told] {
            let seen = edge.ask("GET", "/", &[("range", "bytes=0-4"), ("cache-control", asked)]).await;
            eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
            assert_eq!((seen.status, seen.text()), (206, "01234"));
            let said = seen.cache_status();
            assert!(said.starts_with(&format!("Bakehouse; {told}")), "{control} {asked}: {said}");
            assert_eq!(said.ends_with("; detail=max-stale"), told == "hit; ", "{control} {asked}: {said}");
        }
    }
}

/// RFC 9111 §3.5, §5.2.1.5: what one client's request forbids to store says nothing about what is held for the others.
#[tokio::test]
async fn one_client_ends_no_freshness_of_others() {
    for (asked, renewal, hit) in [
        ([("cache-control", "no-store, min-fresh=3600"), ("x", "1")], "max-age=60", true),
        ([("cache-control", "min-fresh=3600"), ("authorization", "Basic eA==")], "max-age=60", true),
        // But what the response forbids does.
        ([("cache-control", "min-fresh=3600"), ("x", "1")], "no-store", false),
        ([("cache-control", "min-fresh=3600"), ("x", "1")], "private", false),
    ] {
        let upstream = Upstream::script(vec![
            send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "x"),
            send(304, &[("cache-control", renewal), ("etag", "\"a\"")], ""),
            send(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], ""),
        ])
        .await;
        let edge = run(upstream_config(&[&upstream])).await;
        edge.get("/").await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        let seen = edge.ask("GET", "/", &asked).await;
        assert!(seen.cache_status().contains("fwd-status=304; detail="), "{}", seen.head);
        let seen = edge.get("/").await;
        assert_eq!(
            (seen.text(), seen.cache_status().contains("; hit")),
            ("x", hit),
            "{asked:?} {}",
            seen.head
        );
    }
}

/// RFC 9111 §4.3.3, §4.3.4: what an upstream has said of a copy since holds, whatever that allowed before.
#[tokio::test]
async fn what_is_not_valid_any_more_is_not_used_stale() {
    let first = [("cache-control", "max-age=0, stale-while-revalidate=60"), ("etag", "\"a\"")];
    let private = [("cache-control", "private"), ("etag", "\"a\"")];
    let large = "x".repeat(100);
    for (then, is_valid) in [
        (send(304, &private, ""), false),
        (send(304, &[("cache-control", "no-store")], ""), false),
        (send(304, &[("vary", "*")], ""), false),
        (send(200, &private, "new"), false),
        (send(200, &[], "new"), false),
        (send(404, &[("cache-control", "no-store")], "gone"), false),
        (send(410, &[], "gone"), false),
        (send(302, &[], "elsewhere"), false),
        // These say nothing about it.
        (send(500, &[], "error"), true),
        (send(429, &[("cache-control", "max-age=60")], "slower"), true),
        (send(403, &[], "not you"), true),
    ] {
        let upstream = Upstream::script(vec![send(200, &first, &large), then, send(200, &[], "asked")]).await;
        let edge = first_of(&upstream).await;
        // Shown stale, and validated behind.
        assert!(edge.get("/").await.cache_status().contains("hit"));
        upstream.wait_for(2).await;
        eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
        let seen = edge.get("/").await;
        let is_shown = seen.text() == large;
        assert_eq!(is_shown, is_valid, "{:?} {}", upstream.requests(), seen.head);
    }
}

/// RFC 9111 §5.2.1, RFC 5861 §3: the directives of a request are about its own answer, not about what is validated behind it.
#[tokio::test]
async fn a_validation_behind_has_no_directives_of_a_client() {
    let stale = [("cache-control", "max-age=0, stale-while-revalidate=60")];
    let fresh = [("cache-control", "max-age=60")];
    for (name, value) in
        [("cache-control", "only-if-cached"), ("cache-control", "no-store"), ("pragma", "no-cache")]
    {
        let upstream = Upstream::script(vec![send(200, &stale, "old"), send(200, &fresh, "new")]).await;
        let edge = first_of(&upstream).await;
        assert_eq!(edge.ask("GET", "/", &[(name, value)]).await.text(), "old");
        upstream.wait_for(2).await;
        eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
        let told = upstream.requests();
        assert_eq!(
            (field(&told[1], "cache-control"), field(&told[1], "pragma")),
            (None, None),
            "{}",
            told[1]
        );
        let seen = edge.get("/").await;
        assert_eq!((seen.text(), &*seen.cache_status()), ("new", "Bakehouse; hit; ttl=60"), "{value}");
    }
}

/// RFC 9111 §4: what an older copy says counts for no more than the newer one that its upstream does not stand by.
#[tokio::test]
async fn an_older_copy_does_not_take_the_place_of_one_that_is_not_valid() {
    let private = [("cache-control", "private"), ("etag", "\"b\"")];
    for then in [send(200, &private, "mine"), send(304, &private, "")] {
        let past = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(60));
        let older = [("cache-control", "max-age=600"), ("vary", "x-a"), ("date", &past)];
        let newer = [("cache-control", "max-age=0"), ("etag", "\"b\"")];
        let upstream = Upstream::script(vec![
            send(200, &older, "older"),
            send(200, &newer, "newer"),
            then,
            send(200, &[], "asked"),
        ])
        .await;
        let edge = run(upstream_config(&[&upstream])).await;
        for (a, is_asked) in [("1", false), ("2", false), ("1", false), ("1", true)] {
            let seen = edge.ask("GET", "/", &[("x-a", a)]).await;
            eventually("the store", || edge.edge.state().flights == 0).await;
            assert_eq!(seen.text() == "asked", is_asked, "{:?} {}", upstream.requests(), seen.head);
        }
    }
}

/// An upstream in trouble is not asked again with each request for what a stale copy answers.
#[tokio::test]
async fn what_fails_is_not_asked_for_again_with_each_request() {
    const ANSWERS: usize = 20;
    let whole = |control| send(200, &[("cache-control", control), ("etag", "\"a\"")], "old");
    let part = send(
        206,
        &[("cache-control", "max-age=0"), ("etag", "\"a\""), ("content-range", "bytes 0-2/9")],
        "old",
    );
    let ranged = &[("range", "bytes=0-2")][..];
    for (method, fields, first, then, detail) in [
        ("GET", &[][..], whole("max-age=0, stale-if-error=60"), send(503, &[], "busy"), "stale-if-error"),
        ("HEAD", &[], whole("max-age=0, stale-if-error=60"), send(503, &[], ""), "stale-if-error"),
        ("GET", &[], whole("max-age=0"), Reply::Close, "disconnected"),
        ("GET", ranged, part, Reply::Close, "disconnected"),
    ] {
        let asked = AtomicUsize::new(0);
        let upstream = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => first.clone(),
            _ => then.clone(),
        })
        .await;
        let edge = front(&[&upstream]).await;
        edge.ask("GET", "/", fields).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        let began = tokio::time::Instant::now();
        let mut hits = 0;
        for _ in 0..ANSWERS {
            let seen = edge.ask(method, "/", fields).await;
            assert_eq!(seen.status, if fields.is_empty() { 200 } else { 206 }, "{method} {detail}");
            let told = seen.cache_status();
            assert!(told.ends_with(&format!("; ttl=0; detail={detail}")), "{told}");
            hits += usize::from(told.starts_with("Bakehouse; hit; "));
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
        // How often one attempt asks is another matter.
        let attempts = ANSWERS - hits;
        assert!((1..=1 + seconds).contains(&attempts), "{attempts} of {method} {detail} in {seconds} s");
    }
}

/// A purge is not forgotten over a failure before it.
#[tokio::test]
async fn what_was_purged_since_is_asked_for_anew() {
    let upstream = once("max-age=0, stale-if-error=60", send(503, &[], "busy")).await;
    let edge = first(&upstream, SMaxage::Strict).await;
    assert_eq!(edge.get("/").await.text(), "old");
    assert_eq!(upstream.requests().len(), 2);
    edge.edge.purge_local(&[release::journal::Selector::All], true).await;
    let seen = edge.get("/").await;
    assert_eq!(seen.text(), "old");
    assert!(seen.cache_status().contains("fwd=stale; fwd-status=503"), "{}", seen.cache_status());
    assert_eq!(upstream.requests().len(), 3);
}

/// Nor does it answer one who wants more than what is stale: that is tried at once.
#[tokio::test]
async fn who_wants_what_stays_fresh_has_it_asked_for_anew() {
    let upstream = once("max-age=0, stale-if-error=60", send(503, &[], "busy")).await;
    let edge = first(&upstream, SMaxage::Strict).await;
    assert_eq!(edge.get("/").await.text(), "old");
    assert_eq!(upstream.requests().len(), 2);
    let seen = edge.ask("GET", "/", &[("cache-control", "min-fresh=1")]).await;
    assert!(seen.cache_status().contains("fwd=stale; fwd-status=503"), "{}", seen.cache_status());
    assert_eq!(upstream.requests().len(), 3);
}
