//! System calls without the C library, for what runs between a fork and an exec.
//!
//! The processes that a [zygote](crate::zygote) makes run in one memory. The C library has one `errno` in it, so that one of them
//! would read another's, and locks that a thread held at the fork. So past a fork nothing of the C library is called: each call
//! here goes straight to the kernel and returns its own error.

use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::RawFd;
use std::ptr;

pub(crate) use syscalls::Errno;
use syscalls::{Sysno, syscall};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("`clone_onto` needs to be written for this processor");

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// How many bytes the kernel's set of signals has.
const SIGNAL_SET: usize = 8;
/// One past the highest signal.
const SIGNALS: usize = 65;

/// A set of signals, as the kernel has it.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(u64);

impl SignalMask {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn of(signals: [c_int; 3]) -> Self {
        let [a, b, c] = signals;
        Self(1 << (a - 1) | 1 << (b - 1) | 1 << (c - 1))
    }
}

/// An integer as the kernel takes it.
const fn word(value: c_int) -> usize {
    value as isize as usize
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: no pointers. Whose descriptor it is, the caller knows.
    let _ = unsafe { syscall!(Sysno::close, word(fd)) };
}

/// Closes the descriptors from `first` on, up to and with `last`. Fails on a kernel that can't.
pub(crate) fn close_range(first: u32, last: u32, flags: u32) -> Result<usize> {
    // SAFETY: as `close`.
    unsafe { syscall!(Sysno::close_range, first as usize, last as usize, flags as usize) }
}

pub(crate) fn close_on_exec(fd: RawFd) {
    // SAFETY: no pointers.
    let _ = unsafe { syscall!(Sysno::fcntl, word(fd), word(libc::F_SETFD), word(libc::FD_CLOEXEC)) };
}

/// Makes `to` mean what `from` means; they differ. The flag is `O_CLOEXEC` or nothing.
pub(crate) fn duplicate(from: RawFd, to: RawFd, flag: c_int) -> Result<usize> {
    // SAFETY: no pointers.
    unsafe { syscall!(Sysno::dup3, word(from), word(to), word(flag)) }
}

/// Only for options whose value is no pointer.
pub(crate) fn prctl(option: c_int, value: usize) -> Result<usize> {
    // SAFETY: no pointers.
    unsafe { syscall!(Sysno::prctl, word(option), value, 0, 0, 0) }
}

pub(crate) fn set_name(name: &CStr) {
    // SAFETY: a string with its NUL.
    let _ = unsafe { syscall!(Sysno::prctl, word(libc::PR_SET_NAME), name.as_ptr(), 0, 0, 0) };
}

pub(crate) fn own_pid() -> libc::pid_t {
    // SAFETY: no pointers.
    unsafe { syscall!(Sysno::getpid) }.map_or(-1, |pid| pid as libc::pid_t)
}

pub(crate) fn parent_pid() -> libc::pid_t {
    // SAFETY: no pointers.
    unsafe { syscall!(Sysno::getppid) }.map_or(-1, |pid| pid as libc::pid_t)
}

/// Takes a priority, as `nice` counts, where this process may.
pub(crate) fn set_priority(priority: c_int) {
    // SAFETY: no pointers.
    let _ = unsafe { syscall!(Sysno::setpriority, word(libc::PRIO_PROCESS as c_int), 0, word(priority)) };
}

pub(crate) fn begin_session() {
    // SAFETY: no pointers.
    let _ = unsafe { syscall!(Sysno::setsid) };
}

pub(crate) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: ends this process.
        let _ = unsafe { syscall!(Sysno::exit_group, word(code)) };
    }
}

pub(crate) fn kill(pid: libc::pid_t, signal: c_int) {
    // SAFETY: no pointers. Whose pid it is, the caller knows.
    let _ = unsafe { syscall!(Sysno::kill, word(pid), word(signal)) };
}

pub(crate) fn pidfd_open(pid: u32) -> Result<RawFd> {
    // SAFETY: no pointers.
    unsafe { syscall!(Sysno::pidfd_open, pid as usize, 0) }.map(|fd| fd as RawFd)
}

pub(crate) fn pidfd_signal(pidfd: RawFd, signal: c_int) {
    // SAFETY: no siginfo.
    let _ = unsafe { syscall!(Sysno::pidfd_send_signal, word(pidfd), word(signal), 0, 0) };
}

