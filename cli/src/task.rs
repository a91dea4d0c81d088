//! `muster task`: shows a task, or what becomes of it.

use std::time::Duration;

use muster_domain::{TaskId, TaskState};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::failure::CommandFailure;
use super::follow::follow;
use super::id::{TaskArg, resolve};
use super::table::{faithful, field, span, span_field, table};
use super::terminal::printable;
use super::{CliContext, Done};

/// Where tasks are.
pub(super) const PATH: &str = "/api/v1/tasks";

/// Arguments of `muster task`.
#[derive(Debug, clap::Args)]
pub(super) struct TaskArgs {
    /// The task, by its id or a beginning of it
    task: TaskArg,
    /// Print its states and progress as they come, until it is over; a task that did not succeed is exit code 1
    #[arg(long, short)]
    follow: bool,
}

/// Shows it.
pub(super) fn run(args: &TaskArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let id = resolve(&client, &args.task)?;
    if args.follow {
        let find = || Ok(context.server()?.client);
        let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr());
        let failure = follow(find, id, context.global.json, &mut out, &mut err)?;
        return Ok(Done { text: String::new(), failure });
    }
    let text = client.get_text(&format!("{PATH}/{id}"), &[], Duration::ZERO)?;
    if context.global.json {
        return Ok(faithful(&text).into());
    }
    let task = client.parse_value(&text)?;
    let work: TaskWork<'_> = client.parse(&text)?;
    Ok(page(&task, &work).into())
}

/// How a task ended, or that it did not yet.
#[derive(Deserialize)]
pub(super) struct TaskResult<'a> {
    /// Its state.
    pub(super) state: TaskState,
    /// Its output, as the agent wrote it.
    #[serde(borrow)]
    pub(super) output: Option<&'a RawValue>,
    error: Option<TaskFailure>,
}

#[derive(Deserialize)]
struct TaskFailure {
    code: String,
    message: String,
}

impl TaskResult<'_> {
    /// What to say of one that is over without success.
    pub(super) fn failure(&self, task: TaskId) -> Option<CommandFailure> {
        if !self.state.is_final() || self.state == TaskState::Succeeded {
            return None;
        }
        let why =
            self.error.as_ref().map(|error| format!(": {} ({})", printable(&error.message), printable(&error.code)));
        Some(CommandFailure::Failed(format!("task {task} is {}{}", self.state, why.unwrap_or_default())))
    }
}

/// What went in and came out, as it was written.
#[derive(Deserialize)]
pub(super) struct TaskWork<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// The page of a task.
pub(super) fn page(task: &Value, work: &TaskWork<'_>) -> String {
    let raw = |value: Option<&RawValue>| value.map_or("-", RawValue::get).to_owned();
    let rows = [
        ("task", field(task, "task_id")),
        ("pool", field(task, "pool_name")),
        ("project", field(task, "project_id")),
        ("tenant", field(task, "tenant")),
        ("state", state(task)),
        ("attempt", attempt(task)),
        ("agent", field(task, "agent_id")),
        ("worker", field(task, "process_id")),
        ("priority", field(task, "priority")),
        ("asked for", field(task, "created_at")),
        ("started", field(task, "started_at")),
        ("finished", field(task, "finished_at")),
        ("waited", span_field(task, "wait_seconds")),
        ("ran", span_field(task, "run_seconds")),
        ("used", used(&task["usage"])),
        ("input", raw(work.input)),
        ("output", raw(work.output)),
    ];
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut page = String::new();
    for (name, value) in rows {
        page.push_str(&format!("{name:width$}  {}\n", printable(&value)));
    }
    match task["attempts"].as_array().map(Vec::as_slice) {
        None | Some([]) => page,
        Some(attempts) => page + "\n" + &attempts_table(attempts) + &last_outputs(attempts),
    }
}

/// What the program printed last, of each attempt of which that is kept.
fn last_outputs(attempts: &[Value]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let Some(printed) = attempt["last_output"].as_str().filter(|printed| !printed.is_empty()) else { continue };
        text.push_str(&format!("\nattempt {} printed last:\n", field(attempt, "number")));
        printed.lines().for_each(|line| text.push_str(&format!("    {}\n", printable(line))));
    }
    text
}

/// The number of the latest attempt, and how many of those that it may spend it has spent: not every start spends one.
fn attempt(task: &Value) -> String {
    let of = |name: &str| field(task, name);
    let since = if task["redrives"].as_u64() > Some(0) { " since it was sent again" } else { "" };
    format!("{} ({} of {} spent{since})", of("attempt"), of("attempts_spent"), of("max_attempts"))
}

/// The state in words, with what there is to say about it.
pub(super) fn state(task: &Value) -> String {
    let state = field(task, "state");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let more = match state.as_str() {
        "queued" => match task["waiting_for"]["code"].as_str() {
            None | Some("not_before") => text(&task["not_before"]).map(|moment| format!("not before {moment}")),
            Some(_) => text(&task["waiting_for"]["message"]).map(|message| format!("waits for {message}")),
        },
        "running" => text(&task["waiting_for"]["message"])
            .map(|message| format!("waits for {message}"))
            .or_else(|| text(&task["halting"]).map(|halt| format!("being stopped: {halt}")))
            .or_else(|| Some(&task["progress"]).filter(|progress| !progress.is_null()).map(progress)),
        _ => text(&task["error"]["message"]).map(|message| format!("{message}, {}", field(&task["error"], "code"))),
    };
    more.filter(|more| !more.is_empty()).map_or_else(|| state.clone(), |more| format!("{state} ({more})"))
}

/// How far a task is, in words.
pub(super) fn progress(progress: &Value) -> String {
    let percent = progress["percent"].as_f64().map(|percent| format!("{percent:.0}%"));
    let message = progress["message"].as_str().filter(|message| !message.is_empty()).map(str::to_owned);
    percent.into_iter().chain(message).collect::<Vec<_>>().join(" ")
}

fn used(usage: &Value) -> String {
    let cost = usage["cost_usd"].as_f64().unwrap_or_default();
    let figures = (field(usage, "input_tokens"), field(usage, "output_tokens"));
    format!("{} tokens in, {} out, {cost:.4} USD", figures.0, figures.1)
}

fn attempts_table(attempts: &[Value]) -> String {
    let row = |attempt: &Value| {
        let moment = |name: &str| attempt[name].as_str()?.parse::<muster_domain::Timestamp>().ok();
        let took = moment("started_at").zip(moment("ended_at")).map(|(start, end)| end.since(start).as_secs_f64());
        vec![
            field(attempt, "number"),
            field(attempt, "end"),
            took.map_or_else(|| "-".to_owned(), span),
            field(attempt, "agent_id"),
            attempt["message"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    let head = ["ATTEMPT", "END", "TOOK", "AGENT", "WHY"];
    table(&head, &["ATTEMPT", "TOOK"], attempts.iter().map(row).collect())
}
