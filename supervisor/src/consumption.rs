//! What callers ask about what tasks used, and how many more their tenants may submit.

use muster_domain::budget::Scope;
use muster_domain::tenant::check_tenant_name;
use muster_domain::{DEFAULT_TENANT, Timestamp, Usage};

use crate::access;
use crate::clock;
use crate::error::SupervisorError;
use crate::tasks::Tasks;
use crate::view::{BudgetFigures, Page, QuotaView, UsageView};

/// Accounts read at once while looking for one.
const PAGE: u32 = 1_000;

impl Tasks {
    /// What was used on the accounts of a scope after the name `after`, in the order of their names; 1 to 1,000 of them.
    pub async fn usage(
        &self,
        scope: Scope,
        after: &str,
        limit: u32,
    ) -> Result<Page<UsageView, String>, SupervisorError> {
        let Some(own) = access::to_accounts(&self.principal, scope)? else {
            return self.accounts(scope, after, limit.clamp(1, 1_000)).await;
        };
        let mut after = after.to_owned();
        loop {
            let page = self.accounts(scope, &after, PAGE).await?;
            let found: Vec<UsageView> = page.items.into_iter().filter(|account| account.name == own).collect();
            match page.next {
                Some(next) if found.is_empty() => after = next,
                _ => return Ok(Page { items: found, next: None }),
            }
        }
    }

    async fn accounts(
        &self,
        scope: Scope,
        after: &str,
        limit: u32,
    ) -> Result<Page<UsageView, String>, SupervisorError> {
        // One more than asked for tells whether there is another page.
        let rows = self.context.store.usage(scope, after, limit + 1).await;
        let mut rows = rows.map_err(|error| self.context.store_failed(&error))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|(name, _)| name.clone());
        let view = |(name, usage): (String, Usage)| {
            let budget = self.context.limits.accounts.budget(scope, &name).map(BudgetFigures::from);
            UsageView { name, usage, budget }
        };
        Ok(Page { items: rows.into_iter().map(view).collect(), next })
    }

    /// A tenant's limits and what is left of them; by default of the principal's, or of [`DEFAULT_TENANT`].
    pub async fn quota(&self, tenant: Option<String>) -> Result<QuotaView, SupervisorError> {
        let tenant = access::to_tenant(&self.principal, tenant)?;
        let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
        check_tenant_name(&tenant).map_err(SupervisorError::Invalid)?;
        self.know_tenant(&tenant).await?;
        let quotas = &self.context.limits.quotas;
        let (limits, running) = (quotas.limits(&tenant).into(), quotas.running_of(&tenant));
        let left = quotas.left(&tenant, clock::now(), self.context.settings.wall.now()).into();
        Ok(QuotaView { tenant, limits, running, left })
    }

    /// A limit per day counts what the day has seen before this supervisor led.
    pub(crate) async fn know_tenant(&self, tenant: &str) -> Result<(), SupervisorError> {
        if !self.context.limits.quotas.wants_history(tenant) {
            return Ok(());
        }
        let wall = self.context.settings.wall.now();
        let used = self.context.store.made_since(tenant, day_begin(wall)).await;
        let used = used.map_err(|error| self.context.store_failed(&error))?;
        self.context.limits.quotas.know(tenant, used, clock::now(), wall);
        Ok(())
    }
}

/// The beginning of the day of UTC.
const fn day_begin(at: Timestamp) -> Timestamp {
    const DAY: i64 = 24 * 60 * 60 * 1_000;
    Timestamp::from_millis(at.as_millis() - at.as_millis().rem_euclid(DAY))
}
