//! What the macros of the `metrics` crate counted in this process, read of the text that their recorder writes.

use std::collections::HashSet;

use muster_supervisor::prometheus::{FamilyKind, MetricFamily};

use super::page::{MetricsPage, POOL, bound_in_words};

/// What may stand behind the name of a histogram.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

impl MetricsPage {
    /// Takes what was counted: of these pools, and of all that there ever were where nobody knows which there are.
    pub(crate) fn counted(&mut self, text: &str, pools: Option<&[&str]>) {
        let known: Option<HashSet<&str>> = pools.map(|pools| pools.iter().copied().collect());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels_in(labels.trim_end_matches('}'))),
                None => (series, Vec::new()),
            };
            let (Some((family, suffix)), Ok(value)) = (family_of(name), value.parse()) else { continue };
            let pool = labels.iter().find(|(name, _)| *name == POOL).map(|(_, pool)| *pool);
            if pool.zip(known.as_ref()).is_none_or(|(pool, known)| known.contains(pool)) {
                self.line(family, suffix, &written(family, &labels), value);
            }
        }
        self.add_zeros(pools.unwrap_or_default());
    }
}

/// The family of a line, and what its name has besides.
fn family_of(name: &str) -> Option<(&'static MetricFamily, &'static str)> {
    MetricFamily::all().find_map(|family| {
        let rest = name.strip_prefix(family.name)?;
        match family.kind {
            FamilyKind::Histogram => {
                OF_HISTOGRAM.into_iter().find(|suffix| *suffix == rest).map(|found| (family, found))
            }
            _ => rest.is_empty().then_some((family, "")),
        }
    })
}

/// The labels of a line: `name="value"` with commas between, the values as they are written.
fn labels_in(mut text: &str) -> Vec<(&str, &str)> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let Some(end) = end_of_value(rest) else { break };
        labels.push((name, &rest[..end]));
        text = rest[end + 1..].trim_start_matches(',');
    }
    labels
}

/// Where the quote is that ends a value: none behind a backslash.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, char)| {
        let is_end = char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// In the order of the family, with the bound of a bucket at last.
fn written(family: &MetricFamily, labels: &[(&str, &str)]) -> String {
    let value_of = |name: &str| labels.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    let bound = value_of("le").and_then(|bound| bound.parse().ok()).map(bound_in_words);
    debug_assert_eq!(family.labels.len() + usize::from(bound.is_some()), labels.len(), "{}", family.name);
    let own = family.labels.iter().filter_map(|label| Some(format!("{}=\"{}\"", label.name, value_of(label.name)?)));
    own.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_have_anything() {
        assert_eq!(labels_in(r#"a="x\"y,",b="\\""#), [("a", r#"x\"y,"#), ("b", r"\\")]);
        assert_eq!(labels_in(""), []);
        assert_eq!(labels_in("a="), []);
    }

    #[test]
    fn the_lines_of_a_histogram_are_its_family_s() {
        let of = |name| family_of(name).map(|(family, suffix)| (family.name, suffix));
        assert_eq!(of("muster_agent_start_seconds_bucket"), Some(("muster_agent_start_seconds", "_bucket")));
        assert_eq!(of("muster_spawns_total"), Some(("muster_spawns_total", "")));
        assert_eq!(of("muster_spawns_total_sum"), None);
        assert_eq!(of("others"), None);
    }
}
