//! The states of an agent: each in one word, as it is stored and shown.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::event::EventKind;
use crate::words::Words;
use crate::{Intent, StopReason};

crate::words! {
    /// What a running agent does. It travels as it is from the worker that sees it to whoever asks.
    pub enum Activity {
        /// It has no work.
        Idle = "idle",
        /// It has work.
        Busy = "busy",
    }
}

impl Activity {
    /// Whether it has nothing to do.
    pub const fn is_idle(self) -> bool {
        matches!(self, Self::Idle)
    }

    /// The same of an agent that has work, or none, by the word of who gives it: its worker hears of that later.
    pub const fn given(self, has_work: bool) -> Self {
        match (self, has_work) {
            (Self::Idle, true) => Self::Busy,
            (Self::Busy, false) => Self::Idle,
            (seen, _) => seen,
        }
    }
}

/// An agent's status in one word, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentState {
    /// It is to run, and nobody has confirmed yet that it does.
    Spawning,
    /// It runs, and does this.
    Running(Activity),
    /// It was told to stop, and its tree is not proven dead yet.
    Stopping,
    /// It was asked to stop, and it is gone.
    Terminated,
    /// It is gone, and its restart policy wants no other run.
    Failed,
    /// It crashed too often; it waits for a person.
    Quarantined,
}

impl Words for AgentState {
    fn all() -> impl Iterator<Item = Self> {
        let running = Activity::ALL.map(Self::Running);
        let after = [Self::Stopping, Self::Terminated, Self::Failed, Self::Quarantined];
        std::iter::once(Self::Spawning).chain(running).chain(after)
    }

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl AgentState {
    /// The states of an agent that is there or on its way. It may go to and fro between them at any moment, so whoever looks for
    /// such agents asks for all of these at once.
    pub fn live() -> impl Iterator<Item = Self> {
        Self::all().filter(|state| state.is_live())
    }

    /// The states of an agent that waits for a person. It is not live, and not gone either.
    pub fn kept_for_person() -> impl Iterator<Item = Self> {
        Self::all().filter(|state| state.needs_person())
    }

    /// Whether it is there or on its way.
    pub const fn is_live(self) -> bool {
        !self.is_final()
    }

    /// Whether it runs, and nobody wants it to end.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Whether it runs and has something to do.
    pub const fn has_work(self) -> bool {
        matches!(self, Self::Running(activity) if !activity.is_idle())
    }

    /// Whether nothing will move it but a person.
    pub const fn is_final(self) -> bool {
        self.is_gone() || self.needs_person()
    }

    /// Whether it is gone for good: it is not started again by itself, and nobody is asked to do so.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }

    /// Whether it waits for a person to release it.
    pub const fn needs_person(self) -> bool {
        matches!(self, Self::Quarantined)
    }

    /// The word in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Running(activity) => activity.as_str(),
            Self::Stopping => "stopping",
            Self::Terminated => "terminated",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AgentState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for AgentState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no state of an agent: {text:?}; the states are {}", Self::listed()))
    }
}

/// The state of an agent that nothing moves any more but a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalState {
    /// Gone by order.
    Terminated(StopReason),
    /// Gone by itself, for good.
    Failed(StopReason),
    /// Gone too often, until a person releases it. It is still to run.
    Quarantined,
}

impl FinalState {
    /// The state of an agent with this intent for which the store has this word; none where it is to run after all.
    pub const fn of(state: AgentState, intent: Intent) -> Option<Self> {
        match (state, intent) {
            (AgentState::Quarantined, Intent::Run) => Some(Self::Quarantined),
            (AgentState::Failed, Intent::Stop(reason)) => Some(Self::Failed(reason)),
            // Told to stop while it waited for a person.
            (AgentState::Terminated | AgentState::Quarantined, Intent::Stop(reason)) => Some(Self::Terminated(reason)),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn state(self) -> AgentState {
        match self {
            Self::Terminated(_) => AgentState::Terminated,
            Self::Failed(_) => AgentState::Failed,
            Self::Quarantined => AgentState::Quarantined,
        }
    }

    /// Why it is to stay stopped; none where intent stays "run".
    pub const fn stop_reason(self) -> Option<StopReason> {
        match self {
            Self::Terminated(reason) | Self::Failed(reason) => Some(reason),
            Self::Quarantined => None,
        }
    }

    /// What it is called where somebody had told the agent to stop before it ended so: only a failure is one all the same.
    pub const fn state_if_stopped(self) -> AgentState {
        match self {
            Self::Failed(_) => AgentState::Failed,
            Self::Terminated(_) | Self::Quarantined => AgentState::Terminated,
        }
    }

    /// Whether a person may have it run again: what was ended stays ended.
    pub const fn may_run_again(self) -> bool {
        !matches!(self, Self::Terminated(_))
    }

    /// What is told when an agent comes to it.
    pub const fn event(self) -> EventKind {
        match self {
            Self::Terminated(_) => EventKind::AgentTerminated,
            Self::Failed(_) => EventKind::AgentFailed,
            Self::Quarantined => EventKind::AgentQuarantined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_is_read_back_from_its_word_and_the_intent() {
        let reason = StopReason::Completed;
        for state in [FinalState::Terminated(reason), FinalState::Failed(reason), FinalState::Quarantined] {
            let intent = state.stop_reason().map_or(Intent::Run, Intent::Stop);
            assert_eq!(FinalState::of(state.state(), intent), Some(state));
            assert!(state.state().is_final() && state.state_if_stopped().is_gone());
        }
        let stopped = Intent::Stop(StopReason::Requested);
        let ended = Some(FinalState::Terminated(StopReason::Requested));
        assert_eq!(FinalState::of(AgentState::Quarantined, stopped), ended);
        assert_eq!(FinalState::of(AgentState::Failed, Intent::Run), None, "it is to run");
        assert_eq!(FinalState::of(AgentState::Running(Activity::Idle), stopped), None, "no final state");
    }

    #[test]
    fn whoever_gives_work_knows_first_whether_an_agent_has_any() {
        for (seen, has_work, does) in [
            (Activity::Idle, true, Activity::Busy),
            (Activity::Idle, false, Activity::Idle),
            (Activity::Busy, true, Activity::Busy),
            (Activity::Busy, false, Activity::Idle),
        ] {
            assert_eq!(seen.given(has_work), does, "{seen:?}, {has_work}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in AgentState::all() {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).expect("a word"), state.as_str());
        }
        assert_eq!(AgentState::listed(), "spawning, idle, busy, stopping, terminated, failed, quarantined");
        assert!("asleep".parse::<AgentState>().expect_err("no state").contains("quarantined"));
    }
}
