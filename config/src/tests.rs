//! Configurations as people write them, good and bad.

use std::path::Path;

use super::table_tests::POOLS;
use super::*;

/// A folder with the files of one test, and the environment of a user in it.
pub(super) struct TestFolder {
    folder: tempfile::TempDir,
    environment: Environment,
    flags: Flags,
}

impl TestFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        let home = folder.path().join("home").display().to_string();
        let environment = Environment {
            variables: BTreeMap::from([("HOME".to_owned(), home)]),
            folder: folder.path().to_owned(),
            root: false,
        };
        Self { folder, environment, flags: Flags::default() }
    }

    pub(super) fn with_file(text: &str) -> Self {
        let place = Self::new();
        place.write("muster.toml", text);
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.flags.set(key, Some(value.to_owned()));
        self
    }

    pub(super) fn load(&self) -> Config {
        load(&self.flags, &self.environment).unwrap_or_else(|error| panic!("the configuration is good: {error}"))
    }

    /// The mistakes, with the test's folder left out.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let error = load(&self.flags, &self.environment).expect_err("a mistake").to_string();
        error.replace(&format!("{}/", self.path().display()), "").lines().map(str::to_owned).collect()
    }

    fn origin(&self, key: &str) -> String {
        let shown = self.load().shown;
        let origin = shown.iter().find(|s| s.key == key).expect("a setting").origin.to_string();
        origin.replace(&format!("{}/", self.path().display()), "")
    }
}

pub(super) fn mistake_of(file: &str) -> String {
    TestFolder::with_file(file).mistakes().join(" | ")
}

#[test]
fn nothing_said_gives_the_defaults() {
    let place = TestFolder::new();
    let config = place.load();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.data_dir, place.path().join("home/.local/share/muster"));
    assert_eq!(config.database, Database::Sqlite(config.data_dir.join("muster.db")));
    assert_eq!(config.clocks, Clocks::default());
    assert_eq!((config.redis.url, config.redis.fallback), (None, redis::Fallback::Wait));
    assert_eq!(config.runtimes, BTreeMap::from([("echo".to_owned(), RuntimeProfile::Echo)]));
    assert!(config.pools.is_empty() && config.notes.is_empty() && config.file.is_none());
    assert_eq!(config.shown.len(), settings::SETTINGS.len(), "every setting is read, and so shown");
    let place = place.env("XDG_DATA_HOME", "/xdg");
    assert_eq!(place.load().data_dir, Path::new("/xdg/muster"));
    let root = Environment { root: true, ..place.environment };
    assert_eq!(root.default_data_dir(), Path::new("/var/lib/muster"));
}

#[test]
fn the_order_is_flag_environment_dotenv_file_default() {
    let mut place = TestFolder::new();
    let seen = |place: &TestFolder| (place.load().listen.port(), place.origin("listen"));
    assert_eq!(seen(&place), (8000, "default".to_owned()));
    place.write("muster.toml", "# ours\nlisten = '127.0.0.1:1'\n");
    assert_eq!(seen(&place), (1, "muster.toml:2".to_owned()));
    place.write(".env", "\n\nMUSTER_LISTEN=127.0.0.1:2\n");
    assert_eq!(seen(&place), (2, ".env:3".to_owned()));
    place = place.env("MUSTER_LISTEN", "127.0.0.1:3");
    assert_eq!(seen(&place), (3, "MUSTER_LISTEN".to_owned()));
    place = place.flag("listen", "localhost:4");
    assert_eq!(seen(&place), (4, "--listen".to_owned()));
    let place = place.env("MUSTER_LISTEN", "");
    place.write(".env", "");
    assert_eq!(seen(&place), (4, "--listen".to_owned()));
}

