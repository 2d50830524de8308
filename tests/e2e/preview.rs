//! `bake preview`: what an author sees while writing.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Browser, Page, Preview, Request, SOON, World, site, wait_for, wait_until};

/// A page long enough to scroll, with things that have a state.
fn long(first: &str) -> String {
    let mut text = format!(
        "+++\ntitle = \"Long\"\n+++\n{first}\n\n<details><summary>More</summary>Inside.</details>\n\n\
         <div id=\"inner\" style=\"height:50px;overflow:auto\"><div style=\"height:900px\">tall</div></div>\n\n\
         <input id=\"field\" value=\"\">\n"
    );
    for i in 0..80 {
        text.push_str(&format!("\nParagraph {i}\nof two lines.\n"));
    }
    text
}

/// A template with a style sheet named as themes name them, by digest.
const TEMPLATE: &str = "<!doctype html><html><head><title>{{ page.title }}</title>\
    <link rel=\"stylesheet\" href=\"{{ get_url(path='look.css', cachebust=true) }}\"></head>\
    <body><img id=\"pic\" src=\"/dot.svg\"><h1>{{ page.title }}</h1>{{ page.content | safe }}</body></html>";

const DOT: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>";

#[test]
fn drafts_and_all_else_are_served_and_nothing_is_written() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/bakehouse.toml", "");
    world.write("site/zola.toml", world.read("site/zola.toml") + "[slugify]\npaths = \"safe\"\n");
    world.write(
        "site/content/café.md",
        "+++\ntitle = \"Café\"\ndraft = true\npath = \"café\"\n+++\nNot <b>yet</b>.\n",
    );
    world.write(
        "site/content/later.md",
        "+++\ntitle = \"Later\"\ndate = 2999-01-02\naliases = [\"/soon/\"]\n+++\nOne day.\n",
    );
    world.write("site/static/big.bin", "0123456789".repeat(20_000));
    let before = files(&world);
    let preview = Preview::start(&world, "site", &[], &[]);

    let draft = preview.get("/caf%C3%A9/");
    assert_eq!((draft.status, draft.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(draft.field("cache-control"), Some("no-store"));
    for text in
        ["Not <b>yet</b>", "/bake//client.js", "&quot;label&quot;:&quot;Draft&quot;", "content/café.md:6"]
    {
        assert!(draft.has(text), "{text}: {draft:?}");
    }
    assert!(preview.get("/later/").has("Future: 2999-01-02"));
    assert!(!preview.get("/about/").has("&quot;label&quot;"));
    // What scripts fetch is what a build has.
    assert!(!preview.send(&Request::get("/about/").field("Sec-Fetch-Dest", "empty")).has("bake//"));

    let slash = preview.get("/about?x=1");
    assert_eq!((slash.status, slash.field("location")), (307, Some("/about/?x=1")));
    let alias = preview.get("/soon/");
    assert_eq!((alias.status, alias.field("location")), (307, Some("/later/")));
    for missing in ["/nothing/", "/%ff", "/..%2f..%2fzola.toml", "/content/about.md", "/bake//x"] {
        assert_eq!(preview.get(missing).status, 404, "{missing}");
    }
    assert!(preview.get("/nothing/").has("/bake//client.js"), "it appears once there is such a page");
    let plain = preview.get("/plain.txt");
    assert_eq!(
        (plain.field("content-type"), plain.text()),
        (Some("text/plain; charset=utf-8"), "plain text\n".into())
    );
    assert_eq!(preview.get("/atom.xml").field("content-type"), Some("application/atom+xml; charset=utf-8"));
    let page = preview.get("/about/").body.len().to_string();
    let head = preview.send(&Request::new("HEAD", "/about/"));
    assert_eq!((head.status, head.field("content-length")), (200, Some(&*page)));
    let post = preview.send(&Request::new("POST", "/about/"));
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));
    // A film can be wound forward.
    assert_eq!(preview.get("/big.bin").body.len(), 200_000);
    let part = preview.send(&Request::get("/big.bin").field("Range", "bytes=100003-100006"));
    assert_eq!((part.status, part.text()), (206, "3456".into()));
    assert_eq!(part.field("content-range"), Some("bytes 100003-100006/200000"));
    assert_eq!(preview.send(&Request::get("/big.bin").field("Range", "bytes=200000-")).status, 416);
    assert_eq!(preview.send(&Request::get("/plain.txt").field("Range", "bytes=-5")).text(), "text\n");

    assert_eq!(files(&world), before, "a preview writes nothing");
    let mut preview = preview;
    preview.process.signal(Signal::INT);
    assert!(preview.process.wait(Duration::from_secs(2)).success());

    let preview = Preview::start(&world, "site", &["--published"], &[]);
    assert_eq!(preview.get("/later/").status, 404);
    assert_eq!(preview.get("/caf%C3%A9/").status, 404);
}

