//! Readers that go away: the program's own output is never a reason to end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{BOUND, Muster, Options, Request, run, wait_until};

/// A server in a folder of its own, whose end is waited for.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        crate::harness::faults::signal(self.0.id(), libc::SIGTERM);
        drop(self.0.wait());
    }
}

fn muster(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", folder).current_dir(folder);
    command
}

#[test]
fn a_server_outlives_the_reader_of_its_log() {
    let folder = tempfile::Builder::new().prefix("mp").tempdir_in("/tmp").expect("a folder");
    let data_dir = folder.path().join("d").display().to_string();
    // As in `muster serve 2>&1 | head`: both streams are one pipe, whose reader leaves early.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = muster(folder.path());
    command.args(["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"]);
    command.stdout(writer.try_clone().expect("a pipe")).stderr(writer).stdin(Stdio::null());
    let mut server = Server(command.spawn().expect("it starts"));
    drop(command);
    let first = BufReader::new(reader).lines().next().expect("a line").expect("text");
    let address = first.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    // Everything that it logs from here on goes nowhere.
    wait_until("it is ready", BOUND, || Request::new(address, "GET", "/ready").send().status == 200);
    run(folder.path(), &["spawn", "developer_pool", "--data-dir", &data_dir], &[]).expect(0);
    run(folder.path(), &["stop", "--data-dir", &data_dir], &[]).expect(0);
    assert_eq!(server.0.wait().expect("a child of ours").code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_is_named() {
    let folder = tempfile::Builder::new().prefix("mp").tempdir_in("/tmp").expect("a folder");
    let data_dir = folder.path().join("d").display().to_string();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let full = fill(&writer);
    let mut command = muster(folder.path());
    command.args(["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::null()).stderr(writer).stdin(Stdio::null());
    let mut server = Server(command.spawn().expect("it starts"));
    drop(command);
    let address = || std::fs::read_to_string(folder.path().join("d/muster.addr")).unwrap_or_default();
    wait_until("it has an address", BOUND, || !address().is_empty());
    let address = address();
    let health = || Request::new(&address, "GET", "/health").send_for_text();
    wait_until("it is ready", BOUND, || Request::new(&address, "GET", "/ready").send().status == 200);
    run(folder.path(), &["spawn", "developer_pool", "--data-dir", &data_dir], &[]).expect(0);
    wait_until("it is named", BOUND, || health().contains("nobody reads stderr"));
    // Read again, it has all its lines, and says no more that it waits.
    std::io::copy(&mut reader.by_ref().take(full), &mut std::io::sink()).expect("read");
    let mut lines = BufReader::new(&mut reader).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains(&address), "{first}");
    wait_until("that is over", BOUND, || !health().contains("stderr"));
    drop(lines);
    // Its last words are not waited for.
    fill(&server_stderr(server.0.id()));
    run(folder.path(), &["stop", "--data-dir", &data_dir], &[]).expect(0);
    assert_eq!(server.0.wait().expect("a child of ours").code(), Some(0));
}

/// Another way into the pipe that is the stderr of this process.
fn server_stderr(pid: u32) -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/fd/2")).expect("its stderr")
}

/// Writes until nothing more fits; how many bytes that were. Those who write after it wait.
fn fill(pipe: &impl std::os::fd::AsFd) -> u64 {
    let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
    // A description of its own, since the flag belongs to that.
    let mut own =
        std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("the same pipe");
    let mut written = 0;
    while own.write(b"x").is_ok() {
        written += 1;
    }
    written
}

#[test]
fn a_command_whose_reader_went_away_ends_quietly() {
    let server = Muster::start(Options::default());
    server.spawn_many("developer_pool", 2);
    let url = format!("http://{}", server.address());
    for arguments in [&["ps"][..], &["ps", "--json"], &["pools"], &["status"], &["config"], &["--help"], &["--version"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = muster(server.folder());
        command.args(arguments).env("MUSTER_URL", &url).stdout(writer).stdin(Stdio::null());
        let ended = command.output().expect("it ends");
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}
