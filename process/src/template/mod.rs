//! Copies of a process that is ready to serve, in place of starts of its program.
//!
//! Loading a program, finding its libraries and asking the processor what it can do is half of what the start of a small process
//! costs, and comes to the same each time. So for a program that is started again and again ([`Program::template`](crate::Program))
//! the spawner's thread keeps a *template*: the same program, which has done all that and waits on a socket. It forks a copy for each
//! order, as a child of the spawner's thread (`CLONE_PARENT`), with the descriptors that came with the order, the command line and the mark
//! that it would have been started with. From there on nothing tells it from one that was started.
//!
//! A copy does nothing before this process has entered it: it waits for a word, and ends where that can't come any more. So a template
//! that hangs, or is killed at the wrong moment, leaves nobody of whom nobody knows.
//!
//! What a copy inherits it has from the template, and so from this process as it was when the template was started; where that has changed
//! the template makes way for another. The first of a kind, and whatever a template can't make, is started by its program. The copies
//! of a template have one layout of memory, as the forks of any server have.

mod copying;
mod message;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub use copying::serve;

use crate::lifeline::socket_pair;
use crate::mark;
use crate::offspring::Offspring;
use crate::pidfd::Pidfd;
use crate::plan::FreePlan;
use crate::zygote::{Inherited, Look};
use message::{Received, receive_word, send_order};
use nix::sys::signal::Signal;

/// A template that has not answered by then is given up. A healthy one needs a thousandth of it, and who reaps waits meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);

/// Kinds of programs that have a template, at the most: each takes some memory. What is beyond is started by its program.
const MOST: usize = 4;

/// What stands in a template's environment where its copies have their mark. It is no mark: nobody is to take a template for a worker.
const UNMARKED: &str = "MUSTER_UNUSED_ID_";
const _: () = assert!(UNMARKED.len() == mark::WORKER.len());

/// The length of a mark's value: an id in hexadecimal groups.
const MARK: usize = 36;

/// Room in a template's command line for that of a copy, in bytes.
const TITLE: usize = 256;

/// Programs of one kind can be copies of one template.
#[derive(Clone, PartialEq, Eq)]
struct Kind {
    file: PathBuf,
    /// The template's command line.
    argv: Vec<OsString>,
    /// The environment without the mark.
    env: Vec<(OsString, OsString)>,
}

impl Kind {
    /// That of a program, where it may be copied.
    fn of(plan: &FreePlan) -> Option<Self> {
        let argv = plan.template.clone()?;
        let title: usize = plan.argv.iter().map(|word| word.len() + 1).sum();
        let is_fit = plan.cwd.is_none() && mark_of(plan)?.len() == MARK && title <= TITLE;
        let env = plan.env.iter().filter(|(name, _)| name != mark::WORKER).cloned().collect();
        is_fit.then(|| Self { file: plan.file.clone(), argv, env })
    }
}

fn mark_of(plan: &FreePlan) -> Option<&OsStr> {
    plan.env.iter().find(|(name, _)| name == mark::WORKER).map(|(_, value)| value.as_os_str())
}

/// A process that copies itself.
struct Template {
    kind: Kind,
    socket: OwnedFd,
    pidfd: Pidfd,
    /// Whether it has said that it is ready.
    is_ready: bool,
    inherited: Inherited,
    looked: Look,
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = self.pidfd.signal(Signal::SIGKILL);
    }
}

/// Whether a template can be told anything.
enum TemplateState {
    Starting,
    Ready,
    /// It ended before it was ready.
    Refused,
}

/// A copy that waits for the word to begin. Without it, when this is dropped, it ends.
pub(crate) struct WaitingCopy {
    pub(crate) pid: u32,
    go: io::PipeWriter,
}

impl WaitingCopy {
    /// Lets it begin: it is known.
    pub(crate) fn begin(mut self) -> io::Result<()> {
        io::Write::write_all(&mut self.go, &[1])
    }
}

/// The templates of this process.
#[derive(Default)]
pub(crate) struct Templates {
    known: Vec<Template>,
    /// Here there can be none: one ended before it was ready.
    is_refused: bool,
}

