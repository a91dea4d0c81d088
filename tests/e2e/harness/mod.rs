//! What every end-to-end test needs: the real program in a folder of its own, a client, the command line, and a look at
//! what is left behind.

pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod group;
pub(crate) mod host;
mod http;
mod leftovers;
mod muster;
mod program;
pub(crate) mod relay;

use std::time::{Duration, Instant};

pub(crate) use http::{Answer, Request, Stream};
pub(crate) use muster::{Muster, Options, developer};
pub(crate) use program::{Ended, Running, run};

/// How long anything may take that is not itself a question of time: generous, since machines that test are busy.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, and fails the test where it does not within `bound`. `what` completes the sentence
/// "waited in vain until ...".
pub(crate) fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < until, "waited {bound:?} in vain until {what}");
        std::thread::sleep(LOOK);
    }
}
