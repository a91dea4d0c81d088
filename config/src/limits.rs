//! The tables `[tenants.NAME]` and `[[budgets]]`: what tenants may do, and what may be used.

use muster_domain::budget::{Budget, Budgets, EACH, Scope};
use muster_domain::lengths::{MAX_PROJECT_ID, check_length};
use muster_domain::tenant::{TenantLimits, Tenants, check_tenant_name};
use muster_domain::{AgentId, PoolName, described};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entry::{Wrong, entries, nameless_entries};
use super::file::File;
use super::mistake::Mistake;

/// The limits of the file's tenants.
pub(super) fn tenants(file: Option<&File<'_>>, mistakes: &mut Vec<Mistake>) -> Tenants {
    let mut tenants = Tenants::default();
    for entry in entries(file, "tenants", mistakes) {
        mistakes.extend(check_tenant_name(&entry.name).err().map(|message| entry.mistake("", message)));
        if let Some(limits) = entry.read(&[], |limits: &TenantLimits| Ok(limits.validate()?), mistakes) {
            tenants.insert(entry.name, limits);
        }
    }
    tenants
}

/// The file's budgets.
pub(super) fn budgets(file: Option<&File<'_>>, mistakes: &mut Vec<Mistake>) -> Budgets {
    let mut budgets = Budgets::default();
    for entry in nameless_entries(file, "budgets", mistakes) {
        let head = entry.read(
            &["tokens", "cost_usd"],
            |head| check_name(head).map_err(|message| Wrong::new("name", message)),
            mistakes,
        );
        let budget = entry.read(&["scope", "name"], |_| Ok(()), mistakes);
        let (Some(BudgetHead { scope, name }), Some(budget)) = (head, budget) else { continue };
        let twice = format!("there are two budgets for the {scope} {name:?}");
        if budget == Budget::default() {
            mistakes.push(entry.mistake("", "tokens or cost_usd is missing"));
        } else if !budgets.insert(scope, name, budget) {
            mistakes.push(entry.mistake("name", twice));
        }
    }
    budgets
}

/// Whose budget it is.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct BudgetHead {
    /// Whose usage is summed: `task`, `agent`, `project`, `tenant` or `pool`.
    scope: Scope,
    /// Its id or name, or `*` for each that has no budget of its own.
    name: String,
}

described!(BudgetHead, {"scope": "task", "name": ""});

/// A name that nobody can have is a mistake: its budget would hold nobody back.
fn check_name(BudgetHead { scope, name }: &BudgetHead) -> Result<(), String> {
    if name == EACH {
        return Ok(());
    }
    match scope {
        Scope::Task => Err(format!("a budget for tasks is for each of them: name = \"{EACH}\"")),
        Scope::Agent => match name.parse::<AgentId>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("the id of an agent, or \"{EACH}\" for each, is expected, not {name:?}")),
        },
        Scope::Project => check_length("the id of a project", name, MAX_PROJECT_ID),
        Scope::Tenant => check_tenant_name(name),
        Scope::Pool => name.parse::<PoolName>().map(|_| ()).map_err(|error| error.to_string()),
    }
}

/// Limits as they are shown.
pub(super) fn presentable_limits(limits: TenantLimits) -> String {
    let bounds = [
        limits.max_running.map(|most| format!("{most} running")),
        limits.rate.map(|rate| format!("{rate} per second")),
        limits.per_day.map(|most| format!("{most} per day")),
    ];
    let weight = format!("weight {}", limits.weight);
    std::iter::once(weight).chain(bounds.into_iter().flatten()).collect::<Vec<_>>().join(", ")
}

