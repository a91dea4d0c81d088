//! Workers.

use muster_domain::{Interruption, RemoteIdentity, WorkerState};
use muster_store::WriteOutcome::{Applied, Unchanged};

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
    assert_eq!((row.spec.runtime_version.as_deref(), row.spec.source.launcher.as_str()), (Some("1f"), "east"));
    assert_eq!((row.spec.source.to_string().as_str(), row.spec.tier), ("east/c6g.xlarge", Some(TierName::Spot)));
    assert_eq!(place.store.open_workers().await.expect("a read"), [row]);

    place.all(fence, vec![(drain(), Applied), (drain(), Unchanged)]).await;
    let state = place.store.worker(id).await.expect("a read").expect("a worker").state;
    assert_eq!(state, WorkerState::Draining);
    place
        .all(
            fence,
            vec![
                (Write::EndWorker { process_id: id, lost: false, ending: worker_ending(), at: at(9) }, Applied),
                (end_worker(id), Unchanged),
                (identify(2), Unchanged),
                (drain(), Unchanged),
            ],
        )
        .await;
    let row = place.store.worker(id).await.expect("a read").expect("a worker");
    assert_eq!((row.state, row.ended_at), (WorkerState::Stopped, Some(at(9))));
    assert_eq!(row.ending, Some(worker_ending()), "its words are kept as they are");
    assert!(place.store.open_workers().await.expect("a read").is_empty());
    assert_eq!(place.store.worker(ProcessId::generate()).await.expect("a read"), None);
}

pub(crate) async fn a_worker_is_known_by_its_engine_too(place: &Place) {
    let fence = place.lead_with_pool().await;
    let process_id = place.worker(fence, 1).await;
    let remote = RemoteIdentity { engine: "east".to_owned(), handle: "task/7 'é'".to_owned() };
    let identity = WorkerIdentity::from(remote);
    place.all(fence, vec![(Write::IdentifyWorker { process_id, identity: identity.clone() }, Applied)]).await;
    let row = place.store.worker(process_id).await.expect("a read").expect("a worker");
    assert_eq!(row.identity, Some(identity));
    let cause = WorkerCause::DeclaredDead { by: "ann".to_owned() };
    let ending = WorkerEnding::new(cause, String::new(), "it held no agents".to_owned());
    let declared = Write::EndWorker { process_id, lost: true, ending: ending.clone(), at: at(9) };
    place.all(fence, vec![(declared.clone(), Applied), (declared, Unchanged)]).await;
    let row = place.store.worker(process_id).await.expect("a read").expect("a worker");
    assert_eq!((row.state, row.ending), (WorkerState::Lost, Some(ending)));
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

pub(crate) async fn workers_that_ended_are_listed_the_latest_first(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.all(fence, vec![(add_pool("other"), Applied)]).await;
    let mut ended = Vec::new();
    for pool in ["dev", "other", "dev"] {
        let id = ProcessId::generate();
        place.all(fence, vec![(add_worker(id, pool, 1), Applied), (end_worker(id), Applied)]).await;
        ended.push(id);
    }
    place.worker(fence, 1).await;
    let list = async |pool: Option<&str>, before, limit| {
        let pool = pool.map(name);
        let rows = place.store.ended_workers(pool.as_ref(), before, limit).await.expect("a read");
        assert!(rows.iter().all(|row| row.ending == Some(worker_ending())));
        rows.iter().map(|row| row.process_id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 10).await, [ended[2], ended[1], ended[0]]);
    assert_eq!(list(None, None, 2).await, [ended[2], ended[1]]);
    assert_eq!(list(None, Some(ended[1]), 2).await, [ended[0]]);
    assert_eq!(list(Some("dev"), None, 10).await, [ended[2], ended[0]]);
    assert_eq!(list(Some("dev"), Some(ended[2]), 10).await, [ended[0]]);
    assert!(list(Some("nowhere"), None, 10).await.is_empty());
}

pub(crate) async fn a_notice_is_kept_while_its_worker_is_there(place: &Place) {
    let fence = place.lead_with_pool().await;
    let (id, other) = (place.worker(fence, 1).await, place.worker(fence, 1).await);
    let notice = Interruption { noticed_at: at(2), deadline: at(120_002), replaced_by: None };
    let replaced = Interruption { replaced_by: Some(other), ..notice };
    let interrupt = |process_id, interruption| Write::InterruptWorker { process_id, interruption };
    let row = async || place.store.worker(id).await.expect("a read").expect("a worker");
    assert_eq!(row().await.interruption, None);
    place
        .all(fence, vec![(interrupt(id, notice), Applied), (interrupt(ProcessId::generate(), notice), Unchanged)])
        .await;
    assert_eq!((row().await.interruption, row().await.state), (Some(notice), WorkerState::Starting));
    place.all(fence, vec![(interrupt(id, replaced), Applied), (end_worker(id), Applied)]).await;
    place.all(fence, vec![(interrupt(id, notice), Unchanged)]).await;
    assert_eq!(row().await.interruption, Some(replaced), "it is known of one that ended too");
    let others = place.store.open_workers().await.expect("a read");
    assert!(others.iter().all(|row| row.interruption.is_none()), "{others:?}");
}
