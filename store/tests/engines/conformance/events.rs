//! Events.

use muster_store::WriteOutcome::Applied;
use muster_store::{EventRow, Pruned};

use super::*;

impl Place {
    async fn events_after(&self, after: u64, limit: u32) -> Vec<EventRow> {
        self.store.events(after, limit).await.expect("events")
    }

    async fn bounds(&self) -> (u64, u64) {
        self.store.event_bounds().await.expect("bounds")
    }
}

pub(crate) async fn events_are_numbered_and_resumed(place: &Place) {
    let fence = place.lead().await;
    assert_eq!(place.bounds().await, (0, 0));
    assert!(place.events_after(0, 10).await.is_empty());
    let mut bare = event(5);
    (bare.pool_name, bare.agent_id, bare.process_id) = (None, None, Some(ProcessId::generate()));
    let drafts: Vec<EventDraft> = (0..5).map(event).chain([bare]).collect();
    let writes: Vec<Write> = drafts.iter().cloned().map(Write::Event).collect();
    assert_eq!(place.store.apply(fence, &writes).await.expect("a batch"), vec![Applied; 6]);
    let rows = place.events_after(0, 10).await;
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rows.iter().map(|row| row.event.clone()).collect::<Vec<_>>(), drafts);
    assert_eq!(place.events_after(2, 3).await, rows[2..5]);
    assert!(place.events_after(6, 10).await.is_empty());
    assert_eq!(place.bounds().await, (1, 6));
}

/// A reader that asks for what is above the last number it saw misses none, whatever commits meanwhile.
pub(crate) async fn events_have_no_holes_under_concurrency(place: &Place) {
    let fence = place.lead().await;
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let store = place.store.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let batch = [Write::Event(event(writer * 100 + n)), Write::Event(event(writer * 100 + n + 50))];
                    store.apply(fence, &batch).await.expect("a batch");
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 240 {
        for row in place.events_after(seen, 7).await {
            assert_eq!(row.seq, seen + 1, "a number became visible before a lower one");
            seen = row.seq;
        }
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!(place.bounds().await, (1, 240));
}

pub(crate) async fn pruning_keeps_the_highest_number(place: &Place) {
    let fence = place.lead().await;
    // The clock was set back between the third and the fourth.
    for millis in [10, 20, 40, 15, 50] {
        assert_eq!(place.one(fence, Write::Event(event(millis))).await, Applied);
    }
    assert_eq!(place.store.prune(fence, at(5), at(0)).await.expect("pruned").others, 0);
    assert_eq!(place.store.prune(fence, at(30), at(0)).await.expect("pruned").others, 2);
    assert_eq!(place.bounds().await, (3, 5), "from the lowest on, without a gap");
    assert_eq!(place.store.prune(fence, at(100), at(0)).await.expect("pruned").others, 3);
    assert_eq!(place.bounds().await, (6, 5), "nothing is kept, and the next one is 6");
    assert_eq!(place.one(fence, Write::Event(event(60))).await, Applied);
    assert_eq!(place.events_after(0, 10).await[0].seq, 6);
    assert_eq!(place.bounds().await, (6, 6));
}

pub(crate) async fn pruning_takes_what_is_old(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 9).await;
    let [ended, running, quarantined] = [
        place.agent(fence, None).await,
        place.agent(fence, Some(worker)).await,
        place.agent(fence, Some(worker)).await,
    ];
    let keyed = keyed("k", 1);
    place
        .all(
            fence,
            vec![
                (add(&keyed), WriteOutcome::Unplaced),
                (stop(ended), Applied),
                (release(quarantined, 1, QUARANTINED), Applied),
                (end_worker(worker), Applied),
            ],
        )
        .await;
    // More than one step of deletions.
    let many: Vec<Write> = (0..1_201).map(|_| Write::Event(event(0))).collect();
    place.store.apply(fence, &many).await.expect("a batch");

    assert_eq!(
        place.store.prune(fence, at(0), at(4)).await.expect("pruned"),
        Pruned::default(),
        "nothing is old enough"
    );
    let pruned = place.store.prune(fence, at(3), at(100)).await.expect("pruned");
    assert_eq!(pruned, Pruned { others: 1_202, agents: vec![ended], ..Pruned::default() }, "events and the key");
    assert_eq!(place.store.agent(ended).await.expect("a read"), None);
    assert!(place.store.worker(worker).await.expect("a read").is_some(), "an agent is still placed on it");
    place.read(quarantined).await;
    assert_eq!(place.one(fence, release(running, 1, None)).await, Applied);
    let pruned = place.store.prune(fence, at(3), at(100)).await.expect("pruned");
    assert_eq!(pruned, Pruned { workers: vec![worker], ..Pruned::default() });
    assert_eq!(place.store.worker(worker).await.expect("a read"), None);
    let again = NewAgent { spec: new_agent("dev", None).spec, ..keyed };
    assert_eq!(place.one(fence, add(&again)).await, WriteOutcome::Unplaced, "the key is free again");
}
