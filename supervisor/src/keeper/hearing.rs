//! What the registry says of the workers: pictures are compared with the model, and the living are told from the dead.

use std::collections::BTreeSet;
use std::time::Instant;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{AgentId, Beat, Command, Envelope, Epoch, ProcessId, SeenState, WorkerState};
use muster_policy::worker::{Bounds, Hearing, Step, next_step};

use super::mailbox::{HeardNews, Voice};
use super::moves::Move;
use super::reports::Start;
use super::worker::Worker;
use super::{Keeper, Round};

impl Keeper {
    pub(super) fn hear(&mut self, news: HeardNews, round: &mut Round) {
        if news.rebuild {
            self.model.forget_mirror();
        }
        for voice in &news.heard {
            self.hear_worker(voice, round);
        }
        self.judge_workers(news.hearing, news.at, round);
    }

    fn hear_worker(&mut self, voice: &Voice, round: &mut Round) {
        let heard = &voice.heard;
        let id = heard.process_id;
        let Some(worker) = self.model.workers.get_mut(&id) else { return };
        // Its "ready" may have been heard after its beat.
        let heard_at = worker.pulse.map_or(voice.at, |pulse| pulse.heard.max(voice.at));
        worker.hear(heard_at, heard.beat.as_deref());
        let Some(beat) = heard.beat.as_deref() else { return };
        self.model.note_heard(id, true);
        if beat.fence > self.context.fence {
            tracing::warn!(process.id = %id, fence = beat.fence.0, "a worker has seen a later leader");
            return self.context.fenced.cancel();
        }
        self.worker_ready(id, round);
        if beat.status == WorkerState::Draining {
            self.model.move_worker(id, WorkerEvent::DrainOrdered(round.now));
        }
        self.compare(id, beat, round);
    }

    /// Compares a worker's picture with the assignments. It may be older than what was decided since; so it moves
    /// nothing but "placed" to "running", and everything else is asked of the worker by idempotent commands.
    fn compare(&mut self, id: ProcessId, beat: &Beat, round: &mut Round) {
        let mut unwanted = Vec::new();
        for picture in &beat.agents {
            let wanted = self.model.agent(picture.agent_id).and_then(|agent| agent.status.assignment());
            match wanted {
                Some(place) if place.process_id == id && place.epoch == picture.epoch => {
                    if let SeenState::Running(activity) = picture.state {
                        let start = Start { pid: picture.pid, at: picture.updated_at, by: beat.reported };
                        self.started(picture.agent_id, picture.epoch, start, round);
                        self.note_activity(picture.agent_id, Some(activity));
                    }
                    if let Some(agent) = self.model.agent_mut(picture.agent_id) {
                        agent.remark.clone_from(&picture.reason);
                        // A picture from before the start has none, and may come after the report of it.
                        agent.pid = picture.pid.or(agent.pid);
                    }
                }
                // A later epoch makes the worker end the older one by itself.
                Some(place) if place.process_id == id && place.epoch > picture.epoch => {}
                _ => unwanted.push((picture.agent_id, picture.epoch)),
            }
        }
        // A picture that is older than a report may show what has ended since.
        let outdated = self.model.workers.get(&id).is_some_and(|worker| worker.reports.taken() > beat.reported);
        if !outdated {
            self.stop_unwanted(id, unwanted);
        }
        self.compare_tasks(id, beat, outdated, round);
        self.ask_for_missing(id, beat, round);
    }

    /// An agent that a live worker holds and the store does not want is stopped.
    fn stop_unwanted(&self, worker: ProcessId, unwanted: Vec<(AgentId, Epoch)>) {
        let batch: Vec<(ProcessId, Envelope)> = unwanted
            .into_iter()
            .map(|(agent_id, epoch)| {
                tracing::warn!(agent.id = %agent_id, process.id = %worker, epoch = epoch.0, "a worker holds an agent that is not wanted there; it is stopped");
                (worker, Envelope::new(self.context.fence, Command::Terminate { agent_id, epoch, graceful: true }))
            })
            .collect();
        self.context.postman.send(batch);
    }

