//! Rounds: their order, their fairness and their bounds.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn task(n: usize) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n as u128))
}

fn agent(n: usize) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(n as u128))
}

fn waiting(numbers: std::ops::Range<usize>) -> Vec<ReadyTask> {
    numbers.map(|n| ReadyTask { task_id: task(n), project_id: None }).collect()
}

fn idle(count: usize) -> Vec<IdleAgent<'static>> {
    (0..count).map(|n| IdleAgent { agent_id: agent(n), project_id: "p", room: 1, own: &[] }).collect()
}

fn tenant(name: &str) -> Tenant<'_> {
    Tenant { name, weight: 1, allowance: u32::MAX }
}

fn numbers(choices: &[Choice]) -> Vec<u128> {
    choices.iter().map(|choice| choice.task_id.as_uuid().as_u128()).collect()
}

fn queue(tenant: usize, tasks: &[ReadyTask]) -> QueueHead<'_> {
    QueueHead { priority: Priority::NORMAL, tenant, tasks }
}

#[test]
fn one_task_of_a_quiet_tenant_starts_within_a_round() {
    let (noisy, quiet) = (waiting(0..10_000), waiting(20_000..20_001));
    let queue = DispatchInput {
        tenants: vec![tenant("noisy"), tenant("quiet")],
        queues: vec![queue(0, &noisy), queue(1, &quiet)],
        idle: idle(2),
        most: u32::MAX,
    };
    assert_eq!(numbers(&dispatch(&queue, &mut RoundRobin::default())), [0, 20_000]);
}

#[test]
fn the_round_goes_on_where_it_stopped() {
    let (a, b) = (waiting(0..9), waiting(10..19));
    let mut round_robin = RoundRobin::default();
    let mut begun = Vec::new();
    for _ in 0..4 {
        let done = |from: u128, to: u128| begun.iter().filter(|n| (from..to).contains(n)).count();
        let queue = DispatchInput {
            tenants: vec![tenant("a"), tenant("b")],
            queues: vec![queue(0, &a[done(0, 9)..]), queue(1, &b[done(10, 19)..])],
            idle: idle(1),
            most: u32::MAX,
        };
        begun.extend(numbers(&dispatch(&queue, &mut round_robin)));
    }
    assert_eq!(begun, [0, 10, 1, 11]);
}

#[test]
fn a_weight_is_a_share_also_where_a_turn_is_cut_short() {
    let (a, b) = (waiting(0..100), waiting(100..200));
    let mut round_robin = RoundRobin::default();
    let mut begun: Vec<u128> = Vec::new();
    for _ in 0..10 {
        let done = |from: u128, to: u128| begun.iter().filter(|n| (from..to).contains(n)).count();
        let queue = DispatchInput {
            tenants: vec![Tenant { weight: 3, ..tenant("a") }, tenant("b")],
            queues: vec![queue(0, &a[done(0, 100)..]), queue(1, &b[done(100, 200)..])],
            idle: idle(2),
            most: u32::MAX,
        };
        begun.extend(numbers(&dispatch(&queue, &mut round_robin)));
    }
    assert_eq!(begun.iter().filter(|n| **n < 100).count(), 15, "{begun:?}");
}

#[test]
fn the_urgent_go_first_and_age_decides_among_a_tenants_own() {
    let (normal, urgent) = (waiting(0..2), waiting(10..12));
    let queue = DispatchInput {
        tenants: vec![tenant("a")],
        queues: vec![queue(0, &normal), QueueHead { priority: Priority::HIGHEST, tenant: 0, tasks: &urgent }],
        idle: idle(3),
        most: u32::MAX,
    };
    assert_eq!(numbers(&dispatch(&queue, &mut RoundRobin::default())), [10, 11, 0]);
}

#[test]
fn an_idle_agent_of_the_same_project_is_preferred() {
    let tasks = [ReadyTask { task_id: task(1), project_id: Some("x".to_owned()) }];
    let mut agents = idle(3);
    agents[2].project_id = "x";
    let queue =
        DispatchInput { tenants: vec![tenant("a")], queues: vec![queue(0, &tasks)], idle: agents, most: u32::MAX };
    let chosen = Choice { task_id: task(1), agent_id: agent(2), queue: Some(0), why: ChoiceReason::SameProject };
    assert_eq!(dispatch(&queue, &mut RoundRobin::default()), [chosen]);
}

