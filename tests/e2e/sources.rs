//! Data that is not files, schedules, and pages whose time comes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Api, Preview, Process, SOON, Up, World, site, wait_until};

/// A period of the schedule, a render, and the patience of a machine that does other things too.
const PERIOD: Duration = Duration::from_secs(15);

/// Runs SQL on a database in the world, with Python's own SQLite.
pub fn sql(world: &World, database: &str, statements: &str) {
    let script =
        "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db:\n    db.executescript(sys.argv[2])\n";
    world.program("python3", ".", &["-c", script, world.path(database).to_str().unwrap(), statements]).ok();
}

/// A site whose news are rows of an SQLite file, read again each second.
pub fn news(world: &World) {
    site::small(world, "site");
    sql(
        world,
        "news.db",
        "CREATE TABLE news (slug TEXT, title TEXT, body TEXT);
         INSERT INTO news VALUES ('one', 'News one', 'The *first* row.'), ('two', 'News two', 'The second row.');",
    );
    world.write("site/content/news/_index.md", "+++\ntitle = \"News\"\n+++\n");
    world.write(
        "site/bakehouse.toml",
        r#"
[[source]]
name = "news"
type = "sql"
database = "../news.db"
query = "SELECT slug, title, body FROM news ORDER BY slug"

[source.page]
section = "news"
slug = "slug"
title = "title"
body = "body"

[[schedule]]
name = "often"
cron = "* * * * * *"
"#,
    );
}

/// A site with prices from an API, read again each second.
pub fn prices(world: &World, api: &Api) {
    site::small(world, "site");
    world.write(
        "site/templates/index.html",
        "<!doctype html><title>Prices</title>{% for p in data.prices %}<p>{{ p.name }}={{ p.price }}</p>{% endfor %}\
         {{ section.content | safe }}",
    );
    world.write(
        "site/bakehouse.toml",
        format!(
            r#"
[[source]]
name = "prices"
type = "http"
url = "{}/prices"
rows = "/items"
timeout = "2s"

[[schedule]]
name = "often"
cron = "* * * * * *"
"#,
            api.address()
        ),
    );
}

/// An answer of that API.
pub const RYE_4: &str = r#"{"items": [{"name": "rye", "price": 4}]}"#;
/// A later one.
pub const RYE_5: &str = r#"{"items": [{"name": "rye", "price": 5}]}"#;

#[test]
fn a_row_is_a_page_and_a_changed_row_is_live_within_a_period() {
    let world = World::new();
    news(&world);
    let up = world.up("site");
    assert!(up.get("/news/one/").has("<em>first</em>"), "a row's text is markdown");
    assert!(up.get("/news/").has("News two"));
    sql(
        &world,
        "news.db",
        "UPDATE news SET body = 'Changed.' WHERE slug = 'one'; DELETE FROM news WHERE slug = 'two';
         INSERT INTO news VALUES ('three', 'News three', 'A third row.');",
    );
    wait_until("the changed row", PERIOD, || up.get("/news/one/").has("Changed."));
    assert!(up.get("/news/three/").has("A third row."));
    assert_eq!(up.get("/news/two/").status, 404);
    let releases = up.releases();
    assert_eq!(releases.len(), 2, "firings that found nothing new made releases: {releases:#?}");
    assert_eq!(releases[0]["trigger"], json!({ "kind": "schedule", "name": "often" }));
}

/// A site whose news are lines of a file, beside `content/`: in none of a site's own folders.
fn listed(world: &World) {
    site::small(world, "site");
    world.write(
        "site/news.csv",
        "slug,title,body\none,News one,The *first* row.\ntwo,News two,The second row.\n",
    );
    world.write("site/content/news/_index.md", "+++\ntitle = \"News\"\n+++\n");
    world.write(
        "site/templates/index.html",
        "<!doctype html><title>News</title>{{ data.news | length }} news: {% for n in data.news %}{{ n.slug }} {% endfor %}",
    );
    world.write(
        "site/bakehouse.toml",
        "[[source]]\nname = \"news\"\ntype = \"file\"\npath = \"news.csv\"\n\
         [source.page]\nsection = \"news\"\nslug = \"slug\"\ntitle = \"title\"\nbody = \"body\"\n",
    );
}

