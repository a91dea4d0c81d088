//! A program per task: the input is on its stdin, its stdout is the output, its exit code says whether it succeeded.

use std::borrow::Cow;

use muster_domain::{AgentId, Cause, Payload, TaskId, TaskOrder, Timestamp};
use muster_process::ProcessExit;

use super::{AgentProtocol, LONGEST_OUTPUT, ProgramLife, Says, too_long, unfit};
use crate::log::LogStream;
use crate::runtime::exec::host::{Framing, Printed, Stdin, cause_of};
use crate::runtime::exec::tail::OutputTail;
use crate::tasks::Finished;

/// The longest part of the last line that is shown as the reason of a failure, in bytes.
const LONGEST_REASON: usize = 300;

/// The protocol, with one program.
#[derive(Default)]
pub(crate) struct Oneshot {
    /// What it was given, and whose program it is.
    task: Option<(TaskId, AgentId)>,
    /// The last of its stderr: where it says what is wrong, if it does.
    complaints: OutputTail,
}

impl AgentProtocol for Oneshot {
    const LIFE: ProgramLife = ProgramLife::Task;
    const STDOUT: Framing = Framing::Whole { most: LONGEST_OUTPUT };

    /// The input, and the end of the file behind: a text as it is, anything else as JSON.
    fn give(&mut self, order: &TaskOrder, _at: Timestamp, stdin: &mut Stdin) -> Result<u64, &'static str> {
        self.task = Some((order.task_id, order.agent_id));
        let input = order.input.as_str();
        let bytes = serde_json::from_str::<String>(input).unwrap_or_else(|_| input.to_owned()).into_bytes();
        // One that does not want its input has closed its stdin, which is its own affair.
        let until = stdin.push(bytes, None).unwrap_or_default();
        stdin.end();
        Ok(until)
    }

    fn hear(&mut self, stream: LogStream, line: Printed<'_>, _stdin: &mut Stdin, _says: Says<'_>) -> bool {
        if stream == LogStream::Err {
            self.complaints.add(line.text);
        }
        false
    }

    fn outcome(&mut self, exit: ProcessExit, printed: Option<Vec<u8>>, last_output: &str) -> Finished {
        let output = printed.map(|printed| self.output_of(&printed)).ok_or_else(|| too_long("output"));
        match (output.and_then(|output| unfit("output", &output).map_or(Ok(output), Err)), exit) {
            (Err(message), _) => Finished::Failed { message, retryable: false },
            (Ok(output), ProcessExit::Code(0)) => Finished::Done(output),
            (Ok(_), exit) => {
                let complaints = self.complaints.text();
                failed(&cause_of(exit), if complaints.is_empty() { last_output } else { &complaints })
            }
        }
    }
}

impl Oneshot {
    fn output_of(&self, printed: &[u8]) -> Payload {
        let text = String::from_utf8_lossy(printed);
        if matches!(text, Cow::Owned(_))
            && let Some((task, agent)) = self.task
        {
            tracing::warn!(
                task.id = %task,
                agent.id = %agent,
                "the output of a task is no UTF-8; what is none was replaced by U+FFFD"
            );
        }
        output_of(&text)
    }
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