#[test]
fn a_task_for_a_named_agent_delays_nobody_else() {
    let own = [(0, task(7)), (0, task(8))];
    let shared = waiting(0..5);
    let mut agents = idle(2);
    agents[1].own = &own;
    let queue =
        DispatchInput { tenants: vec![tenant("a")], queues: vec![queue(0, &shared)], idle: agents, most: u32::MAX };
    let chosen = dispatch(&queue, &mut RoundRobin::default());
    assert_eq!(chosen[0], Choice { task_id: task(7), agent_id: agent(1), queue: None, why: ChoiceReason::Named });
    assert_eq!(chosen[1], Choice { task_id: task(0), agent_id: agent(0), queue: Some(0), why: ChoiceReason::NextIdle });
    assert_eq!(chosen.len(), 2);
}

#[test]
fn a_tenant_at_its_limit_is_passed_over() {
    let (a, b) = (waiting(0..5), waiting(10..15));
    let queue = DispatchInput {
        tenants: vec![Tenant { allowance: 1, ..tenant("a") }, tenant("b")],
        queues: vec![queue(0, &a), queue(1, &b)],
        idle: idle(4),
        most: u32::MAX,
    };
    assert_eq!(numbers(&dispatch(&queue, &mut RoundRobin::default())), [0, 10, 11, 12]);
}

#[test]
fn every_agent_gets_a_task_before_any_gets_a_second() {
    let tasks = waiting(0..5);
    let agents = idle(3).into_iter().map(|agent| IdleAgent { room: 2, ..agent }).collect();
    let queue =
        DispatchInput { tenants: vec![tenant("a")], queues: vec![queue(0, &tasks)], idle: agents, most: u32::MAX };
    let agents: Vec<AgentId> =
        dispatch(&queue, &mut RoundRobin::default()).into_iter().map(|choice| choice.agent_id).collect();
    assert_eq!(agents, [0, 1, 2, 0, 1].map(agent));
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const PROJECTS: [&str; 3] = ["x", "y", "z"];

/// Project, room and own queue of an agent.
type IdleSample = (usize, u32, Vec<(usize, TaskId)>);

/// What waits and who is idle, owned; a [`DispatchInput`] borrows from it.
#[derive(Clone, Debug)]
struct DispatchScene {
    /// Weight and allowance of each of [`NAMES`].
    tenants: Vec<(u32, u32)>,
    /// By priority and tenant.
    queues: BTreeMap<(u8, usize), Vec<ReadyTask>>,
    idle: Vec<IdleSample>,
    most: u32,
}

impl DispatchScene {
    fn queue(&self) -> DispatchInput<'_> {
        let tenant = |(name, (weight, allowance)): (&&'static str, &(u32, u32))| Tenant {
            name,
            weight: *weight,
            allowance: *allowance,
        };
        DispatchInput {
            tenants: NAMES.iter().zip(&self.tenants).map(tenant).collect(),
            queues: self
                .queues
                .iter()
                .map(|((priority, tenant), tasks)| QueueHead { priority: urgency(*priority), tenant: *tenant, tasks })
                .collect(),
            idle: self
                .idle
                .iter()
                .enumerate()
                .map(|(n, (project, room, own))| IdleAgent {
                    agent_id: agent(n),
                    project_id: PROJECTS[*project],
                    room: *room,
                    own,
                })
                .collect(),
            most: self.most,
        }
    }
}

fn urgency(priority: u8) -> Priority {
    Priority::try_from(priority).expect("0 to 9")
}

