//! Tasks of agents with a program that speaks JSON lines, with real processes.

mod bench;

use std::time::{Duration, Instant};

use bench::lines::{agent, order, over, overs, run, start};
use bench::{Bench, sh, wait_until};
use muster_domain::{
    Activity, AttemptEnd, Cause, Command, Halt, ObservedState, Progress, ReportBody, TaskHalt, TaskOrder, TaskOver,
    TaskSnapshot, Usage,
};
use serde_json::json;

async fn halt(bench: &Bench, order: &TaskOrder) {
    halt_for(bench, order, Halt::Cancelled).await;
}

async fn halt_for(bench: &Bench, order: &TaskOrder, halt: Halt) {
    let TaskOrder { task_id, attempt, agent_id, epoch, .. } = *order;
    let tasks = vec![TaskHalt { task_id, attempt, agent_id, epoch, halt }];
    bench.send(Command::HaltTasks { tasks }).await;
}

/// The ends of so many tasks, in the order of these.
async fn all_over(bench: &mut Bench, orders: &[&TaskOrder]) -> Vec<AttemptEnd> {
    let overs = overs(bench, orders.len()).await;
    let end_of =
        |order: &&TaskOrder| overs.iter().find(|over| over.task_id == order.task_id).map(|over| over.end.clone());
    orders.iter().map(|order| end_of(order).expect("its end")).collect()
}

/// The picture of a task that is so.
async fn picture_where(bench: &Bench, order: &TaskOrder, is_so: impl Fn(&TaskSnapshot) -> bool) -> TaskSnapshot {
    let of =
        |agent: &muster_domain::AgentSnapshot| agent.tasks.iter().find(|task| task.task_id == order.task_id).cloned();
    wait_until("the task's picture", async || {
        let beat = bench.picture().await;
        beat.agents.iter().find_map(of).filter(|task| is_so(task))
    })
    .await
}

fn succeeded(over: &TaskOver) -> &str {
    assert_eq!(over.end, AttemptEnd::Succeeded, "{over:?}");
    over.output.as_ref().expect("an output").as_str()
}

fn halted() -> AttemptEnd {
    AttemptEnd::Halted { halt: Halt::Cancelled }
}

fn count(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let wanted = format!("sleep\0{marker}\0");
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .count()
}

