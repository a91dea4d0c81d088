//! Batches.

use muster_store::Outcome::{Applied, Unchanged, Unplaced};
use muster_store::{AgentFilter, StoreError};

use super::*;

/// Makes the engine refuse every event, as a broken disk or a bug would.
const BREAK_EVENTS: &str = "ALTER TABLE event_mark RENAME TO event_mark_away";
const MEND_EVENTS: &str = "ALTER TABLE event_mark_away RENAME TO event_mark";

pub(crate) async fn a_batch_is_atomic_on_error(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 1).await;
    let agent = place.agent(fence, Some(worker)).await;
    place.execute(BREAK_EVENTS).await;
    // Enough writes to travel in several parts, and the error is in the last.
    let mut writes = vec![release(agent, 1, AfterRelease::RunAgain)];
    writes.extend((0..20).map(|n| add_pool(&format!("other-{n}"))));
    writes.push(Write::Event(event(1)));
    let result = place.store.apply(fence, &writes).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert_eq!(place.store.pools().await.expect("pools").len(), 1);
    assert!(place.read(agent).await.assignment.is_some());

    place.execute(MEND_EVENTS).await;
    assert_eq!(place.store.event_bounds().await.expect("bounds"), (0, 0));
    let outcomes = place.store.apply(fence, &writes).await.expect("it is well again");
    assert_eq!(outcomes, vec![Applied; 22]);
}

pub(crate) async fn one_batch_s_error_is_not_another_s(place: &Place) {
    let old = place.lead().await;
    place.store.resign(old).await.expect("a resignation");
    let fence = place.lead().await;
    place.execute(BREAK_EVENTS).await;
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let store = place.store.clone();
            let write = if n % 3 == 1 { Write::Event(event(n)) } else { add_pool(&format!("pool-{n}")) };
            let fence = if n % 3 == 2 { old } else { fence };
            tokio::spawn(async move { (n % 3, store.apply(fence, &[write]).await) })
        })
        .collect();
    for task in tasks {
        match task.await.expect("no panic") {
            (0, Ok(outcomes)) => assert_eq!(outcomes, [Applied]),
            (1, Err(StoreError::Unavailable(_))) | (2, Err(StoreError::Fenced { .. })) => {}
            (kind, other) => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!(place.store.pools().await.expect("pools").len(), 10);
}

pub(crate) async fn a_large_batch_is_one_transaction(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 700).await;
    let agents: Vec<NewAgent> = (0..1_500).map(|_| new_agent("dev", Some(worker))).collect();
    let mut writes: Vec<Write> = agents.iter().map(add).collect();
    writes.push(stop(agents[0].spec.agent_id));
    writes.push(stop(AgentId::generate()));
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    assert!(outcomes[..700].iter().all(|outcome| *outcome == Applied));
    assert!(outcomes[700..1_500].iter().all(|outcome| *outcome == Unplaced));
    assert_eq!(outcomes[1_500..], [Applied, Unchanged]);
    assert_eq!(place.store.live_agents().await.expect("a read").len(), 1_500);
    assert!(place.store.apply(fence, &[]).await.expect("an empty batch").is_empty());
}

/// Eight tasks ask different questions at once, and each gets the answers to its own. Behind a PgBouncer in transaction
/// mode this fails silently wherever a statement is executed outside of a transaction.
pub(crate) async fn nobody_gets_anothers_rows(place: &Place) {
    let fence = place.lead_with_pool().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = place.store.clone();
            tokio::spawn(async move {
                let pool = format!("pool-{task}");
                let worker = ProcessId::generate();
                let outcomes = store.apply(fence, &[add_pool(&pool), add_worker(worker, &pool, 100)]).await;
                assert_eq!(outcomes.expect("a batch"), [Applied, Applied]);
                for _ in 0..12 {
                    ask_five_questions(&*store, fence, &pool, worker).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("own rows only");
    }
    assert_eq!(place.store.live_agents().await.expect("a read").len(), 96);
}

async fn ask_five_questions(store: &dyn Store, fence: Fence, pool: &str, worker: ProcessId) {
    let mut agent = new_agent(pool, Some(worker));
    agent.spec.project_id = pool.to_owned();
    assert_eq!(store.apply(fence, &[add(&agent)]).await.expect("a batch"), [Applied]);
    let row = store.agent(agent.spec.agent_id).await.expect("a read").expect("an agent");
    assert_eq!((&row.spec, row.assignment.map(|a| a.process_id)), (&agent.spec, Some(worker)));
    let row = store.worker(worker).await.expect("a read").expect("a worker");
    assert_eq!((row.process_id, row.pool_name.as_str()), (worker, pool));
    let filter = AgentFilter { project: Some(pool.to_owned()), ..AgentFilter::default() };
    let page = store.agents(&filter, None, 500).await.expect("a page");
    assert!(page.iter().all(|row| row.spec.pool_name.as_str() == pool), "only its own");
    assert_eq!(page.last().expect("its own").spec, agent.spec);
    store.renew(fence, LEASE).await.expect("still the leader");
}
