//! The settings outside of any table.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use muster_domain::described;
use muster_domain::schema::truth;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use tracing_subscriber::filter::{ParseError, Targets};
use utoipa::ToSchema;

use super::mistake::Mistake;
use super::reader::Reader;
use super::settings::find;
use super::sources::Sources;

/// What is said outside of any table.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct General {
    /// Address of the HTTP API. Port 0 takes a free one. Any address but loopback needs `api.keys`.
    #[default = "127.0.0.1:8000"]
    pub(super) listen: String,
    /// Folder of everything that Muster writes. Default: `$XDG_DATA_HOME/muster`, else `~/.local/share/muster`; for root
    /// `/var/lib/muster`.
    #[schema(format = "path")]
    pub(super) data_dir: Option<String>,
    /// Everything in one process, without Redis; `USE_MULTIPROCESSING=false` says the same where it is absent.
    pub(super) single_process: bool,
    /// Form of the log.
    pub(super) log_format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module, as in `info,muster_supervisor=debug`.
    #[default = "info"]
    pub(super) log_level: String,
    /// What an acknowledged change survives: the death of any `process`, or, with `full`, a power cut too.
    pub(super) durability: DurabilitySetting,
    /// A task whose input has this text in one of its strings becomes a check, in pools that name no other. Default: off.
    pub(super) skip_phrase: Option<String>,
}

described!(General);

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What an acknowledged change survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DurabilitySetting {
    /// The death of any process.
    #[default]
    Process,
    /// A power cut too.
    Full,
}

/// The folder that is named, or the usual one.
pub(super) fn read_data_dir(named: Option<String>, reader: &mut Reader<'_>, sources: &Sources<'_>) -> PathBuf {
    let data_dir = reader.path("data_dir", named).unwrap_or_else(|| sources.environment.default_data_dir());
    reader.show("data_dir", data_dir.display().to_string());
    if sources.found_in_data_dir
        && let Some((path, _)) = &sources.file
        && path.parent() != Some(&data_dir)
    {
        let message = format!("{} was found in the data folder, so it can't name another one", path.display());
        reader.refuse("data_dir", message);
    }
    data_dir
}

/// `single_process`, or the opposite of `USE_MULTIPROCESSING`, by which it is known elsewhere. That belongs to the environment, so
/// it goes before the file and after anything that is said by the setting's own name.
pub(super) fn read_single_process(single: bool, reader: &mut Reader<'_>, sources: &Sources<'_>) -> bool {
    const OTHER: &str = "USE_MULTIPROCESSING";
    let setting = find("single_process");
    let Some((text, origin)) = sources.variable(OTHER).filter(|_| sources.given(setting).is_none()) else {
        return single;
    };
    match truth(&text) {
        Ok(many) => {
            reader.note(setting, (!many).to_string(), origin);
            !many
        }
        Err(message) => {
            reader.mistakes.push(Mistake::new(origin, OTHER, message));
            single
        }
    }
}

/// The address of the API. Others may reach it only where there are keys.
pub(super) fn read_listen(text: &str, reader: &mut Reader<'_>, has_keys: bool) -> SocketAddr {
    let address = |text: &str| {
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse::<SocketAddr>()
            .map_err(|_| format!("ADDRESS:PORT is expected, as in {}, not {text:?}", General::default().listen))
    };
    let listen = reader.understood("listen", text, address);
    // Where it was not understood nobody will listen: that was told.
    let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    if !listen.ip().is_loopback() && !has_keys {
        reader.refuse("listen", format!("{listen} can be reached by others, so api.keys must hold at least one key"));
    }
    listen
}

/// What is logged.
pub(super) fn read_log_level(text: &str, reader: &mut Reader<'_>) -> Targets {
    let targets =
        |text: &str| log_targets(text).map_err(|why| format!("a level is expected, as in info, not {text:?}: {why}"));
    reader.understood("log_level", text, targets).unwrap_or_default()
}

/// Levels, of all and of single modules. The parser would take an empty part for the name of every module, and a filter of
/// spans for the name of one.
fn log_targets(text: &str) -> Result<Targets, String> {
    if text.contains('[') {
        return Err("levels are set for modules, not for spans".to_owned());
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(",").parse().map_err(|error: ParseError| error.to_string())
}
