//! What can go wrong between a command and the server.

use std::fmt;

/// Why a command got no good answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Nobody answers at the address.
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        source: Box<ureq::Error>,
    },
    /// The server answered with a problem.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code of the problem, where it has one.
        code: Option<String>,
        /// What to do about it.
        detail: String,
    },
    /// Somebody answered, with something that no Muster server says.
    Unreadable {
        /// The address.
        url: String,
        /// What is odd.
        problem: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { url, source } => write!(f, "no server reached at {url}: {source}"),
            Self::Refused { code: Some(_), detail, .. } => f.write_str(detail),
            Self::Refused { code: None, status, detail } => write!(f, "{detail} (HTTP {status})"),
            Self::Unreadable { url, problem } => {
                write!(f, "the answer of {url} can't be read, is it a Muster server? {problem}")
            }
        }
    }
}

impl std::error::Error for ClientError {}
