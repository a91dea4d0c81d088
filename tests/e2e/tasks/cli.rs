//! Tasks on the command line against a real server.

use std::fs;

use serde_json::{Value, json};

use super::http::{go, patient};
use super::python;
use crate::harness::{BOUND, Ended, Muster, Options, Running, wait_until};

/// A server with an agent of the pool `developer_pool`, which answers a task with its input.
fn echo() -> Muster {
    let muster = Muster::start(Options::default());
    assert_eq!(muster.spawn("developer_pool").status, 201);
    muster
}

fn id(ended: &Ended) -> String {
    let id = ended.stdout.trim();
    assert_eq!(id.len(), 36, "an id and nothing else: {ended:?}");
    id.to_owned()
}

#[test]
fn a_task_is_submitted_and_its_output_printed() {
    let muster = echo();
    let submit = ["submit", "--pool", "developer_pool"];
    let command = |more: &[&str]| muster.command(&[&submit, more].concat());
    let input = r#"{"z": 1.50,  "a": 12345678901234567890123}"#;
    assert_eq!(command(&[input, "--wait"]).expect(0).stdout, format!("{input}\n"));
    let poem = command(&["write a poem", "--wait", "20"]).expect(0);
    assert_eq!(poem.stdout, "\"write a poem\"\n");
    assert!(poem.stderr.starts_with("muster: task ") && poem.stderr.ends_with(" was taken in\n"), "{poem:?}");
    assert_eq!(command(&["write a poem", "--raw", "--wait"]).expect(0).stdout, "write a poem\n");
    command(&["-"]).expect(1);
    let task = command(&["1", "--wait", "--json", "-p", "shop", "--priority", "9"]).expect(0).json();
    assert_eq!(
        (&task["state"], &task["project_id"], &task["priority"]),
        (&json!("succeeded"), &json!("shop"), &json!(9))
    );
    let first = id(&command(&["2", "--key", "k"]).expect(0));
    assert_eq!(id(&command(&["2", "--key", "k"]).expect(0)), first, "the same task");
    muster.command(&["submit", "--pool", "nobody", "1"]).expect(4);
    muster.command(&["submit", "1"]).expect(2);

    let later = id(&command(&["3", "--delay", "1000"]).expect(0));
    let page = muster.command(&["task", &later]).expect(0);
    assert!(page.stdout.contains("\nstate      queued (not before 20"), "{page:?}");
    let late = command(&["4", "--delay", "1000", "--wait", "0"]).expect(1);
    assert!(late.stderr.contains("is still queued"), "{late:?}");
    let cancelled = muster.command(&["cancel", &later, "--wait"]).expect(0);
    assert!(cancelled.stdout.contains("cancelled") && cancelled.stderr.is_empty(), "{cancelled:?}");
    let over = muster.command(&["cancel", &first]).expect(0);
    assert_eq!(over.stderr, format!("muster: task {first} was over already: succeeded\n"));
    let short = muster.command(&["task", &later[..32]]).expect(0);
    assert!(short.stdout.contains(&later), "{short:?}");
    let missing = muster.command(&["task", "019aa000-0000-7000-8000-000000000001"]).expect(4);
    assert!(missing.stderr.contains("`muster tasks` lists those there are"), "{missing:?}");
    let listed = muster.command(&["tasks", "--project", "shop"]).expect(0);
    assert!(listed.stdout.starts_with("TASK") && listed.stdout.lines().count() == 2, "{listed:?}");
    let queued = muster.command(&["tasks", "--state", "queued", "--json"]).expect(0).json();
    assert_eq!(queued["items"].as_array().map(Vec::len), Some(1), "{queued}");

    let several = muster.command(&["tasks", "--state", "queued,cancelled", "--limit", "1"]).expect(0);
    assert!(several.stdout.contains("queued") && !several.stdout.contains(&later), "the newest: {several:?}");
    assert!(several.stderr.contains("only the newest task is shown; a higher --limit"), "{several:?}");
    let oldest = muster.command(&["tasks", "--state", "queued,cancelled", "--oldest", "--limit", "1"]).expect(0);
    assert!(oldest.stdout.contains(&later), "{oldest:?}");
    let asleep = muster.command(&["tasks", "--state", "asleep"]).expect(2);
    assert!(asleep.stderr.contains("queued, running, succeeded, failed, cancelled, dead"), "{asleep:?}");
}

