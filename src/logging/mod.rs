//! The log: on stderr, readable sentences with dotted fields, or one JSON object a line.
//!
//! Nobody waits for whoever reads it: lines go through a [`LogQueue`], to a thread of its own. Where stderr is a pipe whose
//! reader has gone (`muster serve 2>&1 | head`), lines are lost and nothing else: telling of that would mean to write to
//! stderr again, with a macro that panics (hence `log_internal_errors(false)`).

mod queue;
mod stderr;

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use muster_config::LogFormat;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use queue::LostLines;
pub(crate) use queue::{LogQueue, LogTrouble};
use stderr::{LateStderr, Stderr};

/// What may wait for a slow reader of the supervisor's log, in bytes: some thousand lines.
const MOST: usize = 1024 * 1024;

/// The same for a worker, which says little, to a file.
const MOST_OF_A_WORKER: usize = 64 * 1024;

/// How long the end of a process is held up by whoever does not read its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log of this process. Dropping it writes what waits, if it is taken within [`LAST_WORDS`].
pub(crate) struct Log(LogQueue);

impl Log {
    /// The way of its lines, which knows whether they arrive.
    pub(crate) fn queue(&self) -> LogQueue {
        self.0.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(LAST_WORDS);
    }
}

/// Says where the file that is stderr belongs: if it is removed or moved, it is begun anew there.
pub(crate) fn stands_at(place: muster_files::DataPath) {
    if let Err(error) = stderr::stands_at(place) {
        tracing::debug!(%error, "this log is not looked after");
    }
}

/// Starts it for the supervisor. Colours are used where stderr is a terminal.
pub(crate) fn start(format: LogFormat, levels: Targets) -> anyhow::Result<Log> {
    let queue = LogQueue::new(Stderr::open()?, MOST, tell);
    let log = tracing_subscriber::registry().with(with_quiet_databases(levels));
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let lines = lines.with_target(false).log_internal_errors(false);
    let started = match format {
        LogFormat::Text => log.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    tell_of_panics();
    Ok(Log(queue))
}

/// What is logged. Sessions that a database server ends are opened again, and what fails is told where it is handled: sqlx
/// warns of both, loudly. Whoever names it gets what they ask for.
fn with_quiet_databases(levels: Targets) -> Targets {
    if levels.iter().any(|(module, _)| module.starts_with("sqlx")) {
        return levels;
    }
    levels.with_targets([
        ("sqlx", LevelFilter::ERROR),
        ("sqlx_core", LevelFilter::ERROR),
        ("sqlx::postgres::notice", LevelFilter::OFF),
    ])
}

/// Starts it for a worker: what an operator should know, as text, into the file that is its stderr when there is something to say.
pub(crate) fn start_plain() -> anyhow::Result<Log> {
    let queue = LogQueue::new(LateStderr::default(), MOST_OF_A_WORKER, tell);
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(queue.clone())
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    tell_of_panics();
    Ok(Log(queue))
}

fn tell(loss: &LostLines) {
    let why = loss.error.as_deref().unwrap_or("they came faster than they were read");
    tracing::warn!(lines = loss.lines, why, "lines of this log were dropped");
}

/// The default hook writes to stderr itself, and would wait there.
fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or_default();
        let trace = std::backtrace::Backtrace::capture();
        match trace.status() {
            std::backtrace::BacktraceStatus::Captured => tracing::error!(place, %trace, "a panic: {words}"),
            _ => tracing::error!(place, "a panic: {words}"),
        }
    }));
}

/// Says a last line on stderr as it is, and waits for whoever reads it no longer than [`LAST_WORDS`].
pub(crate) fn say_last(line: String) {
    let (done, waited) = mpsc::channel();
    let write = move || {
        // There is nowhere left to say that stderr is closed.
        let _ = Stderr::open().and_then(|mut stderr| stderr.write_all(line.as_bytes()));
        let _ = done.send(());
    };
    // Also where no thread can be had the process is to end.
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _ = waited.recv_timeout(LAST_WORDS);
    }
}