#[test]
fn a_row_of_a_file_is_live_when_the_file_is_saved() {
    let world = World::new();
    listed(&world);
    let up = world.up("site");
    assert!(up.get("/news/one/").has("<em>first</em>"), "a row's text is markdown");
    assert!(up.get("/").has("2 news: one two"));
    world.write("site/news.csv", "slug,title,body\none,News one,Changed.\nthree,News three,A third row.\n");
    up.wait_text("/news/one/", "Changed.");
    assert!(up.get("/news/three/").has("A third row."));
    assert!(up.get("/").has("2 news: one three"));
    assert_eq!(up.get("/news/two/").status, 404);
    let releases = up.releases();
    assert_eq!(releases.len(), 2, "{releases:#?}");
    assert_eq!(releases[0]["trigger"]["kind"], "watch");

    // What is wrong with it keeps what was good, and is said with its place.
    world.write("site/news.csv", "slug,title,body\none,News one,Again.\n,Nothing,Lost.\n");
    wait_until("the message", SOON, || {
        let said = up.process.stderr();
        said.contains("source `news`: row 2: column `slug` must not be null")
            && said.contains("--> news.csv:3")
    });
    assert!(up.get("/news/one/").has("Changed."));
    world.write("site/news.csv", "slug,title,body\none,News one,Mended.\n");
    up.wait_text("/news/one/", "Mended.");
    assert_eq!(up.releases().len(), 3);

    // Those who render elsewhere are sent the file too.
    world.write("other/news.csv", "slug,title,body\nfour,News four,Sent.\n");
    for path in
        ["zola.toml", "bakehouse.toml", "content/news/_index.md", "content/_index.md", "templates/index.html"]
    {
        world.write(&format!("other/{path}"), world.read(&format!("site/{path}")));
    }
    let plan = up.bake(&["publish", "--plan", world.path("other").to_str().unwrap()]).success();
    assert!(plan.stdout.contains("news/four/index.html"), "{}", plan.stdout);
}

#[test]
fn a_preview_shows_the_rows_of_a_file_and_what_is_wrong_with_them() {
    let world = World::new();
    listed(&world);
    let preview = Preview::start(&world, "site", &[], &[]);
    assert!(preview.get("/news/one/").has("<em>first</em>"));
    world.write("site/news.csv", "slug,title,body\none,News one,Changed.\n");
    preview.wait_text("/news/one/", "Changed.");
    world.write("site/news.csv", "slug,title,body\none,News one\n");
    wait_until("the message", SOON, || preview.process.stderr().contains("--> news.csv:2:1"));
    assert!(preview.get("/news/one/").has("Changed."));
    // What is wrong with the text of a row stands at the row, since no other file has it.
    world.write("site/news.csv", "slug,title,body\ntwo,News two,Two.\none,News one,[gone](@/gone.md)\n");
    wait_until("the link", SOON, || preview.process.stderr().contains("--> news.csv:3"));
    let said = "row 2 of source `news`: the link `@/gone.md` leads to no content";
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&["--> news.csv:3", said]);
    world.bake("site", &["check"]).run().code(1).says(&["--> news.csv:3", said]);
    world.write("site/news.csv", "slug,title,body\none,News one,Mended.\n");
    preview.wait_text("/news/one/", "Mended.");
}

#[test]
fn a_build_reads_the_rows_of_a_file_again_when_it_has_changed() {
    let world = World::new();
    listed(&world);
    let build = || world.bake(".", &["build", "site", "--out", "out"]).ok().stdout;
    build();
    assert!(world.read("out/news/one/index.html").contains("<em>first</em>"));
    assert!(build().contains("nothing to render"));
    world.write("site/news.csv", "slug,title,body\none,News one,The *first* row.\ntwo,News two,Changed.\n");
    let said = build();
    assert!(!said.contains("nothing to render"), "{said}");
    assert!(world.read("out/news/two/index.html").contains("Changed."));
    let clean = world.bake(".", &["build", "site", "--out", "clean", "--no-memo"]).ok();
    assert!(clean.stdout.contains("pages"));
    world.program("diff", ".", &["-r", "out", "clean"]).ok();
    world.write("site/news.csv", "slug,title,body\none,News one\n");
    world.bake(".", &["build", "site", "--out", "out"]).run().code(1).says(&["--> news.csv:2:1"]);
}

