//! The task of an agent without a program of its own: it starts one per task, and writes their log.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{Cause, Ending, SpawnOrder, Timestamp};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::job::{self, Told};
use super::journal::Journal;
use super::{Activity, Common, Order};
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
    activity: Arc<Activity>,
) {
    let journal = Journal::new(&common.data_dir, order.agent.agent_id);
    let (tell, mut told) = mpsc::channel(WAITING);
    let mut agent = Agent { common, order, activity, journal, tell, jobs: HashMap::new(), stops: None };
    agent.activity.note(agent.common.since, Instant::now());
    agent.say(What::Started { pid: None });
    let mut abandoned = false;
    while agent.stops.is_none() || !agent.jobs.is_empty() {
        let room = agent.journal.has_room();
        tokio::select! {
            order = ordered.recv(), if !abandoned => {
                abandoned = order.is_none();
                agent.obey(order);
            }
            Some((id, told)) = told.recv(), if room => agent.hear(id, told),
            () = agent.journal.written() => {}
        }
    }
    agent.end().await;
}

struct Agent {
    common: Arc<Common>,
    order: SpawnOrder,
    activity: Arc<Activity>,
    journal: Journal,
    tell: mpsc::Sender<(AttemptId, Told)>,
    /// The programs that run, and the way to stop each.
    jobs: HashMap<AttemptId, UnboundedSender<How>>,
    /// How it is being stopped.
    stops: Option<How>,
}

impl Agent {
    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Stop(how)) => self.stop(how),
            // Nobody holds the other end any more: the worker is gone.
            None => self.stop(How::Kill),
            Some(Order::Begin(errand)) => self.begin(*errand),
            Some(Order::Halt(id)) => {
                if let Some(stop) = self.jobs.get(&id) {
                    // Where its program has ended, that is on its way here.
                    let _ = stop.send(How::Ask);
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
        for stop in self.jobs.values() {
            let _ = stop.send(how);
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

    async fn end(mut self) {
        let (at, cause) = (Timestamp::now(), Cause::Stopped);
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
