//! Publishing against trouble: two at once, a kill at each step, a bucket whose replies get lost.

use std::collections::BTreeSet;
use std::time::Duration;

use release::journal::JournalEntry;

use crate::harness::{Fate, Process, Proxy, SOON, World, site, wait_until};
use crate::roles::{Role, Roles};

/// Number of entries that activate something, all of which must count.
fn activations(entries: &[JournalEntry]) -> usize {
    entries.iter().filter(|e| e.activation().is_some()).count()
}

#[test]
fn two_publishers_at_once_leave_one_history() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    for name in ["one", "two"] {
        site::small(&world, name);
    }
    roles.publish("one", &[]).success();
    for round in 0..3 {
        let start = |name: &str| -> Process {
            world.write(
                &format!("{name}/content/about.md"),
                site::page("About", &format!("Round {round} of {name}.")),
            );
            world.bake(name, &["publish"]).vars(&roles.bucket.vars()).start()
        };
        let mut both = [start("one"), start("two")];
        let codes = both.each_mut().map(|p| p.wait(Duration::from_secs(50)).code());
        // The loser renders again on the winner, or says that it did not.
        assert!(codes.contains(&Some(0)), "{codes:?}");
        for (process, code) in both.iter().zip(codes) {
            assert!(code == Some(0) || process.stderr().contains("hint:"), "{code:?}: {}", process.stderr());
        }
        let (state, entries) = roles.bucket.journal();
        let releases: BTreeSet<String> =
            entries.iter().filter_map(|e| Some(e.activation()?.release.to_string())).collect();
        assert!(releases.len() >= 2 + round, "round {round}: {releases:?}");
        let mut bases: Vec<_> = entries.iter().filter_map(|e| Some(e.activation()?.base)).collect();
        let all = bases.len();
        bases.dedup();
        assert_eq!(bases.len(), all, "two activations replaced the same one");
        assert!(state.active.is_some());
    }
    // The site is that of one of them, whole.
    let origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    let winner = ["one", "two"].into_iter().find(|name| edge.get("/about/").has(&format!("of {name}.")));
    assert_whole(&edge, &format!("Round 2 of {}.", winner.expect("one of the two")));
    roles.publish("two", &["--message", "once more"]).success();
}

/// What [`site::small`] says of itself.
const OLD: &str = "Two ovens, one baker.";

/// What is served is served whole: every page can be read, and the one that changes says this.
fn assert_whole(edge: &Role, expected: &str) {
    let about = edge.get("/about/");
    assert!(about.has(expected), "{}", about.text());
    for path in ["/", "/blog/", "/blog/first/", "/blog/third/", "/tags/rye/", "/plain.txt", "/sitemap.xml"] {
        assert_eq!(edge.get(path).status, 200, "{path}");
    }
}

/// After a publish that went wrong, with the journal at `seq`: a new edge of a new origin serves the site whole, and the next
/// publish does not mind.
fn assert_recovers(world: &World, roles: &Roles<'_>, seq: u64, expected: &str) {
    let origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    assert_whole(&edge, expected);

    world.write("site/content/about.md", site::page("About", "The next text."));
    roles.publish("site", &[]).success();
    edge.wait_text("/about/", "The next text.");
    let (last, entries) = roles.bucket.journal();
    assert_eq!(last.seq, seq + 1);
    assert_eq!(activations(&entries) as u64, last.seq);
}

/// Kills a publish at a point: the site is the old one or the new one, whole, and the next publish succeeds.
fn killed_at(point: &str) {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let (before, _) = roles.bucket.journal();
    world.write("site/content/about.md", site::page("About", "The new text."));
    let mut process =
        world.bake("site", &["publish"]).vars(&roles.bucket.vars()).var("BAKE_PAUSE_AT", point).start();
    process.wait_for_text(&format!("paused at {point}"), SOON);
    process.kill();

    let (after, entries) = roles.bucket.journal();
    assert!(after.seq - before.seq <= 1);
    assert_eq!(activations(&entries) as u64, after.seq);
    let expected = if after.seq > before.seq { "The new text." } else { OLD };
    assert_recovers(&world, &roles, after.seq, expected);
}