impl Templates {
    /// Has a copy made; `None` where the program is to be started.
    pub(crate) fn copy(&mut self, plan: &FreePlan) -> Option<WaitingCopy> {
        let kind = Kind::of(plan)?;
        let place = self.known.iter().position(|template| template.kind == kind)?;
        let template = &mut self.known[place];
        match template.state() {
            TemplateState::Ready => {}
            TemplateState::Starting => return None,
            TemplateState::Refused => {
                self.known.swap_remove(place);
                self.is_refused = true;
                tracing::info!("workers can't be copied on this host, and are started one by one");
                return None;
            }
        }
        if template.inherited.is_current(&mut template.looked)
            && let Ok(copy) = template.order(plan)
        {
            return Some(copy);
        }
        self.known.swap_remove(place);
        None
    }

    /// Ends all templates, and returns when they are dead, or should be.
    pub(crate) fn end(&mut self) {
        for template in self.known.drain(..) {
            let _ = template.pidfd.signal(Signal::SIGKILL);
            template.pidfd.wait_dead(PATIENCE);
        }
    }

    /// Begins to make a template for programs like this one, where there is none. A failure costs nothing but the time that one saves.
    pub(crate) fn prepare(&mut self, wanted: Option<TemplateOrder>, offspring: &mut Offspring) {
        let Some(TemplateOrder(kind)) = wanted else { return };
        if self.is_refused || self.known.len() >= MOST || self.known.iter().any(|template| template.kind == kind) {
            return;
        }
        match Template::start(kind, offspring) {
            Ok(template) => self.known.push(template),
            Err(error) => tracing::debug!(%error, "no template could be started"),
        }
    }
}

/// That there is to be a template.
pub(crate) struct TemplateOrder(Kind);

impl TemplateOrder {
    /// One for programs like this one.
    pub(crate) fn of(plan: &FreePlan) -> Option<Self> {
        Kind::of(plan).map(Self)
    }
}

impl Template {
    fn start(kind: Kind, offspring: &mut Offspring) -> io::Result<Self> {
        let (socket, theirs) = socket_pair(libc::SOCK_SEQPACKET)?;
        let (inherited, looked) = (Inherited::now(), Look::now());
        let (name, words) = kind.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(&kind.file);
        command.arg0(name).args(words).arg(std::process::id().to_string()).arg("-".repeat(TITLE));
        command.env_clear().envs(kind.env.iter().cloned()).env(UNMARKED, "-".repeat(MARK));
        let pid = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?.id();
        offspring.enter_unwatched(pid);
        Ok(Self { kind, socket, pidfd: Pidfd::open(pid)?, is_ready: false, inherited, looked })
    }

    fn state(&mut self) -> TemplateState {
        if !self.is_ready {
            match receive_word(&self.socket, Duration::ZERO) {
                Received::Word(_) => self.is_ready = true,
                Received::Nothing => return TemplateState::Starting,
                Received::End => return TemplateState::Refused,
            }
        }
        TemplateState::Ready
    }

    /// Orders a copy, and waits for its pid.
    fn order(&self, plan: &FreePlan) -> io::Result<WaitingCopy> {
        let (theirs, go) = io::pipe()?;
        let mark = mark_of(plan).unwrap_or_default();
        let mut order = mark.as_bytes().to_vec();
        for word in &plan.argv {
            order.extend_from_slice(word.as_bytes());
            order.push(0);
        }
        let [stdin, stdout, stderr] = plan.stdio.each_ref().map(AsRawFd::as_raw_fd);
        send_order(&self.socket, &order, [stdin, stdout, stderr, theirs.as_raw_fd()])?;
        drop(theirs);
        match receive_word(&self.socket, PATIENCE) {
            Received::Word(pid @ 1..) => Ok(WaitingCopy { pid: pid.cast_unsigned(), go }),
            Received::Word(errno) => Err(io::Error::from_raw_os_error(-errno)),
            Received::Nothing => Err(io::ErrorKind::TimedOut.into()),
            Received::End => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
