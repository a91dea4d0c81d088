//! May this tenant submit so many tasks now, and if not, when?
//!
//! Two limits, both of what is accepted: a rate (the generic cell rate algorithm, a token bucket that keeps one moment instead
//! of a level), and a number per day of UTC. A refusal costs nothing, and says how long to wait.

use std::time::{Duration, Instant};

use muster_domain::{TenantLimits, Timestamp};

/// What one tenant has submitted, as far as its limits ask for it.
#[derive(Clone, Debug)]
pub struct Quota {
    rate: Option<RateLimit>,
    day: Option<Day>,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Tasks that the rate lets in at once; none: any number.
    pub at_once: Option<u64>,
    /// Tasks that the day lets in until it ends; none: any number.
    pub today: Option<u64>,
    /// Until the day ends.
    pub day_ends_in: Duration,
}

/// Which limit refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaLimit {
    /// Tasks per second.
    Rate,
    /// Tasks per day.
    PerDay,
}

impl QuotaLimit {
    /// The limit's name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::PerDay => "per_day",
        }
    }
}

/// Too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// The limit that holds for longest.
    pub what: QuotaLimit,
    /// When as many would be let in, if nobody else takes them; none where the limit never lets so many in at once.
    pub retry_after: Option<Duration>,
}

impl Quota {
    /// For a tenant with these limits, of which `used_today` tasks were let in on the day of `wall` before. `now` and `wall` are the
    /// same moment, here and below.
    pub fn new(limits: &TenantLimits, used_today: u64, now: Instant, wall: Timestamp) -> Self {
        let day = |limit| Day { limit, number: day_of(wall), began: midnight(now, wall), used: used_today };
        Self { rate: limits.rate.map(RateLimit::new), day: limits.per_day.map(day) }
    }

    /// Lets all `count` tasks in, or none.
    pub fn take(&mut self, count: u64, now: Instant, wall: Timestamp) -> Result<QuotaLeft, QuotaRefusal> {
        if let Some(day) = &mut self.day {
            day.turn(now, wall);
        }
        let refusals = [
            self.day.as_ref().and_then(|day| day.refusal(count, now, wall)),
            self.rate.as_ref().and_then(|rate| rate.refusal(count, now)),
        ];
        // The longer wait is the honest one, and "never" is the longest.
        let longest = refusals.into_iter().flatten().max_by_key(|refusal| refusal.retry_after.unwrap_or(Duration::MAX));
        if let Some(refusal) = longest {
            return Err(refusal);
        }
        if let Some(day) = &mut self.day {
            day.used += count;
        }
        if let Some(rate) = &mut self.rate {
            rate.take(count, now);
        }
        Ok(self.left(now, wall))
    }

    /// As many tasks that were let in did not come after all.
    pub fn give_back(&mut self, count: u64, now: Instant, wall: Timestamp) {
        if let Some(day) = &mut self.day {
            day.turn(now, wall);
            day.used = day.used.saturating_sub(count);
        }
        if let Some(rate) = &mut self.rate {
            let cost = rate.cost(count);
            rate.paid_until = rate.paid_until.and_then(|until| until.checked_sub(cost));
        }
    }

    /// Whether a new one would say the same: all is left of the rate, and the day has seen nothing.
    pub fn is_untouched(&self, now: Instant, wall: Timestamp) -> bool {
        let rested = self.rate.as_ref().is_none_or(|rate| rate.ahead(now).is_zero());
        rested && self.day.as_ref().is_none_or(|day| day.used == 0 || day.is_over(now, wall))
    }

    /// What is left at this moment.
    pub fn left(&self, now: Instant, wall: Timestamp) -> QuotaLeft {
        QuotaLeft {
            at_once: self.rate.as_ref().map(|rate| rate.left(now)),
            today: self.day.as_ref().map(|day| day.left(now, wall)),
            day_ends_in: day_ends_in(wall),
        }
    }
}

/// Tasks that a tenant may start beside those of it that run; `u32::MAX` where there is no bound.
pub fn may_start(limits: &TenantLimits, running: u32) -> u32 {
    limits.max_running.map_or(u32::MAX, |most| most.saturating_sub(running))
}

/// A rate: one task per `interval`, and up to `burst` of them at once after a pause.
#[derive(Clone, Copy, Debug)]
struct RateLimit {
    interval: Duration,
    burst: u64,
    /// When the tasks let in so far would all have come, had they come one by one.
    paid_until: Option<Instant>,
}