#[test]
fn the_opposite_of_use_multiprocessing_is_single_process() {
    let place = TestFolder::new().env("USE_MULTIPROCESSING", "False");
    assert_eq!((place.load().single_process, place.origin("single_process")), (true, "USE_MULTIPROCESSING".to_owned()));
    place.write("muster.toml", "single_process = false");
    assert!(place.load().single_process, "the environment goes before the file");
    let own = place.env("MUSTER_SINGLE_PROCESS", "false");
    assert_eq!((own.load().single_process, own.origin("single_process")), (false, "MUSTER_SINGLE_PROCESS".to_owned()));
    let many = TestFolder::with_file("single_process = true").env("USE_MULTIPROCESSING", "1");
    assert!(!many.load().single_process);
    let wrong = TestFolder::new().env("USE_MULTIPROCESSING", "maybe");
    assert_eq!(
        wrong.mistakes(),
        ["USE_MULTIPROCESSING: USE_MULTIPROCESSING: true or false is expected, not \"maybe\""]
    );
}

#[test]
fn an_empty_variable_says_nothing() {
    let place = TestFolder::with_file("log_format = 'json'").env("MUSTER_LOG_FORMAT", "");
    assert_eq!(place.load().log_format, LogFormat::Json);
}

#[test]
fn the_file_is_found_in_this_order() {
    let place = TestFolder::new();
    let port = |place: &TestFolder| place.load().listen.port();
    place.write("home/.local/share/muster/muster.toml", "listen = '127.0.0.1:1'");
    assert_eq!(port(&place), 1, "in the data folder");
    place.write("muster.toml", "listen = '127.0.0.1:2'");
    assert_eq!(port(&place), 2, "in the current folder");
    place.write("b/c.toml", "listen = '127.0.0.1:3'");
    place.write("b/.env", "MUSTER_DURABILITY=full");
    let mut place = place.env("MUSTER_CONFIG", "b/c.toml");
    assert_eq!(port(&place), 3, "named by the environment");
    assert_eq!(place.load().durability, DurabilitySetting::Full, "with the .env beside it");
    place.write("d.toml", "listen = '127.0.0.1:4'");
    place.flags.config = Some("d.toml".into());
    assert_eq!(port(&place), 4, "named by the flag");
    place.flags.config = Some("none.toml".into());
    assert!(place.mistakes()[0].starts_with("--config: none.toml can't be read"), "{:?}", place.mistakes());
}

#[test]
fn what_an_agent_has_put_in_the_place_of_a_file_holds_nobody_up() {
    let place = TestFolder::new();
    let data_dir = place.path().join("home/.local/share/muster");
    std::fs::create_dir_all(&data_dir).expect("a folder");
    let fifo = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(data_dir.join(name)).status().expect("mkfifo runs");
        assert!(made.success());
    };
    fifo(".env");
    place.write("home/.local/share/muster/muster.toml", "listen = '127.0.0.1:1'");
    assert_eq!(place.load().listen.port(), 1);
    std::fs::remove_file(data_dir.join("muster.toml")).expect("removed");
    fifo("muster.toml");
    assert!(place.mistakes()[0].contains("is a FIFO and no file"), "{:?}", place.mistakes());
}

#[test]
fn a_file_found_in_the_data_folder_can_not_move_it() {
    let place = TestFolder::new();
    place.write("home/.local/share/muster/muster.toml", "\ndata_dir = '/elsewhere'");
    let mistakes = place.mistakes();
    assert!(mistakes[0].starts_with("home/.local/share/muster/muster.toml:2: data_dir: "), "{mistakes:?}");
}

#[test]
fn paths_of_the_file_count_from_its_folder() {
    let file = "data_dir = 'data'\n[redis]\nserver = '~/bin/valkey-server'\n\
                [runtimes.py]\nkind = 'exec'\ncommand = ['python3', 'agent.py']\ncwd = '.'\n";
    let place = TestFolder::new().env("MUSTER_CONFIG", "etc/muster.toml");
    place.write("etc/muster.toml", file);
    let config = place.load();
    assert_eq!(config.data_dir, place.path().join("etc/data"));
    assert_eq!(config.redis.server, Some(place.path().join("home/bin/valkey-server")));
    let RuntimeProfile::Exec(py) = &config.runtimes["py"] else { panic!("an exec profile") };
    assert_eq!(py.cwd, Some(place.path().join("etc")));
    let place = place.flag("data_dir", "here");
    assert_eq!(place.load().data_dir, place.path().join("here"), "a flag counts from the current folder");
}

