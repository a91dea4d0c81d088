//! Commands, as they come from the bus.

use muster_domain::{Command, Envelope, ReportBody, Timestamp};
use muster_registry::CommandDelivery;
use tokio::time::Instant;

use crate::WorkerExit;
use crate::slots::StopMode;
use crate::worker::WorkerLoop;

/// Commands that are taken in one go before the loop looks at anything else.
pub(crate) const COMMANDS_AT_ONCE: usize = 1024;

impl WorkerLoop {
    /// Something came over the subscription.
    pub(crate) fn on_delivery(&mut self, delivery: CommandDelivery, now: Instant) {
        match delivery {
            CommandDelivery::Command(envelope) => self.obey(*envelope, now),
            CommandDelivery::Resubscribed => self.exchange.resync(now),
            CommandDelivery::Unreadable(what) => tracing::warn!(%what, "a command could not be read and is ignored"),
        }
    }

    fn obey(&mut self, envelope: Envelope, now: Instant) {
        let Envelope { id, fence, command, .. } = envelope;
        let at = Timestamp::now();
        match command {
            Command::Spawn(order) => {
                let step = self.slots.on_spawn(*order, fence, now, at);
                self.carry_out(step, now);
            }
            Command::Terminate { agent_id, epoch, graceful } => {
                let step = self.slots.on_terminate(agent_id, epoch, StopMode::graceful(graceful), fence, at);
                self.carry_out(step, now);
            }
            Command::RunTasks { tasks } => self.run_tasks(tasks, fence, now, at),
            command if !self.slots.admits(fence) => {
                let seen = self.slots.fence();
                tracing::warn!(command.id = %id, %fence, %seen, ?command, "a command of a replaced leader is ignored");
            }
            Command::Drain => self.drain(),
            Command::Shutdown { graceful } => self.leave(WorkerExit::ShutDown, StopMode::graceful(graceful)),
            Command::HaltTasks { tasks } => self.halt_tasks(tasks, now),
            Command::Probe => self.say(ReportBody::Probed { command_id: id }),
        }
    }
}
