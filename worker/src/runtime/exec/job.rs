//! One task as one program: the input is on its stdin, its stdout is the output, its exit code says whether it succeeded.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{AgentSpec, Cause, Payload, Timestamp};
use muster_process::Exit;
use tokio::sync::mpsc::{Permit, Sender, UnboundedReceiver};
use tokio::time::{Instant, sleep_until};

use super::Common;
use super::host::{Framing, Host, HostEvent, Printed, Take};
use super::protocol::json_lines::{LONGEST_OUTPUT, too_long, unfit};
use super::tail::Tail;
use crate::log::Stream;
use crate::slots::How;
use crate::tasks::{AttemptId, Errand, Finish, Finished};

/// The longest part of the last line that is shown as the reason of a failure, in bytes.
const LONGEST_REASON: usize = 300;

/// What a job tells its agent.
pub(super) enum Told {
    /// What its program printed.
    Lines(Vec<Line>),
    /// Its program was killed and is not gone yet, for this reason; `None`: nothing holds it any more.
    Stuck(Option<String>),
    /// Its program's tree is proven dead. Always the last.
    Over(Finish),
}

/// The order to end its program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) how: How,
    /// From the request to the kill.
    pub(super) patience: Duration,
}

/// One line for the log.
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) stream: Stream,
    pub(super) text: Vec<u8>,
    /// Bytes of it that were left out.
    pub(super) cut: u64,
}

/// Does one task. What it tells last is its end; whatever goes wrong, there is one.
pub(super) async fn run(
    common: Arc<Common>,
    agent: AgentSpec,
    errand: Errand,
    stops: UnboundedReceiver<Stop>,
    tell: Sender<(AttemptId, Told)>,
) {
    let id = errand.id();
    let mut job = Job {
        id,
        errand,
        deadline: common.profile.stop_deadline,
        tell,
        untold: VecDeque::new(),
        tail: Tail::default(),
        complaints: Tail::default(),
    };
    let framing = Framing::Whole { most: LONGEST_OUTPUT };
    let end = match Host::start(common, agent, Some(id.task_id), framing).await {
        Ok(host) => job.attend(host, stops).await,
        Err(error) => not_started(error),
    };
    let last_output = if matches!(end, Finished::Done(_)) { String::new() } else { job.tail.text() };
    // Where nobody listens, the worker is gone.
    let _ = job.tell.send((id, Told::Over(Finish { id, end, last_output }))).await;
}

fn end(host: &mut Host, Stop { how, patience }: Stop) {
    match how {
        How::Ask => host.ask(Cause::Stopped, Duration::ZERO, patience),
        How::Kill => host.kill(Cause::Stopped),
    }
}

struct Job {
    id: AttemptId,
    errand: Errand,
    /// From the request to stop to the kill.
    deadline: Duration,
    tell: Sender<(AttemptId, Told)>,
    /// What waits to be told: nothing is read meanwhile, so that a program does not outrun the log.
    untold: VecDeque<Told>,
    tail: Tail,
    /// The last of its stderr: where it says what is wrong, if it does.
    complaints: Tail,
}