#[test]
fn a_mistake_names_file_line_and_key() {
    let cases = [
        ("listen = 8000", "muster.toml:1: listen: a text in quotes is expected, not an integer"),
        ("listen = 'here'", "muster.toml:1: listen: ADDRESS:PORT is expected, as in 127.0.0.1:8000, not \"here\""),
        ("\nlisen = 'x'", "muster.toml:2: lisen: there is no such key; the nearest is listen"),
        ("[redis]\nulr = 'x'", "muster.toml:2: redis.ulr: there is no such key; the nearest is redis.url"),
        ("[clock]\nstale = 1", "muster.toml:1: clock: there is no such key; the nearest is clocks"),
        ("redis = 'x'", "muster.toml:1: redis: a table is expected, as in [redis]"),
        (
            "redis.url = 'http://x'",
            "muster.toml:1: redis.url: redis://HOST:PORT/DB, rediss://... or redis+unix:///PATH is expected",
        ),
        ("single_process = 'yes'", "muster.toml:1: single_process: true or false is expected, not a text"),
        ("log_format = 'xml'", "muster.toml:1: log_format: text or json is expected, not \"xml\""),
        ("[api]\nhosts = [\n  'a',\n  5\n]", "muster.toml:4: api.hosts: a text is expected, not the number 5"),
        ("[[api.keys]]\nname = 'a'\nsha256 = 7", "muster.toml:3: api.keys: a text is expected, not the number 7"),
        ("[api]\nkeys = [['a', 'hash']]", "muster.toml:2: api.keys: a table of fields is expected, not a list"),
        ("listen = 99999999999999999999", "muster.toml:1: listen: a text in quotes is expected, not an integer"),
        (
            "[database]\nmax_connections = 'x'",
            "muster.toml:2: database.max_connections: a whole number from 2 to 10 is expected, not a text",
        ),
        ("durability = 'none'", "muster.toml:1: durability: process or full is expected, not \"none\""),
        (
            "[database]\nmax_connections = 11",
            "muster.toml:2: database.max_connections: a whole number from 2 to 10 is expected, not \"11\"",
        ),
        ("[database]\nurl = 'mysql://x'", "muster.toml:2: database.url: postgresql://... or sqlite:PATH is expected"),
        ("[clocks]\n\nstale = 'x'", "muster.toml:3: clocks.stale: a number of seconds from 0 is expected, not a text"),
        ("[clocks]\nstale = -1", "muster.toml:2: clocks.stale: a number of seconds from 0 is expected, not \"-1\""),
        (
            "[clocks]\nheartbeat = 4",
            "muster.toml:2: clocks.heartbeat: 3 x heartbeat (3 x 4 s = 12 s) is above stale (10 s)",
        ),
        ("[clocks]\nlease = 700.5\n", "muster.toml:2: clocks.lease: lease (700.5 s) is above orphan_after (600 s)"),
    ];
    for (file, expected) in cases {
        assert_eq!(mistake_of(file), expected, "{file}");
    }
    let broken = mistake_of("listen = 'a'\nx = = 2\n");
    assert!(broken.starts_with("muster.toml:2: this is no TOML: "), "{broken}");
    for level in ["a=b=c", "muster_store=loud", "[task]=debug"] {
        let mistake = mistake_of(&format!("log_level = '{level}'"));
        assert!(mistake.starts_with("muster.toml:1: log_level: a level is expected"), "{mistake}");
    }
}

