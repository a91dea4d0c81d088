//! `muster submit`: gives the agents of a pool work.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::RangedI64ValueParser;
use muster_domain::schema::Described;
use muster_domain::time::NoMoment;
use muster_domain::{PoolConfig, PoolName, TaskId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::{ApiClient, RawBody};

use super::asking::{seconds, seconds_if_any};
use super::ctrl_c::LastWords;
use super::failure::CommandFailure;
use super::id::{AgentArg, resolve};
use super::patience::Patience;
use super::table::faithful;
use super::task::{PATH, TaskResult};
use super::{CliContext, Done, lines};

/// Arguments of `muster submit`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "muster submit --pool <POOL> [OPTIONS] <INPUT>\n       \
                            muster submit --ndjson <FILE> [--pool <POOL>] [OPTIONS]")]
pub(super) struct SubmitArgs {
    /// The work: JSON, which is sent as it is written; any other text is sent as a JSON string. So 4 is a number, and '"4"' is
    /// a text. With - it is read from stdin, but for one line break at its end
    #[arg(required_unless_present = "ndjson", conflicts_with = "ndjson", allow_negative_numbers = true)]
    input: Option<String>,
    /// Read many tasks from this file, or from stdin with -: one JSON object a line, each with its input and whatever else
    /// the API takes. What a line leaves out is taken from the options
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    #[command(flatten)]
    wishes: Wishes,
    /// Makes a repeated command answer for the same tasks, for 24 h; a line of --ndjson has KEY/ and its number
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait for the end, at most so many seconds where they are given, and print the output; a task that did not succeed is
    /// exit code 1. Without seconds it stands behind INPUT. Ctrl-C ends the command only: the task goes on
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, value_parser = seconds_if_any, conflicts_with = "ndjson")]
    wait: Option<Option<f64>>,
    /// Print an output that is a string as its text, without quotes; other outputs are JSON as ever
    #[arg(long, requires = "wait", conflicts_with = "json")]
    raw: bool,
}

/// What can be said of a task beside its input.
#[derive(Debug, clap::Args)]
struct Wishes {
    /// The pool whose agents do it
    #[arg(long, value_name = "POOL", required_unless_present = "ndjson")]
    pool: Option<PoolName>,
    /// The project that it belongs to
    #[arg(long, short, value_name = "PROJECT")]
    project: Option<String>,
    /// The one agent that is to do it, by its id or a beginning of it
    #[arg(long, value_name = "AGENT")]
    agent: Option<AgentArg>,
    /// How urgent it is: 0 to 9, the higher the sooner [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Attempts at the most [default: the pool's]
    #[arg(long, value_name = "N", value_parser = attempts())]
    max_attempts: Option<u32>,
    /// Seconds that one attempt may take [default: the pool's]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
    /// Do not start it before so many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "not_before")]
    delay: Option<f64>,
    /// Do not start it before this moment, as in 2026-01-31T09:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    not_before: Option<Timestamp>,
    /// Let it fail where it is not started by this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    expires_at: Option<Timestamp>,
    /// On whose account it runs [default: default]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

/// As many as a pool may allow.
fn attempts() -> RangedI64ValueParser<u32> {
    let setting = PoolConfig::settings().iter().find(|setting| setting.key == "max_attempts");
    let bounds = setting.map(|setting| setting.bounds).unwrap_or_default();
    let most = bounds.maximum.map_or(i64::from(u32::MAX), |most| most as i64);
    clap::value_parser!(u32).range(bounds.minimum.unwrap_or_default() as i64..=most)
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: NoMoment| error.to_string())
}

