//! One role a process: bucket, origins, edges, renderer, and what goes on when some of them are gone.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::up::metric;
use crate::harness::{Bucket, Done, Process, Reply, Request, SOON, World, site, wait_for, wait_until};

/// What opens the API of these origins.
pub const TOKEN: &str = "a-token-of-the-tests";
const EDGE_TOKEN: &str = "a-token-for-edges";
const TOKENS: [(&str, &str); 2] = [("BAKE_TOKEN", TOKEN), ("BAKE_EDGE_TOKEN", EDGE_TOKEN)];
/// The keys of the buckets of these tests.
pub const KEYS: [(&str, &str); 2] =
    [("BAKE_BUCKET_ACCESS_KEY_ID", "AKIATESTS"), ("BAKE_BUCKET_SECRET_ACCESS_KEY", "a-secret-of-the-tests")];

/// A bucket of its own process, and the roles around it.
pub struct Roles<'w> {
    world: &'w World,
    /// How to reach the bucket.
    pub bucket: Bucket,
    /// Its process.
    pub process: Process,
}

/// A role's process and where it listens.
pub struct Role {
    /// The process.
    pub process: Process,
    /// `http://host:port`.
    pub address: String,
}

/// The address that a role says it listens at.
fn address(process: &mut Process) -> String {
    wait_for("the address of a role", SOON, || {
        // What it says on standard error may name the addresses of others.
        let said = process.stdout();
        let at = said.find("http://127.0.0.1:");
        let found = at.map(|at| {
            said[at..].split(|c: char| !(c.is_alphanumeric() || ":/.".contains(c))).next().unwrap()
        });
        assert!(found.is_some() || process.ended().is_none(), "ended: {said}");
        found.filter(|_| said.contains('\n')).map(|f| f.trim_end_matches(['/', '.']).to_owned())
    })
}

/// The bucket of a `bake bucket` with [`KEYS`].
pub fn bucket_of(process: &mut Process) -> Bucket {
    let endpoint = address(process);
    Bucket::new(&endpoint, "bakehouse", KEYS[0].1, KEYS[1].1)
}

impl<'w> Roles<'w> {
    /// Starts the bucket.
    pub fn bucket(world: &'w World) -> Self {
        let mut process = world
            .bake(
                ".",
                &["bucket", "--listen", "127.0.0.1:0", "--data", world.path("bucket").to_str().unwrap()],
            )
            .vars(&KEYS)
            .start();
        let bucket = bucket_of(&mut process);
        Self { world, bucket, process }
    }

    /// `bake publish` with the bucket's own credentials.
    pub fn publish(&self, site: &str, args: &[&str]) -> Done {
        let mut all = vec!["publish"];
        all.extend(args);
        self.world.bake(site, &all).vars(&self.bucket.vars()).run()
    }

    /// An origin.
    pub fn origin(&self) -> Role {
        self.origin_with(&[])
    }

    /// An origin with further variables.
    pub fn origin_with(&self, vars: &[(&str, &str)]) -> Role {
        let mut process = self
            .world
            .bake(".", &["origin", "--listen", "127.0.0.1:0"])
            .vars(&self.bucket.vars())
            .vars(&TOKENS)
            .vars(vars)
            .start();
        let address = address(&mut process);
        Role { process, address }
    }

    /// An edge before these origins.
    pub fn edge(&self, origins: &[&Role]) -> Role {
        self.edge_with(origins, &[])
    }

    /// An edge before these origins with further variables.
    pub fn edge_with(&self, origins: &[&Role], vars: &[(&str, &str)]) -> Role {
        let mut args = vec!["edge", "--listen", "127.0.0.1:0"];
        for origin in origins {
            args.extend(["--origin", &origin.address]);
        }
        let mut process = self
            .world
            .bake(".", &args)
            .vars(&self.bucket.vars())
            .var("BAKE_EDGE_TOKEN", EDGE_TOKEN)
            .vars(vars)
            .start();
        let address = address(&mut process);
        let role = Role { process, address };
        wait_until("an edge that serves", SOON, || role.try_get("/").is_some_and(|r| r.status < 500));
        role
    }

