//! Bad requests and bad starts: each gets a clear answer, and nothing is lost by it.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::harness::{Answer, BOUND, Ended, Muster, Options, Request, developer, run, wait_until};

const SPAWN: &str = "/api/v1/agents/spawn";

/// A pool and an agent from before, which no bad request may touch.
struct Stage {
    muster: Muster,
    agent: String,
}

impl Stage {
    fn set() -> Self {
        let muster = Muster::start(Options::default());
        let agent = muster.spawn_many("developer_pool", 1).remove(0);
        Self { muster, agent }
    }

    fn post(&self, body: &str) -> Answer {
        self.muster.ask("POST", SPAWN).header("content-type", "application/json").body(body).send()
    }

    /// Nothing was made, nothing was lost, and a good request is served.
    fn assert_unharmed(&self) {
        let seen = self.muster.one_agent(&self.agent);
        assert_eq!((seen.state.as_str(), seen.epoch), ("idle", 1));
        assert_eq!(self.muster.all_agents().len(), 1, "nothing was made");
        let answer = self.muster.spawn("developer_pool");
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(self.muster.terminate(answer.text("agent_id")).status, 200);
        assert_eq!(self.muster.get("/health").text("status"), "ok");
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.body["status"], status);
    assert!(answer.text("detail").len() > 10, "it says what to do: {answer:?}");
}

