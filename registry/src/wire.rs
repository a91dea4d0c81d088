//! Messages as they travel: JSON that carries its version.

use muster_domain::{Envelope, Heartbeat, ProcessId, Report, WIRE_VERSION};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{CommandDelivery, RegistryError};

/// The longest part of an unreadable message that is shown.
const SHOWN: usize = 80;

/// Reads a command, or says why it is none.
pub(crate) fn read_command(bytes: &[u8]) -> CommandDelivery {
    match read(bytes, |envelope: &Envelope| envelope.v) {
        Ok(envelope) => CommandDelivery::Command(Box::new(envelope)),
        Err(why) => CommandDelivery::Unreadable(why),
    }
}

/// Reads a report, or says why it is none.
pub(crate) fn read_report(bytes: &[u8]) -> Result<Report, String> {
    read(bytes, |report: &Report| report.v)
}

/// Reads a beat, or says why it is none.
pub(crate) fn read_beat(bytes: &[u8]) -> Result<Heartbeat, String> {
    read(bytes, |beat: &Heartbeat| beat.v)
}

/// Writes a message. The domain's types always have a JSON form.
pub(crate) fn write<T: serde::Serialize>(message: &T) -> Result<String, RegistryError> {
    serde_json::to_string(message).map_err(|error| RegistryError::Unexpected(format!("cannot be written: {error}")))
}

/// A message of this version or the one before it.
pub(crate) const fn is_understood(version: u16) -> bool {
    version <= WIRE_VERSION && version + 1 >= WIRE_VERSION && version > 0
}

/// Says that a message is of a version that is not understood.
pub(crate) fn unknown_version(version: u16) -> String {
    format!("a message of version {version}, while this is version {WIRE_VERSION}")
}

/// The number of a beat, of whichever version.
pub(crate) fn number_of(beat: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Numbered>(beat).ok().map(|Numbered { number }| number)
}

/// From whom a report is, of whichever version.
pub(crate) fn sender_of(report: &[u8]) -> Option<ProcessId> {
    serde_json::from_slice::<SentMessage>(report).ok().map(|SentMessage { process_id }| process_id)
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

#[derive(Deserialize)]
struct SentMessage {
    process_id: ProcessId,
}

fn read<T: DeserializeOwned>(bytes: &[u8], version_of: impl Fn(&T) -> u16) -> Result<T, String> {
    match serde_json::from_slice::<T>(bytes) {
        Ok(message) if is_understood(version_of(&message)) => Ok(message),
        Ok(message) => Err(unknown_version(version_of(&message))),
        Err(error) => Err(match serde_json::from_slice::<Versioned>(bytes) {
            // Another version may look different altogether, so that its fields say nothing about what is wrong.
            Ok(Versioned { v }) if !is_understood(v) => unknown_version(v),
            _ => format!("{error} in {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])),
        }),
    }
}

/// What every version of every message has.
#[derive(Deserialize)]
struct Versioned {
    v: u16,
}

#[cfg(test)]
mod tests {
    use muster_domain::{Command, Fence};

    use super::*;

    #[test]
    fn a_command_is_read_back() {
        let envelope = Envelope::new(Fence(1), Command::Drain);
        let text = write(&envelope).expect("JSON");
        assert_eq!(read_command(text.as_bytes()), CommandDelivery::Command(Box::new(envelope)));
    }

    #[test]
    fn what_is_no_command_of_a_known_version_says_what_it_is() {
        let newer = Envelope { v: WIRE_VERSION + 1, ..Envelope::new(Fence(1), Command::Drain) };
        let texts = [
            (write(&newer).expect("JSON"), "version 2"),
            (r#"{"v":9,"body":"of the future"}"#.to_owned(), "version 9"),
            (r#"{"v":1}"#.to_owned(), "missing field"),
            ("x".repeat(500), "expected value"),
        ];
        for (text, why) in texts {
            let CommandDelivery::Unreadable(said) = read_command(text.as_bytes()) else { panic!("{text} was read") };
            assert!(said.contains(why) && said.len() < 250, "{said}");
        }
    }
}
