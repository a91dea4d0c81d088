//! What is under `deploy/` and in the docs against the code's table of metrics: each name, each label and each value of a label that an
//! expression has is one that the server tells. What Prometheus itself thinks of it is `make rules-check`.

mod expression;
mod rules;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::expression::Expression;
use crate::rules::Rule;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Rule> {
    rules::read(&text("deploy/prometheus/muster.rules.yml"))
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/muster.json")).expect("a dashboard")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// The expressions of a panel, each with its legend.
fn targets(panel: &Value) -> Vec<(Expression, String)> {
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |target: &Value| {
        let expr = target["expr"].as_str().expect("an expression");
        (Expression::of(expr), target["legendFormat"].as_str().expect("a legend").to_owned())
    };
    targets.iter().map(of).collect()
}

#[test]
fn the_rules_ask_for_what_there_is() {
    let rules = rules();
    let recorded: BTreeSet<&str> = rules.iter().filter(|rule| !rule.is_alert).map(|rule| rule.name.as_str()).collect();
    for rule in &rules {
        rule.expression.check(&recorded);
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do() {
    let tests = text("deploy/prometheus/muster.rules.test.yml");
    let rules = rules();
    let alerts: Vec<&Rule> = rules.iter().filter(|rule| rule.is_alert).collect();
    assert!(alerts.len() > 15, "{}", alerts.len());
    for alert in alerts {
        let name = &alert.name;
        let severity = alert.field("severity").expect("a severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let (summary, description) = (alert.field("summary").expect(name), alert.field("description").expect(name));
        assert!(description.len() > 20 && description.ends_with(['.', '"']), "{name}: {description}");
        // A label that its series do not have would be empty there.
        let labels = alert.expression.labels();
        for label in placeholders(&format!("{summary} {description}"), "$labels.") {
            assert!(labels.contains(label.as_str()), "{name}: {label} is none of {labels:?}");
        }
        for case in [format!("name: {name} fires"), format!("name: \"{name} stays quiet")] {
            assert!(tests.contains(&case), "there is no case of {case}");
        }
    }
}

#[test]
fn the_tests_of_the_rules_feed_them_what_there_is() {
    let rules = rules();
    let recorded: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let tests = text("deploy/prometheus/muster.rules.test.yml");
    let series = tests.lines().filter_map(|line| line.trim().strip_prefix("- series: "));
    let series: Vec<&str> = series.map(|series| series.trim_matches('\'')).collect();
    assert!(series.len() > 40, "{}", series.len());
    for series in series {
        Expression::of(series).check(&recorded);
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard = dashboard();
    let mut count = 0;
    for panel in panels(&dashboard) {
        for (expression, legend) in targets(panel) {
            expression.check(&BTreeSet::new());
            let labels = expression.labels();
            for label in placeholders(&legend, "") {
                assert!(labels.contains(label.as_str()), "{}: {legend} of {labels:?}", panel["title"]);
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        Expression::of(variable["definition"].as_str().unwrap_or_default()).check(&BTreeSet::new());
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{}", dashboard["schemaVersion"]);
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "pool"]);
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is there twice");
        assert!(titles.insert(title), "{title} is there twice");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!targets(panel).is_empty() && panel["description"].as_str() > Some(""), "{title}");
        let refs: BTreeSet<&str> =
            panel["targets"].as_array().into_iter().flatten().filter_map(|target| target["refId"].as_str()).collect();
        assert_eq!(refs.len(), targets(panel).len(), "{title}");
    }
}

/// Two panels at one place hide each other.
#[test]
fn no_panel_lies_on_another_one() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let of = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(of("x") + of("w") <= 24, "{}", panel["title"]);
        for (x, y) in (of("x")..of("x") + of("w")).flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{} lies on another one", panel["title"]);
        }
    }
}

#[test]
fn the_samples_for_kubernetes_ask_for_what_there_is() {
    let mut count = 0;
    for file in files("deploy/kubernetes") {
        let text = std::fs::read_to_string(&file).expect("a sample");
        Expression::of(&text).check_names(&BTreeSet::new());
        count += usize::from(text.contains("muster_pool_workers_desired") || text.contains("target_workers"));
    }
    assert_eq!(count, 3);
}

/// What people read names only what there is.
#[test]
fn the_docs_name_what_there_is() {
    let docs = files("docs").into_iter().filter(|file| file.extension().is_some_and(|end| end == "md"));
    for file in docs.chain([Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")]) {
        let text = std::fs::read_to_string(&file).expect("a page");
        for span in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("muster_")) {
            Expression::of(span).check(&BTreeSet::new());
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

/// The names in `{{ PREFIXname }}`.
fn placeholders(text: &str, prefix: &str) -> Vec<String> {
    let parts = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    let names = parts.filter_map(|part| part.split(' ').find_map(|word| word.strip_prefix(prefix)));
    names.filter(|name| !name.starts_with(['$', '.']) && *name != "end").map(str::to_owned).collect()
}
