//! Listens to the workers' heartbeats: asks the registry for their pictures, and tells each keeper what it says of its
//! workers.
//!
//! It also knows since when it has listened without a gap. A late pass of its own (the process was stopped, or the
//! machine slept), an outage or a flush of the registry, or one that takes no writes, and the end of a silence of most begin a
//! new listening; silence before it counts for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{Clocks, Generation, Heartbeat, ProcessId, Tampering, Timestamp};
use muster_policy::worker::{HeartbeatWatch, most_silent};
use muster_registry::{HeartbeatReading, HeartbeatReadings, Registry, RegistryError};

use crate::clock::{self, WallClock};
use crate::context::Context;
use crate::directory::Mailbox;
use crate::health_board::{HealthBoard, UNREACHABLE};
use crate::keeper::mailbox::{HeartbeatNews, KeeperMessage, WorkerHeartbeat};
use crate::registry_check::RegistryCheck;
use crate::tampering::Tampered;

/// Mirrors are written again so often: what somebody else has taken away or spoilt meanwhile is whole then.
const REBUILD: Duration = Duration::from_secs(10);

/// Workers in trouble that are named on the health board.
const SHOWN: usize = 3;

/// The workers that are listened to.
#[derive(Clone, Default)]
pub(crate) struct HeartbeatReader(Arc<Mutex<BTreeMap<ProcessId, Watched>>>);

struct Watched {
    keeper: Mailbox,
    /// The number of the latest beat that the keeper was given.
    number: u64,
    /// When that beat was seen first: it can't be younger, whatever the clock says by which its age is told.
    seen: Instant,
    /// When one before it was seen last: it can't be older, whatever that clock says; `None` of the first one. So what others write
    /// beside the signed beats moves a beat by one look at the most.
    floor: Option<Instant>,
    /// When it was looked at last.
    looked: Option<Instant>,
    heard: Option<Instant>,
    /// What keeps it from being heard or from hearing, in words for the health board; until its next beat is heard.
    trouble: Option<String>,
    /// That nobody can ask or kill it, in words for the health board.
    unreachable: Option<String>,
    is_muted: bool,
    /// What it had met of others' writing when it was last heard.
    tampering: Option<Tampering>,
    /// Between two of its beats, by its own word.
    interval: Option<Duration>,
}

impl Watched {
    /// The clocks by which its silence is told.
    fn clocks(&self, clocks: &Clocks) -> Clocks {
        self.interval.map_or_else(|| clocks.clone(), |interval| clocks.beating_every(interval))
    }
}

impl HeartbeatReader {
    pub(crate) fn watch(&self, worker: ProcessId, keeper: Mailbox) {
        self.watched().insert(
            worker,
            Watched {
                keeper,
                number: 0,
                seen: clock::now(),
                floor: None,
                looked: None,
                heard: None,
                trouble: None,
                unreachable: None,
                is_muted: false,
                tampering: None,
                interval: None,
            },
        );
    }

    /// This worker lives and is not heard.
    pub(crate) fn name(&self, worker: ProcessId, trouble: String) {
        if let Some(entry) = self.watched().get_mut(&worker) {
            entry.trouble = Some(trouble);
        }
    }

    /// This worker may be dead, and nobody can ask or kill it; or that is over.
    pub(crate) fn set_unreachable(&self, worker: ProcessId, words: Option<String>) {
        if let Some(entry) = self.watched().get_mut(&worker) {
            entry.unreachable = words;
        }
    }

    /// What this worker has left in the registry is nobody's word: it is dead. Its keeper goes on judging it, since what it owned may
    /// live.
    pub(crate) fn mute(&self, worker: ProcessId) {
        if let Some(entry) = self.watched().get_mut(&worker) {
            (entry.is_muted, entry.heard, entry.trouble) = (true, None, None);
        }
    }

    pub(crate) fn unwatch(&self, worker: ProcessId) {
        self.watched().remove(&worker);
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) -> Vec<(ProcessId, u64)> {
        self.watched().iter().map(|(id, watched)| (*id, watched.number)).collect()
    }

