//! What the machine allows: each limit is one part of a spawn with nothing around it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use crate::bare::{self, Bare};
use crate::http::{Client, request};
use crate::server::{Durability, Server};
use crate::sheet::{millis, percentile};

/// The limits of one round, in milliseconds where nothing else is said.
pub(crate) struct Limits {
    /// A bare axum handler on loopback.
    pub(crate) http: f64,
    /// A SQLite commit of one row, WAL and NORMAL.
    commit: f64,
    /// The same, synced to the disk.
    synced: f64,
    /// From one process to another over Redis, and back.
    pub(crate) round_trip: f64,
    /// A minimal process from its start until it has two connections to Redis.
    pub(crate) start: f64,
    /// How many of those start in a second, one after the other without waiting.
    pub(crate) starts_per_second: f64,
}

impl Limits {
    pub(crate) fn measure(small: bool) -> anyhow::Result<Self> {
        let count = if small { 10 } else { 500 };
        let server = Server::start(Durability::Process, &[])?;
        let redis = server.redis();
        let limits = Self {
            http: http(count)?,
            commit: commit(count, SqliteSynchronous::Normal)?,
            synced: commit(count.min(100), SqliteSynchronous::Full)?,
            round_trip: round_trip(&redis, count)?,
            start: start(&redis, count.min(50))?,
            starts_per_second: starts_per_second(&redis, count.min(300))?,
        };
        server.stop()?;
        Ok(limits)
    }

    pub(crate) const fn commit(&self, durability: Durability) -> f64 {
        match durability {
            Durability::Process => self.commit,
            Durability::Full => self.synced,
        }
    }

    /// The parts of a spawn into a warm worker.
    pub(crate) fn spawn(&self, durability: Durability) -> f64 {
        self.http + self.commit(durability) + self.round_trip
    }
}

/// The median time of a call, after some that warm up.
fn median(count: usize, mut call: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    for _ in 0..count / 10 {
        call()?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        call()?;
        times.push(millis(started.elapsed()));
    }
    Ok(percentile(&mut times, 0.5))
}

fn http(count: usize) -> anyhow::Result<f64> {
    let mut server = Bare::start(bare::HTTP, None)?;
    let mut client = Client::connect(&server.line()?)?;
    let post = request("POST", "/", r#"{"project_id":"bench","role_type":"developer","pool_name":"warm"}"#);
    median(count, || client.send(&post)?.of_status(200).map(drop))
}

fn commit(count: usize, synchronous: SqliteSynchronous) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("muster-bench-").tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("limit.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = runtime.block_on(SqliteConnection::connect_with(&options))?;
    let table = "CREATE TABLE agents (id INTEGER PRIMARY KEY, body TEXT NOT NULL)";
    runtime.block_on(sqlx::query(table).execute(&mut connection))?;
    let took = median(count, || {
        let row =
            sqlx::query("INSERT INTO agents (body) VALUES ($1)").bind("the row of one agent, about as long as it is");
        runtime.block_on(row.execute(&mut connection))?;
        Ok(())
    });
    runtime.block_on(connection.close())?;
    took
}

/// Two sides, each with a connection that listens and one that speaks, as a master and its worker have.
fn round_trip(socket: &Path, count: usize) -> anyhow::Result<f64> {
    let (mut listens, mut speaks) = (subscriber(socket, "back")?, UnixStream::connect(socket)?);
    let (mut far_listens, mut far_speaks) = (subscriber(socket, "there")?, UnixStream::connect(socket)?);
    let total = count + count / 10;
    let far = std::thread::spawn(move || -> std::io::Result<()> {
        for _ in 0..total {
            hear(&mut far_listens)?;
            publish(&mut far_speaks, "back")?;
        }
        Ok(())
    });
    let took = median(count, || {
        publish(&mut speaks, "there")?;
        Ok(hear(&mut listens)?)
    })?;
    drop(far.join());
    Ok(took)
}

fn subscriber(socket: &Path, channel: &str) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes())?;
    hear(&mut stream)?;
    Ok(stream)
}

/// Speaks, and reads the answer: nobody leaves answers unread.
fn publish(stream: &mut UnixStream, channel: &str) -> std::io::Result<()> {
    stream.write_all(format!("PUBLISH {channel} 0123456789012345678901234567890123456789\r\n").as_bytes())?;
    hear(stream)
}

fn hear(stream: &mut UnixStream) -> std::io::Result<()> {
    let mut message = [0; 512];
    match stream.read(&mut message)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn start(socket: &Path, count: usize) -> anyhow::Result<f64> {
    let mut running = Vec::new();
    median(count, || {
        let mut worker = Bare::start(bare::WORKER, Some(socket))?;
        worker.line()?;
        running.push(worker);
        Ok(())
    })
}

fn starts_per_second(socket: &Path, count: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut workers = (0..count).map(|_| Bare::start(bare::WORKER, Some(socket))).collect::<Result<Vec<_>, _>>()?;
    for worker in &mut workers {
        worker.line()?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
