//! Muster: supervises pools of AI agents as real process trees. This file only picks what the process is to be.

mod cli;
mod client;
mod logging;
mod migrate;
mod serve;
mod tls;
mod worker;

fn main() -> std::process::ExitCode {
    if worker::is_meant() {
        return worker::run();
    }
    tls::choose();
    cli::run()
}
