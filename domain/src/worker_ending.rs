//! How a worker ended, as it is kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most that is kept of a text of an ending, in bytes.
const MAX_WORDS: usize = 4 * 1024;

/// One end of one worker: why, what it said last, and what followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEnding {
    /// Why it ended.
    pub cause: WorkerCause,
    /// The last lines of its log as one; empty where it said nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_words: String,
    /// What became of its agents, in words.
    pub follows: String,
}

crate::kinds! {
    /// Why a worker ended.
    #[derive(ToSchema)]
    #[schema(as = WorkerCauseJson)]
    pub enum WorkerCause {
        /// It was told to end.
        Stopped = "stopped",
        /// It exited, though nobody had told it to end.
        Exited {
            /// The exit code, where it exited.
            code: i32,
        } = "exited",
        /// A signal that Muster did not send ended it.
        Signaled {
            /// The signal, where one ended it.
            signal: i32,
            /// The signal's name; empty where it has none.
            #[schema(example = "SIGKILL")]
            name: String,
        } = "signaled",
        /// Muster killed it, since it hung.
        Hung = "hung",
        /// It never began.
        NotStarted {
            /// What was in the way, where it could not be started.
            error: String,
        } = "not_started",
        /// The capacity under it was taken away, as was said before.
        Interrupted = "interrupted",
        /// Nobody could reach it, and a person declared it dead.
        DeclaredDead {
            /// Who declared it dead, where somebody did.
            by: String,
        } = "declared_dead",
        /// It died, and was not a child of the supervisor that saw it: the kernel tells nobody else how.
        Unknown = "unknown",
    }
}

impl WorkerEnding {
    /// An ending, with as much of its texts as is kept.
    pub fn new(cause: WorkerCause, last_words: String, follows: String) -> Self {
        let cause = match cause {
            WorkerCause::NotStarted { error } => WorkerCause::NotStarted { error: bounded(error) },
            WorkerCause::DeclaredDead { by } => WorkerCause::DeclaredDead { by: bounded(by) },
            cause => cause,
        };
        Self { cause, last_words: bounded(last_words), follows: bounded(follows) }
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_WORDS));
    text
}

impl fmt::Display for WorkerCause {
    /// What goes behind "it".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("was told to end"),
            Self::Exited { code } => write!(f, "ended by itself with exit code {code}"),
            Self::Signaled { signal, name } if name.is_empty() => write!(f, "was ended by signal {signal}"),
            Self::Signaled { signal, name } => write!(f, "was ended by signal {signal} ({name})"),
            Self::Hung => f.write_str("was killed by Muster, since it hung"),
            Self::NotStarted { error } => write!(f, "did not start: {error}"),
            Self::Interrupted => f.write_str("was interrupted: the capacity under it was taken away"),
            Self::DeclaredDead { by } => write!(f, "could not be reached, and was declared dead by {by}"),
            Self::Unknown => f.write_str("died, and how is not known: this process did not start its process"),
        }
    }
}

impl fmt::Display for WorkerEnding {
    /// What goes behind "it": the cause, and what it said last where that may explain it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match (&self.cause, self.last_words.as_str()) {
            (
                WorkerCause::Stopped
                | WorkerCause::Interrupted
                | WorkerCause::NotStarted { .. }
                | WorkerCause::DeclaredDead { .. },
                _,
            ) => Ok(()),
            (_, "") => f.write_str("; it said nothing"),
            (_, words) => write!(f, "; its last words: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_read_aloud_and_read_back() {
        let killed = WorkerCause::Signaled { signal: 9, name: "SIGKILL".to_owned() };
        let rows = [
            (WorkerCause::Stopped, "bye", "was told to end"),
            (WorkerCause::Exited { code: 3 }, "", "ended by itself with exit code 3; it said nothing"),
            (killed, "oh", "was ended by signal 9 (SIGKILL); its last words: oh"),
            (WorkerCause::Signaled { signal: 35, name: String::new() }, "", "was ended by signal 35; it said nothing"),
            (WorkerCause::Interrupted, "bye", "was interrupted: the capacity under it was taken away"),
            (WorkerCause::Hung, "", "was killed by Muster, since it hung; it said nothing"),
            (WorkerCause::NotStarted { error: "no room".to_owned() }, "", "did not start: no room"),
            (
                WorkerCause::DeclaredDead { by: "ann".to_owned() },
                "",
                "could not be reached, and was declared dead by ann",
            ),
        ];
        for (cause, words, expected) in rows {
            let ending = WorkerEnding::new(cause, words.to_owned(), "it held no agents".to_owned());
            assert_eq!(ending.to_string(), expected);
            let json = serde_json::to_string(&ending).expect("an object");
            assert_eq!(serde_json::from_str::<WorkerEnding>(&json).expect(&json), ending);
        }
    }

    #[test]
    fn its_texts_are_bounded() {
        let long = "é".repeat(MAX_WORDS);
        let ending = WorkerEnding::new(WorkerCause::NotStarted { error: long.clone() }, long.clone(), long);
        let WorkerCause::NotStarted { error } = &ending.cause else { panic!("{ending:?}") };
        assert_eq!([error, &ending.last_words, &ending.follows].map(String::len), [MAX_WORDS; 3]);
    }
}
