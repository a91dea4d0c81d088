//! End-to-end tests: the real program, real processes, a real Redis, a real database. One binary, so that it links once.
#![allow(missing_docs)]

mod alerts;
mod cli;
mod clock;
mod exec;
mod faults;
mod files;
mod forgers;
mod harness;
mod idleness;
mod inherited;
mod interruptions;
mod master;
mod measuring;
mod orphans;
mod pipes;
mod placement;
mod pools;
mod readme;
mod refusals;
mod registry;
mod runtimes;
mod scaling;
mod secured;
mod shutdown;
mod single;
mod spawn;
mod store;
mod strangers;
mod tasks;
mod trees;
mod unheard;
mod watching;
mod workers;
