//! The spawner's children: every process that this one started and has not reaped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::child::ProcessExit;
use crate::init::PROVEN;
use crate::lifeline::Lifeline;
use crate::tag::Tag;

/// A child.
pub(crate) struct ChildEntry {
    pub(crate) kind: ChildKind,
    pub(crate) exit: oneshot::Sender<ProcessExit>,
}

/// What a child is.
pub(crate) enum ChildKind {
    /// The init of a pid namespace.
    Namespace(Arc<Lifeline>),
    /// The init of a tree without one.
    Subreaper(Arc<Lifeline>),
    /// One process that dies with this one.
    Child,
    /// One that does not: this worker, where it is one.
    Free(Option<Tag>),
}

/// A child that ended.
pub(crate) struct EndedChild {
    how: ProcessExit,
    exit: oneshot::Sender<ProcessExit>,
    /// What it left may have come to this process, and must be dead before its end is told.
    pub(crate) leaves: LeftBehind,
    pub(crate) since: Instant,
}

/// What a child that ended may have left to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftBehind {
    Nothing,
    /// What comes from this worker, or does not tell where it comes from.
    OfWorker(Tag),
    /// Anything.
    Anything,
}

impl EndedChild {
    /// The worker that it was.
    pub(crate) fn worker(&self) -> Option<Tag> {
        match self.leaves {
            LeftBehind::OfWorker(tag) => Some(tag),
            LeftBehind::Nothing | LeftBehind::Anything => None,
        }
    }

    /// Tells it; nobody may be waiting.
    pub(crate) fn tell(self) {
        let _ = self.exit.send(self.how);
    }
}

/// Children by pid. A pid is in it from its fork until it is reaped, so while it is, nobody else can have it.
#[derive(Default)]
pub(crate) struct ChildTable(HashMap<u32, ChildEntry>);

impl ChildTable {
    pub(crate) fn add(&mut self, pid: u32, entry: ChildEntry) {
        self.0.insert(pid, entry);
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// Takes out a child that was reaped; `None` for one that this process did not start.
    pub(crate) fn remove(&mut self, pid: u32, status: i32) -> Option<EndedChild> {
        self.0.remove(&pid).map(|child| child.end(status))
    }
}

impl ChildEntry {
    /// It was reaped with this status.
    pub(crate) fn end(self, status: i32) -> EndedChild {
        let Self { kind, exit } = self;
        let own = ProcessExit::from_raw(status);
        // The init's word about its program counts, whenever it was said. Without one the program was killed.
        let program =
            |lifeline: &Lifeline| lifeline.status().map_or(ProcessExit::Signal(libc::SIGKILL), ProcessExit::from_raw);
        let leaves_unless = |proven| if proven { LeftBehind::Nothing } else { LeftBehind::Anything };
        let (how, leaves) = match kind {
            ChildKind::Namespace(lifeline) => (program(&lifeline), LeftBehind::Nothing),
            ChildKind::Subreaper(lifeline) => (program(&lifeline), leaves_unless(own == ProcessExit::Code(PROVEN))),
            ChildKind::Child => (own, LeftBehind::Nothing),
            // Its trees' inits come to us with its end; in a namespace they are being killed, else they are killing.
            ChildKind::Free(worker) => (own, worker.map_or(LeftBehind::Anything, LeftBehind::OfWorker)),
        };
        EndedChild { how, exit, leaves, since: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Raw wait statuses: exit code 7, and SIGKILL.
    const EXIT_7: i32 = 7 << 8;
    const KILLED: i32 = libc::SIGKILL;

    /// What is told of a child of this kind that ended so, and what it may have left.
    fn end(kind: ChildKind, status: i32) -> (ProcessExit, LeftBehind) {
        let (mut table, (exit, mut watch)) = (ChildTable::default(), oneshot::channel());
        table.add(1, ChildEntry { kind, exit });
        assert!(table.has(1));
        let ended = table.remove(1, status).expect("it is in the table");
        assert!(!table.has(1) && table.remove(1, status).is_none());
        let leaves = ended.leaves;
        ended.tell();
        (watch.try_recv().expect("told"), leaves)
    }

    /// A lifeline on which an init has said this.
    fn lifeline(said: Option<i32>) -> Arc<Lifeline> {
        let (lifeline, init) = Lifeline::pair().expect("a pair");
        if let Some(status) = said {
            UnixStream::from(init).write_all(&status.to_ne_bytes()).expect("said");
        }
        Arc::new(lifeline)
    }

    #[test]
    fn the_word_of_an_init_counts_and_its_proof() {
        let killed = ProcessExit::Signal(libc::SIGKILL);
        let (nothing, orphans) = (LeftBehind::Nothing, LeftBehind::Anything);
        for (said, status, namespace, subreaper) in [
            (Some(EXIT_7), PROVEN, (ProcessExit::Code(7), nothing), (ProcessExit::Code(7), nothing)),
            (Some(EXIT_7), KILLED, (ProcessExit::Code(7), nothing), (ProcessExit::Code(7), orphans)),
            (None, PROVEN, (killed, nothing), (killed, nothing)),
            (None, KILLED, (killed, nothing), (killed, orphans)),
        ] {
            assert_eq!(end(ChildKind::Namespace(lifeline(said)), status), namespace);
            assert_eq!(end(ChildKind::Subreaper(lifeline(said)), status), subreaper);
        }
    }

    #[test]
    fn a_process_without_an_init_speaks_for_itself() {
        let (killed, worker) = (ProcessExit::Signal(libc::SIGKILL), Tag::of("w".as_ref()));
        assert_eq!(end(ChildKind::Child, EXIT_7), (ProcessExit::Code(7), LeftBehind::Nothing));
        assert_eq!(end(ChildKind::Free(None), KILLED), (killed, LeftBehind::Anything));
        assert_eq!(end(ChildKind::Free(Some(worker)), KILLED), (killed, LeftBehind::OfWorker(worker)));
    }
}
