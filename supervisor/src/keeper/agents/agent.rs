//! One agent in the keeper's model: its row, its status, and who waits for it.

use std::time::Instant;

use muster_domain::agent::AfterStop;
use muster_domain::name::display_name;
use muster_domain::{
    AgentEvent, AgentSpec, AgentState, AgentStatus, Cause, Ending, Envelope, Epoch, FinalState, Intent, Timestamp,
};
use muster_policy::agent::{AgentFacts, AgentStep, SentCommand, next_step};
use muster_policy::restart::History;
use muster_store::AgentRow;
use tokio::sync::oneshot;

use crate::error::SupervisorError;
use crate::keeper::Turn;
use crate::view::{AgentHealthView, AgentView};

/// What a waiting caller is told: the agent, and whether what it waited for has come.
#[derive(Clone, Debug)]
pub(crate) struct AgentAnswer {
    pub(crate) view: AgentView,
    pub(crate) reached: bool,
}

pub(crate) type AgentReply = oneshot::Sender<Result<AgentAnswer, SupervisorError>>;

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Running,
    Gone,
}

/// What an agent shows that its own model does not know. The default: nothing, as of one that no keeper holds.
#[derive(Debug, Default)]
pub(crate) struct AgentSurroundings {
    /// What is in the way of all agents that are to start.
    pub(crate) hindrance: Option<String>,
    /// What kept others of its pool from starting; of no matter to one whose own last end says it.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) awaited: Awaited,
    pub(crate) deadline: Instant,
    pub(crate) reply: AgentReply,
}

/// News of an agent's quarantine.
pub(crate) enum Quarantine {
    /// It began, for this reason.
    Begun(String),
    /// Somebody released it, or it is gone.
    Over,
}

/// The latest run of an agent: what its worker was told of it, and has said.
#[derive(Debug)]
pub(crate) struct LatestRun {
    /// The epoch of the latest assignment, open or not.
    pub(crate) epoch: Epoch,
    /// The command that goes with the status, once it was sent. A re-send is the same command.
    pub(crate) command: Option<(Envelope, SentCommand)>,
    /// When its worker was told first to start the run that it has; not of one that an earlier supervisor has told.
    pub(crate) ordered: Option<Instant>,
    /// Whether the program is asked before it is killed.
    pub(crate) graceful: bool,
    pub(crate) pid: Option<u32>,
    /// The number of its worker's report that says that it runs, or that was the latest when a heartbeat said so.
    pub(crate) started_by: u64,
    /// What its worker says about it, e.g. why stopping takes long.
    pub(crate) remark: Option<String>,
    /// A transition out of its slot is being committed: the same news again change nothing.
    pub(crate) leaving: bool,
}