    /// An edge that has origins alone, as soon as it says where it listens.
    pub fn edge_of(&self, origin: &str, args: &[&str]) -> Role {
        let args = [&["edge", "--listen", "127.0.0.1:0", "--origin", origin], args].concat();
        let mut process = self.world.bake(".", &args).var("BAKE_EDGE_TOKEN", EDGE_TOKEN).start();
        let address = address(&mut process);
        Role { process, address }
    }
}

impl Role {
    /// GETs a path; none where the connection fails.
    pub fn try_get(&self, path: &str) -> Option<Reply> {
        Request::get(path).send(&self.address).ok()
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Reply {
        Request::get(path).send(&self.address).unwrap_or_else(|e| panic!("{path} at {}: {e}", self.address))
    }

    /// Calls the API; none where the connection fails.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Option<Reply> {
        Request::new(method, path)
            .field("Authorization", &format!("Bearer {TOKEN}"))
            .field("Content-Type", "application/json")
            .body(body)
            .send(&self.address)
            .ok()
    }

    /// Waits until a path holds a text.
    pub fn wait_text(&self, path: &str, text: &str) {
        wait_until(&format!("`{text}` at {}{path}", self.address), SOON, || {
            self.try_get(path).is_some_and(|r| r.has(text))
        });
    }
}

const PATHS: [&str; 4] = ["/", "/about/", "/blog/first/", "/plain.txt"];

#[test]
fn a_publish_reaches_every_edge_and_the_receipt_names_them() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let first = roles.origin();
    let fellow = first.address.clone();
    let origins = [first, roles.origin_with(&[("BAKE_FELLOWS", &fellow)])];
    let edges = [roles.edge(&[&origins[0], &origins[1]]), roles.edge(&[&origins[1], &origins[0]])];
    for edge in &edges {
        for path in PATHS {
            assert_eq!(edge.get(path).status, 200, "{path}");
        }
    }
    world.write("site/content/about.md", site::page("About", "On every edge."));
    roles.publish("site", &[]).success();
    for edge in &edges {
        edge.wait_text("/about/", "On every edge.");
        assert!(
            edge.get("/plain.txt").field("cache-status").unwrap().contains("; hit"),
            "dropped without need"
        );
    }
    let receipt = world
        .bake(".", &["purge", "--url", "/about/", "--wait", "--json"])
        .var("BAKE_API", &origins[1].address)
        .var("BAKE_TOKEN", TOKEN)
        .ok()
        .json();
    assert_eq!(receipt["complete"], true, "{receipt}");
    let named = receipt["edges"].as_array().unwrap();
    assert_eq!(named.len(), 2, "{receipt}");
    assert!(named.iter().all(|e| e["state"] == "applied"), "{receipt}");
    let dropped: u64 = named.iter().filter_map(|e| e["dropped"].as_u64()).sum();
    assert_eq!(dropped, 2, "{receipt}");
}

#[test]
fn an_edge_goes_to_another_origin_when_one_dies() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let mut first = roles.origin();
    let second = roles.origin();
    let edge = roles.edge(&[&first, &second]);
    assert_eq!(edge.get("/about/").status, 200);
    first.process.kill();
    // What it lacks comes from the other one, at once, and so does the news.
    for path in ["/blog/second/", "/blog/third/", "/plain.txt"] {
        assert_eq!(edge.get(path).status, 200, "{path}");
    }
    world.write("site/content/about.md", site::page("About", "From the second origin."));
    roles.publish("site", &[]).success();
    edge.wait_text("/about/", "From the second origin.");
}

/// Asks an edge for one address after the other that it does not hold, for so long; returns how many came late.
fn late_misses(edge: &Role, time: Duration) -> usize {
    let (began, mut late) = (Instant::now(), 0);
    for number in 0.. {
        if began.elapsed() > time {
            break;
        }
        let asked = Instant::now();
        assert_eq!(edge.get(&format!("/none/{number}")).status, 404);
        late += usize::from(asked.elapsed() > LATE);
        std::thread::sleep(Duration::from_millis(50));
    }
    late
}

