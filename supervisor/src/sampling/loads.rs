//! What the workers of each pool used at the latest look, for whoever places agents by that.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use muster_domain::PoolName;
use muster_policy::placement::PoolLoads;

/// The newest loads, pool by pool. The lock is held for as long as it takes to put one in or to take one out, never while anything is
/// measured.
#[derive(Default)]
pub(crate) struct LatestLoads(RwLock<HashMap<PoolName, Taken>>);

struct Taken {
    at: Instant,
    loads: Arc<PoolLoads>,
}

impl LatestLoads {
    /// Takes in what was measured, and lets go of what is older than `lasts`. A pool that could not be measured keeps what is known of it.
    pub(crate) fn put(&self, measured: Vec<(PoolName, PoolLoads)>, at: Instant, lasts: Duration) {
        let taken = measured.into_iter().map(|(pool, loads)| (pool, Taken { at, loads: Arc::new(loads) }));
        let taken: Vec<(PoolName, Taken)> = taken.collect();
        let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|_, known| at.saturating_duration_since(known.at) <= lasts);
        latest.extend(taken);
    }

    /// Those of a pool, if they are not older than `lasts`.
    pub(crate) fn of_pool(&self, pool: &PoolName, now: Instant, lasts: Duration) -> Option<Arc<PoolLoads>> {
        let latest = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = latest.get(pool).filter(|known| now.saturating_duration_since(known.at) <= lasts)?;
        Some(Arc::clone(&known.loads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_known_until_they_are_old() {
        let (loads, begun, lasts) = (LatestLoads::default(), Instant::now(), Duration::from_secs(60));
        let pool = |name: &str| name.parse::<PoolName>().expect("a name");
        let put = |name: &str, second: u64| {
            loads.put(vec![(pool(name), PoolLoads::default())], begun + Duration::from_secs(second), lasts);
        };
        let knows =
            |name: &str, second: u64| loads.of_pool(&pool(name), begun + Duration::from_secs(second), lasts).is_some();
        put("one", 0);
        put("other", 30);
        assert_eq!(
            [knows("one", 60), knows("one", 61), knows("other", 90), knows("third", 0)],
            [true, false, true, false]
        );
        put("other", 61);
        assert!(!knows("one", 60), "it was let go of");
    }
}
