//! What tenants have submitted and run, over all pools.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use muster_domain::{PoolName, TenantLimits, Tenants, Timestamp};
use muster_policy::quota::{Quota, QuotaLeft, QuotaRefusal, may_start};
use tokio::sync::watch;

/// The limits of tenants, and what counts against them.
pub(crate) struct Quotas {
    tenants: Tenants,
    /// Whether any tenant has a bound on running tasks: else nobody counts them.
    bounds_running: bool,
    submitted: Mutex<SubmittedCounts>,
    running: Mutex<RunningCounts>,
    /// Changes when a tenant that is counted runs less than before.
    freed: watch::Sender<()>,
}

/// Tenants that have submitted something lately. Their names are the callers', who may think of ever new ones.
#[derive(Default)]
struct SubmittedCounts {
    quotas: HashMap<String, Quota>,
    /// Past so many, those of whom nothing needs to be known are forgotten.
    most: usize,
}

/// Tenants of whom nothing is forgotten.
const FEW: usize = 4_096;

/// Running tasks by tenant and pool.
#[derive(Default)]
pub(crate) struct RunningCounts {
    counts: HashMap<String, HashMap<PoolName, u32>>,
}

/// What a tenant may have of the agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TenantShare {
    /// Tasks that it gets in a round.
    pub(crate) weight: u32,
    /// Tasks that it may start now.
    pub(crate) allowance: u32,
}

impl TenantShare {
    /// Of one without bounds among equals.
    pub(crate) const ANY: Self = Self { weight: 1, allowance: u32::MAX };
}

impl Quotas {
    pub(crate) fn new(tenants: Tenants) -> Self {
        let bounds_running = tenants.iter().any(|(_, limits)| limits.max_running.is_some());
        Self {
            tenants,
            bounds_running,
            submitted: Mutex::default(),
            running: Mutex::default(),
            freed: watch::Sender::new(()),
        }
    }

    pub(crate) fn limits(&self, tenant: &str) -> TenantLimits {
        self.tenants.of(tenant)
    }

    /// Whether what was submitted today has to be known before a tenant's next task is judged.
    pub(crate) fn wants_history(&self, tenant: &str) -> bool {
        self.limits(tenant).per_day.is_some() && !self.submitted().quotas.contains_key(tenant)
    }

    /// From now on a tenant is judged, of whom so many tasks were taken in today before. The first word counts.
    pub(crate) fn know(&self, tenant: &str, used_today: u64, now: Instant, wall: Timestamp) {
        let limits = self.limits(tenant);
        self.submitted().quotas.entry(tenant.to_owned()).or_insert_with(|| Quota::new(&limits, used_today, now, wall));
    }

    /// Lets so many tasks of a tenant in, or none. Without limits nothing is counted.
    pub(crate) fn take(
        &self,
        tenant: &str,
        count: u64,
        now: Instant,
        wall: Timestamp,
    ) -> Result<Option<QuotaLeft>, QuotaRefusal> {
        let limits = self.limits(tenant);
        if limits.rate.is_none() && limits.per_day.is_none() {
            return Ok(None);
        }
        let mut submitted = self.submitted();
        submitted.forget_some(now, wall);
        let quota = submitted.quotas.entry(tenant.to_owned()).or_insert_with(|| Quota::new(&limits, 0, now, wall));
        quota.take(count, now, wall).map(Some)
    }

    /// A task that was let in was not taken in after all.
    pub(crate) fn give_back(&self, tenant: &str, count: u64, now: Instant, wall: Timestamp) {
        if let Some(quota) = self.submitted().quotas.get_mut(tenant) {
            quota.give_back(count, now, wall);
        }
    }

    /// A pool is gone.
    pub(crate) fn forget(&self, pool: &PoolName) {
        if self.lock_running().set(pool, &HashMap::new()) {
            self.freed.send_replace(());
        }
    }

    /// What is left for a tenant.
    pub(crate) fn left(&self, tenant: &str, now: Instant, wall: Timestamp) -> QuotaLeft {
        let limits = self.limits(tenant);
        let submitted = self.submitted();
        match submitted.quotas.get(tenant) {
            Some(quota) => quota.left(now, wall),
            None => Quota::new(&limits, 0, now, wall).left(now, wall),
        }
    }

    /// Tasks of a tenant that run, over all pools; none where nobody counts them.
    pub(crate) fn running_of(&self, tenant: &str) -> u32 {
        self.count_running().map_or(0, |running| running.of(tenant))
    }

    /// Hears when tasks of a tenant have ended in whichever pool: those that wait in another one for its bound may start.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// A pool says how many of each tenant's tasks it runs. It holds the counts, and hears what other pools say from now on.
    pub(crate) fn tell(
        &self,
        running: &mut RunningCounts,
        pool: &PoolName,
        counts: &HashMap<String, u32>,
        freed: &mut watch::Receiver<()>,
    ) {
        if running.set(pool, counts) {
            self.freed.send_replace(());
        }
        freed.mark_unchanged();
    }