macro_rules! killed_at {
    ($($name:ident: $point:literal,)*) => {
        $(
            #[test]
            fn $name() {
                killed_at($point);
            }
        )*

        #[test]
        fn every_point_of_a_publish_is_tested() {
            assert_eq!(origin::failpoint::OF_A_PUBLISH.as_slice(), [$($point),*]);
        }
    };
}

killed_at! {
    a_kill_before_anything_is_rendered: "publish::begin",
    a_kill_before_a_blob: "publish::before_blob",
    a_kill_after_a_blob: "publish::after_blob",
    a_kill_before_a_node: "publish::before_node",
    a_kill_after_a_node: "publish::after_node",
    a_kill_before_the_record: "publish::before_record",
    a_kill_after_the_record: "publish::after_record",
    a_kill_after_the_uploads: "publish::uploaded",
    a_kill_before_the_commit: "journal::before_create",
    a_kill_after_the_commit: "journal::after_create",
}

#[test]
fn a_kill_at_a_checkpoint_loses_nothing() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let mut origin = roles.origin_with(&[("BAKE_PAUSE_AT", "journal::before_checkpoint")]);
    let purge = |origin: &Role| origin.call("POST", "/v1/purge", r#"{"site": "main", "selectors": ["all"]}"#);
    let knows = |o: &Role| o.call("GET", "/v1/status", "").is_some_and(|reply| reply.has("\"main\""));
    wait_until("an origin that knows the site", SOON, || knows(&origin));
    let mut acknowledged = 1;
    while !origin.process.stderr().contains("paused at") && acknowledged < 64 {
        // The last one may not be answered: the writer is paused.
        let Some(reply) = purge(&origin) else { break };
        assert_eq!(reply.status, 200, "{reply:?}");
        acknowledged = reply.json()["seq"].as_u64().unwrap();
    }
    origin.process.wait_for_text("paused at journal::before_checkpoint", SOON);
    origin.process.kill();
    let (state, _) = roles.bucket.journal();
    assert!(state.seq >= acknowledged && state.seq >= 64, "{} of {acknowledged}", state.seq);
    let origin = roles.origin();
    wait_until("an origin that knows the site", SOON, || knows(&origin));
    let reply = purge(&origin).expect("an answer");
    assert_eq!(reply.json()["seq"].as_u64(), Some(state.seq + 1));
}

#[test]
fn a_bucket_that_loses_replies_after_the_work_loses_nothing() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    // Of every third request, whatever it asks for, the first reply is lost after the work is done; and so is that of each
    // write that probes the bucket, and of each journal entry.
    let mut tried = BTreeSet::new();
    let proxy = Proxy::start(&roles.bucket.endpoint, move |method, target| {
        if !tried.insert(format!("{method} {target}")) {
            return Fate::Pass;
        }
        let counts = method == "PUT" && ["/journal/", "/probe/"].iter().any(|part| target.contains(part));
        if counts || tried.len() % 3 == 0 { Fate::LoseReply } else { Fate::Pass }
    });
    let bucket = roles.bucket.at(proxy.address());
    for round in 0..4 {
        let text = format!("Round {round}.");
        world.write("site/content/about.md", site::page("About", &text));
        world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
        let (state, entries) = roles.bucket.journal();
        assert_eq!(state.seq, round + 1, "its own entry, whose reply was lost, is known again");
        assert_eq!(activations(&entries) as u64, state.seq);
        let origin = roles.origin();
        assert_whole(&roles.edge(&[&origin]), &text);
    }
    let lost = |method: &str| {
        let seen = proxy.seen();
        seen.iter().filter(|(asked, fate)| *fate == Fate::LoseReply && asked.starts_with(method)).count()
    };
    assert!(lost("PUT ") >= 6 && lost("GET ") >= 2, "{:?}", proxy.seen());
}

