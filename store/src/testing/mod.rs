//! Stores for tests: one in memory, and one that fails when the test wants.
//!
//! A [`MemoryStore`] is an engine without a database: fast, and the same in every run. It knows what a
//! [`Write`](crate::Write) means and what a question is about, and no SQL. A [`FaultyStore`] stands in front of any engine. Without
//! a fault it is that engine; over the one in memory it passes the conformance suite, with the faults that the suite asks for.

mod faulty;
mod memory;

pub use faulty::{Commit, FaultyStore};
pub use memory::MemoryStore;