/// Half of what an edge waits for an origin that says nothing.
const LATE: Duration = Duration::from_millis(2_500);
/// Longer than it takes an edge to find that out twice.
const HANGS: Duration = Duration::from_secs(7);

#[test]
fn an_origin_that_hangs_costs_the_first_misses_alone() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let origins = [roles.origin(), roles.origin()];
    let edge = roles.edge(&[&origins[0], &origins[1]]);
    // It takes connections, and says nothing.
    origins[0].process.signal(Signal::STOP);
    let late = late_misses(&edge, HANGS);
    assert!(late <= 1, "{late} misses waited for the origin that hangs");
    world.write("site/content/about.md", site::page("About", "From the other origin."));
    roles.publish("site", &[]).success();
    edge.wait_text("/about/", "From the other origin.");
    // It is trusted again as soon as it answers.
    origins[0].process.signal(Signal::CONT);
    let answered = |role: &Role| metric(&role.address, "bakehouse_origin_requests_total", &["4xx"]);
    let before = answered(&origins[0]);
    let mut number = 0;
    wait_until("a miss at the origin that is back", SOON, || {
        number += 1;
        edge.get(&format!("/back/{number}"));
        answered(&origins[0]) > before
    });
}

#[test]
fn with_all_origins_hanging_an_edge_reads_the_bucket() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let origins = [roles.origin(), roles.origin()];
    let edge = roles.edge(&[&origins[0], &origins[1]]);
    for origin in &origins {
        origin.process.signal(Signal::STOP);
    }
    let late = late_misses(&edge, HANGS);
    assert!(late <= 1, "{late} misses waited for origins that hang");
    assert!(edge.get("/blog/first/").has("the first post"));
    world.write("site/content/about.md", site::page("About", "From the bucket."));
    roles.publish("site", &[]).success();
    let published = Instant::now();
    edge.wait_text("/about/", "From the bucket.");
    assert!(published.elapsed() < LATE, "news took {:?}", published.elapsed());
}

#[test]
fn with_all_origins_dead_an_edge_serves_and_reads_the_bucket_with_the_bucket_dead_it_serves_what_it_holds() {
    let world = World::new();
    let mut roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let mut origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    assert_eq!(edge.get("/about/").status, 200);
    origin.process.kill();
    assert!(edge.get("/about/").has("Two ovens"), "what it has");
    assert!(edge.get("/blog/first/").has("the first post"), "what it lacks, from the bucket");
    assert_eq!(edge.get("/no-such").status, 404);
    let reply = edge.get("/plain.txt");
    assert_eq!((reply.status, reply.text().as_str()), (200, "plain text\n"));
    // News come from the bucket too.
    world.write("site/content/about.md", site::page("About", "Read from the bucket."));
    roles.publish("site", &[]).success();
    edge.wait_text("/about/", "Read from the bucket.");

    roles.process.kill();
    for path in ["/about/", "/blog/first/", "/plain.txt"] {
        assert_eq!(edge.get(path).status, 200, "{path}");
    }
    // What it never held cannot be had: an error page, at once.
    let reply = edge.get("/blog/third/");
    assert!(matches!(reply.status, 502..=504), "{reply:?}");
    assert!(reply.body.len() < 4_096);
    // After the lease it goes on, and says so.
    wait_until("the end of the lease", Duration::from_secs(25), || {
        let reply = edge.get("/about/");
        assert_eq!(reply.status, 200);
        reply.field("cache-status").unwrap().contains("lease-expired")
    });
}

#[test]
fn a_starting_edge_without_anything_to_ask_serves_nothing_old() {
    let world = World::new();
    let mut roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    let address = origin.address.clone();
    drop(origin);
    roles.process.kill();
    let mut process = world
        .bake(".", &["edge", "--listen", "127.0.0.1:0", "--origin", &address])
        .vars(&roles.bucket.vars())
        .var("BAKE_EDGE_TOKEN", EDGE_TOKEN)
        .start();
    let at = self::address(&mut process);
    let edge = Role { process, address: at };
    let reply = edge.get("/about/");
    assert_eq!(reply.status, 503, "{reply:?}");
}