    /// Holds the counts of running tasks while tasks are given out, so that two pools do not both use the last one; nothing
    /// where no tenant has such a bound.
    pub(crate) fn count_running(&self) -> Option<MutexGuard<'_, RunningCounts>> {
        self.bounds_running.then(|| self.lock_running())
    }

    /// What a tenant may have beside what runs; nothing is said of that where nobody counts it.
    pub(crate) fn share(&self, running: Option<&RunningCounts>, tenant: &str) -> TenantShare {
        let limits = self.limits(tenant);
        let allowance = running.map_or(u32::MAX, |running| running.allowance(tenant, &limits));
        TenantShare { weight: limits.weight, allowance }
    }

    fn lock_running(&self) -> MutexGuard<'_, RunningCounts> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submitted(&self) -> MutexGuard<'_, SubmittedCounts> {
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubmittedCounts {
    fn forget_some(&mut self, now: Instant, wall: Timestamp) {
        if self.quotas.len() >= self.most.max(FEW) {
            self.quotas.retain(|_, quota| !quota.is_untouched(now, wall));
            self.most = self.quotas.len() * 2;
        }
    }
}

impl RunningCounts {
    fn of(&self, tenant: &str) -> u32 {
        self.counts.get(tenant).map_or(0, |pools| pools.values().sum())
    }

    /// Tasks that a tenant with these limits may start now.
    pub(crate) fn allowance(&self, tenant: &str, limits: &TenantLimits) -> u32 {
        may_start(limits, self.of(tenant))
    }

    /// Notes how many of each tenant's tasks a pool runs; whether there are less of any than before.
    fn set(&mut self, pool: &PoolName, counts: &HashMap<String, u32>) -> bool {
        let mut is_less = false;
        for (tenant, pools) in &mut self.counts {
            let before = pools.remove(pool).unwrap_or(0);
            is_less |= counts.get(tenant).copied().unwrap_or(0) < before;
        }
        for (tenant, count) in counts {
            self.counts.entry(tenant.clone()).or_default().insert(pool.clone(), *count);
        }
        self.counts.retain(|_, pools| !pools.is_empty());
        is_less
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::DEFAULT_TENANT;

    use super::*;

    fn pool(name: &str) -> PoolName {
        name.parse().expect("a name")
    }

    #[test]
    fn what_runs_is_counted_over_all_pools() {
        let mut tenants = Tenants::default();
        let limits = TenantLimits { max_running: Some(5), ..TenantLimits::default() };
        tenants.insert("acme".to_owned(), limits);
        let quotas = Quotas::new(tenants);
        let counts = |count| HashMap::from([("acme".to_owned(), count)]);
        let mut running = quotas.count_running().expect("there is a bound");
        assert!(!running.set(&pool("a"), &counts(2)) && !running.set(&pool("b"), &counts(1)));
        assert_eq!(running.allowance("acme", &limits), 2);
        assert!(!running.set(&pool("a"), &counts(2)) && running.set(&pool("a"), &HashMap::new()));
        assert_eq!(running.allowance("acme", &limits), 4);
        drop(running);
        assert_eq!((quotas.running_of("acme"), quotas.running_of("other")), (1, 0));
    }

    #[test]
    fn a_new_master_counts_on_from_what_the_day_has_seen() {
        let mut tenants = Tenants::default();
        tenants.insert("acme".to_owned(), TenantLimits { per_day: Some(10), ..TenantLimits::default() });
        let (quotas, now, wall) = (Quotas::new(tenants), Instant::now(), Timestamp::from_millis(1_000));
        assert!(quotas.wants_history("acme") && !quotas.wants_history("other"));
        quotas.know("acme", 9, now, wall);
        assert!(quotas.take("acme", 1, now, wall).is_ok());
        assert!(quotas.take("acme", 1, now, wall).is_err());
        assert_eq!(quotas.left("acme", now, wall).today, Some(0));
        assert_eq!(quotas.take("other", 1_000, now, wall), Ok(None));
    }

    #[test]
    fn ever_new_names_of_tenants_are_forgotten() {
        let mut tenants = Tenants::default();
        let limits = TenantLimits { rate: Some(1.0), ..TenantLimits::default() };
        tenants.insert(DEFAULT_TENANT.to_owned(), limits);
        let (quotas, wall) = (Quotas::new(tenants), Timestamp::from_millis(1_000));
        let mut now = Instant::now();
        for n in 0..3 * FEW {
            now += Duration::from_millis(1);
            assert!(quotas.take(&n.to_string(), 1, now, wall).is_ok());
        }
        assert!(quotas.submitted().quotas.len() <= 2 * FEW, "those of the last second and no others");
        assert!(quotas.take(&(3 * FEW - 1).to_string(), 1, now, wall).is_err(), "its second is not over");
    }
}
