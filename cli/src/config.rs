//! `muster config`: the configuration in force, and where each value is from.

use super::failure::CommandFailure;
use super::table::{pretty, table};
use super::{CliContext, Done};

/// Arguments of `muster config`.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Print the documentation of every setting as Markdown instead
    #[arg(long)]
    markdown: bool,
}

/// Shows it as `serve` would read it, without starting anything.
pub(super) fn run(args: &ConfigArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    if args.markdown {
        return Ok(context.roles.settings().into());
    }
    let config = context.roles.config(&context.given())?;
    if context.global.json {
        return Ok(pretty(&config.json).into());
    }
    let rows = config.rows.into_iter().map(|[key, value, origin]| {
        let value = if value.is_empty() { "-".to_owned() } else { value };
        vec![key, value, origin]
    });
    let mut text = table(&["KEY", "VALUE", "FROM"], &[], rows.collect());
    for note in &config.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    Ok(text.into())
}
