//! What changed of a worker's agents, as the scripts take it.

use muster_domain::{AgentSnapshot, PoolName, ProcessId};
use redis::ScriptInvocation;

use crate::Keys;
use crate::written_state::PendingChanges;

/// Adds what every script that writes agents begins with.
pub(super) fn begin(call: &mut ScriptInvocation<'_>, keys: &Keys, pool: &PoolName, worker: ProcessId) {
    call.key(keys.pool_agents(pool)).key(keys.worker_agents(pool, worker));
    call.arg(worker.to_string()).arg(pool.as_str());
}

/// Adds the changes: the last keys and the last arguments of a script.
pub(super) fn finish(call: &mut ScriptInvocation<'_>, keys: &Keys, changes: &PendingChanges<'_>) {
    call.arg(changes.changed.len());
    for picture in &changes.changed {
        call.key(keys.agent(picture.agent_id));
        add_picture(call, picture);
    }
    call.arg(changes.gone.len());
    for agent in &changes.gone {
        call.key(keys.agent(*agent));
        call.arg(agent.to_string());
    }
}

/// A field that has no value is written empty, so that its former value does not stay.
fn add_picture(call: &mut ScriptInvocation<'_>, picture: &AgentSnapshot) {
    call.arg(picture.agent_id.to_string())
        .arg(picture.epoch.0)
        .arg(picture.updated_at.to_string())
        .arg(&picture.role_type)
        .arg(&picture.project_id)
        .arg(picture.state.as_str())
        .arg(picture.pid.map(|pid| pid.to_string()).unwrap_or_default())
        .arg(picture.reason.as_deref().unwrap_or_default());
}
