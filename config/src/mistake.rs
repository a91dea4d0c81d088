//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nobody said anything.
    Default,
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Env(String),
    /// A line of a file: of the configuration, or of the `.env` beside it.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(name) => f.write_str(name),
            Self::Env(name) => f.write_str(name),
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where the wrong value is.
    pub origin: ValueOrigin,
    /// Its key; empty where the mistake is not about one key.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Mistake {
    /// A mistake about one key.
    pub(crate) fn new(origin: ValueOrigin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin, key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.message)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.message)
        }
    }
}

/// Every mistake that was found; nothing is done then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl std::error::Error for ConfigError {}

/// One mistake a line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<Mistake> for ConfigError {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}
