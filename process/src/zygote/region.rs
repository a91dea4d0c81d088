//! The memory that a zygote gives to each init: two stacks and the order.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::start_order::OrderHeader;
use crate::sys;

/// An init's stack, and that of its program's process until the exec, in bytes. Pages that are not touched cost nothing.
/// A multiple of the largest page that a kernel has.
const STACK: usize = 128 * 1024;

/// What is known of a region, at the upper end of the init's stack.
#[repr(C, align(64))]
pub(super) struct Region {
    /// Not zero while an init runs in it. The kernel makes it zero at the init's end.
    pub(super) taken: AtomicU32,
    /// Not zero while a program's process runs in it, which may be so for a moment after its init was killed. The kernel makes it zero
    /// at its exec or its end.
    pub(super) starting: AtomicU32,
    /// Room for an order, in bytes.
    room: usize,
    next: *mut Region,
}

impl Region {
    fn is_free(&self) -> bool {
        // In this order: an init sets the second before the kernel makes the first zero.
        self.taken.load(Ordering::Acquire) == 0 && self.starting.load(Ordering::Acquire) == 0
    }
}

/// All regions there are. They are used again, and as many as inits ran at once.
pub(super) struct Regions {
    first: *mut Region,
    /// The size of a page, in bytes.
    page: usize,
}

impl Regions {
    pub(super) const fn new(page: usize) -> Self {
        Self { first: ptr::null_mut(), page }
    }

    /// A free region with that much room for an order.
    pub(super) fn take(&mut self, room: usize) -> sys::Result<*mut Region> {
        let mut region = self.first;
        while !region.is_null() {
            // SAFETY: regions in the list are never unmapped.
            let known = unsafe { &*region };
            if known.room >= room && known.is_free() {
                return Ok(region);
            }
            region = known.next;
        }
        self.add(room)
    }

    fn add(&mut self, room: usize) -> sys::Result<*mut Region> {
        // Whole pages, since nothing less can be let go of.
        let room = room.next_multiple_of(self.page);
        // Below the init's stack, so that running out of it is an end and not another's memory.
        let guard = self.page;
        let start = sys::map(guard + 2 * STACK + room, libc::PROT_READ | libc::PROT_WRITE)?;
        sys::forbid(start.expose_provenance(), guard)?;
        // SAFETY: within what was just mapped, and aligned, since all lengths are multiples of its alignment.
        unsafe {
            let region = start.add(guard + STACK - size_of::<Region>()).cast::<Region>();
            region.write(Region { taken: AtomicU32::new(0), starting: AtomicU32::new(0), room, next: self.first });
            self.first = region;
            Ok(region)
        }
    }
}

/// Where the init's stack begins: it grows downwards from what is known of the region.
pub(super) fn init_stack(region: *mut Region) -> *mut u8 {
    region.cast()
}

/// Where the stack of the program's process begins.
///
/// # Safety
/// It is a region.
pub(super) unsafe fn program_stack(region: *mut Region) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { region.add(1).cast::<u8>().add(STACK) }
}

/// Where the order is.
///
/// # Safety
/// It is a region.
pub(super) unsafe fn order(region: *mut Region) -> *mut OrderHeader {
    // SAFETY: the caller's.
    unsafe { program_stack(region).cast() }
}

/// The memory that is needed until the program runs: its process's stack and the order.
///
/// # Safety
/// It is a region.
pub(super) unsafe fn until_started(region: *mut Region) -> (usize, usize) {
    // SAFETY: the caller's.
    unsafe { (region.add(1).expose_provenance(), STACK + (*region).room) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_used_again_when_it_is_free_and_large_enough() {
        for page in [4096, 16_384, 65_536] {
            with_pages_of(page.max(crate::memory::page_size()));
        }
    }

    /// A kernel with small pages takes multiples of them as well.
    fn with_pages_of(page: usize) {
        let mut regions = Regions::new(page);
        let first = regions.take(100).expect("memory");
        // SAFETY: a region.
        let known = unsafe { &*first };
        assert_eq!(regions.take(page), Ok(first));
        known.taken.store(1, Ordering::Release);
        let second = regions.take(100).expect("memory");
        assert_ne!(second, first);
        known.starting.store(1, Ordering::Release);
        known.taken.store(0, Ordering::Release);
        assert_eq!(regions.take(100), Ok(second), "its program's process is still in the first");
        known.starting.store(0, Ordering::Release);
        let large = regions.take(page + 1).expect("memory");
        assert!(large != first && large != second);
        // SAFETY: a region, of which nothing is used.
        unsafe {
            let (start, bytes) = until_started(large);
            let beginning = large.addr() + size_of::<Region>() - STACK - page;
            assert!(start.wrapping_sub(beginning).is_multiple_of(page) && bytes.is_multiple_of(page));
            assert_eq!(start + bytes, order(large).addr() + 2 * page);
            order(large).cast::<u8>().add(2 * page - 1).write(1);
            sys::forget(start, bytes);
            assert_eq!(order(large).cast::<u8>().add(2 * page - 1).read(), 0);
        }
    }
}