/// A budget as it is shown.
pub(super) fn presentable_budget(budget: Budget) -> String {
    let bounds = [budget.tokens.map(|tokens| format!("{tokens} tokens")), budget.cost.map(|cost| cost.to_string())];
    bounds.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use muster_domain::budget::Dollars;

    use super::super::tests::{TestFolder, mistake_of};
    use super::*;

    const FILE: &str = "
[tenants.default]
max_running = 2
rate = 5

[tenants.'Acme Inc.']
weight = 3
per_day = 10_000

[[budgets]]
scope = 'project'
name = '*'
cost_usd = 0.5

[[budgets]]
scope = 'project'
name = 'shop'
cost_usd = 10
tokens = 2_000
";

    #[test]
    fn tenants_and_budgets_are_read_and_shown() {
        let config = TestFolder::with_file(FILE).load();
        let acme = TenantLimits { weight: 3, per_day: Some(10_000), ..TenantLimits::default() };
        let others = TenantLimits { max_running: Some(2), rate: Some(5.0), ..TenantLimits::default() };
        assert_eq!((config.tenants.of("Acme Inc."), config.tenants.of("any")), (acme, others));
        let shop = Budget { tokens: Some(2_000), cost: Some(Dollars { micros: 10_000_000 }) };
        let each = Budget { tokens: None, cost: Some(Dollars { micros: 500_000 }) };
        let of = |name| config.budgets.of(Scope::Project, name);
        assert_eq!((of("shop"), of("blog")), (Some(shop), Some(each)));
        let rows: Vec<String> = config.rows().iter().map(|[key, value, _]| format!("{key}: {value}")).collect();
        for expected in [
            "tenants.default: weight 1, 2 running, 5 per second",
            "tenants.Acme Inc.: weight 3, 10000 per day",
            "budgets of the project *: 0.50 USD",
            "budgets of the project shop: 2000 tokens, 10.00 USD",
        ] {
            assert!(rows.iter().any(|row| row == expected), "{expected}: {rows:?}");
        }
    }

    #[test]
    fn mistakes_of_tenants_and_budgets_name_their_line() {
        let cases = [
            ("rate = 5", "rat = 5", "muster.toml:4: tenants.default.rat: there is no such key; the nearest is rate"),
            (
                "max_running = 2",
                "max_running = 0",
                "muster.toml:3: tenants.default.max_running: max_running must be at least 1, not 0",
            ),
            (
                "rate = 5",
                "rate = 'x'",
                "muster.toml:4: tenants.default.rate: a number from 0.00001 to 1000000 is expected, not the text \"x\"",
            ),
            (
                "weight = 3",
                "weight = -1",
                "muster.toml:7: tenants.Acme Inc..weight: a whole number from 1 to 1000 is expected, not the number -1",
            ),
            (
                "[tenants.default]",
                "[tenants.'']",
                "muster.toml:2: tenants.: the name of a tenant is 1 to 128 characters without control characters",
            ),
            (
                "cost_usd = 0.5",
                "cost = 0.5",
                "muster.toml:13: budgets.cost: there is no such key; there are: scope, name, tokens, cost_usd",
            ),
            ("cost_usd = 0.5", "", "muster.toml:10: budgets: tokens or cost_usd is missing"),
            (
                "cost_usd = 10",
                "cost_usd = -10",
                "muster.toml:18: budgets.cost_usd: a number of US dollars from 0 to 1000000000 is expected, not -10",
            ),
            ("name = 'shop'", "", "muster.toml:15: budgets: name is missing"),
            (
                "name = 'shop'",
                "name = '*'",
                "muster.toml:17: budgets.name: there are two budgets for the project \"*\"",
            ),
            (
                "scope = 'project'\nname = 'shop'",
                "scope = 'agent'\nname = 'shop'",
                "muster.toml:17: budgets.name: the id of an agent, or \"*\" for each, is expected, not \"shop\"",
            ),
            (
                "scope = 'project'\nname = 'shop'",
                "scope = 'task'\nname = 'shop'",
                "muster.toml:17: budgets.name: a budget for tasks is for each of them: name = \"*\"",
            ),
            (
                "scope = 'project'\nname = 'shop'",
                "scope = 'team'\nname = 'shop'",
                "muster.toml:16: budgets.scope: \"team\" is not known; it is one of: task, agent, project, tenant, pool",
            ),
        ];
        for (from, to, expected) in cases {
            let file = FILE.replace(from, to);
            assert_ne!(file, FILE, "{from}");
            assert_eq!(TestFolder::with_file(&file).mistakes()[0], expected);
        }
        assert_eq!(
            mistake_of("budgets = 1"),
            "muster.toml:1: budgets: a list of tables is expected, as in [[budgets]]"
        );
        assert_eq!(
            mistake_of("budgets = [1]"),
            "muster.toml:1: budgets: a list of tables is expected, as in [[budgets]]"
        );
        assert_eq!(
            mistake_of("[budgets]\nscope = 'pool'"),
            "muster.toml:1: budgets: a list of tables is expected, as in [[budgets]]"
        );
        assert_eq!(
            mistake_of("[tenants]\nweight = 3"),
            "muster.toml:2: tenants.weight: a table is expected, as in [tenants.weight]"
        );
    }
}
