//! What this host gives to hold a tree with, found by trying. Whether a zygote may make inits there is not tried here, but found by its
//! first order: whoever may not has them forked ([`TreeMaker`](crate::tree_maker::TreeMaker)), which is as good a hold.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use crate::fork::{ForkSide, SignalsBlocked, clone_process};
use crate::init::mount_proc;
use crate::sys;

/// How a tree is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// By a pid namespace, whose end the kernel makes the end of all in it.
    PidNamespace {
        /// Whether it needs a user namespace, since this process may not make the other alone.
        user_namespace: bool,
        /// Whether a `/proc` of its own can be mounted, so that `ps` in the tree shows the tree.
        private_proc: bool,
    },
    /// By an init that is a subreaper.
    BestEffort,
}

/// What this host gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// No process can leave its tree.
    PidNamespace {
        /// Whether a user namespace is needed for it.
        user_namespace: bool,
        /// Whether a `/proc` of its own can be mounted.
        private_proc: bool,
    },
    /// A program that changes its user or its limits, and whose init is killed in the same moment as its owners, may be left behind.
    BestEffort {
        /// Why there is nothing better.
        why: String,
    },
}

impl Ownership {
    /// How trees are held by default.
    pub const fn means(&self) -> Means {
        match *self {
            Self::PidNamespace { user_namespace, private_proc } => Means::PidNamespace { user_namespace, private_proc },
            Self::BestEffort { .. } => Means::BestEffort,
        }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PidNamespace { user_namespace: false, .. } => f.write_str("pid namespace"),
            Self::PidNamespace { user_namespace: true, .. } => f.write_str("pid namespace in a user namespace"),
            Self::BestEffort { why } => write!(
                f,
                "best effort: {why}; a program that changes its user or its limits may outlive a kill of its worker and its init"
            ),
        }
    }
}

/// What this host gives. Tried once; `MUSTER_OWNERSHIP=best-effort` in the environment forgoes the better.
pub fn ownership() -> &'static Ownership {
    static OWNERSHIP: OnceLock<Ownership> = OnceLock::new();
    OWNERSHIP.get_or_init(|| match std::env::var("MUSTER_OWNERSHIP") {
        Ok(forced) if forced == "best-effort" => Ownership::BestEffort { why: "MUSTER_OWNERSHIP asks for it".into() },
        _ => find(),
    })
}

fn find() -> Ownership {
    let alone = match probe(false) {
        Ok(private_proc) => return Ownership::PidNamespace { user_namespace: false, private_proc },
        Err(error) => error,
    };
    match probe(true) {
        Ok(private_proc) => Ownership::PidNamespace { user_namespace: true, private_proc },
        Err(error) => {
            Ownership::BestEffort { why: format!("no pid namespace ({alone}), nor with a user namespace ({error})") }
        }
    }
}

/// What a probe's process exits with.
const WORKS: i32 = 0;
const WORKS_WITHOUT_PROC: i32 = 1;

/// Makes such a namespace with a process in it, and says whether a `/proc` could be mounted.
fn probe(user_namespace: bool) -> io::Result<bool> {
    match probe_with(user_namespace, true) {
        Ok(WORKS) => Ok(true),
        Ok(WORKS_WITHOUT_PROC) => Ok(false),
        // A mount namespace may be what was refused.
        _ => match probe_with(user_namespace, false)? {
            WORKS | WORKS_WITHOUT_PROC => Ok(false),
            code => Err(io::Error::other(format!("it does not work in it: code {code}"))),
        },
    }
}

fn probe_with(user_namespace: bool, private_proc: bool) -> io::Result<i32> {
    let means = Means::PidNamespace { user_namespace, private_proc };
    let maps = user_namespace.then(Maps::own);
    let blocked = SignalsBlocked::all();
    // No signal at its end makes it invisible to a spawner that waits for any child.
    // SAFETY: the child does nothing but try, and exits.
    let pid = match unsafe { clone_process(means.clone_flags()) }? {
        ForkSide::Child => unsafe { try_out(maps.as_ref(), private_proc) },
        ForkSide::Parent { pid, .. } => pid as libc::pid_t,
    };
    drop(blocked);
    let mut status = 0;
    loop {
        // SAFETY: our own child.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid {
            return Ok(libc::WEXITSTATUS(status) | if libc::WIFEXITED(status) { 0 } else { 64 });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The probe's process: what an init does, in short.
unsafe fn try_out(maps: Option<&Maps>, private_proc: bool) -> ! {
    // SAFETY: system calls that are safe after a fork.
    unsafe {
        if maps.is_some_and(|maps| maps.write().is_err()) {
            libc::_exit(2);
        }
        let mounted = private_proc && mount_proc();
        match clone_process(libc::SIGCHLD) {
            Ok(ForkSide::Child) => libc::_exit(if libc::getppid() == 1 { 0 } else { 3 }),
            Ok(ForkSide::Parent { pid, .. }) => {
                let mut status = 0;
                libc::waitpid(pid as libc::pid_t, &raw mut status, 0);
                libc::_exit(match status {
                    0 if mounted => WORKS,
                    0 => WORKS_WITHOUT_PROC,
                    _ => 3,
                });
            }
            Err(_) => libc::_exit(4),
        }
    }
}

impl Means {
    /// Whether an init may share the memory of whoever makes it. In a user namespace it writes who it is, which the kernel lets only a
    /// process do whose memory is its own; without a namespace it must be able to act while its program is being started.
    pub(crate) const fn shares_memory(self) -> bool {
        matches!(self, Self::PidNamespace { user_namespace: false, .. })
    }

    /// The flags of `clone` for an init, without the signal at its end.
    pub(crate) const fn clone_flags(self) -> libc::c_int {
        match self {
            Self::BestEffort => 0,
            Self::PidNamespace { user_namespace, private_proc } => {
                libc::CLONE_NEWPID
                    | if user_namespace { libc::CLONE_NEWUSER } else { 0 }
                    | if private_proc { libc::CLONE_NEWNS } else { 0 }
            }
        }
    }
}

/// Who the user of this process is in a user namespace: itself, and nobody else.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    user: MapLine,
    group: MapLine,
}

impl Maps {
    pub(crate) fn own() -> Self {
        let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Self { user: MapLine::of(user), group: MapLine::of(group) }
    }

    /// Writes them for this process, which is in a user namespace that has none yet.
    pub(crate) fn write(&self) -> sys::Result<()> {
        // A process without rights may map a group only where it has renounced setgroups.
        sys::write_file(c"/proc/self/setgroups", b"deny")?;
        sys::write_file(c"/proc/self/uid_map", self.user.text())?;
        sys::write_file(c"/proc/self/gid_map", self.group.text())
    }
}

/// One id and its namesake, in memory that need not be allocated.
#[derive(Clone, Copy)]
struct MapLine {
    /// Two ids of ten digits, and a count of one.
    bytes: [u8; 24],
    length: usize,
}

impl MapLine {
    fn of(id: u32) -> Self {
        let mut bytes = [0; 24];
        let text = format!("{id} {id} 1");
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self { bytes, length: text.len() }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