/// All files of the world but logs.
fn files(world: &World) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![world.path("site")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn other_sites_can_neither_read_nor_post() {
    let world = World::new();
    site::small(&world, "site");
    world.write("editor", "#!/bin/sh\necho \"$@\" > \"$OPENED\"\n");
    let editor = world.path("editor");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (editor, opened) =
        (format!("{} --at {{line}},{{column}} {{file}}", editor.display()), world.path("opened"));
    let vars = [("BAKE_EDITOR", editor.as_str()), ("OPENED", opened.to_str().unwrap())];
    let preview = Preview::start(&world, "site", &[], &vars);
    for host in ["evil.example", "localhost.evil.example:80", ""] {
        let reply = preview.send(&Request::get("/about/").field("Host", host));
        assert_eq!(reply.status, 403, "{host}");
        assert!(!reply.has("ovens") && reply.has("hint:"), "{host}");
    }
    let reply = preview.send(&Request::get("/about/").field("Host", "localhost:1"));
    assert_eq!((reply.status, reply.field("cross-origin-resource-policy")), (200, Some("same-origin")));

    let wish = json!({"file": "content/about.md", "line": 4, "column": 2}).to_string();
    let ask = |origin: Option<&str>, body: &str| {
        let request =
            Request::new("POST", "/bake//open").field("Content-Type", "application/json").body(body);
        preview.send(&match origin {
            Some(origin) => request.field("Origin", origin),
            None => request,
        })
    };
    for origin in [None, Some("null"), Some("http://evil.example"), Some("http://localhost:80")] {
        assert_eq!(ask(origin, &wish).status, 403, "{origin:?}");
    }
    let own = Some(preview.url());
    for file in ["/etc/passwd", "content/../../editor", "content/none.md", ""] {
        assert_eq!(ask(own, &json!({"file": file, "line": 1}).to_string()).status, 404, "{file}");
    }
    assert_eq!(ask(own, "{").status, 400);
    assert_eq!(ask(own, &"x".repeat(100_000)).status, 413);
    assert_eq!(preview.get("/bake//open").status, 405);
    assert!(!opened.exists());
    assert_eq!(ask(own, &wish).json()["opened"], true);
    let root = world.path("site").canonicalize().unwrap();
    wait_until("the editor", SOON, || {
        let told = std::fs::read_to_string(&opened).unwrap_or_default();
        told == format!("--at 4,2 {}\n", root.join("content/about.md").display())
    });
    // Without an editor the place is told.
    let preview = Preview::start(&world, "site", &[], &[("EDITOR", "vim")]);
    let ask = Request::new("POST", "/bake//open").field("Origin", preview.url()).body(wish);
    let reply = preview.send(&ask).json();
    assert_eq!((&reply["opened"], &reply["place"]), (&json!(false), &json!("content/about.md:4")));
    assert!(reply["why"].as_str().unwrap().contains("BAKE_EDITOR"), "{reply}");
}

#[test]
fn saves_are_shown_and_told_and_errors_leave_what_was_there() {
    let world = World::new();
    site::small(&world, "site");
    let mut preview = Preview::start(&world, "site", &[], &[]);
    preview.process.wait_for_text("rendered 4 pages", SOON);
    world.write("site/content/about.md", site::page("About", "Saved at once."));
    preview.wait_text("/about/", "Saved at once.");
    let line = wait_for("the line of the render", SOON, || {
        let said = preview.process.stdout();
        said.lines().find(|line| line.contains("after the save")).map(str::to_owned)
    });
    assert!(
        line.starts_with("content/about.md: 0 added, 1 changed, 0 removed (about/index.html), "),
        "{line}"
    );

    world.write("site/content/about.md", "+++\ntitle = \"About\n+++\n<script>alert(1)</script>\n");
    preview.process.wait_for_text("not all is rendered, 1 error", SOON);
    assert!(preview.process.stderr().contains("content/about.md:2"));
    assert!(preview.get("/about/").has("Saved at once."), "the last good page stays");
    // Others do not wait for it.
    world.write("site/content/new.md", site::page("New", "It is here. [About](@/about.md)"));
    preview.wait_text("/new/", "It is here.");
    // A text that is broken, and what can be told only when all headings are known.
    world.write("site/content/about.md", site::page("About", "[nowhere](@/nowhere.md)"));
    preview.process.wait_for_text("the link `@/nowhere.md` leads to no content", SOON);
    world.write("site/content/new.md", site::page("New", "[About](@/about.md#gone), and what is new."));
    preview.wait_text("/new/", "what is new");
    assert!(preview.get("/about/").has("Saved at once."));
    world.write("site/content/about.md", site::page("About", "Mended."));
    preview.wait_text("/about/", "Mended.");
    preview.process.wait_for_text("content/new.md:4:1", SOON);
    // A template that no page can be made with: what is there stays.
    world.write("site/templates/page.html", "{% if %}");
    preview.process.wait_for_text("not rendered, 2 errors", SOON);
    assert!(preview.get("/about/").has("Mended."));
    std::fs::remove_dir_all(world.path("site/templates")).unwrap();
    world.write("site/content/about.md", site::page("About", "All is well."));
    preview.wait_text("/about/", "All is well.");
    std::fs::remove_file(world.path("site/content/new.md")).unwrap();
    preview.wait_status("/new/", 404);
}

#[test]
fn a_page_that_was_never_rendered_shows_why_and_others_are_there() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/content/about.md", "+++\ntitle = \"<script>alert(1)</script>\n+++\n");
    world.write(
        "site/content/blog/first.md",
        "+++\ntitle = \"First\"\ndate = 2024-01-01\n+++\n{{ nothing }}\n",
    );
    world.write("site/content/linking.md", site::page("Linking", "[About](@/about.md#part)"));
    let mut preview = Preview::start(&world, "site", &[], &[]);
    for path in ["/about/", "/about"] {
        let reply = preview.get(path);
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.has("content/about.md:2") && reply.has("&lt;script&gt;alert"), "{reply:?}");
        assert!(!reply.has("<script>alert") && !reply.has("first.md"), "{reply:?}");
    }
    let first = preview.get("/blog/first/");
    assert!(first.status == 503 && first.has("content/blog/first.md:5:4"), "{first:?}");
    assert!(preview.get("/linking/").has("href=\"/about/#part\""));
    assert!(preview.get("/blog/").has("The second"));
    assert_eq!((preview.get("/plain.txt").status, preview.get("/nothing").status), (200, 404));
    preview.process.wait_for_text("not all is rendered, 2 errors", SOON);
    world.write("site/content/about.md", site::page("About", "Mended."));
    preview.wait_text("/about/", "Mended.");
}

