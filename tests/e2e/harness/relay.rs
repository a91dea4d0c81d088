//! A relay before a Redis, which cuts single processes off: each caller is told apart by the pid that the kernel vouches for.

use std::collections::HashSet;
use std::io::copy;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A relay that runs. Dropping it ends it.
pub(crate) struct Relay {
    folder: tempfile::TempDir,
    calls: Arc<Mutex<Calls>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Calls {
    cut_off: HashSet<u32>,
    open: Vec<(u32, UnixStream)>,
    ended: bool,
}

impl Relay {
    /// Before the server at this socket.
    pub(crate) fn start(server: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("mp").tempdir_in("/tmp").expect("a folder");
        let listener = UnixListener::bind(folder.path().join("r.sock")).expect("a socket");
        let calls = Arc::new(Mutex::new(Calls::default()));
        let shared = Arc::clone(&calls);
        let thread = std::thread::spawn(move || {
            for caller in listener.incoming() {
                let caller = caller.expect("a caller");
                let (pid, mut calls) = (peer(&caller), lock(&shared));
                if calls.ended {
                    return;
                }
                if !calls.cut_off.contains(&pid) {
                    relay(&caller, &server);
                    calls.open.push((pid, caller));
                }
            }
        });
        Self { folder, calls, thread: Some(thread) }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Nothing of this process gets through any more.
    pub(crate) fn cut_off(&self, pid: u32) {
        let mut calls = lock(&self.calls);
        calls.cut_off.insert(pid);
        calls.open.retain(|(caller, stream)| {
            let is_its_own = *caller == pid;
            if is_its_own {
                drop(stream.shutdown(Shutdown::Both));
            }
            !is_its_own
        });
    }

    /// Everybody gets through again.
    pub(crate) fn let_in(&self) {
        lock(&self.calls).cut_off.clear();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("r.sock")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut calls = lock(&self.calls);
            calls.ended = true;
            calls.open.drain(..).for_each(|(_, stream)| drop(stream.shutdown(Shutdown::Both)));
        }
        drop(UnixStream::connect(self.socket()));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries bytes both ways until one side closes. Where the server is away the caller is sent off.
fn relay(caller: &UnixStream, server: &Path) {
    let Ok(server) = UnixStream::connect(server) else { return drop(caller.shutdown(Shutdown::Both)) };
    let ends = [caller, &server].map(|end| end.try_clone().expect("a descriptor"));
    let [mut from_caller, mut from_server] = ends;
    let (mut to_server, mut to_caller) = (server, caller.try_clone().expect("a descriptor"));
    std::thread::spawn(move || {
        drop(copy(&mut from_caller, &mut to_server));
        drop(to_server.shutdown(Shutdown::Both));
    });
    std::thread::spawn(move || {
        drop(copy(&mut from_server, &mut to_caller));
        drop(to_caller.shutdown(Shutdown::Both));
    });
}

/// The pid of who called.
fn peer(stream: &UnixStream) -> u32 {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("a small size");
    // SAFETY: a descriptor that lives, and a buffer of the length that is said.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0, "the kernel knows who called");
    peer.pid.cast_unsigned()
}
