//! `muster alerts`: what needs a person, or did.

use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::table::{field, pretty, table};
use super::{CliContext, Done};

/// Asks and shows.
pub(super) fn run(context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let answer = context.server()?.client.get_list("/api/v1/alerts")?;
    Ok(if context.global.json { pretty(&answer) } else { alerts_table(&answer) }.into())
}

/// A table of alerts.
pub(super) fn alerts_table(alerts: &Value) -> String {
    let row = |alert: &Value| {
        let state = if alert["until"] == json!(null) { "firing" } else { "cleared" };
        let mut row = vec![field(alert, "since"), state.to_owned()];
        row.extend(["kind", "pool_name", "subject", "message"].map(|name| field(alert, name)));
        row
    };
    let head = ["SINCE", "STATE", "KIND", "POOL", "ABOUT", "MESSAGE"];
    table(&head, &[], alerts.as_array().into_iter().flatten().map(row).collect())
}
