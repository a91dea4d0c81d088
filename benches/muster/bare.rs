//! The limits' other sides. They are processes of this same program, started with the name of one as its argument.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use nix::sys::prctl;
use nix::sys::signal::Signal;

/// A process with one thread and two connections to Redis, as a worker has.
pub(crate) const WORKER: &str = "bare-worker";
/// An HTTP server with one handler that does nothing.
pub(crate) const HTTP: &str = "bare-http";

/// Plays the part; `None` where the argument names none.
pub(crate) fn play(mut args: std::env::Args) -> Option<anyhow::Result<()>> {
    let part = args.nth(1)?;
    match part.as_str() {
        WORKER => Some(worker(&args.next()?)),
        HTTP => Some(http()),
        _ => None,
    }
}

fn worker(socket: &str) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = redis::Client::open(format!("redis+unix://{socket}"))?;
        let (calls, subscriber) = tokio::join!(client.get_multiplexed_async_connection(), client.get_async_pubsub());
        let (mut calls, mut subscriber) = (calls?, subscriber?);
        let hello = redis::cmd("PING");
        let (pong, subscribed) = tokio::join!(
            hello.query_async::<()>(&mut calls),
            subscriber.subscribe(format!("bare:{}", std::process::id()))
        );
        pong?;
        subscribed?;
        tell("ready")
    })
}

fn http() -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let router = axum::Router::new().route("/", axum::routing::post(|| async { "{}" }));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true)));
    runtime.spawn(async move { axum::serve(listener, router).await });
    tell(&address.to_string())
}

/// Says one line and then waits for the end of stdin: its owner holds it open as long as it is needed.
fn tell(line: &str) -> anyhow::Result<()> {
    println!("{line}");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Such a process, as seen by its owner. Dropping it ends it.
pub(crate) struct Bare {
    child: Child,
}

impl Bare {
    pub(crate) fn start(part: &str, socket: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(part).args(socket).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self { child: command.spawn()? })
    }

    /// Waits for its line.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let stdout = self.child.stdout.as_mut().context("read once")?;
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        anyhow::ensure!(!line.is_empty(), "{} ended early", self.child.id());
        Ok(String::from_utf8(line)?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
