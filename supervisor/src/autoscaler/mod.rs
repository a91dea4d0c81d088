//! The autoscaler: looks at each pool that scales once in its `check_interval`, asks its policies, and tells the pool's keeper what they
//! decided. It writes intent, and nothing else: it starts and ends nothing.
//!
//! A check takes a picture of its own. Of a pool whose keeper does not answer in time there is none, and nothing is decided; a figure of
//! the host that could not be measured is missing in it. Pools with the same interval are looked at together, with one pass over the
//! host's processes, and only where a policy looks at what these use.
//!
//! | file | what it does |
//! |---|---|
//! | [`check`] | one check of the pools with the same interval |
//! | [`demand`] | what a pool had to do, hour by hour, for those that forecast |

mod check;
mod demand;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use check::{HostFigures, complete};
use muster_domain::time::later;
use muster_domain::{PoolName, ScalingConfig, ScalingMode};

use self::check::{Check, ScaledPool};
use crate::announced::Announced;
use crate::clock;
use crate::context::Context;

/// On the board.
const SCALING: &str = "autoscaler";

/// How soon a pool that begins to scale is noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// Decides for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let _announced = Announced::begin("Autoscaler", ScalingConfig::default().check_interval);
    let mut checks: BTreeMap<Duration, Check> = BTreeMap::new();
    loop {
        let pools = pools_that_scale(&context);
        checks.retain(|interval, _| pools.contains_key(interval));
        let mut next = clock::now() + NOTICED_WITHIN;
        for (interval, pools) in pools {
            let check = checks.entry(interval).or_insert_with(|| Check::new(context.clone()));
            if check.due.is_none_or(|due| due <= clock::now()) {
                let begun = clock::now();
                check.round(pools).await;
                check.due = Some(next_check(check.due.unwrap_or(begun), interval, clock::now()));
            }
            next = check.due.map_or(next, |due| next.min(due));
        }
        tell(&context, checks.values().flat_map(|check| &check.failed));
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Says which pools are not scaled, or that all are.
fn tell<'f>(context: &Context, failed: impl Iterator<Item = &'f (PoolName, String)>) {
    let words: Vec<String> = failed.map(|(pool, why)| format!("the pool {pool} is not scaled: {why}")).collect();
    match words.is_empty() {
        true => context.reporting.health.recover(SCALING),
        false => context.reporting.health.degrade(SCALING, words.join("; ")),
    }
}

/// When the next check is due. One that came late, e.g. since this process stood still, is not made up for.
fn next_check(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = later(due, interval);
    if next > now { next } else { later(now, interval) }
}

/// The pools that scale, by the time between two checks of them.
fn pools_that_scale(context: &Context) -> BTreeMap<Duration, Vec<ScaledPool>> {
    let mut pools: BTreeMap<Duration, Vec<ScaledPool>> = BTreeMap::new();
    for (name, entry) in context.directory.entries() {
        let spec = entry.spec.get();
        let ScalingConfig { mode, check_interval, .. } = spec.config.scaling;
        if mode != ScalingMode::Off {
            pools.entry(check_interval).or_default().push(ScaledPool { name, keeper: entry.mailbox, spec });
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_came_late_is_not_made_up_for() {
        let (now, minute) = (Instant::now(), Duration::from_mins(1));
        assert_eq!(next_check(now, minute, now + Duration::from_secs(2)), now + minute, "no drift");
        let late = now + 3 * minute;
        assert_eq!(next_check(now, minute, late), late + minute);
    }
}