#[test]
fn levels_are_those_of_all_and_of_single_modules() {
    let levels = |text: &str| TestFolder::with_file(&format!("log_level = '{text}'")).load().log_level.to_string();
    assert_eq!(levels("warn, muster_supervisor=debug,"), "muster_supervisor=debug,warn");
    assert_eq!(levels("DEBUG"), "debug");
    assert_eq!(levels("muster_store"), "muster_store=trace");
}

#[test]
fn all_clocks_that_contradict_each_other_are_told() {
    let place = TestFolder::with_file("[clocks]\nheartbeat = 4\nlease = 700\n");
    let expected = [
        "muster.toml:2: clocks.heartbeat: 3 x heartbeat (3 x 4 s = 12 s) is above stale (10 s)",
        "muster.toml:3: clocks.lease: lease (700 s) is above orphan_after (600 s)",
    ];
    assert_eq!(place.mistakes(), expected);
}

#[test]
fn a_character_that_is_not_in_utf_8_is_told_with_its_line() {
    let text = b"listen = '127.0.0.1:1'\n# gr\xfc\xdfe\n";
    let (found, named) = (TestFolder::new(), TestFolder::new().env("MUSTER_CONFIG", "muster.toml"));
    for place in [&found, &named] {
        std::fs::write(place.path().join("muster.toml"), text).expect("the file is written");
        assert_eq!(place.mistakes(), ["muster.toml:2: a character here is not in UTF-8"]);
    }
    let place = TestFolder::new();
    place.write("home/.local/share/muster/x", "");
    std::fs::write(place.path().join("home/.local/share/muster/muster.toml"), text).expect("the file is written");
    assert_eq!(place.mistakes(), ["home/.local/share/muster/muster.toml:2: a character here is not in UTF-8"]);
}

#[test]
fn a_mistake_names_variable_or_flag() {
    let place = TestFolder::new().env("MUSTER_CLOCKS_HEARTBEAT", "9").flag("log_format", "xml");
    let expected = [
        "MUSTER_CLOCKS_HEARTBEAT: clocks.heartbeat: 3 x heartbeat (3 x 9 s = 27 s) is above stale (10 s)",
        "--log-format: log_format: text or json is expected, not \"xml\"",
    ];
    assert_eq!(place.mistakes(), expected, "all mistakes are told at once");
    let place = TestFolder::new();
    place.write(".env", "OTHER=1\nMUSTER_LISEN=1\n");
    let expected = ".env:2: MUSTER_LISEN: there is no such setting in a .env file; the nearest is MUSTER_LISTEN";
    assert_eq!(place.mistakes(), [expected]);
}

#[test]
fn a_mistake_in_the_file_is_told_although_something_else_goes_before_it() {
    let place = TestFolder::with_file("listen = 8000\nlog_format = 'xml'\n[clocks]\nstale = 'x'\nlease = -1\n");
    let place = place.flag("listen", "127.0.0.1:1").env("MUSTER_LOG_FORMAT", "json");
    let place = place.env("MUSTER_CLOCKS_STALE", "10").env("MUSTER_CLOCKS_LEASE", "15");
    let expected = [
        "muster.toml:4: clocks.stale: a number of seconds from 0 is expected, not a text",
        "muster.toml:5: clocks.lease: a number of seconds from 0 is expected, not \"-1\"",
        "muster.toml:1: listen: a text in quotes is expected, not an integer",
        "muster.toml:2: log_format: text or json is expected, not \"xml\"",
    ];
    assert_eq!(place.mistakes(), expected);
}

#[test]
fn a_variable_that_nobody_reads_is_worth_a_note() {
    // MUSTER_FOO is near to MUSTER_POOL, which is no setting.
    let place = TestFolder::new().env("MUSTER_LISEN", "x").env("MUSTER_AGENT_ID", "y").env("MUSTER_FOO", "3");
    // What Kubernetes sets beside a service named `muster` is nobody's mistake.
    let names = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP_ADDR"];
    let place = names.iter().fold(place, |place, name| place.env(&format!("MUSTER_{name}"), "z"));
    let expected = [
        "MUSTER_FOO is no setting and was not read",
        "MUSTER_LISEN is no setting and was not read; MUSTER_LISTEN may be meant",
    ];
    assert_eq!(place.load().notes, expected);
}

