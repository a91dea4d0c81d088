//! The init of a tree: a fork of this process that never execs. No allocation, no lock, no panic.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use crate::exec_stage::{ExecStage, close_range, fail, reset_signal_handlers};
use crate::fork::{ForkSide, clone_process};
use crate::ownership::{Maps, Means};
use crate::process_list::{ProcessList, kill_descendants};
use crate::start_report::StartStep;
use crate::tag::{InitName, take_limit};

/// The init's exit code that says: I have no child left, and so there is nobody left of the tree.
pub(crate) const PROVEN: i32 = 0;

/// The command line of every init, as `ps` shows it.
const INIT_TITLE: &CStr = c"muster-init";

/// For so long an init whose owner is dead is left to its work: it knows every descendant, ends when none is left, and
/// does so even if whoever looks on is killed.
pub(crate) const PATIENCE_WITH_INITS: Duration = Duration::from_secs(1);

/// How often a tree that does not die is struck again, in nanoseconds.
const STRIKE_AGAIN: libc::c_long = 20_000_000;

/// What an init needs, prepared before the fork.
pub(crate) struct Init<'a> {
    pub(crate) stage: &'a ExecStage,
    pub(crate) means: Means,
    pub(crate) maps: Option<&'a Maps>,
    /// The init's end of the lifeline.
    pub(crate) lifeline: RawFd,
    /// Where the start is told.
    pub(crate) report: RawFd,
    /// The descriptors above and those of the stage, in ascending order: all others are closed.
    pub(crate) keep: [RawFd; 5],
    /// Its name, by which it is found where its environment can't be read.
    pub(crate) name: &'a InitName,
    /// The limit that marks its tree, where it belongs to a worker.
    pub(crate) limit: Option<u64>,
    /// Where the command line of this process is in memory.
    pub(crate) title: Option<(usize, usize)>,
}

impl Init<'_> {
    /// Starts the program and owns its tree.
    ///
    /// # Safety
    /// Only on the child's side of a fork, with all signals blocked.
    pub(crate) unsafe fn run(&self) -> ! {
        // SAFETY: system calls that are safe after a fork, on descriptors and memory that the parent prepared.
        unsafe {
            // First of all: a copy of another tree's lifeline, or of the data folder's lock, would keep it from ending.
            self.close_others();
            if let Some(maps) = self.maps
                && !maps.write()
            {
                fail(self.report, StartStep::Maps);
            }
            self.tie_to_parent();
            libc::setsid();
            reset_signal_handlers();
            self.take_name();
            if let Some(limit) = self.limit {
                take_limit(limit);
            }
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            if let Means::PidNamespace { private_proc: true, .. } = self.means {
                mount_proc();
            }
            let signals = self.watch_signals();
            let program = self.fork_program();
            self.close_stage();
            Watch {
                lifeline: self.lifeline,
                signals,
                program,
                namespace: self.has_namespace(),
                over: false,
                cut: false,
            }
            .run()
        }
    }

    const fn has_namespace(&self) -> bool {
        matches!(self.means, Means::PidNamespace { .. })
    }

    unsafe fn close_others(&self) {
        let mut first = 0;
        for kept in self.keep {
            // SAFETY: descriptors of this process alone.
            unsafe { close_range(first, kept) };
            first = kept + 1;
        }
        // SAFETY: as above.
        unsafe { close_range(first, RawFd::MAX) };
    }

    /// In a namespace the kernel does the rest; elsewhere the init must live to kill the tree, so it gets a signal that
    /// it can act on. Where the parent died before this, the lifeline is closed, which is seen before the first wait.
    unsafe fn tie_to_parent(&self) {
        let signal = if self.has_namespace() { libc::SIGKILL } else { libc::SIGHUP };
        // SAFETY: plain system calls.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, signal);
            if is_closed(self.lifeline) {
                libc::_exit(PROVEN);
            }
        }
    }

    /// A name of its own, and the parent's command line away: else `ps` and `pgrep -f` would take it for its parent.
    unsafe fn take_name(&self) {
        // SAFETY: the area of the command line is writable and, after the fork, this process's own copy.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, self.name.as_c_str().as_ptr(), 0, 0, 0);
            // The parent's memory is in this process: the tree has no business there.
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
            let Some((start, end)) = self.title else { return };
            let (area, length) = (ptr::with_exposed_provenance_mut::<u8>(start), end.saturating_sub(start));
            let name = INIT_TITLE.to_bytes();
            ptr::write_bytes(area, 0, length);
            ptr::copy_nonoverlapping(name.as_ptr(), area, name.len().min(length.saturating_sub(1)));
        }
    }

    /// All signals are blocked; those that an init acts on are read here.
    unsafe fn watch_signals(&self) -> RawFd {
        // SAFETY: a set that is filled before it is read.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            let signals = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if signals < 0 {
                fail(self.report, StartStep::Signals);
            }
            signals
        }
    }

    unsafe fn fork_program(&self) -> libc::pid_t {
        // SAFETY: the child goes straight to its program.
        unsafe {
            let own = libc::getpid();
            match clone_process(libc::SIGCHLD) {
                Ok(ForkSide::Child) => self.stage.become_program(self.report, own),
                Ok(ForkSide::Parent { pid, pidfd: _ }) => pid as libc::pid_t,
                Err(_) => fail(self.report, StartStep::Fork),
            }
        }
    }

    /// Lets go of the program's descriptors, so that the other ends see its end and not this process's.
    unsafe fn close_stage(&self) {
        for kept in self.keep.into_iter().filter(|kept| *kept != self.lifeline) {
            // SAFETY: descriptors of this process alone.
            unsafe { libc::close(kept) };
        }
    }
}

