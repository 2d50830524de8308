//! What a browser gets.

use crate::harness::{Request, SOON, World, site, wait_until};

fn world() -> World {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/content/grüße.md", "+++\ntitle = \"Grüße\"\nslug = \"grüße\"\n+++\nÄpfel.\n");
    world.write(
        "site/content/old.md",
        "+++\ntitle = \"New place\"\npath = \"new-place\"\naliases = [\"old-place\", \"older/place.html\"]\n+++\nMoved.\n",
    );
    world.write("site/static/bilder/süß.txt", "süß\n");
    world.write("site/static/long.txt", "A line that repeats itself. ".repeat(400));
    world.write("site/static/pixel.png", [0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0, 1, 2, 3]);
    let config = world.read("site/zola.toml");
    world.write("site/zola.toml", config + "[slugify]\npaths = \"safe\"\n");
    world
}

#[test]
fn conditional_requests() {
    let world = world();
    let up = world.up("site");
    let full = up.get("/about/");
    let tag = full.field("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'), "strong: {tag}");
    for value in [tag.clone(), format!("\"other\", {tag}"), "*".into(), format!("W/{tag}")] {
        let reply = up.send(&Request::get("/about/").field("If-None-Match", &value));
        assert_eq!(reply.status, 304, "{value}: {reply:?}");
        assert_eq!(reply.field("etag"), Some(tag.as_str()));
        assert!(reply.body.is_empty());
    }
    let reply = up.send(&Request::get("/about/").field("If-None-Match", "\"other\""));
    assert_eq!((reply.status, &reply.body), (200, &full.body));
    let reply = up.send(&Request::get("/about/").field("If-Match", "\"other\""));
    assert!(matches!(reply.status, 412 | 200), "{reply:?}");
}

#[test]
fn codings_by_weight() {
    let world = world();
    let up = world.up("site");
    let plain = up.get("/long.txt");
    assert_eq!(plain.field("content-encoding"), None);
    assert_eq!(plain.field("vary").map(str::to_ascii_lowercase).as_deref(), Some("accept-encoding"));
    let mut tags = std::collections::BTreeSet::from([plain.field("etag").unwrap().to_owned()]);
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip;q=1, br;q=0.1", Some("gzip")),
        ("gzip;q=0, zstd;q=0.5, identity;q=0.1", Some("zstd")),
        ("identity", None),
        ("deflate", None),
        ("br;q=0, gzip;q=0, zstd;q=0", None),
    ] {
        for _ in 0..2 {
            let reply = up.send(&Request::get("/long.txt").field("Accept-Encoding", accept));
            assert_eq!(reply.status, 200);
            assert_eq!(reply.field("content-encoding"), coding, "{accept}");
            if coding.is_some() {
                assert!(reply.body.len() * 4 < plain.body.len(), "{accept}: {} bytes", reply.body.len());
                tags.insert(reply.field("etag").unwrap().to_owned());
            } else {
                assert_eq!(reply.body, plain.body, "{accept}");
            }
        }
    }
    assert_eq!(tags.len(), 4, "each coding has a tag of its own: {tags:?}");
    // What the coding holds is what the plain form is.
    let reply = up.send(&Request::get("/long.txt").field("Accept-Encoding", "gzip"));
    world.write("long.gz", &reply.body);
    let unpacked = world.program("gzip", ".", &["-dc", "long.gz"]).ok();
    assert_eq!(unpacked.stdout.as_bytes(), plain.body);
    // A picture is not compressed again.
    let reply = up.send(&Request::get("/pixel.png").field("Accept-Encoding", "gzip, br, zstd"));
    assert_eq!(reply.field("content-encoding"), None);
    assert_eq!(reply.field("content-type"), Some("image/png"));
}