fn scenes() -> impl Strategy<Value = DispatchScene> {
    let tenants = proptest::collection::vec((1..4_u32, prop_oneof![Just(u32::MAX), 0..12_u32]), NAMES.len());
    let project = || proptest::option::of(0..PROJECTS.len());
    let queues =
        proptest::collection::btree_map((0..3_u8, 0..NAMES.len()), proptest::collection::vec(project(), 0..25), 0..9);
    let own = proptest::collection::vec(0..NAMES.len(), 0..4);
    let idle = proptest::collection::vec((0..PROJECTS.len(), 1..4_u32, own), 0..9);
    let most = prop_oneof![Just(u32::MAX), 0..12_u32];
    (tenants, queues, idle, most).prop_map(|(tenants, queues, idle, most)| {
        let mut numbers = 0..;
        let mut next = || task(numbers.next().expect("endless"));
        let queues = queues
            .into_iter()
            .map(|(key, projects)| {
                let waiting = |project: Option<usize>| ReadyTask {
                    task_id: next(),
                    project_id: project.map(|project| PROJECTS[project].to_owned()),
                };
                (key, projects.into_iter().map(waiting).collect())
            })
            .collect();
        let idle = idle
            .into_iter()
            .map(|(project, room, own)| (project, room, own.into_iter().map(|tenant| (tenant, next())).collect()))
            .collect();
        DispatchScene { tenants, queues, idle, most }
    })
}

/// Carries out choices one by one, and checks each against what was possible at its moment.
struct Replay<'a> {
    scene: &'a DispatchScene,
    room: Vec<u32>,
    allowance: Vec<u32>,
    /// How far each shared queue has moved.
    served: BTreeMap<(u8, usize), usize>,
}

impl<'a> Replay<'a> {
    fn new(scene: &'a DispatchScene) -> Self {
        Self {
            scene,
            room: scene.idle.iter().map(|(_, room, _)| *room).collect(),
            allowance: scene.tenants.iter().map(|(_, allowance)| *allowance).collect(),
            served: scene.queues.keys().map(|key| (*key, 0)).collect(),
        }
    }

    fn index(&self, choice: &Choice) -> usize {
        (0..self.room.len()).find(|n| agent(*n) == choice.agent_id).expect("one of the idle")
    }

    /// The queue that the task is the head of.
    fn queue(&self, choice: &Choice) -> Option<(u8, usize)> {
        let head = |key: &(u8, usize)| self.scene.queues[key].get(self.served[key]);
        self.scene.queues.keys().find(|key| head(key).is_some_and(|task| task.task_id == choice.task_id)).copied()
    }

    /// Whether a task of this queue could start, were there room.
    fn may_start(&self, key: (u8, usize)) -> bool {
        self.served[&key] < self.scene.queues[&key].len() && self.allowance[key.1] > 0
    }

    fn carry_out(&mut self, choice: &Choice) -> Result<(), TestCaseError> {
        let index = self.index(choice);
        let tenant = if choice.why == ChoiceReason::Named {
            let own = self.scene.idle[index].2.iter().find(|(_, task_id)| *task_id == choice.task_id);
            own.expect("a task of that agent's own line").0
        } else {
            let key = self.queue(choice).expect("the oldest of a line");
            let more_urgent = self.scene.queues.keys().any(|other| other.0 > key.0 && self.may_start(*other));
            prop_assert!(!more_urgent, "a more urgent one waits");
            prop_assert_eq!(choice.queue, self.scene.queues.keys().position(|other| *other == key), "another line");
            self.check_project(choice, index, key)?;
            *self.served.get_mut(&key).expect("a line") += 1;
            key.1
        };
        prop_assert!(self.room[index] > 0, "no room");
        prop_assert!(self.allowance[tenant] > 0, "a limit is passed");
        self.room[index] -= 1;
        self.allowance[tenant] -= 1;
        Ok(())
    }

    fn check_project(&self, choice: &Choice, index: usize, key: (u8, usize)) -> Result<(), TestCaseError> {
        let Some(wanted) = &self.scene.queues[&key][self.served[&key]].project_id else {
            prop_assert_eq!(choice.why, ChoiceReason::NextIdle);
            return Ok(());
        };
        let works_for = |n: usize| PROJECTS[self.scene.idle[n].0] == wanted;
        let is_there = (0..self.room.len()).any(|n| self.room[n] > 0 && works_for(n));
        prop_assert_eq!(choice.why == ChoiceReason::SameProject, is_there);
        prop_assert_eq!(works_for(index), is_there);
        Ok(())
    }

