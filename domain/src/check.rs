//! A check: a task that tests the way to an agent, and is answered by the worker itself with what it reaches.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The registry, as a worker sees it.
pub const REGISTRY: &str = "registry";
/// The way of commands to a worker.
pub const COMMAND_PATH: &str = "command_path";
/// The program of the agent, or of its tasks: whether it is there and may be run.
pub const PROGRAM: &str = "program";
/// The store, as the master sees it.
pub const STORE: &str = "store";

/// What every check tries, and no dependency can be called.
const OWN_NAMES: [&str; 4] = [REGISTRY, COMMAND_PATH, PROGRAM, STORE];

/// Dependencies that a pool may name, at the most: all of them are tried at once.
pub const MAX_DEPENDENCIES: usize = 32;
/// The longest name of a dependency, in characters.
const LONGEST_NAME: usize = 64;

/// What the order of a check adds to that of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckOrder {
    /// The store, which no worker can reach: the master says how it is.
    pub store: Reach,
    /// What else is to be tried, by name.
    pub dependencies: BTreeMap<String, Dependency>,
}

/// Whether something was reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// Whether it answered.
    pub ok: bool,
    /// How long that took, or the attempt, in milliseconds.
    pub ms: f64,
    /// Why it was not reached, in words without secrets.
    pub error: Option<String>,
}

impl Reach {
    /// What became of an attempt that took so long.
    pub fn new(took: Duration, outcome: Result<(), String>) -> Self {
        // Microseconds are as fine as anybody can use.
        let ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        Self { ok: outcome.is_ok(), ms, error: outcome.err() }
    }
}

/// The answer to a check: the output of its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connectivity {
    /// Whether everything was reached.
    pub success: bool,
    /// Always true: no agent was asked.
    pub skipped: bool,
    /// Each by its name.
    pub connectivity: BTreeMap<String, Reach>,
}

impl From<BTreeMap<String, Reach>> for Connectivity {
    fn from(connectivity: BTreeMap<String, Reach>) -> Self {
        Self { success: connectivity.values().all(|reach| reach.ok), skipped: true, connectivity }
    }
}

/// How a dependency is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A GET; with or without TLS.
    Http,
    /// A connection and nothing else.
    Tcp,
    /// A PING; with or without TLS.
    Redis,
    /// The protocol's header.
    Amqp,
    /// The same over TLS.
    Amqps,
}

impl Protocol {
    fn of_scheme(scheme: &str) -> Option<(Self, Option<u16>)> {
        Some(match scheme {
            "http" => (Self::Http, Some(80)),
            "https" => (Self::Http, Some(443)),
            "tcp" => (Self::Tcp, None),
            "redis" | "rediss" => (Self::Redis, Some(6379)),
            "amqp" => (Self::Amqp, Some(5672)),
            "amqps" => (Self::Amqps, Some(5671)),
            _ => return None,
        })
    }
}

/// Something that the agents of a pool need: a URL, which may hold a password. It is printed with scheme, host and port only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dependency {
    url: String,
    scheme: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its host: a name or an address, an IPv6 one without brackets.
    pub host: String,
    /// Its port; the scheme's own where the URL names none.
    pub port: u16,
}

impl Dependency {
    /// The whole URL, secrets included. Never to be printed.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is spoken to over TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.scheme.as_str(), "https" | "rediss" | "amqps")
    }

    /// The same without user, password, path and query.
    #[must_use]
    pub(crate) fn without_secrets(&self) -> Self {
        Self { url: self.to_string(), ..self.clone() }
    }

    /// Host and port, as they may be printed.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Its message does not repeat the text, which may hold a password.
impl FromStr for Dependency {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        const FORMS: &str = "http://..., https://..., tcp://HOST:PORT, redis://..., rediss://..., amqp://... or amqps://... is expected";
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{FORMS}, in ASCII and without spaces"));
        }
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let scheme = scheme.to_ascii_lowercase();
        let (protocol, usual_port) = Protocol::of_scheme(&scheme).ok_or(FORMS)?;
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = host_and_port(place).ok_or("the URL has no host, or its port is no number")?;
        let port = port.or(usual_port).ok_or("the URL has no port, as in tcp://HOST:PORT")?;
        Ok(Self { url: url.to_owned(), scheme, protocol, host: host.to_owned(), port })
    }
}

/// The parts of `HOST`, `HOST:PORT`, `[IPV6]` and `[IPV6]:PORT`.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

impl TryFrom<String> for Dependency {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        url.parse()
    }
}

impl From<Dependency> for String {
    fn from(dependency: Dependency) -> Self {
        dependency.url
    }
}

/// Without user, password, path and query.
impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address())
    }
}