/// A child of any kind that has ended, and its raw status; `None` where none has, an error where there is no child.
pub(crate) fn reap() -> Result<Option<(libc::pid_t, c_int)>> {
    let mut status: c_int = 0;
    // __WALL: also those that a program made with another signal than SIGCHLD.
    let how = libc::WNOHANG | libc::__WALL;
    // SAFETY: a valid int to fill, and no usage.
    let pid = unsafe { syscall!(Sysno::wait4, word(-1), &raw mut status, word(how), 0) }?;
    Ok((pid != 0).then_some((pid as libc::pid_t, status)))
}

/// Sends without a signal where nobody listens.
pub(crate) fn send(socket: RawFd, message: &[u8]) -> Result<usize> {
    // SAFETY: a buffer of that length, and no address.
    unsafe { syscall!(Sysno::sendto, word(socket), message.as_ptr(), message.len(), word(libc::MSG_NOSIGNAL), 0, 0) }
}

/// Waits for these, for so long at most; for ever without a bound.
pub(crate) fn poll(polls: &mut [libc::pollfd], bound: Option<libc::timespec>) -> Result<usize> {
    let bound = bound.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: valid pollfds, a valid time or none, no set of signals.
    unsafe { syscall!(Sysno::ppoll, polls.as_mut_ptr(), polls.len(), bound, 0, SIGNAL_SET) }
}

/// Whether the other end of a socket is closed.
pub(crate) fn is_closed(socket: RawFd) -> bool {
    let mut polls = [libc::pollfd { fd: socket, events: libc::POLLRDHUP, revents: 0 }];
    poll(&mut polls, Some(libc::timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Reads to this place, which has room for so many bytes.
///
/// # Safety
/// It has.
pub(crate) unsafe fn read_to(fd: RawFd, place: *mut u8, room: usize) -> Result<usize> {
    // SAFETY: the caller's.
    unsafe { syscall!(Sysno::read, word(fd), place, room) }
}

pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: a buffer of that length.
    unsafe { read_to(fd, buffer.as_mut_ptr(), buffer.len()) }
}

/// Opens a file, relative to an open folder where the path is relative.
pub(crate) fn open_at(folder: RawFd, path: &CStr, flags: c_int) -> Result<RawFd> {
    // SAFETY: a path with its NUL.
    let opened = unsafe { syscall!(Sysno::openat, word(folder), path.as_ptr(), word(flags | libc::O_CLOEXEC), 0) };
    opened.map(|fd| fd as RawFd)
}

/// Writes a whole small file.
pub(crate) fn write_file(path: &CStr, text: &[u8]) -> Result<()> {
    let file = open_at(libc::AT_FDCWD, path, libc::O_WRONLY)?;
    let written = write(file, text);
    close(file);
    if written? == text.len() { Ok(()) } else { Err(Errno::EIO) }
}

pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: a buffer of that length.
    unsafe { syscall!(Sysno::write, word(fd), bytes.as_ptr(), bytes.len()) }
}

/// Reads names in an open folder, as `getdents64` packs them.
pub(crate) fn read_folder(folder: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: a buffer of that length.
    unsafe { syscall!(Sysno::getdents64, word(folder), buffer.as_mut_ptr(), buffer.len()) }
}

pub(crate) fn mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> Result<usize> {
    let text = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: strings with their NULs, and no data.
    unsafe { syscall!(Sysno::mount, text(source), target.as_ptr(), text(kind), flags as usize, 0) }
}

/// A descriptor on which these signals are read: they are blocked.
pub(crate) fn watch(signals: SignalMask) -> Result<RawFd> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: a set of that size.
    unsafe { syscall!(Sysno::signalfd4, word(-1), &raw const signals.0, SIGNAL_SET, word(flags)) }.map(|fd| fd as RawFd)
}

/// Blocks these signals and no others.
pub(crate) fn block(signals: SignalMask) {
    // SAFETY: a set of that size; the old one is not asked for.
    let _ = unsafe { syscall!(Sysno::rt_sigprocmask, word(libc::SIG_SETMASK), &raw const signals.0, 0, SIGNAL_SET) };
}

/// Gives every signal its default action. Handlers of a process must not run past a fork of it, and what it ignores (Rust ignores
/// SIGPIPE) would stay ignored over exec, also the two signals that the C library hides.
pub(crate) fn reset_signal_actions() {
    // All zeroes is the default action with nothing masked.
    let default = [0u64; 8];
    for signal in 1..SIGNALS {
        // SAFETY: a buffer larger than the kernel's struct. Where there is no other action it fails, which is right too.
        let _ = unsafe { syscall!(Sysno::rt_sigaction, signal, default.as_ptr(), 0, SIGNAL_SET) };
    }
}

