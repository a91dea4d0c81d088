//! When a commit failed nobody knows whether it went through, and when a precondition did not hold the model is wrong.
//! Then the truth is read again, and the model follows it.

use std::collections::HashMap;

use muster_domain::AgentId;
use muster_store::AgentRow;

use super::agent::Agent;
use super::moves::Move;
use super::{Keeper, Round};

impl Keeper {
    pub(super) async fn read_again(&mut self, round: &mut Round) {
        let pool = self.model.spec.pool_name.clone();
        let (Ok(agents), Ok(workers)) = (self.context.live_agents(&pool).await, self.context.open_workers(&pool).await)
        else {
            return;
        };
        self.doubt = false;
        let mut rows: HashMap<AgentId, AgentRow> = agents.into_iter().map(|row| (row.spec.agent_id, row)).collect();
        for id in self.model.agent_ids() {
            match rows.remove(&id) {
                Some(row) => self.compare_row(row, round),
                None => self.drop_agent(id, round),
            }
        }
        for (id, row) in rows {
            // Whoever asked for it was told that nothing was changed: so it ends.
            tracing::warn!(agent.id = %id, "an agent was stored after all, though its caller was refused; it is stopped");
            self.follow_store(Agent::from_row(row), round);
            self.end_refused(id, round);
        }
        for row in workers.iter().filter(|row| !self.model.workers.contains_key(&row.process_id)) {
            // Its row was committed, but it was never started.
            let reason = "it was never started".to_owned();
            round.moves.push(Move::EndWorker { worker: row.process_id, lost: true, reason });
        }
    }

    fn compare_row(&mut self, row: AgentRow, round: &mut Round) {
        let Some(agent) = self.model.agent(row.spec.agent_id) else { return };
        let known = Agent::from_row(row);
        let same_place = agent.status.assignment() == known.status.assignment() && agent.epoch == known.epoch;
        let same_end = agent.status.is_final() == known.status.is_final();
        let same_wish = agent.status.state() == known.status.state()
            || !matches!(known.status, muster_domain::AgentStatus::Stopping { .. });
        let agrees = same_place && same_end && same_wish;
        if !agent.leaving && !agrees {
            self.follow_store(known, round);
        }
    }
}