/// Mounts a `/proc` that shows the namespace's own pids, in a mount namespace of its own. Where that fails the host's
/// stays, which is a matter of comfort.
pub(crate) unsafe fn mount_proc() -> bool {
    let (none, flags) = (ptr::null(), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    // SAFETY: constant strings. What is mounted here must not reach the host, but what the host unmounts goes here too.
    unsafe {
        libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, ptr::null()) == 0
            && libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), flags, ptr::null()) == 0
    }
}

/// Whether the other end of a socket is closed.
unsafe fn is_closed(socket: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: socket, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one valid pollfd, no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// Writes a whole small file.
pub(crate) unsafe fn write_file(path: &CStr, text: &[u8]) -> bool {
    // SAFETY: a path with its NUL and a buffer with its length.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let done = file >= 0 && libc::write(file, text.as_ptr().cast(), text.len()) == text.len() as isize;
        libc::close(file);
        done
    }
}

/// The rest of an init's life.
struct Watch {
    lifeline: RawFd,
    signals: RawFd,
    program: libc::pid_t,
    namespace: bool,
    /// The program has ended, and its status was sent.
    over: bool,
    /// The parent is gone, or wants the tree to be.
    cut: bool,
}

impl Watch {
    unsafe fn run(mut self) -> ! {
        loop {
            // SAFETY: as `Init::run`.
            unsafe {
                let alone = self.reap();
                if self.over || self.cut {
                    // In a namespace the kernel kills the rest before anybody can see this process's end.
                    if alone || self.namespace {
                        libc::_exit(PROVEN);
                    }
                    kill_descendants(libc::getpid() as u32, &[]);
                }
                self.wait();
                self.read_signals();
            }
        }
    }

    /// Reaps what has ended, and says whether no child is left.
    unsafe fn reap(&mut self) -> bool {
        loop {
            let mut status = 0;
            // SAFETY: waits for children of this process only, which nobody else does. __WALL: also for those that a
            // program made with another signal than SIGCHLD.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
                0 => return false,
                pid if pid < 0 => return true,
                pid if pid == self.program => {
                    let bytes = status.to_ne_bytes();
                    // SAFETY: a buffer of that length.
                    unsafe { libc::send(self.lifeline, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
                    self.over = true;
                }
                _ => {}
            }
        }
    }

    /// Until a signal comes or the lifeline is closed, and not for long where there are some to be struck again.
    unsafe fn wait(&mut self) {
        let lifeline = if self.cut { -1 } else { self.lifeline };
        let mut polls = [
            libc::pollfd { fd: self.signals, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: lifeline, events: libc::POLLRDHUP, revents: 0 },
        ];
        let soon = libc::timespec { tv_sec: 0, tv_nsec: STRIKE_AGAIN };
        let bound = if self.over || self.cut { &raw const soon } else { ptr::null() };
        // SAFETY: two valid pollfds.
        unsafe { libc::ppoll(polls.as_mut_ptr(), 2, bound, ptr::null()) };
        let [_, lifeline] = polls;
        self.cut |= lifeline.revents != 0;
    }

    unsafe fn read_signals(&mut self) {
        loop {
            // SAFETY: a struct of the size that is read.
            let (read, info) = unsafe {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let size = size_of::<libc::signalfd_siginfo>();
                (libc::read(self.signals, (&raw mut info).cast(), size), info)
            };
            if read <= 0 {
                return;
            }
            match info.ssi_signo as libc::c_int {
                // SAFETY: as `Init::run`.
                libc::SIGTERM => unsafe { self.ask() },
                libc::SIGHUP => self.cut = true,
                _ => {}
            }
        }
    }

    /// SIGTERM to all, and SIGCONT, so that a stopped one hears it.
    unsafe fn ask(&self) {
        let signals = [libc::SIGTERM, libc::SIGCONT];
        if self.namespace {
            // SAFETY: in a pid namespace, -1 is all others in it.
            signals.into_iter().for_each(|signal| unsafe { _ = libc::kill(-1, signal) });
        } else if let Ok(mut processes) = ProcessList::take() {
            // SAFETY: a plain system call.
            processes.mark_descendants(unsafe { libc::getpid() } as u32, &[]);
            signals.into_iter().for_each(|signal| processes.strike(signal));
        }
    }
}