#[test]
fn bodies_that_are_wrong() {
    let stage = Stage::set();
    let good = developer("developer_pool").to_string();
    let deep = "[".repeat(100_000);
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        ("rubbish", 400, "invalid_json"),
        ("\u{0}\u{1}", 400, "invalid_json"),
        (deep.as_str(), 400, "invalid_json"),
        (&format!("{good} {good}"), 400, "invalid_json"),
        ("[]", 422, "invalid_field"),
        ("7", 422, "invalid_field"),
        ("null", 422, "invalid_field"),
        ("{}", 422, "invalid_field"),
        (r#"["shop", "developer", "developer_pool"]"#, 422, "invalid_field"),
        (r#"{"project_id": 7, "role_type": "developer", "pool_name": "developer_pool"}"#, 422, "invalid_field"),
        (r#"{"project_id": "", "role_type": "developer", "pool_name": "developer_pool"}"#, 422, "invalid_field"),
        (
            r#"{"project_id": "a", "role_type": "developer", "pool_name": "developer_pool", "max_idle_time": "long"}"#,
            422,
            "invalid_field",
        ),
        (
            r#"{"project_id": "a", "role_type": "developer", "pool_name": "developer_pool", "max_idle_time": 0}"#,
            422,
            "invalid_field",
        ),
        (
            r#"{"project_id": "a", "role_type": "developer", "pool_name": "developer_pool", "command": "rm"}"#,
            422,
            "invalid_field",
        ),
        (
            r#"{"project_id": "a", "project_id": "b", "role_type": "developer", "pool_name": "developer_pool"}"#,
            422,
            "invalid_field",
        ),
    ] {
        let answer = stage.post(body);
        assert_eq!((answer.status, answer.code()), (status, code), "{body:.200}: {answer:?}");
        assert_refused(&answer, status, code);
    }
    let long = json!({"project_id": "a".repeat(129), "role_type": "developer", "pool_name": "developer_pool"});
    assert_refused(&stage.post(&long.to_string()), 422, "invalid_field");
    let not_text = stage.muster.ask("POST", SPAWN).header("content-type", "application/json").body([0xff, 0xfe, 0x00]);
    assert_refused(&not_text.send(), 400, "invalid_json");
    // The wrong field is named.
    let answer =
        stage.post(r#"{"project_id": "a", "role_type": "developer", "pool_name": "developer_pool", "colour": 1}"#);
    assert!(answer.text("detail").contains("colour"), "{answer:?}");
    stage.assert_unharmed();
}

#[test]
fn bodies_that_are_too_large() {
    let stage = Stage::set();
    let mut body = developer("developer_pool");
    body["project_id"] = json!("a".repeat(1 << 20));
    assert_refused(&stage.post(&body.to_string()), 413, "body_too_large");
    assert_refused(&stage.post(&"[".repeat(5 << 20)), 413, "body_too_large");
    // As many bytes as are allowed are read, and judged for what they say.
    let padded = format!("{}{}", developer("nobody"), " ".repeat((1 << 20) - developer("nobody").to_string().len()));
    assert_eq!(padded.len(), 1 << 20);
    assert_refused(&stage.post(&padded), 404, "unknown_pool");
    stage.assert_unharmed();
}

#[test]
fn what_is_not_said_to_be_json() {
    let stage = Stage::set();
    let body = developer("developer_pool").to_string();
    let ask = || stage.muster.ask("POST", SPAWN).body(body.clone());
    assert_refused(&ask().send(), 415, "not_json");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"]
    {
        assert_refused(&ask().header("content-type", kind).send(), 415, "not_json");
    }
    let answer = ask().header("content-type", "application/json; charset=utf-8").send();
    assert_eq!(answer.status, 201, "{answer:?}");
    stage.muster.terminate(answer.text("agent_id"));
    stage.assert_unharmed();
}

#[test]
fn pages_of_others_and_names_that_are_not_ours() {
    let stage = Stage::set();
    let body = developer("developer_pool");
    let ask = |name: &str, value: &str| stage.muster.ask("POST", SPAWN).header(name, value).json(&body).send();
    for host in ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1"] {
        assert_refused(&ask("host", host), 403, "unknown_host");
    }
    for origin in ["http://evil.example", "https://127.0.0.1", "null", "http://127.0.0.1:1"] {
        assert_refused(&ask("origin", origin), 403, "foreign_origin");
    }
    // Reading is refused too.
    assert_refused(
        &stage.muster.ask("GET", "/api/v1/agents").header("host", "evil.example").send(),
        403,
        "unknown_host",
    );
    let (_, port) = stage.muster.address().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a port");
    let local = stage.muster.ask("GET", "/api/v1/agents").header("host", &format!("localhost:{port}"));
    assert_eq!(local.header("origin", &format!("http://localhost:{port}")).send().status, 200, "its own pages may");
    stage.assert_unharmed();
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let stage = Stage::set();
    for path in ["/api/v1/agents/spawn", "/api/v1/agents/terminate", "/api/v1/agents/bulk/spawn", "/api/v1/system/stop"]
    {
        let answer = stage.muster.get(path);
        // `/api/v1/agents/{agent_id}` is a path too, and these words are no ids.
        assert_refused(&answer, 405, "wrong_method");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "{answer:?}");
    }
    assert_refused(&stage.muster.delete(SPAWN), 405, "wrong_method");
    assert_refused(&stage.muster.post("/health", &json!({})), 405, "wrong_method");
    for path in ["/", "/nothing", "/api/v2/agents", "/api/v1/agents/../../etc/passwd", "/api/v1/nothing"] {
        assert_refused(&stage.muster.get(path), 404, "unknown_path");
    }
    assert_refused(&stage.muster.get("/api/v1/agents/no-id"), 404, "unknown_agent");
    assert_refused(&stage.muster.get("/api/v1/agents/..%2f..%2fetc%2fpasswd/logs"), 404, "unknown_agent");
    assert_refused(&stage.muster.get("/api/v1/agents/pools/%00"), 404, "unknown_pool");
    assert_refused(&stage.muster.get("/api/v1/agents?pool_name=nope"), 404, "unknown_pool");
    assert_refused(
        &stage.muster.post(&format!("{SPAWN}?wait=-1"), &developer("developer_pool")),
        422,
        "invalid_parameter",
    );
    assert_refused(
        &stage.muster.post(&format!("{SPAWN}?wait=soon"), &developer("developer_pool")),
        422,
        "invalid_parameter",
    );
    assert_refused(
        &stage.muster.post(&format!("{SPAWN}?weight=1"), &developer("developer_pool")),
        422,
        "invalid_parameter",
    );
    stage.assert_unharmed();
}

/// SHA-256 of `open sesame`, as `sha256sum` prints it.
const SESAME: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";

#[test]
fn with_keys_only_who_has_one_comes_in() {
    let muster = Muster::launch(Options::default().env("MUSTER_API_KEYS", format!("ali={SESAME}")));
    let ask = |method: &str, path: &str, key: Option<&str>| {
        let request = muster.ask(method, path);
        match key {
            Some(key) => request.header("authorization", &format!("Bearer {key}")),
            None => request,
        }
    };
    assert_eq!(ask("GET", "/health", None).send().status, 200, "what a load balancer asks");
    wait_until("it is ready", BOUND, || ask("GET", "/ready", Some("open sesame")).send().status == 200);
    for key in [None, Some("open"), Some("Open sesame"), Some(SESAME), Some("")] {
        for path in ["/api/v1/agents", "/ready", "/metrics", "/api/v1/events", "/nothing"] {
            let answer = ask("GET", path, key).send();
            assert_refused(&answer, 401, "unauthorized");
            assert!(answer.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{answer:?}");
        }
        assert_refused(&ask("POST", SPAWN, key).json(&developer("developer_pool")).send(), 401, "unauthorized");
    }
    let answer = ask("POST", SPAWN, Some("open sesame")).json(&developer("developer_pool")).send();
    assert_eq!(answer.status, 201, "{answer:?}");
    let data_dir = muster.data_dir().display().to_string();
    let ps = |key: &str| run(muster.folder(), &["--data-dir", &data_dir, "ps", "--json"], &[("MUSTER_API_KEY", key)]);
    assert_eq!(ps("open sesame").expect(0).json()["items"].as_array().map(Vec::len), Some(1));
    let refused = ps("wrong").expect(1);
    assert!(refused.stderr.contains("MUSTER_API_KEY"), "{refused:?}");
    assert!(!muster.log().contains("sesame"), "keys are never logged");
}

/// A folder for starts that fail.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("mf").tempdir_in("/tmp").expect("a folder")
}

/// `serve` that is expected to end by itself.
fn serve(folder: &Path, arguments: &[&str]) -> Ended {
    let data_dir = folder.join("d").display().to_string();
    let all = [&["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"], arguments].concat();
    run(folder, &all, &[])
}

#[track_caller]
fn assert_says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is missing: {ended:?}");
    }
}