#[tokio::test]
async fn one_program_does_its_tasks_one_after_the_other() {
    let (mut bench, agent) = start(agent(r#"say result ",\"output\":$input""#, ":")).await;
    let orders = [order(agent, r#"{"b": 1.50, "a": "\"x\""}"#), order(agent, "[1,\n 2]"), order(agent, r#""text""#)];
    for (order, output) in orders.iter().zip([r#"{"b": 1.50, "a": "\"x\""}"#, "[1,  2]", r#""text""#]) {
        run(&bench, &[order]).await;
        let over = over(&mut bench).await;
        assert_eq!((over.task_id, over.attempt), (order.task_id, 1));
        assert_eq!(succeeded(&over), output);
    }
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
    assert!(!bench.log(agent).contains("result"), "what is of the contract is not logged");
}

#[tokio::test]
async fn a_task_is_told_with_its_attempt_and_its_deadline() {
    let (mut bench, agent) = start(agent(r#"echo "$line"; say result"#, ":")).await;
    let order = TaskOrder { attempt: 4, timeout: Some(Duration::from_secs(3600)), ..order(agent, "7") };
    run(&bench, &[&order]).await;
    assert_eq!(succeeded(&over(&mut bench).await), "null", "a result without an output");
    bench.terminate(agent, 1, false).await;
    let last_output = bench.ending().await.1.last_output;
    let told: serde_json::Value = serde_json::from_str(&last_output).expect("one line of JSON");
    let expected = (json!("task"), json!(order.task_id.to_string()), json!(4), json!(7));
    assert_eq!(
        (&told["type"], &told["id"], &told["attempt"], &told["input"]),
        (&expected.0, &expected.1, &expected.2, &expected.3)
    );
    let deadline: muster_domain::Timestamp = told["deadline"].as_str().expect("a time").parse().expect("RFC 3339");
    let left = deadline.as_millis() - muster_domain::Timestamp::now().as_millis();
    assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn an_error_says_whether_another_attempt_makes_sense() {
    let on_task = r#"echo no model here; say error ",\"message\":\"no\",\"retryable\":$input""#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    for retryable in [false, true] {
        run(&bench, &[&order(agent, &retryable.to_string())]).await;
        let over = over(&mut bench).await;
        assert_eq!(over.end, AttemptEnd::Failed { message: "no".to_owned(), retryable });
        assert!(over.last_output == "no model here" && over.output.is_none(), "{over:?}");
    }
}

#[tokio::test]
async fn progress_and_usage_are_in_the_heartbeats_and_the_usage_in_the_end() {
    let on_task = r#"say progress ',"message":"reading","percent":40'; say usage ',"input_tokens":10,"cost_usd":0.5'
        say usage ',"output_tokens":5,"cost_usd":0.25'; while [ ! -e "go" ]; do sleep 0.02; done; say result"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    let usage = Usage { input_tokens: 10, output_tokens: 5, cost_micros: 750_000 };
    let picture = picture_where(&bench, &order, |task| task.usage == usage && task.quiet_ms > 0).await;
    assert_eq!(picture.progress, Some(Progress { message: "reading".to_owned(), percent: Some(40.0) }));
    assert_eq!(bench.picture().await.agents[0].state, ObservedState::Running(Activity::Busy));
    let go = bench.data.path().join("agents").join(agent.to_string()).join("go");
    std::fs::write(go, "").expect("a file");
    assert_eq!(over(&mut bench).await.usage, usage);
    let beat = bench
        .beat_where(|beat| {
            beat.agents.first().is_some_and(|agent| agent.state == ObservedState::Running(Activity::Idle))
        })
        .await;
    assert_eq!(beat.agents[0].tasks, []);
}

#[tokio::test]
async fn two_tasks_at_once_are_told_apart_by_their_ids() {
    // The first waits for the second, which answers both.
    let on_task =
        r#"if [ -z "$first" ]; then first=$id; else say result ',"output":2'; id=$first; say result ',"output":1'; fi"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let (one, two) = (order(agent, "1"), order(agent, "2"));
    run(&bench, &[&one, &two]).await;
    let mut outputs = Vec::new();
    while outputs.len() < 2 {
        if let ReportBody::Tasks { over, .. } = bench.next().await.body {
            outputs.extend(over.into_iter().map(|over| (over.task_id, over.output.expect("an output").to_string())));
        }
    }
    assert_eq!(outputs, [(two.task_id, "2".to_owned()), (one.task_id, "1".to_owned())]);
}

#[tokio::test]
async fn what_is_no_message_about_a_task_of_its_own_is_log_output() {
    let on_task = r#"own=$id; echo '{"type":"result"}'; echo '{"type":"result","id":'; say strange; echo "[$line]"
        id=01989b30-0000-7000-8000-000000000001; say result; id=$own; say usage ',"cost_usd":-1'
        say result ',"attempt":2'; say result ',"output":"mine","attempt":1'; say result ',"output":"late"'"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    let over = over(&mut bench).await;
    assert_eq!((succeeded(&over), over.usage), (r#""mine""#, Usage::default()));
    wait_until("the last line", async || bench.log(agent).contains("late").then_some(())).await;
    bench.terminate(agent, 1, false).await;
    bench.ending().await;
    let logged = bench.log(agent).lines().filter(|line| line.contains(" out ")).count();
    assert_eq!(logged, 8, "{}", bench.log(agent));
}

#[tokio::test]
async fn a_long_input_and_a_long_result_are_carried_and_a_longer_one_is_an_error() {
    // Reads the input as it comes, and answers with as much as it says.
    let on_task = r#"printf '{"type":"result","id":"%s","output":"' "$id"; head -c "$(printf %s "$input" | tr -cd 0-9)" /dev/zero | tr '\0' x; echo '"}'"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    let most = 1024 * 1024;
    let padded = |length: usize, padding: usize| order(agent, &format!("[{length}{}]", " ".repeat(padding)));
    run(&bench, &[&padded(most - 2, 300_000)]).await;
    assert_eq!(succeeded(&over(&mut bench).await).len(), most);
    for length in [most - 1, 3 * most] {
        run(&bench, &[&padded(length, 0)]).await;
        let message = "its result is longer than 1048576 bytes".to_owned();
        assert_eq!(over(&mut bench).await.end, AttemptEnd::Failed { message, retryable: false }, "{length}");
    }
    run(&bench, &[&padded(1, 0)]).await;
    assert_eq!(succeeded(&over(&mut bench).await), r#""x""#, "the agent goes on");
}

#[tokio::test]
async fn an_agent_that_dies_loses_its_tasks_before_its_own_end_is_told() {
    let on_task = r#"say usage ',"input_tokens":3'; echo out of memory; exit 3"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    run(&bench, &[&order(agent, "1")]).await;
    let over = over(&mut bench).await;
    assert_eq!(over.end, AttemptEnd::AgentDied { message: "exited with code 3".to_owned() });
    assert_eq!((over.last_output.as_str(), over.usage.input_tokens), ("out of memory", 3));
    assert_eq!(bench.words(1).await, ["ended 1: exited with code 3"]);
}

#[tokio::test]
async fn an_agent_that_answers_and_exits_has_succeeded() {
    let (mut bench, agent) = start(agent(r#"say result ',"output":7'; exit 0"#, ":")).await;
    run(&bench, &[&order(agent, "1")]).await;
    assert_eq!(succeeded(&over(&mut bench).await), "7");
    assert_eq!(bench.words(1).await, ["ended 1: exited with code 0"]);
}

#[tokio::test]
async fn an_agent_that_is_stopped_interrupts_its_tasks() {
    let (mut bench, agent) = start(agent("true", "true")).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    picture_where(&bench, &order, |_| true).await;
    bench.terminate(agent, 1, true).await;
    assert_eq!(over(&mut bench).await.end, AttemptEnd::Interrupted { message: "its agent was stopped".to_owned() });
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
}

#[tokio::test]
async fn a_cancel_is_answered_by_an_error_or_by_a_result_that_was_ready() {
    for (answer, end) in [("say error", halted()), (r#"say result ',"output":7'"#, AttemptEnd::Succeeded)] {
        let (mut bench, agent) = start(agent("true", answer)).await;
        let (one, two) = (order(agent, "1"), order(agent, "2"));
        run(&bench, &[&one, &two]).await;
        picture_where(&bench, &two, |_| true).await;
        halt(&bench, &one).await;
        assert_eq!(over(&mut bench).await.end, end);
        let beat = bench.picture().await;
        picture_where(&bench, &two, |_| true).await;
        bench.beat_where(|later| later.number > beat.number && later.agents[0].tasks.len() == 1).await;
    }
}

#[tokio::test]
async fn an_agent_that_ignores_a_cancel_is_ended_with_all_that_it_started() {
    let on_task = r#"(setsid env -i sh -c 'trap "" TERM; exec sleep 86111' &)"#;
    let (mut bench, agent) = start(agent(&format!("trap '' TERM; {on_task}"), "true")).await;
    let (one, two) = (order(agent, "1"), order(agent, "2"));
    run(&bench, &[&one, &two]).await;
    wait_until("the grandchildren", async || (count("86111") == 2).then_some(())).await;
    let asked = Instant::now();
    halt(&bench, &one).await;
    let message = "its agent was ended with another task that did not stop".to_owned();
    assert_eq!(all_over(&mut bench, &[&one, &two]).await, [halted(), AttemptEnd::Interrupted { message }]);
    assert_eq!(count("86111"), 0, "nothing of its work goes on");
    assert!(asked.elapsed() >= Duration::from_millis(300) && asked.elapsed() < Duration::from_secs(5));
    let (ready, ending) = bench.ending().await;
    assert_eq!((ready, ending.cause), (true, Cause::TaskHalted));
}

#[tokio::test]
async fn an_agent_that_goes_on_past_its_budget_is_killed_after_the_grace() {
    let mut profile = agent("trap '' TERM; (sleep 86112 &)", "true");
    profile["stop_deadline"] = json!(1000);
    profile["budget_grace"] = json!(0.3);
    let (mut bench, agent) = start(profile).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    wait_until("its work", async || (count("86112") == 1).then_some(())).await;
    let asked = Instant::now();
    halt_for(&bench, &order, Halt::BudgetExceeded).await;
    assert_eq!(over(&mut bench).await.end, AttemptEnd::Halted { halt: Halt::BudgetExceeded });
    assert!(asked.elapsed() >= Duration::from_millis(300), "it had its grace");
    assert_eq!((bench.ending().await.1.cause, count("86112")), (Cause::TaskHalted, 0));
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_halted_by_the_worker_itself() {
    let (mut bench, agent) = start(agent("true", "say error")).await;
    let order = TaskOrder { timeout: Some(Duration::from_millis(200)), ..order(agent, "1") };
    let begun = Instant::now();
    run(&bench, &[&order]).await;
    assert_eq!(over(&mut bench).await.end, AttemptEnd::Halted { halt: Halt::TimedOut });
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_agent_that_never_reads_holds_up_nobody_and_can_be_halted() {
    let mut profile = sh(r#"echo '{"type":"ready"}'; exec sleep 1000"#);
    profile["stop_deadline"] = json!(0.3);
    let (mut bench, agent) = start(profile).await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    let orders: Vec<_> = (0..20).map(|_| order(agent, &long)).collect();
    let orders: Vec<_> = orders.iter().collect();
    run(&bench, &orders).await;
    let refused = over(&mut bench).await.end;
    let message = "its agent does not read its stdin".to_owned();
    assert_eq!(refused, AttemptEnd::Failed { message, retryable: true }, "what waits for it is bounded");
    let asked = Instant::now();
    bench.send(Command::Probe).await;
    while !matches!(bench.next().await.body, ReportBody::Probed { .. }) {}
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    halt(&bench, orders[0]).await;
    let end = wait_for_end_of(&mut bench, orders[0]).await;
    assert_eq!(end, halted());
}

async fn wait_for_end_of(bench: &mut Bench, order: &TaskOrder) -> AttemptEnd {
    loop {
        if let ReportBody::Tasks { over, .. } = bench.next().await.body
            && let Some(over) = over.into_iter().find(|over| over.task_id == order.task_id)
        {
            return over.end;
        }
    }
}

#[tokio::test]
async fn an_agent_that_closes_its_stdin_can_be_given_no_work() {
    let mut profile = sh(r#"exec <&-; echo '{"type":"ready"}'; exec sleep 1000"#);
    profile["stop_deadline"] = json!(0.3);
    let (mut bench, agent) = start(profile).await;
    let message = "its agent has closed its stdin".to_owned();
    for _ in 0..2 {
        run(&bench, &[&order(agent, "1")]).await;
        let end = over(&mut bench).await.end;
        assert_eq!(end, AttemptEnd::Failed { message: message.clone(), retryable: true });
    }
}

#[tokio::test]
async fn an_agent_that_floods_its_stdout_still_answers() {
    let on_task =
        r#"yes '{"flood":"0123456789012345678901234567890123456789"}' | head -n 200000; say result ',"output":7'"#;
    let (mut bench, agent) = start(agent(on_task, ":")).await;
    run(&bench, &[&order(agent, "1")]).await;
    assert_eq!(succeeded(&over(&mut bench).await), "7");
}

#[tokio::test]
async fn silence_counts_only_while_the_registry_could_hear() {
    let (bench, agent) = start(agent("true", ":")).await;
    let order = order(agent, "1");
    run(&bench, &[&order]).await;
    let before = picture_where(&bench, &order, |task| task.quiet_ms >= 500).await;
    bench.switch(true);
    let beats = bench.engine.calls("beat");
    wait_until("an outage", async || (bench.engine.calls("beat") > beats + 1).then_some(())).await;
    bench.switch(false);
    let after = picture_where(&bench, &order, |task| task.quiet_ms < before.quiet_ms).await;
    assert_eq!(after.attempt, 1);
}
