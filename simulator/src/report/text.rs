//! Reports as tables for a terminal.

use super::SimulationReport;
use super::figures::{self, dollars, number, span};
use crate::plans::{ClaimedLoad, PlanReport, tier_words};

/// Eight heights, from the least to the most.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Characters of a curve.
const WIDTH: usize = 60;

/// Simulations of one load, beside each other, and their workers over time.
pub fn simulations(reports: &[SimulationReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let mut text = format!("{}\n\n", figures::load(first));
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(reports.iter().map(|report| report.name.clone()));
    for row in figures::rows(reports) {
        let mut cells = vec![row.what];
        cells.extend(row.words);
        rows.push(cells);
    }
    text.push_str(&aligned(&rows));
    let most = reports.iter().flat_map(|report| &report.timeline).map(|point| point.workers).max().unwrap_or(0);
    text.push_str(&format!("\nworkers over time, the highest is {}\n", number(most.into())));
    for report in reports {
        text.push_str(&format!("{}  {}\n", curve(report, most), report.name));
    }
    text
}

/// A plan: what it claims, beside what was simulated.
pub fn plan(report: &PlanReport) -> String {
    let plan = &report.plan;
    let mut text = format!(
        "{}: {} base, {} spot, {} burst {}, which run {} tasks at a time\n\n",
        plan.name,
        plan.base,
        plan.spot,
        plan.burst,
        report.instance_type,
        number(report.slots.into())
    );
    let head = [
        "concurrent runs",
        "ran at a time",
        "wait, 95%",
        "claimed a month",
        "instances a month",
        "task-hours a month",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(report.loads.iter().map(|load| {
        vec![
            number(load.concurrent_runs.into()),
            number(load.simulation.tasks.peak_running.into()),
            span(load.simulation.wait.p95_seconds),
            dollars(plan.dollars_a_month),
            dollars(report.instance_dollars_a_month),
            dollars(load.tier_dollars_a_month),
            verdict(load).to_owned(),
        ]
    }));
    text.push_str(&aligned(&rows));
    text.push_str(&format!(
        "\nA month has 730 hours. Instances are priced by the catalogue, task-hours by tier: {}.\n\n",
        tier_words()
    ));
    text.push_str(&alternatives(report));
    text
}

fn verdict(load: &ClaimedLoad) -> &'static str {
    if load.holds { "holds" } else { "does not hold" }
}

fn alternatives(report: &PlanReport) -> String {
    let runs = number(report.plan.concurrent_runs[1].into());
    let published = match &report.published {
        Some(plan) => {
            format!(
                "Of the published plans, {} ({} a month) holds {runs} runs.",
                plan.name,
                dollars(plan.dollars_a_month)
            )
        }
        None => format!("None of the published plans holds {runs} runs."),
    };
    let head = ["instances of one type", "tasks each", "a month"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    rows.extend(report.alternatives.iter().map(|found| {
        let instances = format!("{} {}", number(found.instances.into()), found.instance_type);
        vec![instances, found.tasks_each.to_string(), dollars(found.dollars_a_month)]
    }));
    format!("{published}\nWhat holds {runs} runs, the cheapest first:\n\n{}", aligned(&rows))
}

/// A table: the first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:<width$}", width = widths[0]),
            _ => format!("  {cell:>width$}", width = widths[column]),
        };
        let line: String = row.iter().enumerate().map(cell).collect();
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// The workers of a simulation in one line; of the points of a character the highest counts.
fn curve(report: &SimulationReport, most: u32) -> String {
    let points = report.timeline.len();
    let height = |column: usize| {
        let (from, to) = (column * points / WIDTH, ((column + 1) * points / WIDTH).max(column * points / WIDTH + 1));
        let highest = report.timeline.get(from..to.min(points))?.iter().map(|point| point.workers).max()?;
        Some(HEIGHTS[(highest as usize * 7).div_ceil(most.max(1) as usize).min(7)])
    };
    (0..WIDTH.min(points)).filter_map(height).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::{CapacityTier, CapacityTiers};

    use super::super::page;
    use super::*;
    use crate::{FixedScaler, KedaScaler, Setup, TaskLoad, plans, simulate};

    fn two() -> Vec<SimulationReport> {
        let load = TaskLoad::recorded("day.csv", "at,run_seconds,count\n0,100,40\n600,100,20\n").expect("a trace");
        let tier = |price_per_hour| CapacityTier {
            price_per_hour,
            start_time: Duration::from_secs(10),
            ..CapacityTier::default()
        };
        let base = Setup { tiers: CapacityTiers::only_base(tier(0.5)), ..Setup::default() };
        let spot = CapacityTiers { spot: Some(tier(0.1)), ..CapacityTiers::default() };
        let spot = Setup { tiers: spot, reclaims_per_hour: 0.0, ..Setup::default() };
        vec![simulate(&base, &load, &mut FixedScaler(2)), simulate(&spot, &load, &mut KedaScaler::default())]
    }

    #[test]
    fn simulations_stand_beside_each_other() {
        let expected = "\
day.csv: 60 tasks in 12 min, each runs 100 s in the mean; without waits 9 would run at a time in the mean
2 workers  backlog-only, as KEDA by default
wait, median  10.0 s  10.0 s
wait, 95%  113 s  10.0 s
wait, 99%  113 s  10.0 s
tasks late  20, 33.3% (after 60 s)  0, 0.0% (after 60 s)
";
        let text = simulations(&two());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(words(&text).starts_with(&words(expected)), "{text}");
        assert!(
            text.contains("cost of base") && text.contains("cost of spot") && text.contains("interruptions survived")
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[lines.len() - 2].starts_with("▅▅▅") && lines[lines.len() - 2].ends_with("  2 workers"), "{text}");
        assert_eq!(simulations(&[]), "");
    }

    #[test]
    fn a_plan_is_told_with_what_holds_instead() {
        let report = plans::check(plans::plan("plan-2000").expect("a plan"), 1).expect("a price");
        let text = plan(&report);
        for words in [
            "plan-2000: 10 base, 20 spot, 0 burst c6g.2xlarge, which run 240 tasks at a time",
            "2,000 240 4 h $2,500 $1,489 $81,760 does not hold",
            "task-hours by tier: base 20% at $0.10, spot 70% at $0.03, burst 10% at $0.15.",
            "Of the published plans, plan-10000 ($20,000 a month) holds 2,000 runs.",
            "r6g.xlarge",
        ] {
            let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(spaced.contains(words), "{words}: {text}");
        }
        let page = page::page(&[], Some(&report));
        assert!(page.contains("does not hold") && page.contains("r6g.xlarge"), "{page}");
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let mut reports = two();
        reports[0].name = "<b>&\"me\"".to_owned();
        let page = page::page(&reports, None);
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        assert!(page.contains("&lt;b&gt;&amp;&quot;me&quot;") && !page.contains("<b>&"), "names are no markup");
        for foreign in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.matches("<svg").count() == 3);
        assert!(page.matches("<polyline").count() == 4, "workers and waiting tasks of both");
    }
}
