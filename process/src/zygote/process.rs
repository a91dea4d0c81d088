//! The zygote's own process. No allocation, no lock, no panic, and nothing of the C library.

use std::ffi::CStr;
use std::mem::{self, MaybeUninit};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::Ordering;

use super::memory::Needless;
use super::region::{self, Region, Regions};
use super::{ATTACHED, Attachment};
use crate::exec_stage::close_between;
use crate::init::Init;
use crate::oom::{OomScores, TreeScores};
use crate::ownership::Maps;
use crate::start_order::{LONGEST, OrderHeader, TreeOrder, stage};
use crate::sys::{self, Errno};

/// The command line of the zygote and of every init, as `ps` shows it.
const TITLE: &[u8] = b"muster-init";
/// The zygote's own name, which an init has too until it takes its own.
pub(crate) const NAME: &CStr = c"muster-zygote";

/// Where its socket is. Below are the standard descriptors, which lead nowhere, and above is what came with an order.
const SOCKET: RawFd = 3;

/// All that the process has.
pub(super) struct ZygoteProcess {
    pub(super) socket: RawFd,
    pub(super) parent: libc::pid_t,
    pub(super) maps: Maps,
    /// Where the command line is in memory, and its length.
    pub(super) title: Option<(usize, usize)>,
    pub(super) needless: Needless,
    /// The size of a page.
    pub(super) page: usize,
    pub(super) oom: OomScores,
    /// What it takes over: the priority of its parent's main thread, which is what people mean by that of a process.
    pub(super) priority: i32,
    pub(super) role: Role,
}

/// What such a process is for.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// It makes inits.
    Zygote {
        /// Where the kernel tells this process's parent of each.
        newborn: *mut u32,
    },
    /// It is to be the init itself of the one order that it gets, whose descriptors it has from the fork.
    Init { attached: [RawFd; ATTACHED] },
}

impl ZygoteProcess {
    /// Does what it is for.
    ///
    /// # Safety
    /// Only on the child's side of a fork, with all signals blocked.
    pub(super) unsafe fn run(&self) -> ! {
        // SAFETY: as this function.
        unsafe {
            match self.role {
                Role::Zygote { newborn } => self.make_inits(newborn),
                Role::Init { attached } => self.become_init(attached),
            }
        }
    }

    /// Waits for the order as a zygote would, and carries it out.
    unsafe fn become_init(&self, attached: [RawFd; ATTACHED]) -> ! {
        let [stdin, stdout, stderr, report, lifeline] = attached;
        close_all_but([stdin, stdout, stderr, report, lifeline, self.socket]);
        sys::reset_signal_actions();
        sys::set_name(NAME);
        sys::set_priority(self.priority);
        let scores = self.oom.take();
        let mut regions = Regions::new(self.page);
        // SAFETY: as this function; nothing here is on the heap.
        unsafe {
            self.let_go_of_memory();
            // At the end of the socket there is nobody who would want to hear.
            let Some((region, header)) = receive_alone(self.socket, &mut regions) else { sys::exit(1) };
            let Some(tree) = header.tree else { sys::exit(1) };
            sys::close(self.socket);
            self.init(region, tree, attached, scores, -1).run()
        }
    }

