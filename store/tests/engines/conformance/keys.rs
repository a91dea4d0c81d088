//! Idempotency keys.

use muster_store::WriteOutcome::{Replayed, Unchanged, Unplaced};

use super::*;

pub(crate) async fn a_key_is_used_once(place: &Place) {
    let fence = place.lead_with_pool().await;
    let first = keyed("k", 1);
    let replayed = Replayed { agent_id: first.spec.agent_id, body_hash: [1; 32] };
    let other_caller = NewAgent { key: Some(IdempotencyKey { caller: "ann".into(), ..key("k", 1) }), ..keyed("", 1) };
    let twice = [keyed("t", 3), keyed("t", 4)];
    place
        .all(
            fence,
            vec![
                (add(&first), Unplaced),
                (add(&keyed("k", 1)), replayed.clone()),
                (add(&keyed("k", 2)), replayed),
                (add(&other_caller), Unplaced),
                // The very same write again, as after a lost answer: the agent is there already.
                (add(&first), Unchanged),
            ],
        )
        .await;
    let outcomes = place.store.apply(fence, &twice.each_ref().map(add)).await.expect("a batch");
    assert_eq!(outcomes, [Unplaced, Replayed { agent_id: twice[0].spec.agent_id, body_hash: [3; 32] }]);
    assert_eq!(place.store.live_agents().await.expect("a read").len(), 3, "a replay makes nothing");
    let holder = place.store.key_holder(&key("k", 9)).await.expect("a read");
    assert_eq!(holder, Some((first.spec.agent_id, [1; 32])), "whatever the body of who asks");
    assert_eq!(place.store.key_holder(&key("free", 1)).await.expect("a read"), None);
}

pub(crate) async fn two_requests_race_for_a_key(place: &Place) {
    let fence = place.lead_with_pool().await;
    let agents: Vec<NewAgent> = (0..8).map(|body| keyed("k", body)).collect();
    let tasks: Vec<_> = agents
        .iter()
        .map(|agent| {
            let (store, write) = (place.store.clone(), add(agent));
            tokio::spawn(async move { store.apply(fence, &[write]).await.expect("a batch").remove(0) })
        })
        .collect();
    let mut made = 0;
    let mut named = std::collections::HashSet::new();
    for (task, agent) in tasks.into_iter().zip(&agents) {
        match task.await.expect("no panic") {
            Unplaced => {
                made += 1;
                named.insert(agent.spec.agent_id);
            }
            Replayed { agent_id, .. } => drop(named.insert(agent_id)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((made, named.len()), (1, 1), "one agent, and all were told of it");
}

pub(crate) async fn a_key_needs_its_pool(place: &Place) {
    let fence = place.lead_with_pool().await;
    let nowhere = NewAgent { key: Some(key("k", 1)), ..new_agent("nowhere", None) };
    place.all(fence, vec![(add(&nowhere), Unchanged), (add(&keyed("k", 1)), Unplaced)]).await;
}

/// Hundreds in one batch: those whose key is free are made, and take slots in their order; of two with one key the first one has it.
pub(crate) async fn keys_by_the_hundred(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 200).await;
    let before = NewAgent { key: Some(key("before", 1)), ..new_agent("dev", None) };
    assert_eq!(place.one(fence, add(&before)).await, WriteOutcome::Unplaced);
    let mut agents: Vec<NewAgent> =
        (0..300).map(|n| NewAgent { key: Some(key(&format!("k{n}"), 7)), ..new_agent("dev", Some(worker)) }).collect();
    agents[10].key = Some(key("before", 2));
    agents[20].key = Some(key("k19", 8));
    agents[30].spec.pool_name = name("nowhere");
    let writes: Vec<Write> = agents.iter().map(add).collect();
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    let replayed =
        |agent: &NewAgent, body: u8| WriteOutcome::Replayed { agent_id: agent.spec.agent_id, body_hash: [body; 32] };
    assert_eq!(outcomes[10], replayed(&before, 1));
    assert_eq!(outcomes[20], replayed(&agents[19], 7));
    assert_eq!(outcomes[30], WriteOutcome::Unchanged);
    let others: Vec<&WriteOutcome> =
        outcomes.iter().enumerate().filter(|(n, _)| ![10, 20, 30].contains(n)).map(|(_, outcome)| outcome).collect();
    assert!(others[..200].iter().all(|outcome| **outcome == WriteOutcome::Applied), "{others:?}");
    assert!(others[200..].iter().all(|outcome| **outcome == WriteOutcome::Unplaced), "{others:?}");
    let holder = place.store.key_holder(&key("k299", 7)).await.expect("a read");
    assert_eq!(holder, Some((agents[299].spec.agent_id, [7; 32])));
    assert_eq!(place.store.key_holder(&key("k30", 7)).await.expect("a read"), None, "a key needs its pool");
    // Once more, each is answered as it was.
    let again: Vec<NewAgent> =
        agents.iter().map(|agent| NewAgent { spec: new_agent("dev", None).spec, ..agent.clone() }).collect();
    let outcomes = place.store.apply(fence, &again.iter().map(add).collect::<Vec<_>>()).await.expect("a batch");
    assert_eq!(outcomes[299], replayed(&agents[299], 7));
    assert_eq!(outcomes[20], replayed(&agents[19], 7));
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, WriteOutcome::Replayed { .. })).count(), 299);
}