#[test]
fn head_says_what_get_would() {
    let world = world();
    let up = world.up("site");
    for path in ["/about/", "/plain.txt", "/no-such", "/blog"] {
        let get = up.get(path);
        let head = up.send(&Request::new("HEAD", path));
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "etag", "location", "cache-control"] {
            assert_eq!(head.field(name), get.field(name), "{path}: {name}");
        }
        if get.status == 200 {
            assert_eq!(head.field("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
        }
    }
}

#[test]
fn folders_have_a_slash() {
    let world = world();
    let up = world.up("site");
    let reply = up.get("/blog/first");
    assert_eq!((reply.status, reply.field("location")), (308, Some("/blog/first/")));
    let reply = up.get("/blog/first?a=1");
    assert_eq!((reply.status, reply.field("location")), (308, Some("/blog/first/?a=1")));
    assert_eq!(up.get("/blog/first/index.html").status, 200);
}

#[test]
fn aliases_are_real_redirects() {
    let world = world();
    let up = world.up("site");
    for path in ["/old-place/", "/older/place.html"] {
        let reply = up.get(path);
        assert!(matches!(reply.status, 301 | 308), "{path}: {reply:?}");
        assert_eq!(reply.field("location"), Some("/new-place/"), "{path}");
    }
    assert!(up.get("/new-place/").has("Moved."));
}

#[test]
fn what_is_not_there_is_a_page_that_says_so() {
    let world = world();
    let up = world.up("site");
    for path in ["/no-such", "/no/such/", "/blog/first/x", "/..%2f..%2fetc/passwd", "/%00", "/a%2"] {
        let reply = up.get(path);
        assert!(matches!(reply.status, 404 | 400), "{path}: {reply:?}");
        assert!(!reply.has("root:"), "{path}");
    }
    let reply = up.get("/no-such");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.has("</html>"), "the site's own page: {}", reply.text());
    // A direct look at the page is no error.
    assert!(reply.field("cache-control").is_some());
}

#[test]
fn paths_of_other_letters() {
    let world = world();
    let up = world.up("site");
    assert!(up.get("/gr%C3%BC%C3%9Fe/").has("Äpfel."));
    assert!(up.get("/gr%c3%bc%c3%9fe/").has("Äpfel."));
    assert_eq!(up.get("/gr%C3%BC%C3%9Fe").field("location"), Some("/gr%C3%BC%C3%9Fe/"));
    assert_eq!(up.get("/bilder/s%C3%BC%C3%9F.txt").text(), "süß\n");
}

#[test]
fn fields_tell_browsers_and_caches_what_to_do() {
    let world = world();
    let up = world.up("site");
    let first = up.get("/about/");
    assert_eq!(first.field("cache-control"), Some("max-age=0, must-revalidate"));
    let status = first.field("cache-status").unwrap();
    assert!(
        status.contains("fwd=uri-miss") || status.contains("fwd=miss") || status.contains("hit"),
        "{status}"
    );
    let second = up.get("/about/");
    assert!(second.field("cache-status").unwrap().contains("; hit"), "{second:?}");
    assert!(second.field("age").is_some(), "{second:?}");
    assert!(second.field("via").is_some_and(|v| v.starts_with("1.1 ")), "{second:?}");
    assert!(second.field("date").is_some());
    // What is between edge and origin stays there.
    for (name, _) in &second.fields {
        assert!(!name.starts_with("bakehouse-"), "{name} leaves the edge");
    }
    assert_eq!(second.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(up.get("/plain.txt").field("content-type"), Some("text/plain; charset=utf-8"));
    assert!(up.get("/atom.xml").field("content-type").unwrap().contains("xml"));
    assert_eq!(up.get("/robots.txt").status, 200);
}

#[test]
fn lifetimes_by_path_are_what_browsers_and_edges_are_told() {
    let world = world();
    world.write(
        "site/bakehouse.toml",
        "[[cache]]\npath = \"/blog/**\"\nbrowser = \"10m\"\nedge = \"30d\"\nstale_while_revalidate = \"1m\"\n\
         stale_if_error = \"7d\"\n\n[[cache]]\npath = \"/plain.txt\"\nbrowser = \"no-store\"\nedge = \"no-store\"\n\n\
         [[cache]]\npath = \"/about/index.html\"\nedge = 1\n",
    );
    let up = world.up("site");
    let long = "public, max-age=600, stale-while-revalidate=60, stale-if-error=604800";
    let by_default = "max-age=0, must-revalidate";
    for (path, browser, edge) in [
        ("/blog/", long, "max-age=2592000, stale-while-revalidate=60, stale-if-error=604800"),
        ("/blog/first/", long, "max-age=2592000, stale-while-revalidate=60, stale-if-error=604800"),
        ("/plain.txt", "no-store", "no-store"),
        ("/about/", by_default, "max-age=1, stale-if-error=31536000"),
        ("/", by_default, "max-age=31536000, stale-if-error=31536000"),
    ] {
        // Browsers, for whom the edge answers, and edges, for whom the origin does.
        assert_eq!(up.get(path).field("cache-control"), Some(browser), "{path}");
        let at_origin = up.call("GET", path, &serde_json::Value::Null);
        assert_eq!(at_origin.field("bakehouse-cache-control"), Some(edge), "{path}: {at_origin:?}");
        assert_eq!(at_origin.field("cache-control"), Some(browser), "{path}");
    }
    // Which the edge keeps to.
    let status = |path: &str| up.get(path).field("cache-status").unwrap().to_owned();
    let left = status("/blog/first/");
    let seconds = left.split("; ttl=").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u64>().ok());
    assert!(seconds.is_some_and(|left| (2_591_000..=2_592_000).contains(&left)), "{left}");
    assert!(!status("/plain.txt").contains("; hit"), "{}", status("/plain.txt"));
    wait_until("the end of a second", SOON, || status("/about/").contains("fwd=stale"));
    assert!(status("/").contains("; hit"));
}