#[test]
fn what_was_missed_while_nothing_ran_is_done_once_at_the_next_start() {
    let world = World::new();
    news(&world);
    let config = world.read("site/bakehouse.toml").replace("* * * * * *", "@yearly");
    world.write("site/bakehouse.toml", config);
    let up = world.up("site");
    let firings = |up: &Up<'_>| up.metric("bakehouse_schedule_firings_total", &["often"]);
    assert_eq!(firings(&up), 0.0, "a schedule that has never fired has missed nothing");
    // As if it had last run some years ago.
    world.write("record", r#"{"version":1,"due":"2020-01-01T00:00:00Z","done":"2020-01-01T00:00:01Z"}"#);
    let bucket = up.bucket();
    let key = "sites/main/schedule/often";
    let args = ["s3api", "put-object", "--bucket", &bucket.name, "--key", key, "--body", "record"];
    bucket.aws(&world, &args).success();
    up.interrupt();

    let up = world.up("site");
    let due = |up: &Up<'_>| -> String {
        let record: serde_json::Value = serde_json::from_slice(&up.bucket().get(&world, key)).unwrap();
        record["due"].as_str().unwrap().to_owned()
    };
    wait_until("the run that was missed", PERIOD, || !due(&up).starts_with("2020"));
    assert_eq!(firings(&up), 1.0, "years were missed, and one run makes up for all");
    up.interrupt();

    // Nothing was missed now, and a publish by hand comes after whatever the start set off.
    let up = world.up("site");
    up.bake(&["publish"]).success();
    assert_eq!(firings(&up), 0.0);
}

/// A site that runs each night at half past two in Berlin, and each hour at half past.
fn nightly(world: &World) {
    site::small(world, "site");
    let schedule = |name: &str, cron: &str| {
        format!("[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\ntimezone = \"Europe/Berlin\"\n")
    };
    world.write("site/bakehouse.toml", schedule("night", "30 2 * * *") + &schedule("hour", "30 * * * *"));
}

/// `bake up` in a process whose clock says that it is `moment` (UTC) when it starts.
fn up_at<'w>(world: &'w World, moment: &str) -> Up<'w> {
    let vars = [
        ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
        ("FAKETIME", &format!("@{moment}")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("TZ", "UTC"),
    ];
    let up = world.up_with("site", &[], &vars);
    // What the library shares with child processes, of which there are none, would outlive a process that is killed.
    for shared in ["faketime_shm_", "sem.faketime_sem_"] {
        std::fs::remove_file(format!("/dev/shm/{shared}{}", up.process.pid())).unwrap();
    }
    let started = up.releases()[0]["created"].as_str().unwrap().to_owned();
    assert_eq!(started[..10], moment[..10], "the process has a clock of its own: {started}");
    up
}

/// How often the two schedules of [`nightly`] have fired.
fn firings(up: &Up<'_>) -> [f64; 2] {
    ["night", "hour"].map(|name| up.metric("bakehouse_schedule_firings_total", &[name]))
}

#[test]
fn a_time_that_the_clock_leaps_over_in_spring_comes_at_the_end_of_the_leap() {
    let world = World::new();
    nightly(&world);
    // In Berlin it is 01:59:45, and 03:00 comes after 01:59:59.
    let up = up_at(&world, "2026-03-29 00:59:45");
    assert_eq!(firings(&up), [0.0, 0.0]);
    wait_until("the run of the night", PERIOD + SOON, || firings(&up)[0] > 0.0);
    assert_eq!(firings(&up), [1.0, 0.0], "half past two did not exist, half past three is yet to come");
}

