//! Leadership and fencing.

use muster_store::{Leadership, StoreError};

use super::*;

pub(crate) async fn a_fenced_leader_changes_nothing(place: &Place) {
    let old = place.lead_with_pool().await;
    place.store.resign(old).await.expect("a resignation");
    let new = place.lead().await;
    assert!(new > old);
    let fenced = |result: Result<(), StoreError>| match result {
        Err(StoreError::Fenced { ours, current }) => assert_eq!((ours, current), (old, new)),
        other => panic!("{other:?}"),
    };
    fenced(place.store.apply(old, &[add_pool("late")]).await.map(drop));
    fenced(place.store.apply(old, &[]).await.map(drop));
    fenced(place.store.renew(old, LEASE).await);
    fenced(place.store.prune(old, at(0), at(0)).await.map(drop));
    place.store.resign(old).await.expect("no error, and no effect");
    place.store.renew(new, LEASE).await.expect("the leader's own lease");
    assert_eq!(place.one(new, add_pool("next")).await, WriteOutcome::Applied);
    let pools: Vec<_> = place.store.pools().await.expect("pools").into_iter().map(|p| p.spec.pool_name).collect();
    assert_eq!(pools, [name("dev"), name("next")]);
}

pub(crate) async fn resigning_ends_it_at_once(place: &Place) {
    let fence = place.lead().await;
    place.store.resign(fence).await.expect("a resignation");
    let late = place.store.apply(fence, &[add_pool("late")]).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    assert!(place.lead().await > fence, "nobody waits for the lease");
}

pub(crate) async fn a_lease_is_held_renewed_and_taken_over(place: &Place) {
    let lead = |holder, lease| place.store.lead(holder, "10.0.0.1:8000", lease);
    let Leadership::Leads(first) = lead("one", LEASE).await.expect("an answer") else { panic!("nobody leads yet") };
    let held = Leadership::Held { address: "10.0.0.1:8000".into(), holder: "one".into() };
    assert_eq!(lead("two", LEASE).await.expect("an answer"), held);

    // A lease that passes at once, without waiting.
    place.store.renew(first, Duration::ZERO).await.expect("still the leader");
    place.store.renew(first, LEASE).await.expect("nobody took over meanwhile");
    assert_eq!(lead("two", LEASE).await.expect("an answer"), held);

    place.store.renew(first, Duration::ZERO).await.expect("still the leader");
    let Leadership::Leads(second) = lead("two", LEASE).await.expect("an answer") else {
        panic!("the lease has passed")
    };
    assert!(second > first);
    let late = place.store.renew(first, LEASE).await;
    assert!(matches!(late, Err(StoreError::Fenced { current, .. }) if current == second), "{late:?}");

    // Of many that want to lead, one does.
    place.store.renew(second, Duration::ZERO).await.expect("still the leader");
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = place.store.clone();
            tokio::spawn(async move { store.lead(&format!("{n}"), "", LEASE).await.expect("an answer") })
        })
        .collect();
    let mut leaders = 0;
    for task in tasks {
        leaders += u32::from(matches!(task.await.expect("no panic"), Leadership::Leads(_)));
    }
    assert_eq!(leaders, 1);
}
