//! Has more been used than a budget allows?
//!
//! What is passed stops the runs that go on, and what is used up lets no new work begin. So a run may use the last cent, and
//! no run begins without one.

use muster_domain::Usage;
use muster_domain::budget::{Budget, Budgets, Dollars, Scope};

/// What was used on one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountUsage<'a> {
    /// Whose account.
    pub scope: Scope,
    /// Its id or name.
    pub name: &'a str,
    /// What was used before, by runs that are over.
    pub before: Usage,
    /// What was used by the runs that go on.
    pub running: Usage,
}

/// A budget of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose budget.
    pub scope: Scope,
    /// Its id or name.
    pub name: String,
    /// Whether it is passed, and not only used up.
    pub passed: bool,
    /// In words.
    pub reason: String,
}

/// The budgets of these accounts of which nothing is left, in the order of the accounts.
pub fn exhausted(budgets: &Budgets, accounts: &[AccountUsage<'_>]) -> Vec<Exhausted> {
    accounts.iter().filter_map(|account| judge(budgets.of(account.scope, account.name)?, account)).collect()
}

/// Whether anything is left of one account's budget. Of two bounds the one that is passed is told, and tokens before money.
pub fn judge(budget: Budget, account: &AccountUsage<'_>) -> Option<Exhausted> {
    let used = account.before.plus(account.running);
    let tokens = used.input_tokens.saturating_add(used.output_tokens);
    let of_tokens = budget.tokens.map(|most| (tokens, most, format!("{tokens} of {most} tokens")));
    let of_money = budget.cost.map(|most| {
        let spent = Dollars { micros: used.cost_micros };
        (spent.micros, most.micros, format!("{spent} of {most}"))
    });
    let nothing_left = [of_tokens, of_money].into_iter().flatten().filter(|(used, most, _)| used >= most);
    // The first of the largest: `max_by_key` gives the last.
    let (used, most, words) = nothing_left.rev().max_by_key(|(used, most, _)| used > most)?;
    let reason = format!("the {} {} has used {words}", account.scope, account.name);
    Some(Exhausted { scope: account.scope, name: account.name.to_owned(), passed: used > most, reason })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(tokens: u64, cost_micros: u64) -> Usage {
        Usage { input_tokens: tokens / 2, output_tokens: tokens - tokens / 2, cost_micros }
    }

    fn shop(before: Usage, running: Usage) -> AccountUsage<'static> {
        AccountUsage { scope: Scope::Project, name: "shop", before, running }
    }

    fn budget(tokens: Option<u64>, micros: Option<u64>) -> Budget {
        Budget { tokens, cost: micros.map(|micros| Dollars { micros }) }
    }

    #[test]
    fn the_last_cent_may_be_used_and_no_more() {
        let ten = budget(None, Some(10_000_000));
        let judged = |micros| judge(ten, &shop(usage(0, 9_000_000), usage(0, micros)));
        assert_eq!(judged(999_999), None);
        let used_up = judged(1_000_000).expect("nothing left");
        assert_eq!(
            (used_up.passed, used_up.reason.as_str()),
            (false, "the project shop has used 10.00 USD of 10.00 USD")
        );
        let passed = judged(1_250_000).expect("nothing left");
        assert_eq!((passed.passed, passed.reason.as_str()), (true, "the project shop has used 10.25 USD of 10.00 USD"));
    }

    #[test]
    fn the_bound_that_is_passed_is_told() {
        let both = budget(Some(100), Some(1_000_000));
        let judged = |tokens, micros| judge(both, &shop(usage(tokens, micros), Usage::default())).map(|e| e.reason);
        assert_eq!(judged(99, 999_999), None);
        assert_eq!(judged(100, 2_000_000).as_deref(), Some("the project shop has used 2.00 USD of 1.00 USD"));
        assert_eq!(judged(101, 2_000_000).as_deref(), Some("the project shop has used 101 of 100 tokens"));
        assert_eq!(judged(100, 1_000_000).as_deref(), Some("the project shop has used 100 of 100 tokens"));
    }

    #[test]
    fn each_account_has_its_own_budget() {
        let mut budgets = Budgets::default();
        budgets.insert(Scope::Project, "*".to_owned(), budget(Some(10), None));
        budgets.insert(Scope::Project, "shop".to_owned(), budget(Some(1_000), None));
        budgets.insert(Scope::Pool, "coders".to_owned(), budget(Some(50), None));
        let account = |scope, name| AccountUsage { scope, name, before: usage(60, 0), running: Usage::default() };
        let accounts = [
            account(Scope::Project, "shop"),
            account(Scope::Project, "blog"),
            account(Scope::Pool, "coders"),
            account(Scope::Tenant, "default"),
        ];
        let found: Vec<String> = exhausted(&budgets, &accounts).into_iter().map(|e| e.reason).collect();
        assert_eq!(found, ["the project blog has used 60 of 10 tokens", "the pool coders has used 60 of 50 tokens"]);
    }

    proptest! {
        /// Nothing left exactly where a bound is reached, passed exactly where one is exceeded; where a sum was counted makes no
        /// difference; more usage never gives anything back.
        #[test]
        fn judges_sums_and_nothing_else(
            most in (prop::option::of(0..50_u64), prop::option::of(0..50_u64)),
            before in (0..40_u64, 0..40_u64),
            running in (0..40_u64, 0..40_u64),
        ) {
            let budget = budget(most.0, most.1);
            let (before, running) = (usage(before.0, before.1), usage(running.0, running.1));
            let sum = before.plus(running);
            let used = [(sum.input_tokens + sum.output_tokens, most.0), (sum.cost_micros, most.1)];
            let any = |test: fn(u64, u64) -> bool| used.iter().any(|(used, most)| most.is_some_and(|most| test(*used, most)));
            let judged = judge(budget, &shop(before, running));
            prop_assert_eq!(judged.is_some(), any(|used, most| used >= most));
            prop_assert_eq!(judged.as_ref().is_some_and(|e| e.passed), any(|used, most| used > most));
            prop_assert_eq!(&judged, &judge(budget, &shop(sum, Usage::default())));
            let more = judge(budget, &shop(sum, usage(1, 1)));
            prop_assert!(judged.is_none() || more.is_some_and(|e| e.passed));
        }
    }
}
