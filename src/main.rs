//! Muster: supervises pools of AI agents as real process trees. This file only picks what the process is to be.

mod cli;
mod client;
mod config;
mod logging;
mod migrate;
mod serve;
mod worker;

fn main() -> std::process::ExitCode {
    // Several libraries speak TLS and none chooses who encrypts; the first choice of the process stands.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("muster: TLS was set up twice");
    }
    cli::run()
}
