//! Agents.

use muster_domain::{AgentState, Intent};
use muster_store::WriteOutcome::{Applied, Unchanged, Unplaced};
use muster_store::{AgentFilter, AgentRow};

use super::*;

const fn terminated(reason: StopReason) -> Option<FinalState> {
    Some(FinalState::Terminated(reason))
}

pub(crate) async fn agents_are_made_with_a_slot_or_without(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 1).await;
    let placed = new_agent("dev", Some(worker));
    let crowded = new_agent("dev", Some(worker));
    let nobody = new_agent("dev", Some(ProcessId::generate()));
    place
        .all(
            fence,
            vec![
                (add(&placed), Applied),
                (add(&placed), Unchanged),
                (add(&crowded), Unplaced),
                (add(&nobody), Unplaced),
                (add(&new_agent("nowhere", None)), Unchanged),
            ],
        )
        .await;
    let expected = AgentRow {
        spec: placed.spec.clone(),
        intent: Intent::Run,
        assignment: Some(Assignment { process_id: worker, epoch: Epoch(1) }),
        epoch: Epoch(1),
        final_state: None,
        last_ending: None,
        restarts: 0,
        created_at: at(2),
        updated_at: at(2),
        restart: false,
    };
    assert_eq!(place.read(placed.spec.agent_id).await, expected);
    let row = place.read(crowded.spec.agent_id).await;
    assert_eq!((row.intent, row.assignment, row.epoch), (Intent::Run, None, Epoch(0)));
    assert_eq!(place.store.agent(AgentId::generate()).await.expect("a read"), None);

    let draining = place.worker(fence, 5).await;
    let gone = place.worker(fence, 5).await;
    place
        .all(
            fence,
            vec![
                (Write::DrainWorker { process_id: draining }, Applied),
                (end_worker(gone), Applied),
                (add(&new_agent("dev", Some(draining))), Unplaced),
                (add(&new_agent("dev", Some(gone))), Unplaced),
            ],
        )
        .await;
}

pub(crate) async fn assigning_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let [full, free, draining] =
        [place.worker(fence, 1).await, place.worker(fence, 9).await, place.worker(fence, 9).await];
    place.agent(fence, Some(full)).await;
    let agent = place.agent(fence, None).await;
    let stopped = place.agent(fence, None).await;
    place
        .all(
            fence,
            vec![
                (stop(stopped), Applied),
                (Write::DrainWorker { process_id: draining }, Applied),
                (assign(stopped, free, 1), Unchanged),
                (assign(AgentId::generate(), free, 1), Unchanged),
                (assign(agent, full, 1), Unchanged),
                (assign(agent, draining, 1), Unchanged),
                (assign(agent, ProcessId::generate(), 1), Unchanged),
                (assign(agent, free, 2), Unchanged),
                (assign(agent, free, 0), Unchanged),
                (assign(agent, free, 1), Applied),
                (assign(agent, free, 1), Unchanged),
                (assign(agent, free, 2), Unchanged),
                (release(agent, 1, None), Applied),
                (assign(agent, free, 1), Unchanged),
                (assign(agent, free, 2), Applied),
                (release(agent, 2, QUARANTINED), Applied),
                (assign(agent, free, 3), Unchanged),
            ],
        )
        .await;
    let row = place.read(agent).await;
    assert_eq!((row.epoch, row.assignment, row.final_state), (Epoch(2), None, QUARANTINED));
}

pub(crate) async fn stopping_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 9).await;
    let [waiting, placed] = [place.agent(fence, None).await, place.agent(fence, Some(worker)).await];
    let again = |agent_id| Write::StopAgent { agent_id, reason: StopReason::Idle, at: at(9) };
    place
        .all(
            fence,
            vec![
                (stop(AgentId::generate()), Unchanged),
                (stop(waiting), Applied),
                (stop(placed), Applied),
                (again(waiting), Unchanged),
                (again(placed), Unchanged),
            ],
        )
        .await;
    let row = place.read(waiting).await;
    let asked = Intent::Stop(StopReason::Requested);
    assert_eq!((row.intent, row.final_state, row.updated_at), (asked, terminated(StopReason::Requested), at(4)));
    let row = place.read(placed).await;
    assert_eq!((row.intent, row.final_state), (asked, None), "its slot is taken until its tree is dead");
    assert!(row.assignment.is_some());
}

