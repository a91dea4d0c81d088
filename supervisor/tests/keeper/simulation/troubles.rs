//! What goes wrong in a life, and what people do in it.

use std::time::Duration;

use muster_domain::{AttemptEnd, Cause, CommandRefusal, TaskId};
use muster_store::testing::Commit;
use muster_supervisor::LeadEnd;
use tokio_util::sync::CancellationToken;

use super::life::{Life, config};
use crate::worker::{FakeWorker, Habits, OnHalt, OnSpawn, OnTask};
use crate::world::pool;

impl Life {
    fn a_worker(&mut self) -> Option<FakeWorker> {
        let living = self.world.launcher().living();
        self.rng.choice(living)
    }

    fn a_task(&mut self) -> Option<TaskId> {
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        self.rng.choice(tasks)
    }

    pub(super) async fn end_an_agent(&mut self) {
        if self.agents.is_empty() {
            return;
        }
        let place = self.rng.usize(..self.agents.len());
        let (agent, graceful) = (self.agents.swap_remove(place), self.rng.bool());
        if self.rng.bool() {
            drop(self.world.agents().restart(agent, Duration::ZERO).await);
            return self.agents.push(agent);
        }
        // Refused or not: nobody counts on it any more.
        drop(self.world.agents().terminate(None, agent, graceful, Duration::ZERO).await);
    }

    /// Agents of a worker are done with what they hold.
    pub(super) async fn finish_some(&mut self) {
        for worker in self.world.launcher().living() {
            for task in worker.tasks().await {
                let end = match self.rng.u32(..8) {
                    0..4 => AttemptEnd::Succeeded,
                    4..6 => AttemptEnd::Failed { message: "no".to_owned(), retryable: true },
                    6 => AttemptEnd::Failed { message: "never".to_owned(), retryable: false },
                    _ => continue,
                };
                worker.finish_task(task, end).await;
            }
        }
    }

    pub(super) async fn crash_an_agent(&mut self) {
        let Some(worker) = self.a_worker() else { return };
        let Some(agent) = self.rng.choice(worker.holds().await) else { return };
        let report = worker.end_unsaid(agent, Cause::Exited { code: self.rng.i32(0..2) }).await;
        for _ in 0..self.rng.u32(..3) {
            worker.send(&report).await;
        }
    }

    pub(super) fn kill_a_worker(&mut self) {
        if let Some(worker) = self.a_worker() {
            worker.die();
        }
    }

    pub(super) async fn interrupt_a_worker(&mut self) {
        let within = Duration::from_millis(self.rng.u64(..200));
        if let Some(worker) = self.a_worker() {
            // Refused or not: it may end by itself meanwhile.
            drop(self.world.workers().interrupt(worker.id(), within).await);
        }
    }

    pub(super) async fn change_a_worker(&mut self) {
        let habits = self.habits();
        if let Some(worker) = self.a_worker() {
            worker.change(|known| *known = habits).await;
        } else {
            self.world.launcher().habits(|known| *known = habits);
        }
    }

    fn habits(&mut self) -> Habits {
        let rng = &mut self.rng;
        let on_spawn = match rng.u32(..10) {
            0 => OnSpawn::Miss(rng.u32(1..4)),
            1 => OnSpawn::Refuse(CommandRefusal::Full { capacity: 2 }),
            _ => OnSpawn::Run,
        };
        let on_task = match rng.u32(..8) {
            0..3 => OnTask::Answer,
            3..6 => OnTask::Hold,
            _ => OnTask::Fail { retryable: rng.u32(..4) > 0 },
        };
        let on_halt = [OnHalt::Stop, OnHalt::Stop, OnHalt::Answer, OnHalt::Ignore][rng.usize(..4)];
        let missed_tasks = if rng.bool() { rng.u32(..4) } else { 0 };
        let (hears_twice, says_twice, quiet) = (rng.bool(), rng.bool(), rng.u32(..10) == 0);
        Habits { on_spawn, on_task, on_halt, missed_tasks, hears_twice, says_twice, quiet, ..Habits::default() }
    }

