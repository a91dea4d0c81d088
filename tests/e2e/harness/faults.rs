//! What the fault tests need beside a supervisor: a Redis and a PostgreSQL that they may stop, programs that will not
//! die, and a look at all processes.

use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Muster, wait_until};

/// How long a server of a test may take to start.
const START: Duration = Duration::from_secs(30);

/// Ends a process at once; one that is gone already is no error.
pub(crate) fn kill9(pid: u32) {
    signal(pid, libc::SIGKILL);
}

/// Sends a signal; one that is gone already is no error.
pub(crate) fn signal(pid: u32, signal: libc::c_int) {
    assert!(pid > 1, "0 would be every process of the tests");
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Its arguments, each ended by a space.
    pub(crate) command_line: String,
}

/// Every process whose command line contains `text`. A zombie has none.
pub(crate) fn processes_with(text: &str) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).filter(|process| process.command_line.contains(text)).collect()
}

/// The process with this pid, if it lives.
pub(crate) fn process(pid: u32) -> Option<Process> {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
    let command_line = String::from_utf8_lossy(&command_line).replace('\0', " ");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some(Process { pid, parent, command_line })
}

/// Whether the process lives; a zombie does not.
pub(crate) fn lives(pid: u32) -> bool {
    process(pid).is_some()
}

/// A server that ends with the test, also where the test is killed.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        // SAFETY: only a system call between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a server starts"))
    }

    fn end(mut self, how: libc::c_int) {
        signal(self.0.id(), how);
        // One that was made to stand still takes no other signal before.
        signal(self.0.id(), libc::SIGCONT);
        self.0.wait().expect("a child of ours");
    }
}

/// A Redis of a test's own, on a socket in a folder of its own.
pub(crate) struct RedisServer {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    server: Option<Server>,
}

impl RedisServer {
    /// Starts it; returns when it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("mr").tempdir_in("/tmp").expect("a folder");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Self { folder, arguments, server: None };
        redis.resume();
        redis
    }

    /// Starts it again, empty; returns when it answers.
    pub(crate) fn resume(&mut self) {
        let socket = self.socket();
        drop(std::fs::remove_file(&socket));
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        self.server = Some(Server::start(&mut command));
        wait_until("the Redis of the test answers", START, || UnixStream::connect(&socket).is_ok());
    }

    /// Ends it, as a crash does.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.end(libc::SIGKILL);
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("r.sock")
    }

    /// Its pid, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.0.id())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A PostgreSQL of a test's own, on a socket in a folder of its own.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    account: Option<(u32, u32)>,
    server: Option<Server>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("mpg").tempdir_in("/tmp").expect("a folder");
        let account = postgres_account();
        if let Some((uid, gid)) = account {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given away");
        }
        let mut postgres = Self { folder, account, server: None };
        let mut initdb = postgres.command("initdb");
        initdb.arg("-D").arg(postgres.data()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        let made = initdb.stdin(Stdio::null()).output().expect("initdb runs");
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        postgres.resume();
        postgres
    }

    /// Starts it, for the first time or again; returns when it takes connections.
    pub(crate) fn resume(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=", "-c", "fsync=off"]).stderr(Stdio::null());
        self.server = Some(Server::start(&mut command));
        let ready = || {
            let mut ask = self.command("pg_isready");
            ask.arg("-h").arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            ask.status().is_ok_and(|status| status.success())
        };
        wait_until("PostgreSQL takes connections", START, ready);
    }

    /// Stands still, with all its processes: it takes connections and says nothing.
    pub(crate) fn hang(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, number: libc::c_int) {
        let Some(Server(server)) = &self.server else { return };
        signal(server.id(), number);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).for_each(|pid| signal(pid, number));
    }

    /// Ends it at once: every transaction under way is lost, or was committed without an answer.
    pub(crate) fn stop(&mut self) {
        self.go_on();
        if let Some(server) = self.server.take() {
            server.end(libc::SIGQUIT);
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@localhost/postgres?host={}", self.folder.path().display())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL, as a user that it accepts: it refuses root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(postgres_binary(program));
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn postgres_account() -> Option<(u32, u32)> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("accounts");
    let line = accounts.lines().find(|line| line.starts_with("postgres:"));
    let line = line.unwrap_or_else(|| panic!("there is no user postgres: run `apt-get install postgresql`"));
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    Some((fields.next().expect("a user"), fields.next().expect("a group")))
}

fn postgres_binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    found.unwrap_or_else(|| panic!("there is no {name}: run `apt-get install postgresql`"))
}

