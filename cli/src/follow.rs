//! What becomes of a task, as it happens.

use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use muster_domain::TaskId;

use crate::client::{ApiClient, ClientError, StreamEvent};

use super::failure::CommandFailure;
use super::task::{PATH, TaskResult, progress, state};
use super::terminal::{escaped, printable};

/// How long a server may be away before it is given up: a new version of it is there sooner.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pauses between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Prints what is new of a task until it is over; says what to say of it where it did not succeed. A connection that breaks
/// is made again, to wherever `find` finds the server by then, and goes on where it left off; `err` hears of that.
pub(super) fn follow(
    find: impl Fn() -> Result<ApiClient, CommandFailure>,
    task: TaskId,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<Option<CommandFailure>, CommandFailure> {
    let path = format!("{PATH}/{task}/events");
    let mut client = find()?;
    let mut seen: Option<String> = None;
    let mut away_since = None;
    let mut pause = PAUSES.0;
    loop {
        match client.events(&path, seen.as_deref()) {
            Ok(events) => {
                if away_since.take().is_some() {
                    tell(err, "the server is there again");
                }
                // A stream that breaks is resumed like one that ends too early.
                for event in events.map_while(Result::ok) {
                    pause = PAUSES.0;
                    if let ControlFlow::Break(end) = take(&client, task, &event, json, out)? {
                        return Ok(end);
                    }
                    seen = event.id.or(seen);
                }
            }
            // Nobody is there who could know the task.
            Err(error) if seen.is_none() || !is_passing(&error) => return Err(error.into()),
            Err(error) => {
                let since = *away_since.get_or_insert_with(|| {
                    tell(err, &format!("{error}; it is asked again for {} s", PATIENCE.as_secs()));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                // One that was started anew may be somewhere else.
                client = find().unwrap_or(client);
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn tell(err: &mut impl Write, words: &str) {
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(err, "muster: {words}");
}

/// Whether a server that is restarted, or followed by another one, may be behind this.
const fn is_passing(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::Refused { status: 503, .. })
}

/// Prints a message. It goes on, unless the task is over, or whoever read the output has seen enough.
fn take(
    client: &ApiClient,
    task: TaskId,
    event: &StreamEvent,
    json: bool,
    out: &mut impl Write,
) -> Result<ControlFlow<Option<CommandFailure>>, CommandFailure> {
    if !show(client, event, json, out)? {
        return Ok(ControlFlow::Break(None));
    }
    if event.kind == "progress" {
        return Ok(ControlFlow::Continue(()));
    }
    let ended: TaskResult<'_> = client.parse(&event.data)?;
    Ok(if ended.state.is_final() { ControlFlow::Break(ended.failure(task)) } else { ControlFlow::Continue(()) })
}

/// Prints a message; false where whoever read the output has seen enough.
fn show(client: &ApiClient, event: &StreamEvent, json: bool, out: &mut impl Write) -> Result<bool, CommandFailure> {
    let data = client.parse_value(&event.data).unwrap_or_default();
    let line = match event.kind.as_str() {
        _ if json && std::io::stdout().is_terminal() => escaped(&event.data),
        _ if json => event.data.clone(),
        "progress" => printable(&format!("progress {}", progress(&data))),
        _ => printable(&state(&data)),
    };
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandFailure::Failed(format!("the output can't be written: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake_tests::{FakeRequest, FakeServer};

    const QUEUED: &str = "id: 1\nevent: queued\ndata: {\"state\": \"queued\"}\n\n";
    const RUNNING: &str = ": keep-alive\n\nid: 2\nevent: running\ndata: {\"state\": \"running\"}\n\n\
                           event: progress\ndata: {\"message\": \"reading\\u001b[2J\", \"percent\": 40.0}\n\n";
    const SUCCEEDED: &str = "id: 3\nevent: succeeded\ndata: {\"state\": \"succeeded\"}\n\n";
    const FAILED: &str = "id: 4\nevent: failed\ndata: {\"state\": \"failed\", \
                          \"error\": {\"code\": \"agent_error\", \"message\": \"no such file\"}}\n\n";

    fn followed(
        json: bool,
        answers: Vec<(u16, &'static str)>,
    ) -> (Result<Option<CommandFailure>, CommandFailure>, String, Vec<FakeRequest>) {
        let server = FakeServer::start(answers.clone());
        let task = "019aa000-0000-7000-8000-000000000001".parse().expect("an id");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = follow(|| Ok(ApiClient::new(&server.url(), None)), task, json, &mut out, &mut err);
        let err = String::from_utf8(err).expect("text");
        let was_away = answers.iter().any(|(status, _)| *status == 503);
        assert_eq!(was_away, err.contains("is asked again for 60 s") && err.contains("is there again"), "{err}");
        (end, String::from_utf8(out).expect("text"), server.requests())
    }

    #[test]
    fn states_and_progress_are_printed_until_the_end() {
        let whole = [QUEUED, RUNNING, SUCCEEDED].concat().leak();
        let (end, text, _) = followed(false, vec![(200, whole)]);
        assert!(end.expect("an end").is_none());
        assert_eq!(text, "queued\nrunning\nprogress 40% reading\u{fffd}[2J\nsucceeded\n");
        let (_, text, _) = followed(true, vec![(200, whole)]);
        assert_eq!(text.lines().next(), Some("{\"state\": \"queued\"}"));
    }

    #[test]
    fn a_broken_stream_goes_on_where_it_left_off() {
        let away = r#"{"code": "starting", "detail": "the supervisor is starting"}"#;
        let first = [QUEUED, RUNNING].concat().leak();
        let (end, text, requests) = followed(false, vec![(200, first), (503, away), (200, FAILED)]);
        let failure = end.expect("an end").expect("it failed");
        let expected = "task 019aa000-0000-7000-8000-000000000001 is failed: no such file (agent_error)";
        assert_eq!((failure.code(), failure.to_string().as_str()), (1, expected));
        assert!(text.ends_with("failed (no such file, agent_error)\n"), "{text}");
        let after = |request: &FakeRequest| {
            request.head.lines().find_map(|line| line.strip_prefix("last-event-id: ").map(str::to_owned))
        };
        let asked: Vec<Option<String>> = requests.iter().map(after).collect();
        assert_eq!(asked, [None, Some("2".to_owned()), Some("2".to_owned())], "progress has no id");
    }

    #[test]
    fn a_task_that_nobody_knows_is_not_waited_for() {
        let unknown = r#"{"code": "unknown_task", "detail": "there is no task x"}"#;
        assert_eq!(followed(false, vec![(404, unknown)]).0.expect_err("none").code(), 4);
        assert_eq!(followed(false, Vec::new()).0.expect_err("nobody").code(), 3);
        assert_eq!(followed(false, vec![(200, QUEUED), (404, unknown)]).0.expect_err("forgotten").code(), 4);
    }
}