    /// Makes inits until nobody can order one any more.
    unsafe fn make_inits(&self, newborn: *mut u32) -> ! {
        // First of all: a copy of the data folder's lock, or of a tree's lifeline, would outlive this process's parent.
        self.keep_the_socket_alone();
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize);
        if sys::parent_pid() != self.parent {
            sys::exit(0);
        }
        sys::begin_session();
        sys::reset_signal_actions();
        sys::set_name(NAME);
        sys::set_priority(self.priority);
        let mut making = Making { regions: Regions::new(self.page), newborn, scores: self.oom.take() };
        // SAFETY: as this function; nothing here is on the heap. The word is shared with the parent. It is touched so that it is there
        // whenever the kernel writes it.
        unsafe {
            self.let_go_of_memory();
            newborn.write_volatile(newborn.read_volatile());
        }
        // SAFETY: as this function.
        while let Some(answer) = unsafe { self.serve(&mut making) } {
            let answer = answer.unwrap_or_else(|error| -error.into_raw());
            if sys::send(SOCKET, &answer.to_ne_bytes()).is_err() {
                break;
            }
        }
        sys::exit(0)
    }

    fn keep_the_socket_alone(&self) {
        if self.socket != SOCKET && sys::duplicate(self.socket, SOCKET, libc::O_CLOEXEC).is_err() {
            sys::exit(1);
        }
        close_between(SOCKET + 1, RawFd::MAX);
        let Ok(null) = sys::open_at(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR) else { sys::exit(1) };
        let lead_nowhere = |fd| fd == null || sys::duplicate(null, fd, libc::O_CLOEXEC).is_ok();
        // What comes with an order must not be one of these.
        if !(0..SOCKET).all(lead_nowhere) {
            sys::exit(1);
        }
        if null > SOCKET {
            sys::close(null);
        }
    }

    unsafe fn let_go_of_memory(&self) {
        // SAFETY: nobody is left who uses it. The area of the command line is writable.
        unsafe {
            self.needless.ranges().for_each(|(start, bytes)| sys::unmap(start, bytes));
            if let Some((start, bytes)) = self.needless.first_stack() {
                sys::forget(start, bytes);
            }
            if let Some((start, bytes)) = self.title {
                let area = ptr::with_exposed_provenance_mut::<u8>(start);
                ptr::write_bytes(area, 0, bytes);
                ptr::copy_nonoverlapping(TITLE.as_ptr(), area, TITLE.len().min(bytes.saturating_sub(1)));
            }
        }
    }

    /// Makes one init, and says its pid or why there is none; `None` at the end of all orders.
    unsafe fn serve(&self, making: &mut Making) -> Option<sys::Result<libc::pid_t>> {
        // SAFETY: as this function.
        unsafe {
            let (header, attached) = receive()?;
            let rest = header.length - size_of::<OrderHeader>();
            let attached = match attached {
                Ok(attached) => attached,
                Err(error) => return drain(rest).map(|()| Err(error)),
            };
            let region = match making.regions.take(header.length) {
                Ok(region) => region,
                Err(error) => {
                    attached.into_iter().for_each(sys::close);
                    return drain(rest).map(|()| Err(error));
                }
            };
            read_rest(SOCKET, header, region)?;
            let made = self.make(making, region, header.tree?, attached);
            attached.into_iter().for_each(sys::close);
            Some(made)
        }
    }

    unsafe fn make(
        &self,
        making: &Making,
        region: *mut Region,
        tree: TreeOrder,
        attached: [RawFd; ATTACHED],
    ) -> sys::Result<libc::pid_t> {
        let shares = tree.means.shares_memory();
        // SAFETY: a region that nobody else has, with a whole order in it. The init's argument is at the top of its stack.
        unsafe {
            let init = self.init(region, tree, attached, making.scores, SOCKET);
            let argument = region::init_stack(region).sub(size_of::<Init>().next_multiple_of(64));
            argument.cast::<Init>().write(init);
            let taken = &raw const (*region).taken;
            (*taken).store(u32::from(shares), Ordering::Release);
            let sharing = if shares { libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID } else { 0 };
            let telling = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
            let flags = telling | tree.means.clone_flags() | sharing;
            let told = [making.newborn, taken.cast_mut().cast()];
            let made = sys::clone_onto(flags, argument, told, begin, argument);
            if made.is_err() {
                (*taken).store(0, Ordering::Release);
            }
            if !shares || made.is_err() {
                // The init has a copy, or there is none: what a program is told is nobody else's to read.
                let (start, bytes) = region::until_started(region);
                sys::forget(start, bytes);
            }
            made
        }
    }

    /// The init of an order that is in this region.
    unsafe fn init(
        &self,
        region: *mut Region,
        tree: TreeOrder,
        [stdin, stdout, stderr, report, lifeline]: [RawFd; ATTACHED],
        scores: TreeScores,
        last_foreign: RawFd,
    ) -> Init {
        // SAFETY: the caller's.
        unsafe {
            Init {
                stage: stage(region::order(region), [stdin, stdout, stderr]),
                tree,
                maps: self.maps,
                scores,
                lifeline,
                report,
                last_foreign,
                program_stack: region::program_stack(region),
                starting: &raw const (*region).starting,
                until_started: region::until_started(region),
            }
        }
    }
}

/// What a zygote needs to make inits.
struct Making {
    regions: Regions,
    /// Where the kernel writes the pid of each.
    newborn: *mut u32,
    scores: TreeScores,
}