#[test]
fn programs_and_folders_that_are_not_there_are_worth_a_note() {
    let runtime = |name: &str, more: &str| format!("[runtimes.{name}]\nkind = 'exec'\n{more}\n");
    let pool = |name: &str, runtime: &str| format!("[pools.{name}]\nrole_type = 'x'\nruntime = '{runtime}'\n");
    let file = [
        runtime("gone", "command = ['/no/such/program']"),
        runtime("unknown", "command = ['no-such-program']"),
        runtime("away", "command = ['sh']\ncwd = 'nowhere'"),
        runtime("relative", "command = ['./agent.sh']"),
        runtime("good", "command = ['sh', 'x']"),
        runtime("local", "command = ['./agent.sh']\ncwd = '.'"),
        runtime("other_path", "command = ['agent.sh']\nenv = { PATH = 'FOLDER' }"),
        pool("one", "gone"),
        pool("two", "gone"),
        pool("three", "away"),
    ];
    let place = TestFolder::new().env("PATH", "/usr/bin:/bin");
    place.write("muster.toml", &file.concat().replace("FOLDER", &place.path().display().to_string()));
    place.write("agent.sh", "#!/bin/sh\n");
    let notes = place.load().notes;
    let folder = place.path().join("nowhere").display().to_string();
    let expected = [
        format!("agents of the pool three can't start: runtimes.away: there is no folder {folder} (cwd)"),
        "agents of the pools one, two can't start: runtimes.gone: there is no program /no/such/program (command)"
            .into(),
        "agents can't start: runtimes.relative: there is no program ./agent.sh (command)".into(),
        "agents can't start: runtimes.unknown: \"no-such-program\" is not in PATH (/usr/bin:/bin)".into(),
    ];
    assert_eq!(notes, expected);
}

#[test]
fn an_open_api_needs_keys() {
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = "MUSTER_LISTEN: listen: 0.0.0.0:80 can be reached by others, so api.keys must hold at least one key";
    assert_eq!(TestFolder::new().env("MUSTER_LISTEN", "0.0.0.0:80").mistakes(), [expected]);
    assert!(mistake_of("listen = '[::]:80'").contains("api.keys"));
    for good in ["[::1]:80", "127.8.8.8:0"] {
        assert_eq!(TestFolder::new().env("MUSTER_LISTEN", good).load().listen.to_string(), good);
    }
    let file = format!("listen = '0.0.0.0:80'\n[[api.keys]]\nname = 'ops'\nsha256 = '{hash}'\n");
    let config = TestFolder::with_file(&file).load();
    assert_eq!((config.api.keys[0].name.as_str(), config.api.keys[0].sha256[..2].to_vec()), ("ops", vec![0xba, 0x78]));
    let place = TestFolder::new().env("MUSTER_API_KEYS", &format!("a={hash}, b={hash}"));
    assert_eq!(place.load().api.keys.len(), 2);
    assert!(!format!("{:?}", place.load()).contains("ba78"), "no hash is shown");
    assert!(mistake_of("[[api.keys]]\nname = 'ops'\nsha256 = 'secret'\n").contains("sha256sum"));
    assert!(
        mistake_of("[[api.keys]]\nname = 'ops'\nkey = 'secret'\n")
            .contains("there is no field key; there are: name, sha256")
    );
    let twice = TestFolder::new().env("MUSTER_API_KEYS", &format!("a={hash},a={hash}"));
    assert!(twice.mistakes()[0].contains("twice"));
}

