//! What is looked at on the host beside the supervisor's own work: its log.

use std::sync::Arc;
use std::time::Duration;

use muster_supervisor::HostCheck;

use super::Site;
use crate::logging::{Queue, Trouble};

/// A line that is not taken within this time is not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of it.
pub(super) fn checks(site: &Site) -> Vec<Arc<dyn HostCheck>> {
    vec![Arc::new(TheLog(site.log.clone()))]
}

/// Whether anybody takes what is logged.
struct TheLog(Queue);

impl HostCheck for TheLog {
    fn subject(&self) -> &'static str {
        "log"
    }

    fn look(&self) -> Option<String> {
        // Without numbers, which would rise and be news each time; the log itself tells them as soon as it can.
        Some(match self.0.trouble(PATIENCE)? {
            Trouble::Stuck(_) => {
                "nobody reads stderr, and the log waits for it: read it, or send it to a file".to_owned()
            }
            Trouble::Loss(loss) => match loss.error {
                None => "stderr is not read fast enough, and lines of the log are lost: read it, or send it to a file"
                    .to_owned(),
                Some(error) => format!("stderr can't be written, and lines of the log are lost: {error}"),
            },
        })
    }
}
