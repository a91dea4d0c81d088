//! Charts as SVG within a page.

use muster_domain::{TierName, Words};

use super::figures::{dollars, number, span};
use super::page::escaped;
use super::{SimulationReport, TimelinePoint};

/// The size of a chart, and the room for its labels at the left and below.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const BELOW: f64 = 26.0;

/// A figure over time, a line for each simulation.
pub(super) fn over_time(title: &str, reports: &[SimulationReport], figure: impl Fn(&TimelinePoint) -> f64) -> String {
    let points = || reports.iter().flat_map(|report| &report.timeline);
    let most = points().map(&figure).fold(1.0, f64::max);
    let end = points().map(|point| point.seconds as f64).fold(1.0, f64::max);
    let place = |point: &TimelinePoint| {
        let x = LEFT + (WIDTH - LEFT) * point.seconds as f64 / end;
        let y = (HEIGHT - BELOW) * (1.0 - figure(point) / most) + 4.0;
        format!("{x:.1},{y:.1}")
    };
    let line = |(index, report): (usize, &SimulationReport)| {
        let points: Vec<String> = report.timeline.iter().map(place).collect();
        format!("<polyline class=\"line c{}\" points=\"{}\"/>", index % 4, points.join(" "))
    };
    let lines: String = reports.iter().enumerate().map(line).collect();
    let axes = axes(&number(most.round() as u64), &span(end));
    figure_of(title, title, HEIGHT, &format!("{axes}{lines}"))
}

/// The axes with their ends.
fn axes(most: &str, end: &str) -> String {
    let floor = HEIGHT - BELOW + 4.0;
    format!(
        "<path class=\"axis\" d=\"M{LEFT} 4V{floor}H{WIDTH}\"/>\
         <text x=\"{x}\" y=\"14\" text-anchor=\"end\">{most}</text>\
         <text x=\"{x}\" y=\"{floor}\" text-anchor=\"end\">0</text>\
         <text x=\"{WIDTH}\" y=\"{HEIGHT}\" text-anchor=\"end\">{end}</text>",
        x = LEFT - 8.0,
    )
}

/// What each simulation cost, tier by tier.
pub(super) fn costs(reports: &[SimulationReport]) -> String {
    const ROW: f64 = 34.0;
    let most = reports.iter().map(|report| report.cost).fold(0.01, f64::max);
    let mut bars = String::new();
    for (place, report) in reports.iter().enumerate() {
        let (mut x, y) = (0.0, place as f64 * ROW);
        for tier in &report.tiers {
            let width = (WIDTH - 140.0) * tier.cost / most;
            let (class, words) = (tier.tier.as_str(), format!("{}: {}", tier.tier.as_str(), dollars(tier.cost)));
            bars.push_str(&format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\"><title>{words}</title></rect>",
                y + 16.0
            ));
            x += width;
        }
        let (name, cost) = (escaped(&report.name), dollars(report.cost));
        bars.push_str(&format!("<text x=\"0\" y=\"{:.1}\">{name}</text>", y + 12.0));
        bars.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\">{cost}</text>", x + 6.0, y + 28.0));
    }
    let key = |tier: TierName| format!(" <span class=\"key k{0}\"></span>{0}", tier.as_str());
    let title = "Cost by tier";
    let keys: String = TierName::all().map(key).collect();
    figure_of(title, &format!("{title}:{keys}"), ROW * reports.len() as f64, &bars)
}

/// A drawing of this height, with what is said above it.
fn figure_of(title: &str, caption: &str, height: f64, inner: &str) -> String {
    format!(
        "<figure><figcaption>{caption}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{inner}</svg></figure>\n"
    )
}