impl RateLimit {
    fn new(per_second: f64) -> Self {
        // Rounded up, so that the rate is never passed; validated limits are far from what these types can hold.
        let interval = Duration::from_nanos((1e9 / per_second).ceil() as u64).max(Duration::from_nanos(1));
        Self { interval, burst: (per_second as u64).max(1), paid_until: None }
    }

    /// How far ahead of the time the tasks are.
    fn ahead(&self, now: Instant) -> Duration {
        self.paid_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn cost(&self, count: u64) -> Duration {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn refusal(&self, count: u64, now: Instant) -> Option<QuotaRefusal> {
        let refuse = |retry_after| Some(QuotaRefusal { what: QuotaLimit::Rate, retry_after });
        if count > self.burst {
            return refuse(None);
        }
        let wait = (self.ahead(now) + self.cost(count)).saturating_sub(self.cost(self.burst));
        if wait.is_zero() { None } else { refuse(Some(wait)) }
    }

    fn take(&mut self, count: u64, now: Instant) {
        self.paid_until = Some(now + self.ahead(now) + self.cost(count));
    }

    fn left(&self, now: Instant) -> u64 {
        let room = self.cost(self.burst).saturating_sub(self.ahead(now));
        u64::try_from(room.as_nanos() / self.interval.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A number of tasks per day.
#[derive(Clone, Copy, Debug)]
struct Day {
    limit: u64,
    /// The day, counted from 1970-01-01 in UTC.
    number: i64,
    /// When it began, on a clock that nobody sets.
    began: Instant,
    used: u64,
}

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;
const DAY: Duration = Duration::from_hours(24);

/// A day that is shorter than this is none, whatever the clock on the wall says: it was set.
const SHORTEST: Duration = Duration::from_hours(12);

/// And one that is longer is over.
const LONGEST: Duration = Duration::from_hours(36);

impl Day {
    /// A day ends at midnight. A clock that is set forth and back must not open one after the other, nor one that is set back shut the
    /// tenant out for longer than the time that a day has.
    fn is_over(&self, now: Instant, wall: Timestamp) -> bool {
        let lived = now.saturating_duration_since(self.began);
        lived >= LONGEST || (self.is_another(wall) && lived >= SHORTEST)
    }

    /// Whether the wall shows another day. The one before is shown by a clock that was a little ahead, and set.
    fn is_another(&self, wall: Timestamp) -> bool {
        !(self.number - 1..=self.number).contains(&day_of(wall))
    }

    fn turn(&mut self, now: Instant, wall: Timestamp) {
        if self.is_over(now, wall) {
            // After a step the midnight on the wall is none.
            let began = midnight(now, wall).max(self.began + DAY).min(now);
            *self = Self { number: day_of(wall), began, used: 0, ..*self };
        }
    }

    fn left(&self, now: Instant, wall: Timestamp) -> u64 {
        if self.is_over(now, wall) { self.limit } else { self.limit.saturating_sub(self.used) }
    }

    fn refusal(&self, count: u64, now: Instant, wall: Timestamp) -> Option<QuotaRefusal> {
        if count <= self.left(now, wall) {
            return None;
        }
        let left_of = |time: Duration| (self.began + time).saturating_duration_since(now);
        let until_midnight = Timestamp::from_millis((self.number + 1).saturating_mul(DAY_MILLIS)).since(wall);
        let honest = if self.is_another(wall) { left_of(SHORTEST) } else { until_midnight.max(left_of(SHORTEST)) };
        let retry_after = (count <= self.limit).then(|| honest.min(left_of(LONGEST)));
        Some(QuotaRefusal { what: QuotaLimit::PerDay, retry_after })
    }
}

/// When the day on the wall began, on a clock that nobody sets.
fn midnight(now: Instant, wall: Timestamp) -> Instant {
    now.checked_sub(DAY.saturating_sub(day_ends_in(wall))).unwrap_or(now)
}

fn day_of(wall: Timestamp) -> i64 {
    wall.as_millis().div_euclid(DAY_MILLIS)
}

fn day_ends_in(wall: Timestamp) -> Duration {
    let millis = DAY_MILLIS - wall.as_millis().rem_euclid(DAY_MILLIS);
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);

    fn limits(rate: Option<f64>, per_day: Option<u64>) -> TenantLimits {
        TenantLimits { rate, per_day, ..TenantLimits::default() }
    }

    /// A clock for both kinds of time.
    #[derive(Clone, Copy)]
    struct Clock {
        now: Instant,
        wall: Timestamp,
    }

    impl Clock {
        fn at(wall: Timestamp) -> Self {
            Self { now: Instant::now(), wall }
        }

        /// Later by whole milliseconds, rounded up, as callers wait who read a header.
        fn after(self, wait: Duration) -> Self {
            let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000) as u64);
            Self { now: self.now + wait, wall: self.wall.after(wait) }
        }
    }

    fn take(quota: &mut Quota, count: u64, clock: Clock) -> Result<QuotaLeft, QuotaRefusal> {
        quota.take(count, clock.now, clock.wall)
    }

    #[test]
    fn without_limits_everything_is_let_in() {
        let clock = Clock::at(NOON);
        let mut quota = Quota::new(&TenantLimits::default(), 0, clock.now, clock.wall);
        let left = QuotaLeft { at_once: None, today: None, day_ends_in: Duration::from_secs(12 * 3_600) };
        assert_eq!(take(&mut quota, u64::MAX, clock), Ok(left));
        assert_eq!(may_start(&TenantLimits::default(), 7), u32::MAX);
        assert_eq!(may_start(&TenantLimits { max_running: Some(5), ..TenantLimits::default() }, 3), 2);
        assert_eq!(may_start(&TenantLimits { max_running: Some(5), ..TenantLimits::default() }, 9), 0);
    }

    #[test]
    fn one_second_of_the_rate_is_there_at_once() {
        let clock = Clock::at(NOON);
        let mut quota = Quota::new(&limits(Some(10.0), None), 0, clock.now, clock.wall);
        assert_eq!(take(&mut quota, 8, clock).map(|left| left.at_once), Ok(Some(2)));
        let refusal = QuotaRefusal { what: QuotaLimit::Rate, retry_after: Some(Duration::from_millis(100)) };
        assert_eq!(take(&mut quota, 3, clock), Err(refusal));
        assert_eq!(take(&mut quota, 2, clock).map(|left| left.at_once), Ok(Some(0)), "a refusal costs nothing");
        assert_eq!(take(&mut quota, 5, clock.after(Duration::from_millis(500))).map(|left| left.at_once), Ok(Some(0)));
        let never = QuotaRefusal { what: QuotaLimit::Rate, retry_after: None };
        assert_eq!(take(&mut quota, 11, clock.after(Duration::from_secs(60))), Err(never));
    }

    #[test]
    fn a_slow_rate_lets_in_one_at_a_time() {
        let clock = Clock::at(NOON);
        let mut quota = Quota::new(&limits(Some(0.5), None), 0, clock.now, clock.wall);
        assert!(take(&mut quota, 1, clock).is_ok());
        let refused = take(&mut quota, 1, clock.after(Duration::from_millis(500))).expect_err("too soon");
        assert_eq!(refused.retry_after, Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        let clock = Clock::at(NOON);
        let mut quota = Quota::new(&limits(None, Some(5)), 3, clock.now, clock.wall);
        let half_a_day = Duration::from_secs(12 * 3_600);
        assert_eq!(take(&mut quota, 2, clock).map(|left| left.today), Ok(Some(0)));
        let refusal = QuotaRefusal { what: QuotaLimit::PerDay, retry_after: Some(half_a_day) };
        assert_eq!(take(&mut quota, 1, clock), Err(refusal));
        assert_eq!(take(&mut quota, 6, clock), Err(QuotaRefusal { what: QuotaLimit::PerDay, retry_after: None }));
        let next = clock.after(half_a_day);
        assert_eq!(quota.left(next.now, next.wall).today, Some(5));
        assert_eq!(take(&mut quota, 5, next).map(|left| left.today), Ok(Some(0)));
    }

    #[test]
    fn a_clock_set_back_over_midnight_does_not_open_the_day_again() {
        let midnight = Clock::at(Timestamp::from_millis(20_000 * DAY_MILLIS));
        let mut quota = Quota::new(&limits(None, Some(5)), 0, midnight.now, midnight.wall);
        assert!(take(&mut quota, 5, midnight).is_ok());
        let back = Clock { wall: midnight.wall.before(Duration::from_secs(1)), ..midnight };
        let refused = take(&mut quota, 1, back).expect_err("the day is used up");
        assert_eq!(refused.retry_after, Some(Duration::from_secs(24 * 3_600 + 1)));
        let years_back = Clock { wall: NOON.before(Duration::from_secs(1_000_000_000)), ..midnight };
        let refused = take(&mut quota, 1, years_back).expect_err("the day is used up");
        let wait = refused.retry_after.expect("a time");
        assert_eq!(wait, SHORTEST, "a clock that was far ahead shuts nobody out for long");
        assert!(take(&mut quota, 5, years_back.after(wait)).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_to_and_fro_hands_out_no_second_day() {
        let hours = |hours| Duration::from_hours(hours);
        for step in [hours(1), hours(13), hours(240), hours(24 * 3_650)] {
            let mut clock = Clock::at(NOON);
            let mut quota = Quota::new(&limits(None, Some(5)), 0, clock.now, clock.wall);
            assert!(take(&mut quota, 5, clock).is_ok());
            let mut days = 1;
            for minute in 0..120 {
                clock = clock.after(Duration::from_secs(60));
                clock.wall = if minute % 2 == 0 { clock.wall.after(step) } else { clock.wall.before(step) };
                days += u32::from(take(&mut quota, 5, clock).is_ok());
            }
            assert!(days <= 2, "{days} days in two hours, by steps of {step:?}");
            // And none is taken away, beside the one that was handed out before its time.
            assert!(take(&mut quota, 5, clock.after(hours(36))).is_ok(), "{step:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_again_and_again_takes_no_day_away() {
        let mut clock = Clock::at(NOON);
        let mut quota = Quota::new(&limits(None, Some(5)), 0, clock.now, clock.wall);
        let mut days = 0;
        for _ in 0..24 * 10 {
            days += u32::from(take(&mut quota, 5, clock).is_ok());
            clock = clock.after(Duration::from_hours(1));
            clock.wall = clock.wall.before(Duration::from_hours(1));
        }
        assert!((9..=11).contains(&days), "{days} in ten days");
    }

    proptest! {
        /// Over any stretch of time no more is let in than the rate and one burst, and on no day more than its number. Whoever is
        /// refused and comes back when told is let in. What is left is really there, and no more.
        #[test]
        fn limits_hold_and_refusals_are_honest(
            rate in prop::option::of(0.01..200.0_f64),
            per_day in prop::option::of(1..300_u64),
            start in 0..DAY_MILLIS,
            steps in prop::collection::vec((0..60_000_u64, 0..3_u32, 1..20_u64), 1..120),
        ) {
            let mut clock = Clock::at(Timestamp::from_millis(20_000 * DAY_MILLIS + start));
            let mut quota = Quota::new(&limits(rate, per_day), 0, clock.now, clock.wall);
            let mut taken: Vec<(Clock, u64)> = Vec::new();
            for (wait, scale, count) in steps {
                clock = clock.after(Duration::from_millis(wait >> (scale * 5)));
                let left = quota.left(clock.now, clock.wall);
                let most = left.at_once.unwrap_or(u64::MAX).min(left.today.unwrap_or(u64::MAX));
                if most < 1_000 {
                    prop_assert!(quota.clone().take(most + 1, clock.now, clock.wall).is_err());
                    prop_assert!(quota.clone().take(most, clock.now, clock.wall).is_ok());
                }
                match take(&mut quota, count, clock) {
                    Ok(_) => taken.push((clock, count)),
                    Err(QuotaRefusal { retry_after: Some(wait), .. }) => {
                        let then = clock.after(wait);
                        prop_assert!(take(&mut quota.clone(), count, then).is_ok(), "refused again");
                    }
                    Err(QuotaRefusal { what, retry_after: None }) => {
                        let bound = match what {
                            QuotaLimit::Rate => (rate.expect("a rate") as u64).max(1),
                            QuotaLimit::PerDay => per_day.expect("a number"),
                        };
                        prop_assert!(count > bound);
                    }
                }
            }
            for (n, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (to, count) in &taken[n..] {
                    sum += count;
                    if let Some(rate) = rate {
                        let bound = (to.now - from.now).as_secs_f64() * rate + rate.floor().max(1.0);
                        prop_assert!(sum as f64 <= bound + 1e-6, "{sum} tasks, {bound} allowed");
                    }
                }
                if let Some(per_day) = per_day {
                    let day = taken.iter().filter(|(at, _)| day_of(at.wall) == day_of(from.wall));
                    prop_assert!(day.map(|(_, count)| count).sum::<u64>() <= per_day);
                }
            }
        }
    }
}
