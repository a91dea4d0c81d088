//! JSON lines between Muster and a program that stays: what a program is told on its stdin, and what it may say on its stdout that
//! is no log output.

use std::fmt;

use muster_domain::ending::MAX_LAST_OUTPUT;
use muster_domain::{Payload, Progress, TaskId, TaskOrder, Timestamp, Usage};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{AgentProtocol, LONGEST_OUTPUT, Message, MessageBody, ProgramLife, Says, TaskMessage, too_long, unfit};
use crate::log::LogStream;
use crate::notes::Note;
use crate::runtime::exec::host::{Framing, Printed, Stdin};
use crate::tasks::Finished;

/// The longest line that may be a message, in bytes: such an output, and room for the rest.
const LONGEST_MESSAGE: usize = LONGEST_OUTPUT + 64 * 1024;
/// The longest text about progress, in bytes. It is in every heartbeat.
const LONGEST_PROGRESS: usize = 1024;

/// What a program is told before it is asked to end by a signal.
const STOP: &[u8] = b"{\"type\":\"stop\"}\n";

/// The protocol. A program knows of no attempts but the one that it has of a task, so there is nothing to remember.
pub(crate) struct JsonLines;

impl AgentProtocol for JsonLines {
    const LIFE: ProgramLife = ProgramLife::Agent;
    const STDOUT: Framing = Framing::Messages { longest: LONGEST_MESSAGE };

    fn give(&mut self, order: &TaskOrder, at: Timestamp, stdin: &mut Stdin) -> Result<u64, &'static str> {
        let deadline = order.timeout.map(|timeout| at.after(timeout));
        stdin.push(task(order, deadline), Some(order.task_id))
    }

    fn cancel(&mut self, task_id: TaskId, stdin: &mut Stdin) -> Result<(), &'static str> {
        stdin.push(cancel(task_id), None).map(drop)
    }

    fn close(&mut self, stdin: &mut Stdin) -> bool {
        // Not waited for: a program that does not read its stdin gets the signal. The end of the file follows.
        stdin.close_with(STOP)
    }

    fn hear(&mut self, stream: LogStream, line: Printed<'_>, _stdin: &mut Stdin, says: Says<'_>) -> bool {
        stream == LogStream::Out && read(line.text, line.cut).is_some_and(says)
    }

    fn named(&self, line: &[u8]) -> Option<(TaskId, Option<u32>)> {
        named(line)
    }
}

