//! The handle to the one thread that forks and reaps.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::sync::oneshot;

use crate::child::Child;
use crate::offspring::{ForkedChild, Offspring};
use crate::ownership::{Means, ownership};
use crate::plan::{CallerEnds, SpawnPlan, prepare};
use crate::program::{Program, SpawnError};
use crate::spawner_thread::{SpawnerRequest, SpawnerThread, ThreadHandle, gone, ring};
use crate::start_report::{StartOutcome, StartReport, StartStep};
use crate::tree_maker::TreeMaker;

/// Where the signal handler writes; -1 before there is a spawner.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// A handle to the thread that forks and reaps. Cheap to clone; the thread ends only with the process.
#[derive(Clone, Debug)]
pub struct Spawner {
    thread: ThreadHandle,
    trees: Arc<TreeMaker>,
}

impl Spawner {
    /// Starts the thread, makes this process a subreaper and takes over SIGCHLD. There is one per process: a second
    /// start returns the first. Whatever descriptors this process inherited are closed on exec from then on.
    pub fn start() -> io::Result<Self> {
        static SPAWNER: OnceLock<Spawner> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spawner) = SPAWNER.get() {
            return Ok(spawner.clone());
        }
        // Before there is anybody who waits for any child.
        ownership();
        let spawner = Self::launch()?;
        Ok(SPAWNER.get_or_init(|| spawner).clone())
    }

    fn launch() -> io::Result<Self> {
        // SAFETY: plain system calls. A worker would else hold open what our own parent left us, a pipe perhaps whose
        // end somebody waits for.
        let bell = unsafe {
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
        };
        if bell < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let bell = Arc::new(unsafe { OwnedFd::from_raw_fd(bell) });
        nix::sys::prctl::set_child_subreaper(true)?;
        let offspring = Arc::new(Mutex::new(Offspring::new()));
        let (keeper, handle) = SpawnerThread::new(Arc::clone(&bell), Arc::clone(&offspring));
        thread::Builder::new().name("muster-nursery".into()).spawn(move || keeper.run())?;
        BELL.store(bell.as_raw_fd(), Ordering::Release);
        let action = SigAction::new(
            SigHandler::Handler(ring_on_sigchld),
            SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP,
            SigSet::empty(),
        );
        // SAFETY: the handler makes one system call on a descriptor that is never closed.
        unsafe { sigaction(Signal::SIGCHLD, &action) }?;
        // A file that reaches its limit is an error, which is told; else it would be the end of this process without a word.
        let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler.
        unsafe { sigaction(Signal::SIGXFSZ, &ignored) }?;
        let trees = Arc::new(TreeMaker::new(handle.clone(), offspring));
        Ok(Self { thread: handle, trees })
    }

    /// Starts a program and returns when it runs. Where it cannot, nothing of it is left. Dropping the future kills what
    /// was started. Needs a tokio runtime with IO. A tree begins in the caller's thread, as by [`begin`](Self::begin).
    pub async fn spawn(&self, program: Program) -> Result<Child, SpawnError> {
        self.spawn_by(program, ownership().means()).await
    }

    /// As [`spawn`](Self::spawn), with given means for a tree: for tests of means that this host need not fall back to.
    #[doc(hidden)]
    pub async fn spawn_by(&self, program: Program, means: Means) -> Result<Child, SpawnError> {
        self.begin_by(program, means)?.runs().await
    }

    /// Begins to start a program. With a tree this may hold up its caller: it waits for others who begin one, and the first time finds out
    /// what the host gives.
    pub fn begin(&self, program: Program) -> Result<StartingChild, SpawnError> {
        self.begin_by(program, ownership().means())
    }

    /// Ends the [templates](crate::template), and returns when they are gone. The next program that wants one makes it anew.
    pub async fn end_templates(&self) {
        let (reply, answer) = oneshot::channel();
        if self.thread.ask(SpawnerRequest::EndTemplates { reply }).is_ok() {
            // Nobody drops it: the thread ends only with the process.
            let _ = answer.await;
        }
    }

    /// Makes ready what the first tree needs, so that it starts as fast as any other. May hold up its caller as
    /// [`begin`](Self::begin) does.
    pub fn warm_up(&self) -> io::Result<()> {
        ownership();
        self.trees.warm_up()
    }

    fn begin_by(&self, program: Program, means: Means) -> Result<StartingChild, SpawnError> {
        let (plan, ends) = prepare(program, means)?;
        let birth = match plan {
            SpawnPlan::Tree(plan) => Birth::Born(self.trees.make(plan)?),
            SpawnPlan::Alone(plan) => {
                let (reply, answer) = oneshot::channel();
                self.thread.ask(SpawnerRequest::Spawn { plan, reply }).map_err(SpawnError::Fork)?;
                Birth::Asked(answer)
            }
        };
        Ok(StartingChild { birth, ends })
    }
}

