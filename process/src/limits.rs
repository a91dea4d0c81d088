//! The limit of open files: this process raises its own, and programs get the one that it was started with.
//!
//! A raised limit breaks programs that use `select`, whose sets end at 1,024, and slows down those that close every possible
//! descriptor at their start.

use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What programs start with; not set where this process raised nothing and was told nothing.
static FOR_PROGRAMS: OnceLock<u64> = OnceLock::new();

/// Takes what the system allows, and remembers for programs what was in force.
pub fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    set_for_programs(soft);
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// The soft limit that programs start with, where it is not this process's own.
pub fn for_programs() -> Option<u64> {
    FOR_PROGRAMS.get().copied()
}

/// Says which limit that is: a worker hears it from its master. The first word counts.
pub fn set_for_programs(soft: u64) {
    // A second one would change it for agents that run already.
    let _ = FOR_PROGRAMS.set(soft);
}