/// The line that gives a program a task.
fn task(order: &TaskOrder, deadline: Option<Timestamp>) -> Vec<u8> {
    let head = format!(r#"{{"type":"task","id":"{}","attempt":{},"input":"#, order.task_id, order.attempt);
    let tail = deadline.map_or_else(|| "}\n".to_owned(), |at| format!(",\"deadline\":\"{at}\"}}\n"));
    let mut line = Vec::with_capacity(head.len() + order.input.len() + tail.len());
    line.extend_from_slice(head.as_bytes());
    // In JSON text a line break is white space: within a string it is escaped.
    line.extend(order.input.as_str().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    line.extend_from_slice(tail.as_bytes());
    line
}

/// The line that tells a program to stop a task.
fn cancel(task_id: TaskId) -> Vec<u8> {
    format!("{{\"type\":\"cancel\",\"id\":\"{task_id}\"}}\n").into_bytes()
}

/// Reads a line of which `cut` bytes are missing at its end; `None` where it is log output.
fn read(line: &[u8], cut: u64) -> Option<Message> {
    // Looked at first, since nearly every line of a program is text.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let head = Head::read(line);
    let kind = head.kind.as_deref().filter(|_| !head.foreign)?;
    if kind == "ready" && cut == 0 {
        return serde_json::from_slice::<IgnoredAny>(line).is_ok().then_some(Message::Ready);
    }
    let body = if cut == 0 {
        body(kind, line)?
    } else {
        matches!(kind, "result" | "error").then(|| failed_for(too_long("result")))?
    };
    Some(Message::Task(TaskMessage { task_id: head.id?, attempt: head.attempt, body }))
}

fn body(kind: &str, line: &[u8]) -> Option<MessageBody> {
    match kind {
        "progress" => {
            serde_json::from_slice(line).ok().map(|said: ProgressLine| MessageBody::Note(Note::Progress(said.into())))
        }
        "usage" => serde_json::from_slice(line)
            .ok()
            .and_then(UsageLine::into_usage)
            .map(|usage| MessageBody::Note(Note::Usage(usage))),
        "result" => serde_json::from_slice(line).ok().map(|said: ResultLine<'_>| said.into()),
        "error" => serde_json::from_slice(line).ok().map(|said: ErrorLine<'_>| said.into()),
        _ => None,
    }
}

/// The task, and the attempt at it if it says so, that a line of log output names: a JSON object with the id of a task.
fn named(line: &[u8]) -> Option<(TaskId, Option<u32>)> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let head = Head::read(line);
    Some((head.id.filter(|_| !head.foreign)?, head.attempt))
}

/// What every message begins with, as far as it can be read: of a line that was cut too.
#[derive(Debug, Default)]
struct Head {
    kind: Option<String>,
    id: Option<TaskId>,
    attempt: Option<u32>,
    /// It says an attempt that is no number of one: so it is about none that there is.
    foreign: bool,
}

impl Head {
    fn read(line: &[u8]) -> Self {
        let mut head = Self::default();
        // Where it fails, what was read before stands.
        let _ = HeadReader(&mut head).deserialize(&mut serde_json::Deserializer::from_slice(line));
        head
    }
}

struct HeadReader<'a>(&'a mut Head);

impl<'de> DeserializeSeed<'de> for HeadReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeadReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => self.0.kind = Some(map.next_value()?),
                "id" => self.0.id = map.next_value::<String>()?.parse().ok(),
                "attempt" => {
                    // It stands if the value can't even be read.
                    self.0.foreign = true;
                    let text = map.next_value::<&RawValue>()?.get();
                    self.0.attempt = text.parse().ok();
                    self.0.foreign = self.0.attempt.is_none() && text != "null";
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ProgressLine {
    #[serde(default)]
    message: String,
    percent: Option<f32>,
}

impl From<ProgressLine> for Progress {
    fn from(said: ProgressLine) -> Self {
        let percent = said.percent.map(|percent| percent.clamp(0.0, 100.0));
        Self { message: shortened(said.message, LONGEST_PROGRESS), percent }
    }
}

#[derive(Deserialize)]
struct UsageLine {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cost_usd: f64,
}

impl UsageLine {
    /// `None` of a negative cost.
    fn into_usage(self) -> Option<Usage> {
        let Self { input_tokens, output_tokens, cost_usd } = self;
        // The conversion stops at the largest number.
        let cost_micros = (cost_usd * 1e6).round() as u64;
        (cost_usd >= 0.0).then_some(Usage { input_tokens, output_tokens, cost_micros })
    }
}

#[derive(Deserialize)]
struct ResultLine<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

impl From<ResultLine<'_>> for MessageBody {
    fn from(said: ResultLine<'_>) -> Self {
        let output = Payload::trusted(said.output.map_or("null", RawValue::get));
        unfit("result", &output).map_or_else(|| Self::End(Finished::Done(output)), failed_for)
    }
}

/// A result or an error that can't be taken, for this reason.
const fn failed_for(message: String) -> MessageBody {
    MessageBody::End(Finished::Failed { message, retryable: false })
}

#[derive(Deserialize)]
struct ErrorLine<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    retryable: Option<&'a RawValue>,
}

/// Whatever is wrong about it, an error is an end of its task.
impl From<ErrorLine<'_>> for MessageBody {
    fn from(said: ErrorLine<'_>) -> Self {
        let message = said.message.map_or_else(String::new, |text| {
            serde_json::from_str(text.get()).unwrap_or_else(|_| text.get().to_owned())
        });
        let retryable = said.retryable.is_none_or(|text| text.get() != "false");
        Self::End(Finished::Failed { message: shortened(message, MAX_LAST_OUTPUT), retryable })
    }
}

