//! Batches.

use muster_store::WriteOutcome::{Applied, Unchanged, Unplaced};
use muster_store::{AgentFilter, StoreError};

use super::*;

pub(crate) async fn a_batch_is_atomic_on_error(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 1).await;
    let agent = place.agent(fence, Some(worker)).await;
    place.break_events().await;
    // Enough writes to travel in several parts, and the error is in the last.
    let mut writes = vec![release(agent, 1, None)];
    writes.extend((0..20).map(|n| add_pool(&format!("other-{n}"))));
    writes.push(Write::Event(event(1)));
    let result = place.store.apply(fence, &writes).await;
    assert!(matches!(result, Err(StoreError::Failed(_))), "{result:?}");
    assert_eq!(place.store.pools().await.expect("pools").len(), 1);
    assert!(place.read(agent).await.assignment.is_some());

    place.mend_events().await;
    assert_eq!(place.store.event_bounds().await.expect("bounds"), (0, 0));
    let outcomes = place.store.apply(fence, &writes).await.expect("it is well again");
    assert_eq!(outcomes, vec![Applied; 22]);
}

pub(crate) async fn one_batch_s_error_is_not_another_s(place: &Place) {
    let old = place.lead().await;
    place.store.resign(old).await.expect("a resignation");
    let fence = place.lead().await;
    place.break_events().await;
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
            (1, Err(StoreError::Failed(_))) | (2, Err(StoreError::Fenced { .. })) => {}
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

/// Agents and workers come by the hundred, with those among them that can't be: each has its own outcome, as if each were alone.
pub(crate) async fn agents_by_the_hundred(place: &Place) {
    let fence = place.lead_with_pool().await;
    let workers: Vec<ProcessId> = (0..300).map(|_| ProcessId::generate()).collect();
    let mut writes: Vec<Write> = workers.iter().map(|id| add_worker(*id, "dev", 2)).collect();
    writes.insert(7, add_worker(ProcessId::generate(), "nobodys", 2));
    let expected = |index| if index == 7 { Unchanged } else { Applied };
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    assert_eq!(outcomes, (0..301).map(expected).collect::<Vec<_>>());
    assert_eq!(place.store.pools().await.expect("pools")[0].workers_spawned, 300);

    // Three for each worker of two slots, in turn, and each with its event.
    let agents: Vec<NewAgent> = (0..900).map(|n| new_agent("dev", Some(workers[n % 300]))).collect();
    let writes: Vec<Write> = (0..).zip(&agents).flat_map(|(n, agent)| [add(agent), Write::Event(event(n))]).collect();
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    for (n, pair) in outcomes.chunks(2).enumerate() {
        assert_eq!(pair, [if n < 600 { Applied } else { Unplaced }, Applied], "agent {n}");
    }
    let reasons: Vec<String> =
        place.store.events(0, 1_000).await.expect("events").into_iter().map(|row| row.event.reason).collect();
    assert_eq!(reasons, (0..900).map(|n| format!("event {n}")).collect::<Vec<_>>(), "in their order");

    // One slot of each worker becomes free, and two ask for it; then all stop.
    let mut writes: Vec<Write> = agents[..300].iter().map(|agent| release(agent.spec.agent_id, 1, None)).collect();
    writes.extend(agents[600..].iter().enumerate().map(|(n, agent)| assign(agent.spec.agent_id, workers[n], 1)));
    writes.extend(agents[..300].iter().enumerate().map(|(n, agent)| assign(agent.spec.agent_id, workers[n], 2)));
    writes.extend(agents.iter().map(|agent| stop(agent.spec.agent_id)));
    writes.extend(workers.iter().map(|id| end_worker(*id)));
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    assert!(outcomes[..600].iter().all(|outcome| *outcome == Applied), "the first who asks gets the slot");
    assert!(outcomes[600..900].iter().all(|outcome| *outcome == Unchanged), "the second does not");
    assert!(outcomes[900..].iter().all(|outcome| *outcome == Applied));
    assert_eq!(place.store.pools().await.expect("pools")[0].workers_terminated, 300);
    assert_eq!(place.store.live_agents().await.expect("a read").len(), 600, "those that hold a slot");
}