#[test]
fn a_site_that_was_never_rendered_shows_why_at_every_address() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/templates/page.html", "{{ \"<script>alert(1)</script>\" | uper }}");
    let preview = Preview::start(&world, "site", &[], &[]);
    for path in ["/", "/about/", "/plain.txt", "/nothing"] {
        let reply = preview.get(path);
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.has("templates/page.html:1") && reply.has("&lt;script&gt;alert"), "{reply:?}");
        assert!(!reply.has("<script>alert"), "{reply:?}");
    }
    world.write("site/bakehouse.toml", "memroy = 1\n");
    std::fs::remove_dir_all(world.path("site/templates")).unwrap();
    world.write("site/content/about.md", site::page("About", "Mended."));
    preview.wait_text("/", "bakehouse.toml");
    std::fs::remove_file(world.path("site/bakehouse.toml")).unwrap();
    preview.wait_text("/about/", "Mended.");
    assert_eq!(preview.get("/plain.txt").status, 200);
}

#[test]
fn a_port_in_use_and_wrong_usage_are_told() {
    let world = World::new();
    site::small(&world, "site");
    let preview = Preview::start(&world, "site", &[], &[]);
    let port = preview.url().rsplit(':').next().unwrap();
    world.bake(".", &["preview", "site", "--port", port]).run().code(1).says(&[
        "cannot listen",
        "hint:",
        "--port",
    ]);
    world.bake(".", &["preview", "site", "--port", "0", "--listen", "127.0.0.1:0"]).run().code(2);
    world.bake(".", &["preview", "nowhere"]).run().code(1).says(&["no site", "hint:"]);
    world
        .bake(".", &["preview", "site", "--port", "0", "--base-url", "/x"])
        .run()
        .code(2)
        .says(&["--base-url"]);
}