    /// Notes what was heard, and sorts it by keeper. Every keeper that has workers gets news, also of silence.
    fn sort(&self, seen: Vec<HeartbeatReading>, at: Instant) -> Vec<(Mailbox, Vec<WorkerHeartbeat>)> {
        let mut watched = self.watched();
        let mut news: Vec<(Mailbox, Vec<WorkerHeartbeat>)> = Vec::new();
        for entry in watched.values() {
            if !news.iter().any(|(keeper, _)| keeper.same_channel(&entry.keeper)) {
                news.push((entry.keeper.clone(), Vec::new()));
            }
        }
        for heard in seen {
            let Some(entry) = watched.get_mut(&heard.process_id).filter(|entry| !entry.is_muted) else { continue };
            if entry.number != heard.number {
                entry.trouble = heard.beat.as_ref().and_then(|beat| deafness(beat));
                (entry.number, entry.seen, entry.floor) = (heard.number, at, entry.looked);
            }
            entry.looked = Some(at);
            entry.interval = heard.beat.as_ref().map_or(entry.interval, |beat| beat.interval);
            // The age jitters with the round trip. Of one beat the latest estimate counts, here and at the keeper, so that
            // the pass that is planned for the end of a silence does not come a moment before it.
            let told = at.checked_sub(heard.age).unwrap_or(at).min(entry.seen);
            let beat_at = entry.floor.map_or(told, |floor| told.max(floor));
            let heard_at = entry.heard.map_or(beat_at, |known| known.max(beat_at));
            entry.heard = Some(heard_at);
            if let Some((_, list)) = news.iter_mut().find(|(keeper, _)| keeper.same_channel(&entry.keeper)) {
                list.push(WorkerHeartbeat { at: heard_at, heard });
            }
        }
        news
    }

    /// What these have met of others' writing since each was last heard. What the first word of a worker says was told to
    /// whoever led then.
    fn tampering(&self, seen: &[HeartbeatReading]) -> Tampering {
        let mut watched = self.watched();
        let mut news = Tampering::default();
        for beat in seen.iter().filter_map(|heard| heard.beat.as_deref()) {
            let Some(entry) = watched.get_mut(&beat.process_id) else { continue };
            if let Some(before) = entry.tampering.replace(beat.tampering) {
                news = news.and(beat.tampering.since(before));
            }
        }
        news
    }

    /// How many workers are silent and how many are not, of those that were ever heard. Silent is who will be past the
    /// staleness bound within one heartbeat: those who fall silent in the same moment had their last beats spread over the
    /// heartbeat before it, and the first of them must not be judged as if it were the only one.
    fn silence(&self, clocks: &Clocks, now: Instant) -> (usize, usize) {
        let is_silent = |entry: &Watched| {
            // Its silence is explained, and says nothing about the others'.
            if entry.unreachable.is_some() {
                return None;
            }
            let age = now.saturating_duration_since(entry.heard?);
            let own = entry.clocks(clocks);
            Some(age >= own.stale.saturating_sub(own.heartbeat))
        };
        let watched = self.watched();
        let (silent, heard): (Vec<_>, Vec<_>) =
            watched.values().filter_map(is_silent).partition(|is_silent| *is_silent);
        (silent.len(), heard.len())
    }

    /// Which workers live and can't be reached over the registry, if there are any.
    fn troubles(&self) -> Option<String> {
        let troubles = self.shown(|entry| entry.trouble.as_deref())?;
        Some(format!(
            "these live and can't be reached over Redis, so they get no agents and keep those that they have: {troubles}"
        ))
    }

    /// Which workers nobody can ask or kill, if there are any.
    fn unreachable(&self) -> Option<String> {
        self.shown(|entry| entry.unreachable.as_deref())
    }

    /// The first few of these words, and how many more there are.
    fn shown(&self, words: impl Fn(&Watched) -> Option<&str>) -> Option<String> {
        let watched = self.watched();
        let mut all = watched.values().filter_map(words);
        let shown: Vec<&str> = all.by_ref().take(SHOWN).collect();
        let more = match all.count() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!shown.is_empty()).then(|| format!("{}{more}", shown.join("; ")))
    }

    /// The next moment at which some worker's silence reaches the bound.
    fn next_stale(&self, clocks: &Clocks, now: Instant) -> Option<Instant> {
        let stale_at = |entry: &Watched| Some(later(entry.heard?, entry.clocks(clocks).stale));
        let deadlines = |entry: &Watched| stale_at(entry).filter(|at| *at > now);
        self.watched().values().filter_map(deadlines).min()
    }
}

/// What a worker that is heard says of its own hearing.
fn deafness(beat: &Heartbeat) -> Option<String> {
    let deaf = beat.deaf.as_ref()?;
    Some(format!("{} of the pool {} (it does not hear its commands: {deaf})", beat.process_id, beat.pool_name))
}