/// A program whose process was made, or is being made. Dropping it kills it.
#[derive(Debug)]
pub struct StartingChild {
    birth: Birth,
    ends: CallerEnds,
}

#[derive(Debug)]
enum Birth {
    Born(ForkedChild),
    /// The thread that reaps was asked for it.
    Asked(oneshot::Receiver<Result<ForkedChild, SpawnError>>),
}

impl StartingChild {
    /// Waits until the program runs. Where it cannot, nothing of it is left. Needs a tokio runtime with IO.
    pub async fn runs(self) -> Result<Child, SpawnError> {
        let CallerEnds { pipes: [stdin, stdout, stderr], start_report, program, cwd } = self.ends;
        let mut born = match self.birth {
            Birth::Born(born) => born,
            Birth::Asked(answer) => match answer.await.map_err(|_| SpawnError::Fork(gone()))? {
                Ok(born) => born,
                // Of a free one: the standard library starts and execs it in one step.
                Err(SpawnError::Exec { source, .. }) => return Err(SpawnError::Exec { program, source }),
                Err(error) => return Err(error),
            },
        };
        let pid = match start_report {
            None => born.pid,
            Some(start_report) => attend(start_report, &mut born, || (program, cwd)).await?,
        };
        let ForkedChild { pid: root, identity, keeper, exit } = born;
        keeper.settle();
        Ok(Child { pid, root, identity, stdin, stdout, stderr, keeper, exit })
    }
}

/// Waits until the program runs, and returns its pid. Where it does not, waits until all of it is gone.
async fn attend(
    start_report: StartReport,
    born: &mut ForkedChild,
    about: impl FnOnce() -> (PathBuf, Option<PathBuf>),
) -> Result<u32, SpawnError> {
    let failure = match start_report.wait().await {
        Ok(StartOutcome::Runs(pid)) => return Ok(pid),
        Ok(StartOutcome::Silent) => SpawnError::Killed,
        Ok(StartOutcome::Failed(step, errno)) => {
            let (source, (program, cwd)) = (io::Error::from_raw_os_error(errno), about());
            match step {
                StartStep::Exec => SpawnError::Exec { program, source },
                StartStep::Folder => SpawnError::Folder { folder: cwd.unwrap_or_default(), source },
                StartStep::Fork => SpawnError::Fork(source),
                _ => SpawnError::Setup { step: step.doing(), source },
            }
        }
        Err(source) => SpawnError::Setup { step: "hear from the new process", source },
    };
    // A process that failed ends by itself; one that could not be heard does not.
    born.keeper.kill();
    (&mut born.exit).await;
    Err(failure)
}

extern "C" fn ring_on_sigchld(_: libc::c_int) {
    // SAFETY: errno is this thread's, and the code that the signal interrupted may be about to read it.
    unsafe {
        let errno = *libc::__errno_location();
        ring(BELL.load(Ordering::Acquire));
        *libc::__errno_location() = errno;
    }
}