#[test]
fn a_base_url_with_a_path_is_served_below_it() {
    let world = World::new();
    site::small(&world, "site");
    let preview = Preview::start(&world, "site", &["--base-url", "http://dev.example/docs/"], &[]);
    assert_eq!(preview.get("/").field("location"), Some("/docs/"));
    assert_eq!(preview.get("/docs/about").field("location"), Some("/docs/about/"));
    let page = preview.send(&Request::get("/docs/about/").field("Host", "dev.example:8083"));
    assert!(page.has("ovens") && page.has("http://dev.example/docs/"), "{page:?}");
    assert_eq!(preview.get("/about/").status, 404);
}

#[test]
fn rows_of_a_database_are_pages() {
    let world = World::new();
    crate::sources::news(&world);
    let preview = Preview::start(&world, "site", &[], &[]);
    assert!(preview.get("/news/one/").has("The <em>first</em> row."));
    // Any save has a database that was written asked again.
    crate::sources::sql(&world, "news.db", "UPDATE news SET body = 'Another.' WHERE slug = 'one'");
    world.write("site/content/about.md", site::page("About", "Saved."));
    preview.wait_text("/news/one/", "Another.");
}

/// A site of one long page, shown in a browser.
fn shown<'b>(world: &World, browser: &'b Browser, vars: &[(&str, &str)]) -> (Preview, Page<'b>) {
    site::small(world, "site");
    world.write("site/bakehouse.toml", "");
    world.write("site/templates/page.html", TEMPLATE);
    world.write("site/static/look.css", "h1 { color: rgb(1, 2, 3) }");
    world.write("site/static/dot.svg", DOT);
    world.write("site/content/long.md", long("The first text."));
    let preview = Preview::start(world, "site", &[], vars);
    let page = browser.open(&format!("{}/long/", preview.url()));
    (preview, page)
}

const COLOUR: &str = "getComputedStyle(document.querySelector('h1')).color";
const OVERLAY: &str = "document.querySelector('bake-preview').shadowRoot.querySelector('.errors')";
const ELSEWHERE: &str =
    "(document.querySelector('bake-preview').shadowRoot.querySelector('.wrong')?.textContent ?? '')";

