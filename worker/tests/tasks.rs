//! Tasks of echo agents, in virtual time: orders, halts, reports, heartbeats and departures.

mod bench;

use std::net::TcpListener;
use std::time::Duration;

use bench::{Bench, FENCE, spawn};
use muster_domain::{
    Activity, AgentId, AttemptEnd, CheckOrder, Command, Connectivity, Envelope, Epoch, Fence, Halt, ObservedState,
    Payload, Reach, ReportBody, TaskHalt, TaskId, TaskOrder, TaskOver,
};
use muster_registry::Bus;
use muster_worker::WorkerExit;
use tokio::time::Instant;

const BEAT: Duration = Duration::from_secs(2);

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

/// A worker with one agent that runs.
async fn with_agent() -> (Bench, AgentId) {
    let mut bench = Bench::echo().await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    bench.words(1).await;
    (bench, agent)
}

async fn run(bench: &Bench, tasks: &[TaskOrder]) {
    bench.send(Command::RunTasks { tasks: tasks.to_vec() }).await;
}

fn halt(order: &TaskOrder, halt: Halt) -> Command {
    let TaskOrder { task_id, attempt, agent_id, epoch, .. } = *order;
    Command::HaltTasks { tasks: vec![TaskHalt { task_id, attempt, agent_id, epoch, halt }] }
}

