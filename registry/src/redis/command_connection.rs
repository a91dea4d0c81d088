//! The connection for commands: made on first use, made again for ever, every call bounded in time.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster_domain::RegistryTarget;
use muster_domain::orders::redact_url;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, ProtocolVersion, RedisError, RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::refusal;
use crate::RegistryError;

/// Calls that may time out one after the other before the connection is made anew. Not the first: a server that stood
/// still answers on the old connection, while a network that swallows packets never does.
const LATE_BEFORE_RECONNECTING: u32 = 3;

/// How long a server is given to say that it lets nobody in. One that does says nothing by itself.
const GREETING: Duration = Duration::from_millis(100);

/// Reads an address.
pub(super) fn open(target: &RegistryTarget) -> Result<Client, RegistryError> {
    let invalid = |error: RedisError| {
        let shown = redact_url(&target.url);
        RegistryError::InvalidAddress(format!("{shown:?} is no address of a Redis server: {error}"))
    };
    let info = target.url.as_str().into_connection_info().map_err(invalid)?;
    // RESP2 without a library's name needs no round trip before the first command.
    let settings = info.redis_settings().clone().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP2);
    let info = info.set_redis_settings(settings);
    match &target.roots {
        Some(pem) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => believing(info, pem.clone().into_bytes())
            .map_err(|error| {
                RegistryError::InvalidAddress(format!("the certificates of redis.ca_file can't be used: {error}"))
            }),
        _ => Client::open(info).map_err(invalid),
    }
}

/// A client that believes these authorities (PEM) and no others.
pub(super) fn believing(info: ConnectionInfo, pem: Vec<u8>) -> RedisResult<Client> {
    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

/// Makes a connection that bounds no call by itself: the default of 500 ms would also end blocking reads.
pub(super) async fn dial(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    match client.get_multiplexed_async_connection_with_config(&config).await {
        Err(error) => Err(turned_away(client.get_connection_info().addr()).await.unwrap_or(error)),
        connection => connection,
    }
}

/// What a server says to who is let in no more, before it was asked anything: the library does not read it, or takes it for
/// the answer to the password.
async fn turned_away(address: &ConnectionAddr) -> Option<RedisError> {
    let mut said = [0; 512];
    let hear = async {
        match address {
            ConnectionAddr::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).await?.read(&mut said).await,
            ConnectionAddr::Unix(path) => UnixStream::connect(path).await?.read(&mut said).await,
            _ => Ok(0),
        }
    };
    let count = tokio::time::timeout(GREETING, hear).await.ok()?.ok()?;
    let line = std::str::from_utf8(&said[..count]).ok()?.strip_prefix('-')?.trim_end();
    let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
    Some(redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
}

/// Bounds a call in time.
pub(super) async fn within<T>(limit: Duration, call: impl Future<Output = RedisResult<T>>) -> Result<T, RegistryError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(registry_error(&error)),
        Err(_) => Err(late(limit)),
    }
}

/// The error of a call that took longer than this.
pub(super) fn late(limit: Duration) -> RegistryError {
    RegistryError::Unavailable(format!("no answer within {} ms", limit.as_millis()))
}

pub(super) fn registry_error(error: &RedisError) -> RegistryError {
    if let Some(words) = refusal::explain_error(error) {
        return RegistryError::Refused(words);
    }
    let passing = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        )
    );
    if passing || is_broken(error) {
        RegistryError::Unavailable(error.to_string())
    } else if is_wrong_type(error) {
        RegistryError::WrongType(error.to_string())
    } else {
        RegistryError::Unexpected(error.to_string())
    }
}

/// Whether a command met a key of another type. Scripts of older servers say so only in their text.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
}

/// Whether the connection is of no more use.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// The connection for commands.
pub(super) struct CommandConnection {
    client: Client,
    limit: Duration,
    /// Held while connecting, so that many callers make one connection.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Calls that timed out since the last that did not.
    late: AtomicU32,
}

impl CommandConnection {
    /// A link that is not connected yet.
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self { client, limit, connection: Mutex::new(None), late: AtomicU32::new(0) }
    }

    /// Runs a script. Sends its text only where the server does not have it.
    pub(super) async fn script<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, RegistryError> {
        self.bounded(move || async move { call.invoke_async(&mut self.connection().await?).await }).await
    }

    /// Runs a command.
    pub(super) async fn command<T: FromRedisValue>(&self, call: &Cmd) -> Result<T, RegistryError> {
        self.bounded(move || async move { call.query_async(&mut self.connection().await?).await }).await
    }

    /// Runs commands in one round trip.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, call: &Pipeline) -> Result<T, RegistryError> {
        self.bounded(move || async move { call.query_async(&mut self.connection().await?).await }).await
    }

    /// Connects, so that the first call need not wait for it.
    pub(super) async fn prepare(&self) {
        // Whoever calls hears of an error.
        let _ = within(self.limit, self.connection()).await;
    }

    /// Whether the server answers, and how fast.
    pub(super) async fn ping(&self) -> Result<Duration, RegistryError> {
        let started = Instant::now();
        self.command::<String>(&redis::cmd("PING")).await?;
        Ok(started.elapsed())
    }

    /// Carries out a call within the limit, and once more where the connection turns out to be broken: after a
    /// restart of the server the first call is the one that notices. Every call may be carried out twice: beats and
    /// removals say what is, and a doubled report is told by its number.
    async fn bounded<T, F: Future<Output = RedisResult<T>>>(&self, call: impl Fn() -> F) -> Result<T, RegistryError> {
        let twice = async {
            match call().await {
                Err(error) if is_broken(&error) => {
                    self.connection.lock().await.take();
                    call().await
                }
                outcome => outcome,
            }
        };
        let outcome = tokio::time::timeout(self.limit, twice).await;
        match outcome {
            Ok(Ok(value)) => {
                self.late.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => Err(registry_error(&error)),
            Err(_) => {
                self.note_late();
                Err(late(self.limit))
            }
        }
    }

    fn note_late(&self) {
        if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_BEFORE_RECONNECTING
            // Somebody who holds the lock is connecting anew already.
            && let Ok(mut connection) = self.connection.try_lock()
        {
            self.late.store(0, Ordering::Relaxed);
            connection.take();
        }
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        Ok(connection.insert(dial(&self.client).await?).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> RegistryTarget {
        RegistryTarget { url: url.to_owned(), prefix: String::new(), roots: None }
    }

    #[test]
    fn addresses_are_urls_of_tcp_tls_or_a_socket() {
        for good in ["redis://127.0.0.1:6379/0", "rediss://h:1/", "redis+unix:///tmp/a.sock", "unix:///tmp/a.sock?db=2"]
        {
            open(&target(good)).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }

    #[test]
    fn a_wrong_address_is_named_without_its_password() {
        for bad in ["http://me:s3cret@host/", "no url", "redis://me:s3cret@host:notaport/"] {
            let error = open(&target(bad)).map(|_| ()).expect_err(bad).to_string();
            assert!(error.contains("no address of a Redis server") && !error.contains("s3cret"), "{error}");
        }
    }
}