#[test]
fn redis_variables_make_a_url() {
    let url = |place: &TestFolder| place.load().redis.url.expect("a URL");
    let place = TestFolder::new().env("REDIS_HOST", "cache");
    assert_eq!(url(&place), "redis://cache:6379/0");
    assert_eq!(place.origin("redis.url"), "REDIS_HOST");
    let place = place.env("REDIS_PORT", "6380").env("REDIS_DB", "2");
    assert_eq!(url(&place), "redis://cache:6380/2");
    place.write("muster.toml", "redis.url = 'redis://file'");
    assert_eq!(url(&place), "redis://cache:6380/2", "the environment goes before the file");
    let place = place.env("MUSTER_REDIS_URL", "redis://own");
    assert_eq!(url(&place), "redis://own", "and the setting's own name before these");
    let place = TestFolder::new().env("REDIS_PORT", "tcp://10.0.0.1:6379");
    assert_eq!(place.load().redis.url, None, "a variable of Kubernetes");
    let place = TestFolder::new().env("REDIS_HOST", "::1").env("REDIS_DB", "x");
    assert_eq!(place.mistakes(), ["REDIS_DB: REDIS_DB: a number is expected, not \"x\""]);
    assert_eq!(url(&place.env("REDIS_DB", "1")), "redis://[::1]:6379/1");
}

#[test]
fn a_database_is_a_file_or_a_server() {
    let with =
        |pairs: &[(&str, &str)]| pairs.iter().fold(TestFolder::new(), |place, (name, value)| place.env(name, value));
    let database = |pairs: &[(&str, &str)]| with(pairs).load().database;
    assert_eq!(database(&[("MUSTER_DATABASE_URL", "sqlite:/x/y.db")]), Database::Sqlite("/x/y.db".into()));
    let place = TestFolder::with_file("database.url = 'sqlite:y.db'");
    assert_eq!(place.load().database, Database::Sqlite(place.path().join("y.db")));
    assert_eq!(database(&[("MUSTER_DATABASE_URL", "sqlite:///x/y.db")]), Database::Sqlite("/x/y.db".into()));
    let server = ("MUSTER_DATABASE_URL", "postgresql+psycopg://u:p@h/db");
    let plain = "postgresql://u:p@h/db".to_owned();
    assert_eq!(database(&[server]), Database::Postgres { url: plain.clone(), pgbouncer_url: None });
    let bouncer = ("PGBOUNCER_URL", "postgresql+psycopg://u:p@b:6432/db");
    let pgbouncer_url = Some("postgresql://u:p@b:6432/db".to_owned());
    assert_eq!(database(&[server, bouncer]), Database::Postgres { url: plain, pgbouncer_url });
    assert!(with(&[bouncer]).mistakes()[0].contains("database.url is missing"));
    let sqlite = ("MUSTER_DATABASE_URL", "sqlite:x.db");
    assert!(with(&[sqlite, bouncer]).mistakes()[0].contains("no PgBouncer"));
    assert!(with(&[("MUSTER_DATABASE_URL", "sqlite::memory:")]).mistakes()[0].contains("the file is missing"));
}

#[test]
fn every_line_that_is_no_toml_is_told() {
    let file = "listen = 127.0.0.1:80\nlog_format = 'text'\n[clocks\nstale = 5\nlease = = 3\n";
    let mistakes = TestFolder::with_file(file).mistakes();
    let lines: Vec<&str> = mistakes.iter().map(|mistake| mistake.split(": ").next().expect("a place")).collect();
    assert_eq!(lines, ["muster.toml:1", "muster.toml:3", "muster.toml:5"], "{mistakes:#?}");
    assert!(mistakes.iter().all(|mistake| mistake.contains(": this is no TOML: ")), "{mistakes:#?}");
}

