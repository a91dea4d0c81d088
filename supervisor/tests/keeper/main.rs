//! The keeper's rules and races, each in both orders, with a real supervisor, the store and the registry in memory, and
//! workers that do what the test tells them.

mod access;
mod adoption;
mod autoscaling;
mod awaited;
mod commands;
mod idle;
mod interruptions;
mod launcher;
mod launching;
mod ledger;
mod leftover_files;
mod looking;
mod metrics;
mod outages;
mod parts;
mod placement;
mod pools;
mod random;
mod reports;
mod restarts;
mod scaling;
mod shutdown;
mod silence;
mod simulation;
mod stopping;
mod store_away;
mod tasks;
mod tiers;
mod unending;
mod unreachable;
mod unstorable;
mod worker;
mod world;