/// A page that is made of a file in no folder of a site's own.
const OVEN: &str = "+++\ntitle = \"Oven\"\n+++\n{% set oven = load_data(path=\"notes/oven.json\") %}{{ oven.degrees }} degrees\n";

#[test]
fn a_renderer_of_its_own_needs_no_checkout() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    let api = crate::harness::Api::start(crate::sources::RYE_4);
    crate::sources::prices(&world, &api);
    world.write("site/rolls.csv", "slug,title\nkaiser,The Kaiser roll\n");
    let rolls = "[[source]]\nname = \"rolls\"\ntype = \"file\"\npath = \"rolls.csv\"\n\
                 [source.page]\nslug = \"slug\"\ntitle = \"{{ title }} for {{ slug }}\"\n";
    world.write("site/bakehouse.toml", world.read("site/bakehouse.toml") + rolls);
    world.write("site/notes/oven.json", "{ \"degrees\": 240 }");
    world.write("site/content/oven.md", OVEN);
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    assert!(edge.get("/").has("rye=4"));
    // What it renders is in the bucket: the folder may be gone.
    std::fs::remove_dir_all(world.path("site")).unwrap();
    let _renderer = world
        .bake("elsewhere", &["renderer"])
        .vars(&roles.bucket.vars())
        .var("BAKE_ORIGINS", &origin.address)
        .var("BAKE_TOKEN", TOKEN)
        .start();
    api.answer(Some(crate::sources::RYE_5));
    edge.wait_text("/", "rye=5");
    assert!(edge.get("/about/").has("Two ovens"));
    assert!(edge.get("/kaiser/").has("The Kaiser roll for kaiser"), "files that are rows are recorded too");
    assert!(edge.get("/oven/").has("240 degrees"), "and so are those that a template reads");
}

#[test]
fn what_is_sent_to_an_origin_is_rendered_by_a_renderer() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let origin = roles.origin();
    let _renderer = world
        .bake("elsewhere", &["renderer"])
        .vars(&roles.bucket.vars())
        .var("BAKE_ORIGINS", &origin.address)
        .var("BAKE_TOKEN", TOKEN)
        .start();
    // Only the API and its token are known here: no bucket.
    let publish = |args: &[&str]| {
        let mut all = vec!["publish", "--json"];
        all.extend(args);
        world.bake("site", &all).var("BAKE_API", &origin.address).var("BAKE_TOKEN", TOKEN).run()
    };
    world.write("site/notes/oven.json", "{ \"degrees\": 240 }");
    world.write("site/content/oven.md", OVEN);
    let published = publish(&[]).success().json();
    assert!(published["committed"]["seq"].as_u64().is_some(), "{published}");
    let edge = roles.edge(&[&origin]);
    assert!(edge.get("/about/").has("Two ovens"));
    assert!(edge.get("/oven/").has("240 degrees"));
    world.write("site/content/about.md", site::page("About", "Rendered elsewhere."));
    publish(&["--wait"]).success();
    assert!(edge.get("/about/").has("Rendered elsewhere."));
    world.write("site/content/about.md", "+++\ntitle = \"About\n+++\n");
    publish(&[]).code(1).says(&["content/about.md:2"]);
    assert!(edge.get("/about/").has("Rendered elsewhere."));
}

#[test]
fn an_edge_before_any_server() {
    let world = World::new();
    let api = crate::harness::Api::start("{\"answer\": 42}");
    let mut process =
        world.bake(".", &["edge", "--upstream", api.address(), "--listen", "127.0.0.1:0"]).start();
    let at = address(&mut process);
    let edge = Role { process, address: at };
    wait_until("the edge", SOON, || edge.try_get("/x").is_some());
    let reply = edge.get("/x");
    assert_eq!((reply.status, reply.text().as_str()), (200, "{\"answer\": 42}"));
    assert!(reply.field("cache-status").unwrap().contains("fwd="), "{reply:?}");
    // It said nothing of a lifetime, so it is asked each time.
    let asked = api.asked();
    edge.get("/x");
    assert_eq!(api.asked(), asked + 1);
}