#[test]
fn a_bad_config_is_told_with_file_line_and_key_and_nothing_starts() {
    let folder = folder();
    let file = folder.path().join("muster.toml");
    let path = file.display().to_string();
    let at = |line: u32| format!("{path}:{line}: ");
    for (text, line, key) in [
        ("log_format = 7\n", 1, "log_format"),
        ("\n[redis]\nulr = \"redis://x\"\n", 3, "redis.ulr"),
        ("[clocks]\nheartbeat = 9\n", 2, "clocks.heartbeat"),
        ("[pools.p]\nmax_agents = 1\n", 1, "pools.p"),
        ("[pools.p]\nrole_type = \"a\"\nruntime = \"none\"\n", 3, "pools.p.runtime"),
        ("[pools.\"no pool\"]\nrole_type = \"a\"\n", 1, "pools.no pool"),
        ("[runtimes.r]\nkind = \"exec\"\n", 1, "runtimes.r"),
        ("durability = \"some\"\n", 1, "durability"),
        ("this is no toml\n", 1, ""),
    ] {
        std::fs::write(&file, text).expect("a file");
        let ended = serve(folder.path(), &["--config", &path]);
        assert_says(&ended, 64, &[&at(line), key, "nothing was started"]);
        assert!(!folder.path().join("d").exists(), "nothing starts: {text}");
        assert_says(&run(folder.path(), &["config", "--config", &path], &[]), 64, &[&at(line)]);
    }
    assert_says(&serve(folder.path(), &["--config", "/no/such/file.toml"]), 64, &["/no/such/file.toml"]);
    // Several mistakes are told at once.
    std::fs::write(&file, "log_level = 1\ndurability = 2\n").expect("a file");
    assert_says(&serve(folder.path(), &["--config", &path]), 64, &[&at(1), &at(2)]);
    let env = run(folder.path(), &["serve"], &[("MUSTER_CLOCKS_PASS", "soon")]);
    assert_says(&env, 64, &["MUSTER_CLOCKS_PASS"]);
    let open = run(folder.path(), &["serve", "--listen", "0.0.0.0:0"], &[]);
    assert_says(&open, 64, &["--listen", "api.keys"]);
}

#[test]
fn what_can_not_work_is_told_at_the_start() {
    let config = "[runtimes.r]\nkind = \"exec\"\ncommand = [\"/no/such/program\"]\n\
                  [pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n";
    let muster = Muster::start(Options::config(config).env("MUSTER_WORKERS", "3"));
    let warnings: Vec<String> =
        muster.log().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect();
    for words in
        ["the pool p can't start: runtimes.r: there is no program /no/such/program", "MUSTER_WORKERS is no setting"]
    {
        assert!(warnings.iter().any(|line| line.contains(words)), "{words}: {warnings:?}");
    }
    let file = muster.folder().join("muster.toml").display().to_string();
    let shown = run(muster.folder(), &["config", "--config", &file], &[("MUSTER_WORKERS", "3")]).expect(0);
    assert_eq!(shown.stdout.matches("\nnote: ").count(), 2, "{shown:?}");
}

#[test]
fn with_keys_any_address_is_served() {
    let options = Options { listen: "0.0.0.0:0".to_owned(), ..Options::default() };
    let muster = Muster::launch(options.env("MUSTER_API_KEYS", format!("ali={SESAME}")));
    let port = muster.address().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let ask = || Request::new(&format!("127.0.0.1:{port}"), "GET", "/api/v1/agents/pools");
    let with_key = || ask().header("authorization", "Bearer open sesame").send();
    wait_until("it is ready", BOUND, || with_key().status == 200);
    assert_refused(&ask().send(), 401, "unauthorized");
}

#[test]
fn a_port_in_use_is_told() {
    let folder = folder();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let data_dir = folder.path().join("d").display().to_string();
    let ended = run(folder.path(), &["serve", "--data-dir", &data_dir, "--listen", &address], &[]);
    assert_says(&ended, 1, &["cannot listen on", &address, "another program may use the port"]);
}

