//! `muster logs`: shows what an agent printed.

use std::io::{ErrorKind, IsTerminal, Read, Write};

use serde_json::Value;

use super::agents::read;
use super::failure::CommandFailure;
use super::id::{AgentArg, resolve};
use super::terminal::{Printable, printable};
use super::{CliContext, Done};

/// Arguments of `muster logs`.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// The agent, by its id or a beginning of it
    agent: AgentArg,
    /// Go on with what it prints from now on, until it has ended for good
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
}

/// Copies the text as it comes.
pub(super) fn run(args: &LogsArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let mut query = vec![("follow", args.follow.to_string())];
    query.extend(args.tail.map(|lines| ("tail", lines.to_string())));
    let id = resolve(&client, &args.agent)?;
    let mut stream = client.stream(&format!("/api/v1/agents/{id}/logs"), &query)?;
    let out = std::io::stdout().lock();
    let copied =
        if out.is_terminal() { copy(&mut stream, &mut Printable::new(out)) } else { copy(&mut stream, &mut { out }) };
    if copied? == 0 && args.tail != Some(0) {
        // Not on stdout, which holds the log and nothing else.
        let _ = writeln!(std::io::stderr(), "muster: {}", silence(&read(&client, &id)?));
    }
    Ok(String::new().into())
}

/// What there is to say of an agent whose log is empty: how it is, and why.
pub(super) fn silence(agent: &Value) -> String {
    let word = |value: &Value| value.as_str().map(printable);
    let state = word(&agent["state"]).unwrap_or_else(|| "in no known state".to_owned());
    let why = word(&agent["reason"]).or_else(|| word(&agent["last_ending"]["summary"]));
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    format!("the agent has printed nothing so far; it is {state}{why}")
}

/// Copies and flushes piece by piece, so that a reader sees each line when it is printed. Says how many bytes there were.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<usize, CommandFailure> {
    let (mut buffer, mut copied) = ([0; 8192], 0);
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(CommandFailure::Failed(format!("the server went away: {error}"))),
        };
        copied += length;
        match to.write_all(&buffer[..length]).and_then(|()| to.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(copied),
            Err(error) => return Err(CommandFailure::Failed(format!("the output can't be written: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_whole() {
        let text = "line\n".repeat(5_000);
        let mut out = Vec::new();
        assert!(matches!(copy(&mut text.as_bytes(), &mut out), Ok(25_000)));
        assert_eq!(out, text.as_bytes());
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(copy(&mut &b"x"[..], &mut Closed).is_ok());
    }
}