#[test]
fn a_release_is_served_by_its_hosts() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    for (name, hosts) in [("main", r#"["bread.example", "brot.example"]"#), ("cake", r#"["cake.example"]"#)] {
        site::small(&world, name);
        world.write(&format!("{name}/bakehouse.toml"), format!("site = {name:?}\nhosts = {hosts}\n"));
        world.write(&format!("{name}/content/about.md"), site::page("About", &format!("This is {name}.")));
        roles.publish(name, &[]).success();
    }
    let origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    let ask = |base: &str, host: &str| {
        let request = Request::get("/about/").field("Host", host);
        request.field("Authorization", &format!("Bearer {TOKEN}")).send(base).unwrap()
    };
    for (host, name) in [
        ("bread.example", "main"),
        ("BROT.example:8080", "main"),
        ("cake.example", "cake"),
        ("Cake.Example:80", "cake"),
    ] {
        for base in [&edge.address, &origin.address] {
            let reply = ask(base, host);
            assert!(reply.has(&format!("This is {name}.")), "{host} at {base}: {reply:?}");
        }
    }
    assert_eq!(ask(&edge.address, "pie.example").status, 421);
    let reply = ask(&origin.address, "pie.example");
    assert_eq!(reply.status, 404);
    assert!(reply.has("no site answers to this host"), "{reply:?}");
    // A publish of one leaves the copies of the other.
    world.write("cake/content/about.md", site::page("About", "Another cake."));
    roles.publish("cake", &[]).success();
    let asked = || Request::get("/about/").field("Host", "cake.example").send(&edge.address).unwrap();
    wait_until("the new cake", SOON, || asked().has("Another cake."));
    let other = Request::get("/about/").field("Host", "brot.example").send(&edge.address).unwrap();
    assert!(other.field("cache-status").unwrap().contains("; hit"), "{other:?}");
}

#[test]
fn logs_are_lines_of_json_and_name_each_request() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let vars = [("BAKE_LOG", "info"), ("BAKE_LOG_FORMAT", "json")];
    let origin = roles.origin_with(&vars);
    let edge = roles.edge_with(&[&origin], &vars);
    let lines = |process: &Process| -> Vec<serde_json::Value> {
        let said = process.stderr();
        // The last line may still be written.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let json = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        whole.lines().map(json).collect()
    };
    // What a browser is told is what stands in the log of the origin that made it.
    let missed = edge.get("/about/");
    let id = missed.field("x-request-id").expect("an id").to_owned();
    let is_it = |line: &serde_json::Value| {
        line["id"] == id.as_str()
            && line["path"] == "/about/"
            && line["status"] == 200
            && line["method"] == "GET"
    };
    wait_until("the request in the origin's log", SOON, || lines(&origin.process).iter().any(is_it));
    let line = lines(&origin.process).into_iter().find(is_it).unwrap();
    for key in ["timestamp", "level", "target", "ms"] {
        assert!(!line[key].is_null(), "no {key}: {line}");
    }
    // A hit has an id of its own, and none at the origin.
    let hit = edge.get("/about/");
    assert_ne!(hit.field("x-request-id").expect("an id"), id);
    // An id that comes in is kept; one that does not fit is not.
    let ask = |id: &str| {
        let request = Request::get("/readyz").field("X-Request-Id", id).send(&origin.address).unwrap();
        request.field("x-request-id").unwrap().to_owned()
    };
    assert_eq!(ask("from-a-balancer.1"), "from-a-balancer.1");
    assert_ne!(ask("with a blank"), "with a blank");
    wait_until("that id in the log", SOON, || {
        lines(&origin.process).iter().any(|line| line["id"] == "from-a-balancer.1")
    });
    lines(&edge.process);
}

#[test]
fn roles_report_how_they_are() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    for path in ["/healthz", "/readyz"] {
        wait_until(path, SOON, || origin.get(path).status == 200);
    }
    assert!(metric(&origin.address, "bakehouse_bucket_requests_total", &[]) > 0.0);
    // Unreleased content is not public: an origin's pages want the token too.
    let reply = origin.get("/about/");
    assert!(matches!(reply.status, 401 | 403 | 404), "{reply:?}");
}