/// One life of listening.
pub(crate) struct HeartbeatLoop {
    pub(crate) listener: HeartbeatReader,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) clocks: Clocks,
    wall: WallClock,
    since: Option<Instant>,
    generation: Option<Generation>,
    /// Whether most were silent at the last look.
    held: bool,
    /// When the mirrors were last written as a whole.
    rebuilt: Instant,
    tampered: Tampered,
    /// Whether a worker that starts could use the registry.
    examination: RegistryCheck,
    planned: Instant,
    last_look: (Instant, Timestamp),
}

impl HeartbeatLoop {
    pub(crate) fn new(listener: HeartbeatReader, registry: Arc<dyn Registry>, clocks: Clocks, wall: WallClock) -> Self {
        let now = clock::now();
        // Three times within the time that a fault may stay unnamed.
        let interval = (clocks.lease / 3).min(Duration::from_secs(5));
        Self {
            listener,
            examination: RegistryCheck::new(registry.clone(), interval, now),
            registry,
            clocks,
            since: None,
            generation: None,
            held: false,
            rebuilt: now,
            tampered: Tampered::default(),
            planned: now,
            last_look: (now, wall.now()),
            wall,
        }
    }

    /// Listens for ever.
    pub(crate) async fn run(mut self, context: Arc<Context>) {
        loop {
            tokio::time::sleep_until(tokio::time::Instant::from_std(self.planned)).await;
            self.pass(&context.reporting.health).await;
        }
    }

    async fn pass(&mut self, health: &HealthBoard) {
        // It may have stood still between two passes, and with a question under way: each stretch is looked at by itself, so
        // that a wait that was planned and an answer that took its time do not add up to a gap.
        self.notice_gap(self.look());
        let list = self.listener.list();
        let pictures = self.registry.read_heartbeats(&list).await;
        self.notice_gap(self.look());
        let answers = !matches!(pictures, Err(RegistryError::Unavailable(_)));
        let closed = self.examination.look(answers, clock::now()).await;
        match (pictures, closed) {
            // It says more about a refusal than one call does.
            (_, Some(why)) | (Ok(HeartbeatReadings { refusal: Some(why), .. }), None) => {
                self.deaf(&RegistryError::Refused(why), health);
            }
            (Ok(pictures), None) => self.heard(pictures, health, clock::now()),
            (Err(error), None) => self.deaf(&error, health),
        }
        let now = clock::now();
        health.look_at_losses(now);
        health.look_at_statements(now);
        let next = now + self.interval();
        // A silence that reaches its bound is looked at then, not at the next pass.
        let stale = self.listener.next_stale(&self.clocks, now).map(|at| at + Duration::from_millis(1));
        self.planned = stale.map_or(next, |at| at.min(next));
    }

    /// Half a heartbeat, so that a picture is never much older than it must be.
    fn interval(&self) -> Duration {
        (self.clocks.heartbeat / 2).clamp(Duration::from_millis(20), Duration::from_secs(5))
    }

    /// Both clocks.
    fn look(&self) -> (Instant, Timestamp) {
        (clock::now(), self.wall.now())
    }

    /// A look that comes late by a monotonic or a wall clock (which also counts a suspend) begins a new listening.
    fn notice_gap(&mut self, (now, at): (Instant, Timestamp)) {
        let (instant, wall) = self.last_look;
        let elapsed = now.saturating_duration_since(instant);
        let wall_elapsed = at.as_millis().saturating_sub(wall.as_millis());
        let wall_elapsed = Duration::from_millis(u64::try_from(wall_elapsed).unwrap_or(0));
        let allowed = self.interval().saturating_add(self.clocks.pass.max(Duration::from_millis(500)));
        if elapsed.max(wall_elapsed) > allowed && self.since.is_some() {
            tracing::warn!(
                gap_seconds = elapsed.max(wall_elapsed).as_secs_f64(),
                "this supervisor stood still, or its clock was set; no worker is judged before one lease has been heard"
            );
            self.since = None;
        }
        self.last_look = (now, at);
    }

