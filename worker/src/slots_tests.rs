//! The table of commands and ends, and every race of the messages in both orders.

use std::time::Duration;

use muster_domain::{Activity, AgentSpec, ObservedState};

use super::*;

const FENCE: Fence = Fence(3);

/// A table with its clock stopped, and a short notation for what it answers.
struct SlotTableTest {
    slots: Slots,
    now: Instant,
    agents: Vec<AgentId>,
}

impl SlotTableTest {
    fn new(capacity: u32) -> Self {
        let agents = (0..4).map(|_| AgentId::generate()).collect();
        Self { slots: Slots::new(capacity, FENCE), now: Instant::now(), agents }
    }

    fn order(&self, agent: usize, epoch: u64) -> SpawnOrder {
        let agent = AgentSpec {
            agent_id: self.agents[agent],
            pool_name: "p".parse().expect("a name"),
            role_type: "developer".into(),
            project_id: "shop".into(),
            human_name: "Ada Brook".into(),
            heartbeat_interval: Duration::from_secs(30),
            max_idle_time: Duration::from_secs(300),
            on_demand: false,
        };
        SpawnOrder { agent, epoch: Epoch(epoch) }
    }

    fn spawn(&mut self, agent: usize, epoch: u64) -> String {
        self.spawn_by(agent, epoch, FENCE)
    }

    fn spawn_by(&mut self, agent: usize, epoch: u64, fence: Fence) -> String {
        let order = self.order(agent, epoch);
        let step = self.slots.on_spawn(order, fence, self.now, Timestamp::from_millis(0));
        words(step)
    }

    fn terminate(&mut self, agent: usize, epoch: u64, how: StopMode) -> String {
        self.terminate_by(agent, epoch, how, FENCE)
    }

    fn terminate_by(&mut self, agent: usize, epoch: u64, how: StopMode, fence: Fence) -> String {
        let agent = self.agents[agent];
        let step = self.slots.on_terminate(agent, Epoch(epoch), how, fence, Timestamp::from_millis(0));
        words(step)
    }

    fn started(&mut self, agent: usize, epoch: u64) -> String {
        let agent = self.agents[agent];
        let step = self.slots.on_started(agent, Epoch(epoch), Some(7), self.now, Timestamp::from_millis(0));
        words(step)
    }

    fn ended(&mut self, agent: usize, epoch: u64, code: i32) -> String {
        let ending = Ending::new(Cause::Exited { code }, Timestamp::from_millis(0));
        let steps = self.slots.on_ended(self.agents[agent], Epoch(epoch), ending, self.now);
        words(steps)
    }

    /// An agent that runs.
    fn running(&mut self, agent: usize, epoch: u64) {
        assert_eq!(self.spawn(agent, epoch), format!("start {epoch}"));
        assert_eq!(self.started(agent, epoch), format!("started {epoch}"));
    }

    fn states(&self) -> Vec<(u64, ObservedState)> {
        let mut states: Vec<_> =
            self.slots.pictures(nothing).iter().map(|agent| (agent.epoch.0, agent.state)).collect();
        states.sort_by_key(|(epoch, _)| *epoch);
        states
    }
}

fn words(steps: impl IntoIterator<Item = SlotStep>) -> String {
    let words: Vec<String> = steps.into_iter().map(|step| word(&step)).collect();
    words.join(", ")
}

fn word(step: &SlotStep) -> String {
    let body = match step {
        SlotStep::Start(order) => return format!("start {}", order.epoch),
        SlotStep::Stop(_, epoch, how) => {
            return format!("{} {epoch}", if *how == StopMode::Ask { "ask" } else { "kill" });
        }
        SlotStep::Say(body) | SlotStep::Repeat(body) => body,
    };
    match body {
        ReportBody::Started { epoch, .. } => format!("started {epoch}"),
        ReportBody::Ended { epoch, ready, ending, .. } => {
            format!("ended {epoch} {}{}", if *ready { "" } else { "never ready " }, ending.cause)
        }
        ReportBody::Refused { epoch, refusal, .. } => format!("refused {epoch} {refusal}"),
        ReportBody::IdleTooLong { epoch, .. } => format!("idle {epoch}"),
        other => format!("{other:?}"),
    }
}

fn nothing(_: AgentId, _: Epoch) -> AgentWork {
    AgentWork::default()
}

#[test]
fn a_spawn_is_answered_with_what_became_of_it_each_time_it_comes() {
    let mut table = SlotTableTest::new(2);
    assert_eq!(table.spawn(0, 1), "start 1");
    assert_eq!(table.spawn(0, 1), "", "it is being started");
    assert_eq!(table.started(0, 1), "started 1");
    assert_eq!(table.started(0, 1), "", "said once");
    assert_eq!(table.spawn(0, 1), "started 1");
    assert_eq!(table.ended(0, 1, 3), "ended 1 exited with code 3");
    assert_eq!(table.spawn(0, 1), "ended 1 exited with code 3", "an epoch is started once");
    assert!(table.slots.is_empty());
}

