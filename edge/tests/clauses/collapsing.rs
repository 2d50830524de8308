//! Requests for the same at the same time (RFC 9111 §4, RFC 9211 §2.6).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use release::journal::Selector;

use crate::support::{Reply, Running, Seen, Upstream, eventually, field, front, response, send};

const CLIENTS: usize = 20;

/// So many clients at once, each with these fields.
fn clients(
    edge: &Arc<Running>,
    fields: &'static [(&'static str, &'static str)],
) -> Vec<tokio::task::JoinHandle<Seen>> {
    let one = |_| {
        let edge = Arc::clone(edge);
        tokio::spawn(async move { edge.ask("GET", "/", fields).await })
    };
    (0..CLIENTS).map(one).collect()
}

async fn seen(clients: Vec<tokio::task::JoinHandle<Seen>>) -> Vec<Seen> {
    let mut all = Vec::new();
    for client in clients {
        all.push(client.await.unwrap());
    }
    all
}

/// So many clients at once, all of which wait for what the first of them is answered: the upstream is permitted that.
async fn led(upstream: &Upstream, edge: &Arc<Running>) -> Vec<tokio::task::JoinHandle<Seen>> {
    let waiting = clients(edge, &[]);
    upstream.wait_for(1).await;
    eventually("all to wait", || edge.edge.state().waiting == CLIENTS - 1).await;
    upstream.permit(1);
    waiting
}