#[test]
fn a_time_that_comes_twice_in_autumn_is_one_run() {
    let world = World::new();
    nightly(&world);
    // In Berlin it is 02:29:45 in summer time.
    let up = up_at(&world, "2026-10-25 00:29:45");
    wait_until("both runs", PERIOD + SOON, || firings(&up) == [1.0, 1.0]);
    up.interrupt();
    // An hour later it is 02:29:45 again.
    let up = up_at(&world, "2026-10-25 01:29:45");
    wait_until("the run of the hour", PERIOD + SOON, || firings(&up)[1] > 0.0);
    up.bake(&["publish"]).success();
    assert_eq!(firings(&up), [0.0, 1.0], "the night has been");
}

#[test]
fn a_source_that_is_down_does_not_hold_up_a_save() {
    let world = World::new();
    let api = Api::start(RYE_4);
    prices(&world, &api);
    let mut up = world.up("site");
    assert!(up.get("/").has("rye=4"));
    api.answer(None);
    up.process.wait_for_text("prices", PERIOD);
    wait_until("the failure in the metrics", PERIOD, || {
        let all = up.metric("bakehouse_source_fetches_total", &["\"prices\""]);
        all > up.metric("bakehouse_source_fetches_total", &["\"prices\"", "\"ok\""])
    });
    world.write("site/content/_index.md", "+++\ntitle = \"Bread\"\n+++\nSaved meanwhile.\n");
    up.wait_text("/", "Saved meanwhile.");
    assert!(up.get("/").has("rye=4"), "the last good data is gone");
    // By hand too, and the exit code says so.
    world.write("site/content/_index.md", "+++\ntitle = \"Bread\"\n+++\nSaved again.\n");
    up.bake(&["publish"]).code(1).says(&["prices"]);
    up.wait_text("/", "Saved again.");
    // It is asked again by itself.
    let asked = api.asked();
    api.answer(Some(RYE_5));
    wait_until("the new price", PERIOD, || up.get("/").has("rye=5"));
    assert!(api.asked() > asked);
}

#[test]
fn a_source_that_says_nothing_holds_up_neither_saves_nor_starts_nor_stops() {
    let world = World::new();
    let api = Api::start(RYE_4);
    prices(&world, &api);
    // Longer than this test waits for anything.
    let config = world.read("site/bakehouse.toml").replace("timeout = \"2s\"", "timeout = \"5m\"");
    world.write("site/bakehouse.toml", config);
    let up = world.up("site");
    assert!(up.get("/").has("rye=4"));
    api.fall_silent();
    let asked = api.asked();
    wait_until("a request without an answer", PERIOD, || api.asked() > asked);
    for text in ["Saved once.", "Saved twice."] {
        world.write("site/content/about.md", site::page("About", text));
        up.wait_text("/about/", text);
    }
    assert!(up.interrupt().success());

    world.write("site/content/about.md", site::page("About", "Saved while nothing ran."));
    let up = world.up("site");
    up.wait_text("/about/", "Saved while nothing ran.");
    assert!(up.get("/").has("rye=4"), "the last good data is gone");
    // Who asks for a publish wants the answer, and what is saved meanwhile is live before it.
    let mut asking = up.bake_run(&["publish"]).start();
    world.write("site/content/about.md", site::page("About", "Saved meanwhile."));
    up.wait_text("/about/", "Saved meanwhile.");
    assert!(asking.ended().is_none(), "published without the answer of its source");
    assert!(up.interrupt().success());
    assert_eq!(asking.wait(SOON).code(), Some(1));
}

#[test]
fn a_query_that_is_edited_is_asked_at_once() {
    let world = World::new();
    news(&world);
    let config = world.read("site/bakehouse.toml").replace("* * * * * *", "@yearly");
    world.write("site/bakehouse.toml", &config);
    let up = world.up("site");
    assert_eq!(up.get("/news/two/").status, 200);
    world.write("site/bakehouse.toml", config.replace("ORDER BY", "WHERE slug = 'one' ORDER BY"));
    wait_until("the page that is no longer asked for to go", PERIOD, || up.get("/news/two/").status == 404);
    assert_eq!(up.get("/news/one/").status, 200);
}

