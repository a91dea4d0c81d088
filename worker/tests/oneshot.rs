//! Tasks that are programs of their own, with real processes.

mod bench;

use std::time::{Duration, Instant};

use bench::{Bench, exec, sh, wait_until};
use muster_domain::{
    Activity, AgentId, AttemptEnd, Cause, CheckOrder, Command, Connectivity, Epoch, Halt, ObservedState, Payload,
    Reach, ReportBody, TaskHalt, TaskId, TaskOrder, TaskOver,
};
use muster_worker::WorkerExit;
use serde_json::json;

/// A worker with one agent whose tasks run this script.
async fn start(script: &str) -> (Bench, AgentId) {
    start_profile(sh(script)).await
}

async fn start_profile(profile: serde_json::Value) -> (Bench, AgentId) {
    start_within(profile, 0.3).await
}

async fn start_within(mut profile: serde_json::Value, stop_deadline: f64) -> (Bench, AgentId) {
    profile["mode"] = json!("oneshot");
    profile["stop_deadline"] = json!(stop_deadline);
    let beat = Duration::from_millis(100);
    let mut bench = Bench::start(exec(profile), |orders| orders.clocks.heartbeat = beat).await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    assert_eq!(bench.words(1).await, ["started 1"], "without a program");
    (bench, agent)
}