#[test]
fn secrets_are_not_shown() {
    let place = TestFolder::with_file(POOLS).env("MUSTER_REDIS_URL", "redis://:s3cret@h:1/0");
    let place = place.env("MUSTER_DATABASE_URL", "postgresql://u:s3cret@h/db");
    let config = place.load();
    let (rows, json) = (format!("{:?}", config.rows()), config.to_json().to_string());
    assert!(!rows.contains("s3cret") && !json.contains("s3cret"), "{rows}");
    assert!(rows.contains("redis://***@h:1/0") && rows.contains("postgresql://***@h/db"), "{rows}");
    assert!(rows.contains("python3 agent.py (with TOKEN=***, API_TOKEN)"), "{rows}");
}

#[test]
fn a_command_finds_the_data_folder_in_a_file_with_other_mistakes() {
    let place = TestFolder::with_file("data_dir = 'data'\nlisten = 8000\n");
    let sources = Sources::open(&place.flags, &place.environment).expect("files that can be read");
    assert_eq!(data_dir(&sources), Ok(place.path().join("data")));
    let place = TestFolder::with_file("data_dir = 1\n");
    let sources = Sources::open(&place.flags, &place.environment).expect("files that can be read");
    assert!(data_dir(&sources).is_err());
}

/// `muster config --markdown` prints what belongs between the markers. With `UPDATE_DOCS` set it is written there.
#[test]
fn the_readme_lists_every_setting() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(PATH).expect("a README");
    let (before, rest) = readme.split_once("<!-- settings:begin -->\n").expect("the first marker");
    let (table, after) = rest.split_once("<!-- settings:end -->").expect("the second marker");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let whole = format!("{before}<!-- settings:begin -->\n{}<!-- settings:end -->{after}", markdown());
        return std::fs::write(PATH, whole).expect("the README is written");
    }
    assert_eq!(table.trim(), markdown().trim(), "run `make docs`");
}

/// The names, documents and sources of a setting follow from its field.
#[test]
fn every_setting_is_read_shown_and_documented() {
    let (shown, docs) = (TestFolder::new().load().shown, markdown());
    for setting in settings::SETTINGS.iter() {
        let key = &setting.key;
        assert!(shown.iter().any(|shown| shown.key == key), "{key}");
        assert!(docs.contains(&format!("| `{key}` | `{}`", setting.env[0])), "{key}");
        assert!(!setting.field.doc.is_empty(), "{key}");
        let wrong_type = format!("{key} = {{ }}");
        assert!(mistake_of(&wrong_type).starts_with(&format!("muster.toml:1: {key}: ")), "{key}");
    }
}

#[test]
fn the_example_is_a_good_configuration() {
    let mut place = TestFolder::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    place.flags.config = Some(folder.join("muster.toml"));
    let config = place.load();
    assert_eq!(config.runtimes.keys().collect::<Vec<_>>(), ["echo", "python", "shell"]);
    assert_eq!(config.pools.len(), 2);
    let RuntimeProfile::Exec(python) = &config.runtimes["python"] else { panic!("an exec profile") };
    assert_eq!(python.cwd, Some(folder));
}

#[test]
fn certificates_of_redis_are_read_at_the_start_and_only_for_tls() {
    let pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
    let place = TestFolder::with_file("[redis]\nurl = \"rediss://h:1\"\nca_file = \"ca.pem\"\n");
    place.write("ca.pem", pem);
    assert_eq!(place.load().redis.roots.as_deref(), Some(pem));
    place.write("ca.pem", "nothing");
    let mistakes = place.mistakes();
    assert!(mistakes[0].contains("redis.ca_file") && mistakes[0].contains("no certificate"), "{mistakes:?}");
    let place = TestFolder::with_file("[redis]\nurl = \"rediss://h:1\"\n");
    assert_eq!(place.load().redis.roots, None);
    place.write("own.pem", pem);
    let own = place.path().join("own.pem").display().to_string();
    let place = place.env("SSL_CERT_FILE", &own);
    assert_eq!(place.load().redis.roots.as_deref(), Some(pem));
    let place = TestFolder::with_file("[redis]\nurl = \"redis://h:1\"\nca_file = \"ca.pem\"\n");
    assert!(place.mistakes()[0].contains("rediss://"));
}