unsafe extern "C" fn begin(init: *mut u8) -> ! {
    // SAFETY: what `make` gave, in a process that was just made.
    unsafe { (*init.cast::<Init>()).run() }
}

/// The next order's header, and what came with it, or an error where there was no room for all of that; `None` at the end.
unsafe fn receive() -> Option<(OrderHeader, sys::Result<[RawFd; ATTACHED]>)> {
    let (mut header, mut control) = (MaybeUninit::<OrderHeader>::uninit(), Attachment([0; 64]));
    // SAFETY: pointers to locals, with their lengths. Zeroes are a valid header of a message. The bytes are one of ours.
    unsafe {
        let mut part = libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: size_of::<OrderHeader>() };
        let mut message: libc::msghdr = mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), Attachment::ROOM as _);
        let read = sys::receive(SOCKET, &mut message).ok().filter(|read| *read > 0)?;
        read_exactly(SOCKET, header.as_mut_ptr().cast::<u8>().add(read), size_of::<OrderHeader>() - read)?;
        let header = header.assume_init();
        is_order(&header).then(|| (header, attached_to(&message)))
    }
}

/// A whole order to which nothing is attached, in a region of its own.
unsafe fn receive_alone(socket: RawFd, regions: &mut Regions) -> Option<(*mut Region, OrderHeader)> {
    let mut header = MaybeUninit::<OrderHeader>::uninit();
    // SAFETY: room for a header. The bytes are one of ours.
    unsafe {
        read_exactly(socket, header.as_mut_ptr().cast(), size_of::<OrderHeader>())?;
        let header = header.assume_init();
        let region = is_order(&header).then(|| regions.take(header.length).ok())??;
        read_rest(socket, header, region).map(|()| (region, header))
    }
}

const fn is_order(header: &OrderHeader) -> bool {
    size_of::<OrderHeader>() <= header.length && header.length <= LONGEST
}

/// Puts an order into its region: the header, and what is still to be read.
unsafe fn read_rest(socket: RawFd, header: OrderHeader, region: *mut Region) -> Option<()> {
    // SAFETY: the caller's: there is room for as much as the header says.
    unsafe {
        let order = region::order(region);
        order.write(header);
        read_exactly(socket, order.add(1).cast(), header.length - size_of::<OrderHeader>())
    }
}

/// Closes every descriptor but these.
fn close_all_but(mut kept: [RawFd; ATTACHED + 1]) {
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        close_between(first, fd);
        first = fd + 1;
    }
    close_between(first, RawFd::MAX);
}

/// The descriptors that came with a message: all, or none, since the kernel leaves out those for which a process has no room.
///
/// # Safety
/// The message was received, and what it points to is there.
unsafe fn attached_to(message: &libc::msghdr) -> sys::Result<[RawFd; ATTACHED]> {
    // SAFETY: the caller's. A message of this type holds as many descriptors as its length says.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(message);
        if first.is_null() || (*first).cmsg_level != libc::SOL_SOCKET || (*first).cmsg_type != libc::SCM_RIGHTS {
            return Err(Errno::EMFILE);
        }
        let came = ((*first).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
        let descriptors = libc::CMSG_DATA(first).cast::<RawFd>();
        if came == ATTACHED {
            return Ok(descriptors.cast::<[RawFd; ATTACHED]>().read_unaligned());
        }
        (0..came).for_each(|index| sys::close(descriptors.add(index).read_unaligned()));
        Err(Errno::EMFILE)
    }
}

/// Reads so many bytes to this place, which has room for them; `None` at the end.
unsafe fn read_exactly(socket: RawFd, mut place: *mut u8, mut bytes: usize) -> Option<()> {
    while bytes > 0 {
        // SAFETY: the caller's.
        unsafe {
            match sys::read_to(socket, place, bytes) {
                Ok(0) => return None,
                Ok(read) => (place, bytes) = (place.add(read), bytes - read),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
    Some(())
}

/// Reads so many bytes for nobody.
fn drain(mut bytes: usize) -> Option<()> {
    let mut buffer = [0u8; 4096];
    while bytes > 0 {
        let piece = buffer.get_mut(..bytes.min(4096))?;
        bytes -= sys::read(SOCKET, piece).ok().filter(|read| *read > 0)?;
    }
    Some(())
}
