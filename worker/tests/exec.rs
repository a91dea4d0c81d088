//! Agents with a program: how they start, what they print, and how they end, with real processes.

mod bench;

use std::path::Path;
use std::time::{Duration, Instant};

use bench::{Bench, exec, sh, wait_until};
use muster_domain::ending::MAX_LAST_OUTPUT;
use muster_domain::{Activity, AgentId, Cause, Command, ObservedState};
use muster_files::DataPath;
use muster_worker::{WorkerExit, log};
use serde_json::json;

const READY: &str = r#"echo '{"type":"ready"}'"#;

/// Changes one field of a profile.
fn with(mut profile: serde_json::Value, field: &str, value: serde_json::Value) -> serde_json::Value {
    profile[field] = value;
    profile
}

async fn start(profile: serde_json::Value) -> (Bench, AgentId) {
    let bench = Bench::start(exec(profile), |orders| orders.clocks.heartbeat = Duration::from_millis(100)).await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    (bench, agent)
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// The texts of an agent's log, stream and text.
fn lines(bench: &Bench, agent: AgentId) -> Vec<String> {
    let text = bench.log(agent);
    text.lines()
        .map(|line| log::parse(line).map(|line| format!("{} {}", line.stream, line.text)).expect("a line"))
        .collect()
}

#[tokio::test]
async fn an_agent_is_ready_when_it_says_so_and_stops_when_it_is_told() {
    let script = format!(r#"{READY}; echo hello; echo oops >&2; read line; echo "got $line"; exit 7"#);
    let (mut bench, agent) = start(sh(&script)).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    let beat = bench.beat_where(|beat| beat.agents.first().is_some_and(|agent| agent.pid.is_some())).await;
    assert_eq!(beat.agents[0].state, ObservedState::Running(Activity::Idle));
    assert!(is_alive(&beat.agents[0].pid.expect("a pid").to_string()));
    wait_until("its words", async || lines(&bench, agent).contains(&"err oops".into()).then_some(())).await;
    bench.terminate(agent, 1, true).await;
    let (ready, ending) = bench.ending().await;
    assert!(ready);
    assert_eq!(ending.cause, Cause::Stopped, "whatever its exit code: it was told to");
    let lines = lines(&bench, agent);
    // Of two streams nobody knows which line was first.
    assert!(lines.contains(&"out hello".into()) && lines.contains(&"err oops".into()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("ready")), "what is of the contract is not logged: {lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("end was stopped"));
}

#[tokio::test]
async fn an_agent_sees_its_environment_and_its_folder() {
    let profile = with(sh(&format!("pwd; env; {READY}; cat")), "env", json!({"MODE": "fast"}));
    let (mut bench, agent) = start(profile).await;
    bench.words(1).await;
    bench.terminate(agent, 1, false).await;
    let (_, ending) = bench.ending().await;
    let folder = bench.data.path().join("agents").join(agent.to_string());
    assert!(ending.last_output.starts_with(&format!("{}\n", folder.display())), "{}", ending.last_output);
    for expected in [format!("MUSTER_AGENT_ID={agent}"), "MUSTER_PROJECT_ID=shop".into(), "MODE=fast".into()] {
        assert!(ending.last_output.contains(&expected), "{}", ending.last_output);
    }
    assert!(!ending.last_output.contains("CARGO"), "nothing else of our own environment");
}

#[tokio::test]
async fn an_agent_that_exits_tells_its_code_and_its_last_output() {
    let (mut bench, _) = start(sh("echo starting; printf 'no config' >&2; exit 3")).await;
    let (ready, ending) = bench.ending().await;
    assert_eq!((ready, ending.cause), (false, Cause::Exited { code: 3 }));
    assert!(ending.last_output.contains("starting") && ending.last_output.contains("no config"));
}

#[tokio::test]
async fn a_signal_that_was_not_ours_is_told() {
    let (mut bench, _) = start(sh(&format!("{READY}; kill -9 $$"))).await;
    bench.words(1).await;
    let (ready, ending) = bench.ending().await;
    assert_eq!((ready, ending.cause), (true, Cause::Signaled { signal: 9 }));
}

#[tokio::test]
async fn an_agent_that_never_is_ready_is_ended_with_its_last_output() {
    let profile = with(sh("echo loading; sleep 1000"), "start_timeout", json!(0.3));
    let (mut bench, agent) = start(profile).await;
    let (ready, ending) = bench.ending().await;
    assert_eq!((ready, &ending.cause), (false, &Cause::StartTimeout { after_ms: 300 }));
    assert_eq!(ending.last_output, "loading");
    assert!(lines(&bench, agent).last().is_some_and(|line| line.contains("may be buffered")));
}

#[tokio::test]
async fn an_agent_that_counts_as_ready_once_it_runs_needs_to_say_nothing() {
    let (mut bench, agent) = start(with(sh("exec sleep 1000"), "ready", json!("started"))).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
}

#[tokio::test]
async fn a_program_that_is_not_there_was_not_started() {
    let (mut bench, agent) = start(json!({"command": ["no-such-program-anywhere"]})).await;
    let (ready, ending) = bench.ending().await;
    let Cause::NotStarted { error } = &ending.cause else { panic!("{ending:?}") };
    assert!(!ready && error.contains("no-such-program-anywhere"), "{error}");
    assert!(lines(&bench, agent)[0].starts_with("end could not be started"));
    // The slot is free again.
    bench.spawn(AgentId::generate(), 1).await;
    assert!(!bench.ending().await.0);
}

#[tokio::test]
async fn rubbish_is_log_output_and_no_harm() {
    let script = format!(
        r#"printf '\377\376\n{{"type":\n[1,2]\n{{"type":"progress","id":"x"}}\n\0\n'; head -c 300000 /dev/zero | tr '\0' x; echo; {READY}; cat"#
    );
    let (mut bench, agent) = start(sh(&script)).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    bench.terminate(agent, 1, false).await;
    bench.ending().await;
    let lines = lines(&bench, agent);
    assert_eq!(lines[0], "out \u{fffd}\u{fffd}");
    assert_eq!(lines[3], r#"out {"type":"progress","id":"x"}"#);
    assert!(lines[5].ends_with(&format!("[{} more bytes of this line were cut]", 300_000 - 64 * 1024)));
}

#[tokio::test]
async fn a_flood_neither_grows_memory_nor_starves_the_worker_and_its_log_is_rotated() {
    let (mut bench, agent) = start(sh(&format!("{READY}; exec yes 0123456789012345678901234567890123456789"))).await;
    let quiet = AgentId::generate();
    assert_eq!(bench.words(1).await, ["started 1"]);
    let before = resident();
    let log = DataPath::agent_log(bench.data.path(), agent);
    let (path, older) = (log.path(), log.older().path());
    wait_until("a rotation", async || older.exists().then_some(())).await;
    // Beside the flood, a command is answered.
    let asked = Instant::now();
    bench.send(Command::Probe).await;
    assert_eq!(bench.words(1).await, ["probed"]);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "grew by {grown} bytes");
    bench.terminate(agent, 1, true).await;
    let (_, ending) = bench.ending().await;
    assert_eq!(ending.cause, Cause::Stopped);
    assert!(
        ending.last_output.len() <= MAX_LAST_OUTPUT
            && ending.last_output.contains("\n0123456789012345678901234567890123456789")
    );
    let sizes = [&path, &older].map(|path| path.metadata().expect("a log").len());
    assert!(sizes.iter().all(|size| *size < log::ROTATE_AT + 1024 * 1024), "{sizes:?}");
    assert!(bench.log(quiet).is_empty());
}

#[tokio::test]
async fn an_agent_that_ignores_the_request_is_killed_at_its_deadline() {
    let script = format!("trap '' TERM; {READY}; while :; do sleep 0.05; done");
    let (mut bench, agent) = start(with(sh(&script), "stop_deadline", json!(0.3))).await;
    bench.words(1).await;
    let asked = Instant::now();
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
    assert!(asked.elapsed() >= Duration::from_millis(300) && asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_agent_that_ends_at_the_stop_message_never_sees_the_signal() {
    let script = format!(r#"trap 'echo signalled' TERM; {READY}; read line; echo "got $line"; exit 0"#);
    let (mut bench, agent) = start(sh(&script)).await;
    bench.words(1).await;
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
    assert_eq!(lines(&bench, agent), [r#"out got {"type":"stop"}"#, "end was stopped"]);
}

#[tokio::test]
async fn an_agent_that_does_not_read_its_stdin_gets_the_signal_after_a_pause() {
    let script = format!("trap 'echo signalled; exit 0' TERM; {READY}; while :; do sleep 0.02; done");
    // The shorter of both deadlines counts, so that the signal comes before either kills.
    let profile = with(sh(&script), "stop_deadline", json!(1000));
    let mut bench = Bench::start(exec(profile), |orders| orders.clocks.stop_deadline = Duration::from_secs(5)).await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    bench.words(1).await;
    let asked = Instant::now();
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.cause, Cause::Stopped);
    assert!(asked.elapsed() >= Duration::from_millis(500) && asked.elapsed() < Duration::from_secs(5));
    assert!(lines(&bench, agent).contains(&"out signalled".into()));
}

#[tokio::test]
async fn an_agent_without_a_stdin_gets_the_signal_at_once() {
    let script = format!("trap 'echo signalled; exit 0' TERM; exec <&-; {READY}; while :; do sleep 0.02; done");
    let (mut bench, agent) = start(sh(&script)).await;
    bench.words(1).await;
    let asked = Instant::now();
    bench.terminate(agent, 1, true).await;
    bench.ending().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(lines(&bench, agent).contains(&"out signalled".into()));
}

#[tokio::test]
async fn many_agents_are_stopped_side_by_side() {
    let script = format!("{READY}; exec sleep 1000");
    let mut bench = Bench::start(exec(sh(&script)), |orders| orders.capacity = 5).await;
    for _ in 0..5 {
        bench.spawn(AgentId::generate(), 1).await;
    }
    bench.words(5).await;
    let asked = Instant::now();
    bench.send(Command::Shutdown { graceful: true }).await;
    assert_eq!(bench.words(5).await, ["ended 1: was stopped"; 5]);
    assert_eq!(bench.exit().await, WorkerExit::ShutDown);
    // One after the other would take a pause each.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

/// Forks twice, in a session of its own, without the mark, deaf to SIGTERM.
fn family(marker: &str) -> String {
    format!("(setsid env -i sh -c 'trap \"\" TERM; exec sleep {marker}' &) ; {READY}; cat")
}

fn count(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let wanted = format!("sleep\0{marker}\0");
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .count()
}

#[tokio::test]
async fn the_end_of_an_agent_is_told_when_its_last_descendant_is_dead() {
    let (mut bench, agent) = start(with(sh(&family("86101")), "stop_deadline", json!(0.2))).await;
    bench.words(1).await;
    wait_until("the grandchild", async || (count("86101") == 1).then_some(())).await;
    bench.terminate(agent, 1, true).await;
    bench.ending().await;
    assert_eq!(count("86101"), 0);
}

#[tokio::test]
async fn a_worker_that_is_killed_or_dropped_leaves_no_process() {
    let (mut bench, _) = start(sh(&family("86102"))).await;
    bench.words(1).await;
    wait_until("the grandchild", async || (count("86102") == 1).then_some(())).await;
    bench.stop.kill();
    assert_eq!(bench.exit().await, WorkerExit::Killed);
    assert_eq!(count("86102"), 0, "proven dead when the worker's run returns");

    let (mut bench, agent) = start(sh(&family("86103"))).await;
    bench.words(1).await;
    wait_until("the grandchild", async || (count("86103") == 1).then_some(())).await;
    // Its last words are written when the worker is gone: the folder stays until then.
    let data = std::mem::replace(&mut bench.data, tempfile::tempdir().expect("a folder"));
    drop(bench);
    wait_until("the end of all", async || (count("86103") == 0).then_some(())).await;
    let log = data.path().join(format!("logs/agents/{agent}.log"));
    let is_written = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(" end "));
    wait_until("the last words", async || is_written().then_some(())).await;
}

#[tokio::test]
async fn a_second_sign_forces_what_the_first_asked_for() {
    let script = format!("trap '' TERM; {READY}; while :; do sleep 0.05; done");
    let (mut bench, _) = start(with(sh(&script), "stop_deadline", json!(1000))).await;
    bench.words(1).await;
    let asked = Instant::now();
    bench.stop.drain();
    bench.beat_where(|beat| beat.agents.first().is_some_and(|agent| agent.state == ObservedState::Stopping)).await;
    assert!(!bench.is_over());
    bench.stop.force();
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
    assert_eq!(bench.exit().await, WorkerExit::ShutDown);
    assert!(asked.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_shutdown_kills_what_is_left_at_the_workers_own_deadline() {
    let script = format!("trap '' TERM; {READY}; while :; do sleep 0.05; done");
    let profile = with(sh(&script), "stop_deadline", json!(1000));
    let mut bench =
        Bench::start(exec(profile), |orders| orders.clocks.stop_deadline = Duration::from_millis(300)).await;
    bench.spawn(AgentId::generate(), 1).await;
    bench.words(1).await;
    let asked = Instant::now();
    bench.send(Command::Shutdown { graceful: true }).await;
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
    assert_eq!(bench.exit().await, WorkerExit::ShutDown);
    assert!(asked.elapsed() >= Duration::from_millis(300) && asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_later_epoch_starts_when_the_earlier_tree_is_dead() {
    let script = format!("trap '' TERM; echo $$ > pid; {READY}; while :; do sleep 0.05; done");
    let (mut bench, agent) = start(sh(&script)).await;
    bench.words(1).await;
    let first = bench.picture().await;
    bench.spawn(agent, 2).await;
    assert_eq!(bench.words(2).await, ["ended 1: was stopped", "started 2"]);
    if let Some(pid) = first.agents.first().and_then(|agent| agent.pid) {
        assert!(!is_alive(&pid.to_string()));
    }
    bench.terminate(agent, 2, false).await;
    bench.ending().await;
    let ends = lines(&bench, agent).iter().filter(|line| line.starts_with("end ")).count();
    assert_eq!(ends, 2, "one log over all of its runs");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_its_lines_and_not_the_agent() {
    let bench = Bench::start(exec(sh(&format!("echo lost; {READY}; exec sleep 1000"))), |orders| {
        std::fs::write(orders.data_dir.join("logs"), "a file where a folder should be").expect("a file");
    });
    let mut bench = bench.await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.ending().await.1.last_output, "lost");
}

fn resident() -> u64 {
    muster_process::usage::of(std::process::id()).expect("ourselves").rss_bytes
}