#[test]
fn spawn_then_terminate_and_terminate_then_spawn_both_end() {
    let mut table = SlotTableTest::new(2);
    table.running(0, 1);
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "ask 1");
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "", "it was asked");
    assert_eq!(table.spawn(0, 1), "", "a spawn that is late does not undo it");
    assert_eq!(table.ended(0, 1, 0), "ended 1 exited with code 0");
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "ended 1 exited with code 0");

    assert_eq!(table.terminate(1, 1, StopMode::Ask), "ended 1 never ready was stopped");
    assert_eq!(table.spawn(1, 1), "ended 1 never ready was stopped");
    assert_eq!(table.spawn(1, 2), "start 2", "a later epoch is another matter");
}

#[test]
fn a_terminate_during_the_start_ends_it_without_saying_that_it_runs() {
    let mut table = SlotTableTest::new(2);
    table.spawn(0, 1);
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "ask 1");
    assert_eq!(table.started(0, 1), "", "the news crossed the order");
    assert_eq!(table.ended(0, 1, 0), "ended 1 exited with code 0");
}

#[test]
fn a_kill_overrides_an_order_to_ask_and_not_the_other_way_round() {
    let mut table = SlotTableTest::new(2);
    table.running(0, 1);
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "ask 1");
    assert_eq!(table.terminate(0, 1, StopMode::Kill), "kill 1");
    assert_eq!(table.terminate(0, 1, StopMode::Ask), "");
    assert_eq!(words(table.slots.stop_all(StopMode::Kill, Timestamp::from_millis(0))), "");
}

#[test]
fn a_higher_epoch_waits_for_the_proof_that_the_lower_is_dead() {
    let mut table = SlotTableTest::new(1);
    table.running(0, 1);
    assert_eq!(table.spawn(0, 2), "kill 1", "in the same slot, so capacity 1 is enough");
    assert_eq!(table.spawn(0, 2), "", "it waits");
    assert_eq!(table.spawn(0, 1), "", "the lower is ending, which will be said");
    assert_eq!(table.states(), [(1, ObservedState::Stopping)]);
    assert_eq!(table.ended(0, 1, 9), "ended 1 exited with code 9, start 2");
    assert_eq!(table.started(0, 2), "started 2");
    assert_eq!(table.spawn(0, 1), "refused 1 it has seen epoch 2 of this agent");
    assert_eq!(table.ended(0, 1, 9), "", "late news of the lower are none");
    assert_eq!(table.states(), [(2, ObservedState::Running(Activity::Idle))]);
}

#[test]
fn a_terminate_of_the_epoch_that_waits_is_answered_when_the_tree_is_gone() {
    let mut table = SlotTableTest::new(1);
    table.running(0, 1);
    table.spawn(0, 2);
    assert_eq!(table.terminate(0, 2, StopMode::Ask), "");
    assert_eq!(table.ended(0, 1, 9), "ended 1 exited with code 9, ended 2 never ready was stopped");
    assert_eq!(table.spawn(0, 2), "ended 2 never ready was stopped");
    // The other order: the terminate of the higher epoch comes before its spawn.
    table.running(0, 3);
    assert_eq!(table.terminate(0, 4, StopMode::Ask), "kill 3");
    assert_eq!(table.spawn(0, 4), "", "the answer comes with the proof");
    assert_eq!(table.ended(0, 3, 9), "ended 3 exited with code 9, ended 4 never ready was stopped");
    assert!(table.slots.is_empty());
}

#[test]
fn a_terminate_of_a_lower_epoch_does_not_touch_the_higher() {
    let mut table = SlotTableTest::new(1);
    table.running(0, 2);
    assert_eq!(table.terminate(0, 1, StopMode::Kill), "ended 1 never ready was stopped");
    assert_eq!(table.states(), [(2, ObservedState::Running(Activity::Idle))]);
    assert_eq!(table.spawn(0, 2), "started 2");
}

#[test]
fn a_tree_that_is_being_stopped_takes_its_slot() {
    let mut table = SlotTableTest::new(2);
    table.running(0, 1);
    table.running(1, 1);
    table.terminate(0, 1, StopMode::Ask);
    assert_eq!(table.spawn(2, 1), "refused 1 all of its 2 slots are taken");
    table.ended(0, 1, 0);
    // The master placed it elsewhere because of the refusal: this epoch must not run here, slot or not.
    assert_eq!(table.spawn(2, 1), "refused 1 all of its 2 slots are taken");
    assert_eq!(table.spawn(2, 2), "start 2");
    assert_eq!(table.slots.pictures(nothing).len(), 2);
}

