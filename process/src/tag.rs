//! Which worker a process comes from, in the few bytes that a process's name can hold.
//!
//! An init is not dumpable, so nobody but root may read its environment. Its name may be read by all. So it bears there
//! whose it is, as everything else of a worker does in its environment.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::sys;

/// How many bytes the kernel keeps of a name, with the final NUL.
const LENGTH: usize = 16;

/// What every init's name begins with that belongs to a worker.
const PREFIX: &[u8] = b"mi-";

/// The name of an init that belongs to no worker.
const PLAIN: &[u8] = b"muster-init";

/// A worker, as the name of its inits tells it: the last twelve characters of its id. In a UUIDv7 these are 48 bits of
/// its random part, and not of its time, which workers that were started together share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tag([u8; LENGTH]);

impl Tag {
    /// The tag of the worker with this id.
    pub(crate) fn of(worker: &OsStr) -> Self {
        let id = worker.as_bytes();
        let last = id.get(id.len().saturating_sub(LENGTH - 1 - PREFIX.len())..).unwrap_or_default();
        Self(padded(PREFIX.iter().chain(last)))
    }

    /// The tag in a process's name; `None` where it is no init of a worker.
    pub(crate) fn in_name(name: &[u8]) -> Option<Self> {
        (name.starts_with(PREFIX) && name.len() < LENGTH).then(|| Self(padded(name.iter())))
    }
}

/// A resource limit as a mark.
///
/// A program that clears its environment, begins a session and lets its parents die has nothing left that names its worker, where
/// there is no namespace. But limits stay with whatever is forked or executed. `RLIMIT_LOCKS` limits nothing since Linux 2.4.25,
/// and no program sets it; so every tree has one that no other worker's has.
const MARKING_LIMIT: libc::__rlimit_resource_t = libc::RLIMIT_LOCKS;

impl Tag {
    /// The limit of all in this worker's trees: a number of 62 bits, that nobody means.
    pub(crate) fn limit(self) -> u64 {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        let hash = self.0.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        hash >> 2 | 1 << 61
    }
}

/// Takes a limit as a mark, and hands it down: only for a process that is about to own a tree. Where a lower one is in force
/// already, e.g. in a tree of another Muster, that stays.
pub(crate) fn take_limit(limit: u64) {
    let _ = sys::set_limit(MARKING_LIMIT, libc::rlimit { rlim_cur: limit, rlim_max: limit });
}

/// The mark in a process's limits; `None` where there is none, or it is another user's.
pub(crate) fn limit_of(pid: u32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into a valid struct.
    let read = unsafe { libc::prlimit(pid as libc::pid_t, MARKING_LIMIT, std::ptr::null(), &raw mut limit) };
    (read == 0 && limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max)
}

fn padded<'a>(bytes: impl Iterator<Item = &'a u8>) -> [u8; LENGTH] {
    let mut name = [0; LENGTH];
    name.iter_mut().take(LENGTH - 1).zip(bytes).for_each(|(to, from)| *to = *from);
    name
}

/// The name that an init takes.
#[derive(Clone, Copy)]
pub(crate) struct InitName([u8; LENGTH]);

impl InitName {
    /// That of an init of this worker, or of nobody's.
    pub(crate) fn of(tag: Option<Tag>) -> Self {
        Self(tag.map_or_else(|| padded(PLAIN.iter()), |Tag(name)| name))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Whether this is the name of an init.
pub(crate) fn is_init_name(name: &[u8]) -> bool {
    name == PLAIN || Tag::in_name(name).is_some()
}

/// The name of a process, which it can change; empty where there is none.
pub(crate) fn name_of(pid: u32) -> Vec<u8> {
    let mut name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inits_name_says_whose_it_is() {
        let worker = OsStr::new("01a1fc69-6e61-701a-8fcf-034646c8fef3");
        let name = InitName::of(Some(Tag::of(worker)));
        assert_eq!(name.as_c_str(), c"mi-034646c8fef3");
        assert_eq!(Tag::in_name(name.as_c_str().to_bytes()), Some(Tag::of(worker)));
        assert_ne!(Tag::of(worker), Tag::of(OsStr::new("01a1fc69-6e61-701a-8fcf-034646c8fef4")));
        assert_eq!(InitName::of(None).as_c_str(), c"muster-init");
        for (name, is_init) in [("muster-init", true), ("mi-034646c8fef3", true), ("muster", false), ("sleep", false)] {
            assert_eq!(is_init_name(name.as_bytes()), is_init, "{name}");
        }
        let limits = ["a", "b", "c"].map(|id| Tag::of(OsStr::new(id)).limit());
        assert!(limits.iter().all(|limit| *limit >= 1 << 61 && *limit < 1 << 62), "{limits:?}");
        assert!(limits[0] != limits[1] && limits[1] != limits[2]);
        assert_eq!(InitName::of(Some(Tag::of(OsStr::new("x")))).as_c_str(), c"mi-x", "a short id is taken whole");
    }
}