/// A field of a task by its name in the API, with its value as JSON text.
pub(super) type Field = (&'static str, String);

impl Wishes {
    /// What was given.
    fn fields(&self, client: &ApiClient) -> Result<Vec<Field>, CommandFailure> {
        let agent = self.agent.as_ref().map(|agent| resolve(client, agent)).transpose()?;
        let fields = [
            ("pool_name", self.pool.as_ref().map(|pool| json!(pool))),
            ("project_id", self.project.as_ref().map(|project| json!(project))),
            ("agent_id", agent.map(|agent| json!(agent))),
            ("priority", self.priority.map(|priority| json!(priority))),
            ("max_attempts", self.max_attempts.map(|attempts| json!(attempts))),
            ("timeout", self.timeout.map(|seconds| json!(seconds))),
            ("delay", self.delay.map(|seconds| json!(seconds))),
            ("not_before", self.not_before.map(|at| json!(at))),
            ("expires_at", self.expires_at.map(|at| json!(at))),
            ("tenant", self.tenant.as_ref().map(|tenant| json!(tenant))),
        ];
        Ok(fields.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))).collect())
    }
}

/// Sends the work, and waits for its end where that is wanted.
pub(super) fn run(args: &SubmitArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let fields = args.wishes.fields(&client)?;
    if let Some(source) = &args.ndjson {
        let defaults = lines::Defaults { fields, key: args.key.clone() };
        return lines::run(source, &defaults, &client, context.global.json);
    }
    let input = match args.input.as_deref() {
        Some("-") => read_input(std::io::stdin().lock())?,
        input => as_json(input.unwrap_or_default()),
    };
    let body = body(&fields, &input);
    let content = RawBody { media_type: "application/json", key: args.key.as_deref(), text: &body };
    let text = client.send(PATH, &content)?;
    let SubmittedTask { task_id } = client.parse(&text)?;
    match args.wait {
        Some(limit) => {
            let form = if context.global.json { Form::Task } else { Form::Output { raw: args.raw } };
            await_end(&client, task_id, limit, form)
        }
        None if context.global.json => Ok(faithful(&text).into()),
        None => Ok(format!("{task_id}\n").into()),
    }
}

/// What the answer to a new task says.
#[derive(Deserialize)]
struct SubmittedTask {
    task_id: TaskId,
}

/// A body with these fields and this input, as JSON text: an input that went through a number or a map of ours would not be
/// what somebody wrote.
fn body(fields: &[Field], input: &str) -> String {
    let mut body = "{".to_owned();
    for (name, value) in fields {
        body.push_str(&format!("\"{name}\":{value},"));
    }
    body + "\"input\":" + input + "}"
}

/// A text as JSON: itself where it is that, else as a string.
fn as_json(text: &str) -> String {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => raw.get().to_owned(),
        Err(_) => json!(text).to_string(),
    }
}

