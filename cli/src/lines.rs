//! Many tasks from a file or stdin: one JSON object a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use muster_domain::counted;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::client::{ApiClient, RawBody};

use super::Done;
use super::failure::CommandFailure;
use super::submit::Field;
use super::table::field;
use super::terminal::printable;

/// Where lines are sent.
const BULK: &str = "/api/v1/tasks/bulk";
/// Lines in one request at the most.
const BATCH: usize = 1_000;
/// Bytes in one request beyond which it takes no more lines.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What is read at once.
const BUFFER: usize = 1024 * 1024;

/// What lines are given that they do not say themselves.
pub(super) struct Defaults {
    /// Fields.
    pub(super) fields: Vec<Field>,
    /// The beginning of their idempotency keys.
    pub(super) key: Option<String>,
}

/// Sends all lines of a file, or of stdin where it is `-`, and prints the ids of the tasks as they are taken in.
pub(super) fn run(source: &Path, defaults: &Defaults, client: &ApiClient, json: bool) -> Result<Done, CommandFailure> {
    let mut sender = Sender {
        client,
        defaults,
        json,
        out: std::io::stdout(),
        err: std::io::stderr(),
        bar: ProgressBar::hidden(),
        tally: LineCounts::default(),
    };
    let shown = std::io::stderr().is_terminal();
    let sent = if source == Path::new("-") {
        sender.bar = if shown { bar(None) } else { ProgressBar::hidden() };
        sender.send_all(BufReader::with_capacity(BUFFER, std::io::stdin()))
    } else {
        let unreadable = |error| CommandFailure::Usage(format!("{} can't be read: {error}", source.display()));
        let file = File::open(source).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        sender.bar = if shown { bar(Some(size)) } else { ProgressBar::hidden() };
        sender.send_all(BufReader::with_capacity(BUFFER, file))
    };
    sender.bar.finish_and_clear();
    sent?;
    Ok(Done { text: String::new(), failure: sender.tally.failure() })
}

/// A bar over the bytes of a file; where nobody knows how many will come, a figure that rises.
fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {percent:>3}%  {msg}  {elapsed}"),
        None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The usual look is as good.
        Err(_) => bar,
    }
}

/// What became of the lines so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct LineCounts {
    accepted: u64,
    refused: u64,
}

impl LineCounts {
    fn failure(&self) -> Option<CommandFailure> {
        match (self.accepted + self.refused, self.refused) {
            // Mostly a command before the pipe that failed, or the wrong file.
            (0, _) => Some(CommandFailure::Failed("0 tasks: the input was empty".to_owned())),
            (_, 0) => None,
            (all, refused) => {
                let (tasks, were) = (counted(all, "task"), if refused == 1 { "was" } else { "were" });
                Some(CommandFailure::Failed(format!("{refused} of {tasks} {were} refused")))
            }
        }
    }
}

/// Lines on their way.
#[derive(Default)]
struct LineBatch {
    text: String,
    /// Their numbers in the source, from 1.
    numbers: Vec<usize>,
}

struct Sender<'a, Out, Err> {
    client: &'a ApiClient,
    defaults: &'a Defaults,
    json: bool,
    /// For what was taken in.
    out: Out,
    /// For what was refused.
    err: Err,
    bar: ProgressBar,
    tally: LineCounts,
}

