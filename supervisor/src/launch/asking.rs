//! Whether the private Redis lets anybody in: asked over new connections, as a worker would come that starts. Connections that
//! stand say nothing about the next one: the socket may be gone, the password another, and a server that hangs accepts and does
//! not answer.

use std::time::Duration;

use muster_registry::redis::{Unreached, reach};
use nix::errno::Errno;

/// Between two questions over a new connection.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Questions in a row without an answer after which it is replaced: together below the 15 s that a fault may last.
const FAILURES: u32 = 3;

/// Resolves when the server lets nobody in any more, and says why.
pub(super) async fn refusal(url: &str) -> String {
    let mut failures = Failures::default();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let answer = tokio::time::timeout(ANSWER_WITHIN, reach(url, None)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()).into()));
        if let Some(why) = failures.note(answer) {
            return why;
        }
    }
}

/// Whether it is this process, or its host, that has too little for a question. It says nothing about who is asked.
pub(super) fn is_own_shortage(errno: Option<i32>) -> bool {
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    errno.is_some_and(|errno| short.contains(&Errno::from_raw(errno)))
}

#[derive(Default)]
struct Failures {
    in_a_row: u32,
    /// Whether it was said that nothing can be asked.
    told: bool,
}

impl Failures {
    /// Takes an answer. Says why the server is to be replaced, where it is.
    fn note(&mut self, answer: Result<(), Unreached>) -> Option<String> {
        match answer {
            Ok(()) => *self = Self::default(),
            Err(Unreached { words, errno }) if is_own_shortage(errno) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(
                        reason = words,
                        "the supervisor has too little to ask the private Redis how it is, and leaves it alone: see to the limit \
                         of open files (ulimit -n) and to the host's memory"
                    );
                }
            }
            Err(Unreached { words, .. }) => {
                self.in_a_row += 1;
                return (self.in_a_row >= FAILURES).then_some(words);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreached(errno: Option<Errno>) -> Result<(), Unreached> {
        Err(Unreached { words: "words".to_owned(), errno: errno.map(|errno| errno as i32) })
    }

    #[test]
    fn three_failures_in_a_row_replace_a_server_and_own_shortages_never() {
        let mut failures = Failures::default();
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS] {
            for _ in 0..FAILURES {
                assert_eq!(failures.note(unreached(Some(errno))), None, "{errno}");
            }
        }
        assert_eq!(failures.note(unreached(None)), None);
        assert_eq!(failures.note(Ok(())), None);
        // One that is full itself does not take the connection: that is its own failure.
        for errno in [None, Some(Errno::ECONNREFUSED)] {
            assert_eq!(failures.note(unreached(errno)), None);
        }
        assert_eq!(failures.note(unreached(Some(Errno::EMFILE))), None);
        assert_eq!(failures.note(unreached(Some(Errno::EAGAIN))).as_deref(), Some("words"));
    }
}
