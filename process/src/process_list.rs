//! Every process with its parent, read from `/proc`, and what is done with it.
//!
//! A fork of a process with threads may not allocate, take a lock or panic, and an init without a namespace must find
//! its descendants. So this file does neither: it reads into memory that it maps itself, and calls nothing of the C library.

use core::ffi::CStr;
use std::io::{self, Read as _};
use std::os::fd::RawFd;

use crate::sys::{self, Errno};

/// Processes that a list of processes can hold, above the kernel's default bound of pids. It is address space, used as needed.
const CAPACITY: usize = 1 << 17;
const BYTES: usize = CAPACITY * size_of::<ProcessEntry>();

/// One process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessEntry {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) start_time: u64,
    /// Its state's letter.
    pub(crate) state: u8,
    mark: bool,
}

/// What is used of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) parent: u32,
    /// User and system time together, in clock ticks.
    pub(crate) cpu: u64,
    /// The same of the children that it has waited for, and of theirs.
    pub(crate) waited: u64,
    /// In clock ticks since boot.
    pub(crate) start_time: u64,
    /// Resident memory in pages.
    pub(crate) rss: u64,
}

impl Stat {
    /// Reads it of a process; `None` where there is none.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::read(pid).ok()?
    }

    /// The same, with the error of the file; `None` where it is not understood.
    pub(crate) fn read(pid: u32) -> io::Result<Option<Self>> {
        // The kernel gives the whole of it with one read: it is some three hundred characters, and a kilobyte at the most.
        let mut text = [0; 1024];
        let length = std::fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
        Ok(text.get(..length).and_then(Self::parse))
    }

    /// Parses the file; `None` where it is no such file. A process may have ") " in its name, so the last one counts.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text.get(name_end + 2..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let parent = number(fields.next()?)? as u32;
        // Here follow fields 5 to 13 of the manual page, then utime (14), stime (15), cutime (16), cstime (17), at 22 the start time, and at 24 the resident pages.
        let user = number(fields.nth(9)?)?;
        let system = number(fields.next()?)?;
        let (waited_user, waited_system) = (number(fields.next()?)?, number(fields.next()?)?);
        let start_time = number(fields.nth(4)?)?;
        let rss = number(fields.nth(1)?)?;
        let (cpu, waited) = (user.wrapping_add(system), waited_user.wrapping_add(waited_system));
        Some(Self { state, parent, cpu, waited, start_time, rss })
    }
}

/// An unsigned decimal number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u64::from(*digit - b'0')))
    })
}

/// The processes of one pass over `/proc`, in the order of their pids.
pub(crate) struct ProcessList {
    entries: &'static mut [ProcessEntry],
    count: usize,
}

impl ProcessList {
    /// Reads them all.
    pub(crate) fn take() -> io::Result<Self> {
        let memory = sys::map(BYTES, libc::PROT_READ | libc::PROT_WRITE).map_err(error)?;
        // SAFETY: zeroed memory of that size, aligned to a page, is a slice of entries; it lives until the drop.
        let entries = unsafe { std::slice::from_raw_parts_mut(memory.cast::<ProcessEntry>(), CAPACITY) };
        let mut processes = Self { entries, count: 0 };
        processes.read()?;
        Ok(processes)
    }

    fn read(&mut self) -> io::Result<()> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let folder = sys::open_at(libc::AT_FDCWD, c"/proc", flags).map_err(error)?;
        let mut buffer = [0u8; 8192];
        loop {
            let read = sys::read_folder(folder, &mut buffer).unwrap_or(0);
            match buffer.get(..read) {
                Some(names) if !names.is_empty() => self.read_names(folder, names),
                _ => break,
            }
        }
        sys::close(folder);
        if let Some(read) = self.entries.get_mut(..self.count) {
            read.sort_unstable_by_key(|entry| entry.pid);
        }
        Ok(())
    }

    /// Adds the processes of a buffer of `getdents64`: inode (8), offset (8), length (2), type (1), name.
    fn read_names(&mut self, folder: i32, mut names: &[u8]) {
        while let Some(length) = names.get(16..18).map(|bytes| usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]))) {
            let name = names.get(19..).and_then(|name| CStr::from_bytes_until_nul(name).ok());
            if let Some(pid) = name.and_then(|name| number(name.to_bytes())) {
                self.add(folder, pid as u32);
            }
            match names.get(length..) {
                Some(rest) if length > 0 => names = rest,
                _ => return,
            }
        }
    }

    fn add(&mut self, folder: i32, pid: u32) {
        let Some(stat) = read_stat(Some(folder), pid) else { return };
        if let Some(entry) = self.entries.get_mut(self.count) {
            *entry =
                ProcessEntry { pid, parent: stat.parent, start_time: stat.start_time, state: stat.state, mark: false };
            self.count += 1;
        }
    }

    /// Marks `root` and all its descendants.
    pub(crate) fn mark_tree(&mut self, root: u32) {
        if let Some(entry) = self.entry(root) {
            entry.mark = true;
        }
        self.spread();
    }

    /// Marks all descendants of `root`, but not those children of it that are spared, nor what descends from them.
    pub(crate) fn mark_descendants(&mut self, root: u32, is_spared: impl Fn(u32) -> bool) {
        for entry in self.entries.iter_mut().take(self.count) {
            if entry.parent == root && !is_spared(entry.pid) {
                entry.mark = true;
            }
        }
        self.spread();
    }

    /// Children usually have higher pids than their parents, so one pass is nearly always enough.
    fn spread(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for index in 0..self.count {
                let Some(ProcessEntry { parent, mark: false, .. }) = self.entries.get(index).copied() else { continue };
                if self.entry(parent).is_some_and(|parent| parent.mark) {
                    changed = true;
                    if let Some(entry) = self.entries.get_mut(index) {
                        entry.mark = true;
                    }
                }
            }
        }
    }

    fn entry(&mut self, pid: u32) -> Option<&mut ProcessEntry> {
        let read = self.entries.get_mut(..self.count)?;
        let index = read.binary_search_by_key(&pid, |entry| entry.pid).ok()?;
        read.get_mut(index)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = ProcessEntry> {
        self.entries.iter().take(self.count).copied()
    }

    /// The marked ones.
    pub(crate) fn marked(&self) -> impl Iterator<Item = ProcessEntry> {
        self.all().filter(|entry| entry.mark)
    }

    /// Sends a signal to the marked ones.
    pub(crate) fn strike(&self, signal: libc::c_int) {
        self.marked().for_each(|entry| strike(entry, signal));
    }
}