    /// An agent that should run and is not in a picture that was taken after its start, though no report is missing that
    /// could tell why. The order to run it, sent again, is answered with what became of it.
    fn ask_for_missing(&mut self, worker: ProcessId, beat: &Beat, round: &mut Round) {
        let seen: BTreeSet<AgentId> = beat.agents.iter().map(|picture| picture.agent_id).collect();
        let Some(known) = self.model.workers.get(&worker).filter(|known| known.reports.taken() >= beat.reported) else {
            return;
        };
        let missed = |id: &AgentId| {
            let agent = self.model.agent(*id);
            agent.is_some_and(|agent| {
                let running = agent.status.is_running() && !agent.leaving;
                running && agent.started_by <= beat.reported
            })
        };
        let missing: Vec<AgentId> = known.held.difference(&seen).copied().filter(missed).collect();
        for id in missing {
            self.ask_again(id, round.now);
        }
    }

    /// Judges by the time of the listening: how long the news lay in the mailbox, e.g. while this process stood still,
    /// says nothing about a worker.
    fn judge_workers(&mut self, hearing: Hearing, at: Instant, round: &mut Round) {
        let config = &self.model.spec.config;
        let taking = self.model.taking_workers();
        let bounds = Bounds {
            idle_timeout: if self.model.draining { std::time::Duration::ZERO } else { config.worker_idle_timeout },
            at_minimum: !self.model.draining && taking <= config.min_workers,
        };
        let clocks = self.clocks();
        let judge = |worker: &Worker| {
            // One without a key is not needed as soon as it is empty.
            let unneeded = Bounds { idle_timeout: std::time::Duration::ZERO, at_minimum: false };
            let bounds = if worker.has_key { bounds } else { unneeded };
            next_step(worker.facts(), hearing, &worker.clocks(&clocks), bounds, at)
        };
        let steps: Vec<(ProcessId, Step)> =
            self.model.workers.values().map(|worker| (worker.process_id, judge(worker))).collect();
        let min_workers = config.min_workers;
        let mut retiring = 0;
        for (id, step) in steps {
            match step {
                Step::Rest | Step::Wait(_) => {}
                Step::Hold(reason) => {
                    self.context
                        .board
                        .degrade("silence", format!("most workers are silent, so none is judged: {reason}"));
                }
                Step::Probe(patience) => self.probe(id, patience, at),
                Step::Name(reason) => self.name_unheard(id, &reason),
                Step::Condemn(reason) => self.condemn(id, &reason, round),
                Step::Kill(reason) => self.kill(id, &reason),
                // One of before takes no agents, so it goes at the minimum too.
                Step::Retire(reason)
                    if self.model.workers.get(&id).is_some_and(|worker| worker.outdated || !worker.has_key) =>
                {
                    round.moves.push(Move::Retire { worker: id, reason });
                }
                // Of several idle workers only so many retire that the minimum stays.
                Step::Retire(_) if !self.model.draining && taking - retiring <= min_workers => {}
                Step::Retire(reason) => {
                    retiring += 1;
                    round.moves.push(Move::Retire { worker: id, reason });
                }
            }
        }
    }

    fn condemn(&mut self, id: ProcessId, reason: &str, round: &mut Round) {
        tracing::warn!(process.id = %id, pool.name = %self.model.spec.pool_name, reason, "a worker hangs; it is killed");
        self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, WorkerEnd::Lost));
        self.context.postman.condemn(id);
        self.kill(id, reason);
    }

    /// Nothing is concluded from a kill: the worker is dead when its process is proven so.
    pub(super) fn kill(&mut self, id: ProcessId, reason: &str) {
        let Some(worker) = self.model.workers.get_mut(&id) else { return };
        worker.kill_sent = true;
        match &worker.process {
            Some(process) => process.kill(),
            None => tracing::warn!(process.id = %id, reason, "a worker of another host can't be killed from here"),
        }
    }
}