impl Job {
    /// Attends to the program until its tree is proven dead, and says what came of it.
    async fn attend(&mut self, mut host: Host, mut stops: UnboundedReceiver<Stop>) -> Finished {
        self.input(&mut host);
        let (tell, mut stopped, mut abandoned) = (self.tell.clone(), false, false);
        let ended = loop {
            let idle = self.untold.is_empty();
            let next = host.next();
            tokio::select! {
                event = host.event(idle) => match event {
                    HostEvent::Ended(ended) => break ended,
                    HostEvent::Printed(stream) => {
                        self.read(&mut host, stream);
                        // Nothing but an error can come of it.
                        if host.is_over() {
                            end(&mut host, Stop { how: How::Ask, patience: self.deadline });
                        }
                    }
                    // One that does not want its input has closed its stdin, which is its own affair.
                    HostEvent::Writable => drop(host.stdin.write()),
                },
                stop = stops.recv(), if !abandoned => {
                    (stopped, abandoned) = (true, stop.is_none());
                    end(&mut host, stop.unwrap_or(Stop { how: How::Kill, patience: Duration::ZERO }));
                }
                Ok(permit) = tell.reserve(), if !idle => self.tell_by(permit),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.untold.extend(host.on_time(Instant::now()).map(Told::Stuck));
                }
            }
        };
        self.read_rest(&mut host, Stream::Out).await;
        self.read_rest(&mut host, Stream::Err).await;
        self.judge(ended, stopped, host.end(ended).1)
    }

    /// Puts the input into the program's stdin, and its end behind: a text as it is, anything else as JSON.
    fn input(&self, host: &mut Host) {
        let input = self.errand.order.input.as_str();
        let bytes = serde_json::from_str::<String>(input).unwrap_or_else(|_| input.to_owned()).into_bytes();
        // One that can't be written is read as empty.
        let _ = host.stdin.push(bytes, None);
        host.stdin.end();
    }

    /// Reads one piece, if there is one.
    fn read(&mut self, host: &mut Host, stream: Stream) -> bool {
        self.take_lines(stream, |line| host.read(stream, line))
    }

    /// What was printed before the end and not read yet.
    async fn read_rest(&mut self, host: &mut Host, stream: Stream) {
        host.read_rest(stream);
        loop {
            let more = self.read(host, stream);
            if !more {
                self.take_lines(stream, |line| host.end_stream(stream, line));
            }
            while let Some(told) = self.untold.pop_front() {
                let _ = self.tell.send((self.id, told)).await;
            }
            if !more {
                break;
            }
        }
    }

    fn take_lines<T>(&mut self, stream: Stream, read: impl FnOnce(Take<'_>) -> T) -> T {
        self.errand.sign.note(Instant::now());
        let at = Timestamp::now();
        let (mut lines, tail, complaints) = (Vec::new(), &mut self.tail, &mut self.complaints);
        let result = read(&mut |Printed { text, cut, .. }| {
            tail.add(text);
            if stream == Stream::Err {
                complaints.add(text);
            }
            lines.push(Line { at, stream, text: text.to_vec(), cut });
        });
        if !lines.is_empty() {
            self.untold.push_back(Told::Lines(lines));
        }
        result
    }

    fn tell_by(&mut self, permit: Permit<'_, (AttemptId, Told)>) {
        if let Some(told) = self.untold.pop_front() {
            permit.send((self.id, told));
        }
    }

    /// What came of it.
    fn judge(&self, ended: Exit, stopped: bool, printed: Option<Vec<u8>>) -> Finished {
        if stopped {
            return Finished::Stopped;
        }
        let output = printed.map(|printed| self.output_of(&printed)).ok_or_else(|| too_long("output"));
        match (output.and_then(|output| unfit("output", &output).map_or(Ok(output), Err)), ended) {
            (Err(message), _) => Finished::Failed { message, retryable: false },
            (Ok(output), Exit::Code(0)) => Finished::Done(output),
            (Ok(_), Exit::Code(code)) => self.failed(&Cause::Exited { code }),
            (Ok(_), Exit::Signal(signal)) => self.failed(&Cause::Signaled { signal }),
        }
    }

    fn output_of(&self, printed: &[u8]) -> Payload {
        let text = String::from_utf8_lossy(printed);
        if matches!(text, Cow::Owned(_)) {
            let (task, agent) = (self.id.task_id, self.errand.order.agent_id);
            tracing::warn!(
                task.id = %task,
                agent.id = %agent,
                "the output of a task is no UTF-8; what is none was replaced by U+FFFD"
            );
        }
        output_of(&text)
    }

    fn failed(&self, cause: &Cause) -> Finished {
        let complaints = self.complaints.text();
        if complaints.is_empty() { failed(cause, &self.tail.text()) } else { failed(cause, &complaints) }
    }
}

/// In the words of an agent whose program could not be started.
fn not_started(error: String) -> Finished {
    Finished::StartFailed(Cause::NotStarted { error }.to_string())
}

/// A failure, with the last line of this as the reason.
fn failed(cause: &Cause, last_output: &str) -> Finished {
    let reason = last_output.lines().next_back().unwrap_or_default();
    let reason = &reason[..reason.floor_char_boundary(LONGEST_REASON)];
    let message = if reason.is_empty() { cause.to_string() } else { format!("{cause}: {reason}") };
    Finished::Failed { message, retryable: true }
}

/// What a program printed, as JSON: as it is where it is JSON, else as a text without the line breaks at its end.
fn output_of(text: &str) -> Payload {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Payload::parse(text.trim()).unwrap_or_else(|_| Payload::quoted(text.trim_end_matches(['\n', '\r'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_carried_as_it_is_and_text_becomes_a_text() {
        for (printed, output) in [
            (" {\"a\":  1.50}\n", "{\"a\":  1.50}"),
            ("7\n", "7"),
            ("", "\"\""),
            (" two\nlines \n\n", "\" two\\nlines \""),
            ("{\"a\":1}\n{\"a\":2}\n", "\"{\\\"a\\\":1}\\n{\\\"a\\\":2}\""),
        ] {
            assert_eq!(output_of(printed).as_str(), output, "{printed:?}");
        }
    }

    #[test]
    fn a_failure_tells_the_last_line() {
        let message = |last_output: &str| match failed(&Cause::Exited { code: 3 }, last_output) {
            Finished::Failed { message, retryable: true } => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(""), "exited with code 3");
        assert_eq!(message("one\nno config"), "exited with code 3: no config");
        assert!(message(&"\u{e4}".repeat(1000)).len() < LONGEST_REASON + 30);
    }
}
