//! What a worker believes of what comes over its channel.
//!
//! A signed command is `CODE NUMBER COMMAND`: the code is over the rest, and no number is used twice. So what somebody else makes
//! up is refused, and so is what he heard and sends again, whatever it is.

use std::collections::BTreeSet;

use muster_domain::Fence;

use crate::signer::{DIGITS, MessageSigner, Purpose};
use crate::{CommandDelivery, wire};

/// Numbers that are remembered: commands may overtake each other by this many.
const REMEMBERED: usize = 1024;

/// Writes a command as a gate believes it.
pub(crate) fn sign(seal: &MessageSigner, number: u64, command: &str) -> String {
    let signed = format!("{number} {command}");
    format!("{} {signed}", seal.code(Purpose::Command, signed.as_bytes()))
}

/// The gate before one worker.
pub(crate) struct CommandFilter {
    /// None for a worker of tests, which believes everything.
    seal: Option<MessageSigner>,
    /// The highest that was seen; each leader counts by itself.
    fence: Fence,
    /// The latest numbers under that fence, and that below which all count as seen.
    numbers: BTreeSet<u64>,
    floor: u64,
}

/// Why something is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterRefusal {
    /// Nobody of us wrote it.
    Forged,
    /// It was here before. A call that was carried out twice does the same.
    Repeated,
}

impl CommandFilter {
    pub(crate) const fn new(seal: Option<MessageSigner>) -> Self {
        Self { seal, fence: Fence(0), numbers: BTreeSet::new(), floor: 0 }
    }

    /// Reads what came.
    pub(crate) fn admit(&mut self, message: &[u8]) -> Result<CommandDelivery, FilterRefusal> {
        let Some(seal) = &self.seal else { return Ok(wire::read_command(message)) };
        let (code, signed) = message.split_at_checked(DIGITS).ok_or(FilterRefusal::Forged)?;
        let signed = signed.strip_prefix(b" ").ok_or(FilterRefusal::Forged)?;
        if !seal.is_code(code, Purpose::Command, signed) {
            return Err(FilterRefusal::Forged);
        }
        let end = signed.iter().position(|byte| *byte == b' ').ok_or(FilterRefusal::Forged)?;
        let number = std::str::from_utf8(&signed[..end]).ok().and_then(|number| number.parse().ok());
        let number = number.ok_or(FilterRefusal::Forged)?;
        let delivery = wire::read_command(&signed[end + 1..]);
        match &delivery {
            CommandDelivery::Command(envelope) if !self.is_new(envelope.fence, number) => Err(FilterRefusal::Repeated),
            _ => Ok(delivery),
        }
    }

    /// A command of a lower fence is let in: the worker refuses it and says so.
    fn is_new(&mut self, fence: Fence, number: u64) -> bool {
        if fence < self.fence {
            return true;
        }
        if fence > self.fence {
            self.fence = fence;
            self.numbers.clear();
            self.floor = 0;
        }
        if number <= self.floor || !self.numbers.insert(number) {
            return false;
        }
        if self.numbers.len() > REMEMBERED
            && let Some(lowest) = self.numbers.pop_first()
        {
            self.floor = lowest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Command, Envelope, ProcessId, WorkerKey};

    use super::*;

    fn text(fence: u64) -> (CommandDelivery, String) {
        let envelope = Envelope::new(Fence(fence), Command::Drain);
        let text = wire::write(&envelope).expect("JSON");
        (CommandDelivery::Command(Box::new(envelope)), text)
    }

    #[test]
    fn only_what_is_signed_is_let_in_and_only_once() {
        let (worker, key) = (ProcessId::generate(), WorkerKey::generate());
        let seal = MessageSigner::new(worker, key);
        let mut filter = CommandFilter::new(Some(seal));
        let (delivery, text) = text(1);
        for forged in ["", "x", &text, &format!("{} 1 {text}", "0".repeat(DIGITS))] {
            assert_eq!(filter.admit(forged.as_bytes()), Err(FilterRefusal::Forged), "{forged}");
        }
        let elsewhere = sign(&MessageSigner::new(ProcessId::generate(), key), 1, &text);
        assert_eq!(filter.admit(elsewhere.as_bytes()), Err(FilterRefusal::Forged), "meant for another worker");
        let signed = sign(&seal, 7, &text);
        assert_eq!(filter.admit(signed.as_bytes()), Ok(delivery.clone()));
        assert_eq!(filter.admit(signed.as_bytes()), Err(FilterRefusal::Repeated));
        assert_eq!(filter.admit(sign(&seal, 6, &text).as_bytes()), Ok(delivery), "one that was overtaken");
    }

    #[test]
    fn each_leader_counts_by_itself_and_long_ago_is_seen() {
        let mut filter = CommandFilter::new(None);
        assert!((1..=REMEMBERED as u64 + 10).all(|number| filter.is_new(Fence(1), number)));
        assert!(!filter.is_new(Fence(1), 10) && !filter.is_new(Fence(1), 11), "forgotten, or remembered");
        assert!(filter.is_new(Fence(2), 1) && !filter.is_new(Fence(2), 1));
        assert!(filter.is_new(Fence(1), 1), "the worker itself says no to a leader that was replaced");
    }

    #[test]
    fn without_a_key_everything_is_read() {
        let (delivery, text) = text(1);
        assert_eq!(CommandFilter::new(None).admit(text.as_bytes()), Ok(delivery));
    }
}