pub(crate) async fn releasing_says_what_comes_next(place: &Place) {
    let fence = place.lead_with_pool().await;
    let asked = Intent::Stop(StopReason::Requested);
    let by = Intent::Stop;
    // What comes after; then intent, rest and restarts where it was to run, and where it was to stop.
    let stopped = terminated(StopReason::Requested);
    let idle = terminated(StopReason::Idle);
    let failed = |reason| Some(FinalState::Failed(reason));
    let (completed, requested) = (failed(StopReason::Completed), failed(StopReason::Requested));
    let rows = [
        (None, (Intent::Run, None, 1), (asked, stopped, 0)),
        (idle, (by(StopReason::Idle), idle, 0), (asked, stopped, 0)),
        (completed, (by(StopReason::Completed), completed, 0), (asked, requested, 0)),
        (QUARANTINED, (Intent::Run, QUARANTINED, 0), (asked, stopped, 0)),
    ];
    for (then, if_run, if_stop) in rows {
        for (expected, stopped) in [(if_run, false), (if_stop, true)] {
            let worker = place.worker(fence, 1).await;
            let agent = place.agent(fence, Some(worker)).await;
            if stopped {
                assert_eq!(place.one(fence, stop(agent)).await, Applied);
            }
            place
                .all(
                    fence,
                    vec![
                        (release(agent, 2, then), Unchanged),
                        (release(agent, 0, then), Unchanged),
                        (release(agent, 1, then), Applied),
                        (release(agent, 1, then), Unchanged),
                    ],
                )
                .await;
            let row = place.read(agent).await;
            assert_eq!((row.intent, row.final_state, row.restarts), expected, "{then:?}, stopped: {stopped}");
            assert_eq!((row.assignment, row.epoch, row.updated_at), (None, Epoch(1), at(6)));
            assert_eq!(row.last_ending, Some(ending()));
            let live = place.store.live_agents().await.expect("a read").iter().any(|a| a.spec.agent_id == agent);
            assert_eq!(live, matches!(expected.0, Intent::Run), "{then:?}, stopped: {stopped}");
        }
    }
}

pub(crate) async fn restarting_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 5).await;
    let agent = place.agent(fence, Some(worker)).await;
    place.all(fence, vec![(restart(agent, 0), Unchanged), (restart(agent, 2), Unchanged)]).await;
    assert!(!place.read(agent).await.restart);
    place.all(fence, vec![(restart(agent, 1), Applied), (restart(agent, 1), Applied)]).await;
    let row = place.read(agent).await;
    assert_eq!((row.intent, row.restart, row.updated_at), (Intent::Run, true, at(8)));
    assert!(place.store.live_agents().await.expect("rows").iter().any(|row| row.restart));

    assert_eq!(place.one(fence, release(agent, 1, None)).await, Applied);
    assert!(!place.read(agent).await.restart, "that run is over");
    place.all(fence, vec![(restart(agent, 1), Unchanged), (assign(agent, worker, 2), Applied)]).await;
    assert!(!place.read(agent).await.restart, "the mark was of an earlier epoch");

    assert_eq!(place.one(fence, stop(agent)).await, Applied);
    assert_eq!(place.one(fence, restart(agent, 2)).await, Unchanged, "what is to end stays ended");
    assert_eq!(place.one(fence, restart(AgentId::generate(), 1)).await, Unchanged);
}

pub(crate) async fn reviving_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    for (then, expected) in [
        (None, Unchanged),
        (terminated(StopReason::Idle), Unchanged),
        (Some(FinalState::Failed(StopReason::Completed)), Applied),
        (QUARANTINED, Applied),
    ] {
        let worker = place.worker(fence, 1).await;
        let agent = place.agent(fence, Some(worker)).await;
        place
            .all(
                fence,
                vec![
                    (revive(agent), Unchanged),
                    (release(agent, 1, then), Applied),
                    (revive(agent), expected.clone()),
                    (revive(agent), Unchanged),
                ],
            )
            .await;
        if expected == Applied {
            let row = place.read(agent).await;
            assert_eq!((row.intent, row.final_state, row.updated_at), (Intent::Run, None, at(7)));
            assert_eq!(row.restarts, 1, "it is started a further time");
            assert_eq!(place.one(fence, assign(agent, worker, 2)).await, Applied, "it may be placed again");
        }
    }
    assert_eq!(place.one(fence, revive(AgentId::generate())).await, Unchanged);
}

