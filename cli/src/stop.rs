//! `muster stop`: stops the server, and waits until it is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, FoundServer};

use super::failure::CommandFailure;
use super::table::pretty;
use super::{CliContext, Done};

/// Between two looks whether the server is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Arguments of `muster stop`.
#[derive(Debug, clap::Args)]
pub(super) struct StopArgs {
    /// Leave workers and agents running for the next server
    #[arg(long)]
    keep_workers: bool,
    /// Seconds to wait until the server is gone; 0 asks only
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

/// Asks it to stop and waits.
pub(super) fn run(args: &StopArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let server = context.server()?;
    let address = server.address_file.as_deref().and_then(written);
    let body = json!({"keep_workers": args.keep_workers});
    let answer = server.client.post("/api/v1/system/stop", &[], &body, Duration::ZERO)?;
    let deadline = Instant::now() + Duration::from_secs(u64::from(args.timeout));
    let mut gone = is_gone(&server, address.as_deref());
    while !gone && Instant::now() < deadline {
        std::thread::sleep(LOOK_AGAIN);
        gone = is_gone(&server, address.as_deref());
    }
    let base = server.client.base();
    if !gone && args.timeout > 0 {
        return Err(CommandFailure::Failed(format!("{base} is stopping, and not gone after {} s", args.timeout)));
    }
    let text = match (context.global.json, gone) {
        (true, _) => pretty(&answer),
        (false, true) => format!("{base} is stopped\n"),
        (false, false) => format!("{base} is stopping\n"),
    };
    Ok(text.into())
}

/// The API stops answering early in a shutdown, and the file with the address goes last, so that both must be gone; another
/// address in the file is another server.
fn is_gone(server: &FoundServer, address: Option<&str>) -> bool {
    let now = server.address_file.as_deref().and_then(written);
    let file_stays = now.is_some() && now.as_deref() == address;
    !file_stays && !server.client.answers()
}

fn written(file: &Path) -> Option<String> {
    client::read_address(file).ok().filter(|text| !text.trim().is_empty())
}