pub(crate) fn limit(resource: libc::__rlimit_resource_t) -> Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid struct to fill, and none to read.
    unsafe { syscall!(Sysno::prlimit64, 0, resource as usize, 0, &raw mut limit) }.map(|_| limit)
}

pub(crate) fn set_limit(resource: libc::__rlimit_resource_t, limit: libc::rlimit) -> Result<usize> {
    // SAFETY: a valid struct to read, and none to fill.
    unsafe { syscall!(Sysno::prlimit64, 0, resource as usize, &raw const limit, 0) }
}

pub(crate) fn enter_folder(path: *const c_char) -> Result<usize> {
    // SAFETY: an address that can't be read is an error.
    unsafe { syscall!(Sysno::chdir, path) }
}

/// Returns only where it fails.
///
/// # Safety
/// The lists end with a null.
pub(crate) unsafe fn execute(
    path: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
) -> Result<Infallible> {
    // SAFETY: the caller's. What it returns is an error.
    match unsafe { syscall!(Sysno::execve, path, argv, env) } {
        Ok(_) => exit(127),
        Err(error) => Err(error),
    }
}

/// Fresh anonymous memory, zeroed where it is touched first.
pub(crate) fn map(bytes: usize, rights: c_int) -> Result<*mut u8> {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping touches none that there is.
    let mapped = unsafe { syscall!(Sysno::mmap, 0, bytes, word(rights), word(kind), word(-1), 0) }?;
    Ok(ptr::with_exposed_provenance_mut(mapped))
}

/// # Safety
/// Nothing in this range is used any more.
pub(crate) unsafe fn unmap(start: usize, bytes: usize) {
    // SAFETY: the caller's.
    let _ = unsafe { syscall!(Sysno::munmap, start, bytes) };
}

/// # Safety
/// The range is private memory, of which nobody relies on what it holds.
pub(crate) unsafe fn forget(start: usize, bytes: usize) {
    // SAFETY: the caller's.
    let _ = unsafe { syscall!(Sysno::madvise, start, bytes, word(libc::MADV_DONTNEED)) };
}

/// Takes all rights away from a range.
pub(crate) fn forbid(start: usize, bytes: usize) -> Result<usize> {
    // SAFETY: whoever touches it is ended.
    unsafe { syscall!(Sysno::mprotect, start, bytes, word(libc::PROT_NONE)) }
}

/// Receives a message with what is attached to it.
///
/// # Safety
/// The header's pointers are to as much room as it says.
pub(crate) unsafe fn receive(socket: RawFd, header: &mut libc::msghdr) -> Result<usize> {
    // SAFETY: the caller's.
    unsafe { syscall!(Sysno::recvmsg, word(socket), ptr::from_mut(header), word(libc::MSG_CMSG_CLOEXEC)) }
}

/// Makes a process that begins on a stack of its own, in a function that never returns. Returns its pid. Where the flags say so, the
/// kernel writes that to the first word before the process begins, and zero to the second when it lets go of its memory.
///
/// # Safety
/// The function does only what is safe in such a process, and the stack is its own, where it shares this memory.
pub(crate) unsafe fn clone_onto(
    flags: c_int,
    stack_top: *mut u8,
    [told, over]: [*mut u32; 2],
    begin: unsafe extern "C" fn(*mut u8) -> !,
    argument: *mut u8,
) -> Result<libc::pid_t> {
    let made: isize;
    // SAFETY: the caller's. To the parent it is a system call like any other. The child is on the other stack from its first
    // instruction on, and never comes back. The order of the kernel's last two arguments is x86's own.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") Sysno::clone as isize => made,
            in("rdi") flags as isize,
            in("rsi") stack_top,
            in("rdx") told,
            in("r10") over,
            in("r8") 0isize,
            in("r12") argument,
            in("r13") begin,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            inlateout("x0") flags as isize => made,
            in("x1") stack_top,
            in("x2") told,
            in("x3") 0isize,
            in("x4") over,
            in("x8") Sysno::clone as isize,
            in("x9") argument,
            in("x10") begin,
        );
    }
    Errno::from_ret(made as usize).map(|pid| pid as libc::pid_t)
}