/// Publishes while every reply of a kind is lost after the work is done: the site is the old one or the new one, whole, and the
/// next publish succeeds.
fn without_replies(method: &'static str, part: &'static str) {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let bucket = roles.bucket.at(proxy.address());
    // Twice, so that there is something to remove.
    for text in ["The first text.", OLD] {
        world.write("site/content/about.md", site::page("About", text));
        world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
    }
    let (before, _) = roles.bucket.journal();
    proxy.decide(
        move |asked, target| {
            if asked == method && target.contains(part) { Fate::LoseReply } else { Fate::Pass }
        },
    );
    world.write("site/content/about.md", site::page("About", "The new text."));
    let done = world.bake("site", &["publish"]).vars(&bucket.vars()).run();
    assert!(proxy.seen().iter().any(|(_, fate)| *fate == Fate::LoseReply), "{:?}", proxy.seen());
    let (after, entries) = roles.bucket.journal();
    assert_eq!(activations(&entries) as u64, after.seq);
    if !done.status.success() {
        done.code(1).says(&["error:", "hint:"]);
    } else {
        assert_eq!(after.seq, before.seq + 1);
    }
    let expected = if after.seq > before.seq { "The new text." } else { OLD };
    assert_recovers(&world, &roles, after.seq, expected);
}

macro_rules! without_replies {
    ($($name:ident: $method:literal $part:literal,)*) => {
        $(
            #[test]
            fn $name() {
                without_replies($method, $part);
            }
        )*
    };
}

without_replies! {
    no_blob_is_acknowledged: "PUT" "/blobs/",
    no_node_is_acknowledged: "PUT" "/trees/",
    no_record_is_acknowledged: "PUT" "/releases/",
    no_journal_entry_is_acknowledged: "PUT" "/journal/",
    no_memory_is_acknowledged: "PUT" "/memo/",
    nothing_of_the_journal_is_read: "GET" "/journal/",
    no_node_is_read: "GET" "/trees/",
    nothing_is_read: "GET" "",
    nothing_is_listed: "GET" "list-type",
    no_removal_is_acknowledged: "DELETE" "",
}

#[test]
fn a_publish_reads_and_writes_what_differs_alone() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    for n in 0..1_200 {
        world.write(&format!("site/content/notes/{n}.md"), site::page(&format!("Note {n}"), "A short note."));
    }
    roles.publish("site", &[]).success();
    let nodes = roles.bucket.keys(&world, "sites/main/trees/").len();
    world.write("site/content/notes/7.md", site::page("Note 7", "Another short note."));
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let bucket = roles.bucket.at(proxy.address());
    world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
    let seen = proxy.seen();
    let count = |method: &str, part: &str| {
        seen.iter().filter(|(asked, _)| asked.starts_with(method) && asked.contains(part)).count()
    };
    let (read, written) = (count("GET ", "/trees/"), count("PUT ", "/trees/"));
    // The page's leaf, its source's, and the roots above.
    assert!(written >= 4 && written * 2 < nodes, "{written} of {nodes} nodes were written: {seen:?}");
    assert!(read <= written, "{read} nodes were read and {written} written: {seen:?}");
    assert_eq!(count("GET ", "/blobs/"), 0, "{seen:?}");
    assert_eq!(count("PUT ", "/releases/"), 1, "{seen:?}");
}

#[test]
fn a_bucket_that_never_hears_of_the_commit_leaves_the_old_site() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let bucket = roles.bucket.at(proxy.address());
    world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
    let (before, _) = roles.bucket.journal();
    proxy.decide(|method, target| {
        if method == "PUT" && target.contains("/journal/") { Fate::LoseRequest } else { Fate::Pass }
    });
    world.write("site/content/about.md", site::page("About", "Never heard of."));
    world.bake("site", &["publish"]).vars(&bucket.vars()).run().code(1).says(&["error:", "hint:"]);
    let (after, _) = roles.bucket.journal();
    assert_eq!(after, before);
    roles.publish("site", &[]).success();
    let (after, _) = roles.bucket.journal();
    assert_eq!(after.seq, before.seq + 1);
}

#[test]
fn a_bucket_that_ignores_conditions_is_refused() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    proxy.forget_conditions();
    let bucket = roles.bucket.at(proxy.address());
    world.bake("site", &["publish"]).vars(&bucket.vars()).run().code(1).says(&["If-None-Match", "hint:"]);
    // Nothing was written that a site is made of.
    let keys = roles.bucket.keys(&world, "sites/");
    assert!(!keys.iter().any(|k| k.contains("/journal/") || k.contains("/blobs/")), "{keys:?}");
}
