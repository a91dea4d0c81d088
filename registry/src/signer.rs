//! Codes that tell a message of ours from one that somebody else wrote: HMAC-SHA256 by the worker's key, over what the message is
//! for, whom it is about, and its exact bytes. So none is believed of another worker, nor as another kind of message.

use hmac::{Hmac, KeyInit, Mac};
use muster_domain::{ProcessId, WorkerKey};
use sha2::Sha256;

/// Hex digits of a code.
pub(crate) const DIGITS: usize = 64;

/// What a code is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// A command to the worker.
    Command,
    /// A report of the worker.
    Report,
    /// The worker's picture.
    Picture,
    /// That the worker is given up.
    Condemned,
    /// The number up to which its reports are settled.
    Settled,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "muster:command:",
            Self::Report => "muster:report:",
            Self::Picture => "muster:picture:",
            Self::Condemned => "muster:condemned:",
            Self::Settled => "muster:settled:",
        }
    }
}

/// A worker with its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageSigner {
    worker: ProcessId,
    key: WorkerKey,
}

impl MessageSigner {
    pub(crate) const fn new(worker: ProcessId, key: WorkerKey) -> Self {
        Self { worker, key }
    }

    /// The code of a message, in hex.
    pub(crate) fn code(&self, purpose: Purpose, message: &[u8]) -> String {
        let Some(mac) = self.mac(purpose, message) else { return String::new() };
        to_hex(&mac.finalize().into_bytes())
    }

    /// Whether this is the code of a message. Takes as long for every wrong one.
    pub(crate) fn is_code(&self, code: &[u8], purpose: Purpose, message: &[u8]) -> bool {
        let Some(bytes) = from_hex(code) else { return false };
        self.mac(purpose, message).is_some_and(|mac| mac.verify_slice(&bytes).is_ok())
    }

    /// HMAC takes keys of any length, so there always is one.
    fn mac(&self, purpose: Purpose, message: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).ok()?;
        mac.update(purpose.as_str().as_bytes());
        mac.update(self.worker.as_uuid().as_bytes());
        mac.update(message);
        Some(mac)
    }
}

/// A few of them go with each start of an agent: by hand, which takes a tenth of the time of a formatter.
fn to_hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(HEX[usize::from(digit)])).collect()
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    if text.len() != DIGITS {
        return None;
    }
    text.chunks_exact(2).map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_one_message_one_worker_one_purpose_and_one_key() {
        let (worker, key) = (ProcessId::generate(), WorkerKey::generate());
        let seal = MessageSigner::new(worker, key);
        let code = seal.code(Purpose::Command, b"drain");
        assert_eq!(code.len(), DIGITS);
        let is_code = |seal: MessageSigner, purpose, message: &[u8]| seal.is_code(code.as_bytes(), purpose, message);
        assert!(is_code(seal, Purpose::Command, b"drain"));
        assert!(!is_code(seal, Purpose::Command, b"Drain"));
        assert!(!is_code(seal, Purpose::Report, b"drain"));
        assert!(!is_code(MessageSigner::new(ProcessId::generate(), key), Purpose::Command, b"drain"));
        assert!(!is_code(MessageSigner::new(worker, WorkerKey::generate()), Purpose::Command, b"drain"));
        for wrong in ["", "00", &"0".repeat(DIGITS), &"x".repeat(DIGITS)] {
            assert!(!seal.is_code(wrong.as_bytes(), Purpose::Command, b"drain"), "{wrong}");
        }
    }
}