#[test]
fn a_page_reloads_and_keeps_its_place() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (_preview, page) = shown(&world, &browser, &[]);
    page.eval(
        "window.old = true; document.querySelector('details').open = true; scrollTo(0, 700);
         document.querySelector('#inner').scrollTop = 300;
         const f = document.querySelector('#field'); f.focus({preventScroll: true}); f.value = 'typed'",
    );
    // The page's own change, and another's, which is none of its business.
    world.write("site/content/about.md", site::page("About", "Another page."));
    world.write("site/content/long.md", long("The second text."));
    page.wait("document.body.innerText.includes('The second text.') && !window.old");
    page.wait("scrollY === 700 && document.querySelector('#inner').scrollTop === 300");
    page.wait("document.querySelector('details').open && document.activeElement.id === 'field'");
    assert_eq!(page.text("document.querySelector('#field').value"), "typed");
    // Whatever else was filled in stays too; what was not is as the page has it now.
    let form = |kinds: &str, value: &str| {
        let fields = format!(
            "<input id=\"one\" value=\"{value}\"><input id=\"two\" value=\"{value}\"><input type=\"checkbox\" id=\"box\">\
             <input type=\"password\" id=\"secret\"><select id=\"kind\">{kinds}</select>\
             <input type=\"radio\" name=\"r\" value=\"1\"><input type=\"radio\" name=\"r\" value=\"2\">"
        );
        world.write("site/templates/page.html", TEMPLATE.replace("</body>", &format!("{fields}</body>")));
        page.wait(&format!("document.querySelector('#two')?.value === '{value}'"));
    };
    form("<option>rye<option>oat", "before");
    page.eval(
        "for (const [id, value] of [['one', 'filled'], ['secret', 'word'], ['kind', 'oat']])
           document.querySelector(`#${id}`).value = value;
         document.querySelector('#box').checked = document.querySelector('[name=r][value=\"2\"]').checked = true",
    );
    form("<option>spelt<option>rye<option>oat", "after");
    page.wait(
        "document.querySelector('#box').checked && document.querySelector('[name=r]:checked')?.value === '2'",
    );
    let values = "['one', 'secret', 'kind'].map((id) => document.querySelector(`#${id}`).value)";
    assert_eq!(page.eval(values), json!(["filled", "", "oat"]));
    page.eval("window.old = true");
    world.write("site/content/about.md", site::page("About", "Yet another."));
    world.write("site/static/unused.css", "h1 { color: red }");
    world.write("site/static/look.css", "h1 { color: rgb(7, 7, 7) }");
    page.wait(&format!("{COLOUR} === 'rgb(7, 7, 7)'"));
    assert_eq!(page.eval("window.old"), true, "what other pages have reloaded this one");
}

#[test]
fn styles_and_images_are_swapped_in_place() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (_preview, page) = shown(&world, &browser, &[]);
    assert_eq!(page.text(COLOUR), "rgb(1, 2, 3)");
    page.eval("window.old = true; scrollTo(0, 400)");
    // The name that the page has for its style sheet changes along, in every page.
    for colour in ["rgb(4, 5, 6)", "rgb(7, 8, 9)"] {
        world.write("site/static/look.css", format!("h1 {{ color: {colour} }}"));
        page.wait(&format!("{COLOUR} === '{colour}'"));
        page.wait("document.querySelectorAll('link[rel=stylesheet]').length === 1");
    }
    world.write("site/static/dot.svg", DOT.replace("width=\"9\"", "width=\"33\""));
    page.wait("document.querySelector('#pic').naturalWidth === 33");
    assert_eq!(page.eval("[window.old, scrollY]"), json!([true, 400]));
    // A script that is not there yet, then is: the page is another.
    world.write(
        "site/templates/page.html",
        TEMPLATE.replace("</body>", "<script src=\"/s.js\"></script></body>"),
    );
    world.write("site/static/s.js", "window.script = 1");
    page.wait("window.script === 1 && scrollY === 400");
    world.write("site/static/s.js", "window.script = 2");
    page.wait("window.script === 2 && scrollY === 400");
}

