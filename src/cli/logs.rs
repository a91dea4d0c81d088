//! `muster logs`: shows what an agent printed.

use std::io::{ErrorKind, Read, Write};

use muster_domain::AgentId;

use super::failure::Failure;
use super::{Context, Done};

/// Arguments of `muster logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent
    agent: AgentId,
    /// Go on with what it prints from now on
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
}

/// Copies the text as it comes.
pub(super) fn run(args: &Args, context: &Context) -> Result<Done, Failure> {
    let client = context.server()?.client;
    let mut query = vec![("follow", args.follow.to_string())];
    query.extend(args.tail.map(|lines| ("tail", lines.to_string())));
    let mut stream = client.stream(&format!("/api/v1/agents/{}/logs", args.agent), &query)?;
    copy(&mut stream, &mut std::io::stdout().lock())?;
    Ok(String::new().into())
}

/// Copies and flushes piece by piece, so that a reader sees each line when it is printed.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Failure> {
    let mut buffer = [0; 8192];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Failed(format!("the server went away: {error}"))),
        };
        match to.write_all(&buffer[..length]).and_then(|()| to.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::Failed(format!("the output can't be written: {error}"))),
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
        copy(&mut text.as_bytes(), &mut out).expect("a copy");
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
