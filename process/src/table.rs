//! The nursery's children: every process that this one started and has not reaped.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::child::Exit;
use crate::cord::Cord;
use crate::init::PROVEN;

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
    /// One that does not.
    Free,
}

/// A child that ended.
pub(crate) struct Ended {
    how: Exit,
    exit: oneshot::Sender<Exit>,
    /// Whether what it left may have come to this process, and must be dead before its end is told.
    pub(crate) leaves_strays: bool,
}

impl Ended {
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
        let (how, leaves_strays) = match kind {
            Kind::Namespace(cord) => (program(&cord), false),
            Kind::Subreaper(cord) => (program(&cord), own != Exit::Code(PROVEN)),
            Kind::Child => (own, false),
            // Its trees' inits come to us with its end; in a namespace they are being killed, else they are killing.
            Kind::Free => (own, true),
        };
        Some(Ended { how, exit, leaves_strays })
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

    /// What is told of a child of this kind that ended so, and whether strays are looked for.
    fn end(kind: Kind, status: i32) -> (Exit, bool) {
        let (mut table, (exit, mut watch)) = (Table::default(), oneshot::channel());
        table.add(1, Ward { kind, exit });
        assert!(table.has(1) && table.pids().eq([1]));
        let ended = table.remove(1, status).expect("it is in the table");
        assert!(!table.has(1) && table.remove(1, status).is_none());
        let leaves_strays = ended.leaves_strays;
        ended.tell();
        (watch.try_recv().expect("told"), leaves_strays)
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
        for (said, status, namespace, subreaper) in [
            (Some(EXIT_7), PROVEN, (Exit::Code(7), false), (Exit::Code(7), false)),
            (Some(EXIT_7), KILLED, (Exit::Code(7), false), (Exit::Code(7), true)),
            (None, PROVEN, (killed, false), (killed, false)),
            (None, KILLED, (killed, false), (killed, true)),
        ] {
            assert_eq!(end(Kind::Namespace(cord(said)), status), namespace);
            assert_eq!(end(Kind::Subreaper(cord(said)), status), subreaper);
        }
    }

    #[test]
    fn a_process_without_an_init_speaks_for_itself() {
        assert_eq!(end(Kind::Child, EXIT_7), (Exit::Code(7), false));
        assert_eq!(end(Kind::Free, KILLED), (Exit::Signal(libc::SIGKILL), true));
    }
}
