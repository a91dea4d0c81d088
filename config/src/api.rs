//! Who may use the API: `[api]`.

use muster_domain::described;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::reader::Reader;

/// What `[api]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Api {
    /// Keys that the API accepts (`Authorization: Bearer`), each a `name` and the `sha256` of the key in hex; `NAME=SHA256,...` in the
    /// variable.
    #[schema(format = "list of keys")]
    keys: Option<String>,
    /// Further names by which the server may be addressed (Host and Origin headers).
    hosts: Vec<String>,
}

described!(Api);

/// Who may use the API.
#[derive(Clone, Debug, Default)]
pub struct ApiSettings {
    /// Keys that it accepts; none: everybody on loopback is let in.
    pub keys: Vec<ConfiguredKey>,
    /// Further names of the server in Host and Origin headers.
    pub hosts: Vec<String>,
}

/// A key of the API, hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfiguredKey {
    /// Whose it is, for the log.
    pub name: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
}

/// The name only.
impl std::fmt::Debug for ConfiguredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads `[api]`.
pub(super) fn read(reader: &mut Reader<'_>) -> ApiSettings {
    let api: Api = reader.section("api");
    let mut keys: Vec<ConfiguredKey> = Vec::new();
    for text in api.keys.iter().flat_map(|keys| keys.split(',')).map(str::trim).filter(|key| !key.is_empty()) {
        match api_key(text) {
            Some(key) if keys.iter().any(|known| known.name == key.name) => {
                reader.refuse("api.keys", format!("the name {:?} is there twice", key.name));
            }
            Some(key) => keys.push(key),
            None => reader.refuse(
                "api.keys",
                "a key is a name and the 64 hex digits that `printf %s KEY | sha256sum` prints, never the key itself",
            ),
        }
    }
    ApiSettings { keys, hosts: api.hosts }
}

fn api_key(text: &str) -> Option<ConfiguredKey> {
    let (name, hex) = text.split_once('=')?;
    let (name, hex) = (name.trim(), hex.trim());
    if name.is_empty() || hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, digits) in sha256.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(ConfiguredKey { name: name.to_owned(), sha256 })
}
