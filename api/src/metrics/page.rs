//! A page under construction: the lines of each family, whoever knows them in which order.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use muster_supervisor::prometheus::{FamilyKind, MetricFamily, SecondsHistogram};

use super::format::Format;

/// A page under construction.
#[derive(Default)]
pub(crate) struct MetricsPage {
    lines: HashMap<&'static str, String>,
    /// The series of counters, with their labels.
    counted: HashSet<String>,
}

impl MetricsPage {
    /// The one figure of a family without labels.
    pub(super) fn one(&mut self, family: &'static MetricFamily, value: f64) {
        self.series(family, &[], value);
    }

    /// A figure of these values of the family's labels, in their order. An empty one is no label.
    pub(super) fn series(&mut self, family: &'static MetricFamily, values: &[&str], value: f64) {
        let labels = labels_of(family, values);
        self.line(family, "", &labels, value);
    }

    /// The states of something, of which it has one or none: the last label is the state.
    pub(super) fn states(&mut self, family: &'static MetricFamily, of: &[&str], now: Option<&str>) {
        let words = family.labels.last().and_then(|label| label.words).map(|words| words()).unwrap_or_default();
        for word in words {
            let values: Vec<&str> = of.iter().copied().chain([word]).collect();
            self.series(family, &values, f64::from(u8::from(now == Some(word))));
        }
    }

    /// The buckets of a histogram.
    pub(super) fn histogram(&mut self, family: &'static MetricFamily, values: &[&str], histogram: &SecondsHistogram) {
        let labels = labels_of(family, values);
        for (bound, count) in histogram.buckets() {
            let separator = if labels.is_empty() { "" } else { "," };
            self.line(family, "_bucket", &format!("{labels}{separator}le=\"{}\"", bound_in_words(bound)), count as f64);
        }
        self.line(family, "_count", &labels, histogram.count() as f64);
        self.line(family, "_sum", &labels, histogram.sum().as_secs_f64());
    }

    /// A line with labels that are written already.
    pub(super) fn line(&mut self, family: &'static MetricFamily, suffix: &str, labels: &str, value: f64) {
        let name = family.name;
        let series = if labels.is_empty() { format!("{name}{suffix}") } else { format!("{name}{suffix}{{{labels}}}") };
        let lines = self.lines.entry(name).or_default();
        // Writing to a String does not fail.
        let _ = match value {
            f64::INFINITY => writeln!(lines, "{series} +Inf"),
            value => writeln!(lines, "{series} {value}"),
        };
        if family.kind == FamilyKind::Counter {
            self.counted.insert(series);
        }
    }

    /// Adds a zero for whatever was not counted yet, of these pools and of what is no pool's.
    pub(super) fn add_zeros(&mut self, pools: &[&str]) {
        for family in MetricFamily::all().filter(|family| family.kind == FamilyKind::Counter) {
            for labels in every_label(family, pools) {
                let values: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
                let labels = labels_of(family, &values);
                let is_new = match labels.as_str() {
                    "" => !self.counted.contains(family.name),
                    labels => !self.counted.contains(&format!("{}{{{labels}}}", family.name)),
                };
                if is_new {
                    self.line(family, "", &labels, 0.0);
                }
            }
        }
    }

    /// The page: each family of which there is something, with its words.
    pub(crate) fn into_text(mut self, format: Format) -> String {
        let mut text = String::new();
        for family in MetricFamily::all() {
            let Some(lines) = self.lines.remove(family.name) else { continue };
            let (name, kind) = match format {
                Format::OpenMetrics => (family.base(), family.kind.word()),
                Format::Text if family.kind == FamilyKind::Info => (family.name, FamilyKind::Gauge.word()),
                Format::Text => (family.name, family.kind.word()),
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            if let (Format::OpenMetrics, Some(unit)) = (format, family.unit()) {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            text.push_str(&lines);
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// Every set of values that a family's labels may have; none where one of them is not known.
fn every_label<'a>(family: &MetricFamily, pools: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut sets = vec![Vec::new()];
    for label in family.labels {
        let values = match label.words {
            Some(words) => words(),
            None if label.name == POOL => pools.to_vec(),
            None => Vec::new(),
        };
        let with = |set: &Vec<&'a str>| values.iter().map(|value| [&set[..], &[*value]].concat()).collect::<Vec<_>>();
        sets = sets.iter().flat_map(with).collect();
    }
    sets
}

/// The label that names a pool.
pub(super) const POOL: &str = "pool";

fn labels_of(family: &MetricFamily, values: &[&str]) -> String {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let mut text = String::new();
    for (label, value) in family.labels.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        let separator = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{separator}{}=\"{}\"", label.name, escaped(value));
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A bound as OpenMetrics wants it, with a point; the text format takes it too, so that a bucket is the same series in both.
pub(super) fn bound_in_words(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") }
}
