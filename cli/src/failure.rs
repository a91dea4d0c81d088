//! How a command ends when it does not end well: one line for people, one exit code for programs.

use std::fmt;

use crate::client::ClientError;

/// Why a command failed.
#[derive(Debug)]
pub enum CommandFailure {
    /// It was tried, and it failed.
    Failed(String),
    /// It can't be asked like that.
    Usage(String),
    /// No server was reached.
    NoServer(String),
    /// What it is about does not exist.
    NotFound(String),
    /// The configuration is wrong; one mistake a line.
    Config {
        /// The mistakes.
        mistakes: String,
        /// What was not done because of them, where the command does anything.
        undone: Option<&'static str>,
    },
}

impl CommandFailure {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoServer(_) => 3,
            Self::NotFound(_) => 4,
            Self::Config { .. } => 64,
        }
    }

    /// The first failure of a set of requests: of the same kind, and it says how many there were.
    pub(super) fn of_many(self, failed: usize, asked: usize) -> Self {
        self.in_words(|text| format!("{failed} of {asked} failed; the first: {text}"))
    }

    /// The same failure, and what it is about.
    pub(super) fn about(self, what: &str) -> Self {
        self.in_words(|text| format!("{what}: {text}"))
    }

    fn in_words(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(words(text)),
            Self::Usage(text) => Self::Usage(words(text)),
            Self::NoServer(text) => Self::NoServer(words(text)),
            Self::NotFound(text) => Self::NotFound(words(text)),
            Self::Config { .. } => self,
        }
    }
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::NoServer(text) | Self::NotFound(text) => f.write_str(text),
            Self::Config { mistakes, undone: None } => write!(f, "the configuration is wrong\n{mistakes}"),
            Self::Config { mistakes, undone: Some(undone) } => {
                write!(f, "the configuration is wrong, and {undone}\n{mistakes}")
            }
        }
    }
}

/// What to do about a refusal in the words of the command line, where the server speaks of HTTP.
fn in_commands(code: &str, detail: &str) -> String {
    let (about, _) = detail.split_once([';', ':']).unwrap_or((detail, ""));
    match code {
        "unauthorized" => format!("{about}: put a key that it knows into MUSTER_API_KEY"),
        "unknown_pool" => format!("{about}; `muster pools` lists those there are"),
        "unknown_agent" => format!("{detail}; `muster ps -a` lists those there are"),
        "unknown_task" => format!("{detail}; `muster tasks` lists those there are"),
        "unknown_worker" => format!("{detail}; `muster ps -w -a` lists those there are"),
        "intake_closed" => format!("{detail} (`muster resume`)"),
        "not_leader" => format!("{detail} (--url or MUSTER_URL)"),
        _ => detail.to_owned(),
    }
}

impl From<ClientError> for CommandFailure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Unreachable { .. } => Self::NoServer(format!("{error}; `muster serve` starts one")),
            ClientError::Refused { code: Some(code), detail, .. } => match code.as_str() {
                // Another 404 is a path that the server does not have.
                "unknown_agent" | "unknown_pool" | "unknown_task" | "unknown_worker" => {
                    Self::NotFound(in_commands(code, detail))
                }
                _ => Self::Failed(in_commands(code, detail)),
            },
            ClientError::Refused { .. } | ClientError::Unreadable { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<crate::client::NotFound> for CommandFailure {
    fn from(error: crate::client::NotFound) -> Self {
        match error {
            crate::client::NotFound::Closed(file, error) => Self::NoServer(format!(
                "{} can't be read ({error}): the data folder belongs to another user; be that user, or say with --url \
                 where the server is",
                file.display()
            )),
            crate::client::NotFound::NoAddress(file) => Self::NoServer(format!(
                "no server found: there is no {}; `muster serve` starts one, and --url says where another one is",
                file.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_commands() {
        let rows = [
            (
                "unauthorized",
                "this server needs an API key: send Authorization: Bearer KEY",
                "this server needs an API key: put a key that it knows into MUSTER_API_KEY",
            ),
            (
                "unknown_pool",
                "there is no pool x; GET /api/v1/agents/pools lists those there are",
                "there is no pool x; `muster pools` lists those there are",
            ),
            ("unknown_agent", "there is no agent x", "there is no agent x; `muster ps -a` lists those there are"),
            ("unknown_task", "there is no task x", "there is no task x; `muster tasks` lists those there are"),
            ("unknown_worker", "there is no worker x", "there is no worker x; `muster ps -w -a` lists those there are"),
            ("intake_closed", "p is drained", "p is drained (`muster resume`)"),
            ("pool_full", "p is full: wait; or not", "p is full: wait; or not"),
        ];
        for (code, detail, expected) in rows {
            let error = ClientError::Refused { status: 400, code: Some(code.into()), detail: detail.into() };
            assert_eq!(CommandFailure::from(error).to_string(), expected);
        }
    }

    #[test]
    fn a_refusal_has_the_exit_code_that_it_means() {
        let refused = |status, code: Option<&str>| {
            let code = code.map(str::to_owned);
            CommandFailure::from(ClientError::Refused { status, code, detail: "no".to_owned() }).code()
        };
        for code in ["unknown_agent", "unknown_pool", "unknown_task", "unknown_worker"] {
            assert_eq!(refused(404, Some(code)), 4, "{code}");
        }
        assert_eq!(refused(404, Some("unknown_path")), 1);
        assert_eq!(refused(404, None), 1);
        assert_eq!(refused(429, Some("limit")), 1);
        let unreadable = ClientError::Unreadable { url: String::new(), problem: String::new() };
        assert_eq!(CommandFailure::from(unreadable).code(), 1);
        assert_eq!(CommandFailure::from(crate::client::NotFound::NoAddress("x".into())).code(), 3);
        assert_eq!(CommandFailure::Config { mistakes: String::new(), undone: None }.code(), 64);
    }
}
