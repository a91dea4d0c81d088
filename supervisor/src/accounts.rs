//! What was used on each account, and what is left of its budget.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use muster_domain::budget::{Budget, Budgets, Scope};
use muster_domain::{AgentId, PoolName, TaskId, Usage};
use muster_policy::budget::{AccountUsage, Exhausted, exhausted};
use muster_store::{Store, StoreError, UsageAdded};

/// Accounts that one read takes.
const PAGE: u32 = 1_000;

/// The budgets, and the sums that count against them. Without budgets nothing is kept here; the store sums all the same.
pub(crate) struct Accounts {
    budgets: Budgets,
    state: Mutex<AccountSums>,
}

#[derive(Default)]
struct AccountSums {
    /// What runs that are over have used.
    before: HashMap<(Scope, String), Usage>,
    /// What running tasks have used so far, and on whose accounts.
    running: HashMap<TaskId, (Vec<Name>, Usage)>,
    sums: HashMap<(Scope, String), Usage>,
}

type Name = (Scope, String);

/// Who pays for a task. The agent is not known before one has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payers<'a> {
    pub(crate) agent: Option<AgentId>,
    pub(crate) project: Option<&'a str>,
    pub(crate) tenant: &'a str,
    pub(crate) pool: &'a PoolName,
}

impl Payers<'_> {
    fn names(&self) -> Vec<Name> {
        let mut names = Vec::with_capacity(4);
        names.extend(self.agent.map(|agent| (Scope::Agent, agent.to_string())));
        names.extend(self.project.map(|project| (Scope::Project, project.to_owned())));
        names.push((Scope::Tenant, self.tenant.to_owned()));
        names.push((Scope::Pool, self.pool.to_string()));
        names
    }

    /// What an attempt that is over adds to the sums.
    pub(crate) fn additions(&self, usage: Usage) -> Vec<UsageAdded> {
        if usage.is_zero() {
            return Vec::new();
        }
        self.names().into_iter().map(|(scope, name)| UsageAdded { scope, name, usage }).collect()
    }
}

impl Accounts {
    /// Reads what was used before, as far as there are budgets for it.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), StoreError> {
        let scopes: std::collections::BTreeSet<Scope> = self.budgets.iter().map(|(scope, ..)| scope).collect();
        for scope in scopes {
            let mut after = String::new();
            loop {
                let page = store.usage(scope, &after, PAGE).await?;
                let more = page.len() == PAGE as usize;
                if let Some((last, _)) = page.last() {
                    after.clone_from(last);
                }
                self.state().before.extend(page.into_iter().map(|(name, usage)| ((scope, name), usage)));
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn new(budgets: Budgets) -> Self {
        Self { budgets, state: Mutex::default() }
    }

    /// The budget of one account.
    pub(crate) fn budget(&self, scope: Scope, name: &str) -> Option<Budget> {
        self.budgets.of(scope, name)
    }

    /// Whether there is no budget at all.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.budgets.is_empty()
    }

    /// A running task has used so much by now.
    pub(crate) fn note(&self, task: TaskId, payers: Payers<'_>, used: Usage) {
        if self.is_unbounded() {
            return;
        }
        self.state().set_running(task, Some((payers.names(), used)));
    }

    /// The attempt at a task is over, and the store has its usage.
    pub(crate) fn settle(&self, task: TaskId, added: &[UsageAdded]) {
        if self.is_unbounded() {
            return;
        }
        let mut state = self.state();
        state.set_running(task, None);
        for UsageAdded { scope, name, usage } in added {
            let sum = state.before.entry((*scope, name.clone())).or_default();
            *sum = sum.plus(*usage);
        }
    }

    /// A budget of which nothing is left, for whoever pays; `task` is what the task itself has used in all.
    pub(crate) fn exhausted(&self, task: Option<(TaskId, Usage)>, payers: Payers<'_>) -> Option<Exhausted> {
        if self.is_unbounded() {
            return None;
        }
        let names = payers.names();
        let state = self.state();
        let of = |sums: &HashMap<Name, Usage>, name: &Name| sums.get(name).copied().unwrap_or_default();
        let mut accounts: Vec<AccountUsage<'_>> = names
            .iter()
            .map(|key| AccountUsage {
                scope: key.0,
                name: &key.1,
                before: of(&state.before, key),
                running: of(&state.sums, key),
            })
            .collect();
        let id = task.map(|(id, _)| id.to_string());
        if let (Some((_, before)), Some(name)) = (task, &id) {
            accounts.push(AccountUsage { scope: Scope::Task, name, before, running: Usage::default() });
        }
        let mut all = exhausted(&self.budgets, &accounts);
        // One that is passed says more than one that is just used up.
        let passed = all.iter().position(|one| one.passed).unwrap_or(0);
        (!all.is_empty()).then(|| all.swap_remove(passed))
    }

    fn state(&self) -> MutexGuard<'_, AccountSums> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccountSums {
    fn set_running(&mut self, task: TaskId, now: Option<(Vec<Name>, Usage)>) {
        if let Some((names, used)) = self.running.remove(&task) {
            for name in names {
                if let Some(sum) = self.sums.get_mut(&name) {
                    *sum = sum.minus(used);
                    if sum.is_zero() {
                        self.sums.remove(&name);
                    }
                }
            }
        }
        if let Some((names, used)) = now {
            for name in &names {
                let sum = self.sums.entry(name.clone()).or_default();
                *sum = sum.plus(used);
            }
            self.running.insert(task, (names, used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input_tokens: u64) -> Usage {
        Usage { input_tokens, ..Usage::default() }
    }

    #[test]
    fn running_and_former_tasks_count_together() {
        let mut budgets = Budgets::default();
        budgets.insert(Scope::Project, "shop".to_owned(), Budget { tokens: Some(100), cost: None });
        budgets.insert(Scope::Task, "*".to_owned(), Budget { tokens: Some(70), cost: None });
        let accounts = Accounts::new(budgets);
        let pool: PoolName = "p".parse().expect("a name");
        let payers = |project| Payers { agent: None, project, tenant: "t", pool: &pool };
        let (one, two, shop) = (TaskId::generate(), TaskId::generate(), payers(Some("shop")));
        accounts.note(one, shop, tokens(40));
        accounts.note(two, shop, tokens(50));
        accounts.note(one, shop, tokens(45));
        assert!(accounts.exhausted(None, shop).is_none(), "95");
        accounts.note(two, shop, tokens(60));
        let passed = accounts.exhausted(Some((two, tokens(60))), shop).expect("105");
        assert!(passed.passed && passed.reason.contains("105 of 100"), "{passed:?}");
        assert!(accounts.exhausted(Some((two, tokens(60))), payers(None)).is_none(), "another account");
        assert!(accounts.exhausted(Some((two, tokens(71))), payers(None)).is_some(), "the task's own budget");
        accounts.settle(two, &shop.additions(tokens(55)));
        let used_up = accounts.exhausted(None, shop).expect("100");
        assert!(!used_up.passed, "{used_up:?}");
        accounts.settle(one, &[]);
        assert!(accounts.exhausted(None, shop).is_none(), "it ended without usage: 55");
    }
}
