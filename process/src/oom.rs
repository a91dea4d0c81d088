//! Whom the kernel ends when memory runs out: an agent's program before the inits, of which all of a worker share one memory, so that the
//! end of one is the end of all.
//!
//! A zygote and its inits are chosen last where this process may say so (root with `CAP_SYS_RESOURCE`); a program then has the score of
//! this process. Elsewhere they keep that score, and a program counts as if it had a tenth of all memory more than it has.

use crate::sys;

/// The score of those who are chosen when nobody else is left.
const LAST: i32 = -999;
/// What a program gets in addition to this process's score where inits can't get less.
const ADDED: i32 = 100;
/// The score of those who are chosen first.
const FIRST: i32 = 1000;

/// The scores of a worker's processes, as they may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OomScores {
    last: OomScore,
    own: OomScore,
    raised: OomScore,
    /// Who shares memory with an init, which hides it, may set its own score only as root.
    may_lower: bool,
}

/// Those of an init and of its program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeScores {
    pub(crate) init: OomScore,
    pub(crate) program: OomScore,
}

impl OomScores {
    /// After what this process has; where that can't be read, after what processes have who were told nothing.
    pub(crate) fn now() -> Self {
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
        Self::of(own.unwrap_or_default(), nix::unistd::geteuid().is_root())
    }

    fn of(own: i32, may_lower: bool) -> Self {
        let [last, own, raised] = [own.min(LAST), own, own.max(FIRST.min(own + ADDED))].map(OomScore::of);
        Self { last, own, raised, may_lower }
    }

    /// Lowers that of this process, which shares its memory with none, where it may, and says what those get that it makes.
    pub(crate) fn take(&self) -> TreeScores {
        if self.may_lower && sys::write_file(FILE, self.last.text()).is_ok() {
            TreeScores { init: self.last, program: self.own }
        } else {
            TreeScores { init: self.own, program: self.raised }
        }
    }
}

/// Where the kernel keeps it, for each process.
pub(crate) const FILE: &std::ffi::CStr = c"/proc/self/oom_score_adj";

/// A score, in text that need not be allocated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OomScore {
    bytes: [u8; 8],
    length: usize,
}

impl OomScore {
    fn of(score: i32) -> Self {
        let mut bytes = [0; 8];
        let text = score.to_string();
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self { bytes, length: text.len() }
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_never_chosen_after_inits() {
        for (own, last, raised) in [
            (0, "-999", "100"),
            (950, "-999", "1000"),
            (1000, "-999", "1000"),
            (-1000, "-1000", "-900"),
            (-500, "-999", "-400"),
        ] {
            let scores = OomScores::of(own, true);
            assert_eq!(scores.last.text(), last.as_bytes());
            assert_eq!(scores.own.text(), own.to_string().as_bytes());
            assert_eq!(scores.raised.text(), raised.as_bytes());
        }
    }
}
