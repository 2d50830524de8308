//! A real browser on the built-in theme.

use crate::harness::World;
use crate::harness::browser::FLAGS;

#[test]
fn chromium_shows_the_documentation_without_a_complaint() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    for (number, path) in ["/", "/start/quick-start/", "/write/", "/no-such-page"].iter().enumerate() {
        for (kind, size) in [("wide", "1280,900"), ("phone", "390,844")] {
            let picture = world.path(&format!("{number}-{kind}.png"));
            let profile = world.path(&format!("profile-{number}-{kind}"));
            let own = [
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
                &format!("--window-size={size}"),
                &format!("--user-data-dir={}", profile.display()),
                &format!("--screenshot={}", picture.display()),
                "--dump-dom",
                &format!("{}{path}", up.edge()),
            ];
            let done = world.program("chromium", ".", &[&FLAGS[..], &own].concat()).ok();
            let complaints: Vec<&str> = done
                .stderr
                .lines()
                .filter(|l| l.contains("CONSOLE") || l.contains("Uncaught"))
                // The browser itself reports the status of the page that is not there.
                .filter(|l| !(*path == "/no-such-page" && l.contains("404")))
                .collect();
            assert!(complaints.is_empty(), "{path}, {kind}: {complaints:?}");
            assert!(done.stdout.contains("<main"), "{path}: {}", done.stdout);
        }
    }
}

#[test]
fn pages_can_be_read_without_scripts() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    let text = up.get("/start/quick-start/").text();
    let main = text.split("<main").nth(1).expect("a main element").split("</main").next().unwrap();
    for element in ["<pre", "<h2", "<table"] {
        assert!(main.contains(element), "no `{element}` without scripts: {main}");
    }
    let words: String =
        main.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    for text in ["cargo run --release -- up", "bake rollback"] {
        assert!(words.contains(text), "no `{text}` without scripts: {words}");
    }
}