#[test]
fn imported_style_sheets_are_swapped_in_place() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (_preview, page) = shown(&world, &browser, &[]);
    world.write("site/static/parts/deep.css", "h1 { color: rgb(2, 2, 2) }");
    world.write("site/static/parts/all.css", "@import 'deep.css';");
    world.write("site/static/look.css", "@import url(/parts/all.css);");
    page.wait(&format!("{COLOUR} === 'rgb(2, 2, 2)'"));
    page.eval("window.old = true; scrollTo(0, 400)");
    for colour in ["rgb(3, 3, 3)", "rgb(4, 4, 4)"] {
        world.write("site/static/parts/deep.css", format!("h1 {{ color: {colour} }}"));
        page.wait(&format!("{COLOUR} === '{colour}'"));
    }
    assert_eq!(page.eval("[window.old, scrollY]"), json!([true, 400]));
}

#[test]
fn a_style_sheet_that_a_later_save_overtakes_leaves_nothing() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (_preview, page) = shown(&world, &browser, &[]);
    // A sheet is there when all that it imports is, and this comes late.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let import = format!("@import url('http://{}/slow.css?", slow.local_addr().unwrap());
    let save = |n: u8| {
        world.write("site/static/look.css", format!("{import}{n}'); h1 {{ color: rgb({n}, {n}, {n}) }}"))
    };
    save(10);
    let (first, _) = slow.accept().unwrap();
    save(11);
    let (second, _) = slow.accept().unwrap();
    for mut waiting in [first, second] {
        // The browser may have given up on the first.
        let _ = waiting.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/css\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    }
    page.wait(&format!("{COLOUR} === 'rgb(11, 11, 11)'"));
    page.wait("document.querySelectorAll('link[rel=stylesheet]').length === 1");
}

#[test]
fn a_page_notices_that_its_connection_is_dead() {
    let world = World::new();
    let browser = Browser::start(&world);
    site::small(&world, "site");
    let preview = Preview::start(&world, "site", &[], &[]);
    let (address, is_dead) = dying_way(preview.url().strip_prefix("http://").unwrap());
    let page = browser.open(&format!("http://{address}/about/"));
    page.wait("document.body.innerText.includes('Two ovens')");
    // What told of news stays open, and brings nothing any more.
    is_dead.store(true, Ordering::SeqCst);
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    preview.wait_text("/about/", "Three ovens.");
    page.wait("document.body.innerText.includes('Three ovens.')");
}