/// A pool of wicked agents: each starts a grandchild that forks twice, begins a session, clears its environment and
/// ignores SIGTERM. Both block for ever on a named pipe, whose path marks them.
#[derive(Clone)]
pub(crate) struct Wicked {
    fifo: PathBuf,
}

impl Wicked {
    /// The pipe is made in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let fifo = folder.join(format!("wicked-{}.fifo", std::process::id()));
        let path = std::ffi::CString::new(fifo.to_str().expect("a path of text")).expect("no NUL");
        // SAFETY: a string that ends with a NUL.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0, "a named pipe can be made");
        Self { fifo }
    }

    /// The runtime's command, as a list of TOML. `$0` is the pipe.
    pub(crate) fn command(&self) -> String {
        let script = "( ( setsid env -i sh -c 'trap \\\"\\\" TERM HUP INT; exec cat \\\"$0\\\" \\\"$1\\\"' \\\"$0\\\" \
                      \\\"grand=$MUSTER_AGENT_ID\\\" & ) & ); exec env -i cat \\\"$0\\\" \\\"main=$MUSTER_AGENT_ID\\\"";
        format!("[\"sh\", \"-c\", \"{script}\", \"{}\"]", self.fifo.display())
    }

    /// Every process of every such agent.
    pub(crate) fn all(&self) -> Vec<Process> {
        processes_with(&self.fifo.display().to_string())
    }

    /// The agents' programs.
    pub(crate) fn mains(&self) -> Vec<Process> {
        self.all().into_iter().filter(|process| process.command_line.contains(" main=")).collect()
    }

    /// What they started.
    pub(crate) fn grandchildren(&self) -> Vec<Process> {
        self.all().into_iter().filter(|process| process.command_line.contains(" grand=")).collect()
    }
}

/// An agent as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) process_id: String,
    pub(crate) epoch: u64,
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
}

impl Agent {
    pub(crate) fn read(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("agent_id"),
            process_id: text("process_id"),
            epoch: json["epoch"].as_u64().expect("an epoch"),
            state: text("state"),
            pid: json["pid"].as_u64().and_then(|pid| pid.try_into().ok()),
        }
    }
}

/// A worker as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) pid: u32,
    pub(crate) agent_count: u64,
    pub(crate) max_agents: u64,
}

impl Worker {
    fn read(json: &Value) -> Self {
        Self {
            id: json["process_id"].as_str().expect("an id").to_owned(),
            pid: json["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or_default(),
            agent_count: json["agent_count"].as_u64().expect("a number"),
            max_agents: json["max_agents"].as_u64().expect("a number"),
        }
    }
}

/// Whether a JSON text begins so.
pub(crate) fn starts(json: &Value, with: &str) -> bool {
    json.as_str().is_some_and(|text| text.starts_with(with))
}

impl Muster {
    /// Every agent that is not at rest for good.
    pub(crate) fn all_agents(&self) -> Vec<Agent> {
        let answer = self.get("/api/v1/agents?limit=500");
        let items = answer.body["items"].as_array().unwrap_or_else(|| panic!("no list of agents: {answer:?}"));
        let agents = items.iter().map(Agent::read);
        agents.filter(|agent| !matches!(agent.state.as_str(), "terminated" | "failed")).collect()
    }

    /// One agent.
    pub(crate) fn one_agent(&self, id: &str) -> Agent {
        Agent::read(&self.get(&format!("/api/v1/agents/{id}")).body)
    }

