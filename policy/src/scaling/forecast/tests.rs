use super::*;

const SEASONS: [Season; 2] = [Season::Day, Season::Week];

fn history(hours: usize, demand: impl Fn(usize) -> Option<f64>) -> DemandHistory {
    // A Monday.
    let first_hour = "2026-06-01T00:00:00Z".parse().expect("a moment");
    DemandHistory { first_hour, hours: (0..hours).map(demand).collect() }
}

/// Some noise that is the same each time, -1 to 1.
fn noise(hour: usize) -> f64 {
    let mixed = (hour as u64).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
}

/// Work by day, much less on two days of seven.
fn office(hour: usize) -> f64 {
    let by_day = if (8..18).contains(&(hour % 24)) { 100.0 } else { 10.0 };
    if (hour / 24) % 7 >= 5 { 10.0 } else { by_day }
}

fn in_hour(history: &DemandHistory, hour: usize) -> Timestamp {
    Timestamp::from_millis(history.first_hour.as_millis() + HOUR * hour as i64 + HOUR / 2)
}

fn next(history: &DemandHistory) -> Forecast {
    Forecast::of(history, &SEASONS, in_hour(history, history.hours.len())).expect("it is long enough")
}

#[test]
fn a_week_is_learned_that_yesterday_does_not_know() {
    for hours in [24 * 28 + 7, 24 * 49 + 8, 24 * 70 + 9] {
        let history = history(hours, |hour| Some((office(hour) + 3.0 * noise(hour)).max(0.0)));
        let forecast = next(&history);
        assert!(forecast.beats_yesterday(), "{forecast:?}");
        assert!((forecast.demand - office(hours)).abs() < 20.0, "{forecast:?}");
        assert!(forecast.error < 10.0 && forecast.yesterday_error > forecast.error, "{forecast:?}");
    }
}

#[test]
fn a_noisy_day_is_smoother_than_yesterday() {
    let day = |hour: usize| 50.0 + 40.0 * (std::f64::consts::TAU * hour as f64 / 24.0).sin();
    let history = history(24 * 10, |hour| Some(day(hour) + 10.0 * noise(hour)));
    let forecast = next(&history);
    assert!(forecast.beats_yesterday(), "{forecast:?}");
    assert_eq!(forecast.held_out, 80);
}

#[test]
fn what_nobody_can_foresee_does_not_beat_yesterday() {
    // The same each day but for one hour that wanders: yesterday is exact nearly always.
    let steady = history(24 * 10, |hour| Some(if hour % 24 < 12 { 40.0 } else { 5.0 }));
    assert!(!next(&steady).beats_yesterday(), "nothing is better than exact: {:?}", next(&steady));
    // Each level lasts for three days and is unrelated to the one before.
    let jumps = history(24 * 21, |hour| Some(if (hour / 72) % 2 == 0 { 100.0 } else { 5.0 }));
    let forecast = next(&jumps);
    assert!(forecast.demand >= 0.0 && forecast.demand.is_finite());
}

#[test]
fn gaps_are_passed_over() {
    let full = history(24 * 28, |hour| Some(office(hour)));
    let gaps = history(24 * 28, |hour| (hour % 11 != 3).then(|| office(hour)));
    let (full, gaps) = (next(&full), next(&gaps));
    assert!((full.demand - gaps.demand).abs() < 10.0, "{full:?} {gaps:?}");
    assert!(gaps.held_out < full.held_out);
    let nothing = next(&history(24 * 28, |_| None));
    assert!(!nothing.beats_yesterday() && nothing.held_out == 0);
}

#[test]
fn a_history_is_long_enough_or_it_is_said_how_long_it_has_to_be() {
    let of = |hours: usize, seasons: &[Season], ahead: usize| {
        let history = history(hours, |hour| Some(office(hour)));
        Forecast::of(&history, seasons, in_hour(&history, hours + ahead))
    };
    assert_eq!(of(71, &SEASONS, 0).map(|_| ()), Err(NoForecast::TooShort { hours: 71, needed: 72 }));
    assert!(of(72, &SEASONS, 0).is_ok(), "by the day only");
    assert_eq!(of(503, &[Season::Week], 0).map(|_| ()), Err(NoForecast::TooShort { hours: 503, needed: 504 }));
    assert!(of(504, &[Season::Week], 1).is_ok());
    assert_eq!(of(504, &SEASONS, 2).map(|_| ()), Err(NoForecast::TooOld));
    let words = NoForecast::TooShort { hours: 71, needed: 72 }.to_string();
    assert_eq!(words, "71 h of history are there, and 72 h are needed");
}
