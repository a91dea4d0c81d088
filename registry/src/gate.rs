//! What a worker believes of what comes over its channel.
//!
//! A signed command is `CODE NUMBER COMMAND`: the code is over the rest, and no number is used twice. So what somebody else makes
//! up is refused, and so is what he heard and sends again, whatever it is.

use std::collections::BTreeSet;

use muster_domain::Fence;

use crate::seal::{DIGITS, Purpose, Seal};
use crate::{CommandPost, wire};

/// Numbers that are remembered: commands may overtake each other by this many.
const REMEMBERED: usize = 1024;

/// Writes a command as a gate believes it.
pub(crate) fn sign(seal: &Seal, number: u64, command: &str) -> String {
    let signed = format!("{number} {command}");
    format!("{} {signed}", seal.code(Purpose::Command, signed.as_bytes()))
}

/// The gate before one worker.
pub(crate) struct Gate {
    /// None for a worker of tests, which believes everything.
    seal: Option<Seal>,
    /// The highest that was seen; each leader counts by itself.
    fence: Fence,
    /// The latest numbers under that fence, and that below which all count as seen.
    numbers: BTreeSet<u64>,
    floor: u64,
}

/// Why something is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody of us wrote it.
    Forged,
    /// It was here before. A call that was carried out twice does the same.
    Repeated,
}

impl Gate {
    pub(crate) const fn new(seal: Option<Seal>) -> Self {
        Self { seal, fence: Fence(0), numbers: BTreeSet::new(), floor: 0 }
    }

    /// Reads what came.
    pub(crate) fn admit(&mut self, message: &[u8]) -> Result<CommandPost, Refusal> {
        let Some(seal) = &self.seal else { return Ok(wire::read_command(message)) };
        let (code, signed) = message.split_at_checked(DIGITS).ok_or(Refusal::Forged)?;
        let signed = signed.strip_prefix(b" ").ok_or(Refusal::Forged)?;
        if !seal.is_code(code, Purpose::Command, signed) {
            return Err(Refusal::Forged);
        }
        let end = signed.iter().position(|byte| *byte == b' ').ok_or(Refusal::Forged)?;
        let number = std::str::from_utf8(&signed[..end]).ok().and_then(|number| number.parse().ok());
        let number = number.ok_or(Refusal::Forged)?;
        let post = wire::read_command(&signed[end + 1..]);
        match &post {
            CommandPost::Command(envelope) if !self.is_new(envelope.fence, number) => Err(Refusal::Repeated),
            _ => Ok(post),
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

    fn text(fence: u64) -> (CommandPost, String) {
        let envelope = Envelope::new(Fence(fence), Command::Drain);
        let text = wire::write(&envelope).expect("JSON");
        (CommandPost::Command(Box::new(envelope)), text)
    }

    #[test]
    fn only_what_is_signed_is_let_in_and_only_once() {
        let (worker, key) = (ProcessId::generate(), WorkerKey::generate());
        let seal = Seal::new(worker, key);
        let mut gate = Gate::new(Some(seal));
        let (post, text) = text(1);
        for forged in ["", "x", &text, &format!("{} 1 {text}", "0".repeat(DIGITS))] {
            assert_eq!(gate.admit(forged.as_bytes()), Err(Refusal::Forged), "{forged}");
        }
        let elsewhere = sign(&Seal::new(ProcessId::generate(), key), 1, &text);
        assert_eq!(gate.admit(elsewhere.as_bytes()), Err(Refusal::Forged), "meant for another worker");
        let signed = sign(&seal, 7, &text);
        assert_eq!(gate.admit(signed.as_bytes()), Ok(post.clone()));
        assert_eq!(gate.admit(signed.as_bytes()), Err(Refusal::Repeated));
        assert_eq!(gate.admit(sign(&seal, 6, &text).as_bytes()), Ok(post), "one that was overtaken");
    }

    #[test]
    fn each_leader_counts_by_itself_and_long_ago_is_seen() {
        let mut gate = Gate::new(None);
        assert!((1..=REMEMBERED as u64 + 10).all(|number| gate.is_new(Fence(1), number)));
        assert!(!gate.is_new(Fence(1), 10) && !gate.is_new(Fence(1), 11), "forgotten, or remembered");
        assert!(gate.is_new(Fence(2), 1) && !gate.is_new(Fence(2), 1));
        assert!(gate.is_new(Fence(1), 1), "the worker itself says no to a leader that was replaced");
    }

    #[test]
    fn without_a_key_everything_is_read() {
        let (post, text) = text(1);
        assert_eq!(Gate::new(None).admit(text.as_bytes()), Ok(post));
    }
}
