//! A store and a registry that fail when the test wants.

mod registry;
mod store;

pub(crate) use registry::FaultyRegistry;
pub(crate) use store::{Commit, FaultyStore};
