//! The init of a tree: a process that the zygote makes and that never execs. No allocation, no lock, no panic, and nothing of the C
//! library.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::exec_stage::{ExecStage, close_between, or_fail};
use crate::oom::{self, TreeScores};
use crate::ownership::{Maps, Means};
use crate::process_list::{ProcessList, kill_descendants};
use crate::start_order::TreeOrder;
use crate::start_report::StartStep;
use crate::sys::{self, SignalMask};
use crate::tag::take_limit;

/// The init's exit code that says: I have no child left, and so there is nobody left of the tree.
pub(crate) const PROVEN: i32 = 0;

/// For so long an init whose owner is dead is left to its work: it knows every descendant, ends when none is left, and
/// does so even if whoever looks on is killed.
pub(crate) const PATIENCE_WITH_INITS: Duration = Duration::from_secs(1);

/// How often a tree that does not die is struck again, in nanoseconds.
const STRIKE_AGAIN: libc::c_long = 20_000_000;

/// What an init needs, in memory that the zygote made ready.
pub(crate) struct Init {
    pub(crate) stage: ExecStage,
    pub(crate) tree: TreeOrder,
    pub(crate) maps: Maps,
    pub(crate) scores: TreeScores,
    /// The init's end of the lifeline.
    pub(crate) lifeline: RawFd,
    /// Where the start is told.
    pub(crate) report: RawFd,
    /// The highest descriptor of the zygote itself: what is above is the init's.
    pub(crate) last_foreign: RawFd,
    /// Where the stack of the program's process begins. From its other end on the memory is needed until the program runs.
    pub(crate) program_stack: *mut u8,
    /// Not zero while the program's process uses that memory.
    pub(crate) starting: *const AtomicU32,
    /// That memory: where it is, and its length in bytes.
    pub(crate) until_started: (usize, usize),
}

impl Init {
    /// Starts the program and owns its tree.
    ///
    /// # Safety
    /// Only in a process that was just made, with all signals blocked and their actions reset.
    pub(crate) unsafe fn run(&self) -> ! {
        // First of all: another end of the zygote's socket would keep that from being seen closed.
        close_between(0, self.last_foreign + 1);
        if let Means::PidNamespace { user_namespace: true, .. } = self.tree.means {
            or_fail(self.report, StartStep::Maps, self.maps.write());
        }
        // Not in the zygote's session and group any more: a signal to that group would end all trees of this worker. In a namespace no
        // program can name the group; without one it can, as it can name each process of its user.
        sys::begin_session();
        // Where the program's process shares this memory it takes its score itself; what is written here would be that of all.
        let score = (!self.tree.means.shares_memory()).then(|| sys::open_at(libc::AT_FDCWD, oom::FILE, libc::O_WRONLY));
        // Its memory is none of its tree's business. Before this the kernel lets it say who it is.
        let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0);
        self.tie_to_parent();
        // Names are a process's own, even where its memory is not.
        sys::set_name(self.tree.name.as_c_str());
        if let Some(limit) = self.tree.limit {
            take_limit(limit);
        }
        let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        if let Means::PidNamespace { private_proc: true, .. } = self.tree.means {
            mount_proc();
        }
        let watched = SignalMask::of([libc::SIGCHLD, libc::SIGTERM, libc::SIGHUP]);
        let signals = or_fail(self.report, StartStep::Signals, sys::watch(watched));
        let score = score.and_then(Result::ok);
        score.inspect(|file| _ = sys::write(*file, self.scores.program.text()));
        // SAFETY: as this function.
        let program = unsafe { self.start_program() };
        if let Some(file) = score {
            let _ = sys::write(file, self.scores.init.text());
            sys::close(file);
        }
        self.let_go();
        Watch { lifeline: self.lifeline, signals, program, namespace: self.has_namespace(), over: false, cut: false }
            .run()
    }

    const fn has_namespace(&self) -> bool {
        matches!(self.tree.means, Means::PidNamespace { .. })
    }

    /// In a namespace the kernel does the rest; elsewhere the init must live to kill the tree, so it gets a signal that
    /// it can act on. Where the parent died before this, the lifeline is closed, which is seen before the first wait.
    fn tie_to_parent(&self) {
        let signal = if self.has_namespace() { libc::SIGKILL } else { libc::SIGHUP };
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, signal as usize);
        if sys::is_closed(self.lifeline) {
            sys::exit(PROVEN);
        }
    }

    /// Makes the program's process. In a namespace, which the kernel ends whatever this process does, it shares this memory until its
    /// exec, for which this process waits.
    unsafe fn start_program(&self) -> libc::pid_t {
        let sharing =
            if self.has_namespace() { libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_CHILD_CLEARTID } else { 0 };
        let oom_score = self.tree.means.shares_memory().then_some(self.scores.program);
        let stage = ExecStage { oom_score, ..self.stage };
        let starting = Starting { stage, report: self.report, parent: sys::own_pid() };
        let argument = (&raw const starting).cast_mut().cast();
        // SAFETY: the stack is the new process's own, and `starting` outlives its need where memory is shared. Should this process be
        // killed before that, the memory stays taken.
        let made = unsafe {
            (*self.starting).store(u32::from(sharing != 0), Ordering::Release);
            let told = [ptr::null_mut(), self.starting.cast_mut().cast()];
            sys::clone_onto(sharing | libc::SIGCHLD, self.program_stack, told, start, argument)
        };
        if made.is_err() {
            // SAFETY: as above.
            unsafe { (*self.starting).store(0, Ordering::Release) };
        }
        or_fail(self.report, StartStep::Fork, made)
    }

    /// Lets go of the program's descriptors, so that the other ends see its end and not this process's, and of the memory that only its
    /// start needed.
    fn let_go(&self) {
        self.stage.stdio.into_iter().chain([self.report]).for_each(sys::close);
        let (start, length) = self.until_started;
        // SAFETY: the program has its own memory by now, or a copy of this.
        unsafe { sys::forget(start, length) };
    }
}

