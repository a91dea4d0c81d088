//! An agent whose program speaks JSON lines, and the master's part of its tasks.

use std::time::Duration;

use muster_domain::{AgentId, Command, Epoch, Payload, ReportBody, TaskId, TaskOrder, TaskOver};
use serde_json::json;

use super::{Bench, exec, sh};

/// Reads messages, and calls `on_task` and `on_cancel` with the message's parts in `$id`, `$input` and `$line`.
const LOOP: &str = r#"
say() { printf '{"type":"%s","id":"%s"%s}\n' "$1" "$id" "$2"; }
echo '{"type":"ready"}'
while read -r line; do
    id=${line#*\"id\":\"}; id=${id%%\"*}
    input=${line#*\"input\":}; input=${input%\}}
    case $line in
        *'"type":"task"'*) on_task ;;
        *'"type":"cancel"'*) on_cancel ;;
        *'"type":"stop"'*) exit 0 ;;
    esac
done
"#;

pub fn agent(on_task: &str, on_cancel: &str) -> serde_json::Value {
    let mut profile = sh(&format!("on_task() {{ {on_task}; }}\non_cancel() {{ {on_cancel}; }}\n{LOOP}"));
    profile["stop_deadline"] = json!(0.3);
    profile
}

/// A worker with one agent that runs this.
pub async fn start(profile: serde_json::Value) -> (Bench, AgentId) {
    let beat = Duration::from_millis(100);
    let mut bench = Bench::start(exec(profile), |orders| orders.clocks.heartbeat = beat).await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    (bench, agent)
}

pub fn order(agent_id: AgentId, input: &str) -> TaskOrder {
    let (task_id, input) = (TaskId::generate(), Payload::parse(input).expect("JSON"));
    TaskOrder {
        task_id,
        attempt: 1,
        agent_id,
        epoch: Epoch(1),
        input,
        sole_tenant: Some("acme".to_owned()),
        timeout: None,
        check: None,
    }
}

pub async fn run(bench: &Bench, tasks: &[&TaskOrder]) {
    bench.send(Command::RunTasks { tasks: tasks.iter().map(|order| (*order).clone()).collect() }).await;
}

/// The next end of a task.
pub async fn over(bench: &mut Bench) -> TaskOver {
    loop {
        match bench.next().await.body {
            ReportBody::Tasks { over, .. } if over.is_empty() => {}
            ReportBody::Tasks { over, .. } => return over.into_iter().next().expect("one"),
            other => panic!("news of tasks, not {other:?}"),
        }
    }
}

/// The ends of so many tasks.
pub async fn overs(bench: &mut Bench, count: usize) -> Vec<TaskOver> {
    let mut overs = Vec::new();
    while overs.len() < count {
        if let ReportBody::Tasks { over, .. } = bench.next().await.body {
            overs.extend(over);
        }
    }
    overs
}
