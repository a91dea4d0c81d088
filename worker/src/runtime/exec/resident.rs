//! An agent with a program that stays: it is started with the agent, and is the agent's end.

use std::sync::Arc;

use muster_domain::{Cause, Ending, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;

use super::driver::{Driver, Records, refuse};
use super::host::Host;
use super::journal::Journal;
use super::protocol::AgentProtocol;
use super::{AgentOrder, RunContext};
use crate::log::LogStream;
use crate::runtime::RunChange;

/// Runs an agent. Its last news is its end; whatever goes wrong, there is one.
pub(super) async fn run<P: AgentProtocol>(
    run: Arc<RunContext>,
    mut orders: UnboundedReceiver<AgentOrder>,
    protocol: impl Fn() -> P,
) {
    let mut records = Records::new(Journal::new(&run.common.data_dir, run.agent_id()));
    let cause = match Host::start(Arc::clone(&run), None, P::STDOUT).await {
        Ok(host) => Driver::new(&run, &mut protocol(), &mut records, host).drive(&mut orders).await.cause,
        Err(error) => Cause::NotStarted { error },
    };
    // What was given to it and never reached its program.
    while let Ok(order) = orders.try_recv() {
        if let AgentOrder::Begin(start) = order {
            refuse(&run, &records, &start);
        }
    }
    end(&run, records, cause).await;
}

/// The last words: in the log first, so that who hears of the end finds them there.
async fn end(run: &RunContext, records: Records, cause: Cause) {
    let Records { mut journal, tail, mut open_tasks } = records;
    let at = Timestamp::now();
    journal.add(at, LogStream::End, cause.to_string().as_bytes(), 0);
    journal.finish().await;
    open_tasks.clear(&cause).into_iter().for_each(|finish| run.say(RunChange::Finished(finish)));
    run.say(RunChange::Ended(Ending { cause, last_output: tail.text(), at }));
}
