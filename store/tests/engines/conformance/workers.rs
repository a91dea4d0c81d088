//! Workers.

use muster_domain::WorkerState;
use muster_store::Outcome::{Applied, Unchanged};

use super::*;

pub(crate) async fn workers_open_and_end(place: &Place) {
    let fence = place.lead_with_pool().await;
    let id = ProcessId::generate();
    let identify = |pid| Write::IdentifyWorker { process_id: id, identity: identity(pid) };
    let drain = || Write::DrainWorker { process_id: id };
    place
        .all(
            fence,
            vec![
                (identify(1), Unchanged),
                (drain(), Unchanged),
                (end_worker(id), Unchanged),
                (add_worker(id, "nowhere", 10), Unchanged),
                (add_worker(id, "dev", 10), Applied),
                (identify(4_000_000_000), Applied),
            ],
        )
        .await;
    let row = place.store.worker(id).await.expect("a read").expect("a worker");
    assert_eq!((row.process_id, row.pool_name.as_str(), row.capacity), (id, "dev", 10));
    assert_eq!((row.state, row.created_at, row.ended_at), (WorkerState::Starting, at(1), None));
    assert_eq!(row.identity, Some(identity(4_000_000_000)));
    assert_eq!(row.runtime_version.as_deref(), Some("1f"));
    assert_eq!(place.store.open_workers().await.expect("a read"), [row]);

    place.all(fence, vec![(drain(), Applied), (drain(), Unchanged)]).await;
    let state = place.store.worker(id).await.expect("a read").expect("a worker").state;
    assert_eq!(state, WorkerState::Draining);
    place
        .all(
            fence,
            vec![
                (Write::EndWorker { process_id: id, lost: false, at: at(9) }, Applied),
                (end_worker(id), Unchanged),
                (identify(2), Unchanged),
                (drain(), Unchanged),
            ],
        )
        .await;
    let row = place.store.worker(id).await.expect("a read").expect("a worker");
    assert_eq!((row.state, row.ended_at), (WorkerState::Stopped, Some(at(9))));
    assert!(place.store.open_workers().await.expect("a read").is_empty());
    assert_eq!(place.store.worker(ProcessId::generate()).await.expect("a read"), None);
}

pub(crate) async fn workers_are_counted_once(place: &Place) {
    let fence = place.lead_with_pool().await;
    let first = place.worker(fence, 1).await;
    place.worker(fence, 1).await;
    place
        .all(
            fence,
            vec![
                (add_worker(first, "dev", 1), Unchanged),
                (add_worker(ProcessId::generate(), "nowhere", 1), Unchanged),
                (end_worker(first), Applied),
                (end_worker(first), Unchanged),
            ],
        )
        .await;
    let pool = place.store.pools().await.expect("pools").remove(0);
    assert_eq!((pool.workers_spawned, pool.workers_terminated), (2, 1));
    let row = place.store.worker(first).await.expect("a read").expect("a worker");
    assert_eq!(row.state, WorkerState::Lost);
}
