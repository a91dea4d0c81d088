//! What pools, workers and agents are, do and use, measured and kept.
//!
//! | part | what it does |
//! |---|---|
//! | [`picture`] | what a keeper knows of its pool at one moment |
//! | [`host_use`] | what the kernel knows of the trees of its workers |
//! | [`sampler`] | both together, as figures of the time since the last look |
//! | [`collector`] | looks once an interval, and stores what came of it in one short transaction |
//! | [`rollup`] | rows of shorter times summed up to rows of longer ones |
//! | [`recent`] | the latest hour of workers and agents, in memory |
//! | [`loads`] | the latest loads of workers, by which agents are placed |
//! | [`series`] | rows as a curve over time |
//!
//! A figure that could not be measured is missing, never zero: a keeper that does not answer in time has no row in that round, a host whose
//! processes can't be counted leaves the figures of the kernel out, and a gap stays a gap in whatever is read.

pub(crate) mod collector;
pub(crate) mod host_use;
pub(crate) mod loads;
pub(crate) mod picture;
pub(crate) mod recent;
pub(crate) mod rollup;
pub(crate) mod sampler;
pub(crate) mod series;