fn read_input(mut from: impl Read) -> Result<String, CommandFailure> {
    let mut text = String::new();
    from.read_to_string(&mut text).map_err(|error| CommandFailure::Failed(format!("stdin can't be read: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match text.strip_suffix('\n').unwrap_or(text) {
        // Mostly a command before the pipe that failed.
        "" => {
            let words = "stdin was empty, and no task was submitted; as INPUT, '\"\"' is an empty text";
            Err(CommandFailure::Failed(words.to_owned()))
        }
        text => Ok(as_json(text)),
    }
}

/// What is printed of a task that is over.
#[derive(Clone, Copy)]
enum Form {
    /// All of it.
    Task,
    /// Its output; with `raw` a string without quotes.
    Output { raw: bool },
}

/// Waits for the end, as long as it takes where there is no limit. The id is said before: whoever does not wait until the end
/// can ask for the task by it.
fn await_end(client: &ApiClient, task: TaskId, limit: Option<f64>, form: Form) -> Result<Done, CommandFailure> {
    let unheard =
        |error| CommandFailure::Failed(format!("task {task} was taken in, and Ctrl-C can't be heard: {error}"));
    let goes_on = format!("task {task} goes on: muster task {task} --follow");
    let last_words = LastWords::on_interrupt(goes_on).map_err(unheard)?;
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(std::io::stderr(), "muster: task {task} was taken in");
    let text = last_word(client, task, limit)?;
    drop(last_words);
    let ended: TaskResult<'_> = client.parse(&text)?;
    let failure = match ended.state.is_final() {
        true => ended.failure(task),
        false => {
            let words = format!("task {task} is still {}; `muster task {task} --follow` goes on", ended.state);
            Some(CommandFailure::Failed(words))
        }
    };
    let shown = match (form, &failure) {
        (Form::Task, _) => faithful(&text),
        (Form::Output { raw }, None) => shown(ended.output.map_or("null", RawValue::get), raw),
        (Form::Output { .. }, Some(_)) => String::new(),
    };
    Ok(Done { text: shown, failure })
}

/// A task as it is at its end, or when so many seconds are over. What the server wrote. While it is queued stderr says what it
/// waits for.
pub(super) fn last_word(client: &ApiClient, task: TaskId, limit: Option<f64>) -> Result<String, CommandFailure> {
    let begun = Instant::now();
    let limit = limit.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    let mut patience = Patience::new(task, std::io::stderr());
    loop {
        let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
        let wait = left.unwrap_or(Duration::MAX).min(patience.next_wait());
        let text = client.get_text(&format!("{PATH}/{task}"), &[("wait", wait.as_secs_f64().to_string())], wait);
        let text =
            text.map_err(|error| CommandFailure::from(error).about(&format!("task {task} was taken in, and then")))?;
        patience.look(&text);
        let ended: TaskResult<'_> = client.parse(&text)?;
        if ended.state.is_final() || left.is_some_and(|left| left <= wait) {
            return Ok(text);
        }
    }
}

fn shown(output: &str, raw: bool) -> String {
    match serde_json::from_str::<String>(output) {
        Ok(text) if raw => text + "\n",
        _ => format!("{output}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_as_it_is_written_and_text_as_a_string() {
        for (text, expected) in [
            (r#"{"b": 1.50, "a":2}"#, r#"{"b": 1.50, "a":2}"#),
            (" [1] ", "[1]"),
            ("null", "null"),
            ("-5", "-5"),
            ("write a poem", r#""write a poem""#),
            ("say \"hi\"\n", r#""say \"hi\"\n""#),
            ("{oops", r#""{oops""#),
            ("", r#""""#),
        ] {
            assert_eq!(as_json(text), expected, "{text:?}");
        }
        assert_eq!(read_input(&b"two\nlines\n"[..]).expect("text"), r#""two\nlines""#);
        assert_eq!(read_input("\u{feff}{\"a\": 1}\n".as_bytes()).expect("text"), r#"{"a": 1}"#);
        assert!(read_input(&b"\xff"[..]).is_err());
    }

    #[test]
    fn nothing_on_stdin_is_no_work() {
        for nothing in [&b""[..], b"\n"] {
            let failure = read_input(nothing).expect_err("nothing");
            assert!(failure.code() == 1 && failure.to_string().contains("'\"\"' is an empty text"), "{failure}");
        }
        assert_eq!(read_input(&b"\"\"\n"[..]).expect("an empty text, on purpose"), r#""""#);
    }

    #[test]
    fn a_raw_text_has_no_quotes() {
        for (output, raw, json) in [
            (r#""two\nlines""#, "two\nlines\n", "\"two\\nlines\"\n"),
            (r#"{"a":  1.50}"#, "{\"a\":  1.50}\n", "{\"a\":  1.50}\n"),
            ("4", "4\n", "4\n"),
            ("null", "null\n", "null\n"),
        ] {
            assert_eq!((shown(output, true).as_str(), shown(output, false).as_str()), (raw, json));
        }
    }

    #[test]
    fn a_body_has_the_input_as_it_is() {
        let fields = [("pool_name", "\"p\"".to_owned()), ("delay", "1.5".to_owned())];
        assert_eq!(body(&fields, "{\"a\":  1.0}"), r#"{"pool_name":"p","delay":1.5,"input":{"a":  1.0}}"#);
        assert_eq!(body(&[], "1"), r#"{"input":1}"#);
    }
}
