//! Who forks, reaps, owns and proves dead.
//!
//! A process that starts others has one [`Spawner`]: a thread that never ends, which is the parent of every child and the only
//! one that waits for any. Both must be so. A parent-death signal follows the *thread* that forked, so a child of a
//! thread pool dies at random; and whoever waits for "any child" steals the exit codes of every other reaper. So
//! nothing else in such a process may fork and wait: no `std::process::Command`, no `tokio::process`.
//!
//! A [`Program`] is started in a [`Custody`]:
//!
//! | custody | what it is | when this process dies | when it is over |
//! |---|---|---|---|
//! | [`Custody::Tree`] | an agent: a program and all that it starts, however it detaches | all of it dies | the last process of it is proven dead |
//! | [`Custody::Child`] | one process, as a private Redis | it dies | it was reaped |
//! | [`Custody::Free`] | a worker | it goes on | it was reaped, and what it left to us is dead |
//!
//! # How a tree is held
//! Between this process and the program stands a small init, a process that never execs. It starts the program, reaps what the
//! program orphans, and ends when the tree has. Inits are made by a zygote, a fork of this process that has let go of its memory: so a
//! start copies no page tables, and many inits are little more than their stacks. They are children of this process all the same, and
//! need the zygote no longer once they are made. While one hangs or dies nothing else waits for it.
//! An init holds its tree by one of two means:
//!
//! - A *pid namespace* (with a user namespace, where we are not root). When its init dies, for whatever reason, the
//!   kernel kills all in it, and lets nobody reap the init before all are gone. That is the proof.
//! - *Best effort*, where the host gives no namespace: the init is a subreaper, so whatever detaches becomes its child
//!   again when its parent dies. It stops and kills its descendants until there is no child left. Should somebody kill
//!   the init itself, its orphans come to this process, a subreaper too, and the spawner does the same to every child
//!   that it has not started. What both miss, the tree of an init that is killed in the same moment as this process, is found
//!   by the limit that marks it, which stays with a program that clears its environment. What is left to miss is one that changes that
//!   limit, or its user, and loses its init and its owners in the same moment.
//!
//! [`ownership`] says which it is, having tried. A socket pair, the lifeline, joins the init and its parent: it carries the
//! program's exact end up, and its closing says that the parent is gone (the kernel closes it before a parent-death
//! signal is sent, so one of the two always arrives).
//!
//! # The rest
//! [`identity`] tells one process from every other over reboots and reused pids, [`Pidfd`] holds on to it, [`mark`]
//! finds what a dead worker may have left: programs by their environment, or by a limit that they were born with; inits by their
//! name, which is `mi-` and the end of the worker's id. [`probe_socket`] is where a worker is asked how it is, [`lock`] is the data folder's
//! lock, [`pipe`] looks into pipes, [`Alarm`] wakes who waits, [`usage`] and [`census`] measure, [`host`] says what there is to use, and
//! [`memory`] gives back what nothing uses.

mod alarm;
pub mod census;
mod child;
mod exec_stage;
mod fork;
pub mod host;
pub mod identity;
mod init;
mod leftovers;
mod lifeline;
pub mod limits;
pub mod lock;
pub mod mark;
pub mod memory;
mod offspring;
mod oom;
mod orphans;
mod ownership;
mod pidfd;
pub mod pipe;
mod plan;
pub mod probe_socket;
mod process_list;
mod program;
mod search;
mod session;
mod spawner;
mod spawner_thread;
mod start_order;
mod start_report;
mod sys;
mod table;
mod tag;
pub mod template;
mod tree_maker;
mod unproven;
pub mod usage;
mod zygote;

pub use alarm::Alarm;
pub use child::{Child, ChildKiller, ExitWatch, ProcessExit};
pub use identity::Presence;
pub use leftovers::{LeftoverSearch, Lineage, SearchPass};
pub use lock::DataLock;
pub use nix::sys::signal::Signal;
pub use ownership::{Means, Ownership, ownership};
pub use pidfd::Pidfd;
pub use probe_socket::ProbeSocket;
pub use program::{Custody, Program, SpawnError, Stdio};
pub use search::{find as find_program, look as look_at_program};
pub use session::{detach, ignores};
pub use spawner::{Spawner, StartingChild};
pub use usage::ResourceUsage;
