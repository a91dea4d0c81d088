//! A store that fails when the test wants.

mod store;

pub(crate) use store::{Commit, FaultyStore};
