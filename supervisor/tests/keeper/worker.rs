//! A fake worker: it keeps the protocol of the messages as a real one does, unless the test tells it to misbehave.

mod habits;
mod jobs;
mod reach;
mod working;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use muster_domain::{
    Activity, AgentId, AgentSnapshot, AgentSpec, Cause, Command, CommandRefusal, Ending, Envelope, Epoch, Fence,
    Heartbeat, LocalIdentity, ObservedState, ProcessId, Report, ReportBody, Timestamp, WIRE_VERSION, WorkerIdentity,
    WorkerOrders, WorkerState,
};
use muster_registry::memory::MemoryRegistry;
use muster_registry::{AgentNews, Bus, CommandDelivery, Registry, WrittenState};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::awaited::AwaitedValue;
use crate::ledger::Ledger;
pub(crate) use habits::{Habits, OnHalt, OnSpawn, OnStop, OnTask};
use jobs::Jobs;

struct Held {
    spec: AgentSpec,
    epoch: Epoch,
    state: ObservedState,
}

/// What a worker remembers of an epoch that is over, and of the one that runs.
#[derive(Clone)]
enum Fate {
    Runs,
    Over(ReportBody),
}

struct Mind {
    habits: Habits,
    held: BTreeMap<AgentId, Held>,
    fates: HashMap<(AgentId, Epoch), Fate>,
    jobs: Jobs,
    departing: bool,
    /// Reports that are kept until they are settled.
    reports: Vec<Report>,
    /// Those that go out before the next one.
    unsent: Vec<Report>,
    seq: u64,
    dropped: u64,
    beat: u64,
    known: WrittenState,
    heard: Vec<Envelope>,
    fence: Fence,
}

/// A worker of a test.
#[derive(Clone)]
pub(crate) struct FakeWorker(Arc<Inner>);

struct Inner {
    orders: WorkerOrders,
    identity: WorkerIdentity,
    registry: MemoryRegistry,
    ledger: Ledger,
    mind: Mutex<Mind>,
    dead: AwaitedValue<bool>,
    /// While true something that it owned lives.
    remains: AwaitedValue<bool>,
    asked: AtomicU32,
    /// Whether it stays where it is when it is killed, as a process that waits for a disk.
    waits: AtomicBool,
    /// Why its engine can do and say nothing of it.
    cut_off: AwaitedValue<Option<String>>,
}

impl FakeWorker {
    /// Starts its loop: it subscribes, beats, says that it is ready, and then obeys.
    pub(crate) fn start(orders: WorkerOrders, habits: Habits, registry: MemoryRegistry, ledger: Ledger) -> Self {
        let (host, boot_id) = ("test".to_owned(), "boot".to_owned());
        let nobody = LocalIdentity { host, machine_id: None, boot_id, pid_namespace: 1, pid: 4_000_000, start_time: 1 };
        let identity = habits.process.clone().unwrap_or(nobody);
        let mind = Mind {
            habits,
            held: BTreeMap::new(),
            fates: HashMap::new(),
            jobs: Jobs::default(),
            departing: false,
            unsent: Vec::new(),
            reports: Vec::new(),
            seq: 0,
            dropped: 0,
            beat: 0,
            known: WrittenState::default(),
            heard: Vec::new(),
            fence: orders.fence,
        };
        let worker = Self(Arc::new(Inner {
            orders,
            identity: identity.into(),
            registry,
            ledger,
            mind: Mutex::new(mind),
            dead: AwaitedValue::default(),
            remains: AwaitedValue::default(),
            asked: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            cut_off: AwaitedValue::default(),
        }));
        tokio::spawn(worker.clone().live());
        worker
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.0.orders.process_id
    }

    pub(crate) fn orders(&self) -> &WorkerOrders {
        &self.0.orders
    }

    pub(crate) fn identity(&self) -> WorkerIdentity {
        self.0.identity.clone()
    }

    async fn live(self) {
        tokio::select! {
            biased;
            () = self.0.dead.wait_for(|dead| *dead) => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&self) {
        let Inner { orders, registry, .. } = &*self.0;
        let mut commands = registry.commands(orders.process_id).await.expect("a subscription");
        self.beat().await;
        if self.0.mind.lock().await.habits.beats {
            self.say(ReportBody::Ready).await;
        }
        let mut ticks = tokio::time::interval(orders.clocks.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                delivery = commands.recv() => match delivery {
                    Some(CommandDelivery::Command(envelope)) => self.obey(*envelope).await,
                    Some(_) => {}
                    None => return,
                },
                _ = ticks.tick() => self.beat().await,
            }
        }
    }