/// What the next report says of tasks that are over.
async fn over(bench: &mut Bench) -> Vec<TaskOver> {
    match bench.next().await.body {
        ReportBody::Tasks { begun, over } if begun.is_empty() => over,
        other => panic!("ends, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_echo_agent_answers_with_the_input_and_again_when_it_is_asked_again() {
    let (mut bench, agent) = with_agent().await;
    let order = order(agent, r#"{"b": 1.50, "a": "\"x\""}"#);
    run(&bench, std::slice::from_ref(&order)).await;
    let [first] = &over(&mut bench).await[..] else { panic!("one end") };
    assert_eq!((first.task_id, first.attempt, &first.end), (order.task_id, 1, &AttemptEnd::Succeeded));
    assert_eq!(first.output.as_ref(), Some(&order.input));
    // Unsettled: the report that is kept comes again, with its output.
    run(&bench, std::slice::from_ref(&order)).await;
    let ReportBody::Tasks { over: again, .. } = bench.next_of_any().await.body else { panic!("the same") };
    assert_eq!(again, std::slice::from_ref(first));
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 3).await;
    bench.send(halt(&order, Halt::Cancelled)).await;
    assert_eq!(bench.words(1).await, ["over 1: succeeded"], "known as over, so it is not cancelled");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_came_together_are_answered_in_one_report() {
    let (mut bench, agent) = with_agent().await;
    let calls = bench.engine.calls("report");
    let orders: Vec<_> = (0..300).map(|number| order(agent, &number.to_string())).collect();
    let batch: Vec<_> = orders
        .chunks(100)
        .map(|tasks| (bench.worker, Envelope::new(FENCE, Command::RunTasks { tasks: tasks.to_vec() })))
        .collect();
    bench.engine.send(&[], &batch).await.expect("sent");
    let outputs: Vec<_> = over(&mut bench).await.into_iter().map(|over| (over.task_id, over.output)).collect();
    let expected: Vec<_> = orders.into_iter().map(|order| (order.task_id, Some(order.input))).collect();
    assert_eq!(outputs, expected, "in the order in which they came");
    assert_eq!(bench.engine.calls("report") - calls, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_begun_is_said_and_stays_so() {
    let (mut bench, agent) = with_agent().await;
    let stranger = order(AgentId::generate(), "1");
    let later = TaskOrder { epoch: Epoch(2), ..order(agent, "1") };
    run(&bench, &[stranger.clone(), later]).await;
    assert_eq!(
        bench.words(1).await,
        ["over 1: never began: its worker does not have run 1 of its agent, \
          over 1: never began: its worker does not have run 2 of its agent"]
    );
    bench.spawn(stranger.agent_id, 1).await;
    bench.words(1).await;
    run(&bench, &[stranger]).await;
    bench.send(Command::Probe).await;
    assert_eq!(bench.words(1).await, ["probed"], "its agent is here now, and the attempt stays refused");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_leader_begins_and_halts_nothing() {
    let (mut bench, agent) = with_agent().await;
    let [known, new, late] = std::array::from_fn(|_| order(agent, "1"));
    run(&bench, std::slice::from_ref(&known)).await;
    bench.words(1).await;
    let tasks = vec![known.clone(), new];
    bench.send_by(Fence(2), Command::RunTasks { tasks }).await;
    assert_eq!(bench.words(1).await, ["over 1: never began: its worker has seen the leader with fence 3"]);
    bench.send_by(Fence(2), halt(&late, Halt::Cancelled)).await;
    run(&bench, &[late]).await;
    assert_eq!(bench.words(1).await, ["over 1: succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_halt_that_overtakes_its_order_ends_it() {
    let (mut bench, agent) = with_agent().await;
    let order = order(agent, "1");
    bench.send(halt(&order, Halt::BudgetExceeded)).await;
    assert_eq!(bench.words(1).await, ["over 1: passed a budget"]);
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 3).await;
    run(&bench, &[order]).await;
    assert_eq!(bench.words(1).await, ["over 1: passed a budget"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_takes_no_task() {
    let (mut bench, agent) = with_agent().await;
    bench.send(Command::Drain).await;
    run(&bench, &[order(agent, "1")]).await;
    assert_eq!(bench.words(1).await, ["over 1: never began: its worker is draining"]);
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
    bench.settle().await;
    assert_eq!(bench.exit().await, WorkerExit::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_up_no_task_and_loses_no_end() {
    let (mut bench, agent) = with_agent().await;
    bench.lead(Duration::from_secs(3600)).await;
    bench.switch(true);
    for number in 0..5 {
        run(&bench, &[order(agent, &number.to_string())]).await;
    }
    tokio::time::sleep(BEAT * 10).await;
    bench.switch(false);
    let mut outputs = Vec::new();
    while outputs.len() < 5 {
        outputs.extend(over(&mut bench).await.into_iter().filter_map(|over| over.output).map(|text| text.to_string()));
    }
    assert_eq!(outputs, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_counts_as_idle_from_the_end_of_its_last_task() {
    let (mut bench, agent) = with_agent().await;
    bench.settle().await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    run(&bench, &[order(agent, "1")]).await;
    let worked = Instant::now();
    assert_eq!(bench.words(1).await, ["over 1: succeeded"]);
    bench.settle().await;
    assert_eq!(bench.words(1).await, ["idle 1"]);
    assert!(worked.elapsed() >= Duration::from_secs(299), "{:?}", worked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_long_output_travels_alone() {
    let mut bench = Bench::echo().await;
    let agent = AgentId::generate();
    bench.send(spawn(agent, 1)).await;
    bench.words(1).await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    run(&bench, &[order(agent, "1"), order(agent, &long), order(agent, "2"), order(agent, "3")]).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        let over = over(&mut bench).await;
        counts.push((over.len(), over[0].output.as_ref().map_or(0, Payload::len)));
    }
    assert_eq!(counts, [(1, 1), (1, 1024 * 1024), (2, 1)]);
    let beat = bench.beat_where(|beat| beat.reported == 5).await;
    assert_eq!((beat.agents[0].state, beat.agents[0].tasks.len()), (ObservedState::Running(Activity::Idle), 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_keeps_long_outputs_asks_soon_what_is_settled() {
    let (mut bench, agent) = with_agent().await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for _ in 0..9 {
        run(&bench, &[order(agent, &long)]).await;
        over(&mut bench).await;
    }
    let said = Instant::now();
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 11).await;
    // One beat hears what is settled, the next one tells that it was heard.
    assert!(said.elapsed() < BEAT / 8 + BEAT, "{:?}", said.elapsed());
    assert_eq!(bench.engine.calls("beat"), 3);
}

/// The order of a check that tries this.
fn check(agent_id: AgentId, url: &str) -> TaskOrder {
    let dependencies = [("it".to_owned(), url.parse().expect("a URL"))].into();
    let store = Reach::new(Duration::from_millis(1), Ok(()));
    TaskOrder { check: Some(Box::new(CheckOrder { store, dependencies })), ..order(agent_id, "\"an input\"") }
}

/// Somebody who takes connections and says nothing, with the URL of a Redis there.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    (listener, url)
}

#[tokio::test]
async fn a_check_is_answered_by_the_worker_with_what_it_reaches() {
    let (mut bench, agent) = with_agent().await;
    let (_listener, url) = silent();
    run(&bench, &[check(agent, &url.replace("redis", "tcp"))]).await;
    let over = loop {
        let ReportBody::Tasks { over, .. } = bench.next().await.body else { panic!("news of tasks") };
        if !over.is_empty() {
            break over;
        }
    };
    assert_eq!(over[0].end, AttemptEnd::Succeeded);
    let output = over[0].output.as_ref().expect("an output");
    let found: Connectivity = serde_json::from_str(output.as_str()).expect("what was found");
    assert_eq!(found.connectivity.keys().collect::<Vec<_>>(), ["command_path", "it", "registry", "store"]);
    assert!(found.success && found.skipped, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_takes_long_holds_up_nothing_and_is_stopped_like_any_task() {
    let (mut bench, agent) = with_agent().await;
    let (_listener, url) = silent();
    let (cancelled, late, lost) = (check(agent, &url), check(agent, &url), check(agent, &url));
    let late = TaskOrder { timeout: Some(Duration::from_millis(700)), ..late };
    run(&bench, &[cancelled.clone(), late, lost, order(agent, "1")]).await;
    assert_eq!(bench.words(1).await, ["begun 1, begun 1, begun 1, over 1: succeeded"], "its agent has answered");
    bench.send(halt(&cancelled, Halt::Cancelled)).await;
    assert_eq!(bench.words(1).await, ["over 1: was cancelled"]);
    assert_eq!(bench.words(1).await, ["over 1: took longer than its timeout"]);
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.words(2).await, ["over 1: was interrupted: its agent was stopped", "ended 1: was stopped"]);
}