/// The text, or its beginning up to so many bytes.
fn shortened(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01989b30-0000-7000-8000-000000000001";

    fn said(text: &str) -> Option<Message> {
        read(text.replace("ID", ID).as_bytes(), 0)
    }

    fn about(text: &str) -> Option<MessageBody> {
        match said(text) {
            Some(Message::Task(said)) => {
                assert_eq!(said.task_id, ID.parse().expect("an id"));
                Some(said.body)
            }
            _ => None,
        }
    }

    #[test]
    fn only_an_object_of_type_ready_is_ready() {
        for line in [r#"{"type":"ready"}"#, r#"  { "version": 2, "type": "ready" } "#, "{\"type\":\"ready\"}\r"] {
            assert_eq!(said(line), Some(Message::Ready), "{line}");
        }
        for line in ["", "ready", r#""ready""#, r#"{"type":7}"#, "{", r#"[{"type":"ready"}]"#, r#"{"type":"ready"} x"#]
        {
            assert_eq!(said(line), None, "{line}");
        }
        assert_eq!(read(b"{\"type\":\"ready\xff\"}", 0), None);
        assert_eq!(read(br#"{"type":"ready"}"#, 5), None, "the rest of it is not known");
    }

    #[test]
    fn a_task_is_one_line_with_its_input_as_it_came() {
        let input = Payload::parse("{\n \"a\":  1.50, \"text\": \"one\\ntwo \u{e4}\"\r\n}").expect("JSON");
        let order = TaskOrder {
            task_id: ID.parse().expect("an id"),
            attempt: 2,
            agent_id: muster_domain::AgentId::generate(),
            epoch: muster_domain::Epoch(1),
            input,
            timeout: None,
            sole_tenant: Some("acme".to_owned()),
            check: None,
        };
        let line = String::from_utf8(task(&order, Some(Timestamp::from_millis(0)))).expect("text");
        assert_eq!(
            line,
            format!(
                "{{\"type\":\"task\",\"id\":\"{ID}\",\"attempt\":2,\"input\":{{  \"a\":  1.50, \"text\": \"one\\ntwo \u{e4}\"  }},\
                 \"deadline\":\"1970-01-01T00:00:00.000Z\"}}\n"
            )
        );
        let line = String::from_utf8(task(&order, None)).expect("text");
        assert!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON").get("deadline").is_none());
        assert_eq!(cancel(order.task_id), format!("{{\"type\":\"cancel\",\"id\":\"{ID}\"}}\n").into_bytes());
    }

    #[test]
    fn a_result_is_carried_as_it_was_written() {
        for output in [r#"{"b": 1.50,  "b":2}"#, "null", r#""text""#, "[]", "12345678901234567890123"] {
            let what = about(&format!(r#"{{"output": {output} , "id":"ID","type":"result"}}"#));
            assert_eq!(what, Some(MessageBody::End(Finished::Done(Payload::trusted(output)))), "{output}");
        }
        assert_eq!(
            about(r#"{"type":"result","id":"ID"}"#),
            Some(MessageBody::End(Finished::Done(Payload::trusted("null"))))
        );
        for line in
            [r#"{"type":"result"}"#, r#"{"type":"result","id":"7","output":1}"#, r#"{"type":"result","id":"ID","#]
        {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn an_error_is_an_end_whatever_is_wrong_about_it() {
        let error = |message: &str, retryable| {
            Some(MessageBody::End(Finished::Failed { message: message.to_owned(), retryable }))
        };
        assert_eq!(about(r#"{"type":"error","id":"ID","message":"no","retryable":false}"#), error("no", false));
        assert_eq!(about(r#"{"type":"error","id":"ID","message":"no"}"#), error("no", true));
        assert_eq!(about(r#"{"type":"error","id":"ID"}"#), error("", true));
        assert_eq!(about(r#"{"type":"error","id":"ID","message":{"a":1},"retryable":3}"#), error(r#"{"a":1}"#, true));
    }

    #[test]
    fn progress_and_usage_stay_within_bounds() {
        let progress = |message: &str, percent| {
            Some(MessageBody::Note(Note::Progress(Progress { message: message.to_owned(), percent })))
        };
        assert_eq!(about(r#"{"type":"progress","id":"ID","message":"m","percent":40}"#), progress("m", Some(40.0)));
        assert_eq!(about(r#"{"type":"progress","id":"ID","percent":400}"#), progress("", Some(100.0)));
        let long = format!(r#"{{"type":"progress","id":"ID","message":"{}"}}"#, "\u{e4}".repeat(2000));
        assert_eq!(about(&long), progress(&"\u{e4}".repeat(LONGEST_PROGRESS / 2), None));
        let usage = |text: &str| about(&format!(r#"{{"type":"usage","id":"ID",{text}}}"#));
        let used = |input_tokens, output_tokens, cost_micros| {
            Some(MessageBody::Note(Note::Usage(Usage { input_tokens, output_tokens, cost_micros })))
        };
        assert_eq!(usage(r#""input_tokens":10,"output_tokens":5,"cost_usd":0.001"#), used(10, 5, 1000));
        assert_eq!(usage(r#""cost_usd":1e300"#), used(0, 0, u64::MAX));
        for wrong in [r#""cost_usd":-0.01"#, r#""cost_usd":1e999"#, r#""input_tokens":-1"#, r#""cost_usd":"1""#] {
            assert_eq!(usage(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_object_with_the_id_of_a_task_names_it() {
        let named = |text: &str| named(text.replace("ID", ID).as_bytes());
        let id = ID.parse().expect("an id");
        assert_eq!(named(r#"{"level":"info","id":"ID","text":"x"}"#), Some((id, None)));
        for other in ["\"3\"", "3.0", "-1", "4294967296", "[]", "{", "1e400"] {
            let line = format!(r#"{{"type":"result","id":"ID","attempt":{other},"output":1}}"#);
            assert_eq!(said(&line), None, "{other} is no attempt that there is");
        }
        assert!(about(r#"{"type":"result","id":"ID","attempt":null,"output":1}"#).is_some());
        assert_eq!(named(r#" {"id":"ID","attempt":3}"#), Some((id, Some(3))));
        for line in ["ID", r#""ID""#, r#"{"id":"7"}"#, r#"{"task":"ID"}"#, "{"] {
            assert_eq!(named(line), None, "{line}");
        }
    }

    #[test]
    fn a_result_that_is_too_long_is_known_by_its_head() {
        let long = format!(r#"{{"type":"result","id":"{ID}","attempt":3,"output":"{}"#, "x".repeat(2000));
        let Some(Message::Task(said)) = read(long.as_bytes(), 1) else { panic!("{long}") };
        assert_eq!((said.attempt, said.body), (Some(3), failed_for(too_long("result"))));
        let long = about(&format!(r#"{{"type":"result","id":"ID","output":"{}"}}"#, "x".repeat(LONGEST_OUTPUT)));
        assert_eq!(long, Some(failed_for(too_long("result"))));
        let nested = |depth: usize| {
            format!(r#"{{"type":"result","id":"ID","output":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(matches!(about(&nested(128)), Some(MessageBody::End(Finished::Done(_)))));
        assert!(
            matches!(about(&nested(129)), Some(MessageBody::End(Finished::Failed { message, .. })) if message.contains("129 lists"))
        );
        let log = format!(r#"{{"type":"progress","id":"{ID}","message":"{}"#, "x".repeat(2000));
        assert_eq!(read(log.as_bytes(), 1), None);
    }
}
