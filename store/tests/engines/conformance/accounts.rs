//! Sums of what was used, and what a person has closed.

use muster_domain::budget::Scope;
use muster_domain::{Executions, Gate, Usage};
use muster_store::WriteOutcome::{Applied, Unchanged};
use muster_store::{LifeRow, Machine, UsageAdded, Write};

use super::*;

fn used(scope: Scope, name: &str, number: u64) -> UsageAdded {
    let usage = Usage { input_tokens: number, output_tokens: 2 * number, cost_micros: 3 * number };
    UsageAdded { scope, name: name.to_owned(), usage }
}

pub(crate) async fn usage_is_summed_by_account(place: &Place) {
    let fence = place.lead().await;
    let first = vec![used(Scope::Project, "shop", 1), used(Scope::Tenant, "shop", 5), used(Scope::Project, "b", 7)];
    let then = vec![used(Scope::Project, "shop", 10), used(Scope::Project, "shop", 100)];
    place.all(fence, vec![(Write::AddUsage(first), Applied), (Write::AddUsage(then), Applied)]).await;
    let page = async |scope, after, limit| place.store.usage(scope, after, limit).await.expect("a read");
    let sum = |number| used(Scope::Pool, "", number).usage;
    assert_eq!(page(Scope::Project, "", 9).await, [("b".to_owned(), sum(7)), ("shop".to_owned(), sum(111))]);
    assert_eq!(page(Scope::Project, "b", 1).await, [("shop".to_owned(), sum(111))]);
    assert_eq!(page(Scope::Tenant, "", 1).await, [("shop".to_owned(), sum(5))]);
    assert_eq!(page(Scope::Pool, "", 1).await, []);
}

pub(crate) async fn a_sum_has_a_bound(place: &Place) {
    let fence = place.lead().await;
    let much = UsageAdded { usage: Usage { input_tokens: u64::MAX, ..Usage::default() }, ..used(Scope::Pool, "p", 1) };
    for _ in 0..10 {
        place.all(fence, vec![(Write::AddUsage(vec![much.clone()]), Applied)]).await;
    }
    let page = place.store.usage(Scope::Pool, "", 9).await.expect("it is still a number");
    assert_eq!(page[0].1.input_tokens, 1 << 60);
}

pub(crate) async fn sums_of_agents_go_with_them(place: &Place) {
    let fence = place.lead_with_pool().await;
    let lives = keyed("lives", 1);
    let id = lives.spec.agent_id.to_string();
    let used = vec![used(Scope::Agent, &id, 1), used(Scope::Agent, "gone", 1), used(Scope::Project, "gone", 1)];
    place.store.apply(fence, &[add(&lives), Write::AddUsage(used)]).await.expect("stored");
    place.store.prune(fence, at(0), at(0)).await.expect("pruned");
    let names = async |scope| place.store.usage(scope, "", 9).await.expect("a read").into_iter().map(|(name, _)| name);
    assert_eq!(names(Scope::Agent).await.collect::<Vec<_>>(), [id]);
    assert_eq!(names(Scope::Project).await.collect::<Vec<_>>(), ["gone"]);
}

pub(crate) async fn executions_are_counted_whatever_is_pruned(place: &Place) {
    let fence = place.lead().await;
    let counted = async || place.store.executions().await.expect("a read");
    assert_eq!(counted().await, Executions::default());
    let some = |total, succeeded, failed| Write::AddExecutions(Executions { total, succeeded, failed });
    place.all(fence, vec![(some(3, 2, 1), Applied), (some(2, 0, 1), Applied)]).await;
    place.store.prune(fence, at(i64::MAX / 4), at(i64::MAX / 4)).await.expect("pruned");
    assert_eq!(counted().await, Executions { total: 5, succeeded: 2, failed: 2 });
}

pub(crate) async fn lives_are_noted_the_latest_first(place: &Place) {
    let fence = place.lead().await;
    let machine = |part| (part > 0).then(|| Machine { host: "here".to_owned(), boot_id: format!("boot {part}") });
    let life = |part, began_at, seen_at| LifeRow {
        fence,
        part,
        began_at: at(began_at),
        seen_at: at(seen_at),
        machine: machine(part),
    };
    let note = |life| (Write::NoteLife(life), Applied);
    place.all(fence, vec![note(life(0, 5, 5)), note(life(1, 2, 2)), note(life(0, 7, 9)), note(life(2, 3, 3))]).await;
    let lives = async || place.store.lives().await.expect("a read");
    assert_eq!(lives().await, [life(2, 3, 3), life(1, 2, 2), life(0, 5, 9)], "its beginning stays");
    place.store.prune_lives(fence, life(1, 2, 2)).await.expect("pruned");
    assert_eq!(lives().await, [life(2, 3, 3), life(1, 2, 2)]);
}

pub(crate) async fn queues_are_closed_and_opened(place: &Place) {
    let fence = place.lead_with_pool().await;
    let gates = async || place.store.pools().await.expect("pools").into_iter().map(|row| row.gate).collect::<Vec<_>>();
    assert_eq!(gates().await, [Gate::default()]);
    let gate = Gate { paused: true, closed: true };
    place
        .all(
            fence,
            vec![
                (Write::GatePool { pool: name("dev"), gate }, Applied),
                (Write::GatePool { pool: name("nope"), gate }, Unchanged),
                (Write::PauseAll { paused: true }, Applied),
            ],
        )
        .await;
    assert_eq!(gates().await, [gate]);
    assert!(place.store.all_paused().await.expect("a read"));
    place.all(fence, vec![(Write::PauseAll { paused: false }, Applied)]).await;
    assert!(!place.store.all_paused().await.expect("a read"));
}
