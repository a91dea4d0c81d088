//! Reports as one page of HTML that needs nothing else: no script, no other file, no network; light and dark as the reader's system is.

use super::SimulationReport;
use super::chart::{costs, over_time};
use super::figures::{self, number};
use super::text;
use crate::plans::PlanReport;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2024;--soft:#60646c;--rule:#d9d9e0;--c0:#0b68cb;--c1:#c2410c;--c2:#15803d;--c3:#86198f;\
--base:#0b68cb;--spot:#15803d;--burst:#c2410c}\
@media (prefers-color-scheme: dark){:root{--ground:#111113;--ink:#edeef0;--soft:#b0b4ba;--rule:#363a3f;--c0:#70b8ff;--c1:#ff9f66;\
--c2:#71d083;--c3:#d19dff;--base:#70b8ff;--spot:#71d083;--burst:#ff9f66}}\
body{margin:2rem auto;max-width:60rem;padding:0 1rem;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.4rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--rule);text-align:right}th:first-child,td:first-child{text-align:left}\
figure{margin:2rem 0}figcaption{color:var(--soft);margin-bottom:.4rem}svg{width:100%;height:auto;overflow:visible}\
svg text{fill:var(--soft);font-size:12px}.axis{fill:none;stroke:var(--rule)}.line{fill:none;stroke-width:1.6}\
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.base{fill:var(--base)}.spot{fill:var(--spot)}\
.burst{fill:var(--burst)}.key{display:inline-block;width:1.4em;height:.2em;margin:0 .4em .25em 0;vertical-align:middle}\
.k0{background:var(--c0)}.k1{background:var(--c1)}.k2{background:var(--c2)}.k3{background:var(--c3)}.kbase{background:var(--base)}.kspot{background:var(--spot)}.kburst{background:var(--burst)}pre{overflow-x:auto}";

/// The page of simulations of one load, and of a plan where one was checked.
pub fn page(reports: &[SimulationReport], plan: Option<&PlanReport>) -> String {
    let mut body = String::from("<h1>Simulated scaling</h1>\n");
    if let Some(first) = reports.first() {
        body.push_str(&format!("<p>{}.</p>\n", escaped(&figures::load(first))));
        body.push_str(&table(reports));
        body.push_str(&over_time("Workers over time", reports, |point| f64::from(point.workers)));
        body.push_str(&over_time("Waiting tasks over time", reports, |point| point.waiting as f64));
        if reports.iter().any(|report| report.cost > 0.0) {
            body.push_str(&costs(reports));
        }
    }
    if let Some(plan) = plan {
        body.push_str(&format!("<h1>The plan</h1>\n<pre>{}</pre>\n", escaped(&text::plan(plan))));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>muster simulate</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn table(reports: &[SimulationReport]) -> String {
    let name = |(index, report): (usize, &SimulationReport)| {
        format!("<th><span class=\"key k{}\"></span>{}</th>", index % 4, escaped(&report.name))
    };
    let names: String = reports.iter().enumerate().map(name).collect();
    let mut rows = format!("<tr><th></th>{names}</tr>\n");
    for row in figures::rows(reports) {
        let cells: String = row.words.iter().map(|words| format!("<td>{}</td>", escaped(words))).collect();
        rows.push_str(&format!("<tr><td>{}</td>{cells}</tr>\n", escaped(&row.what)));
    }
    let started: Vec<String> =
        reports.iter().map(|report| format!("<td>{}</td>", number(report.workers.started))).collect();
    rows.push_str(&format!("<tr><td>workers started</td>{}</tr>\n", started.concat()));
    format!("<table>\n{rows}</table>\n")
}

/// A text that is no markup.
pub(super) fn escaped(text: &str) -> String {
    let escape = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        letter => letter.to_string(),
    };
    text.chars().map(escape).collect()
}
