//! A way to break something, and where it can be tried.

use std::fmt;

use super::site::{Plan, Site};

/// Where the registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    /// A Redis that the server starts for itself.
    Private,
    /// A Redis of somebody's, which the server is told of.
    Configured,
    /// None: all runs in a single process.
    Memory,
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Sqlite,
    Postgres,
}

/// One setting in which a row is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) registry: Registry,
    pub(super) store: Store,
    pub(super) workers: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = match self.registry {
            Registry::Private => "private redis",
            Registry::Configured => "configured redis",
            Registry::Memory => "single process",
        };
        let store = if self.store == Store::Sqlite { "sqlite" } else { "postgres" };
        write!(f, "{registry}, {store}, {} w", self.workers)
    }
}

/// Why a row can't be tried here.
#[derive(Debug)]
pub(super) struct Skip(pub(super) String);

/// Takes the cause away.
pub(super) type Mend = Box<dyn FnOnce(&mut Site)>;

/// Takes effect before the server starts.
type Prepare = Box<dyn Fn(&mut Plan) -> Result<(), Skip> + Send + Sync>;

/// Breaks something under the running server.
type Harm = Box<dyn Fn(&mut Site) -> Result<Mend, Skip> + Send + Sync>;

/// A way to break something.
pub(super) struct Row {
    pub(super) name: String,
    /// Words of which one must be read everywhere, where not every agent that is wanted runs. None: all must run.
    pub(super) says: &'static [&'static str],
    /// The alert by whose kind health says it: health needs no key, and shows nothing of what a program says.
    pub(super) alert: Option<&'static str>,
    /// Whether the words must be read even where all runs, since the fault lasts and is promised to be named.
    pub(super) is_named: bool,
    /// Whether the programs themselves are well, so that no worker and no agent may be ended.
    pub(super) spares: bool,
    /// What health goes on to say for a while, so that who comes later hears of it: the beginning of those words.
    pub(super) remembers: Option<&'static str>,
    pub(super) prepare: Prepare,
    pub(super) harm: Harm,
    registries: &'static [Registry],
    stores: &'static [Store],
}

impl Row {
    /// It applies everywhere and spares all agents, until something else is said.
    pub(super) fn new(
        name: impl Into<String>,
        harm: impl Fn(&mut Site) -> Result<Mend, Skip> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            says: &[],
            alert: None,
            is_named: false,
            spares: true,
            remembers: None,
            prepare: Box::new(|_| Ok(())),
            harm: Box::new(harm),
            registries: &[Registry::Private, Registry::Configured, Registry::Memory],
            stores: &[Store::Sqlite, Store::Postgres],
        }
    }

    /// One of these words must be read, where not all runs.
    pub(super) fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    /// One of these words must be read, whether all runs or not.
    pub(super) fn names(self, says: &'static [&'static str]) -> Self {
        Self { says, is_named: true, ..self }
    }

    /// Health says it by an alert of this kind.
    pub(super) fn alert(self, kind: &'static str) -> Self {
        Self { alert: Some(kind), ..self }
    }

    pub(super) fn registries(self, registries: &'static [Registry]) -> Self {
        Self { registries, ..self }
    }

    pub(super) fn stores(self, stores: &'static [Store]) -> Self {
        Self { stores, ..self }
    }

    /// Health goes on to say this for a while.
    pub(super) fn remembers(self, words: &'static str) -> Self {
        Self { remembers: Some(words), ..self }
    }

    /// What it does harms the programs too.
    pub(super) fn harms_programs(self) -> Self {
        Self { spares: false, ..self }
    }

    pub(super) fn prepare(self, prepare: impl Fn(&mut Plan) -> Result<(), Skip> + Send + Sync + 'static) -> Self {
        Self { prepare: Box::new(prepare), ..self }
    }

    /// All settings that it applies to.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let with = |registry| self.stores.iter().map(move |&store| (registry, store));
        let pairs = self.registries.iter().flat_map(|&registry| with(registry));
        pairs.flat_map(|(registry, store)| [1, 2, 4].map(|workers| Cell { registry, store, workers })).collect()
    }
}
