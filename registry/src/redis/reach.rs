//! Whether a Redis answers that is not the registry: one that agents need.

use muster_domain::RegistryTarget;
use redis::RedisError;

use super::link::{believing, dial, open};

/// Connects as the URL says, password included, and sends a PING. It takes as long as it takes: the caller bounds it.
/// `roots` are certificates (PEM) that a server is to be vouched for by, instead of the public ones; only for `rediss`.
///
/// # Errors
/// In words without the URL: where it is none, where nobody answers, or where the answer is a refusal.
pub async fn reach(url: &str, roots: Option<Vec<u8>>) -> Result<(), String> {
    let target = RegistryTarget { url: url.to_owned(), prefix: String::new(), roots: None };
    let mut client = open(&target).map_err(|_| "its URL is not understood".to_owned())?;
    if let Some(pem) = roots {
        client = believing(client.get_connection_info().clone(), pem).map_err(|error| describe(&error))?;
    }
    let ask = async { redis::cmd("PING").exec_async(&mut dial(&client).await?).await };
    ask.await.map_err(|error| describe(&error))
}

/// Of what a server says only the code is repeated: one that is no Redis may send back whatever it was sent.
fn describe(error: &RedisError) -> String {
    match error.code() {
        _ if error.is_io_error() => error.to_string(),
        Some(code) => format!("it answered {code}"),
        None => error.category().to_owned(),
    }
}