#[tokio::test]
async fn a_leader_that_fails_is_replaced_by_one() {
    let count = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let count = Arc::clone(&count);
        move |_| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                // A head that is none, once all wait for it.
                return Reply::Parts(vec![b"garbage\r\n\r\n".to_vec()]);
            }
            Reply::Parts(vec![response(200, &[("cache-control", "max-age=60")], "good")])
        }
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let waiting = led(&upstream, &edge).await;
    upstream.wait_for(2).await;
    eventually("the rest to wait", || edge.edge.state().waiting == CLIENTS - 2).await;
    upstream.permit(1);
    let all = seen(waiting).await;
    let failed = all.iter().filter(|seen| seen.status != 200).count();
    assert_eq!(failed, 1, "who led sees the failure, and nobody else");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn one_client_keeps_no_others_from_sharing() {
    for fields in [&[("cache-control", "no-store")][..], &[("authorization", "Basic eA==")]] {
        let upstream =
            Upstream::start(|_| Reply::Parts(vec![response(200, &[("cache-control", "max-age=60")], "x")]))
                .await;
        let edge = Arc::new(front(&[&upstream]).await);
        let one = {
            let edge = Arc::clone(&edge);
            let fields: &'static [(&str, &str)] = if fields[0].0 == "authorization" {
                &[("authorization", "Basic eA==")]
            } else {
                &[("cache-control", "no-store")]
            };
            tokio::spawn(async move { edge.ask("GET", "/", fields).await })
        };
        upstream.wait_for(1).await;
        upstream.permit(1);
        assert!(!one.await.unwrap().cache_status().contains("stored"));
        let waiting = clients(&edge, &[]);
        upstream.wait_for(2).await;
        upstream.permit(1);
        let all = seen(waiting).await;
        assert!(all.iter().all(|seen| seen.text() == "x"));
        assert_eq!(upstream.requests().len(), 2, "{fields:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_shared_is_remembered() {
    let upstream =
        Upstream::start(|_| Reply::Parts(vec![response(200, &[("cache-control", "private")], "mine")])).await;
    let edge = Arc::new(front(&[&upstream]).await);
    let first = clients(&edge, &[]);
    upstream.wait_for(1).await;
    upstream.permit(CLIENTS);
    seen(first).await;
    // Now nobody waits for anybody: all ask before one is answered.
    let second = clients(&edge, &[]);
    upstream.wait_for(2 * CLIENTS).await;
    upstream.permit(CLIENTS);
    let all = seen(second).await;
    assert!(all.iter().all(|seen| !seen.cache_status().contains("collapsed")));
}

/// What is for one client is so for each of those who waited: they ask at once, and not one after the other.
#[tokio::test]
async fn what_is_for_one_client_is_not_waited_for_twice() {
    let upstream = Upstream::start(|_| {
        Reply::Parts(vec![response(429, &[("cache-control", "max-age=60")], "slow down")])
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let waiting = led(&upstream, &edge).await;
    upstream.wait_for(CLIENTS).await;
    upstream.permit(CLIENTS);
    assert!(seen(waiting).await.iter().all(|seen| seen.status == 429));
    assert_eq!(upstream.requests().len(), CLIENTS);
}

/// RFC 5861 §4: what one accepts in place of an error is not what the others get.
#[tokio::test]
async fn a_stale_copy_is_for_those_who_accept_it() {
    let upstream = Upstream::start(|head| match field(head, "if-none-match") {
        Some(_) => Reply::Parts(vec![response(503, &[], "busy")]),
        None => send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "old"),
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    edge.get("/").await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    edge.edge.purge_local(&[Selector::All], true).await;
    let ask = |fields: &'static [(&'static str, &'static str)]| {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { edge.ask("GET", "/", fields).await })
    };
    let leader = ask(&[("cache-control", "stale-if-error=60")]);
    upstream.wait_for(2).await;
    let (patient, other) = (ask(&[("cache-control", "stale-if-error=60")]), ask(&[]));
    eventually("both to wait", || edge.edge.state().waiting == 2).await;
    upstream.permit(1);
    for patient in [leader, patient] {
        let seen = patient.await.unwrap();
        assert_eq!((seen.status, seen.text()), (200, "old"), "{}", seen.head);
    }
    upstream.wait_for(3).await;
    upstream.permit(1);
    assert_eq!(other.await.unwrap().status, 503);
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn ranges_wait_for_the_same_range_alone() {
    let upstream = Upstream::start(|head| {
        let whole = crate::support::field(head, "range").is_none();
        let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let part = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-range", "bytes 0-1/4")];
        Reply::Parts(vec![if whole { response(200, &fields, "0123") } else { response(206, &part, "01") }])
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let parts = clients(&edge, &[("range", "bytes=0-1")]);
    let wholes = clients(&edge, &[]);
    upstream.wait_for(2).await;
    upstream.permit(2);
    assert!(seen(parts).await.iter().all(|seen| seen.status == 206 && seen.text() == "01"));
    assert!(seen(wholes).await.iter().all(|seen| seen.status == 200 && seen.text() == "0123"));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn fields_for_one_client_do_not_reach_those_who_wait() {
    let upstream = Upstream::start(|_| {
        let fields = [("cache-control", "max-age=60, private=\"x-mine\""), ("x-mine", "1")];
        Reply::Parts(vec![response(200, &fields, "x")])
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let waiting = clients(&edge, &[]);
    upstream.wait_for(1).await;
    upstream.permit(1);
    let all = seen(waiting).await;
    assert_eq!(all.iter().filter(|seen| seen.field("x-mine").is_some()).count(), 1);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_error_of_the_upstream_is_each_clients_own() {
    let upstream = Upstream::start(|_| send(404, &[("cache-control", "max-age=60")], "none")).await;
    let edge = Arc::new(front(&[&upstream]).await);
    let all = seen(clients(&edge, &[])).await;
    assert!(all.iter().all(|seen| seen.status == 404 && seen.text() == "none"));
    eventually("the store", || edge.edge.state().flights == 0).await;
    // One that may be kept is kept.
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn what_each_must_validate_is_not_waited_for_twice() {
    let upstream = Upstream::start(|_| {
        Reply::Parts(vec![response(200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], "x")])
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let waiting = clients(&edge, &[]);
    upstream.wait_for(1).await;
    upstream.permit(1);
    // All the others at once, not one after the other.
    upstream.wait_for(CLIENTS).await;
    upstream.permit(CLIENTS);
    assert!(seen(waiting).await.iter().all(|seen| seen.text() == "x"));
    assert_eq!(upstream.requests().len(), CLIENTS);
}

/// An upstream that sends `first` to requests without conditions; to the others a 304 with `renewal` and a number of its own,
/// each when it is permitted.
async fn confirming(
    first: &'static [(&'static str, &'static str)],
    renewal: &'static [(&'static str, &'static str)],
) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |head| {
        if field(head, "if-none-match").is_none() {
            return send(200, first, "x");
        }
        let number = count.fetch_add(1, Ordering::SeqCst).to_string();
        let own = [("etag", "\"a\""), ("x-number", number.as_str())];
        Reply::Parts(vec![response(304, &[renewal, &own].concat(), "")])
    })
    .await
}

/// Has a response stored that must be validated before its next use.
async fn held(edge: &Running) {
    edge.ask("GET", "/", &[("x-v", "other")]).await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    edge.ask("PURR", "/", &[]).await;
}

/// RFC 9111 §3, §3.5, §4.1, §5.2.2.5, §5.2.2.7: a 304 is for those who wait only if what it renews may be.
#[tokio::test]
async fn what_a_304_makes_of_a_copy_is_for_others_only_if_it_may_be_stored() {
    type Fields = &'static [(&'static str, &'static str)];
    const FIRST: Fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    const OTHER: Fields = &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("vary", "x-v")];
    let forbidden: [(Fields, Fields, &str); 5] = [
        (&[("cache-control", "private, max-age=60")], &[], "private"),
        (&[("cache-control", "no-store, max-age=60")], &[], "no-store"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "sid=leader")], &[], "set-cookie"),
        (&[("cache-control", "max-age=60"), ("vary", "*")], &[], "vary-star"),
        (&[("cache-control", "max-age=60")], &[("authorization", "Basic eA==")], "authorization"),
    ];
    // Of a copy that the request selects, and of another variant's.
    for (first, told) in [(FIRST, "fwd=stale"), (OTHER, "fwd=vary-miss")] {
        for (renewal, asked, reason) in forbidden {
            let upstream = confirming(first, renewal).await;
            let edge = Arc::new(front(&[&upstream]).await);
            held(&edge).await;
            let waiting = clients(&edge, asked);
            upstream.wait_for(3).await;
            eventually("all to wait", || edge.edge.state().waiting == CLIENTS - 1).await;
            upstream.permit(1);
            // All the others at once, each for itself.
            upstream.wait_for(2 + CLIENTS).await;
            upstream.permit(CLIENTS - 1);
            let all = seen(waiting).await;
            let numbers: std::collections::HashSet<_> =
                all.iter().map(|seen| seen.field("x-number")).collect();
            assert_eq!(numbers.len(), CLIENTS, "{reason} {told}");
            let leader = format!("Bakehouse; {told}; fwd-status=304; detail={reason}");
            let follower = format!("Bakehouse; {told}; fwd-status=304; collapsed=?0; detail={reason}");
            for one in &all {
                assert_eq!((one.status, one.text()), (200, "x"));
                assert!([&leader, &follower].contains(&&one.cache_status()), "{} {reason}", one.head);
            }
            assert_eq!(all.iter().filter(|seen| seen.cache_status() == leader).count(), 1, "{reason}");
            // That is remembered: nobody waits for anybody.
            let waiting = clients(&edge, asked);
            upstream.wait_for(2 + 2 * CLIENTS).await;
            upstream.permit(CLIENTS);
            seen(waiting).await;
        }
    }
    // What may be is.
    let upstream = confirming(FIRST, &[("cache-control", "max-age=60")]).await;
    let edge = Arc::new(front(&[&upstream]).await);
    held(&edge).await;
    let waiting = clients(&edge, &[]);
    upstream.wait_for(3).await;
    upstream.permit(1);
    let all = seen(waiting).await;
    assert!(all.iter().all(|seen| seen.field("x-number").as_deref() == Some("0")));
    let stored = all.iter().filter(|seen| seen.cache_status().contains("; stored"));
    assert_eq!((stored.count(), upstream.requests().len()), (1, 3));
}

#[tokio::test]
async fn who_asks_for_a_range_keeps_no_others_from_sharing() {
    let lean = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-range", "bytes 2-3/4")];
    let none = [("content-range", "bytes */4")];
    for answer in [response(206, &lean, "23"), response(416, &none, "")] {
        let upstream = Upstream::start(move |head| {
            Reply::Parts(vec![match field(head, "range") {
                Some(_) => answer.clone(),
                None => response(200, &[("cache-control", "max-age=60")], "0123"),
            }])
        })
        .await;
        let edge = Arc::new(front(&[&upstream]).await);
        upstream.permit(1);
        let one = edge.ask("GET", "/", &[("range", "bytes=2-"), ("if-range", "\"a\"")]).await;
        assert!(one.cache_status().ends_with("; detail=range"), "{}", one.head);
        let waiting = clients(&edge, &[]);
        upstream.wait_for(2).await;
        upstream.permit(1);
        assert!(seen(waiting).await.iter().all(|seen| seen.text() == "0123"));
        assert_eq!(upstream.requests().len(), 2);
    }
}

/// RFC 9211 §2.6: what is answered from the store was not forwarded, however long it waited for another's response.
#[tokio::test]
async fn who_waited_in_vain_and_finds_a_copy_has_a_hit() {
    let upstream = Upstream::start(|head| {
        let language = field(head, "accept-language").unwrap();
        let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
        match &*language {
            "en" => Reply::Parts(vec![response(200, &fields, "hello")]),
            _ => send(200, &fields, "salut"),
        }
    })
    .await;
    let edge = Arc::new(front(&[&upstream]).await);
    let ask = |language: &'static str| {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { edge.ask("GET", "/", &[("accept-language", language)]).await })
    };
    let leader = ask("en");
    upstream.wait_for(1).await;
    let follower = ask("fr");
    eventually("a follower", || edge.edge.state().waiting == 1).await;
    // One who asks for a range waits for nobody, and brings the whole.
    let fields = [("accept-language", "fr"), ("range", "bytes=0-1")];
    assert_eq!(edge.ask("GET", "/", &fields).await.text(), "sa");
    eventually("the store", || edge.edge.state().flights == 1).await;
    upstream.permit(1);
    assert_eq!(leader.await.unwrap().text(), "hello");
    let seen = follower.await.unwrap();
    assert_eq!((seen.text(), &*seen.cache_status()), ("salut", "Bakehouse; hit; ttl=60"));
}
