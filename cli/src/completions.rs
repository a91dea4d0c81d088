//! `muster completions`: a script that completes commands in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Done};

/// Arguments of `muster completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// The script.
pub(super) fn run(args: &CompletionsArgs) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "muster", &mut script);
    String::from_utf8_lossy(&script).into_owned().into()
}
