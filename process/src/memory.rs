//! Memory that the allocator keeps.

/// Gives the pages that nothing uses back to the system. Without this glibc keeps what lies between things that are still
/// in use, for as long as the process runs. It takes some milliseconds per 100 MiB.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The size of a page, in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: it takes no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
        .ok()
        .filter(|size| size.is_power_of_two())
        .unwrap_or(65_536)
}

/// Lets all threads of this process share one heap. glibc gives each thread one of its own, which costs a process that has a thread
/// for a moment some calls and, from then on, some pages. Nor does it keep small pieces apart for their next use, beyond those of
/// each thread: with such pieces it goes through all of them whenever a large one is freed, as with each heartbeat. To be called before
/// there are threads.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, and no other thread uses the allocator yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MXFAST, 0);
    }
}
