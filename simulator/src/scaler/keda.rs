//! Backlog-only target tracking, as KEDA does it by default for a queue: the peer that Muster is compared with.
//!
//! What is taken over, by the documentation of KEDA's ScaledObject and of Kubernetes' HorizontalPodAutoscaler: the queue is polled
//! every 30 s; so many workers that ten waiting tasks come on each; no change within a tenth of that; in to the highest recommendation
//! of the last 300 s; the cooldown of 300 s is only for the last worker, from one to none, and starts anew while tasks wait. Tasks that run are
//! no backlog, and a worker that is too many is ended whatever it does, the newest first, 30 s after it was told (the grace period
//! of a pod).
//!
//! Where the original is slower it is let off: the HPA doubles at the most every 15 s, and here the target is reached at once.

use std::collections::VecDeque;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_policy::scaling::Picture;

use super::{Departure, Scaler};

const POLLING: Duration = Duration::from_secs(30);
const TASKS_PER_WORKER: f64 = 10.0;
const TOLERANCE: f64 = 0.1;
const STABILIZATION: Duration = Duration::from_secs(300);
const COOLDOWN: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(30);

/// Tracks the backlog.
#[derive(Clone, Debug, Default)]
pub struct KedaScaler {
    recommended: VecDeque<(Timestamp, u32)>,
    last_active: Option<Timestamp>,
}

impl KedaScaler {
    /// What the HPA asks for while there is at least one worker.
    fn recommend(queue: u32, current: u32) -> u32 {
        let ratio = f64::from(queue) / (TASKS_PER_WORKER * f64::from(current.max(1)));
        if (ratio - 1.0).abs() <= TOLERANCE {
            return current;
        }
        (f64::from(queue) / TASKS_PER_WORKER).ceil() as u32
    }
}

impl Scaler for KedaScaler {
    fn name(&self) -> String {
        "backlog-only, as KEDA by default".to_owned()
    }

    fn interval(&self) -> Duration {
        POLLING
    }

    fn target(&mut self, picture: &Picture, now: Timestamp) -> u32 {
        let (queue, workers) = (picture.queue.unwrap_or_default(), picture.workers);
        if queue > 0 {
            self.last_active = Some(now);
        }
        let is_cool = self.last_active.is_none_or(|last| now.since(last) >= COOLDOWN);
        let wanted = match (workers.current, queue) {
            (0, 0) => 0,
            (current, _) => Self::recommend(queue, current).max(1),
        };
        self.recommended.retain(|(at, _)| now.since(*at) < STABILIZATION);
        self.recommended.push_back((now, wanted));
        let highest = self.recommended.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        let stable = if wanted < workers.current { highest.min(workers.current) } else { wanted };
        // From one to none is the cooldown's affair.
        let target = if stable <= 1 && queue == 0 && is_cool { 0 } else { stable };
        target.clamp(workers.min, workers.ceiling())
    }

    fn departure(&self) -> Departure {
        Departure::After(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use muster_policy::scaling::PictureWorkers;

    use super::*;

    #[test]
    fn it_follows_the_backlog_and_nothing_else() {
        let (mut keda, mut now, mut current) = (KedaScaler::default(), Timestamp::from_millis(0), 0);
        let mut poll = |queue: u32| {
            let workers = PictureWorkers { current, max: 40, ..PictureWorkers::default() };
            now = now.after(POLLING);
            current = keda.target(&Picture { queue: Some(queue), workers, ..Picture::default() }, now);
            current
        };
        assert_eq!([0, 1, 45, 52, 500].map(&mut poll), [0, 1, 5, 5, 40], "activation, out, tolerance, bound");
        // 270 s later the highest of the window is still what it was; then it is one worker, and 300 s after the last task none.
        assert_eq!([0; 9].map(&mut poll), [40; 9]);
        assert_eq!([0; 2].map(&mut poll), [0, 0]);
        assert_eq!([15, 0].map(&mut poll), [2, 2]);
    }
}