#[test]
fn ctrl_c_ends_the_command_and_not_its_task() {
    let muster = Muster::start(Options::default());
    let url = muster.address();
    let words = ["--url", &url, "submit", "--pool", "developer_pool", "7", "--wait"];
    let waits = Running::start(muster.folder(), &words, &[]);
    let said = || waits.stderr().strip_prefix("muster: task ").and_then(|text| Some(text.get(..36)?.to_owned()));
    wait_until("it has said the id", BOUND, || said().is_some());
    let id = said().expect("an id");
    waits.interrupt();
    let ended = waits.end().expect(130);
    assert!(ended.stderr.ends_with(&format!("muster: task {id} goes on: muster task {id} --follow\n")), "{ended:?}");
    assert_eq!(muster.spawn("developer_pool").status, 201);
    muster.command(&["task", &id, "--follow"]).expect(0);
}

#[test]
fn a_task_that_is_sent_again_shows_what_it_may_still_spend() {
    let muster = Muster::start(python("max_attempts = 1\n"));
    assert_eq!(muster.spawn("p").status, 201);
    let id = muster.submit(&json!({"fail": "as asked"}));
    assert_eq!((&muster.finished(&id)["state"], &muster.task(&id)["attempts_spent"]), (&json!("dead"), &json!(1)));
    let page = || muster.command(&["task", &id]).expect(0).stdout;
    assert!(page().contains("\nattempt    1 (1 of 1 spent)\n"), "{}", page());
    muster.command(&["pause", "p"]).expect(0);
    let again = muster.command(&["redrive", &id, "--json"]).expect(0).json();
    assert_eq!(
        (&again["attempt"], &again["attempts_spent"], &again["state"]),
        (&json!(1), &json!(0), &json!("queued"))
    );
    for field in ["agent_id", "process_id", "started_at", "finished_at", "run_seconds"] {
        assert_eq!(again[field], json!(null), "{field}: {again}");
    }
    assert!(
        page().contains("\nattempt    1 (0 of 1 spent since it was sent again)\nagent      -\nworker     -\n"),
        "{}",
        page()
    );
}

#[test]
fn lines_that_are_wrong_say_where_and_what_to_do() {
    let muster = Muster::start(Options::default());
    let file = muster.folder().join("tasks.ndjson");
    fs::write(&file, "{\"input\": 1}\n{\"input\": 1, }\n  {\"input\": 1, \"priority\": true}\n").expect("a file");
    let file = file.display().to_string();
    let ended = muster.command(&["submit", "--ndjson", &file]).expect(1);
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said[0], "muster: line 1: pool_name is missing at column 12; --pool names it for all lines");
    assert_eq!(said[1], "muster: line 2: the body is no JSON: key must be a string at column 14");
    let with_pool = muster.command(&["submit", "--ndjson", &file, "--pool", "developer_pool"]).expect(1);
    let said: Vec<&str> = with_pool.stderr.lines().collect();
    assert!(said[1].starts_with("muster: line 3: priority: ") && said[1].ends_with(" at column 31"), "{said:?}");
    let empty = muster.command(&["submit", "--pool", "developer_pool", "--ndjson", "/dev/null"]).expect(1);
    assert_eq!(empty.stderr, "muster: 0 tasks: the input was empty\n");
}

#[test]
fn a_pool_starts_agents_for_tasks_that_wait() {
    let muster = Muster::start(Options::default());
    let made = ["pools", "create", "mine", "--role", "writer", "--on-demand", "2", "--max-queued", "3", "--json"];
    let made = muster.command(&made).expect(0).json();
    assert_eq!(made["config"]["on_demand"], json!({"max_agents": 2, "reuse": true}));
    assert_eq!(muster.command(&["submit", "--pool", "mine", "1", "--wait"]).expect(0).stdout, "1\n");
    muster.command(&["pools", "set", "mine", "--no-on-demand"]).expect(0);
    muster.command(&["pause", "mine"]).expect(0);
    let submit = || muster.command(&["submit", "--pool", "mine", "2"]);
    (0..3).for_each(|_| drop(submit().expect(0)));
    let full = submit().expect(1);
    assert!(full.stderr.contains("max_queued"), "{full:?}");
}

