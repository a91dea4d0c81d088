//! The nursery's children: every process that this one started and has not reaped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::child::Exit;
use crate::cord::Cord;
use crate::init::PROVEN;
use crate::tag::Tag;

/// A child.
pub(crate) struct Ward {
    pub(crate) kind: Kind,
    pub(crate) exit: oneshot::Sender<Exit>,
}

/// What a child is.
pub(crate) enum Kind {
    /// The init of a pid namespace.
    Namespace(Arc<Cord>),
    /// The init of a tree without one.
    Subreaper(Arc<Cord>),
    /// One process that dies with this one.
    Child,
    /// One that does not: this worker, where it is one.
    Free(Option<Tag>),
}

/// A child that ended.
pub(crate) struct Ended {
    how: Exit,
    exit: oneshot::Sender<Exit>,
    /// What it left may have come to this process, and must be dead before its end is told.
    pub(crate) leaves: Leaves,
    pub(crate) since: Instant,
}

/// What a child that ended may have left to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    /// What comes from this worker, or does not tell where it comes from.
    OfWorker(Tag),
    /// Anything.
    Strays,
}

impl Ended {
    /// The worker that it was.
    pub(crate) fn worker(&self) -> Option<Tag> {
        match self.leaves {
            Leaves::OfWorker(tag) => Some(tag),
            Leaves::Nothing | Leaves::Strays => None,
        }
    }

    /// Tells it; nobody may be waiting.
    pub(crate) fn tell(self) {
        let _ = self.exit.send(self.how);
    }
}

/// Children by pid. A pid is in it from its fork until it is reaped, so while it is, nobody else can have it.
#[derive(Default)]
pub(crate) struct Table(HashMap<u32, Ward>);

impl Table {
    pub(crate) fn add(&mut self, pid: u32, ward: Ward) {
        self.0.insert(pid, ward);
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// Takes out a child that was reaped; `None` for one that this process did not start.
    pub(crate) fn remove(&mut self, pid: u32, status: i32) -> Option<Ended> {
        let Ward { kind, exit } = self.0.remove(&pid)?;
        let own = Exit::from_raw(status);
        // The init's word about its program counts, whenever it was said. Without one the program was killed.
        let program = |cord: &Cord| cord.status().map_or(Exit::Signal(libc::SIGKILL), Exit::from_raw);
        let leaves_unless = |proven| if proven { Leaves::Nothing } else { Leaves::Strays };
        let (how, leaves) = match kind {
            Kind::Namespace(cord) => (program(&cord), Leaves::Nothing),
            Kind::Subreaper(cord) => (program(&cord), leaves_unless(own == Exit::Code(PROVEN))),
            Kind::Child => (own, Leaves::Nothing),
            // Its trees' inits come to us with its end; in a namespace they are being killed, else they are killing.
            Kind::Free(worker) => (own, worker.map_or(Leaves::Strays, Leaves::OfWorker)),
        };
        Some(Ended { how, exit, leaves, since: Instant::now() })
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
    fn end(kind: Kind, status: i32) -> (Exit, Leaves) {
        let (mut table, (exit, mut watch)) = (Table::default(), oneshot::channel());
        table.add(1, Ward { kind, exit });
        assert!(table.has(1) && table.pids().eq([1]));
        let ended = table.remove(1, status).expect("it is in the table");
        assert!(!table.has(1) && table.remove(1, status).is_none());
        let leaves = ended.leaves;
        ended.tell();
        (watch.try_recv().expect("told"), leaves)
    }

    /// A cord on which an init has said this.
    fn cord(said: Option<i32>) -> Arc<Cord> {
        let (cord, init) = Cord::pair().expect("a pair");
        if let Some(status) = said {
            UnixStream::from(init).write_all(&status.to_ne_bytes()).expect("said");
        }
        Arc::new(cord)
    }

    #[test]
    fn the_word_of_an_init_counts_and_its_proof() {
        let killed = Exit::Signal(libc::SIGKILL);
        let (nothing, strays) = (Leaves::Nothing, Leaves::Strays);
        for (said, status, namespace, subreaper) in [
            (Some(EXIT_7), PROVEN, (Exit::Code(7), nothing), (Exit::Code(7), nothing)),
            (Some(EXIT_7), KILLED, (Exit::Code(7), nothing), (Exit::Code(7), strays)),
            (None, PROVEN, (killed, nothing), (killed, nothing)),
            (None, KILLED, (killed, nothing), (killed, strays)),
        ] {
            assert_eq!(end(Kind::Namespace(cord(said)), status), namespace);
            assert_eq!(end(Kind::Subreaper(cord(said)), status), subreaper);
        }
    }

    #[test]
    fn a_process_without_an_init_speaks_for_itself() {
        let (killed, worker) = (Exit::Signal(libc::SIGKILL), Tag::of("w".as_ref()));
        assert_eq!(end(Kind::Child, EXIT_7), (Exit::Code(7), Leaves::Nothing));
        assert_eq!(end(Kind::Free(None), KILLED), (killed, Leaves::Strays));
        assert_eq!(end(Kind::Free(Some(worker)), KILLED), (killed, Leaves::OfWorker(worker)));
    }
}