    fn heard(&mut self, pictures: HeartbeatReadings, health: &HealthBoard, at: Instant) {
        let flushed = self.generation.is_some_and(|known| known != pictures.generation);
        if flushed {
            tracing::warn!("the registry has lost its content; it is rebuilt from the next heartbeats");
        }
        // Mirrors that were written into an outage are lost as those of a flushed registry are.
        let anew = flushed || self.since.is_none();
        if anew {
            self.since = Some(at);
        }
        let rebuild = anew || at.saturating_duration_since(self.rebuilt) >= REBUILD;
        if rebuild {
            self.rebuilt = at;
        }
        self.generation = Some(pictures.generation);
        health.recover("registry");
        self.tampered.take(self.registry.tampering(), self.listener.tampering(&pictures.seen), at, health);
        let news = self.listener.sort(pictures.seen, at);
        let (silent, heard) = self.listener.silence(&self.clocks, at);
        let most_silent = most_silent(silent, heard);
        if !most_silent {
            health.recover("silence");
        }
        // Those who are not heard again first had the same silence as all.
        if std::mem::replace(&mut self.held, most_silent) && !most_silent {
            self.since = Some(at);
        }
        match self.listener.troubles() {
            Some(troubles) => health.degrade("workers", troubles),
            None => health.recover("workers"),
        }
        self.tell_unreachable(health);
        let watch = HeartbeatWatch { since: self.since, most_silent };
        for (keeper, heard) in news {
            drop(keeper.send(KeeperMessage::Heartbeats(HeartbeatNews { at, watch, rebuild, heard })));
        }
    }

    /// Also while nothing can be heard: what was so is so still.
    fn tell_unreachable(&self, health: &HealthBoard) {
        match self.listener.unreachable() {
            Some(words) => health.degrade(UNREACHABLE, words),
            None => health.recover(UNREACHABLE),
        }
    }

    fn deaf(&mut self, error: &RegistryError, health: &HealthBoard) {
        self.since = None;
        self.tell_unreachable(health);
        health.degrade("registry", error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_of_a_beats_age_moves_it_by_one_look_at_the_most() {
        let (listener, second) = (HeartbeatReader::default(), Duration::from_secs(1));
        let (keeper, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let (worker, start) = (ProcessId::generate(), Instant::now());
        listener.watch(worker, keeper);
        let look = |seconds: u32, number, age| {
            let heard = HeartbeatReading { process_id: worker, number, age, beat: None };
            let news = listener.sort(vec![heard], start + second * seconds);
            news[0].1[0].at.duration_since(start)
        };
        assert_eq!(look(10, 7, second / 2), second * 19 / 2, "of the first one the registry's word stands");
        let ancient = second * 100_000;
        assert_eq!(look(11, 8, ancient), second * 10, "a beat that lives is not made old");
        assert_eq!(look(12, 9, ancient), second * 11);
        for seconds in 13..30 {
            assert!(look(seconds, 9, Duration::ZERO) <= second * 12, "nor one that is old kept young");
        }
    }

    #[test]
    fn who_fell_silent_with_the_first_is_counted_when_the_first_is_judged() {
        let (listener, clocks, now) = (HeartbeatReader::default(), Clocks::default(), Instant::now());
        let (keeper, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let silent_for = |age: Option<Duration>| {
            let worker = ProcessId::generate();
            listener.watch(worker, keeper.clone());
            let heard = age.and_then(|age| now.checked_sub(age));
            listener.watched().entry(worker).and_modify(|entry| entry.heard = heard);
        };
        silent_for(Some(clocks.stale));
        silent_for(Some(clocks.stale - clocks.heartbeat));
        silent_for(Some(clocks.heartbeat * 2));
        silent_for(Some(Duration::ZERO));
        silent_for(None);
        assert_eq!(listener.silence(&clocks, now), (2, 2), "one that was never heard is still starting");
        let silent = |entry: &&mut Watched| entry.heard.is_some_and(|heard| heard + clocks.stale <= now);
        let set = |words: Option<&str>| {
            listener
                .watched()
                .values_mut()
                .filter(silent)
                .for_each(|entry| entry.unreachable = words.map(str::to_owned));
        };
        set(Some("its host is gone"));
        assert_eq!(listener.silence(&clocks, now), (1, 2), "what is known of one says nothing about the others");
        assert_eq!(listener.unreachable().as_deref(), Some("its host is gone"));
        set(None);
        assert_eq!(listener.unreachable(), None);
        let interval = Some(clocks.lease / 3);
        listener.watched().values_mut().for_each(|entry| entry.interval = interval);
        assert_eq!(
            listener.silence(&clocks, now),
            (1, 3),
            "of those that beat less often, the one past two of their beats"
        );
    }
}
