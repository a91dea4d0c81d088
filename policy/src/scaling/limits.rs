//! The bounds of one decision: each takes away of a change what it does not allow, and says so.

use muster_domain::scaling::HoldKind;
use muster_domain::{ScalingConfig, Timestamp};

use super::standing::Limit;
use super::{Picture, ScalingHistory};

/// Changes of direction within an hour, at the most. The last but one is kept for the way out: work that waits is worse than a worker
/// too many.
pub const FLAP_BUDGET: u32 = 6;

/// The share of a host's memory below which nothing is added.
pub const LEAST_HOST_MEMORY: f64 = 0.1;

/// A number of workers on its way through the bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// So many there are.
    pub(super) current: u32,
    /// So many there are to be.
    pub(super) target: u32,
    /// The bound that was met last, and so decides.
    pub(super) limit: Option<Limit>,
    /// Why it changes, where no vote is the cause.
    pub(super) cause: Option<String>,
}

impl Course {
    pub(super) const fn new(current: u32, target: u32) -> Self {
        Self { current, target, limit: None, cause: None }
    }

    /// Out no further than this.
    fn out_to(&mut self, most: u32, limit: impl FnOnce() -> Limit) {
        if self.target > self.current && self.target > most.max(self.current) {
            self.target = most.max(self.current);
            self.limit = Some(limit());
        }
    }

    /// In no further than this.
    fn in_to(&mut self, least: u32, limit: impl FnOnce() -> Limit) {
        if self.target < self.current && self.target < least.min(self.current) {
            self.target = least.min(self.current);
            self.limit = Some(limit());
        }
    }

    /// Nothing changes, whatever is voted.
    pub(super) fn stay(&mut self, hold: Limit) {
        self.target = self.current;
        self.limit = Some(hold);
    }

    /// Only workers that leave are added again, and none leaves.
    pub(super) fn only_take_back(&mut self, drains: u32, hold: &Limit) {
        if self.target <= self.current {
            self.stay(hold.clone());
        }
        self.out_to(self.current.saturating_add(drains), || hold.clone());
    }

    /// The windows: out by the lowest, in by the highest recommendation within them, as the HPA does.
    pub(super) fn stabilize(
        &mut self,
        config: &ScalingConfig,
        history: &ScalingHistory,
        recommended: u32,
        now: Timestamp,
    ) {
        let windows = config.windows();
        let (least, most) = history.recommended_within(windows.out, windows.scale_in, recommended, now);
        let said = |word: &str, workers: u32, window: std::time::Duration| {
            let words = format!("the {word} recommendation of the last {} s is {workers}", window.as_secs_f64());
            Limit::new(HoldKind::Stabilization, words)
        };
        if !windows.out.is_zero() {
            self.out_to(least, || said("lowest", least, windows.out));
        }
        if !windows.scale_in.is_zero() {
            self.in_to(most, || said("highest", most, windows.scale_in));
        }
    }

    /// No worker leaves where that would use up the changes of direction of the hour.
    pub(super) fn keep_direction(&mut self, history: &ScalingHistory, now: Timestamp) {
        let went_out = history.last_voted(now).is_some_and(|last| last.to > last.from);
        let changes = history.direction_changes(now);
        if went_out && changes + 2 > FLAP_BUDGET {
            let words = format!("the direction has changed {changes} times within an hour");
            self.in_to(self.current, || Limit::new(HoldKind::FlapBudget, words));
        }
    }

    /// One step goes no further.
    pub(super) fn bound_change(&mut self, most: u32) {
        if most > 0 {
            let limit = || Limit::new(HoldKind::MaxChange, format!("max_change ({most}) is met"));
            self.out_to(self.current.saturating_add(most), limit);
            self.in_to(self.current.saturating_sub(most), limit);
        }
    }

    /// A task that could start is not left without any worker, whatever windows and cooldowns say.
    pub(super) fn begin(&mut self, picture: &Picture) {
        let queue = picture.queue.unwrap_or_default();
        if self.current == 0 && self.target == 0 && queue > 0 {
            (self.target, self.limit) = (1, None);
            self.cause = Some("a task could start, and there is no worker".to_owned());
        }
    }

    /// What more workers would cost and need.
    pub(super) fn bound_cost(&mut self, config: &ScalingConfig, picture: &Picture) {
        let most_cost = config.max_cost_per_hour;
        if let Some(price) = picture.price.filter(|price| most_cost > 0.0 && *price > 0.0) {
            // A float that is too great becomes the greatest number.
            let most = (most_cost / price + 1e-9).floor() as u32;
            let words = format!("max_cost_per_hour ({most_cost}) pays for {most} workers at {price} each");
            self.out_to(most, || Limit::new(HoldKind::Cost, words));
        }
        if let Some(free) = picture.host_memory.filter(|free| *free < LEAST_HOST_MEMORY) {
            let words = format!("only {:.0}% of the host's memory is available", 100.0 * free);
            self.out_to(self.current, || Limit::new(HoldKind::HostMemory, words));
        }
    }

    /// As many workers as there may be, and as few.
    pub(super) fn bound_workers(&mut self, picture: &Picture) {
        let workers = picture.workers;
        self.out_to(workers.ceiling(), || {
            Limit::new(HoldKind::MaxWorkers, format!("max_workers ({}) is reached", workers.max))
        });
        self.in_to(workers.min, || Limit::new(HoldKind::MinWorkers, format!("min_workers ({}) are kept", workers.min)));
        self.in_to(workers.needed, || {
            let words = format!("{} are needed by busy agents and those that a person spawned", workers.needed);
            Limit::new(HoldKind::Needed, words)
        });
    }

    /// Keeps a pool within its bounds that is outside of them, e.g. since they were changed: no policy is asked for that.
    pub(super) fn enforce(&mut self, picture: &Picture, hold: Option<&Limit>) {
        let workers = picture.workers;
        let ceiling = workers.ceiling();
        // What a person has said stands while agents there still have work: these keep their workers until it is done.
        let is_persons = hold.is_some_and(|hold| hold.kind == HoldKind::Person);
        let floor = if is_persons { workers.min.min(ceiling) } else { workers.floor() };
        let most = ceiling.max(workers.needed.min(workers.current));
        let (bound, limit) = if picture.holds.draining {
            return;
        } else if self.target < floor && workers.min >= floor {
            (floor, Limit::new(HoldKind::MinWorkers, format!("min_workers ({}) are kept", workers.min)))
        } else if self.target < floor {
            let words = format!("busy agents and those that a person spawned need {}", workers.needed);
            (floor, Limit::new(HoldKind::Needed, words))
        } else if self.target > most && hold.is_none_or(Limit::keeps_bounds) {
            (most, Limit::new(HoldKind::MaxWorkers, format!("max_workers ({}) is exceeded", workers.max)))
        } else {
            return;
        };
        self.target = bound;
        self.cause = Some(limit.words.clone());
        self.limit = Some(limit);
    }
}
