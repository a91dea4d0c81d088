//! What an attempt printed: what its program printed during it, and never what it printed for somebody else.

mod bench;

use bench::lines::{agent, order, over, overs, run, start};
use muster_domain::{AttemptEnd, Heartbeat, TaskOrder};

/// Does the first task so, and fails at the second one; answers with what the second one's attempt printed last.
async fn after(first: &str) -> String {
    second(first, "say error").await
}

/// Does the first task so, and the second one so.
async fn second(first: &str, second: &str) -> String {
    of_tenants(["acme"; 2], first, second).await
}

/// Does a task of the first tenant so, and one of the second so; answers with what the second one's attempt printed last.
async fn of_tenants(tenants: [&str; 2], first: &str, second: &str) -> String {
    let on_task = format!("case $input in 1) {first} ;; *) {second} ;; esac");
    let (mut bench, agent) = start(agent(&on_task, ":")).await;
    let [one, order] = ["1", "2"].map(|input| order(agent, input));
    let of = |order, tenant: &str| TaskOrder { sole_tenant: Some(tenant.to_owned()), ..order };
    let (one, order) = (of(one, tenants[0]), of(order, tenants[1]));
    run(&bench, &[&one]).await;
    assert_eq!(over(&mut bench).await.end, AttemptEnd::Succeeded);
    run(&bench, &[&order]).await;
    let over = over(&mut bench).await;
    assert_eq!(over.task_id, order.task_id);
    over.last_output
}

#[tokio::test]
async fn what_was_printed_during_one_task_is_not_shown_with_the_next() {
    assert_eq!(after("echo the card of acme is 4111; echo 4111 >&2; say result").await, "");
}

#[tokio::test]
async fn what_is_printed_after_an_answer_belongs_to_nobody() {
    // The second task lies in its stdin while it prints this.
    let late = "say result; sleep 0.3; echo late 4111; echo late 4111 >&2; sleep 0.2; echo later 4111";
    assert_eq!(after(late).await, "");
    assert_eq!(second(late, "sleep 2; echo its own; say error").await, "its own");
}

#[tokio::test]
async fn what_is_printed_between_the_arrival_of_a_task_and_its_reading_is_not_shown_to_another_tenant() {
    // It sees that a task is there, says a last word about the one before, and reads.
    let mut loop_of = agent(":", ":");
    loop_of["command"] = serde_json::json!([
        "python3",
        "-uc",
        r#"
import json, os, select
print('{"type":"ready"}')
buffer = b""
def line():
    global buffer
    while b"\n" not in buffer:
        buffer += os.read(0, 65536)
    first, buffer = buffer.split(b"\n", 1)
    return json.loads(first)
one = line()
print(json.dumps({"type": "result", "id": one["id"]}))
select.select([0], [], [])
print("the card of acme is 4111")
two = line()
print(json.dumps({"type": "error", "id": two["id"], "message": "no"}))
line()
"#
    ]);
    for _ in 0..20 {
        let (mut bench, agent) = start(loop_of.clone()).await;
        let of = |tenant: &str| TaskOrder { sole_tenant: Some(tenant.to_owned()), ..order(agent, "1") };
        run(&bench, &[&of("acme")]).await;
        assert_eq!(over(&mut bench).await.end, AttemptEnd::Succeeded);
        run(&bench, &[&of("globex")]).await;
        assert_eq!(over(&mut bench).await.last_output, "");
    }
}

#[tokio::test]
async fn an_agent_that_reads_its_own_complaints_holds_up_nobody() {
    let steals = "cat /proc/self/fd/2 >/dev/null & for i in $(seq 500); do echo e >&2; say progress; done; say result";
    let (mut bench, agent) = start(agent(steals, ":")).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    let over = tokio::time::timeout(std::time::Duration::from_secs(20), over(&mut bench)).await.expect("in time");
    assert_eq!(over.end, AttemptEnd::Succeeded);
}

#[tokio::test]
async fn what_follows_a_task_of_another_tenant_has_what_is_certain() {
    let first = "echo the card of acme is 4111; say result";
    let words = of_tenants(["acme", "globex"], first, "sleep 2; echo its own; sleep 0.1; say error").await;
    assert_eq!(words, "its own");
}

#[tokio::test]
async fn a_line_that_was_begun_before_belongs_to_nobody() {
    let half = "printf 'the card of acme ' >&2; say result";
    assert_eq!(second(half, "echo is 4111 >&2; echo its own >&2; say error").await, "its own");
}

#[tokio::test]
async fn an_agent_that_dies_tells_what_it_printed_during_its_last_task_alone() {
    let first = "echo the card of acme is 4111; say result";
    assert_eq!(second(first, "echo its own; exit 3").await, "its own");
    assert_eq!(second(first, "exit 3").await, "");
}

#[tokio::test]
async fn a_failure_has_what_was_said_on_stderr_before_it_beside_it() {
    for _ in 0..20 {
        assert_eq!(second("say result", "echo no model here >&2; say error").await, "no model here");
    }
}

#[tokio::test]
async fn of_several_tasks_at_once_each_has_the_lines_that_name_it() {
    // The first waits until the second one is there; then both fail.
    let on_task = r#"echo whose is this
        printf '{"level":"info","id":"%s","text":"about %s"}\n' "$id" "$input"
        case $input in 1) first=$id ;; *) say error; id=$first; say error ;; esac"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let orders = ["1", "2"].map(|input| TaskOrder { sole_tenant: None, ..order(agent, input) });
    run(&bench, &orders.each_ref()).await;
    let overs = overs(&mut bench, 2).await;
    for (order, about) in orders.iter().zip(["about 1", "about 2"]) {
        let over = overs.iter().find(|over| over.task_id == order.task_id).expect("its end");
        let words = &over.last_output;
        assert!(words.contains(about) && words.lines().count() == 1, "{words}");
    }
}

#[tokio::test]
async fn a_task_that_comes_beside_another_one_ends_what_is_certain() {
    let on_task = r#"case $input in
        1) first=$id; echo alone; say progress ;;
        *) echo whose is this; id=$first; say error ;;
    esac"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let one = order(agent, "1");
    run(&bench, &[&one]).await;
    let is_known =
        |beat: &Heartbeat| beat.agents.iter().flat_map(|agent| &agent.tasks).any(|task| task.progress.is_some());
    bench.beat_where(is_known).await;
    run(&bench, &[&order(agent, "2")]).await;
    let over = over(&mut bench).await;
    assert_eq!((over.task_id, over.last_output.as_str()), (one.task_id, "alone"));
}