#[test]
fn a_replaced_leader_is_not_obeyed() {
    let mut table = SlotTableTest::new(2);
    table.running(0, 1);
    assert_eq!(table.spawn_by(1, 1, Fence(2)), "refused 1 it has seen the leader with fence 3");
    assert_eq!(table.spawn(1, 1), "refused 1 it has seen the leader with fence 3", "a refusal is final");
    assert_eq!(table.spawn(1, 2), "start 2");
    assert_eq!(table.spawn_by(0, 1, Fence(2)), "started 1", "an answer changes nothing, and this one is true");
    assert_eq!(table.spawn_by(0, 2, Fence(2)), "refused 2 it has seen the leader with fence 3");
    assert_eq!(table.states()[0], (1, ObservedState::Running(Activity::Idle)), "it was not replaced");
    assert_eq!(table.terminate_by(0, 1, StopMode::Kill, Fence(2)), "");
    assert_eq!(table.terminate_by(0, 1, StopMode::Kill, Fence(4)), "kill 1");
    assert_eq!(table.slots.fence(), Fence(4));
}

#[test]
fn a_closed_table_refuses_what_is_new_and_what_waited() {
    let mut table = SlotTableTest::new(3);
    table.running(0, 1);
    table.running(1, 1);
    table.spawn(1, 2);
    table.slots.close();
    assert_eq!(table.spawn(2, 1), "refused 1 it is draining");
    assert_eq!(table.spawn(0, 1), "started 1", "what runs is answered");
    assert_eq!(table.ended(1, 1, 9), "ended 1 exited with code 9, refused 2 it is draining");
    // A later epoch of one that runs here is refused too, and the older must not run on beside it elsewhere.
    assert_eq!(table.spawn(0, 2), "kill 1");
    assert_eq!(table.ended(0, 1, 9), "ended 1 exited with code 9, refused 2 it is draining");
    assert!(table.slots.is_empty());
}

#[test]
fn idleness_is_reported_once_per_max_idle_time_and_never_of_a_busy_or_stopping_agent() {
    let mut table = SlotTableTest::new(2);
    table.running(0, 1);
    let idle_time = Duration::from_secs(300);
    assert_eq!(table.slots.next_idle(), Some(table.now + idle_time));
    let start = table.now;
    let mut look = |at: Instant, active: Option<Instant>| {
        let steps = table.slots.idle(at, |_| active);
        steps.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(look(start + idle_time / 2, None), "");
    assert_eq!(look(start + idle_time, Some(start + idle_time / 2)), "", "it printed something");
    assert_eq!(look(start + idle_time * 3 / 2, Some(start + idle_time / 2)), "idle 1");
    assert_eq!(look(start + idle_time * 2, None), "", "said");
    assert_eq!(look(start + idle_time * 5 / 2, None), "idle 1", "and said again");
    table.terminate(0, 1, StopMode::Ask);
    assert_eq!(table.slots.next_idle(), None);
}

/// Whatever comes in whatever order: the next moment is the one that a look at every agent would find.
#[test]
fn the_next_idle_moment_is_that_of_all_agents_at_any_time() {
    for seed in 1..40_u64 {
        let mut table = SlotTableTest::new(3);
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for _ in 0..200 {
            let (agent, epoch) = (usize::try_from(roll(4)).expect("an index"), roll(4) + 1);
            match roll(8) {
                0 | 1 => drop(table.spawn(agent, epoch)),
                2 | 3 => drop(table.started(agent, epoch)),
                4 => drop(table.terminate(agent, epoch, StopMode::Ask)),
                5 => drop(table.ended(agent, epoch, 1)),
                6 if roll(10) == 0 => drop(table.slots.stop_all(StopMode::Kill, Timestamp::from_millis(0))),
                6 => table.slots.on_stuck(
                    table.agents[agent],
                    Epoch(epoch),
                    Some("it waits".to_owned()),
                    Timestamp::now(),
                ),
                _ => {
                    table.now += Duration::from_secs(roll(200));
                    let active = (roll(2) == 0).then(|| table.now - Duration::from_secs(roll(100)));
                    drop(table.slots.idle(table.now, |_| active));
                }
            }
            let all = table.slots.held.values().filter_map(HeldAgent::idle_at).min();
            assert_eq!(table.slots.next_idle(), all, "seed {seed}");
        }
    }
}

#[test]
fn the_reason_of_a_tree_that_does_not_die_is_in_the_picture() {
    let mut table = SlotTableTest::new(1);
    table.running(0, 1);
    table.terminate(0, 1, StopMode::Kill);
    let reason = Some("process 7 (dd) is in uninterruptible sleep".to_owned());
    table.slots.on_stuck(table.agents[0], Epoch(1), reason.clone(), Timestamp::from_millis(5));
    let picture = table.slots.picture(&table.agents[0], nothing).expect("held");
    assert_eq!((picture.reason, picture.state, picture.pid), (reason, ObservedState::Stopping, Some(7)));
    assert_eq!(picture.updated_at, Timestamp::from_millis(5));
}