/// A way to `upstream`: its address, and whether the connections that tell pages of news are dead that have been opened on it
/// until that is set.
fn dying_way(upstream: &str) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, is_dead) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let (upstream, died) = (upstream.to_owned(), Arc::clone(&is_dead));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(&upstream)) else { return };
            let dies = Arc::new(AtomicBool::new(false));
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                let (died, dies) = (Arc::clone(&died), Arc::clone(&dies));
                std::thread::spawn(move || {
                    let mut bytes = [0; 16 << 10];
                    while let Ok(length @ 1..) = from.read(&mut bytes) {
                        let is_dead = died.load(Ordering::SeqCst);
                        let asks = String::from_utf8_lossy(&bytes[..length]).contains("GET /bake//events/");
                        if asks && !is_dead {
                            dies.store(true, Ordering::SeqCst);
                        }
                        if is_dead && dies.load(Ordering::SeqCst) {
                            continue;
                        }
                        if to.write_all(&bytes[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (address, is_dead)
}

#[test]
fn errors_are_shown_in_the_page_until_they_are_mended() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (_preview, page) = shown(&world, &browser, &[]);
    page.eval("window.old = true");
    world.write("site/content/about.md", "+++\ntitle = \"<img src=x onerror=alert(1)>\n+++\n");
    world.write("site/templates/page.html", "{% if %}");
    page.wait(&format!("!!{OVERLAY}"));
    let shown = page.text(&format!("{OVERLAY}.innerText"));
    assert!(shown.contains("templates/page.html:1") && shown.contains("error"), "{shown}");
    world.write("site/templates/page.html", TEMPLATE);
    // What is wrong with another page is none of this one's business, and can be looked at.
    page.wait(&format!("{ELSEWHERE} === '1 error elsewhere' && !{OVERLAY}"));
    page.eval("document.querySelector('bake-preview').shadowRoot.querySelector('.wrong').click()");
    assert_eq!(page.eval(&format!("{OVERLAY}.querySelectorAll('img').length")), 0);
    let shown = page.text(&format!("{OVERLAY}.innerText"));
    assert!(shown.contains("content/about.md:2") && shown.contains("<img src=x"), "{shown}");
    assert_eq!(page.eval("window.old"), true, "what was there before stays");
    // That page has it over what it was last.
    let other = browser.open(&format!("{}/about/", page.text("location.origin")));
    other.wait(&format!("{OVERLAY}?.innerText.includes('content/about.md:2') === true"));
    other.wait("document.body.innerText.includes('Two ovens')");
    // And this one goes on.
    world.write("site/content/long.md", long("The second text."));
    page.wait("document.body.innerText.includes('The second text.') && !window.old");
    page.wait(&format!("{ELSEWHERE} === '1 error elsewhere'"));
    page.eval("window.old = true");
    world.write("site/content/about.md", site::page("About", "Mended."));
    page.wait(&format!("!{OVERLAY} && {ELSEWHERE} === ''"));
    other.wait(&format!("!{OVERLAY} && document.body.innerText.includes('Mended.')"));
    assert_eq!(page.eval("window.old"), true, "the page itself has not changed");
}

#[test]
fn a_site_that_is_mended_appears_by_itself() {
    let world = World::new();
    let browser = Browser::start(&world);
    site::small(&world, "site");
    world.write("site/content/about.md", "+++\ntitle = \"x\n+++\n");
    let preview = Preview::start(&world, "site", &[], &[]);
    let page = browser.open(&format!("{}/about/", preview.url()));
    page.wait(&format!("{OVERLAY}?.innerText.includes('content/about.md:2') === true"));
    world.write("site/content/about.md", site::page("About", "Mended."));
    page.wait("document.body.innerText.includes('Mended.')");
}

#[test]
fn pages_that_a_build_leaves_out_are_marked() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (preview, page) = shown(&world, &browser, &[]);
    let badge =
        "document.querySelector('bake-preview').shadowRoot.querySelector('.badge')?.textContent ?? ''";
    assert_eq!(page.text(badge), "");
    world.write("site/content/long.md", long("x").replacen("+++", "+++\ndraft = true", 1));
    page.wait(&format!("({badge}) === 'Draft'"));
    page.eval("window.old = true");
    world.write("site/content/long.md", long("x").replacen("+++", "+++\ndate = 2999-01-02", 1));
    page.wait(&format!("({badge}) === 'Future: 2999-01-02'"));
    assert_eq!(page.eval("window.old"), true, "its text is the same");
    world.write(
        "site/content/blog/first.md",
        "+++\ntitle = \"First\"\ndraft = true\ndate = 2024-01-01\n+++\nx\n",
    );
    let list = browser.open(&format!("{}/blog/", preview.url()));
    list.wait("document.querySelector('main a[href$=\"/blog/first/\"]')?.dataset.bakeMark === 'draft'");
    // Nothing of it is built.
    world.bake(".", &["build", "site", "--out", "out", "--drafts"]).ok();
    let built = world.read("out/long/index.html") + &world.read("out/blog/index.html");
    assert!(!built.contains("bake-") && !built.contains("bake/"), "{built}");
}

#[test]
fn a_click_opens_the_source_at_its_line() {
    let world = World::new();
    world.write("editor", "#!/bin/sh\necho \"$@\" >> \"$OPENED\"\n");
    let editor = world.path("editor");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (editor, opened) = (format!("{} {{line}} {{file}}", editor.display()), world.path("opened"));
    let browser = Browser::start(&world);
    let vars = [("BAKE_EDITOR", editor.as_str()), ("OPENED", opened.to_str().unwrap())];
    let (_preview, page) = shown(&world, &browser, &vars);
    let site = world.path("site").canonicalize().unwrap();
    let wait = |line: u32, file: &str| {
        wait_until(&format!("{file}:{line} in the editor"), SOON, || {
            let told = std::fs::read_to_string(&opened).unwrap_or_default();
            told.lines().last() == Some(&format!("{line} {}", site.join(file).display()))
        });
    };
    page.alt_click("p[data-bake-source]");
    wait(4, "content/long.md");
    // What is not of the text is of the page.
    page.alt_click("h1");
    wait(1, "content/long.md");
    // Within a paragraph it is the line of the word.
    page.eval(
        "(() => {
           const p = [...document.querySelectorAll('p')].find((p) => p.textContent.startsWith('Paragraph 3\\n'));
           p.scrollIntoView({block: 'center'});
           const range = document.createRange();
           range.setStart(p.firstChild, p.firstChild.length - 3);
           range.setEnd(p.firstChild, p.firstChild.length - 2);
           const { left, top, height } = range.getBoundingClientRect();
           const at = { clientX: left + 1, clientY: top + height / 2 };
           p.dispatchEvent(new MouseEvent('click', { altKey: true, bubbles: true, cancelable: true, ...at }));
         })()",
    );
    wait(22, "content/long.md");
    page.eval(
        "document.querySelector('h1').dispatchEvent(
           new MouseEvent('click', { altKey: true, shiftKey: true, bubbles: true, cancelable: true }))",
    );
    wait(1, "templates/page.html");
    world.write("site/content/long.md", "+++\ntitle = \"x\n+++\n");
    page.wait(&format!("!!{OVERLAY}"));
    page.eval(&format!("{OVERLAY}.querySelector('.place').click()"));
    wait(2, "content/long.md");
    page.wait(
        "document.querySelector('bake-preview').shadowRoot.textContent.includes('content/long.md:2 is open')",
    );
}