    /// After all choices: no agent with room while a task may start.
    fn check_nothing_wasted(&self, choices: &[Choice]) -> Result<(), TestCaseError> {
        let most = self.scene.most as usize;
        prop_assert!(choices.len() <= most, "more than asked for");
        if choices.len() < most && self.room.iter().any(|room| *room > 0) {
            prop_assert!(!self.scene.queues.keys().any(|key| self.may_start(*key)), "an agent is idle");
        }
        let of_own = |own: &[(usize, TaskId)], agent: usize| {
            let is_left = |task_id: &TaskId| !choices.iter().any(|choice| choice.task_id == *task_id);
            self.room[agent] > 0 && own.iter().any(|(tenant, id)| self.allowance[*tenant] > 0 && is_left(id))
        };
        let idle = self.scene.idle.iter().enumerate();
        let waits_in_vain = choices.len() < most && idle.into_iter().any(|(n, (_, _, own))| of_own(own, n));
        prop_assert!(!waits_in_vain, "a task for an idle agent waits");
        Ok(())
    }
}

proptest! {
    /// Nothing twice, the oldest first, no agent past its room, no tenant past its allowance, nothing before what is more
    /// urgent, an agent of the project where one is idle, and nobody idle while a task may start.
    #[test]
    fn every_choice_is_a_good_one(scene in scenes()) {
        let choices = dispatch(&scene.queue(), &mut RoundRobin::default());
        let mut ids = numbers(&choices);
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), choices.len(), "a task twice");
        let mut replay = Replay::new(&scene);
        for choice in &choices {
            replay.carry_out(choice)?;
        }
        replay.check_nothing_wasted(&choices)?;
    }

    /// The tasks that start, and their order, are the same when no task has a project.
    #[test]
    fn projects_decide_nothing_but_the_agent(scene in scenes()) {
        let mut plain = scene.clone();
        plain.queues.values_mut().flatten().for_each(|task| task.project_id = None);
        let (mut round_robin, mut plain_round_robin) = (RoundRobin::default(), RoundRobin::default());
        let chosen = numbers(&dispatch(&scene.queue(), &mut round_robin));
        prop_assert_eq!(chosen, numbers(&dispatch(&plain.queue(), &mut plain_round_robin)));
        prop_assert_eq!(round_robin, plain_round_robin);
    }

    /// Two tenants always wait and two come and go, with limits that change. However many agents are idle in each call: of
    /// the two, none gets more than one round ahead of the other, over any stretch of calls.
    #[test]
    fn no_tenant_that_waits_is_ahead_by_more_than_a_round(
        weights in proptest::collection::vec(1..5_u32, NAMES.len()),
        constant in proptest::sample::subsequence(vec![0_usize, 1, 2, 3], 2),
        calls in proptest::collection::vec((0..9_usize, 0..4_usize, 0..4_u32), 1..40),
    ) {
        // A task's number tells whose it is.
        let own: Vec<Vec<ReadyTask>> = (0..NAMES.len()).map(|n| waiting(n * 1_000..n * 1_000 + 10)).collect();
        let mut round_robin = RoundRobin::default();
        let mut history = vec![[0.0; 2]];
        for (agents, waiting_now, limit) in calls {
            let always = |n: usize| constant.contains(&n);
            let tenants = NAMES.iter().enumerate().map(|(n, name)| Tenant {
                name,
                weight: weights[n],
                allowance: if always(n) { u32::MAX } else { limit },
            });
            let queues = (0..NAMES.len())
                .filter(|n| always(*n) || waiting_now & (1 << (n % 2)) > 0)
                .map(|n| queue(n, &own[n]))
                .collect();
            let queue = DispatchInput { tenants: tenants.collect(), queues, idle: idle(agents), most: u32::MAX };
            let chosen = numbers(&dispatch(&queue, &mut round_robin));
            let mut rounds = *history.last().expect("the beginning");
            for (rounds, tenant) in rounds.iter_mut().zip(&constant) {
                let count = chosen.iter().filter(|task| **task / 1_000 == *tenant as u128).count();
                *rounds += count as f64 / f64::from(weights[*tenant]);
            }
            history.push(rounds);
        }
        for (n, from) in history.iter().enumerate() {
            for to in &history[n..] {
                let ahead = (to[0] - from[0]) - (to[1] - from[1]);
                prop_assert!(ahead.abs() <= 1.0 + 1e-9, "ahead by {ahead} rounds");
            }
        }
    }
}
