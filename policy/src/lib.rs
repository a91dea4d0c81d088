//! The judgement: synchronous functions of what is wanted, what was seen and what time it is, which return what to do
//! and why. They read no clock, do no IO and keep no state, so each is tested as a table or by properties.
//!
//! The comparison of the two pictures is made item by item, so that a pass costs what has changed and not what there
//! is: [`agent::next_step`] for one agent, [`worker::next_step`] for one worker, [`placement::place`] for those that
//! need a slot. The supervisor calls the same functions on a signal (fast) and on a timer (right).
//!
//! | module | question |
//! |---|---|
//! | [`agent`] | what does this agent need now, and when must it be looked at again? |
//! | [`restart`] | an agent's run ended: again, never again, or quarantine? |
//! | [`placement`] | which worker gets it by its pool's rule, and are new workers needed? |
//! | [`scaling`] | how many workers and agents are to run? |
//! | [`tiers`] | how many of those workers are of which tier, and from where do they come? |
//! | [`starts`] | when may the next worker be started, after those that failed? |
//! | [`dispatch`] | which waiting task goes to which idle agent, and why does one not start? |
//! | [`retry`] | an attempt at a task is over: is there another? |
//! | [`breaker`] | do so many attempts fail that a pool had better wait? |
//! | [`quota`] | may a tenant submit so many tasks now, and if not, when? |
//! | [`budget`] | has more been used than a budget allows? |
//! | [`retention`] | until when is kept what ended? |
//! | [`worker`] | is this worker alive, suspect or dead; is it needed? |
//! | [`backoff`] | how long until the next try? |

pub mod agent;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod dispatch;
pub mod placement;
pub mod quota;
pub mod restart;
pub mod retention;
pub mod retry;
pub mod scaling;
pub mod starts;
pub mod tiers;
pub mod worker;
