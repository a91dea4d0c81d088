//! What was used, summed by account, and attempts that are over.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use muster_domain::budget::Scope;
use muster_domain::{Executions, Usage};

use crate::UsageAdded;
use crate::usage::MOST;

#[derive(Default)]
pub(super) struct AccountTable {
    usage: BTreeMap<(Scope, String), Usage>,
    executions: Executions,
}

impl AccountTable {
    pub(super) fn add_usage(&mut self, added: &[UsageAdded]) -> bool {
        for UsageAdded { scope, name, usage } in added {
            let sum = self.usage.entry((*scope, name.clone())).or_default();
            let plus = |sum: u64, more: u64| (sum + more.min(MOST)).min(MOST);
            sum.input_tokens = plus(sum.input_tokens, usage.input_tokens);
            sum.output_tokens = plus(sum.output_tokens, usage.output_tokens);
            sum.cost_micros = plus(sum.cost_micros, usage.cost_micros);
        }
        !added.is_empty()
    }

    pub(super) const fn add_executions(&mut self, added: Executions) -> bool {
        self.executions.total += added.total;
        self.executions.succeeded += added.succeeded;
        self.executions.failed += added.failed;
        true
    }

    pub(super) const fn executions(&self) -> Executions {
        self.executions
    }

    pub(super) fn page(&self, scope: Scope, after: &str, limit: u32) -> Vec<(String, Usage)> {
        let behind = self.usage.range((Excluded((scope, after.to_owned())), Unbounded));
        let of_scope = behind.take_while(|((of, _), _)| *of == scope).take(limit as usize);
        of_scope.map(|((_, name), usage)| (name.clone(), *usage)).collect()
    }

    /// Removes the sums of agents of which there is no row; how many.
    pub(super) fn prune(&mut self, has_agent: impl Fn(&str) -> bool) -> u64 {
        let is_gone = |(scope, name): &(Scope, String), _: &mut Usage| *scope == Scope::Agent && !has_agent(name);
        self.usage.extract_if(.., is_gone).count() as u64
    }
}
