//! Who asks: every call of the supervisor's that somebody makes goes through here, and so carries its principal.

use muster_domain::Principal;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::agents::Agents;
use crate::error::SupervisorError;
use crate::events::Events;
use crate::handle::Handle;
use crate::measurements::Metrics;
use crate::pools::Pools;
use crate::scaling::Scaling;
use crate::system::System;
use crate::tasks::Tasks;
use crate::workers::Workers;

/// The supervisor for one principal, in parts. A part that is not for this principal can't be had, so none of its calls can
/// forget the check. Cloneable.
#[derive(Clone)]
pub struct Caller {
    handle: Handle,
    principal: Principal,
}

impl Caller {
    pub(crate) const fn new(handle: Handle, principal: Principal) -> Self {
        Self { handle, principal }
    }

    /// The tasks that the principal may see, and what they used.
    pub fn tasks(&self) -> Tasks {
        Tasks { context: self.handle.context.clone(), principal: self.principal.clone() }
    }

    /// The agents.
    ///
    /// # Errors
    /// As for the other parts that are nobody's alone: the principal is for one tenant.
    pub fn agents(&self) -> Result<Agents, SupervisorError> {
        self.whole(|handle| Agents { context: handle.context.clone(), principal: self.principal.clone() })
    }

    /// The pools and their queues.
    pub fn pools(&self) -> Result<Pools, SupervisorError> {
        self.whole(|handle| Pools { context: handle.context.clone(), principal: self.principal.clone() })
    }

    /// The workers.
    pub fn workers(&self) -> Result<Workers, SupervisorError> {
        self.whole(|handle| Workers { context: handle.context.clone(), principal: self.principal.clone() })
    }

    /// The metrics.
    pub fn metrics(&self) -> Result<Metrics, SupervisorError> {
        self.whole(|handle| Metrics { context: handle.context.clone() })
    }

    /// The scaling of pools.
    pub fn scaling(&self) -> Result<Scaling, SupervisorError> {
        self.whole(|handle| Scaling { context: handle.context.clone() })
    }

    /// The events.
    pub fn events(&self) -> Result<Events, SupervisorError> {
        self.whole(|handle| Events { context: handle.context.clone() })
    }

    /// The supervisor itself.
    pub fn system(&self) -> Result<System, SupervisorError> {
        self.whole(|handle| System { handle: handle.clone(), principal: self.principal.clone() })
    }

    /// Cancelled when the HTTP server is to end: streams that would go on for ever end by it.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.handle.closing.clone()
    }

    fn whole<T>(&self, part: impl FnOnce(&Handle) -> T) -> Result<T, SupervisorError> {
        access::to_installation(&self.principal)?;
        Ok(part(&self.handle))
    }
}