#[test]
fn a_data_folder_that_can_not_be_is_told() {
    let folder = folder();
    // A file where a folder should be: also root can't make that one.
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let data_dir = folder.path().join("file").join("d").display().to_string();
    let ended = run(folder.path(), &["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"], &[]);
    assert_says(&ended, 1, &["cannot make the data folder", &data_dir]);
}

#[test]
fn a_database_that_is_none_is_told_and_left_alone() {
    let folder = folder();
    let data_dir = folder.path().join("d");
    std::fs::create_dir(&data_dir).expect("a folder");
    let database = data_dir.join("muster.db");
    let rubbish = "this is no database, and somebody may want it back\n".repeat(100);
    std::fs::write(&database, &rubbish).expect("a file");
    assert_says(&serve(folder.path(), &[]), 1, &["cannot open the store"]);
    assert_eq!(std::fs::read_to_string(&database).expect("it is still there"), rubbish);
    assert!(!data_dir.join("muster.addr").exists());
}

#[test]
fn migrations_are_run_by_a_command_and_newer_ones_are_respected() {
    let folder = folder();
    let data_dir = folder.path().join("d");
    let path = data_dir.display().to_string();
    let first = run(folder.path(), &["migrate", "--data-dir", &path], &[]).expect(0);
    assert!(first.stdout.contains("applied"), "{first:?}");
    let mode = std::fs::metadata(&data_dir).expect("it was made").permissions();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
    assert_eq!(mode & 0o777, 0o700, "closed to other users");
    let second = run(folder.path(), &["migrate", "--data-dir", &path], &[]).expect(0);
    assert!(second.stdout.contains("up to date"), "{second:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        use sqlx::{Connection, Executor};
        let url = format!("sqlite:{}", data_dir.join("muster.db").display());
        let mut database = sqlx::SqliteConnection::connect(&url).await.expect("the database opens");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'of the future', 1, x'00', 0)";
        database.execute(newer).await.expect("a row");
        database.close().await.expect("closed");
    });
    assert_says(&serve(folder.path(), &[]), 1, &["9999", "newer"]);
    assert_says(&run(folder.path(), &["migrate", "--data-dir", &path], &[]), 1, &["9999", "newer"]);
}

#[test]
fn requests_that_are_no_http_and_clients_that_hang_up_harm_nobody() {
    use std::io::Write;
    let stage = Stage::set();
    let address = stage.muster.address();
    for text in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"POST /api/v1/agents/spawn HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"proj"] {
        let mut socket = std::net::TcpStream::connect(&address).expect("a connection");
        socket.write_all(text).expect("sent");
    }
    stage.assert_unharmed();
}

#[test]
fn connections_take_no_files_from_the_supervisor() {
    let options = Options::default().through(&["sh", "-c", "ulimit -n 240; exec \"$@\"", "sh"]);
    let muster = Muster::start(options);
    let connect = || std::net::TcpStream::connect(muster.address()).expect("a connection");
    // More than there may be files, none of which ever asks for anything.
    let mut idle: Vec<_> = (0..400).map(|_| connect()).collect();
    let agent = muster.spawn_many("developer_pool", 1).remove(0);
    idle.extend((0..50).map(|_| connect()));
    assert_eq!(muster.terminate(&agent).status, 200);
    assert_eq!(muster.get("/health").text("status"), "ok");
    let count = muster.ask("GET", "/metrics").send_for_text();
    let count = count.split("\nmuster_http_connections ").nth(1).and_then(|rest| rest.lines().next());
    assert!(count.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count <= 80), "{count:?}");
    assert!(!muster.log().contains("cannot take connections"), "{}", muster.log());
}

#[test]
fn every_metric_has_a_help_text() {
    let muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 1);
    let page = muster.ask("GET", "/metrics").send_for_text();
    let names = |kind: &str| -> std::collections::BTreeSet<String> {
        let lines =
            page.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix(kind)?.split_whitespace().next());
        lines.map(str::to_owned).collect()
    };
    assert!(names("TYPE").len() > 20, "{page}");
    assert_eq!(names("TYPE"), names("HELP"), "{page}");
    assert!(page.contains("\nmuster_log_lines_dropped_total 0\n"), "{page}");
    match check_metrics(&page) {
        None => eprintln!("skipped: promtool (of Prometheus) is not installed"),
        Some((ended_well, words)) => assert!(ended_well, "{words}"),
    }
}

/// What promtool says of a page; `None` where there is no promtool.
fn check_metrics(page: &str) -> Option<(bool, String)> {
    let mut command = std::process::Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("promtool can't be started: {error}"),
    };
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let words = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Some((output.status.success(), words))
}
