//! The walls between the rooms: who may depend on whom, read from `cargo metadata`, so that a wrong line in a
//! Cargo.toml fails here and not in a review.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each room with the rooms that it may see. Rooms on one layer never see each other, and nobody looks up.
const ROOMS: [(&str, &[&str]); 13] = [
    ("muster-domain", &[]),
    ("muster-policy", &["muster-domain"]),
    ("muster-files", &["muster-domain"]),
    ("muster-process", &["muster-domain"]),
    ("muster-registry", &["muster-domain"]),
    ("muster-store", &["muster-domain"]),
    ("muster-simulator", &["muster-domain", "muster-policy"]),
    (
        "muster-supervisor",
        &["muster-domain", "muster-files", "muster-policy", "muster-process", "muster-registry", "muster-store"],
    ),
    ("muster-worker", &["muster-domain", "muster-files", "muster-process", "muster-registry"]),
    ("muster-api", &["muster-domain", "muster-supervisor"]),
    // What people type never sees what they write down: the binary joins the two.
    ("muster-cli", &["muster-domain", "muster-files"]),
    ("muster-config", &["muster-domain", "muster-files", "muster-process"]),
    (
        "muster",
        &[
            "muster-api",
            "muster-cli",
            "muster-config",
            "muster-domain",
            "muster-files",
            "muster-policy",
            "muster-process",
            "muster-registry",
            "muster-simulator",
            "muster-store",
            "muster-supervisor",
            "muster-worker",
        ],
    ),
];

/// Crates that one room alone may name; the tests at the root may look at a server from outside.
const TENANTS: [(&str, &str); 4] =
    [("redis", "muster-registry"), ("sqlx", "muster-store"), ("rusqlite", "muster-store"), ("axum", "muster-api")];

/// Crates that must not be reachable from a room at all.
const FAR_FROM: [(&str, &[&str]); 4] = [
    ("muster-domain", &["tokio", "redis", "sqlx", "rusqlite", "axum"]),
    ("muster-policy", &["tokio", "redis", "sqlx", "rusqlite", "axum"]),
    ("muster-simulator", &["tokio", "redis", "sqlx", "rusqlite", "axum"]),
    // A worker is lean: no store, no server of HTTP.
    ("muster-worker", &["sqlx", "rusqlite", "axum"]),
];

/// What cargo knows, for this platform.
fn metadata() -> Value {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is a text"))
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list"))
}

/// The packages of the workspace, by name.
fn rooms(metadata: &Value) -> BTreeMap<&str, &Value> {
    let members: BTreeSet<&str> = items(metadata, "workspace_members").iter().filter_map(Value::as_str).collect();
    let packages = items(metadata, "packages").iter().filter(|package| members.contains(text(package, "id")));
    packages.map(|package| (text(package, "name"), package)).collect()
}

#[test]
fn a_room_sees_only_the_rooms_below_it() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    let known: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms.keys().copied().collect::<BTreeSet<_>>(), known, "every room has its line in ROOMS");
    for (room, may_see) in ROOMS {
        // Dependencies of tests count too: what a test may see, production soon does.
        for dependency in items(rooms[room], "dependencies").iter().map(|dependency| text(dependency, "name")) {
            // A room's own tests turn on its own features.
            let allowed = !known.contains(dependency) || may_see.contains(&dependency) || dependency == room;
            assert!(allowed, "{room} must not see {dependency}");
        }
    }
}

#[test]
fn no_room_sees_another_one_of_its_layer() {
    let below: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    fn layer(room: &str, below: &BTreeMap<&str, &[&str]>) -> usize {
        below[room].iter().map(|lower| layer(lower, below) + 1).max().unwrap_or(0)
    }
    let layers: Vec<usize> = ROOMS.iter().map(|(room, _)| layer(room, &below)).collect();
    assert_eq!(layers, [0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 2, 2, 4], "the table itself keeps to the layers");
}

#[test]
fn redis_the_databases_and_axum_have_one_room_each() {
    let metadata = metadata();
    for (room, package) in rooms(&metadata) {
        for dependency in items(package, "dependencies") {
            let name = text(dependency, "name");
            let Some((_, owner)) = TENANTS.iter().find(|(tenant, _)| *tenant == name) else { continue };
            let root_test = room == "muster" && dependency["kind"] == "dev";
            assert!(room == *owner || root_test, "{room} must not name {name}, which belongs to {owner}");
        }
    }
}

#[test]
fn what_is_for_tests_is_built_for_tests_only() {
    let metadata = metadata();
    for (room, package) in rooms(&metadata) {
        for dependency in items(package, "dependencies").iter().filter(|dependency| dependency["kind"] != "dev") {
            let features = items(dependency, "features");
            assert!(!features.contains(&"testing".into()), "{room} builds the fakes of {}", text(dependency, "name"));
        }
        let by_default = package["features"].get("default").and_then(Value::as_array);
        assert!(by_default.is_none_or(|features| !features.contains(&"testing".into())), "{room}");
    }
}

#[test]
fn words_and_judgement_are_far_from_any_executor() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    for (room, far) in FAR_FROM {
        let reachable = reachable(&metadata, text(rooms[room], "id"));
        assert!(reachable.contains("serde"), "the walk from {room} arrives somewhere");
        for crate_name in far {
            assert!(!reachable.contains(crate_name), "{room} must not reach {crate_name}");
        }
    }
}

/// The names of all packages that are built into `from`; what only its tests need is left out.
fn reachable<'a>(metadata: &'a Value, from: &'a str) -> BTreeSet<&'a str> {
    let names: BTreeMap<&str, &str> =
        items(metadata, "packages").iter().map(|package| (text(package, "id"), text(package, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> =
        items(&metadata["resolve"], "nodes").iter().map(|node| (text(node, "id"), node)).collect();
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let built_in = |dependency: &&Value| items(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
        open.extend(items(nodes[id], "deps").iter().filter(built_in).map(|dependency| text(dependency, "pkg")));
    }
    seen.into_iter().map(|id| names[id]).collect()
}

/// Threads for blocking work are shared, so each kind of it has a bound, and these files alone hand them out.
const BLOCKING: [&str; 5] = [
    "src/serve/webhook_client.rs",
    "supervisor/src/blocking.rs",
    "worker/src/runtime/exec/blocking.rs",
    // Nothing, so that there is one.
    "src/worker.rs",
    // Once, in a test.
    "supervisor/src/logs/file.rs",
];

/// Every source of every room by its path: what is built, and the tests that stand beside it.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder_of = |name: &str| name.strip_prefix("muster-").map_or("src".to_owned(), |room| format!("{room}/src"));
    let mut folders: Vec<PathBuf> = ROOMS.iter().map(|(name, _)| root.join(folder_of(name))).collect();
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let name = path.strip_prefix(root).expect("below it").display().to_string();
                found.insert(name, std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    found
}

#[test]
fn blocking_work_has_a_bound_for_each_kind() {
    let sources = sources();
    let found: BTreeSet<&str> =
        sources.iter().filter(|(_, text)| text.contains("spawn_blocking(")).map(|(name, _)| name.as_str()).collect();
    assert_eq!(found, BTreeSet::from(BLOCKING));
}