    /// Sends its picture, where its habit is to, and what the registry may have lost.
    pub(crate) async fn beat(&self) {
        let mut mind = self.0.mind.lock().await;
        if !mind.habits.beats || self.is_dead() {
            return;
        }
        self.stop_late_work(&mut mind);
        mind.beat += 1;
        let beat = self.picture_of(&mind);
        let answer = self.0.registry.beat(&beat, &mut mind.known).await.expect("memory answers");
        if answer.fenced {
            drop(mind);
            return self.die();
        }
        mind.dropped = mind.dropped.max(answer.settled);
        let dropped = mind.dropped;
        mind.reports.retain(|report| report.seq > dropped);
        // What is not settled by the next beat is sent again.
        let again = mind.reports.clone();
        self.send_reports(&mut mind, &again).await;
    }

    fn picture_of(&self, mind: &Mind) -> Heartbeat {
        let orders = &self.0.orders;
        let agents = mind.pictures();
        Heartbeat {
            v: WIRE_VERSION,
            process_id: orders.process_id,
            pool_name: orders.pool_name.clone(),
            identity: self.0.identity.clone(),
            capacity: orders.capacity,
            status: WorkerState::Ready,
            started_at: Timestamp::from_millis(0),
            number: mind.beat,
            reported: mind.seq,
            dropped: mind.dropped,
            fence: mind.fence,
            tampering: muster_domain::Tampering::default(),
            cpu_percent: 1.0,
            rss_bytes: 1,
            deaf: None,
            interval: None,
            agents,
        }
    }

    /// Reports something new.
    pub(crate) async fn say(&self, body: ReportBody) -> Report {
        let mut mind = self.0.mind.lock().await;
        let report = self.number(&mut mind, body);
        self.send_reports(&mut mind, std::slice::from_ref(&report)).await;
        report
    }

    /// Numbers a report and keeps it, to be sent with the next beat only.
    pub(crate) async fn say_later(&self, body: ReportBody) -> Report {
        let mut mind = self.0.mind.lock().await;
        self.number(&mut mind, body)
    }

    /// Sends a report as it is: again, late, or out of order.
    pub(crate) async fn send(&self, report: &Report) {
        let mut mind = self.0.mind.lock().await;
        self.send_reports(&mut mind, std::slice::from_ref(report)).await;
    }

    fn number(&self, mind: &mut Mind, body: ReportBody) -> Report {
        if let Some(kept) = mind.reports.iter().find(|kept| kept.body == body) {
            return kept.clone();
        }
        self.make_report(mind, body)
    }

    fn make_report(&self, mind: &mut Mind, body: ReportBody) -> Report {
        mind.seq += 1;
        let (process_id, pool_name) = (self.id(), self.0.orders.pool_name.clone());
        let report = Report { v: WIRE_VERSION, process_id, pool_name, seq: mind.seq, at: Timestamp::now(), body };
        mind.reports.push(report.clone());
        report
    }

    async fn send_reports(&self, mind: &mut Mind, reports: &[Report]) {
        if self.is_dead() {
            return;
        }
        let mut all = std::mem::take(&mut mind.unsent);
        all.extend_from_slice(reports);
        let agents = AgentNews { pictures: mind.pictures(), ..AgentNews::default() };
        self.0.registry.report(&all, &agents, &mut mind.known).await.expect("memory answers");
    }

    async fn obey(&self, envelope: Envelope) {
        let mut mind = self.0.mind.lock().await;
        mind.heard.push(envelope.clone());
        if self.is_dead() {
            return;
        }
        if matches!(envelope.command, Command::RunTasks { .. }) || envelope.fence >= mind.fence {
            mind.fence = mind.fence.max(envelope.fence);
        } else {
            return;
        }
        let answer = match envelope.command {
            Command::Spawn(order) => self.on_spawn(&mut mind, order.agent, order.epoch),
            Command::Terminate { agent_id, epoch, graceful } => self.on_terminate(&mut mind, agent_id, epoch, graceful),
            Command::RunTasks { .. } | Command::HaltTasks { .. } => {
                return self.obey_work(&mut mind, &envelope.command, envelope.fence).await;
            }
            Command::Probe => Some(ReportBody::Probed { command_id: envelope.id }),
            Command::Drain | Command::Shutdown { .. } => {
                drop(mind);
                return self.depart().await;
            }
        };
        if let Some(body) = answer {
            let report = self.number(&mut mind, body);
            self.send_reports(&mut mind, &[report]).await;
        }
    }