fn order(agent_id: AgentId, input: &str) -> TaskOrder {
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

async fn begin(bench: &Bench, order: &TaskOrder) {
    bench.send(Command::RunTasks { tasks: vec![order.clone()] }).await;
}

/// The next end of a task.
async fn over(bench: &mut Bench) -> TaskOver {
    loop {
        match bench.next().await.body {
            ReportBody::Tasks { over, .. } if over.is_empty() => {}
            ReportBody::Tasks { over, .. } => return over.into_iter().next().expect("one"),
            other => panic!("news of tasks, not {other:?}"),
        }
    }
}

/// What becomes of this input.
async fn outcome(bench: &mut Bench, agent: AgentId, input: &str) -> TaskOver {
    let order = order(agent, input);
    begin(bench, &order).await;
    let over = over(bench).await;
    assert_eq!(over.task_id, order.task_id);
    over
}

async fn output(bench: &mut Bench, agent: AgentId, input: &str) -> String {
    let over = outcome(bench, agent, input).await;
    assert_eq!(over.end, AttemptEnd::Succeeded, "{over:?}");
    over.output.expect("an output").to_string()
}

fn halt(order: &TaskOrder) -> Command {
    halt_for(order, Halt::Cancelled)
}

fn halt_for(order: &TaskOrder, halt: Halt) -> Command {
    let TaskOrder { task_id, attempt, agent_id, epoch, .. } = *order;
    Command::HaltTasks { tasks: vec![TaskHalt { task_id, attempt, agent_id, epoch, halt }] }
}

fn count(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let wanted = format!("sleep\0{marker}\0");
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .count()
}

/// Has a grandchild that nothing of its program's environment tells of, and is deaf to SIGTERM.
fn family(marker: &str) -> String {
    format!("trap '' TERM; (setsid env -i sh -c 'trap \"\" TERM; exec sleep {marker}' &); while :; do sleep 0.05; done")
}

#[tokio::test]
async fn a_text_is_read_as_it_is_and_anything_else_as_json() {
    let (mut bench, agent) = start_profile(json!({"command": ["cat"]})).await;
    assert_eq!(output(&mut bench, agent, r#""two\nlines""#).await, r#""two\nlines""#);
    assert_eq!(output(&mut bench, agent, r#"{"b": 1.50, "a": 2}"#).await, r#"{"b": 1.50, "a": 2}"#);
    assert_eq!(output(&mut bench, agent, r#""[1, 2]""#).await, "[1, 2]", "what is printed decides, not what came in");
    let long = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    assert_eq!(output(&mut bench, agent, &long).await, long, "more than a pipe holds, both ways");
}

#[tokio::test]
async fn an_exit_code_says_whether_it_succeeded() {
    let (mut bench, agent) = start("echo looking >&2; echo no config >&2; echo half done; exit 3").await;
    let over = outcome(&mut bench, agent, "null").await;
    let message = "exited with code 3: no config".to_owned();
    assert_eq!(over.end, AttemptEnd::Failed { message, retryable: true });
    for said in ["looking", "no config", "half done"] {
        assert!(over.last_output.lines().any(|line| line == said), "{over:?}");
    }
    assert_eq!(over.output, None);
    let logged = || bench.log(agent).contains(" err no config") && bench.log(agent).contains(" out half done");
    wait_until("the log", async || logged().then_some(())).await;
    let (mut bench, agent) = start("kill -9 $$").await;
    let message = "was ended by signal 9".to_owned();
    assert_eq!(outcome(&mut bench, agent, "null").await.end, AttemptEnd::Failed { message, retryable: true });
}

#[tokio::test]
async fn an_agent_whose_tasks_have_no_program_does_not_start() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let plain = file.path().display().to_string();
    let missing = "\"no-such-program-anywhere\" is not in PATH".to_owned();
    let refused = format!("cannot run {plain}: Permission denied (os error 13) (is it executable?)");
    let path = json!({"PATH": "/usr/bin:/bin"});
    for (profile, why) in [
        (json!({"command": ["no-such-program-anywhere"], "env": path}), missing),
        (json!({"command": [plain]}), refused),
        (
            json!({"command": ["sh"], "cwd": "/nowhere"}),
            "cannot start in /nowhere: No such file or directory (os error 2)".to_owned(),
        ),
    ] {
        // In the words of one whose program is to start with it.
        for mode in ["oneshot", "agent"] {
            let mut profile = profile.clone();
            profile["mode"] = json!(mode);
            let mut bench = Bench::start(exec(profile), |_| {}).await;
            let agent = AgentId::generate();
            bench.spawn(agent, 1).await;
            let (ready, ending) = bench.ending().await;
            assert_eq!((ready, ending.cause), (false, Cause::NotStarted { error: why.clone() }), "{mode}");
            wait_until("the log", async || {
                bench.log(agent).contains(&format!("end could not be started: {why}")).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_program_that_vanishes_later_fails_its_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent");
    // A link, since a file that was just written may be busy for as long as another test forks.
    let appear = || std::os::unix::fs::symlink("/bin/echo", &path).expect("a link");
    appear();
    let (mut bench, agent) = start_profile(json!({"command": [path, "done"]})).await;
    assert_eq!(output(&mut bench, agent, "null").await, "\"done\"");
    let check = || {
        let check = CheckOrder { store: Reach::new(Duration::ZERO, Ok(())), dependencies: Default::default() };
        TaskOrder { check: Some(Box::new(check)), ..order(agent, "null") }
    };
    let mut program = async || {
        begin(&bench, &check()).await;
        let found = over(&mut bench).await.output.expect("an answer");
        let found: Connectivity = serde_json::from_str(found.as_str()).expect("what was found");
        found.connectivity["program"].error.clone()
    };
    assert_eq!(program().await, None);
    std::fs::remove_file(&path).expect("removed");
    let why = format!("cannot run {}: No such file or directory (os error 2)", path.display());
    assert_eq!(program().await, Some(why.clone()));
    let message = format!("could not be started: {why}");
    assert_eq!(outcome(&mut bench, agent, "null").await.end, AttemptEnd::StartFailed { message });
    appear();
    assert_eq!(output(&mut bench, agent, "null").await, "\"done\"", "the agent lives, and so does its next task");
}

#[tokio::test]
async fn a_program_knows_its_task_and_need_not_read_its_input() {
    let (mut bench, agent) = start(r#"echo "$MUSTER_TASK_ID $MUSTER_AGENT_ID $MUSTER_PROJECT_ID"; pwd"#).await;
    let order = order(agent, &format!("\"{}\"", "x".repeat(1024 * 1024)));
    begin(&bench, &order).await;
    let over = over(&mut bench).await;
    let folder = bench.data.path().join("agents").join(agent.to_string());
    let printed = format!("{} {agent} shop\n{}", order.task_id, folder.display());
    assert_eq!(over.output, Some(Payload::quoted(&printed)));
}

#[tokio::test]
async fn messages_are_plain_output_here() {
    let (mut bench, agent) =
        start(r#"cat >/dev/null; printf '{"type":"usage","id":"%s","input_tokens":3}' "$MUSTER_TASK_ID""#).await;
    let over = outcome(&mut bench, agent, "null").await;
    assert!(over.usage.is_zero());
    assert!(over.output.is_some_and(|output| output.as_str().starts_with(r#"{"type":"usage""#)));
}

#[tokio::test]
async fn an_output_that_is_too_long_is_an_error_that_says_so_and_its_program_is_ended() {
    let (mut bench, agent) = start("exec yes").await;
    let message = "its output is longer than 1048576 bytes".to_owned();
    assert_eq!(outcome(&mut bench, agent, "null").await.end, AttemptEnd::Failed { message, retryable: false });
}

#[tokio::test]
async fn a_task_that_is_halted_is_over_when_all_that_it_started_is_dead() {
    let (mut bench, agent) = start(&family("86121")).await;
    let (one, two) = (order(agent, "null"), order(agent, "null"));
    begin(&bench, &one).await;
    begin(&bench, &two).await;
    wait_until("the grandchildren", async || (count("86121") == 2).then_some(())).await;
    let beat = bench.beat_where(|beat| beat.agents.first().is_some_and(|agent| agent.tasks.len() == 2)).await;
    assert_eq!((beat.agents[0].state, beat.agents[0].pid), (ObservedState::Running(Activity::Busy), None));
    let asked = Instant::now();
    bench.send(halt(&one)).await;
    let ended = over(&mut bench).await;
    assert_eq!((ended.task_id, ended.end), (one.task_id, AttemptEnd::Halted { halt: Halt::Cancelled }));
    assert_eq!(count("86121"), 1, "the other goes on");
    assert!(asked.elapsed() >= Duration::from_millis(300) && asked.elapsed() < Duration::from_secs(5));
    bench.terminate(agent, 1, true).await;
    let ended = over(&mut bench).await;
    assert_eq!(ended.task_id, two.task_id);
    assert!(matches!(ended.end, AttemptEnd::Interrupted { .. }), "{ended:?}");
    assert_eq!(count("86121"), 0);
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
}

#[tokio::test]
async fn a_program_that_ends_when_it_is_asked_need_not_be_killed() {
    let (mut bench, agent) = start("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.02; done").await;
    let order = TaskOrder { timeout: Some(Duration::from_millis(500)), ..order(agent, "null") };
    begin(&bench, &order).await;
    let over = over(&mut bench).await;
    assert_eq!(over.end, AttemptEnd::Halted { halt: Halt::TimedOut });
    // The shell may say of its own child that it was terminated, on the other stream.
    let said: Vec<&str> = over.last_output.lines().filter(|line| *line != "Terminated").collect();
    assert_eq!(said, ["up", "asked"]);
}

#[tokio::test]
async fn a_program_that_goes_on_past_a_budget_is_killed_after_the_grace() {
    let mut profile = sh("trap '' TERM; while :; do sleep 0.01; done & exec sleep 86124");
    profile["budget_grace"] = json!(0.2);
    let (mut bench, agent) = start_within(profile, 1000.0).await;
    let order = order(agent, "null");
    begin(&bench, &order).await;
    wait_until("the program", async || (count("86124") == 1).then_some(())).await;
    bench.send(halt_for(&order, Halt::BudgetExceeded)).await;
    assert_eq!(over(&mut bench).await.end, AttemptEnd::Halted { halt: Halt::BudgetExceeded });
    assert_eq!(count("86124"), 0);
}

#[tokio::test]
async fn a_shutdown_stops_the_programs_and_tells_their_tasks_first() {
    let (mut bench, agent) = start("echo up; exec sleep 86122").await;
    let order = order(agent, "null");
    begin(&bench, &order).await;
    wait_until("the program", async || (count("86122") == 1).then_some(())).await;
    bench.send(Command::Shutdown { graceful: true }).await;
    assert!(matches!(over(&mut bench).await.end, AttemptEnd::Interrupted { .. }));
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
    assert_eq!(bench.exit().await, WorkerExit::ShutDown);
    assert_eq!(count("86122"), 0);
}

#[tokio::test]
async fn a_drained_worker_lets_its_tasks_finish() {
    let (mut bench, agent) = start("while [ ! -e go ]; do sleep 0.02; done; echo done").await;
    let order = order(agent, "null");
    begin(&bench, &order).await;
    bench
        .beat_where(|beat| {
            beat.agents.first().is_some_and(|agent| agent.state == ObservedState::Running(Activity::Busy))
        })
        .await;
    bench.send(Command::Drain).await;
    begin(&bench, &TaskOrder { attempt: 2, ..order.clone() }).await;
    let refused = over(&mut bench).await;
    assert_eq!(refused.end, AttemptEnd::NotBegun { message: "its worker is draining".to_owned() });
    let folder = bench.data.path().join("agents").join(agent.to_string());
    std::fs::write(folder.join("go"), "").expect("a file");
    assert_eq!(over(&mut bench).await.output, Some(Payload::quoted("done")));
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_no_program() {
    let (mut bench, agent) = start(&family("86123")).await;
    begin(&bench, &order(agent, "null")).await;
    wait_until("the grandchild", async || (count("86123") == 1).then_some(())).await;
    bench.stop.kill();
    assert_eq!(bench.exit().await, WorkerExit::Killed);
    assert_eq!(count("86123"), 0);
}
