//! Publishing against trouble: two at once, a kill at each step, a bucket whose replies get lost.

use std::collections::BTreeSet;
use std::time::Duration;

use release::Digest;
use release::journal::{JournalEntry, State};

use crate::harness::{Bucket, Fate, Process, Proxy, SOON, World, site};
use crate::roles::Roles;

/// The journal of the only site, read with `aws`, folded; panics where it has forked or has a hole.
fn journal(world: &World, bucket: &Bucket) -> (State, Vec<JournalEntry>) {
    let folder = world.path("journal-copy");
    std::fs::remove_dir_all(&folder).ok();
    let from = format!("s3://{}/sites", bucket.name);
    let args = [
        "s3",
        "sync",
        "--quiet",
        &from,
        folder.to_str().unwrap(),
        "--exclude",
        "*",
        "--include",
        "*/journal/*",
    ];
    bucket.aws(world, &args).success();
    let mut sites = std::fs::read_dir(&folder).unwrap();
    let site = sites.next().expect("a site").unwrap().path();
    let mut files: Vec<_> =
        std::fs::read_dir(site.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let (mut state, mut entries) = (State::default(), Vec::new());
    for (i, file) in files.iter().enumerate() {
        let seq: u64 = file.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(seq, i as u64 + 1, "the journal has a hole");
        let bytes = std::fs::read(file).unwrap();
        let entry = JournalEntry::decode(&bytes).unwrap();
        state.apply(&entry, Digest::of(&bytes)).expect("the journal never forks");
        entries.push(entry);
    }
    (state, entries)
}

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
        let (state, entries) = journal(&world, &roles.bucket);
        let releases: BTreeSet<String> =
            entries.iter().filter_map(|e| Some(e.activation()?.release.to_string())).collect();
        assert!(releases.len() >= 2 + round, "round {round}: {releases:?}");
        let mut bases: Vec<_> = entries.iter().filter_map(|e| Some(e.activation()?.base)).collect();
        let all = bases.len();
        bases.dedup();
        assert_eq!(bases.len(), all, "two activations replaced the same one");
        assert!(state.active.is_some());
    }
}

#[test]
fn a_kill_at_any_step_leaves_the_old_site_or_the_new_one() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let mut old = "Two ovens, one baker.".to_owned();
    for (round, name) in origin::failpoint::OF_A_PUBLISH.iter().enumerate() {
        let new = format!("The text of round {round}.");
        world.write("site/content/about.md", site::page("About", &new));
        let (before, _) = journal(&world, &roles.bucket);
        let mut process =
            world.bake("site", &["publish"]).vars(&roles.bucket.vars()).var("BAKE_PAUSE_AT", name).start();
        process.wait_for_text(&format!("paused at {name}"), SOON);
        process.kill();

        let (after, entries) = journal(&world, &roles.bucket);
        assert!(after.seq - before.seq <= 1, "{name}");
        let committed = after.seq > before.seq;
        // Whatever is served, is served whole: an origin of its own reads every page of it.
        let origin = roles.origin();
        let edge = roles.edge(&[&origin]);
        let about = edge.get("/about/");
        assert!(about.has(if committed { &new } else { &old }), "{name}: {}", about.text());
        for path in
            ["/", "/blog/", "/blog/first/", "/blog/third/", "/tags/rye/", "/plain.txt", "/sitemap.xml"]
        {
            assert_eq!(edge.get(path).status, 200, "{name}: {path}");
        }
        assert_eq!(activations(&entries) as u64, entries.len() as u64, "{name}");
        drop((edge, origin));

        // The next publish does not mind.
        roles.publish("site", &[]).success();
        let (state, _) = journal(&world, &roles.bucket);
        assert!(state.seq > before.seq, "{name}");
        old = new;
    }
}

#[test]
fn a_bucket_that_loses_replies_after_the_work_loses_nothing() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let bucket = roles.bucket.at(proxy.address());
    world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
    // From now on every third write is done and not answered, and so is the first try at each journal entry.
    let mut writes = 0;
    let mut tried = BTreeSet::new();
    proxy.decide(move |method, target| {
        if method != "PUT" {
            return Fate::Pass;
        }
        writes += 1;
        let first = target.contains("/journal/") && tried.insert(target.to_owned());
        if first || writes % 3 == 0 { Fate::LoseReply } else { Fate::Pass }
    });
    for round in 0..3 {
        world.write("site/content/about.md", site::page("About", &format!("Round {round}.")));
        world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
        let (state, entries) = journal(&world, &roles.bucket);
        assert_eq!(state.seq, round + 2, "its own entry, whose reply was lost, is known again");
        assert_eq!(activations(&entries) as u64, state.seq);
    }
    let lost = proxy.seen().iter().filter(|(_, fate)| *fate == Fate::LoseReply).count();
    assert!(lost >= 6, "only {lost} replies were lost");
}

#[test]
fn a_bucket_that_never_hears_of_the_commit_leaves_the_old_site() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let bucket = roles.bucket.at(proxy.address());
    world.bake("site", &["publish"]).vars(&bucket.vars()).ok();
    let (before, _) = journal(&world, &roles.bucket);
    proxy.decide(|method, target| {
        if method == "PUT" && target.contains("/journal/") { Fate::LoseRequest } else { Fate::Pass }
    });
    world.write("site/content/about.md", site::page("About", "Never heard of."));
    world.bake("site", &["publish"]).vars(&bucket.vars()).run().code(1).says(&["error:", "hint:"]);
    let (after, _) = journal(&world, &roles.bucket);
    assert_eq!(after, before);
    roles.publish("site", &[]).success();
    let (after, _) = journal(&world, &roles.bucket);
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
