//! Where the kernel writes the pid of what a zygote makes.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// A word that a zygote shares with this process. The kernel writes the pid of an init there before that init begins to run,
/// whatever becomes of the zygote. So of a zygote that is dead it can be said what it has made, and of a child whether it is an init
/// that is about to be entered.
#[derive(Debug)]
pub(crate) struct Newborn(NonNull<AtomicU32>);

// SAFETY: it is memory that lives as long as this, of which only an atomic word is used.
unsafe impl Send for Newborn {}
// SAFETY: as above.
unsafe impl Sync for Newborn {}

impl Newborn {
    const BYTES: usize = size_of::<AtomicU32>();

    pub(super) fn new() -> io::Result<Self> {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping touches none that there is. The kernel rounds up to its pages.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, rights, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A zygote that is being killed could not have the page read back. Where it can't be kept there, it is used too often to be taken.
        // SAFETY: just mapped.
        unsafe { libc::mlock(mapped, Self::BYTES) };
        NonNull::new(mapped.cast()).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// This process was made.
    #[cfg(test)]
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let newborn = Self::new()?;
        newborn.word().store(pid, Ordering::Release);
        Ok(newborn)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped for as long as this is there; zeroes are a valid word.
        unsafe { self.0.as_ref() }
    }

    /// For the kernel, and for a zygote, which has it in the same place.
    pub(super) fn place(&self) -> *mut u32 {
        self.word().as_ptr()
    }

    /// Before an order, while the zygote makes nothing.
    pub(super) fn reset(&self) {
        self.word().store(0, Ordering::Release);
    }

    /// The pid of what was made since.
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.word().load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more here; a zygote has its own mapping.
        unsafe { sys::unmap(self.0.as_ptr().expose_provenance(), Self::BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_elsewhere_is_read_here() {
        let newborn = Newborn::new().expect("memory");
        assert_eq!(newborn.pid(), None);
        // SAFETY: the word, as the kernel writes it.
        unsafe { newborn.place().write(7) };
        assert_eq!(newborn.pid(), Some(7));
        newborn.reset();
        assert_eq!(newborn.pid(), None);
    }
}