/// What the program's process begins with.
struct Starting {
    stage: ExecStage,
    report: RawFd,
    parent: libc::pid_t,
}

unsafe extern "C" fn start(starting: *mut u8) -> ! {
    // SAFETY: what `start_program` gave, in a process that was just made.
    unsafe {
        let Starting { stage, report, parent } = &*starting.cast::<Starting>();
        stage.become_program(*report, *parent)
    }
}

/// Mounts a `/proc` that shows the namespace's own pids, in a mount namespace of its own. Where that fails the host's
/// stays, which is a matter of comfort.
pub(crate) fn mount_proc() -> bool {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // What is mounted here must not reach the host, but what the host unmounts goes here too.
    sys::mount(None, c"/", None, libc::MS_REC | libc::MS_SLAVE).is_ok()
        && sys::mount(Some(c"proc"), c"/proc", Some(c"proc"), flags).is_ok()
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
    fn run(mut self) -> ! {
        loop {
            let alone = self.reap();
            if self.over || self.cut {
                // In a namespace the kernel kills the rest before anybody can see this process's end.
                if alone || self.namespace {
                    sys::exit(PROVEN);
                }
                kill_descendants(sys::own_pid() as u32, |_| false);
            }
            self.wait();
            self.read_signals();
        }
    }

    /// Reaps what has ended, and says whether no child is left.
    fn reap(&mut self) -> bool {
        loop {
            match sys::reap() {
                Ok(None) => return false,
                Err(_) => return true,
                Ok(Some((pid, status))) if pid == self.program => {
                    let _ = sys::send(self.lifeline, &status.to_ne_bytes());
                    self.over = true;
                }
                Ok(Some(_)) => {}
            }
        }
    }

    /// Until a signal comes or the lifeline is closed, and not for long where there are some to be struck again.
    fn wait(&mut self) {
        let lifeline = if self.cut { -1 } else { self.lifeline };
        let mut polls = [
            libc::pollfd { fd: self.signals, events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: lifeline, events: libc::POLLRDHUP, revents: 0 },
        ];
        let soon = libc::timespec { tv_sec: 0, tv_nsec: STRIKE_AGAIN };
        let _ = sys::poll(&mut polls, (self.over || self.cut).then_some(soon));
        let [_, lifeline] = polls;
        self.cut |= lifeline.revents != 0;
    }

    fn read_signals(&mut self) {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = [0u8; SIZE];
        while sys::read(self.signals, &mut info) == Ok(SIZE) {
            // The signal's number is the first field.
            let [a, b, c, d, ..] = info;
            match u32::from_ne_bytes([a, b, c, d]) as libc::c_int {
                libc::SIGTERM => self.ask(),
                libc::SIGHUP => self.cut = true,
                _ => {}
            }
        }
    }

    /// SIGTERM to all, and SIGCONT, so that a stopped one hears it.
    fn ask(&self) {
        let signals = [libc::SIGTERM, libc::SIGCONT];
        if self.namespace {
            // In a pid namespace, -1 is all others in it.
            signals.into_iter().for_each(|signal| sys::kill(-1, signal));
        } else if let Ok(mut processes) = ProcessList::take() {
            processes.mark_descendants(sys::own_pid() as u32, |_| false);
            signals.into_iter().for_each(|signal| processes.strike(signal));
        }
    }
}
