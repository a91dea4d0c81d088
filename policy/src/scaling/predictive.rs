//! The vote of a forecast: workers for a demand that comes back.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::scaling::PredictivePolicy;

use super::forecast::Forecast;
use super::vote::Opinion;
use super::{Picture, ScalingHistory};

/// So much before an hour begins its workers are started.
const LEAD: Duration = Duration::from_secs(600);

/// Workers for the demand that is forecast. It abstains while "the same hour yesterday" has been as near to the truth.
pub(super) fn opinion(
    policy: &PredictivePolicy,
    picture: &Picture,
    history: &ScalingHistory,
    now: Timestamp,
) -> Opinion {
    let forecast = match Forecast::of(&history.demand, &policy.seasons, now.after(LEAD)) {
        Ok(forecast) => forecast,
        Err(short) => return Opinion::abstains(short.to_string()),
    };
    let Forecast { demand, error, yesterday_error, held_out, .. } = forecast;
    let errors = format!(
        "over {held_out} h its mean error was {error:.1}, that of the same hour yesterday {yesterday_error:.1}"
    );
    if !forecast.beats_yesterday() {
        return Opinion::abstains(format!("it does not beat the same hour yesterday: {errors}"));
    }
    let workers = (demand / f64::from(picture.workers.max_agents.max(1)) - 1e-9).ceil().max(0.0) as u32;
    let words = format!("{demand:.0} tasks are forecast for {}; {errors}", forecast.hour);
    let opinion = Opinion::wants(workers, words);
    // Without on_demand the demand is that of agents which others spawn.
    if picture.on_demand_max_agents.is_some() { opinion.within_queue_bound(picture) } else { opinion }
}

#[cfg(test)]
mod tests {
    use muster_domain::scaling::{HoldKind, ScalingPolicy, ScalingPreset, Season};
    use muster_domain::{ScalingConfig, Words};

    use super::super::{DemandHistory, Outcome, PictureWorkers, decide};
    use super::*;

    const HOURS: usize = 24 * 28;

    /// Four weeks of which each has two days of rest; 100 tasks from 8 to 18 else.
    fn history(demand: impl Fn(usize) -> f64) -> ScalingHistory {
        let first_hour = "2026-06-01T00:00:00Z".parse().expect("a moment");
        let hours = (0..HOURS).map(|hour| Some(demand(hour))).collect();
        ScalingHistory { demand: DemandHistory { first_hour, hours }, ..ScalingHistory::default() }
    }

    fn office(hour: usize) -> f64 {
        if (8..18).contains(&(hour % 24)) && (hour / 24) % 7 < 5 { 100.0 } else { 10.0 }
    }

    fn picture(current: u32, queue: u32) -> Picture {
        Picture {
            age: Some(Duration::ZERO),
            workers: PictureWorkers { current, max: 50, max_agents: 10, ..PictureWorkers::default() },
            queue: Some(queue),
            cpu: Some(0.0),
            on_demand_max_agents: Some(0),
            ..Picture::default()
        }
    }

    fn config(preset: Option<ScalingPreset>) -> ScalingConfig {
        let policy = PredictivePolicy { seasons: Season::all().collect() };
        ScalingConfig { preset, policies: vec![ScalingPolicy::Predictive(policy)], ..ScalingConfig::default() }
    }

    /// The last hour of the history ends at 08:00 of a Monday that is not part of it.
    fn morning() -> (ScalingHistory, Timestamp) {
        let mut history = history(office);
        history.demand.hours.extend((HOURS..HOURS + 8).map(|hour| Some(office(hour))));
        (history, "2026-06-29T08:10:00Z".parse().expect("a moment"))
    }

    #[test]
    fn a_forecast_adds_workers_and_takes_none() {
        let (history, now) = morning();
        let decision = decide(&config(None), &picture(2, 0), &history, now);
        assert!((8..=12).contains(&decision.target), "{decision:?}");
        let reason = &decision.votes[0].reason;
        assert!(
            reason.contains("tasks are forecast for 2026-06-29T08:00:00.000Z; over 168 h its mean error was"),
            "{reason}"
        );
        let alone = decide(&config(None), &picture(40, 0), &history, now);
        assert_eq!((alone.target, alone.outcome), (40, Outcome::Hold(HoldKind::NothingToChange)), "{alone:?}");
        let both = decide(&config(Some(ScalingPreset::Target)), &picture(40, 0), &history, now);
        assert_eq!(both.target, decision.target, "it stands against fewer than are forecast: {both:?}");
        let bounded = Picture { on_demand_max_agents: Some(40), ..picture(2, 0) };
        assert_eq!(decide(&config(None), &bounded, &history, now).target, 4);
        let spawned = Picture { on_demand_max_agents: None, ..picture(2, 0) };
        assert_eq!(decide(&config(None), &spawned, &history, now).target, decision.target);
    }

    #[test]
    fn workers_are_there_when_their_hour_begins() {
        let (mut history, now) = morning();
        history.demand.hours.pop();
        let before = decide(&config(None), &picture(2, 0), &history, now.before(Duration::from_secs(1_260)));
        assert!(before.target <= 2, "{before:?}");
        let soon = decide(&config(None), &picture(2, 0), &history, now.before(Duration::from_secs(1_200)));
        assert!(soon.target >= 8, "{soon:?}");
    }

    #[test]
    fn one_that_does_not_beat_yesterday_abstains_and_says_so() {
        let steady = history(|hour| if hour % 24 < 12 { 100.0 } else { 5.0 });
        let now = "2026-06-29T00:30:00Z".parse().expect("a moment");
        let decision = decide(&config(None), &picture(2, 0), &steady, now);
        assert_eq!((decision.votes[0].workers, decision.target), (None, 2), "{decision:?}");
        let reason = &decision.votes[0].reason;
        assert!(
            reason.starts_with("it does not beat the same hour yesterday: over 168 h its mean error was "),
            "{reason}"
        );
        assert!(reason.ends_with(", that of the same hour yesterday 0.0"), "{reason}");
        let short = decide(&config(None), &picture(2, 0), &ScalingHistory::default(), now);
        assert_eq!(short.votes[0].reason, "0 h of history are there, and 72 h are needed");
    }
}
