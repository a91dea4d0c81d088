//! Pools.

use muster_domain::scaling::{DecisionState, ScalingActor, ScalingRecord, WorkerTarget};
use muster_domain::{DecisionId, Gate, HoldKind, PoolConfig, PoolOrigin};
use muster_store::Write;
use muster_store::WriteOutcome::{Applied, Unchanged};

use super::*;

pub(crate) async fn pools_are_made_changed_and_drained(place: &Place) {
    let fence = place.lead().await;
    let changed = PoolSpec {
        role_type: "tester".into(),
        runtime: "shell".into(),
        config: PoolConfig { max_agents: 3, health_check_interval: Some(0.5), ..PoolConfig::default() },
        origin: PoolOrigin::File,
        ..pool_spec("dev")
    };
    place
        .all(
            fence,
            vec![
                (Write::ChangePool { spec: changed.clone() }, Unchanged),
                (Write::DrainPool { pool: name("dev") }, Unchanged),
                (Write::RemovePool { pool: name("dev") }, Unchanged),
                (add_pool("dev"), Applied),
                (add_pool("dev"), Unchanged),
                (add_pool("abc"), Applied),
                (Write::ChangePool { spec: changed.clone() }, Applied),
                (Write::DrainPool { pool: name("dev") }, Applied),
                (Write::DrainPool { pool: name("dev") }, Unchanged),
            ],
        )
        .await;
    let pools = place.store.pools().await.expect("pools");
    assert_eq!(pools.len(), 2);
    assert_eq!((pools[0].spec.clone(), pools[0].draining), (pool_spec("abc"), false));
    assert_eq!((pools[1].spec.clone(), pools[1].draining), (changed, true));
    assert_eq!((pools[1].created_at, pools[1].workers_spawned, pools[1].workers_terminated), (at(0), 0, 0));
}

pub(crate) async fn pools_have_a_target_of_workers(place: &Place) {
    let fence = place.lead_with_pool().await;
    let target = async || {
        let row = place.store.pools().await.expect("pools").remove(0);
        row.target
    };
    let none = WorkerTarget::default();
    assert_eq!(target().await, none);
    let to = |workers, millis| WorkerTarget { workers, last_scaled_at: Some(at(millis)), ..none };
    let scale = |pool, workers, millis| Write::ScalePool { pool: name(pool), target: to(workers, millis) };
    place.all(fence, vec![(scale("nowhere", Some(1), 1), Unchanged), (scale("dev", Some(7), 2), Applied)]).await;
    assert_eq!(target().await, to(Some(7), 2));
    place.all(fence, vec![(Write::ChangePool { spec: pool_spec("dev") }, Applied)]).await;
    assert_eq!(target().await, to(Some(7), 2), "another setting does not change it");
    place.all(fence, vec![(scale("dev", None, 3), Applied)]).await;
    assert_eq!(target().await, to(None, 3));
    let policies = WorkerTarget { is_persons: false, person_until: Some(at(9)), ..to(Some(2), 4) };
    place.all(fence, vec![(Write::ScalePool { pool: name("dev"), target: policies }, Applied)]).await;
    assert_eq!(target().await, policies);
}

/// A decision from 1 to 2 workers.
fn decision(pool: &str, millis: i64, state: DecisionState) -> ScalingRecord {
    ScalingRecord {
        decision_id: DecisionId::generate(),
        pool_name: name(pool),
        at: at(millis),
        actor: ScalingActor::Policies,
        from: Some(1),
        to: Some(2),
        max_agents: 10,
        hold: Some(HoldKind::MaxChange),
        advised: false,
        decided_by: Some("step".to_owned()),
        reason: "from 1 to 2 workers".to_owned(),
        inputs: serde_json::json!({"picture": {"queue": 15}}),
        state,
        ended_at: None,
        result: None,
    }
}

