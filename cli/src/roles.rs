//! What commands need of the binary that they are in: all that is made of the configuration, which is not seen here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::failure::CommandFailure;
use super::simulate::{Simulated, SimulationRequest};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The others, by the key of their setting.
    pub values: BTreeMap<&'static str, String>,
}

impl Given {
    /// Notes a value, where the flag was given.
    pub(super) fn set(&mut self, key: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.values.insert(key, value);
        }
    }
}

/// Where a server is looked for, and what it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLookup {
    /// Its address, or who knows it.
    pub address: ServerAddress,
    /// Its API key.
    pub key: Option<String>,
}

/// Where a server is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// At this URL.
    Url(String),
    /// Where the server of this data folder has said that it listens.
    DataDir(PathBuf),
}

/// The configuration in force, for readers.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Key, value and place of each setting.
    pub rows: Vec<[String; 3]>,
    /// The same for programs.
    pub json: Value,
    /// What is odd about it.
    pub notes: Vec<String>,
}

/// The binary, as far as commands need it.
pub trait Roles {
    /// Where the server is looked for: at `url` where the command line says one.
    fn server(&self, given: &Given, url: Option<&str>) -> Result<ServerLookup, CommandFailure>;

    /// The configuration in force.
    fn config(&self, given: &Given) -> Result<InForce, CommandFailure>;

    /// The documentation of every setting, as Markdown.
    fn settings(&self) -> String;

    /// Is the supervisor, until that ends.
    fn serve(&self, given: &Given) -> Result<(), CommandFailure>;

    /// Brings the database up to date, and says what was done.
    fn migrate(&self, given: &Given) -> Result<String, CommandFailure>;

    /// Simulates pools, and says what came of it.
    fn simulate(&self, given: &Given, asked: &SimulationRequest) -> Result<Simulated, CommandFailure>;

    /// Says a last line on stderr.
    fn say_last(&self, line: String);
}