#[test]
fn last_good_data_outlives_a_restart() {
    let world = World::new();
    let api = Api::start(RYE_4);
    prices(&world, &api);
    let up = world.up("site");
    api.answer(None);
    assert!(up.interrupt().success());
    world.write("site/content/about.md", site::page("About", "Saved while nothing ran."));
    let up = world.up("site");
    up.wait_text("/about/", "Saved while nothing ran.");
    assert!(up.get("/").has("rye=4"));
}

#[test]
fn a_first_start_waits_for_a_source_that_is_down() {
    let world = World::new();
    let api = Api::start(RYE_4);
    api.answer(None);
    prices(&world, &api);
    let mut process = Up::launch(&world, "site", &[], &[]);
    process.wait_for_text("prices", SOON);
    assert!(!world.path("site.data/up.json").exists(), "served before there was anything to serve");
    api.answer(Some(RYE_4));
    let up = Up::attach(&world, "site", process);
    assert!(up.get("/").has("rye=4"));
}

#[test]
fn a_bad_row_keeps_the_last_release_and_is_named() {
    let world = World::new();
    news(&world);
    let mut up = world.up("site");
    sql(
        &world,
        "news.db",
        "UPDATE news SET slug = NULL WHERE slug = 'two'; UPDATE news SET body = 'Hidden.';",
    );
    up.process.wait_for_text("slug", PERIOD);
    assert!(up.process.stderr().contains("news"), "{}", up.process.stderr());
    assert!(up.get("/news/one/").has("<em>first</em>"), "half of the rows went live");
    up.bake(&["publish"]).code(1).says(&["news", "slug"]);
    sql(&world, "news.db", "UPDATE news SET slug = 'two' WHERE slug IS NULL;");
    wait_until("the mended rows", PERIOD, || up.get("/news/two/").has("Hidden."));
}

#[test]
fn pages_come_and_go_at_their_moment() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/bakehouse.toml", "");
    let now = jiff::Timestamp::now();
    let at = |seconds: i64| {
        let moment = now + jiff::SignedDuration::from_secs(seconds);
        // Whole seconds, as one writes them.
        moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let dated = |key: &str, when: &str| format!("+++\ntitle = \"Timed\"\n{key} = {when}\n+++\nIts time.\n");
    world.write("site/content/soon.md", dated("date", &at(8)));
    world.write("site/content/later.md", dated("date", &at(3_600)));
    world.write(
        "site/content/brief.md",
        format!("+++\ntitle = \"Brief\"\ndate = 2024-01-01\nexpiry_date = {}\n+++\nStill here.\n", at(10)),
    );
    let up = world.up("site");
    if jiff::Timestamp::now() < now + jiff::SignedDuration::from_secs(7) {
        assert_eq!(up.get("/soon/").status, 404, "ahead of its time");
        assert!(!up.get("/sitemap.xml").has("/soon/"));
        assert_eq!(up.get("/brief/").status, 200);
    }
    up.wait_text("/soon/", "Its time.");
    assert!(jiff::Timestamp::now() >= now + jiff::SignedDuration::from_secs(7));
    up.wait_status("/brief/", 404);
    assert_eq!(up.get("/later/").status, 404);
    assert!(up.releases().iter().any(|r| r["trigger"]["kind"] == "due"), "{:#?}", up.releases());
    let said = format!("{}{}", up.process.stdout(), up.process.stderr());
    assert!(!said.contains("leads to nothing"), "an end that was planned is no loss: {said}");
}

/// The newsroom of the examples beside its API, read again by this `cron`; and its tool for rows.
fn newsroom<'w>(world: &'w World, cron: &str) -> (Up<'w>, Process, impl Fn(&[&str]) + use<'w>) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/newsroom");
    world.program("cp", ".", &["-r", example.to_str().unwrap(), "newsroom"]).ok();
    let mut api = world.program("python3", "newsroom", &["api.py", "0"]).start();
    api.wait_for_text("http://", SOON);
    let said = api.stdout();
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let mut config = world.read("newsroom/bakehouse.toml");
    for (known, own) in [("http://127.0.0.1:8099/weather", url), (EVERY_TEN_SECONDS, cron)] {
        assert!(config.contains(known), "{config}");
        config = config.replace(known, own);
    }
    world.write("newsroom/bakehouse.toml", config);
    let up = world.up("newsroom");
    let news = move |args: &[&str]| {
        world.program("python3", "newsroom", &[&["make-news.py"], args].concat()).ok();
    };
    (up, api, news)
}