pub(crate) async fn capacity_is_never_exceeded(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 5).await;
    let mut agents = Vec::new();
    for _ in 0..12 {
        agents.push(place.agent(fence, None).await);
    }
    let assigns = agents.iter().map(|agent| assign(*agent, worker, 1));
    let adds = (0..12).map(|_| add(&new_agent("dev", Some(worker))));
    let tasks: Vec<_> = assigns
        .chain(adds)
        .map(|write| {
            let store = place.store.clone();
            tokio::spawn(async move { store.apply(fence, &[write]).await.expect("a batch").remove(0) })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        applied += u32::from(task.await.expect("no panic") == Applied);
    }
    assert_eq!(applied, 5);
    let live = place.store.live_agents().await.expect("a read");
    assert_eq!(live.len(), 24);
    let held = |rows: &[AgentRow]| rows.iter().filter(|row| row.assignment.is_some()).count();
    assert_eq!(held(&live), 5);

    // In one batch too, and a slot that is given back is a slot.
    let holder = live.iter().find(|row| row.assignment.is_some()).expect("a holder").spec.agent_id;
    let mut writes = vec![release(holder, 1, None)];
    writes.extend((0..3).map(|_| add(&new_agent("dev", Some(worker)))));
    let outcomes = place.store.apply(fence, &writes).await.expect("a batch");
    assert_eq!(outcomes, [Applied, Applied, Unplaced, Unplaced]);
    assert_eq!(held(&place.store.live_agents().await.expect("a read")), 5);
}

pub(crate) async fn agents_are_listed_in_pages(place: &Place) {
    let fence = place.lead_with_pool().await;
    assert_eq!(place.one(fence, add_pool("qa")).await, Applied);
    let mut ids = Vec::new();
    for n in 0..9 {
        let mut agent = new_agent(if n % 3 == 0 { "qa" } else { "dev" }, None);
        agent.spec.project_id = if n % 2 == 0 { "even".into() } else { "odd".into() };
        ids.push(agent.spec.agent_id);
        assert_eq!(place.one(fence, add(&agent)).await, Unplaced);
    }
    for n in [1, 4] {
        assert_eq!(place.one(fence, stop(ids[n])).await, Applied);
    }
    let at_rest = |state| AgentFilter { final_state: Some(state), ..AgentFilter::default() };
    let [qa, dev] = ["qa", "dev"].map(|pool| AgentFilter { pool: Some(name(pool)), ..AgentFilter::default() });
    let odd = AgentFilter { project: Some("odd".into()), ..AgentFilter::default() };
    let rows: [(AgentFilter, &[usize]); 8] = [
        (AgentFilter::default(), &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (qa.clone(), &[0, 3, 6]),
        (odd.clone(), &[1, 3, 5, 7]),
        (AgentFilter { project: odd.project.clone(), ..dev.clone() }, &[1, 5, 7]),
        (at_rest(Some(AgentState::Terminated)), &[1, 4]),
        (at_rest(Some(AgentState::Failed)), &[]),
        (at_rest(None), &[0, 2, 3, 5, 6, 7, 8]),
        (AgentFilter { final_state: Some(None), project: odd.project, ..dev }, &[5, 7]),
    ];
    for (filter, expected) in rows {
        // Pages of 2, each after the last id of the one before.
        let mut found = Vec::new();
        loop {
            let page = place.store.agents(&filter, found.last().copied(), 2).await.expect("a page");
            assert!(page.len() <= 2);
            found.extend(page.iter().map(|row| row.spec.agent_id));
            if page.len() < 2 {
                break;
            }
        }
        let expected: Vec<AgentId> = expected.iter().map(|n| ids[*n]).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

pub(crate) async fn only_live_agents_are_live(place: &Place) {
    let fence = place.lead_with_pool().await;
    let worker = place.worker(fence, 9).await;
    let waiting = place.agent(fence, None).await;
    let terminated = place.agent(fence, None).await;
    let stopping = place.agent(fence, Some(worker)).await;
    let quarantined = place.agent(fence, Some(worker)).await;
    let failed = place.agent(fence, Some(worker)).await;
    place
        .all(
            fence,
            vec![
                (stop(terminated), Applied),
                (stop(stopping), Applied),
                (release(quarantined, 1, QUARANTINED), Applied),
                (release(failed, 1, Some(FinalState::Failed(StopReason::Completed))), Applied),
            ],
        )
        .await;
    let live: Vec<AgentId> =
        place.store.live_agents().await.expect("a read").into_iter().map(|row| row.spec.agent_id).collect();
    assert_eq!(live, [waiting, stopping, quarantined], "in the order of their making");
}
