//! What holds tasks up is said wherever somebody may look: by the pool, its queue, the task itself, the commands, the metrics.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Muster, Options};

/// A pool `p` with an agent whose tasks fail until there is a file `ok`, and whose breaker opens for so many seconds after five.
fn picky(pause: f64) -> Muster {
    let config = format!(
        "[runtimes.picky]\nkind = \"exec\"\nmode = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"test -e ok\"]\ncwd = \".\"\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"picky\"\nmax_attempts = 1\n\
         breaker.least = 5\nbreaker.window = 60\nbreaker.pause = {pause}\n"
    );
    let muster = Muster::start(Options::config(config));
    muster.spawn_many("p", 1);
    muster
}

/// Opens the breaker; returns the tasks that did it.
fn trip(muster: &Muster) -> Vec<String> {
    let doomed: Vec<String> = (0..5).map(|n| muster.submit(&json!(n))).collect();
    doomed.iter().for_each(|id| assert_eq!(muster.finished(id)["state"], "dead"));
    doomed
}

fn queue(muster: &Muster) -> Value {
    muster.get("/api/metrics/queue").body["pools"]["p"].clone()
}

/// The state of the alert about the breaker, in the table of alerts.
fn alert(muster: &Muster) -> String {
    let table = muster.command(&["alerts"]).expect(0).stdout;
    let row = table.lines().find(|line| line.contains("breaker_open")).unwrap_or_else(|| panic!("no alert: {table}"));
    row.split_whitespace().nth(1).expect("a state").to_owned()
}

#[test]
fn an_open_breaker_is_told_by_the_api() {
    let muster = picky(60.0);
    let closed = json!({"state": "closed", "reason": null, "since": null, "next_probe_at": null});
    assert_eq!((&muster.pool("p")["breaker"], &queue(&muster)["breaker"]), (&closed, &closed));
    assert_eq!(muster.get("/health").body["alerts_firing"], 0);
    trip(&muster);
    // At once: nothing has to come by first.
    let breaker = muster.pool("p")["breaker"].clone();
    let why = "5 of the 5 attempts that ended within 60 s failed, more than 10%";
    assert_eq!((&breaker["state"], &breaker["reason"]), (&json!("open"), &json!(why)));
    assert!(breaker["since"].as_str() < breaker["next_probe_at"].as_str(), "{breaker}");
    assert_eq!(queue(&muster)["breaker"], breaker);
    let waiting = muster.task(&muster.submit(&json!(1)));
    assert_eq!((&waiting["state"], &waiting["waiting_for"]["code"]), (&json!("queued"), &json!("breaker_open")));
    let message = format!(
        "the circuit breaker of p, which is open until {}: {why}",
        breaker["next_probe_at"].as_str().expect("a moment")
    );
    assert_eq!(waiting["waiting_for"]["message"], message);
    let health = muster.get("/health");
    assert_eq!((health.status, health.text("status")), (200, "ok"), "the server is well: {health:?}");
    assert!(health.body["alerts_firing"].as_u64() >= Some(1), "{health:?}");
    assert_eq!(muster.get("/ready").status, 200);
    let status = muster.get("/api/v1/system/status").body;
    assert_eq!(status["held_pools"][0]["breaker"], breaker, "{status}");
    let metrics = muster.get("/metrics");
    let metrics = metrics.body.as_str().expect("a page");
    for line in [
        "muster_pool_breaker_state{pool=\"p\",state=\"open\"} 1",
        "muster_pool_breaker_state{pool=\"p\",state=\"closed\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[test]
fn commands_say_what_holds_tasks_up() {
    let muster = picky(60.0);
    trip(&muster);
    let command = |words: &str| muster.command(&words.split(' ').collect::<Vec<_>>());
    let says = |words: &str, what: &str| {
        let ended = command(words).expect(0);
        assert!(ended.stdout.contains(what), "{what} in {ended:?}");
    };
    says("pools", "  breaker open\n");
    says("queue", "  breaker open\n");
    says("status", "held         p: breaker open\n");
    says("status", " firing; `muster alerts` lists them\n");
    assert_eq!(alert(&muster), "firing");
    let late = command("submit --pool p 1 --wait 0").expect(1);
    let told = "waits for the circuit breaker of p, which is open until ";
    assert!(late.stderr.contains(told) && late.stderr.contains("is still queued"), "{late:?}");
    let waiting = muster.submit(&json!(1));
    says(&format!("task {waiting}"), &format!("queued ({told}"));
    let again = command("redrive").expect(0).stdout;
    assert!(again.starts_with("5 tasks wait again\nthe tasks of p wait: breaker open (a task is tried at "), "{again}");

    command("pause p").expect(0);
    says("queue", "  paused, breaker open\n");
    says(&format!("task {waiting}"), "queued (waits for a resume of p, which is paused)");
    command("drain p").expect(0);
    says("queue", "  drained, breaker open\n");
    command("pause --all").expect(0);
    says("pools", "  all paused, drained, breaker open\n");
    says(&format!("task {waiting}"), "queued (waits for a resume of the system: all pools are paused)");
}

#[test]
fn who_waits_is_told_why_and_gets_the_output_when_the_breaker_closes() {
    // Longer than a first look takes, also where the machine is busy.
    let muster = picky(8.0);
    trip(&muster);
    fs::write(muster.folder().join("ok"), "").expect("a file");
    let done = muster.command(&["submit", "--pool", "p", "1", "--wait"]).expect(0);
    let told = done.stderr.matches(" waits for the circuit breaker of p, which is open").count();
    assert_eq!((told, done.stdout.as_str()), (1, "\"\"\n"), "{done:?}");
    assert_eq!(muster.pool("p")["breaker"]["state"], "closed");
    assert!(!muster.command(&["queue"]).expect(0).stdout.contains("breaker"));
    assert_eq!(alert(&muster), "cleared");
}
