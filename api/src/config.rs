//! What the composition root tells the API.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The largest body that is read where the configuration does not say otherwise, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// How the API is to behave.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The address that it listens on: a `Host` that names it is known. Where it is unspecified (`0.0.0.0`, `[::]`)
    /// every IP address is.
    pub listen: SocketAddr,
    /// Host names by which it is reached, beyond loopback and `listen`. Without a port.
    pub known_hosts: Vec<String>,
    /// Who may ask. Empty: everybody who reaches the address.
    pub keys: Vec<ApiKey>,
    /// The largest body, in bytes. Default [`MAX_BODY`].
    pub max_body: usize,
    /// How long requests that are being answered may take when the server ends. Default 5 s.
    pub drain: Duration,
    /// How long a client may take no byte of what is sent to it. Then its connection is cut. Default 30 s.
    pub stall: Duration,
    /// How many connections may be open. Where more come the one that has been idle longest is closed, and where none is
    /// idle they are refused with 503. Default 10,000.
    pub connections: usize,
    /// How long the head of a request may take, from its first byte. Default 20 s.
    pub head: Duration,
    /// How long a connection may be idle between two requests. Default 75 s.
    pub idle: Duration,
    /// Called after many connections ended, to give their memory back to the system. Default: nothing.
    pub give_back: fn(),
    /// The version of the program, as `/health` shows it.
    pub version: String,
}

impl ApiConfig {
    /// The defaults for an address: no keys, no further hosts.
    pub fn new(listen: SocketAddr, version: impl Into<String>) -> Self {
        Self {
            listen,
            known_hosts: Vec::new(),
            keys: Vec::new(),
            max_body: MAX_BODY,
            drain: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            connections: 10_000,
            head: Duration::from_secs(20),
            idle: Duration::from_secs(75),
            give_back: || {},
            version: version.into(),
        }
    }
}

/// A caller's key. The key itself is never kept, only its hash.
#[derive(Clone)]
pub struct ApiKey {
    /// Who has it. Idempotency keys count per caller.
    pub name: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
}

impl ApiKey {
    /// The hash of a key as it is kept and compared.
    pub fn hash(key: &str) -> [u8; 32] {
        Sha256::digest(key.as_bytes()).into()
    }
}

/// Without the hash: it would let a short key be guessed from a log.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_without_its_hash() {
        let key = ApiKey { name: "ci".to_owned(), sha256: ApiKey::hash("secret") };
        assert_eq!(format!("{key:?}"), "ApiKey { name: \"ci\", .. }");
        assert_eq!(key.sha256[..4], [0x2b, 0xb8, 0x0d, 0x53]);
    }
}