const EVERY_TEN_SECONDS: &str = "*/10 * * * * *";
const EVERY_SECOND: &str = "* * * * * *";

// The table of the newsroom's README, line by line.

#[test]
fn the_newsroom_is_fed_by_its_database_and_its_api() {
    let world = World::new();
    let (up, _api, news) = newsroom(&world, EVERY_TEN_SECONDS);
    // A period is ten seconds.
    let period = Duration::from_secs(20);
    let staff = world.read("newsroom/data/staff.csv");
    world.write("newsroom/data/staff.csv", staff.replace("in turn", "at once"));
    up.wait_text("/staff/tomas/", "at once");
    assert_eq!(up.get("/news/it-worked/").status, 404);
    // The cell: times on the page may have the number, too.
    let is_warm = || up.get("/").has("<td>37</td>");
    assert!(!is_warm());
    news(&["add", "It worked", "This was a row."]);
    wait_until("the new story", period, || up.get("/news/it-worked/").has("This was a row."));
    for path in ["/", "/news/", "/atom.xml"] {
        assert!(up.get(path).has("It worked"), "{path}");
    }
    let about = || up.get("/about/").field("cache-status").unwrap().contains("; hit");
    up.get("/about/");
    assert!(about());
    news(&["edit", "it-worked", "Once more."]);
    let weather = world.read("newsroom/weather.json");
    assert!(weather.contains("\"temperature\": 7"), "{weather}");
    world.write("newsroom/weather.json", weather.replace("\"temperature\": 7", "\"temperature\": 37"));
    wait_until("the changed weather", period, is_warm);
    assert!(up.get("/weather/bremen/").has("37 °C"));
    wait_until("the changed story", period, || up.get("/news/it-worked/").has("Once more."));
    assert!(up.get("/atom.xml").has("Once more."));
    assert!(about(), "what shows none of this was dropped");
}

#[test]
fn a_story_of_the_newsroom_publishes_itself() {
    let world = World::new();
    let (up, _api, news) = newsroom(&world, EVERY_SECOND);
    let began = Instant::now();
    let delay = Duration::from_secs(10);
    news(&["add", "--in", "10", "Later"]);
    news(&["add", "Now"]);
    wait_until("the story of now", SOON, || up.get("/news/now/").status == 200);
    assert_eq!(up.get("/news/later/").status, 404);
    wait_until("the story of later", delay + SOON, || up.get("/news/later/").status == 200);
    // Rows have whole seconds.
    assert!(began.elapsed() + Duration::from_secs(1) >= delay, "{:?}", began.elapsed());
    assert!(up.get("/").has("Later"));
}

#[test]
fn the_newsroom_lives_with_an_api_that_is_away_and_with_a_bad_row() {
    let world = World::new();
    let (mut up, mut api, news) = newsroom(&world, EVERY_SECOND);
    api.kill();
    news(&["add", "Without weather", "The API is away."]);
    wait_until("a story without the API", SOON, || up.get("/news/without-weather/").has("The API is away."));
    up.process.wait_for_text("weather", SOON);
    for path in ["/", "/weather/bremen/"] {
        assert!(up.get(path).has("Bremen"), "the weather of before is gone from {path}");
    }
    news(&["add", " "]);
    up.process.wait_for_text("column `slug` must not be empty", SOON);
    let said = up.process.stderr();
    assert!(said.contains("source `stories`: row "), "{said}");
    let before = up.active();
    news(&["add", "After the bad row"]);
    up.bake(&["publish"]).code(1).says(&["source `stories`: row ", "column `slug` must not be empty"]);
    assert_eq!((up.active(), up.get("/news/after-the-bad-row/").status), (before, 404));
    assert!(up.get("/news/without-weather/").has("The API is away."));
    news(&["remove", ""]);
    wait_until("the story after it", SOON, || up.get("/news/after-the-bad-row/").status == 200);
}
