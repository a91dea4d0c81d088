//! An agent without a program of its own: it starts one per task, and writes their log.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{Cause, Ending, Timestamp};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::driver::{Driver, Records, not_had};
use super::host::{self, Host};
use super::journal::Journal;
use super::protocol::AgentProtocol;
use super::{AgentOrder, RunContext};
use crate::log::LogStream;
use crate::runtime::RunChange;
use crate::slots::StopMode;
use crate::tasks::{AttemptId, AttemptStart, Finished};

/// Pieces of output that wait for the log, at most.
const WAITING: usize = 8;

/// What the task of a program tells its agent.
pub(super) enum Relayed {
    /// Lines for the log.
    Lines(Vec<u8>),
    /// It has said that this is over. Always the last.
    Over(AttemptId),
}

/// Runs an agent. Its last news is its end, when its last program is proven dead.
pub(super) async fn run<P: AgentProtocol>(
    run: Arc<RunContext>,
    mut orders: UnboundedReceiver<AgentOrder>,
    protocol: impl Fn() -> P,
) {
    let journal = Journal::new(&run.common.data_dir, run.agent_id());
    let (tell, mut told) = mpsc::channel(WAITING);
    let mut agent = PerTask { run, protocol, journal, tell, programs: HashMap::new(), stops: None };
    // Before it says that it runs: else its tasks would be the first to find out.
    let cause = match host::look(Arc::clone(&agent.run)).await {
        Ok(()) => agent.attend(&mut orders, &mut told).await,
        Err(error) => Cause::NotStarted { error },
    };
    // What was given to it and never reached a program.
    while let Ok(order) = orders.try_recv() {
        if let AgentOrder::Begin(start) = order {
            agent.run.say(RunChange::Finished(super::not_begun(start.id())));
        }
    }
    agent.end(cause).await;
}

/// An agent that starts a program per task.
struct PerTask<F> {
    run: Arc<RunContext>,
    protocol: F,
    journal: Journal,
    tell: mpsc::Sender<Relayed>,
    /// The programs that run, and where each hears its orders.
    programs: HashMap<AttemptId, UnboundedSender<AgentOrder>>,
    /// How it is being stopped.
    stops: Option<StopMode>,
}

impl<P: AgentProtocol, F: Fn() -> P> PerTask<F> {
    /// Does what it is told until it was stopped and its last program is proven dead.
    async fn attend(
        &mut self,
        orders: &mut UnboundedReceiver<AgentOrder>,
        told: &mut mpsc::Receiver<Relayed>,
    ) -> Cause {
        self.run.is_active(Instant::now());
        self.run.say(RunChange::Started { pid: None });
        let mut abandoned = false;
        while self.stops.is_none() || !self.programs.is_empty() {
            let room = self.journal.has_room();
            tokio::select! {
                order = orders.recv(), if !abandoned => {
                    abandoned = order.is_none();
                    self.obey(order);
                }
                Some(told) = told.recv(), if room => match told {
                    Relayed::Lines(lines) => self.journal.append(&lines),
                    Relayed::Over(id) => drop(self.programs.remove(&id)),
                },
                () = self.journal.written() => {}
            }
        }
        Cause::Stopped
    }

    fn obey(&mut self, order: Option<AgentOrder>) {
        match order {
            Some(AgentOrder::Stop(how)) => self.stop(how),
            // Nobody holds the other end any more: the worker is gone.
            None => self.stop(StopMode::Kill),
            Some(AgentOrder::Begin(start)) => self.begin(start),
            Some(AgentOrder::Halt(id, halt)) => {
                if let Some(orders) = self.programs.get(&id) {
                    // Where its program has ended, that is on its way here.
                    let _ = orders.send(AgentOrder::Halt(id, halt));
                }
            }
        }
    }

    fn begin(&mut self, start: Box<AttemptStart>) {
        let id = start.id();
        if self.stops.is_some() {
            return self.run.say(RunChange::Finished(super::not_begun(id)));
        }
        let (orders, ordered) = unbounded_channel();
        self.programs.insert(id, orders);
        tokio::spawn(attend_to(Arc::clone(&self.run), (self.protocol)(), start, ordered, self.tell.clone()));
    }

    /// Stops its programs; it ends with the last of them.
    fn stop(&mut self, how: StopMode) {
        self.stops = self.stops.max(Some(how));
        for orders in self.programs.values() {
            let _ = orders.send(AgentOrder::Stop(how));
        }
    }

    async fn end(mut self, cause: Cause) {
        let at = Timestamp::now();
        self.journal.add(at, LogStream::End, cause.to_string().as_bytes(), 0);
        self.journal.finish().await;
        self.run.say(RunChange::Ended(Ending::new(cause, at)));
    }
}

/// Has one task done by a program of its own. Its end is told last; whatever goes wrong, there is one.
async fn attend_to<P: AgentProtocol>(
    run: Arc<RunContext>,
    mut protocol: P,
    start: Box<AttemptStart>,
    mut orders: UnboundedReceiver<AgentOrder>,
    tell: mpsc::Sender<Relayed>,
) {
    let id = start.id();
    let mut records = Records::new(Journal::relayed(tell.clone()));
    match Host::start(Arc::clone(&run), Some(id.task_id), P::STDOUT).await {
        Ok(host) => {
            let mut driver = Driver::new(&run, &mut protocol, &mut records, host);
            driver.begin(&start);
            let end = driver.drive(&mut orders).await;
            records.journal.flush().await;
            let end = if end.ordered {
                Finished::Stopped
            } else {
                protocol.outcome(end.exit, end.printed, &records.open_tasks.last_output(&id.task_id))
            };
            records.open_tasks.end(id.task_id, end).into_iter().for_each(|finish| run.say(RunChange::Finished(finish)));
        }
        // In the words of an agent whose program could not be started.
        Err(error) => not_had(&run, id, Finished::StartFailed(Cause::NotStarted { error }.to_string())),
    }
    // Where nobody listens, the worker is gone.
    let _ = tell.send(Relayed::Over(id)).await;
}
