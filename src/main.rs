//! Muster: supervises pools of AI agents as real process trees. This file only picks what the process is to be.

mod logging;
mod migrate;
mod roles;
mod serve;
mod simulate;
mod tls;
mod worker;

fn main() -> std::process::ExitCode {
    if let Some(role) = worker::role() {
        return role.run();
    }
    tls::choose();
    muster_cli::run(&roles::Binary::of_process())
}