impl fmt::Debug for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Says what is wrong with the dependencies of a pool, in words that name the field.
pub(crate) fn check_dependencies(dependencies: &BTreeMap<String, Dependency>) -> Result<(), String> {
    if dependencies.len() > MAX_DEPENDENCIES {
        return Err(format!("dependencies may be {MAX_DEPENDENCIES} at the most, not {}", dependencies.len()));
    }
    // All that are wrong are told at once.
    let those = |wrong: fn(&str) -> bool| {
        let names = dependencies.keys().filter(|name| wrong(name)).map(|name| format!("{name:?}"));
        Some(names.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
    };
    let is_no_name =
        |name: &str| !(1..=LONGEST_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control);
    let no_names = those(is_no_name).map(|names| {
        format!("dependencies have names of 1 to {LONGEST_NAME} characters without control characters, not {names}")
    });
    let taken = those(|name| OWN_NAMES.contains(&name))
        .map(|names| format!("dependencies can't have the name {names}: every check has that already"));
    let wrong: Vec<String> = no_names.into_iter().chain(taken).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Dependency {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_names_a_protocol_a_host_and_a_port() {
        for (url, protocol, shown) in [
            ("https://api.example.com/v1?k=s3cret", Protocol::Http, "https://api.example.com:443"),
            ("HTTP://u:s3cret@h", Protocol::Http, "http://h:80"),
            ("http://h:8080#s3cret", Protocol::Http, "http://h:8080"),
            ("tcp://db:5432", Protocol::Tcp, "tcp://db:5432"),
            ("tcp://[::1]:1", Protocol::Tcp, "tcp://[::1]:1"),
            ("redis://:s3c@ret@h/2", Protocol::Redis, "redis://h:6379"),
            ("rediss://[fe80::1]", Protocol::Redis, "rediss://[fe80::1]:6379"),
            ("amqp://guest:s3cret@rabbit/vhost", Protocol::Amqp, "amqp://rabbit:5672"),
            ("amqps://rabbit", Protocol::Amqps, "amqps://rabbit:5671"),
        ] {
            let dependency = parsed(url);
            assert_eq!((dependency.protocol, dependency.to_string().as_str()), (protocol, shown));
            let encrypted = ["https:", "rediss:", "amqps:"].iter().any(|scheme| shown.starts_with(scheme));
            assert_eq!(dependency.is_encrypted(), encrypted, "{shown}");
            assert_eq!((format!("{dependency:?}").as_str(), dependency.url()), (shown, url));
            let wire = serde_json::to_string(&dependency).expect("a text");
            assert_eq!(serde_json::from_str::<Dependency>(&wire).expect("its own output"), dependency);
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "s3cret",
            "ftp://u:s3cret@h",
            "postgresql://u:s3cret@h/db",
            "tcp://s3cret",
            "http://",
            "http://u:s3cret@",
            "http://u:s3cret@h:port",
            "http://u:s3cret@h:0",
            "http://u:s3cret@h:70000",
            "http://[::1",
            "http://[::1]s3cret",
            "http://u:s3cret @h",
            "http://ü:s3cret@h",
        ] {
            let error = url.parse::<Dependency>().map(|_| ()).expect_err(url);
            assert!(!error.contains("s3cret"), "{error}");
            let json = serde_json::Value::from(url);
            let error = serde_json::from_value::<Dependency>(json).expect_err(url).to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn names_of_dependencies_are_checked() {
        let check = |names: &[&str]| {
            let named = names.iter().map(|name| ((*name).to_owned(), parsed("tcp://h:1")));
            check_dependencies(&named.collect())
        };
        assert_eq!(check(&["search", "Müller & Co", &"n".repeat(64)]), Ok(()));
        for bad in ["", "a\nb", &"n".repeat(65), REGISTRY, COMMAND_PATH, PROGRAM, STORE] {
            assert!(check(&[bad]).expect_err(bad).starts_with("dependencies "));
        }
        let several = check(&["", STORE, PROGRAM]).expect_err("three");
        assert!(["not \"\";", STORE, PROGRAM].iter().all(|name| several.contains(name)), "{several}");
        let many: Vec<String> = (0..=MAX_DEPENDENCIES).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(check(&many).expect_err("too many").contains("32 at the most, not 33"));
    }

    #[test]
    fn an_answer_is_a_success_where_everything_was_reached() {
        let ok = Reach::new(Duration::from_nanos(1_234_567), Ok(()));
        assert_eq!(serde_json::json!(ok), serde_json::json!({"ok": true, "ms": 1.235, "error": null}));
        let lost = Reach::new(Duration::ZERO, Err("refused".to_owned()));
        let answer = |reaches: &[&Reach]| {
            let named = reaches.iter().enumerate().map(|(at, reach)| (at.to_string(), (*reach).clone()));
            Connectivity::from(named.collect::<BTreeMap<_, _>>())
        };
        assert!(answer(&[&ok, &ok]).success);
        let some = answer(&[&ok, &lost]);
        assert_eq!((some.success, some.skipped), (false, true));
    }
}