    fn on_spawn(&self, mind: &mut Mind, spec: AgentSpec, epoch: Epoch) -> Option<ReportBody> {
        let agent_id = spec.agent_id;
        match mind.fates.get(&(agent_id, epoch)) {
            Some(Fate::Over(body)) => return Some(body.clone()),
            Some(Fate::Runs) => {
                let said = matches!(mind.habits.on_spawn, OnSpawn::Run | OnSpawn::Fail(_));
                return said.then_some(ReportBody::Started { agent_id, epoch, pid: None });
            }
            None => {}
        }
        let over = |mind: &mut Mind, body: ReportBody| {
            mind.fates.insert((agent_id, epoch), Fate::Over(body.clone()));
            Some(body)
        };
        match mind.habits.on_spawn.clone() {
            OnSpawn::Miss(0) => mind.habits.on_spawn = OnSpawn::Run,
            OnSpawn::Miss(more) => {
                mind.habits.on_spawn = OnSpawn::Miss(more - 1);
                return None;
            }
            OnSpawn::Fail(cause) => return over(mind, ended(agent_id, epoch, false, cause)),
            OnSpawn::Refuse(refusal) => return over(mind, ReportBody::Refused { agent_id, epoch, refusal }),
            OnSpawn::Run | OnSpawn::RunSilently => {}
        }
        self.hold_agent(mind, spec, epoch);
        let said = matches!(mind.habits.on_spawn, OnSpawn::Run);
        said.then_some(ReportBody::Started { agent_id, epoch, pid: None })
    }

    fn hold_agent(&self, mind: &mut Mind, spec: AgentSpec, epoch: Epoch) {
        let agent_id = spec.agent_id;
        self.0.ledger.begin(self.id(), agent_id, epoch);
        let silent = matches!(mind.habits.on_spawn, OnSpawn::RunSilently);
        let state = if silent { ObservedState::Starting } else { ObservedState::Running(Activity::Idle) };
        mind.held.insert(agent_id, Held { spec, epoch, state });
        mind.fates.insert((agent_id, epoch), Fate::Runs);
        if mind.held.len() > self.0.orders.capacity as usize {
            self.0.ledger.violate(format!("{} holds {} agents", self.id(), mind.held.len()));
        }
    }

    fn on_terminate(&self, mind: &mut Mind, agent: AgentId, epoch: Epoch, graceful: bool) -> Option<ReportBody> {
        match mind.habits.on_stop {
            OnStop::Miss => return None,
            OnStop::EndIfForced if graceful => return None,
            OnStop::End | OnStop::EndIfForced => {}
        }
        self.finish(mind, agent, epoch, Cause::Stopped)
    }

    fn finish(&self, mind: &mut Mind, agent: AgentId, epoch: Epoch, cause: Cause) -> Option<ReportBody> {
        if let Some(Fate::Over(body)) = mind.fates.get(&(agent, epoch)) {
            return Some(body.clone());
        }
        let held = mind.held.get(&agent).is_some_and(|held| held.epoch == epoch);
        if held {
            self.end_work_of(mind, agent, &cause);
            mind.held.remove(&agent);
            self.0.ledger.end(agent, epoch);
        }
        let body = ended(agent, epoch, held, cause);
        mind.fates.insert((agent, epoch), Fate::Over(body.clone()));
        Some(body)
    }

    /// An agent ends by itself. Says the report, which is kept but not sent.
    pub(crate) async fn end_unsaid(&self, agent: AgentId, cause: Cause) -> Report {
        let mut mind = self.0.mind.lock().await;
        let epoch = mind.held.get(&agent).expect("it is held").epoch;
        let body = self.finish(&mut mind, agent, epoch, cause).expect("it was held");
        self.number(&mut mind, body)
    }

    /// An agent ends by itself, and its worker says so.
    pub(crate) async fn end(&self, agent: AgentId, cause: Cause) -> Report {
        let report = self.end_unsaid(agent, cause).await;
        self.send(&report).await;
        report
    }

    /// Holds an agent that nobody told it to run.
    pub(crate) async fn hold(&self, spec: AgentSpec, epoch: Epoch) {
        let mut mind = self.0.mind.lock().await;
        self.hold_agent(&mut mind, spec, epoch);
    }

    /// Loses an agent without a word: it is gone from the picture, and what became of it is known.
    pub(crate) async fn lose(&self, agent: AgentId) {
        let report = self.end_unsaid(agent, Cause::Exited { code: 1 }).await;
        let mut mind = self.0.mind.lock().await;
        mind.reports.retain(|kept| kept.seq != report.seq);
        mind.seq -= 1;
    }