    pub(super) async fn cancel_one(&mut self) {
        let Some(task) = self.a_task() else { return };
        // Refused or not, it may be cancelled from now on.
        if let Some(promise) = self.tasks.get_mut(&task) {
            promise.may_be_cancelled = true;
        }
        let wait = Duration::from_millis(self.rng.u64(..200));
        drop(self.world.tasks().cancel(task, wait).await);
    }

    pub(super) async fn redrive(&mut self) {
        self.tasks.values_mut().for_each(|promise| promise.may_be_redriven = true);
        match self.a_task() {
            Some(task) if self.rng.bool() => drop(self.world.tasks().retry(task).await),
            _ => drop(self.world.tasks().redrive(None).await),
        }
    }

    pub(super) async fn turn_a_gate(&mut self) {
        let (pools, hand_back) = (self.world.pools().clone(), self.rng.bool());
        match self.rng.u32(..6) {
            0 => drop(pools.pause(pool()).await),
            1 => drop(pools.drain(pool(), hand_back).await),
            2 => drop(pools.pause_all(hand_back).await),
            3 => drop(pools.resume_all().await),
            _ => drop(pools.resume(pool()).await),
        }
    }

    pub(super) async fn change_the_pool(&mut self) {
        let next = serde_json::to_value(config(&mut self.rng)).expect("JSON");
        drop(self.world.pools().change(&pool(), &next).await);
    }

    pub(super) fn trouble_the_store(&mut self) {
        let mut rng = self.rng.fork();
        match self.rng.u32(..6) {
            0 => self.world.store().leave(),
            1 => self.world.store().judge(move |_| if rng.u32(..3) == 0 { Commit::Refuse } else { Commit::Pass }),
            2 => {
                self.lied = true;
                self.world.store().judge(move |_| if rng.u32(..3) == 0 { Commit::Lie } else { Commit::Pass });
            }
            _ => self.world.store().heal(),
        }
    }

    pub(super) fn trouble_the_registry(&mut self) {
        match self.rng.u32(..5) {
            0 => self.world.ground.memory.flush(),
            1 => self.world.ground.registry.leave(),
            2 => self.world.ground.registry.drop_commands(true),
            _ => self.mend_the_registry(),
        }
    }

    fn mend_the_registry(&self) {
        self.world.ground.registry.come_back();
        self.world.ground.registry.drop_commands(false);
    }

    /// The machine slept, or somebody set its clock.
    pub(super) async fn jump_in_time(&mut self) {
        match self.rng.u32(..3) {
            0 => tokio::time::advance(Duration::from_secs(self.rng.u64(1..600))).await,
            1 => {
                let ahead = self.rng.i64(0..3_600_000);
                self.skew_by(ahead);
            }
            _ => {
                let back = self.rng.i64(0..600_000);
                self.skew_by(-back);
            }
        }
    }

    /// The next supervisor takes over from one that ended, or from one that does not know yet.
    pub(super) async fn change_masters(&mut self) {
        self.world.store().heal();
        self.mend_the_registry();
        if self.rng.bool() {
            // It has the time to clear its doubts.
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.lied = false;
        }
        self.strangers |= std::mem::take(&mut self.lied);
        let next = self.world.ground.lead().await;
        let old = std::mem::replace(&mut self.world, next);
        if self.rng.bool() {
            old.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
        }
    }

    /// All is made well.
    pub(super) async fn calm_down(&mut self) {
        self.world.store().heal();
        self.mend_the_registry();
        self.world.launcher().habits(|habits| *habits = Habits::default());
        for worker in self.world.launcher().living() {
            worker.change(|habits| *habits = Habits::default()).await;
        }
        // The clock is set right, so that nothing waits for a time that was near once.
        self.skew.fetch_max(self.furthest, std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(20)).await;
        self.world.pools().resume_all().await.expect("resumed");
        self.world.pools().resume(pool()).await.expect("resumed");
        for _ in 0..2 {
            let agent = self.world.order().await;
            self.agents.push(agent);
        }
        for worker in self.world.launcher().living() {
            for task in worker.tasks().await {
                worker.answer(task).await;
            }
        }
    }
}
