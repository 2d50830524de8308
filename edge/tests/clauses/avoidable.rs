//! Misses that need not be: each cause is found, with an example and a remedy.

use release::journal::Selector;

use crate::support::{Reply, Running, Upstream, read_response, run, send, upstream_config};

/// So that the store is small enough to be filled.
const MEMORY_BYTES: usize = 16 << 20;
const LARGE_BYTES: usize = 3 << 20;
const FILLING_BYTES: usize = 1 << 20;
const FILLINGS: usize = 12;

fn answer(head: &str) -> Reply {
    let with = |control: &str, more: &[(&str, &str)]| {
        send(200, &[&[("cache-control", control)], more].concat(), "x")
    };
    let (tag, age) = (("etag", "\"a\""), ("age", "61"));
    let large = |bytes: usize| send(200, &[("cache-control", "max-age=600")], &"x".repeat(bytes));
    match head.split([' ', '?']).nth(1).unwrap() {
        "/no-freshness" => send(200, &[], "x"),
        "/not-cacheable" => send(302, &[("location", "/")], "x"),
        "/set-cookie" => with("max-age=600", &[("set-cookie", "a=b")]),
        "/private" => with("private", &[]),
        "/no-store" => with("no-store", &[]),
        "/vary-star" => with("max-age=600", &[("vary", "*")]),
        "/vary-miss" => with("max-age=600", &[("vary", "user-agent")]),
        "/expired" => with("max-age=60", &[tag, age]),
        "/s-maxage" => with("s-maxage=60, stale-while-revalidate=600", &[tag, age]),
        "/too-large" => large(LARGE_BYTES),
        "/filling" | "/evicted" => large(FILLING_BYTES),
        _ => with("max-age=600", &[]),
    }
}

/// What each row asks for more than once `/CAUSE`, the last request being the one that need not have been.
async fn make(edge: &Running, cause: &str) {
    let path = format!("/{cause}");
    match cause {
        "authorization" => drop(edge.ask("GET", &path, &[("authorization", "Basic eA==")]).await),
        "vary-miss" => {
            for agent in ["a", "b"] {
                edge.ask("GET", &path, &[("user-agent", agent)]).await;
            }
        }
        "many-queries" => {
            for n in 0..20 {
                edge.get(&format!("{path}?q={n}")).await;
            }
        }
        "no-validator" => {
            edge.get(&path).await;
            edge.edge.purge_local(&[Selector::Url(path.clone())], true).await;
            edge.get(&path).await;
        }
        "expired" | "s-maxage" => {
            edge.get(&path).await;
            let seen = edge.get(&path).await;
            assert!(seen.cache_status().contains("fwd=stale"), "{}", seen.cache_status());
        }
        "evicted" => {
            edge.get(&path).await;
            for n in 0..FILLINGS {
                edge.get(&format!("/filling?{n}")).await;
            }
            edge.get(&path).await;
        }
        _ => drop(edge.get(&path).await),
    }
}

#[tokio::test]
async fn a_row_for_each_cause() {
    let upstream = Upstream::start(answer).await;
    let rows: [(&str, &str); 14] = [
        ("no-freshness", "max-age"),
        ("not-cacheable", "max-age"),
        ("set-cookie", "public"),
        ("private", "public"),
        ("no-store", "no-cache"),
        ("authorization", "s-maxage"),
        ("vary-star", "Vary"),
        ("vary-miss", "User-Agent"),
        ("many-queries", "--query-without"),
        ("too-large", "--memory"),
        ("no-validator", "ETag"),
        ("expired", "stale-while-revalidate"),
        ("s-maxage", "--s-maxage lifetime"),
        ("evicted", "--memory"),
    ];
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY_BYTES;
    let edge = run(config).await;
    for (cause, _) in rows {
        make(&edge, cause).await;
    }
    let mut stream = edge.operate("GET", "/v1/top?seconds=1", "").await;
    let top: serde_json::Value =
        serde_json::from_slice(&read_response(&mut stream, false).await.body).unwrap();
    let told = top["avoidable"].as_array().unwrap();
    for (cause, remedy) in rows {
        let Some(one) = told.iter().find(|one| one["cause"] == cause) else {
            panic!("{cause} is not told: {told:?}")
        };
        let text = |name: &str| one[name].as_str().unwrap();
        assert_eq!(one["count"], 1, "{one}");
        assert!(text("example").starts_with(&format!("site.test/{cause}")), "{one}");
        assert!(text("remedy").contains(remedy) && !text("why").is_empty(), "{one}");
    }
    assert_eq!(told.len(), rows.len(), "every cause has its row: {told:?}");
}