#[test]
fn a_page_of_a_row_leads_to_the_row() {
    let world = World::new();
    site::small(&world, "site");
    world.write(
        "site/bakehouse.toml",
        "[[source]]\nname = \"breads\"\ntype = \"file\"\npath = \"breads.json\"\nrows = \"/all\"\n\
         [source.page]\nsection = \"breads\"\nslug = \"id\"\ntitle = \"id\"\n",
    );
    world.write("site/breads.json", "{\"all\": [\n  {\"id\": \"rye\"},\n  {\"id\": \"oat\"}\n]}\n");
    let preview = Preview::start(&world, "site", &[], &[]);
    let page = preview.get("/breads/oat/").text();
    assert!(page.contains("&quot;file&quot;:&quot;breads.json&quot;,&quot;line&quot;:3,"), "{page}");
}

#[test]
fn a_page_that_moves_is_followed_and_one_that_goes_says_so() {
    let world = World::new();
    let browser = Browser::start(&world);
    let (preview, page) = shown(&world, &browser, &[]);
    let said = "document.querySelector('bake-preview').shadowRoot.querySelector('.toast')?.textContent ?? ''";
    world.write("site/content/long.md", long("x").replacen("+++", "+++\nslug = \"other\"", 1));
    page.wait("location.pathname === '/other/'");
    page.wait(&format!("({said}).includes('from /long/')"));
    std::fs::rename(world.path("site/content/long.md"), world.path("site/content/third.md")).unwrap();
    world.write("site/content/third.md", long("y"));
    page.wait("location.pathname === '/third/'");
    std::fs::remove_file(world.path("site/content/third.md")).unwrap();
    page.wait(&format!("({said}).includes('is gone')"));
    assert_eq!(page.eval("document.body.innerText.includes('Paragraph 1')"), true);
    world.write("site/content/third.md", long("It is back."));
    page.wait("document.body.innerText.includes('It is back.') && !!document.querySelector('bake-preview')");
    // A preview that starts again is found again.
    let port = preview.url().rsplit(':').next().unwrap().to_owned();
    drop(preview);
    page.wait("document.querySelector('bake-preview').shadowRoot.textContent.includes('preview stopped')");
    world.write("site/content/third.md", long("Started again."));
    let _again = Preview::start(&world, "site", &["--port", &port], &[]);
    page.wait("document.body.innerText.includes('Started again.')");
}
