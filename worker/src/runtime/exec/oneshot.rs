//! The task of an agent without a program of its own: it starts one per task, and writes their log.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{Cause, Ending, SpawnOrder, Timestamp};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::job::{self, Stop, Told};
use super::journal::Journal;
use super::{Common, LastActive, Order, program};
use crate::log::Stream;
use crate::runtime::{News, What};
use crate::slots::How;
use crate::tasks::{AttemptId, Errand};

/// Pieces of output that wait for the log, at most.
const WAITING: usize = 8;

/// Runs an agent. Its last news is its end, when its last program is proven dead.
pub(super) async fn run(
    common: Arc<Common>,
    order: SpawnOrder,
    mut ordered: UnboundedReceiver<Order>,
    activity: Arc<LastActive>,
) {
    let journal = Journal::new(&common.data_dir, order.agent.agent_id);
    let (tell, mut told) = mpsc::channel(WAITING);
    let mut agent = Agent { common, order, activity, journal, tell, jobs: HashMap::new(), stops: None };
    // Before it says that it runs: else its tasks would be the first to find out.
    let cause = match program::look(Arc::clone(&agent.common), agent.order.agent.clone()).await {
        Ok(()) => agent.attend(&mut ordered, &mut told).await,
        Err(error) => Cause::NotStarted { error },
    };
    // What was given to it and never reached a program.
    while let Ok(order) = ordered.try_recv() {
        if let Order::Begin(errand) = order {
            agent.say(What::Finished(super::not_begun(errand.id())));
        }
    }
    agent.end(cause).await;
}

struct Agent {
    common: Arc<Common>,
    order: SpawnOrder,
    activity: Arc<LastActive>,
    journal: Journal,
    tell: mpsc::Sender<(AttemptId, Told)>,
    /// The programs that run, and the way to stop each.
    jobs: HashMap<AttemptId, UnboundedSender<Stop>>,
    /// How it is being stopped.
    stops: Option<How>,
}

impl Agent {
    /// Does what it is told until it was stopped and its last program is proven dead.
    async fn attend(
        &mut self,
        ordered: &mut UnboundedReceiver<Order>,
        told: &mut mpsc::Receiver<(AttemptId, Told)>,
    ) -> Cause {
        self.activity.note(self.common.since, Instant::now());
        self.say(What::Started { pid: None });
        let mut abandoned = false;
        while self.stops.is_none() || !self.jobs.is_empty() {
            let room = self.journal.has_room();
            tokio::select! {
                order = ordered.recv(), if !abandoned => {
                    abandoned = order.is_none();
                    self.obey(order);
                }
                Some((id, told)) = told.recv(), if room => self.hear(id, told),
                () = self.journal.written() => {}
            }
        }
        Cause::Stopped
    }

    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Stop(how)) => self.stop(how),
            // Nobody holds the other end any more: the worker is gone.
            None => self.stop(How::Kill),
            Some(Order::Begin(errand)) => self.begin(*errand),
            Some(Order::Halt(id, halt)) => {
                if let Some(stop) = self.jobs.get(&id) {
                    // Where its program has ended, that is on its way here.
                    let patience = self.common.patience(halt);
                    let _ = stop.send(Stop { how: How::Ask, patience });
                }
            }
        }
    }

    fn begin(&mut self, errand: Errand) {
        let id = errand.id();
        if self.stops.is_some() {
            return self.say(What::Finished(super::not_begun(id)));
        }
        let (stop, stops) = unbounded_channel();
        self.jobs.insert(id, stop);
        let (common, agent, tell) = (Arc::clone(&self.common), self.order.agent.clone(), self.tell.clone());
        tokio::spawn(job::run(common, agent, errand, stops, tell));
    }

    /// Stops its programs; it ends with the last of them.
    fn stop(&mut self, how: How) {
        self.stops = self.stops.max(Some(how));
        let patience = self.common.profile.stop_deadline;
        for stop in self.jobs.values() {
            let _ = stop.send(Stop { how, patience });
        }
    }

    fn hear(&mut self, id: AttemptId, told: Told) {
        match told {
            Told::Lines(lines) => {
                self.activity.note(self.common.since, Instant::now());
                for line in lines {
                    self.journal.add(line.at, line.stream, &line.text, line.cut);
                }
            }
            Told::Stuck(reason) => self.say(What::Stuck(reason)),
            Told::Over(finish) => {
                self.jobs.remove(&id);
                self.say(What::Finished(finish));
            }
        }
    }

    async fn end(mut self, cause: Cause) {
        let at = Timestamp::now();
        self.journal.add(at, Stream::End, cause.to_string().as_bytes(), 0);
        self.journal.finish().await;
        self.say(What::Ended(Ending::new(cause, at)));
    }

    fn say(&self, what: What) {
        // Where nobody listens, the worker is gone.
        let news = News { agent_id: self.order.agent.agent_id, epoch: self.order.epoch, what };
        let _ = self.common.news.send(news);
    }
}
