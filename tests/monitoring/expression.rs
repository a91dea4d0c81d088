//! What an expression of PromQL asks for, read as far as names and labels go.

use std::collections::BTreeSet;

use muster_supervisor::prometheus::{FamilyKind, MetricFamily};

/// Labels that a scraper or a histogram has besides.
const FOREIGN: [&str; 3] = ["job", "instance", "le"];

/// The names and labels of an expression.
pub(crate) struct Expression {
    text: String,
    selectors: Vec<Selector>,
    /// The labels of `by (...)` and `on (...)`, list by list.
    lists: Vec<(String, Vec<String>)>,
}

/// A name with its matchers.
struct Selector {
    name: String,
    matchers: Vec<(String, String)>,
}

impl Expression {
    pub(crate) fn of(text: &str) -> Self {
        let (mut selectors, mut lists) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = rest.find(|char: char| !is_of_name(char)).unwrap_or(rest.len());
            if length == 0 {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(length);
            rest = after;
            if word.starts_with("muster_") || word.starts_with("process_") || word.contains(":muster_") {
                let matchers =
                    after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(inside, _)| inside);
                selectors
                    .push(Selector { name: word.to_owned(), matchers: matchers.map(matchers_in).unwrap_or_default() });
            } else if ["by", "on", "ignoring", "without"].contains(&word) {
                let inner = after.trim_start().strip_prefix('(').and_then(|inner| inner.split_once(')'));
                let labels = inner.map(|(inside, _)| inside.split(',').map(|label| label.trim().to_owned()).collect());
                lists.extend(labels.map(|labels| (word.to_owned(), labels)));
            }
        }
        Self { text: text.to_owned(), selectors, lists }
    }

    /// That each name is a family or one of these, and each label one of its own.
    pub(crate) fn check(&self, recorded: &BTreeSet<&str>) {
        self.check_names(recorded);
        for selector in &self.selectors {
            let labels = selector.family().map(|family| family.labels).unwrap_or_default();
            for (name, value) in &selector.matchers {
                let own = labels.iter().find(|label| label.name == name);
                let is_of_recorded = recorded.contains(selector.name.as_str()) && name == "pool";
                assert!(own.is_some() || FOREIGN.contains(&name.as_str()) || is_of_recorded, "{name} in {}", self.text);
                let Some(words) = own.and_then(|label| label.words) else { continue };
                for value in value.split('|').filter(|value| !value.starts_with('$')) {
                    assert!(words().contains(&value), "{name}={value} in {}", self.text);
                }
            }
        }
        let every = self.every_label();
        for label in self.lists.iter().flat_map(|(_, labels)| labels) {
            assert!(every.contains(label.as_str()), "{label} in {}", self.text);
        }
    }

    /// The same of the names alone.
    pub(crate) fn check_names(&self, recorded: &BTreeSet<&str>) {
        for selector in &self.selectors {
            let is_known = selector.family().is_some() || recorded.contains(selector.name.as_str());
            assert!(is_known, "{} in {}", selector.name, self.text);
        }
    }

    /// The labels that its result has: those of the aggregation that it begins with, else those of its first name.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let is_aggregated =
            ["sum", "max", "min", "histogram_quantile"].iter().any(|begin| self.text.starts_with(begin));
        let by = self.lists.iter().find(|(word, _)| word == "by").filter(|_| is_aggregated);
        match by {
            Some((_, labels)) => labels.iter().map(String::as_str).collect(),
            None if is_aggregated => BTreeSet::new(),
            None => self.every_label(),
        }
    }

    fn every_label(&self) -> BTreeSet<&str> {
        let own = self.selectors.iter().filter_map(Selector::family).flat_map(|family| family.labels);
        let of_recorded = self.selectors.iter().filter(|selector| selector.name.contains(':')).map(|_| "pool");
        own.map(|label| label.name).chain(of_recorded).chain(FOREIGN).collect()
    }
}

impl Selector {
    /// The family that has it.
    fn family(&self) -> Option<&'static MetricFamily> {
        MetricFamily::all().find(|family| match family.kind {
            FamilyKind::Histogram => {
                ["_bucket", "_sum", "_count", ""].iter().any(|suffix| self.name == format!("{}{suffix}", family.name))
            }
            _ => self.name == family.name,
        })
    }
}

const fn is_of_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == ':'
}

/// `name="value"` with `=`, `!=`, `=~` or `!~`.
fn matchers_in(text: &str) -> Vec<(String, String)> {
    let mut matchers = Vec::new();
    let mut parts = text.split('"');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let name = name.trim_matches(|char: char| !is_of_name(char));
        matchers.push((name.to_owned(), value.to_owned()));
    }
    matchers
}

#[test]
#[should_panic(expected = "muster_nothing in")]
fn a_name_that_nobody_tells_is_found() {
    Expression::of("sum(muster_nothing) > 1").check(&BTreeSet::new());
}

#[test]
#[should_panic(expected = "colour in")]
fn a_label_that_it_does_not_have_is_found() {
    Expression::of("muster_pool_slots{pool=\"p\", colour=\"red\"}").check(&BTreeSet::new());
}

#[test]
#[should_panic(expected = "state=opened in")]
fn a_value_that_a_label_never_has_is_found() {
    Expression::of("muster_pool_breaker_state{state=~\"open|opened\"}").check(&BTreeSet::new());
}

#[test]
#[should_panic(expected = "state in")]
fn a_label_to_sum_by_is_one_that_there_is() {
    Expression::of("sum by (state) (muster_pool_slots)").check(&BTreeSet::new());
}

#[test]
fn the_labels_of_a_result_are_those_of_its_aggregation() {
    let of = |text| Expression::of(text).labels().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of("sum by (pool) (rate(muster_tasks_ended_total[5m]))"), ["pool"]);
    assert_eq!(of("max(muster_leading)"), [""; 0]);
    assert_eq!(of("muster_pool_slots > 1"), ["instance", "job", "le", "pool"]);
}