#[test]
fn query_parameters_do_not_make_another_page() {
    let world = world();
    let up = world.up("site");
    let plain = up.get("/about/");
    let reply = up.get("/about/?utm_source=newsletter");
    assert_eq!((reply.status, &reply.body), (200, &plain.body));
    assert!(reply.field("cache-status").unwrap().contains("; hit"), "{reply:?}");
}

#[test]
fn other_methods_are_refused() {
    let world = world();
    let up = world.up("site");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let reply = up.send(&Request::new(method, "/about/").body("x"));
        assert_eq!(reply.status, 405, "{method}: {reply:?}");
        assert!(reply.field("allow").is_some_and(|a| a.contains("GET")), "{method}: {reply:?}");
    }
    assert_eq!(up.get("/about/").status, 200);
}

#[test]
fn links_stay_on_the_address_that_was_asked_and_feeds_name_the_public_one() {
    let world = world();
    let up = world.up("site");
    assert!(!up.get("/blog/").has("https://bread.example/blog/first"));
    assert!(up.get("/atom.xml").has("https://bread.example/blog/first/"));
    assert!(up.get("/sitemap.xml").has("https://bread.example/blog/first/"));
    drop(up);
    let up = world.up_with("site", &["--base-url", "https://other.example"], &[]);
    assert!(up.get("/sitemap.xml").has("https://other.example/blog/first/"));
}

#[test]
fn many_browsers_at_once_get_whole_pages() {
    let world = world();
    let up = world.up("site");
    let expected = up.get("/long.txt").body;
    let edge = up.edge().to_owned();
    up.bake(&["purge", "--all", "--wait"]).success();
    let before = up.metric("bakehouse_edge_upstream_requests_total", &[]);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let reply = Request::get("/long.txt").send(&edge).unwrap();
                assert_eq!(reply.status, 200);
                assert_eq!(reply.body, expected);
            });
        }
    });
    let fetched = up.metric("bakehouse_edge_upstream_requests_total", &[]) - before;
    assert!(fetched <= 1.0, "one for all of them, not {fetched}");
}

#[test]
fn a_browser_that_keeps_its_connection_is_served_on_it() {
    let world = world();
    let up = world.up("site");
    let mut stream = crate::harness::http::connect(up.edge()).unwrap();
    let get = b"GET /plain.txt HTTP/1.1\r\nHost: bread.example\r\n\r\n";
    // Two requests at once: answered in order.
    std::io::Write::write_all(&mut stream, &[get.as_slice(), get.as_slice()].concat()).unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET /about/ HTTP/1.1\r\nHost: bread.example\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert_eq!(text.matches("plain text\n").count(), 2, "{text}");
    assert!(text.contains("Two ovens"), "{text}");
}
