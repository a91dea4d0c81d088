//! Pools.

use muster_domain::{Gate, PoolConfig, PoolOrigin};
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
        (row.target_workers, row.last_scaled_at)
    };
    assert_eq!(target().await, (None, None));
    let scale = |pool, target, millis| Write::ScalePool { pool: name(pool), target, at: at(millis) };
    place.all(fence, vec![(scale("nowhere", Some(1), 1), Unchanged), (scale("dev", Some(7), 2), Applied)]).await;
    assert_eq!(target().await, (Some(7), Some(at(2))));
    place.all(fence, vec![(Write::ChangePool { spec: pool_spec("dev") }, Applied)]).await;
    assert_eq!(target().await, (Some(7), Some(at(2))), "another setting does not change it");
    place.all(fence, vec![(scale("dev", None, 3), Applied)]).await;
    assert_eq!(target().await, (None, Some(at(3))));
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
