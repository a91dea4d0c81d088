//! The log: on stderr, readable sentences with dotted fields, or one JSON object a line.
//!
//! Where stderr is a pipe whose reader has gone (`muster serve 2>&1 | head`), lines are lost and nothing else: telling of
//! that would mean to write to stderr again, with a macro that panics (hence `log_internal_errors(false)`).

use std::io::IsTerminal;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts it for the supervisor. Colours are used where stderr is a terminal.
pub(crate) fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("the log level {filter:?} is not understood"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_target(false).log_internal_errors(false);
    let started = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Starts it for a worker: what an operator should know, as text, into the file that is its stderr.
pub(crate) fn start_plain() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
