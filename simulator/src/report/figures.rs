//! The figures of a report in words, once for the table and the page.

use muster_domain::counted;

use super::SimulationReport;

/// A figure: what it is, and its words for each simulation.
pub(super) struct FigureRow {
    pub(super) what: String,
    pub(super) words: Vec<String>,
}

type Words = fn(&SimulationReport) -> String;

/// The figures that every simulation has, in their order.
const FIGURES: [(&str, Words); 13] = [
    ("wait, median", |of| span(of.wait.p50_seconds)),
    ("wait, 95%", |of| span(of.wait.p95_seconds)),
    ("wait, 99%", |of| span(of.wait.p99_seconds)),
    ("tasks late", |of| format!("{} (after {})", share(of.wait.late, of.load.tasks), span(of.wait.late_after_seconds))),
    ("tasks done", |of| number(of.tasks.finished)),
    ("tasks left", |of| number(of.tasks.waiting + of.tasks.running)),
    ("tasks lost", |of| number(of.tasks.lost)),
    ("runs killed by scaling in", |of| number(of.tasks.killed_runs)),
    ("workers, mean", |of| format!("{:.1}", of.workers.mean)),
    ("workers, most", |of| number(of.workers.peak.into())),
    ("slots in use", |of| format!("{:.0}%", 100.0 * of.workers.used)),
    ("most runs at a time", |of| number(of.tasks.peak_running.into())),
    ("interruptions survived", |of| {
        format!("{} of {}", number(of.interruptions.survived), number(of.interruptions.workers))
    }),
];

/// All figures of these simulations, the cost of each tier and in total last.
pub(super) fn rows(simulations: &[SimulationReport]) -> Vec<FigureRow> {
    let row = |(what, words): (&str, Words)| FigureRow {
        what: what.to_owned(),
        words: simulations.iter().map(words).collect(),
    };
    let mut rows: Vec<FigureRow> = FIGURES.into_iter().map(row).collect();
    let mut tiers: Vec<_> = simulations.iter().flat_map(|of| of.tiers.iter().map(|tier| tier.tier)).collect();
    tiers.sort_unstable();
    tiers.dedup();
    for tier in tiers {
        let words = |of: &SimulationReport| match of.tiers.iter().find(|cost| cost.tier == tier) {
            Some(cost) => format!("{} ({} h)", dollars(cost.cost), number(cost.worker_hours.round() as u64)),
            None => "-".to_owned(),
        };
        let what = format!("cost of {}", tier.as_str());
        rows.push(FigureRow { what, words: simulations.iter().map(words).collect() });
    }
    rows.push(FigureRow { what: "cost".to_owned(), words: simulations.iter().map(|of| dollars(of.cost)).collect() });
    rows
}

/// What there was to do, in a sentence.
pub(super) fn load(of: &SimulationReport) -> String {
    let load = &of.load;
    format!(
        "{}: {} in {}, each runs {} in the mean; without waits {} would run at a time in the mean",
        load.name,
        counted_long(load.tasks, "task"),
        span(load.seconds),
        span(load.mean_run_seconds),
        number(load.mean_concurrency.round() as u64),
    )
}

fn counted_long(count: u64, what: &str) -> String {
    let words = counted(count, what);
    words.replacen(&count.to_string(), &number(count), 1)
}

/// A whole number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut words = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

/// US dollars: with cents while they count.
pub(super) fn dollars(amount: f64) -> String {
    if amount < 1_000.0 { format!("${amount:.2}") } else { format!("${}", number(amount.round() as u64)) }
}

/// A time in the unit that fits.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 0.05 => "0 s".to_owned(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 600.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    format!("{}, {percent:.1}%", number(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(number), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([0.0, 9.994, 2_500.4].map(dollars), ["$0.00", "$9.99", "$2,500"]);
        let spans = [0.0, 1.25, 59.6, 600.0, 7_200.0, 604_800.0].map(span);
        assert_eq!(spans, ["0 s", "1.2 s", "60 s", "10 min", "2 h", "7 days"]);
        assert_eq!((share(1, 8), share(0, 0)), ("1, 12.5%".to_owned(), "0, 0.0%".to_owned()));
        assert_eq!([1, 1_000].map(|count| counted_long(count, "task")), ["1 task", "1,000 tasks"]);
    }
}
