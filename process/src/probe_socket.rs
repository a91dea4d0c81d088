//! A worker's probe socket: a way to ask it how it is that needs no registry, no network and no file.
//!
//! It is a unix socket in the kernel's abstract namespace, named after the worker, so no agent and no lost folder can take
//! it away. Who comes is answered at once and sent off: nothing is read, so nobody can hold it up, and the answer is short
//! enough to never wait for its reader. A worker that hangs answers nobody, though the kernel goes on to let callers in:
//! that is what tells it from a worker without a probe socket, where nobody listens.
//!
//! Nobody can stand in for a worker: the name is taken while it lives, and whoever asks compares the pid that the
//! kernel vouches for. Only its own user is answered.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use muster_domain::ProcessId;
use nix::unistd::geteuid;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout_at};

/// The longest answer that is read.
const LONGEST: u64 = 4096;
/// Between two attempts to come in where many others knock, and to open where no descriptor is left.
const AGAIN: Duration = Duration::from_millis(20);

/// The worker's side.
#[derive(Debug)]
pub struct ProbeSocket {
    listener: Option<UnixListener>,
    /// Given up for a caller when there is no other descriptor left: a worker without any is still asked how it is.
    spare: Option<OwnedFd>,
}

/// Somebody who asks.
#[derive(Debug)]
pub struct ProbeCaller(UnixStream);

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeReply {
    /// It said this.
    Words(Vec<u8>),
    /// It has a probe socket, and did not answer in time.
    Silence,
    /// It has no probe socket.
    NoSocket,
}

impl ProbeSocket {
    /// Opens the probe socket of this worker. Needs a tokio runtime with IO.
    pub fn open(worker: ProcessId) -> io::Result<Self> {
        Ok(Self { listener: Some(UnixListener::bind(name(worker))?), spare: None })
    }

    /// One on which nobody can ask.
    pub const fn closed() -> Self {
        Self { listener: None, spare: None }
    }

    /// Waits for somebody who may ask; for ever where the probe socket is closed. Cancel-safe.
    pub async fn next_caller(&mut self) -> ProbeCaller {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        if self.spare.is_none() {
            self.spare = listener.as_fd().try_clone_to_owned().ok();
        }
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_of_this_user(&stream) => return ProbeCaller(stream),
                Ok(_) => {}
                Err(error) if self.spare.take().is_none() => {
                    tracing::debug!(%error, "nobody can be let in");
                    sleep(AGAIN).await;
                }
                Err(_) => {}
            }
        }
    }
}

impl ProbeCaller {
    /// Answers, and sends it off.
    pub fn answer(self, words: &[u8]) {
        // It goes into the kernel's buffer as a whole; who has left already misses it.
        let said = self.0.into_std().and_then(|mut stream| stream.write_all(words));
        if let Err(error) = said {
            tracing::debug!(%error, "who asked was not answered");
        }
    }
}

/// Asks the worker with this pid how it is, and waits so long at the most. An error means that it could not be asked,
/// and says nothing about the worker.
pub async fn ask(worker: ProcessId, pid: u32, patience: Duration) -> io::Result<ProbeReply> {
    let until = Instant::now() + patience;
    let stream = match timeout_at(until, enter(worker)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return Ok(ProbeReply::NoSocket),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(ProbeReply::Silence),
    };
    // Somebody else who took the name: then the worker has none.
    if stream.peer_cred()?.pid().map(i32::cast_unsigned) != Some(pid) {
        return Ok(ProbeReply::NoSocket);
    }
    let mut words = Vec::new();
    match timeout_at(until, stream.take(LONGEST).read_to_end(&mut words)).await {
        Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(ProbeReply::Words(words)),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(ProbeReply::Silence),
    }
}

/// Comes in, where need be after others.
async fn enter(worker: ProcessId) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(name(worker)).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

fn is_of_this_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// The leading NUL makes it an abstract name.
fn name(worker: ProcessId) -> String {
    format!("\0muster-worker-{worker}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn serve(mut socket: ProbeSocket) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                socket.next_caller().await.answer(b"well");
            }
        })
    }

    #[tokio::test]
    async fn who_asks_is_answered_however_many_do() {
        let worker = ProcessId::generate();
        let task = serve(ProbeSocket::open(worker).expect("a probe socket"));
        let asks = (0..300).map(|_| tokio::spawn(ask(worker, std::process::id(), PATIENCE)));
        for asked in asks.collect::<Vec<_>>() {
            assert_eq!(asked.await.expect("no panic").expect("asked"), ProbeReply::Words(b"well".to_vec()));
        }
        task.abort();
    }

    #[tokio::test]
    async fn who_lets_callers_in_and_does_not_answer_is_silent() {
        let worker = ProcessId::generate();
        let _hung = ProbeSocket::open(worker).expect("a probe socket");
        let patience = Duration::from_millis(50);
        assert_eq!(ask(worker, std::process::id(), patience).await.expect("asked"), ProbeReply::Silence);
    }

    #[tokio::test]
    async fn where_nobody_listens_or_somebody_else_does_there_is_no_probe_socket() {
        let worker = ProcessId::generate();
        assert_eq!(ask(worker, 1, PATIENCE).await.expect("asked"), ProbeReply::NoSocket);
        let task = serve(ProbeSocket::open(worker).expect("a probe socket"));
        assert_eq!(ask(worker, std::process::id() + 1, PATIENCE).await.expect("asked"), ProbeReply::NoSocket);
        assert!(ProbeSocket::open(worker).is_err(), "the name is taken while it lives");
        task.abort();
    }
}
