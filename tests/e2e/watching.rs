//! Lists, events, health: what people and programs see.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Muster, Options, Stream};

fn in_project(muster: &Muster, project: &str, count: usize) -> Vec<String> {
    let body = json!({"project_id": project, "role_type": "developer", "pool_name": "developer_pool"});
    let spawn = || muster.post("/api/v1/agents/spawn", &body).text("agent_id").to_owned();
    (0..count).map(|_| spawn()).collect()
}

/// Every page of a list.
fn pages(muster: &Muster, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = muster.get(&format!("/api/v1/agents?{query}{cursor}"));
        let items = answer.body["items"].as_array().unwrap_or_else(|| panic!("no list: {answer:?}"));
        pages.push(items.iter().map(|item| item["agent_id"].as_str().expect("an id").to_owned()).collect());
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[test]
fn agents_are_listed_page_by_page() {
    let muster = Muster::start(Options::default());
    let (shop, blog) = (in_project(&muster, "shop", 5), in_project(&muster, "my blog", 2));
    let found = pages(&muster, "project_id=shop&limit=2");
    assert_eq!(found.concat(), shop, "in the order in which they were asked for");
    assert!(found.iter().all(|page| page.len() <= 2));
    assert_eq!(pages(&muster, "project_id=my%20blog").concat(), blog);
    assert_eq!(pages(&muster, "pool_name=tester_pool").concat(), Vec::<String>::new());
    muster.terminate(&shop[1]);
    assert_eq!(pages(&muster, "state=terminated").concat(), [shop[1].clone()]);
    assert_eq!(pages(&muster, "state=idle&limit=3").concat().len(), 6);
    let all: BTreeSet<String> = pages(&muster, "limit=1").concat().into_iter().collect();
    assert_eq!(all, shop.iter().chain(&blog).cloned().collect());
    let of_project = muster.get("/api/v1/agents/project/my%20blog").body;
    let ids: Vec<&Value> = of_project.as_array().expect("a list").iter().map(|agent| &agent["id"]).collect();
    assert_eq!(ids, blog.iter().collect::<Vec<_>>());
    for (query, status, code) in [
        ("pool_name=No%20Body", 404, "unknown_pool"),
        ("limit=0", 422, "invalid_parameter"),
        ("state=asleep", 422, "invalid_parameter"),
        ("limmit=3", 422, "invalid_parameter"),
    ] {
        let answer = muster.get(&format!("/api/v1/agents?{query}"));
        assert_eq!((answer.status, answer.code()), (status, code), "{query}: {answer:?}");
    }
}

fn events(muster: &Muster, after: Option<&str>) -> Stream {
    let request = muster.ask("GET", "/api/v1/events").header("accept", "text/event-stream");
    match after {
        Some(id) => request.header("last-event-id", id).stream(),
        None => request.stream(),
    }
}

#[test]
fn events_tell_what_happens_and_go_on_where_the_client_was() {
    let muster = Muster::start(Options::default());
    let mut stream = events(&muster, None);
    let agent = in_project(&muster, "shop", 1).remove(0);
    let seen = stream.events_until(|event| event.kind == "agent.started");
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"agent.spawned") && kinds.contains(&"worker.ready"), "{kinds:?}");
    let started = seen.last().expect("an event");
    assert_eq!((&started.data["agent_id"], &started.data["pool_name"]), (&json!(agent), &json!("developer_pool")));
    assert_eq!(started.data["seq"].to_string(), started.id);
    drop(stream);
    muster.terminate(&agent);
    let missed = events(&muster, Some(&started.id)).events_until(|event| event.kind == "agent.terminated");
    let number = |id: &str| id.parse::<u64>().expect("a number");
    let numbers: Vec<u64> = missed.iter().map(|event| number(&event.id)).collect();
    assert_eq!(numbers, (number(&started.id) + 1..).take(numbers.len()).collect::<Vec<_>>(), "none is left out");
    assert_eq!(missed.last().map(|event| event.data["agent_id"].clone()), Some(json!(agent)));
    // From the start again, and from a future that is not ours.
    let all = events(&muster, Some("0")).events_until(|event| event.kind == "agent.terminated");
    assert!(all.iter().any(|event| event.kind == "pool.created"), "{all:?}");
    assert_eq!(events(&muster, Some("1000000")).event().kind, "reset");
    assert_eq!(muster.ask("GET", "/api/v1/events").header("last-event-id", "x").send().code(), "invalid_header");
}

#[test]
fn events_go_on_over_a_restart_of_the_server() {
    let mut muster = Muster::start(Options::default());
    let mut stream = events(&muster, None);
    let agent = in_project(&muster, "shop", 1).remove(0);
    let last = stream.events_until(|event| event.kind == "agent.started").pop().expect("an event");
    drop(stream);
    muster.kill9();
    muster.restart();
    muster.terminate(&agent);
    let missed = events(&muster, Some(&last.id)).events_until(|event| event.kind == "agent.terminated");
    assert!(missed.iter().all(|event| event.kind != "reset"), "{missed:?}");
}

#[test]
fn health_says_that_all_is_well() {
    let muster = Muster::start(Options::default());
    in_project(&muster, "shop", 2);
    for path in ["/health", "/api/health"] {
        let health = muster.get(path);
        assert_eq!(
            (health.status, health.text("mode"), health.text("state")),
            (200, "multi-process", "leading"),
            "{health:?}"
        );
    }
    let deep = muster.get("/api/health-docker");
    let names: Vec<&str> =
        deep.body["checks"].as_array().expect("checks").iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!((deep.status, deep.text("status")), (200, "ok"), "{deep:?}");
    assert!(["registry", "store", "canary:developer_pool"].iter().all(|name| names.contains(name)), "{names:?}");
    let agents = muster.get("/api/v1/agents/health").body;
    assert_eq!(agents["developer_pool"].as_array().map(Vec::len), Some(2), "{agents}");
    let first = muster.get("/api/v1/agents/health?limit=1").body;
    let cursor = first["next_cursor"].as_str().expect("another page");
    let last = muster.get(&format!("/api/v1/agents/health?cursor={cursor}")).body;
    let told = |page: &Value| (page["items"][0]["agent_id"].clone(), page["items"][0]["pool_name"].clone());
    let whole = |n: usize| (agents["developer_pool"][n]["agent_id"].clone(), Value::from("developer_pool"));
    assert_eq!((told(&first), told(&last)), (whole(0), whole(1)));
    assert_eq!((last["items"].as_array().map(Vec::len), &last["next_cursor"]), (Some(1), &Value::Null), "{last}");
    assert_eq!(muster.get("/api/v1/agents/health?limit=0").text("code"), "invalid_parameter");
    let metrics = muster.get("/metrics");
    assert!(metrics.body.as_str().is_some_and(|text| text.contains("muster_")), "{metrics:?}");
    assert_eq!(muster.get("/api/openapi.json").body["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
}
