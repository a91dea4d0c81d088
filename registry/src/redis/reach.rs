//! Whether a Redis answers that is not the registry: one that agents need.

use std::error::Error;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_domain::RegistryTarget;
use redis::RedisError;

use super::command_connection::{believing, dial, open};

/// Why nobody was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Unreached {
    /// In words without the URL.
    pub words: String,
    /// What the kernel said, where it was the kernel that refused.
    pub errno: Option<i32>,
}

impl From<String> for Unreached {
    fn from(words: String) -> Self {
        Self { words, errno: None }
    }
}

/// Connects as the URL says, password included, and sends a PING. It takes as long as it takes: the caller bounds it.
/// `roots` are certificates (PEM) that a server is to be vouched for by, instead of the public ones; only for `rediss`.
///
/// # Errors
/// Where it is no URL, where nobody answers, or where the answer is a refusal.
pub fn reach(url: &str, roots: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), Unreached>> {
    // In a box, as whoever awaits the future itself compiles the client once more.
    Box::pin(ping(url, roots))
}

async fn ping(url: &str, roots: Option<Vec<u8>>) -> Result<(), Unreached> {
    let target = RegistryTarget { url: url.to_owned(), prefix: String::new(), roots: None };
    let mut client = open(&target).map_err(|_| "its URL is not understood".to_owned())?;
    if let Some(pem) = roots {
        client = believing(client.get_connection_info().clone(), pem).map_err(|error| describe(&error))?;
    }
    let ask = async { redis::cmd("PING").exec_async(&mut dial(&client).await?).await };
    ask.await.map_err(|error| describe(&error))
}

/// Of what a server says only the code is repeated: one that is no Redis may send back whatever it was sent.
fn describe(error: &RedisError) -> Unreached {
    let words = match error.code() {
        _ if error.is_io_error() => error.to_string(),
        Some(code) => format!("it answered {code}"),
        None => error.category().to_owned(),
    };
    Unreached { words, errno: errno(error) }
}

fn errno(error: &RedisError) -> Option<i32> {
    let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    shared.downcast_ref::<std::io::Error>()?.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_said_is_handed_on() {
        let refused = RedisError::from(std::io::Error::from_raw_os_error(24));
        let Unreached { words, errno } = describe(&refused);
        assert!(errno == Some(24) && words.contains("open files"), "{words} {errno:?}");
        assert_eq!(describe(&RedisError::from((redis::ErrorKind::Client, "x"))).errno, None);
    }
}
