//! What a worker knows the registry to hold of it, so that only changes are written: of its own hash, and of its agents.

use std::collections::{HashMap, HashSet};

use muster_domain::{AgentId, AgentSnapshot, Generation, Heartbeat};

/// Every so many beats all is written again: what somebody else has taken away or spoilt meanwhile is whole then.
pub(crate) const BEATS_PER_WHOLE: u32 = 5;

/// Fields of a worker's hash that seldom change, with their values.
pub(crate) type SteadyFields = [(&'static str, String); 8];

/// What a worker knows the registry to hold of it, so that a beat writes only what changed. Engines fill it; a worker
/// keeps one for its life and hands it to every [`beat`](crate::Registry::beat) and [`report`](crate::Bus::report).
#[derive(Debug, Default)]
pub struct WrittenState {
    generation: Option<Generation>,
    /// Beats since all was written.
    beats: u32,
    /// Of the worker's own hash; none where nobody knows what it holds.
    worker: Option<SteadyFields>,
    agents: HashMap<AgentId, WrittenAgent>,
}

/// What the registry holds of one agent.
#[derive(Debug, PartialEq)]
enum WrittenAgent {
    /// This picture.
    Picture(AgentSnapshot),
    /// This picture or none or an older one: a call about it failed, and may have been carried out or not.
    Unknown,
}

/// Whether what the registry mirrors of an agent is the same in both. Its tasks are not mirrored: they travel in the
/// worker's picture, and how long each is quiet differs with every beat.
fn is_mirrored(held: &AgentSnapshot, picture: &AgentSnapshot) -> bool {
    let AgentSnapshot { agent_id, epoch, state, role_type, project_id, pid, updated_at, reason, tasks: _ } = picture;
    (held.agent_id, held.epoch, held.state, held.pid, held.updated_at) == (*agent_id, *epoch, *state, *pid, *updated_at)
        && (&held.role_type, &held.project_id, &held.reason) == (role_type, project_id, reason)
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct PendingChanges<'a> {
    /// Agents whose picture the registry does not hold.
    pub(crate) changed: Vec<&'a AgentSnapshot>,
    /// Agents that the registry may hold, and that are gone.
    pub(crate) gone: Vec<AgentId>,
}

/// What is to be written of the worker's own hash.
#[derive(Debug, PartialEq)]
pub(crate) enum FieldChanges<'a> {
    /// All of it: nobody knows what is there.
    Whole(&'a SteadyFields),
    /// These; the others are there.
    Some(Vec<&'a (&'static str, String)>),
}

impl WrittenState {
    /// What a whole picture changes.
    pub(crate) fn changes_of_beat<'a>(&self, beat: &'a Heartbeat) -> PendingChanges<'a> {
        let held: HashSet<AgentId> = beat.agents.iter().map(|agent| agent.agent_id).collect();
        let gone = self.agents.keys().copied().filter(|agent| !held.contains(agent)).collect();
        PendingChanges { changed: self.changed(&beat.agents), gone }
    }

    /// What these agents change; nothing is said about others.
    pub(crate) fn changes_of_report<'a>(&self, pictures: &'a [AgentSnapshot], gone: &[AgentId]) -> PendingChanges<'a> {
        PendingChanges { changed: self.changed(pictures), gone: gone.to_vec() }
    }

    fn changed<'a>(&self, pictures: &'a [AgentSnapshot]) -> Vec<&'a AgentSnapshot> {
        let same = |picture: &AgentSnapshot| match self.agents.get(&picture.agent_id) {
            Some(WrittenAgent::Picture(held)) => is_mirrored(held, picture),
            Some(WrittenAgent::Unknown) | None => false,
        };
        pictures.iter().filter(|picture| !same(picture)).collect()
    }

    /// What these values change.
    pub(crate) fn changes_of_fields<'a>(&self, fields: &'a SteadyFields) -> FieldChanges<'a> {
        match &self.worker {
            None => FieldChanges::Whole(fields),
            Some(held) => FieldChanges::Some(
                fields.iter().zip(held).filter(|(now, held)| now != held).map(|(now, _)| now).collect(),
            ),
        }
    }

    /// The worker's hash holds these values.
    pub(crate) fn record_fields(&mut self, fields: SteadyFields) {
        self.worker = Some(fields);
    }

    /// The changes were written.
    pub(crate) fn record(&mut self, changes: &PendingChanges<'_>) {
        for agent in &changes.gone {
            self.agents.remove(agent);
        }
        for picture in &changes.changed {
            self.agents.insert(picture.agent_id, WrittenAgent::Picture((*picture).clone()));
        }
    }

    /// The call failed: nobody knows whether the changes were written, so they are written again, and an agent that
    /// is gone by then is removed although no call about it ever succeeded.
    pub(crate) fn mark_unknown(&mut self, changes: &PendingChanges<'_>) {
        let agents = changes.changed.iter().map(|picture| picture.agent_id).chain(changes.gone.iter().copied());
        self.agents.extend(agents.map(|agent| (agent, WrittenAgent::Unknown)));
        self.worker = None;
    }

    /// Nobody knows what the registry holds: all is written with the next beat.
    pub(crate) fn mark_all_unknown(&mut self) {
        self.agents.values_mut().for_each(|held| *held = WrittenAgent::Unknown);
        self.worker = None;
    }

    /// Another beat begins; it may be one that writes all.
    pub(crate) fn count_beat(&mut self) {
        self.beats += 1;
        if self.beats >= BEATS_PER_WHOLE {
            self.beats = 0;
            self.mark_all_unknown();
        }
    }

    /// Notes the generation that answered. Returns whether it is another than before, in which case nothing of what
    /// was known is there any more.
    pub(crate) fn enter(&mut self, generation: Generation) -> bool {
        let before = self.generation.replace(generation);
        let flushed = before.is_some_and(|before| before != generation);
        if flushed {
            self.agents.clear();
            self.worker = None;
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Activity, Epoch, ObservedState, TaskId, TaskSnapshot, Timestamp, Usage};
    use uuid::Uuid;

    use super::*;

    fn picture(state: ObservedState) -> AgentSnapshot {
        AgentSnapshot {
            agent_id: AgentId::from_uuid(Uuid::from_u128(7)),
            epoch: Epoch(1),
            state,
            role_type: "developer".to_owned(),
            project_id: "p".to_owned(),
            pid: None,
            updated_at: Timestamp::from_millis(0),
            reason: None,
            tasks: Vec::new(),
        }
    }

    fn changed(known: &WrittenState, pictures: &[AgentSnapshot]) -> usize {
        known.changes_of_report(pictures, &[]).changed.len()
    }

    #[test]
    fn what_was_written_is_not_written_again_until_it_changes() {
        let mut known = WrittenState::default();
        let idle = [picture(ObservedState::Running(Activity::Idle))];
        assert_eq!(changed(&known, &idle), 1);
        known.record(&known.changes_of_report(&idle, &[]));
        assert_eq!(changed(&known, &idle), 0);
        assert_eq!(changed(&known, &[picture(ObservedState::Stopping)]), 1);
    }

    #[test]
    fn a_task_that_goes_on_is_no_change_of_its_agent() {
        let mut known = WrittenState::default();
        let busy = |quiet_ms| {
            let (progress, usage) = (None, Usage::default());
            let task = TaskSnapshot { task_id: TaskId::from_uuid(Uuid::nil()), attempt: 1, quiet_ms, progress, usage };
            [AgentSnapshot { tasks: vec![task], ..picture(ObservedState::Running(Activity::Busy)) }]
        };
        known.record(&known.changes_of_report(&busy(0), &[]));
        assert_eq!(changed(&known, &busy(2000)), 0);
    }

    #[test]
    fn after_a_failed_call_all_is_written_again_or_removed() {
        let mut known = WrittenState::default();
        let idle = [picture(ObservedState::Running(Activity::Idle))];
        known.record(&known.changes_of_report(&idle, &[]));
        known.mark_unknown(&PendingChanges { changed: vec![&idle[0]], gone: vec![] });
        assert_eq!(changed(&known, &idle), 1);
        known.record(&PendingChanges { changed: vec![], gone: vec![idle[0].agent_id] });
        known.mark_unknown(&PendingChanges { changed: vec![], gone: vec![idle[0].agent_id] });
        assert_eq!(known.agents.get(&idle[0].agent_id), Some(&WrittenAgent::Unknown));
    }

    #[test]
    fn every_few_beats_all_is_written_again() {
        let mut known = WrittenState::default();
        let idle = [picture(ObservedState::Running(Activity::Idle))];
        known.record(&known.changes_of_report(&idle, &[]));
        let written: Vec<usize> = (0..2 * BEATS_PER_WHOLE)
            .map(|_| {
                known.count_beat();
                let written = changed(&known, &idle);
                known.record(&known.changes_of_report(&idle, &[]));
                written
            })
            .collect();
        assert_eq!(written, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    }

    fn fields(status: &str) -> SteadyFields {
        let mut fields = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, "same".to_owned()));
        fields[4].1 = status.to_owned();
        fields
    }

    #[test]
    fn fields_are_written_when_they_change_and_as_a_whole_when_nobody_knows_what_is_there() {
        let ready = fields("ready");
        let known = |unknown: fn(&mut WrittenState)| {
            let mut known = WrittenState::default();
            known.enter(Generation(Uuid::from_u128(1)));
            known.record_fields(fields("ready"));
            unknown(&mut known);
            known
        };
        let is_whole = |known: &WrittenState| known.changes_of_fields(&ready) == FieldChanges::Whole(&ready);
        assert!(is_whole(&WrittenState::default()), "it was never written");
        assert_eq!(known(|_| {}).changes_of_fields(&ready), FieldChanges::Some(vec![]));
        let draining = fields("draining");
        assert_eq!(known(|_| {}).changes_of_fields(&draining), FieldChanges::Some(vec![&draining[4]]));
        assert!(is_whole(&known(|known| known.mark_unknown(&PendingChanges { changed: vec![], gone: vec![] }))));
        assert!(is_whole(&known(WrittenState::mark_all_unknown)));
        assert!(is_whole(&known(|known| assert!(known.enter(Generation(Uuid::from_u128(2)))))));
        assert!(is_whole(&known(|known| (0..BEATS_PER_WHOLE).for_each(|_| known.count_beat()))));
    }

    #[test]
    fn another_generation_forgets_what_was_known() {
        let mut known = WrittenState::default();
        let idle = [picture(ObservedState::Running(Activity::Idle))];
        assert!(!known.enter(Generation(Uuid::from_u128(1))), "the first is no change");
        known.record(&known.changes_of_report(&idle, &[]));
        assert!(!known.enter(Generation(Uuid::from_u128(1))));
        assert_eq!(changed(&known, &idle), 0);
        assert!(known.enter(Generation(Uuid::from_u128(2))));
        assert_eq!(changed(&known, &idle), 1);
    }
}
