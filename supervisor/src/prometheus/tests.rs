//! The names follow the conventions, and whoever counts uses them.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// What a name of a gauge must not end with: other types have samples of these names.
const RESERVED: [&str; 8] = ["_total", "_count", "_sum", "_bucket", "_created", "_info", "_gcount", "_gsum"];

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for family in MetricFamily::all() {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("muster_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_'), "{name}");
        assert!(name.ends_with(family.kind.suffix()), "{name}");
        assert!(!RESERVED.iter().any(|suffix| family.base().ends_with(suffix)), "{name}");
        let wrong = ["percent", "percentage", "millis", "minutes", "kilobytes", "counter", "gauge", "histogram"];
        assert!(!name.split('_').any(|part| wrong.contains(&part)), "{name}: a base unit, and no type");
        assert!(family.kind != FamilyKind::Histogram || family.unit() == Some("seconds"), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '|', '"', '\\']), "{name}");
        let labels: BTreeSet<&str> = family.labels.iter().map(|label| label.name).collect();
        assert_eq!(labels.len(), family.labels.len(), "{name}");
        // `le` is a histogram's, and what a scraper adds is none of ours.
        assert!(labels.iter().all(|label| !["le", "job", "instance", "quantile"].contains(label)), "{name}");
        let words = family.labels.iter().filter_map(|label| label.words).flat_map(|words| words());
        for word in words {
            assert!(word.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{name}: {word}");
        }
    }
}

/// Counted with a macro: by the name of a family, and each family so in one place of the sources at least.
#[test]
fn what_is_counted_is_a_family() {
    let rooms = ["supervisor/src", "api/src", "src"].map(|room| format!("{}/../{room}", env!("CARGO_MANIFEST_DIR")));
    let calls: Vec<String> = rooms.iter().flat_map(|room| counted_in(Path::new(room))).collect();
    assert!(calls.len() >= 8, "{calls:?}");
    for call in calls {
        assert!(call.starts_with("families::") && call.ends_with(".name"), "{call}");
    }
}

/// What stands behind the macros in the sources of a folder.
fn counted_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let calls = entries.flat_map(|path| match path.is_dir() {
        true => counted_in(&path),
        false => {
            let text = std::fs::read_to_string(&path).expect("a text");
            // Not spelled here: this file is one of them.
            let macros = ["counter", "histogram", "gauge"].map(|kind| format!("metrics::{kind}!("));
            let calls = macros.iter().flat_map(|called| text.split(called.as_str()).skip(1));
            calls.filter_map(|rest| Some(rest.split([',', ')']).next()?.trim().to_owned())).collect()
        }
    });
    calls.collect()
}

#[test]
fn a_unit_is_the_end_of_a_name() {
    let unit = |family: MetricFamily| (family.base(), family.unit());
    assert_eq!(unit(families::TASK_WAIT), ("muster_task_wait_seconds", Some("seconds")));
    assert_eq!(unit(families::SPAWNS), ("muster_spawns", None));
    assert_eq!(unit(families::BUILD), ("muster_build", None));
    assert_eq!(unit(families::LAST_SCALED).1, Some("seconds"));
}

/// With `UPDATE_DOCS` set what belongs between the markers is written there.
#[test]
fn the_page_lists_every_metric() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/prometheus.md");
    let page = std::fs::read_to_string(PATH).expect("a page");
    let (before, rest) = page.split_once("<!-- metrics:begin -->\n").expect("the first marker");
    let (table, after) = rest.split_once("<!-- metrics:end -->").expect("the second marker");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let whole = format!("{before}<!-- metrics:begin -->\n{}\n<!-- metrics:end -->{after}", markdown());
        return std::fs::write(PATH, whole).expect("the page is written");
    }
    assert_eq!(table.trim(), markdown().trim(), "run `make docs`");
}

#[test]
fn the_table_has_each_family_with_its_labels() {
    let table = markdown();
    for family in MetricFamily::all() {
        assert!(table.contains(&format!("| `{}` | {} |", family.name, family.kind.word())), "{}", family.name);
    }
    assert!(table.contains("`pool`; `outcome`: `stopped`, `lost`"), "{table}");
}
