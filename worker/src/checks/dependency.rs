//! Whether a dependency of a pool answers: any answer that shows that somebody is there, and is not broken, will do.
//!
//! Errors name host and port and never the rest of the URL, which may hold secrets.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;

use muster_domain::Dependency;
use muster_domain::check::Protocol;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::sync::oneshot;
use ureq::tls::{RootCerts, TlsConfig};

use super::trust::Trust;
use super::{LIMIT, no_answer, within_limit};

/// What an AMQP client says first, for version 0-9-1.
const AMQP_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Type and channel of the first frame of an AMQP server.
const AMQP_FIRST: [u8; 3] = [1, 0, 0];

/// Tries it.
pub(super) async fn reach(dependency: Dependency, trust: Arc<Trust>) -> Result<(), String> {
    let address = dependency.address();
    let attempt = async {
        match dependency.protocol {
            Protocol::Redis if dependency.is_encrypted() => redis(&dependency, trust.roots().of_redis()?).await,
            Protocol::Redis => redis(&dependency, None).await,
            Protocol::Http | Protocol::Tcp | Protocol::Amqp | Protocol::Amqps => on_a_thread(dependency, trust).await,
        }
    };
    within_limit(attempt).await.map_err(|reason| format!("{address}: {reason}"))
}

async fn redis(dependency: &Dependency, roots: Option<Vec<u8>>) -> Result<(), String> {
    muster_registry::redis::reach(dependency.url(), roots).await.map_err(|error| error.words)
}

/// Tries it by blocking calls on a thread of its own. Not one of tokio's: nobody can stop the look-up of a name, and a
/// runtime that ends waits for its threads.
async fn on_a_thread(dependency: Dependency, trust: Arc<Trust>) -> Result<(), String> {
    let (answer, answered) = oneshot::channel();
    let attempt = move || drop(answer.send(attempt(&dependency, &trust)));
    let started = std::thread::Builder::new().name("check".to_owned()).spawn(attempt);
    started.map_err(|error| format!("no thread could be started: {error}"))?;
    answered.await.unwrap_or_else(|_| Err("the attempt itself failed".to_owned()))
}

fn attempt(dependency: &Dependency, trust: &Trust) -> Result<(), String> {
    match dependency.protocol {
        Protocol::Http if dependency.is_encrypted() => get(dependency.url(), trust.roots().of_http()?),
        Protocol::Http => get(dependency.url(), RootCerts::WebPki),
        Protocol::Amqp => greet(&mut connect(dependency)?),
        Protocol::Amqps => greet(&mut encrypted(dependency, trust)?),
        Protocol::Tcp | Protocol::Redis => connect(dependency).map(drop),
    }
}

/// Whoever answers that the caller may not, or that nothing is there, was reached. No proxy: the way itself is tried.
fn get(url: &str, roots: RootCerts) -> Result<(), String> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(LIMIT))
        .proxy(None)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    match agent.get(url).call().map(|answer| answer.status().as_u16()) {
        Ok(status @ 500..) => Err(format!("it answered {status}")),
        Ok(_) => Ok(()),
        Err(error) => Err(describe(error)),
    }
}

/// Only errors that can't have the URL in them are shown as they are.
fn describe(error: ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => no_answer(),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Rustls(error) => error.to_string(),
        ureq::Error::Tls(error) => error.to_owned(),
        ureq::Error::Protocol(error) => format!("its answer is no HTTP: {error}"),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "its URL is not understood".to_owned(),
        _ => "it could not be asked".to_owned(),
    }
}

/// A connection to the first of its addresses that takes one.
fn connect(dependency: &Dependency) -> Result<TcpStream, String> {
    let found = (dependency.host.as_str(), dependency.port).to_socket_addrs();
    let addresses = found.map_err(|error| error.to_string())?;
    let mut reason = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT).and_then(with_limits) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

fn with_limits(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn encrypted(dependency: &Dependency, trust: &Trust) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trust.roots().store()?)
        .with_no_client_auth();
    let name = ServerName::try_from(dependency.host.clone()).map_err(|error| error.to_string())?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(client, connect(dependency)?))
}

/// Says the protocol's header, which a server answers with a frame before anybody logs in.
fn greet(stream: &mut (impl Read + Write)) -> Result<(), String> {
    let mut first = [0; AMQP_FIRST.len()];
    let said = stream.write_all(AMQP_HEADER).and_then(|()| stream.flush());
    said.and_then(|()| stream.read_exact(&mut first)).map_err(|error| error.to_string())?;
    match &first {
        frame if *frame == AMQP_FIRST => Ok(()),
        b"AMQ" => Err("it speaks another version of AMQP than 0-9-1".to_owned()),
        _ => Err("it does not speak AMQP".to_owned()),
    }
}