#[test]
fn many_tasks_are_submitted_line_by_line() {
    let muster = echo();
    let file = muster.folder().join("tasks.ndjson");
    let good: String = (0..2_500).map(|number| format!("{{\"input\": {number}}}\n")).collect();
    fs::write(&file, good + "{\"input\": 1, \"pool_name\": \"nobody\"}\n").expect("a file");
    let file = file.display().to_string();
    let submit = ["submit", "--pool", "developer_pool", "--key", "night", "--ndjson", &file];
    let ended = muster.command(&submit).expect(1);
    let ids: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(ids.len(), 2_500);
    assert!(ended.stderr.contains("muster: line 2501: there is no pool nobody"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("muster: 1 of 2501 tasks was refused\n"), "{}", ended.stderr);
    let again = muster.command(&submit).expect(1);
    assert_eq!(again.stdout, ended.stdout, "a repeated command answers for the same tasks");
    wait_until("all are done", BOUND, || {
        let queue = &muster.get("/api/metrics/queue").body["pools"]["developer_pool"];
        queue["depth"] == 0 && queue["running"] == 0
    });
    let last: Value = muster.get(&format!("/api/v1/tasks/{}", ids[2_499])).body;
    assert_eq!((&last["output"], &last["state"]), (&json!(2_499), &json!("succeeded")));
    let queue = muster.command(&["queue"]).expect(0);
    assert!(queue.stdout.starts_with("POOL") && queue.stdout.lines().count() == 5, "{queue:?}");
}

#[test]
fn a_task_is_followed_over_a_restart_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = patient(folder.path());
    let mut muster = Muster::start(options);
    assert_eq!(muster.spawn("slow").status, 201);
    let task = id(&muster.command(&["submit", "--pool", "slow", "work"]).expect(0));
    let url = muster.address();
    let followed = Running::start(muster.folder(), &["--url", &url, "task", &task, "--follow"], &[]);
    // As news of its own, or in the picture with which it begins.
    wait_until("it is followed", BOUND, || followed.stdout().contains("40% waiting"));
    let address = muster.address();
    muster.kill9();
    muster.options.listen = address;
    muster.restart();
    go(folder.path());
    let ended = followed.end().expect(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.last(), Some(&"succeeded"), "{ended:?}");
    assert!(
        !lines.iter().rev().take_while(|line| !line.contains("40% waiting")).any(|line| *line == "queued"),
        "{ended:?}"
    );

    let failing = id(&muster.command(&["submit", "--pool", "slow", "fail"]).expect(0));
    let ended = muster.command(&["task", &failing, "--follow"]).expect(1);
    assert!(ended.stdout.ends_with("failed (as asked, agent_error)\n"), "{ended:?}");
    assert!(ended.stderr.contains(&format!("task {failing} is failed: as asked (agent_error)")), "{ended:?}");
    let again = muster.command(&["redrive", &failing, "--json"]).expect(0).json();
    assert_eq!(again["task_id"], json!(failing));
    assert_eq!(muster.command(&["redrive", "--pool", "slow"]).expect(0).stdout, "0 tasks wait again\n");
}

#[test]
fn work_is_held_up_on_the_command_line() {
    let muster = echo();
    let paused = muster.command(&["pause", "developer_pool"]).expect(0);
    assert!(paused.stdout.trim_end().ends_with("paused"), "{paused:?}");
    let task = id(&muster.command(&["submit", "--pool", "developer_pool", "1"]).expect(0));
    let drained = muster.command(&["drain", "developer_pool"]).expect(0);
    assert!(drained.stdout.trim_end().ends_with("drained"), "{drained:?}");
    let refused = muster.command(&["submit", "--pool", "developer_pool", "2"]).expect(1);
    assert!(refused.stderr.contains("`muster resume`"), "{refused:?}");
    assert_eq!(
        muster.command(&["pause", "--all"]).expect(0).stdout,
        "the system is paused: tasks are taken in and wait\n"
    );
    assert!(muster.command(&["status"]).expect(0).stdout.contains("muster resume --all"));
    muster.command(&["resume", "developer_pool"]).expect(0);
    assert_eq!(muster.command(&["task", &task, "--json"]).expect(0).json()["state"], "queued");
    muster.command(&["resume", "--all"]).expect(0);
    let followed = muster.command(&["task", &task, "--follow", "--json"]).expect(0);
    let last: Value = followed.stdout.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
    assert_eq!((&last["state"], &last["output"]), (&json!("succeeded"), &json!(1)));
    muster.command(&["pause", "nobody"]).expect(4);
    muster.command(&["pause"]).expect(2);
}
