//! What Prometheus is told: every metric family with its name, type, labels and words, once.
//!
//! The names follow the conventions of Prometheus and OpenMetrics: base units as suffixes (`_seconds`, `_bytes`, `_ratio`), `_total` for
//! what only grows, and no figure that Prometheus makes better by itself: rates and quantiles follow from counters and histograms.
//!
//! | file | what |
//! |---|---|
//! | [`families`] | the families, in groups as they are shown and documented |
//! | `words` | the words of labels that are nobody else's |
//! | `histogram` | times in fixed buckets |
//! | `totals` | what a pool's tasks came to, counted by its keeper |
//!
//! # Who counts
//! What is read of the supervisor at each scrape leaves no series behind when its pool is gone. What happens at places without a view
//! of its own is counted there with the macros of the `metrics` crate, by the name that the family has here. Whoever shows the page (the
//! API) adds a zero for each label that is known and was not counted yet: a series that begins with its first count has no increase to see.

pub mod families;
mod histogram;
mod totals;
mod words;

use muster_domain::Words;

pub use self::histogram::{BOUNDS, SecondsHistogram};
pub use self::totals::TaskTotals;
pub use self::words::{
    AgentOutcome, AttemptOutcome, Component, DecisionOutcome, QueueState, Resource, SpawnOutcome, TokenUse,
    WorkerOutcome,
};

/// What kind of figures a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// It only grows, until its process or its keeper begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times in buckets.
    Histogram,
    /// Always 1: what it says is in its labels.
    Info,
}

impl FamilyKind {
    /// What a name of this kind ends with, beside its unit.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    /// The type in words; the text format has no word for [`Info`](Self::Info), which is a gauge there.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values, where these are known; else they are names that people have given.
    pub words: Option<fn() -> Vec<&'static str>>,
}

/// A metric family: a name with one series for each set of its labels' values.
#[derive(Clone, Copy, Debug)]
pub struct MetricFamily {
    /// The name, as a query has it; a histogram's without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it is.
    pub kind: FamilyKind,
    /// Its labels, in their order.
    pub labels: &'static [Label],
    /// What it says.
    pub help: &'static str,
}

/// The units that a name may end with.
const UNITS: [&str; 4] = ["seconds", "bytes", "ratio", "cores"];

impl MetricFamily {
    /// The name of the family in OpenMetrics, where `_total` and `_info` are of its samples only.
    pub fn base(&self) -> &'static str {
        self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name)
    }

    /// Its unit, with which the name ends; none where it is a number of things.
    pub fn unit(&self) -> Option<&'static str> {
        let last = self.base().rsplit('_').next()?;
        UNITS.into_iter().find(|unit| *unit == last)
    }

    /// Every family, in the order of the groups.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        families::GROUPS.iter().flat_map(|(_, families)| *families)
    }
}

/// A label whose values are the words of an enum.
pub(crate) const fn of_words<W: Words>(name: &'static str) -> Label {
    Label { name, words: Some(W::words) }
}

/// The table of all families for people, in Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for (title, families) in families::GROUPS {
        text.push_str(&format!("\n### {title}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n"));
        for family in *families {
            let labels: Vec<String> = family.labels.iter().map(label_in_words).collect();
            let (name, kind, labels) = (family.name, family.kind.word(), labels.join("; "));
            text.push_str(&format!("| `{name}` | {kind} | {labels} | {} |\n", family.help));
        }
    }
    text
}

fn label_in_words(label: &Label) -> String {
    let words = label.words.map(|words| words().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "));
    format!("`{}`{}", label.name, words.map(|words| format!(": {words}")).unwrap_or_default())
}

#[cfg(test)]
mod tests;