impl<Out: Write, Err: Write> Sender<'_, Out, Err> {
    fn send_all(&mut self, mut source: BufReader<impl std::io::Read>) -> Result<(), CommandFailure> {
        let mut batch = LineBatch::default();
        let (mut bytes, mut number) = (Vec::new(), 0);
        loop {
            bytes.clear();
            let length = source.read_until(b'\n', &mut bytes);
            let length = length.map_err(|error| CommandFailure::Failed(format!("the lines can't be read: {error}")))?;
            number += 1;
            self.bar.inc(length as u64);
            if !bytes.trim_ascii().is_empty() {
                self.add(&mut batch, number, &bytes)?;
            }
            let is_full = batch.numbers.len() >= BATCH || batch.text.len() >= BATCH_BYTES;
            // What there is goes out before the next read, which may wait for whoever writes the lines.
            if (is_full || !source.buffer().contains(&b'\n')) && !batch.numbers.is_empty() {
                self.send(&std::mem::take(&mut batch))?;
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn add(&mut self, batch: &mut LineBatch, number: usize, bytes: &[u8]) -> Result<(), CommandFailure> {
        let Ok(line) = std::str::from_utf8(bytes) else { return self.refused(number, "it is no UTF-8 text") };
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        // What it begins with stays: the server counts columns.
        self.defaults.fill(line.trim_end(), number, &mut batch.text);
        batch.text.push('\n');
        batch.numbers.push(number);
        Ok(())
    }

    fn send(&mut self, batch: &LineBatch) -> Result<(), CommandFailure> {
        let content = RawBody { media_type: "application/x-ndjson", key: None, text: &batch.text };
        let answer = self.client.send(BULK, &content).and_then(|text| self.client.parse::<Value>(&text));
        let lines = (batch.numbers.first().copied().unwrap_or(1), batch.numbers.last().copied().unwrap_or(1));
        let answer = answer.map_err(|error| {
            let words =
                format!("lines {} to {} may not have been taken in, and those after were not", lines.0, lines.1);
            CommandFailure::from(error).about(&words)
        })?;
        for item in answer["items"].as_array().into_iter().flatten() {
            let place = item["line"].as_u64().and_then(|line| usize::try_from(line).ok());
            let number = place.and_then(|line| batch.numbers.get(line.checked_sub(1)?)).copied().unwrap_or(lines.0);
            match item["task_id"].as_str() {
                Some(id) => self.accepted(id, item)?,
                None => self.refused(number, &self.defaults.explain(item))?,
            }
        }
        self.bar.set_message(format!("{} taken in, {} refused", self.tally.accepted, self.tally.refused));
        Ok(())
    }

    fn accepted(&mut self, id: &str, item: &Value) -> Result<(), CommandFailure> {
        self.tally.accepted += 1;
        let (out, json) = (&mut self.out, self.json);
        let written =
            self.bar.suspend(|| if json { writeln!(out, "{item}") } else { writeln!(out, "{}", printable(id)) });
        written.map_err(|error| CommandFailure::Failed(format!("the output can't be written: {error}")))
    }

    fn refused(&mut self, number: usize, why: &str) -> Result<(), CommandFailure> {
        self.tally.refused += 1;
        let err = &mut self.err;
        // There is nowhere left to say that stderr is closed; the exit code tells.
        let _ = self.bar.suspend(|| writeln!(err, "muster: line {number}: {}", printable(why)));
        Ok(())
    }
}

impl Defaults {
    /// Writes a line with what it leaves out, behind what it says, which stays as and where it is written. A line that is no
    /// object is the server's to refuse.
    fn fill(&self, line: &str, number: usize, into: &mut String) {
        let said = || serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line).ok();
        let Some((rest, said)) = line.strip_suffix('}').zip(said()) else { return into.push_str(line) };
        let says = |name: &str| said.contains_key(name);
        let key = self.key.as_ref().map(|key| ("idempotency_key", Value::from(format!("{key}/{number}")).to_string()));
        into.push_str(rest);
        let mut lead = if said.is_empty() { "" } else { "," };
        for (name, value) in self.fields.iter().chain(&key) {
            let is_said = match *name {
                // Both say when it may start.
                "delay" | "not_before" => says("delay") || says("not_before"),
                name => says(name),
            };
            if !is_said {
                into.push_str(&format!("{lead}\"{name}\":{value}"));
                lead = ",";
            }
        }
        into.push('}');
    }

    /// Why a line was refused, and what to do where an option would have helped.
    fn explain(&self, refusal: &Value) -> String {
        let detail = field(refusal, "detail");
        let names_pool = self.fields.iter().any(|(name, _)| *name == "pool_name");
        match refusal["field"].as_str() {
            Some("pool_name") if !names_pool && detail.contains("is missing") => {
                format!("{detail}; --pool names it for all lines")
            }
            _ => detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake_tests::FakeServer;

    fn defaults(fields: &[(&'static str, &str)], key: Option<&str>) -> Defaults {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Defaults { fields, key: key.map(str::to_owned) }
    }

    fn filled(defaults: &Defaults, line: &str) -> String {
        let mut text = String::new();
        defaults.fill(line, 7, &mut text);
        text
    }

    #[test]
    fn a_line_is_given_what_it_leaves_out() {
        let pool = defaults(&[("pool_name", "\"p\""), ("delay", "5")], Some("k"));
        let rows = [
            (r#"  {"input":  1.50}"#, r#"  {"input":  1.50,"pool_name":"p","delay":5,"idempotency_key":"k/7"}"#),
            (
                r#"{"pool_name": "q", "not_before": "x", "idempotency_key": "m"}"#,
                r#"{"pool_name": "q", "not_before": "x", "idempotency_key": "m"}"#,
            ),
            ("{}", r#"{"pool_name":"p","delay":5,"idempotency_key":"k/7"}"#),
            ("{ }", r#"{ "pool_name":"p","delay":5,"idempotency_key":"k/7"}"#),
            ("[1]", "[1]"),
            (r#"{"input": }"#, r#"{"input": }"#),
        ];
        for (line, expected) in rows {
            assert_eq!(filled(&pool, line), expected);
        }
        assert_eq!(filled(&defaults(&[], None), "{ }"), "{ }");
    }

    fn sender<'a>(client: &'a ApiClient, defaults: &'a Defaults, json: bool) -> Sender<'a, Vec<u8>, Vec<u8>> {
        let (bar, tally) = (ProgressBar::hidden(), LineCounts::default());
        Sender { client, defaults, json, out: Vec::new(), err: Vec::new(), bar, tally }
    }

    /// What a server that answers so makes of the lines: the outcome, stdout, stderr, and what it was asked.
    fn sent(
        lines: &[u8],
        answers: Vec<(u16, &'static str)>,
        json: bool,
    ) -> (Result<LineCounts, CommandFailure>, String, String, Vec<String>) {
        let server = FakeServer::start(answers);
        let client = ApiClient::new(&server.url(), None);
        let defaults = defaults(&[("pool_name", "\"p\"")], None);
        let mut sender = sender(&client, &defaults, json);
        let result = sender.send_all(BufReader::with_capacity(BUFFER, lines));
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let bodies = server.requests().into_iter().map(|request| request.body).collect();
        (result.map(|()| sender.tally), text(sender.out), text(sender.err), bodies)
    }

    #[test]
    fn ids_and_refusals_are_told_apart() {
        let answer = r#"{"accepted": 1, "refused": 1, "items": [{"line": 1, "task_id": "t-1", "state": "queued"},
            {"line": 2, "code": "invalid_field", "detail": "input is missing"}]}"#;
        let lines = b"{\"input\": 1}\n\n  \n\xff\n{\"x\": 2}\n";
        let (tally, out, err, bodies) = sent(lines, vec![(200, answer)], false);
        let tally = tally.expect("an answer");
        assert_eq!(tally, LineCounts { accepted: 1, refused: 2 });
        assert_eq!(tally.failure().expect("two").to_string(), "2 of 3 tasks were refused");
        assert_eq!(out, "t-1\n");
        assert_eq!(err, "muster: line 4: it is no UTF-8 text\nmuster: line 5: input is missing\n");
        assert_eq!(bodies, ["{\"input\": 1,\"pool_name\":\"p\"}\n{\"x\": 2,\"pool_name\":\"p\"}\n"]);
        let (_, out, ..) = sent(b"{}\n", vec![(200, answer)], true);
        assert!(out.starts_with("{\"line\":1,") && out.lines().count() == 1, "{out}");
    }

    #[test]
    fn what_there_is_goes_out_before_more_is_waited_for() {
        /// Gives one piece a read, and notes how many requests there were before it.
        struct Slow<'a>(Vec<&'static [u8]>, &'a FakeServer, Vec<usize>);
        impl std::io::Read for &mut Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.2.push(self.1.requests().len());
                let piece = if self.0.is_empty() { &[][..] } else { self.0.remove(0) };
                into[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        }
        let none = r#"{"items": []}"#;
        let server = FakeServer::start(vec![(200, none), (200, none)]);
        let mut slow = Slow(vec![b"{}\n{}\n", b"{\"input\"", b": 1}\n"], &server, Vec::new());
        let client = ApiClient::new(&server.url(), None);
        let nothing = defaults(&[], None);
        let mut sender = sender(&client, &nothing, false);
        sender.send_all(BufReader::with_capacity(BUFFER, &mut slow)).expect("answers");
        assert_eq!(slow.2, [0, 1, 1, 2], "a line in two pieces is one");
        let counts: Vec<usize> = server.requests().iter().map(|request| request.body.lines().count()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn many_lines_are_several_requests() {
        let none = r#"{"items": []}"#;
        let lines = "{\"input\": 1}\n".repeat(2_500);
        let (tally, _, _, bodies) = sent(lines.as_bytes(), vec![(200, none), (200, none), (200, none)], false);
        tally.expect("answers");
        let counts: Vec<usize> = bodies.iter().map(|body| body.lines().count()).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
    }

    #[test]
    fn no_lines_are_a_failure() {
        for nothing in [&b""[..], b"\n \n"] {
            let failure = sent(nothing, Vec::new(), false).0.expect("nothing to do").failure().expect("nothing done");
            assert_eq!((failure.code(), failure.to_string().as_str()), (1, "0 tasks: the input was empty"));
        }
        assert!(LineCounts { accepted: 1, refused: 0 }.failure().is_none());
    }

    #[test]
    fn a_line_without_a_pool_hints_at_the_option() {
        let refusal = serde_json::json!({"field": "pool_name", "detail": "pool_name is missing at column 12"});
        let hint = "pool_name is missing at column 12; --pool names it for all lines";
        assert_eq!(defaults(&[], None).explain(&refusal), hint);
        let named = defaults(&[("pool_name", "\"p\"")], None);
        assert_eq!(named.explain(&serde_json::json!({"field": "pool_name", "detail": "no text"})), "no text");
    }

    #[test]
    fn where_it_broke_off_is_said() {
        let full = r#"{"code": "stopping", "detail": "the supervisor is stopping"}"#;
        let lines = "{\"input\": 1}\n".repeat(1_001);
        let (result, ..) = sent(lines.as_bytes(), vec![(200, r#"{"items": []}"#), (503, full)], false);
        let failure = result.expect_err("it stops");
        assert_eq!(failure.code(), 1);
        let expected =
            "lines 1001 to 1001 may not have been taken in, and those after were not: the supervisor is stopping";
        assert_eq!(failure.to_string(), expected);
    }
}