impl Default for LatestRun {
    fn default() -> Self {
        Self {
            epoch: Epoch::default(),
            command: None,
            ordered: None,
            graceful: true,
            pid: None,
            started_by: 0,
            remark: None,
            leaving: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct PoolAgent {
    pub(crate) spec: AgentSpec,
    pub(crate) status: AgentStatus,
    pub(crate) run: LatestRun,
    pub(crate) history: History,
    pub(crate) restarts: u64,
    pub(crate) last_ending: Option<Ending>,
    pub(crate) created_at: Timestamp,
    pub(crate) waiters: Vec<Waiter>,
    /// Whether its quarantine was made an alert.
    pub(crate) alerted: bool,
    /// Its entry in the agenda.
    pub(crate) due: Option<Instant>,
}

impl PoolAgent {
    pub(crate) fn new(spec: AgentSpec, created_at: Timestamp) -> Self {
        Self {
            spec,
            status: AgentStatus::Pending { not_before: None },
            run: LatestRun::default(),
            history: History::default(),
            restarts: 0,
            last_ending: None,
            created_at,
            waiters: Vec::new(),
            alerted: false,
            due: None,
        }
    }

    /// An agent as the store knows it. An open assignment is `Placed`: that it runs is for its worker to say.
    pub(crate) fn from_row(row: AgentRow) -> Self {
        let status = match (row.intent, row.assignment, row.final_state) {
            (Intent::Stop(reason), Some(at), _) => AgentStatus::Stopping { at, then: AfterStop::End(reason) },
            // Somebody was told that it restarts: that run is to end, whatever it does now.
            (Intent::Run, Some(at), _) if row.restart => AgentStatus::Stopping { at, then: AfterStop::RunAgain },
            (Intent::Run, Some(at), _) => AgentStatus::Placed(at),
            (_, None, Some(state)) => AgentStatus::Final(state),
            (Intent::Run, None, None) => AgentStatus::Pending { not_before: None },
            (Intent::Stop(reason), None, None) => AgentStatus::Final(FinalState::Terminated(reason)),
        };
        Self {
            status,
            run: LatestRun { epoch: row.epoch, ..LatestRun::default() },
            restarts: row.restarts,
            last_ending: row.last_ending,
            ..Self::new(row.spec, row.created_at)
        }
    }

    /// Moves the status. A move that it does not have is a bug of the caller, not of the agent: it is said and changes
    /// nothing.
    pub(crate) fn apply(&mut self, event: &AgentEvent) {
        match self.status.after(event) {
            Ok(after) => {
                self.status = after;
                self.run.command = None;
                if let AgentEvent::Assigned(at) = event {
                    self.run.epoch = at.epoch;
                }
                if self.status.assignment().is_none() {
                    self.run.pid = None;
                    self.run.remark = None;
                    self.run.leaving = false;
                }
            }
            Err(error) => tracing::error!(agent.id = %self.spec.agent_id, %error, "the model of an agent took no move"),
        }
    }

    pub(crate) fn next_step(&self, worker_listens: bool, resend: std::time::Duration, now: Instant) -> AgentStep {
        let sent = self.run.command.as_ref().map(|(_, sent)| *sent);
        next_step(AgentFacts { status: &self.status, sent, worker_listens, resend }, now)
    }

    /// Whether its quarantine began (with the reason) or ended since this was asked last.
    pub(crate) fn quarantine_news(&mut self) -> Option<Quarantine> {
        match (std::mem::replace(&mut self.alerted, self.status.needs_person()), self.alerted) {
            (false, true) => {
                let cause = self.last_cause();
                Some(Quarantine::Begun(format!("it crashes again and again; the last time it {cause}")))
            }
            (true, false) => Some(Quarantine::Over),
            _ => None,
        }
    }

    /// One that was asked to end is to be killed; false where it is so already.
    pub(crate) fn stop_asking(&mut self) -> bool {
        let asked = std::mem::replace(&mut self.run.graceful, false);
        if asked {
            self.run.command = None;
        }
        asked
    }

    /// Answers those who have what they waited for, can't get it any more, or have waited long enough.
    /// `view` is how the agent is shown now.
    pub(crate) fn answer_waiters(&mut self, view: &AgentView, turn: &mut Turn) {
        for waiter in std::mem::take(&mut self.waiters) {
            match self.verdict(&waiter, turn.now) {
                Some(Ok(reached)) => turn.answer(waiter.reply, Ok(AgentAnswer { view: view.clone(), reached })),
                Some(Err(error)) => turn.answer(waiter.reply, Err(error)),
                None => self.waiters.push(waiter),
            }
        }
    }

    /// Answers everybody: the keeper ends, and knows no more than this.
    pub(crate) fn dismiss_waiters(&mut self, view: &AgentView) {
        for waiter in self.waiters.drain(..) {
            drop(waiter.reply.send(Ok(AgentAnswer { view: view.clone(), reached: false })));
        }
    }

    fn verdict(&self, waiter: &Waiter, now: Instant) -> Option<Result<bool, SupervisorError>> {
        let agent_id = self.spec.agent_id;
        match (&self.status, waiter.awaited) {
            (AgentStatus::Running { .. }, Awaited::Running) => Some(Ok(true)),
            (AgentStatus::Final(FinalState::Terminated(_)), Awaited::Running) => Some(Ok(false)),
            (AgentStatus::Final(_), Awaited::Running) => {
                Some(Err(SupervisorError::StartFailed { agent_id, ending: self.latest_ending() }))
            }
            (status, Awaited::Gone) if status.is_final() => Some(Ok(true)),
            _ => (waiter.deadline <= now).then_some(Ok(false)),
        }
    }

    /// How its latest run ended. One without any was stopped before it ran.
    fn latest_ending(&self) -> Ending {
        self.last_ending.clone().unwrap_or_else(|| Ending::new(Cause::Stopped, self.created_at))
    }

    /// Why its latest run ended, in words.
    fn last_cause(&self) -> String {
        self.last_ending.as_ref().map_or_else(|| "ended".to_owned(), |ending| ending.cause.to_string())
    }

    /// As it is shown to everybody: to who reads it, and to who waits for it.
    pub(crate) fn view(&self, around: AgentSurroundings) -> AgentView {
        AgentView {
            agent_id: self.spec.agent_id,
            human_name: self.spec.human_name.clone(),
            display_name: display_name(&self.spec.human_name, &self.spec.role_type),
            role_type: self.spec.role_type.clone(),
            project_id: self.spec.project_id.clone(),
            pool_name: self.spec.pool_name.clone(),
            process_id: self.status.assignment().map(|at| at.process_id),
            pid: self.run.pid,
            state: self.status.state(),
            reason: self.reason(around),
            epoch: self.run.epoch.0,
            restarts: self.restarts,
            last_ending: self.last_ending.clone(),
            heartbeat_interval: self.spec.heartbeat_interval,
            max_idle_time: self.spec.max_idle_time,
            created_at: self.created_at,
        }
    }

    /// As it is shown in the overview of health.
    pub(crate) fn health(&self) -> AgentHealthView {
        AgentHealthView {
            agent_id: self.spec.agent_id,
            status: self.status.state(),
            process_id: self.status.assignment().map(|at| at.process_id),
            role_type: self.spec.role_type.clone(),
        }
    }

    /// One that is to start says what is in its way.
    fn reason(&self, around: AgentSurroundings) -> Option<String> {
        let own = self.own_reason();
        if self.status.state() != AgentState::Spawning {
            return own;
        }
        let rests = self.status.backs_off();
        let reasons = own.into_iter().chain(around.trouble.filter(|_| !rests)).chain(around.hindrance);
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn own_reason(&self) -> Option<String> {
        match &self.status {
            AgentStatus::Pending { not_before: Some(_) } => {
                Some(format!("it {}, and waits to be restarted", self.last_cause()))
            }
            AgentStatus::Pending { not_before: None } => {
                Some(self.run.remark.clone().unwrap_or_else(|| "it waits for a free slot".to_owned()))
            }
            AgentStatus::Final(FinalState::Terminated(reason)) => Some(reason.as_str().to_owned()),
            AgentStatus::Final(_) => Some(format!("it {}", self.last_cause())),
            AgentStatus::Stopping { then, .. } => self.run.remark.clone().or(match then {
                AfterStop::End(reason) => Some(reason.as_str().to_owned()),
                AfterStop::RunAgain => Some("restarting".to_owned()),
            }),
            AgentStatus::Placed(_) | AgentStatus::Running { .. } => self.run.remark.clone(),
        }
    }
}

/// The view of an agent that no keeper holds: one at rest, straight from its row.
pub(crate) fn view_of_row(row: AgentRow) -> AgentView {
    PoolAgent::from_row(row).view(AgentSurroundings::default())
}
