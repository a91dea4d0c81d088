//! Programs that misbehave, in every protocol: one suite. Whatever a program does, its worker answers meanwhile, the task that it was
//! given has one end, its agent's end is told, nothing of its tree is left, and no memory grows with what it prints.
//!
//! A new protocol is one more [`Speaker`], and a column of what becomes of each program.

mod bench;

use std::time::Duration;

use bench::lines::order;
use bench::{Bench, exec, sh, wait_until};
use muster_domain::{AgentId, Command, Ending, Halt, ReportBody, TaskHalt, TaskOrder, TaskOver};
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

/// What becomes of a program.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Its agent never runs, for this reason.
    NotRunning(&'static str),
    /// Its task ends by itself, in these words.
    Ends(&'static str),
    /// Its task succeeds, and its output ends so.
    Answers(&'static str),
    /// Its task does not end by itself, and is over soon when it is halted.
    Halted,
}

/// A program that misbehaves: by a script, or by what cannot even be run.
struct Ugly {
    name: &'static str,
    /// What it does first.
    start: &'static str,
    /// What it does when it has a task, before it answers `done`.
    work: &'static str,
    /// What its profile has beside that, as JSON.
    profile: &'static str,
    lines: Fate,
    oneshot: Fate,
}

const UGLY: Ugly = Ugly { name: "", start: ":", work: ":", profile: "{}", lines: DONE, oneshot: DONE };
const DONE: Fate = Fate::Answers("done\"");

/// `here` tells the test that it is so far; `$mark` is how long to sleep where nothing else ends it.
fn programs() -> Vec<Ugly> {
    vec![
        Ugly {
            name: "writes garbage",
            work: r#"printf '\0\1\n{"type":\n[1,2]\nnull\n{}\n{"type":"result"}\n\r\n'"#,
            ..UGLY
        },
        Ugly {
            name: "prints what is no UTF-8",
            work: r"printf '\377\376\n\303\n'; printf '\355\240\200\n' >&2",
            ..UGLY
        },
        Ugly {
            name: "prints a line that is too long for the log",
            work: "head -c 300000 /dev/zero | tr '\\0' x; echo",
            ..UGLY
        },
        Ugly {
            name: "prints a line without an end",
            work: "here; tr '\\0' x </dev/zero",
            lines: Fate::Halted,
            oneshot: Fate::Ends("failed: its output is longer than 1048576 bytes"),
            ..UGLY
        },
        Ugly {
            name: "floods its stdout",
            work: "here; yes 0123456789012345678901234567890123456789",
            lines: Fate::Halted,
            oneshot: Fate::Ends("failed: its output is longer than 1048576 bytes"),
            ..UGLY
        },
        Ugly { name: "floods its stderr", work: "yes 'no model' | head -n 200000 >&2", ..UGLY },
        Ugly { name: "has its stderr closed", start: "exec 2>&-", ..UGLY },
        Ugly {
            name: "closes its stdout and stays",
            work: "exec >&-; here; sleep $mark",
            lines: Fate::Halted,
            oneshot: Fate::Halted,
            ..UGLY
        },
        Ugly {
            name: "closes its stdin",
            start: "exec <&-",
            lines: Fate::Ends("failed: its agent has closed its stdin"),
            ..UGLY
        },
        Ugly {
            name: "never reads its stdin and stays",
            start: "ready; here; sleep $mark",
            lines: Fate::Halted,
            oneshot: Fate::Halted,
            ..UGLY
        },
        Ugly { name: "leaves a grandchild with its pipes", work: "(setsid env -i sleep $mark &)", ..UGLY },
        Ugly {
            name: "ignores SIGTERM",
            start: "trap '' TERM",
            work: "here; while :; do sleep 0.05; done",
            lines: Fate::Halted,
            oneshot: Fate::Halted,
            ..UGLY
        },
        Ugly {
            name: "is stopped by itself",
            work: "here; kill -STOP $$",
            lines: Fate::Halted,
            oneshot: Fate::Halted,
            ..UGLY
        },
        Ugly {
            name: "exits at once",
            start: "echo no config >&2; exit 3",
            lines: Fate::NotRunning("exited with code 3"),
            oneshot: Fate::Ends("failed: exited with code 3: no config"),
            ..UGLY
        },
        Ugly {
            name: "exits during a task",
            work: "echo no model >&2; exit 3",
            lines: Fate::Ends("lost its agent, which exited with code 3"),
            oneshot: Fate::Ends("failed: exited with code 3: no model"),
            ..UGLY
        },
        Ugly {
            name: "is killed during a task",
            work: "kill -9 $$",
            lines: Fate::Ends("lost its agent, which was ended by signal 9"),
            oneshot: Fate::Ends("failed: was ended by signal 9"),
            ..UGLY
        },
        Ugly {
            name: "hangs at its start",
            start: "here; sleep $mark",
            profile: r#"{"start_timeout": 0.5}"#,
            lines: Fate::NotRunning("did not say that it is ready within 0.5 s"),
            oneshot: Fate::Halted,
            ..UGLY
        },
        absent("is not there", r#"{"command": ["no-such-program-anywhere"]}"#, "is not in PATH"),
        absent("is not executable", r#"{"command": ["/etc/passwd"]}"#, "is it executable?"),
        absent("has no folder", r#"{"cwd": "/nowhere"}"#, "cannot start in /nowhere"),
    ]
}

/// One that nobody can start.
const fn absent(name: &'static str, profile: &'static str, why: &'static str) -> Ugly {
    Ugly { name, profile, lines: Fate::NotRunning(why), oneshot: Fate::NotRunning(why), ..UGLY }
}

/// A protocol: how a script speaks it, and what becomes of a program that does.
#[derive(Clone, Copy)]
struct Speaker {
    name: &'static str,
    script: fn(&Ugly) -> String,
    mode: &'static str,
    fate: fn(&Ugly) -> Fate,
}

const LINES: Speaker = Speaker {
    name: "JSON lines",
    script: |ugly| {
        let Ugly { start, work, .. } = ugly;
        format!(
            r#"ready() {{ echo '{{"type":"ready"}}'; }}
            {start}
            ready
            while read -r line; do
                id=${{line#*\"id\":\"}}; id=${{id%%\"*}}
                case $line in
                    *'"type":"task"'*) {work}; printf '{{"type":"result","id":"%s","output":"done"}}\n' "$id" ;;
                    *'"type":"stop"'*) exit 0 ;;
                esac
            done
            sleep $mark"#
        )
    },
    mode: "agent",
    fate: |ugly| ugly.lines,
};

const ONESHOT: Speaker = Speaker {
    name: "a program per task",
    script: |Ugly { start, work, .. }| format!("ready() {{ :; }}; {start}; {work}; echo done"),
    mode: "oneshot",
    fate: |ugly| ugly.oneshot,
};

#[tokio::test]
async fn ugly_programs_that_speak_json_lines() {
    LocalSet::new().run_until(try_all(LINES, 87_100)).await;
}

#[tokio::test]
async fn ugly_programs_of_a_task_each() {
    LocalSet::new().run_until(try_all(ONESHOT, 87_200)).await;
}

async fn try_all(speaker: Speaker, marks: u32) {
    let before = resident();
    let mut trials = JoinSet::new();
    for (mark, ugly) in (marks..).zip(programs()) {
        trials.spawn_local(async move {
            let trial = tokio::time::timeout(Duration::from_secs(60), try_out(speaker, &ugly, mark));
            let found = trial.await.unwrap_or_else(|_| Err("does not come to an end".to_owned()));
            found.err().map(|what| format!("{} that {}: {what}", speaker.name, ugly.name))
        });
    }
    let failures: Vec<String> = trials.join_all().await.into_iter().flatten().collect();
    assert_eq!(failures, [""; 0]);
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "grew by {grown} bytes");
}

/// Runs a program through its life; says what is not as it should be.
async fn try_out(speaker: Speaker, ugly: &Ugly, mark: u32) -> Result<(), String> {
    let fate = (speaker.fate)(ugly);
    let mut profile = sh(&format!("here() {{ : > here; }}; mark={mark}; {}", (speaker.script)(ugly)));
    profile["mode"] = json!(speaker.mode);
    profile["stop_deadline"] = json!(0.3);
    let more: serde_json::Map<String, Value> = serde_json::from_str(ugly.profile).expect("an object");
    profile.as_object_mut().expect("an object").extend(more);
    let mut bench = Bench::start(exec(profile), |orders| orders.clocks.heartbeat = Duration::from_millis(100)).await;
    let agent = AgentId::generate();
    bench.spawn(agent, 1).await;
    match (bench.next().await.body, fate) {
        (ReportBody::Started { .. }, Fate::NotRunning(why)) => return Err(format!("it runs, in spite of: {why}")),
        (ReportBody::Started { .. }, _) => {}
        (ReportBody::Ended { ready: false, ending, .. }, Fate::NotRunning(why)) => {
            expect(ending.cause.to_string().contains(why), &ending)?;
            return nothing_is_left(&bench, agent, mark).await;
        }
        (other, _) => return Err(format!("{other:?}")),
    }
    let over = work(&mut bench, agent, fate).await?;
    let output = over.output.as_ref().map_or("", |output| output.as_str());
    match fate {
        Fate::Answers(end) => expect(output.ends_with(end) && over.last_output.is_empty(), &over)?,
        Fate::Ends(words) => expect(over.end.to_string() == words, &over)?,
        Fate::Halted => expect(over.end == muster_domain::AttemptEnd::Halted { halt: Halt::Cancelled }, &over)?,
        Fate::NotRunning(_) => {}
    }
    bench.terminate(agent, 1, true).await;
    ending(&mut bench).await?;
    nothing_is_left(&bench, agent, mark).await
}

/// Has a task done, or halted where it would not end, and answers with its end. Meanwhile the worker answers.
async fn work(bench: &mut Bench, agent: AgentId, fate: Fate) -> Result<TaskOver, String> {
    // More than a pipe holds.
    let order = order(agent, &format!("\"{}\"", "x".repeat(200_000)));
    bench.send(Command::RunTasks { tasks: vec![order.clone()] }).await;
    if matches!(fate, Fate::Halted) {
        let here = bench.data.path().join("agents").join(agent.to_string()).join("here");
        wait_until("the program", async || here.exists().then_some(())).await;
    }
    let asked = tokio::time::Instant::now();
    bench.send(Command::Probe).await;
    let (mut probed, mut over) = (None, None);
    while probed.is_none() || over.is_none() {
        match bench.next().await.body {
            ReportBody::Probed { .. } => {
                probed = Some(asked.elapsed());
                if matches!(fate, Fate::Halted) {
                    let TaskOrder { task_id, attempt, agent_id, epoch, .. } = order;
                    let halt = Halt::Cancelled;
                    let tasks = vec![TaskHalt { task_id, attempt, agent_id, epoch, halt }];
                    bench.send(Command::HaltTasks { tasks }).await;
                }
            }
            ReportBody::Tasks { over: overs, .. } => over = overs.into_iter().next().or(over),
            // An agent that dies loses its task first.
            other => return Err(format!("{other:?} before the end of its task")),
        }
    }
    // Beside all the others, on a machine that has more to do.
    expect(probed.is_some_and(|took| took < Duration::from_secs(5)), &probed)?;
    over.ok_or_else(|| "no end".to_owned())
}

async fn ending(bench: &mut Bench) -> Result<Ending, String> {
    match bench.next().await.body {
        ReportBody::Ended { ready: true, ending, .. } => Ok(ending),
        other => Err(format!("{other:?} in place of the end of its agent")),
    }
}

async fn nothing_is_left(bench: &Bench, agent: AgentId, mark: u32) -> Result<(), String> {
    let processes = count(mark);
    expect(processes == 0, &processes)?;
    let log = bench.log(agent);
    let last = log.lines().last().unwrap_or_default();
    expect(last.contains(" end ") && log.lines().all(|line| muster_worker::log::parse(line).is_some()), &last)
}

fn expect(is_so: bool, found: &impl std::fmt::Debug) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(format!("{found:?}")) }
}

fn count(mark: u32) -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let wanted = format!("sleep\0{mark}\0");
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .count()
}

fn resident() -> u64 {
    muster_process::usage::of(std::process::id()).expect("ourselves").rss_bytes
}
