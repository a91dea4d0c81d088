//! The way to a fake worker past the registry, as its engine gives it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use muster_process::ProcessExit;
use muster_supervisor::launch::{Death, Proof, RunningWorker, Sent, WorkerProbe};

use super::FakeWorker;

impl FakeWorker {
    /// Its engine can do and say nothing of it any more, or again.
    pub(crate) fn cut_off(&self, why: Option<&str>) {
        self.0.cut_off.set(why.map(str::to_owned));
    }

    /// A kill changes nothing, as if it waited for a disk; or that is over.
    pub(crate) fn wait_for_a_disk(&self, waits: bool) {
        self.0.waits.store(waits, Ordering::SeqCst);
    }
}

#[async_trait]
impl RunningWorker for FakeWorker {
    async fn ask(&self) -> Sent {
        if let Some(why) = self.0.cut_off.get() {
            return Sent::Unreachable(why);
        }
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let worker = self.clone();
        tokio::spawn(async move { worker.depart().await });
        Sent::Delivered
    }

    async fn kill(&self) -> Sent {
        if let Some(why) = self.0.cut_off.get() {
            return Sent::Unreachable(why);
        }
        if self.is_dead() {
            return Sent::Gone;
        }
        if !self.0.waits.load(Ordering::SeqCst) {
            self.die();
        }
        Sent::Delivered
    }

    async fn dead(&self) -> Death {
        self.0.dead.wait_for(|dead| *dead).await;
        self.0.remains.wait_for(|remains| !remains).await;
        self.0.cut_off.wait_for(Option::is_none).await;
        let (exit, last_words) = (Some(ProcessExit::Signal(9)), "it did what it could".to_owned());
        Death { proof: Proof::ProcessTable, exit, last_words }
    }

    async fn probe(&self, _patience: Duration) -> WorkerProbe {
        self.0.mind.lock().await.habits.at_probe_socket.clone()
    }
}
