use muster_domain::scaling::{ProactivePolicy, SchedulePolicy};

use super::*;

fn schedule(cron: &str, timezone: Option<&str>, min_workers: u32) -> ScalingPolicy {
    let timezone = timezone.map(|name| name.parse().expect(name));
    ScalingPolicy::Schedule(SchedulePolicy { cron: cron.parse().expect(cron), timezone, min_workers })
}

fn day() -> ScalingConfig {
    let policies = vec![schedule("cron(0 13 ? * MON-FRI *)", None, 50), schedule("cron(0 3 ? * * *)", None, 20)];
    ScalingConfig { policies, ..ScalingConfig::default() }
}

fn open(current: u32) -> Picture {
    let mut seen = picture(current);
    seen.workers.max = 0;
    seen
}

fn decided(config: &ScalingConfig, current: u32, now: &str) -> u32 {
    decide(config, &open(current), &ScalingHistory::default(), now.parse().expect(now)).target
}

#[test]
fn a_minimum_holds_until_the_next_schedule_fires() {
    for (now, expected) in [
        // The 27th of November 2026 is a Friday.
        ("2026-11-27T12:59:59Z", 20),
        ("2026-11-27T13:00:00Z", 50),
        ("2026-11-28T02:59:59Z", 50),
        ("2026-11-28T03:00:00Z", 20),
        ("2026-11-28T13:00:00Z", 20),
        ("2026-11-30T13:00:00Z", 50),
    ] {
        for current in [0, 20, 50, 60] {
            assert_eq!(decided(&day(), current, now), expected, "{now}");
        }
    }
}

#[test]
fn a_schedule_keeps_its_minimum_over_both_changes_of_daylight_saving() {
    let zone = Some("America/Los_Angeles");
    let policies = vec![schedule("30 2 * * *", zone, 5), schedule("30 1 * * *", zone, 9)];
    let config = ScalingConfig { policies, ..ScalingConfig::default() };
    for (now, expected) in [
        // 01:30 PST; 02:30 is left out, and 03:00 PDT counts for it.
        ("2027-03-14T09:29:59Z", 5),
        ("2027-03-14T09:30:00Z", 9),
        ("2027-03-14T09:59:59Z", 9),
        ("2027-03-14T10:00:00Z", 5),
        // 01:30 PDT; 01:30 PST an hour later fires nothing; 02:30 PST.
        ("2027-11-07T08:29:59Z", 5),
        ("2027-11-07T08:30:00Z", 9),
        ("2027-11-07T09:30:00Z", 9),
        ("2027-11-07T10:29:59Z", 9),
        ("2027-11-07T10:30:00Z", 5),
    ] {
        assert_eq!(decided(&config, 7, now), expected, "{now}");
    }
}

#[test]
fn others_add_to_a_minimum_and_never_go_below_it() {
    let mut config = day();
    config.preset = Some(ScalingPreset::Step);
    let now: Timestamp = "2026-11-27T14:00:00Z".parse().expect("a moment");
    let decide_at = |seen: &Picture| decide(&config, seen, &ScalingHistory::default(), now);
    is(&decide_at(&Picture { queue: Some(20), ..open(50) }), 60, Outcome::Out);
    is(&decide_at(&open(60)), 50, Outcome::In);
    is(&decide_at(&open(50)), 50, Outcome::Hold(HoldKind::NothingToChange));
    let late = ScalingConfig { policies: vec![schedule("0 0 1 1 ? 2030", None, 50)], ..ScalingConfig::default() };
    let decision = decide(&late, &open(7), &ScalingHistory::default(), now);
    is(&decision, 7, Outcome::Hold(HoldKind::NothingToChange));
    assert_eq!((decision.votes[0].workers, decision.votes[0].reason.as_str()), (None, "it has not fired yet"));
}

#[test]
fn free_slots_are_kept_ahead() {
    let proactive = |spare_workers| {
        with_policy(ScalingPolicy::Proactive(ProactivePolicy { spare_workers, ..ProactivePolicy::default() }))
    };
    let taken = |current: u32, taken| Picture {
        slots: Some(SlotUse { all: current * 10, taken, busy: taken }),
        ..picture(current)
    };
    for (spare, seen, expected) in [
        (1, taken(4, 30), 4),
        (1, taken(4, 31), 5),
        (0, taken(4, 32), 4),
        (0, taken(4, 33), 5),
        (2, taken(4, 32), 6),
        (1, taken(4, 0), 1),
        (0, taken(4, 0), 0),
    ] {
        let decision = first(&proactive(spare), &seen);
        assert_eq!(decision.target, expected, "{decision:?}");
    }
    let history = after_move(at("11:55:01"), 3, 4);
    holds(&decide(&proactive(1), &taken(4, 0), &history, noon()), HoldKind::Cooldown);
    is(&decide(&proactive(1), &taken(4, 40), &history, noon()), 5, Outcome::Out);
    holds(&first(&proactive(1), &Picture { slots: None, ..picture(4) }), HoldKind::MissingMetric);
}