    /// Says that an agent runs that it started silently.
    pub(crate) async fn confirm(&self, agent: AgentId) -> Report {
        let epoch = {
            let mut mind = self.0.mind.lock().await;
            let held = mind.held.get_mut(&agent).expect("it is held");
            held.state = ObservedState::Running(Activity::Idle);
            held.epoch
        };
        self.say(ReportBody::Started { agent_id: agent, epoch, pid: None }).await
    }

    /// From now on it behaves so.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut self.0.mind.lock().await.habits);
    }

    /// What it was told.
    pub(crate) async fn heard(&self) -> Vec<Envelope> {
        self.0.mind.lock().await.heard.clone()
    }

    /// Orders to run this agent that it heard.
    pub(crate) async fn spawns_of(&self, agent: AgentId) -> Vec<Envelope> {
        let is_it =
            |envelope: &Envelope| matches!(&envelope.command, Command::Spawn(order) if order.agent.agent_id == agent);
        self.heard().await.into_iter().filter(is_it).collect()
    }

    /// Orders to stop this agent that it heard: whether each is graceful.
    pub(crate) async fn stops_of(&self, agent: AgentId) -> Vec<bool> {
        let graceful = |envelope: Envelope| match envelope.command {
            Command::Terminate { agent_id, graceful, .. } if agent_id == agent => Some(graceful),
            _ => None,
        };
        self.heard().await.into_iter().filter_map(graceful).collect()
    }

    pub(crate) async fn holds(&self) -> Vec<AgentId> {
        self.0.mind.lock().await.held.keys().copied().collect()
    }

    /// The number up to which it knows its reports to be settled, and the number of the latest.
    pub(crate) async fn settled(&self) -> (u64, u64) {
        let mind = self.0.mind.lock().await;
        (mind.dropped, mind.seq)
    }

    /// Beats once, against its habit, to learn the settled number; it sends nothing again.
    pub(crate) async fn ask_what_is_settled(&self) -> u64 {
        let mut mind = self.0.mind.lock().await;
        mind.beat += 1;
        let beat = self.picture_of(&mind);
        let answer = self.0.registry.beat(&beat, &mut mind.known).await.expect("memory answers");
        answer.settled
    }

    /// How often it was asked to end.
    pub(crate) fn times_asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.get()
    }

    /// Whether something that it owned outlives it for now.
    pub(crate) fn leave_remains(&self, remains: bool) {
        self.0.remains.set(remains);
    }

    /// Dies at once, with all its agents.
    pub(crate) fn die(&self) {
        self.0.ledger.end_worker(self.id());
        self.0.dead.set(true);
    }

    /// Stops its agents, says so, and ends.
    async fn depart(&self) {
        {
            let mut mind = self.0.mind.lock().await;
            if !mind.habits.obeys || self.is_dead() {
                return;
            }
            mind.habits.on_spawn = OnSpawn::Refuse(CommandRefusal::Draining);
            mind.departing = true;
            let held: Vec<(AgentId, Epoch)> = mind.held.iter().map(|(id, held)| (*id, held.epoch)).collect();
            for (agent, epoch) in held {
                let body = self.finish(&mut mind, agent, epoch, Cause::Stopped).expect("it was held");
                let report = self.number(&mut mind, body);
                self.send_reports(&mut mind, &[report]).await;
            }
        }
        self.die();
    }
}

impl Mind {
    /// Its agents with their tasks.
    fn pictures(&self) -> Vec<AgentSnapshot> {
        let with_tasks = |held: &Held| {
            let tasks = self.jobs.pictures(held.spec.agent_id, self.habits.quiet);
            let busy = held.state == ObservedState::Running(Activity::Idle) && !tasks.is_empty();
            let state = if busy { ObservedState::Running(Activity::Busy) } else { held.state };
            AgentSnapshot { state, tasks, ..picture(held) }
        };
        self.held.values().map(with_tasks).collect()
    }
}

fn picture(held: &Held) -> AgentSnapshot {
    AgentSnapshot {
        agent_id: held.spec.agent_id,
        epoch: held.epoch,
        state: held.state,
        role_type: held.spec.role_type.clone(),
        project_id: held.spec.project_id.clone(),
        pid: None,
        updated_at: Timestamp::from_millis(0),
        reason: None,
        tasks: Vec::new(),
    }
}

pub(crate) fn ended(agent_id: AgentId, epoch: Epoch, ready: bool, cause: Cause) -> ReportBody {
    ReportBody::Ended { agent_id, epoch, ready, ending: Ending::new(cause, Timestamp::now()) }
}

/// Longer than anything in these tests takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