    /// Every worker, by id: the oldest first. Waits until the process of each is known.
    pub(crate) fn all_workers(&self) -> Vec<Worker> {
        let mut workers: Vec<Worker> = Vec::new();
        wait_until("the processes of all workers are known", Duration::from_secs(20), || {
            let answer = self.get("/api/v1/agents/metrics/processes");
            let items = answer.body["processes"].as_array().unwrap_or_else(|| panic!("no list of workers: {answer:?}"));
            workers = items.iter().map(Worker::read).collect();
            workers.iter().all(|worker| worker.pid > 0)
        });
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        workers
    }

    /// Spawns agents of the role developer, one after the other, and waits for each to run.
    pub(crate) fn spawn_many(&self, pool: &str, count: usize) -> Vec<String> {
        let body = json!({"project_id": "p", "role_type": "developer", "pool_name": pool});
        let spawn = || {
            let answer = self.post("/api/v1/agents/spawn", &body);
            assert_eq!(answer.status, 201, "{answer:?}");
            answer.body["agent_id"].as_str().expect("an id").to_owned()
        };
        (0..count).map(|_| spawn()).collect()
    }

    /// Waits until every worker has sent so many heartbeats more: time as the workers have it.
    pub(crate) fn await_beats(&self, count: u64) {
        let beats = |redis: &mut redis::Connection| -> Option<u64> {
            let keys: Vec<String> = redis::cmd("KEYS").arg("process:*").query(redis).ok()?;
            let number = |key| redis::cmd("HGET").arg(key).arg("number").query::<Option<u64>>(redis).ok()?;
            keys.iter().map(number).collect::<Option<Vec<_>>>()?.into_iter().min()
        };
        let mut redis = self.redis();
        let goal = beats(&mut redis).map_or(count, |now| now + count);
        wait_until("the workers' hearts beat", Duration::from_secs(60), || {
            beats(&mut redis).is_some_and(|now| now >= goal)
        });
    }

    /// Waits until the registry, which workers write, has every running agent in exactly one worker.
    pub(crate) fn await_each_in_one_worker(&self) {
        let mut redis = self.redis();
        wait_until("each agent is in one worker", Duration::from_secs(20), || {
            let sets: Vec<String> = redis::cmd("KEYS").arg("pool:*:process:*:agents").query(&mut redis).expect("keys");
            let mut seen: Vec<String> = Vec::new();
            for set in sets {
                seen.extend(redis::cmd("SMEMBERS").arg(set).query::<Vec<String>>(&mut redis).expect("members"));
            }
            let mut known: Vec<String> = self.all_agents().into_iter().map(|agent| agent.id).collect();
            seen.sort();
            known.sort();
            seen == known
        });
    }

    /// Whether Redis, if it is the private one, takes connections.
    pub(crate) fn redis_answers(&self) -> bool {
        let folder = self.data_dir().join("redis");
        !folder.exists() || UnixStream::connect(folder.join("redis.sock")).is_ok()
    }

    /// The pid of the private Redis, where one runs.
    pub(crate) fn redis_pid(&self) -> Option<u32> {
        let socket = self.data_dir().join("redis").join("redis.sock").display().to_string();
        let servers = processes_with(&socket);
        servers.into_iter().find(|server| server.parent == self.pid()).map(|server| server.pid)
    }
}

/// Asks for an agent over a connection that may be cut off: the status and the agent's id, where an answer came.
pub(crate) fn try_spawn(address: &str, body: &Value) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let body = body.to_string();
    write!(
        stream,
        "POST /api/v1/agents/spawn HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    // Cut off in the middle it is no answer, however much of it came.
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let json: Value = serde_json::from_str(body).ok()?;
    Some((status, json["agent_id"].as_str().unwrap_or_default().to_owned()))
}

/// Writes another fence into the store, as if another supervisor had led.
pub(crate) fn take_the_lead_away(muster: &Muster) {
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut database =
            <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.expect("the database opens");
        sqlx::Executor::execute(&mut database, "UPDATE leader SET fence = fence + 1").await.expect("another fence");
        sqlx::Connection::close(database).await.expect("closed");
    });
}