pub(crate) async fn decisions_about_workers_are_kept_with_what_came_of_them(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let first = decision("dev", 1, DecisionState::Pending);
    let released = ScalingRecord {
        to: None,
        hold: None,
        decided_by: None,
        actor: ScalingActor::Person,
        inputs: serde_json::Value::Null,
        ..decision("dev", 2, DecisionState::Noted)
    };
    let elsewhere = decision("other", 3, DecisionState::Noted);
    let add = |record: &ScalingRecord| Write::AddDecision(Box::new(record.clone()));
    let end = |record: &ScalingRecord, result: &str| Write::EndDecision {
        decision_id: record.decision_id,
        state: DecisionState::Failed,
        result: result.to_owned(),
        at: at(5),
    };
    place
        .all(
            fence,
            vec![
                (add(&first), Applied),
                (add(&released), Applied),
                (add(&released), Unchanged),
                (add(&elsewhere), Applied),
                (end(&first, "1 worker is not ready"), Applied),
                (end(&first, "again"), Unchanged),
                (end(&released, "nothing follows from it"), Unchanged),
            ],
        )
        .await;
    let ended = ScalingRecord {
        state: DecisionState::Failed,
        result: Some("1 worker is not ready".to_owned()),
        ended_at: Some(at(5)),
        ..first.clone()
    };
    let page =
        async |pool: &str, before, limit| place.store.decisions(&name(pool), before, limit).await.expect("a page");
    assert_eq!(page("dev", None, 9).await, [released.clone(), ended.clone()], "the latest first");
    assert_eq!(page("dev", None, 1).await, std::slice::from_ref(&released));
    assert_eq!(page("dev", Some(released.decision_id), 9).await, [ended]);
    let pending = decision("dev", 1, DecisionState::Pending);
    place.one(fence, add(&pending)).await;
    place.store.prune(fence, at(0), at(2)).await.expect("pruned");
    assert_eq!(page("dev", None, 9).await, [pending, released], "one that is not over stays");
    place.all(fence, vec![(Write::RemovePool { pool: name("dev") }, Applied), (add_pool("dev"), Applied)]).await;
    assert_eq!(page("dev", None, 9).await, [], "those of a pool of before are none of its");
    assert_eq!(page("other", None, 9).await, [elsewhere]);
}

pub(crate) async fn queues_are_paused_and_closed(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let gates = || async {
        let pools = place.store.pools().await.expect("pools");
        pools.into_iter().map(|row| (row.gate.paused, row.gate.closed)).collect::<Vec<_>>()
    };
    assert_eq!(gates().await, [(false, false), (false, false)]);
    let gate = |pool, paused, closed| Write::GatePool { pool: name(pool), gate: Gate { paused, closed } };
    place.all(fence, vec![(gate("nowhere", true, true), Unchanged), (gate("dev", true, false), Applied)]).await;
    assert_eq!(gates().await, [(true, false), (false, false)]);
    place.all(fence, vec![(gate("dev", false, true), Applied), (gate("other", true, true), Applied)]).await;
    assert_eq!(gates().await, [(false, true), (true, true)]);
    place.all(fence, vec![(Write::ChangePool { spec: pool_spec("dev") }, Applied)]).await;
    assert_eq!(gates().await, [(false, true), (true, true)], "another setting does not open it");

    assert!(!place.store.all_paused().await.expect("a word"));
    for paused in [true, true, false] {
        assert_eq!(place.one(fence, Write::PauseAll { paused }).await, Applied);
        assert_eq!(place.store.all_paused().await.expect("a word"), paused);
    }
    assert_eq!(gates().await, [(false, true), (true, true)], "each pool keeps its own");
}

pub(crate) async fn a_pool_goes_only_when_it_is_empty(place: &Place) {
    let fence = place.lead_with_pool().await;
    let remove = || Write::RemovePool { pool: name("dev") };
    let worker = place.worker(fence, 1).await;
    place.all(fence, vec![(remove(), Unchanged), (end_worker(worker), Applied)]).await;

    let waiting = place.agent(fence, None).await;
    let worker = place.worker(fence, 1).await;
    let placed = place.agent(fence, Some(worker)).await;
    place
        .all(
            fence,
            vec![
                (end_worker(worker), Applied),
                (remove(), Unchanged),
                (stop(waiting), Applied),
                // Stopped, but its tree is not proven dead.
                (stop(placed), Applied),
                (remove(), Unchanged),
                (release(placed, 1, QUARANTINED), Applied),
                (remove(), Applied),
                (remove(), Unchanged),
                (add(&new_agent("dev", None)), Unchanged),
            ],
        )
        .await;
    assert!(place.store.pools().await.expect("pools").is_empty());
}
