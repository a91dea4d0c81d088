//! How a set of requests is made, and what is said of its outcome.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::client::ClientError;

use super::Done;
use super::failure::CommandFailure;
use super::table::pretty;

/// Requests under way at once: enough to start a pool fast, few enough not to be a flood.
const AT_ONCE: usize = 16;

/// A number of seconds, as an argument.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number of seconds is expected".to_owned())
}

/// The same where it may be left out, and whatever follows is taken for it.
pub(super) fn seconds_if_any(text: &str) -> Result<f64, String> {
    seconds(text).map_err(|words| format!("{words}; without one this option comes last"))
}

/// `--wait` as the query and as the time that the answer may take.
pub(super) fn waiting(wait: Option<f64>) -> (Vec<(&'static str, String)>, Duration) {
    let query = wait.map(|seconds| ("wait", seconds.to_string())).into_iter().collect();
    (query, Duration::try_from_secs_f64(wait.unwrap_or(10.0)).unwrap_or_default())
}

/// Does `ask` for each item, several at a time, and gives the answers in the order of the items.
pub(super) fn each<T: Sync>(
    items: &[T],
    ask: impl Fn(&T) -> Result<Value, ClientError> + Sync,
) -> Vec<Result<Value, ClientError>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..items.len().min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let answer = ask(item);
                    answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(index, answer);
                }
            });
        }
    });
    answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

/// What became of a set of requests: a table or JSON of the good ones, and the first failure. A set of one is no list.
pub(super) fn outcome(
    answers: Vec<Result<Value, ClientError>>,
    json: bool,
    rows: impl Fn(&[Value]) -> String,
) -> Result<Done, CommandFailure> {
    let asked = answers.len();
    let (mut good, mut failures) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(value) => good.push(value),
            Err(error) => failures.push(CommandFailure::from(error)),
        }
    }
    let failed = failures.len();
    let failure = failures.into_iter().next();
    let failure = match failure {
        Some(first) if asked == 1 => return Err(first),
        Some(first) => Some(first.of_many(failed, asked)),
        None => None,
    };
    let text = match (json, good.as_slice()) {
        (true, [one]) if asked == 1 => pretty(one),
        (true, _) => pretty(&Value::Array(good)),
        (false, []) => String::new(),
        (false, good) => rows(good),
    };
    Ok(Done { text, failure })
}