impl Drop for ProcessList {
    fn drop(&mut self) {
        // SAFETY: mapped in `take` with this size, and no reference to it is left.
        unsafe { sys::unmap(self.entries.as_mut_ptr().expose_provenance(), BYTES) };
    }
}

/// Stops all descendants of this process but the spared children's, then kills what descends from it by then: a stopped
/// process forks no more, so a few passes are enough for any bomb.
pub(crate) fn kill_descendants(root: u32, is_spared: impl Fn(u32) -> bool) {
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        if let Ok(mut processes) = ProcessList::take() {
            processes.mark_descendants(root, &is_spared);
            processes.strike(signal);
        }
    }
}

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.into_raw())
}

/// Sends a signal to the process of a list of processes, and to no other that has its pid by now: the descriptor is opened first,
/// and the start time compared afterwards.
fn strike(entry: ProcessEntry, signal: libc::c_int) {
    let Ok(pidfd) = sys::pidfd_open(entry.pid) else { return };
    if read_stat(None, entry.pid).is_some_and(|stat| stat.start_time == entry.start_time) {
        sys::pidfd_signal(pidfd, signal);
    }
    sys::close(pidfd);
}

/// Reads one process's stat, relative to an open `/proc` where there is one.
fn read_stat(folder: Option<RawFd>, pid: u32) -> Option<Stat> {
    let mut path = [0u8; 32];
    write_path(&mut path, if folder.is_none() { b"/proc/" } else { b"" }, pid)?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let file = sys::open_at(folder.unwrap_or(libc::AT_FDCWD), path, libc::O_RDONLY).ok()?;
    let mut text = [0u8; 512];
    let read = sys::read(file, &mut text);
    sys::close(file);
    Stat::parse(text.get(..read.ok()?)?)
}

/// Writes `PREFIX` `PID` `/stat`.
fn write_path(path: &mut [u8; 32], prefix: &[u8], pid: u32) -> Option<()> {
    let mut digits = [0u8; 10];
    let (mut start, mut rest) = (digits.len(), pid);
    while rest > 0 || start == digits.len() {
        start = start.checked_sub(1)?;
        *digits.get_mut(start)? = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let bytes = prefix.iter().chain(digits.get(start..)?).chain(b"/stat");
    path.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name() {
        let line =
            b"42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 11 22 5 6 20 0 1 0 12345 1000 20 18446744073709551615";
        assert_eq!(
            Stat::parse(line),
            Some(Stat { state: b'S', parent: 7, cpu: 33, waited: 11, start_time: 12345, rss: 20 })
        );
        assert_eq!(Stat::parse(b"42 (a"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn a_path_is_written_without_allocating() {
        for (pid, expected) in [(0, "/proc/0/stat"), (7, "/proc/7/stat"), (u32::MAX, "/proc/4294967295/stat")] {
            let mut path = [0u8; 32];
            assert_eq!(write_path(&mut path, b"/proc/", pid), Some(()));
            assert_eq!(CStr::from_bytes_until_nul(&path).expect("a string").to_str(), Ok(expected));
        }
    }

    #[test]
    fn this_process_is_listed_below_its_parent() {
        let mut processes = ProcessList::take().expect("a census");
        let own = std::process::id();
        processes.mark_descendants(std::os::unix::process::parent_id(), |_| false);
        assert!(processes.marked().any(|entry| entry.pid == own));
        let mut spared = ProcessList::take().expect("a census");
        spared.mark_descendants(std::os::unix::process::parent_id(), |pid| pid == own);
        assert!(!spared.marked().any(|entry| entry.pid == own));
    }
}
