//! `muster status`: how the supervisor is doing, on one page.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::ClientError;

use super::failure::CommandFailure;
use super::pools::holds;
use super::table::{duration, field, pretty, table};
use super::terminal::printable;
use super::{CliContext, Done};

/// Asks and shows.
pub(super) fn run(context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let (status, page): (Value, fn(&Value) -> String) = match client.get("/api/v1/system/status", &[]) {
        Ok(status) => (status, page),
        // A standby leads nothing that it could show, and is well all the same.
        Err(ClientError::Refused { code: Some(code), .. }) if code == "not_leader" => {
            (client.get("/health", &[])?, |health| standby_page(health))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(if context.global.json { pretty(&status) } else { page(&status) }.into())
}

/// The page of a standby, from its health.
pub(super) fn standby_page(health: &Value) -> String {
    let leader = health["leader"].as_str().map_or_else(
        || "another supervisor; its address is not known yet".to_owned(),
        |leader| format!("http://{}", printable(leader)),
    );
    format!(
        "version  {}\nstate    {}\nleader   {leader}\n\nIt takes over when the leader is gone; `muster status --url URL` asks the leader.\n",
        printable(&field(health, "version")),
        printable(&field(health, "state")),
    )
}

/// The page.
pub(super) fn page(status: &Value) -> String {
    let rows = vec![
        ("version", field(status, "version")),
        ("address", field(status, "address")),
        ("uptime", status["uptime_seconds"].as_f64().map_or_else(|| "-".to_owned(), duration)),
        ("mode", format!("{} ({})", field(status, "mode"), field(status, "mode_reason"))),
        ("leader", format!("fence {}, since {}", field(status, "fence"), field(status, "leads_since"))),
        ("redis", registry(status)),
        ("store", with_reach(field(status, "store_description"), &status["store"])),
        ("ownership", field(status, "ownership")),
        ("data folder", field(status, "data_dir")),
        ("metrics", on(status, "metrics_collector")),
        ("autoscaler", on(status, "autoscaler")),
        ("pools", field(status, "pools")),
        ("workers", workers(status)),
        ("agents", field(status, "agents")),
        ("alerts", alerts(status)),
    ];
    let rows: Vec<(&str, String)> = rows.into_iter().chain(held(status)).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut page = String::new();
    for (name, value) in rows {
        page.push_str(&format!("{name:width$}  {}\n", printable(&value)));
    }
    page.push_str(&what_alerts_say(status));
    let degraded: Vec<&str> = status["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if degraded.is_empty() {
        page.push_str("\nhealthy\n");
    } else {
        let rows = degraded.iter().map(|reason| vec![(*reason).to_owned()]).collect();
        page.push_str(&format!("\n{}", table(&["DEGRADED"], &[], rows)));
    }
    page
}

/// Whether something runs that the configuration may turn off.
fn on(status: &Value, name: &str) -> String {
    if status[name] == json!(false) { "off" } else { "on" }.to_owned()
}

/// What those alerts say that `degraded` does not: they are about single pools.
fn what_alerts_say(status: &Value) -> String {
    let alerts = status["alerts"].as_array().into_iter().flatten();
    let others = alerts.filter(|alert| alert["kind"] != "degraded");
    let row = |alert: &Value| ["kind", "pool_name", "message"].map(|name| field(alert, name)).to_vec();
    let rows: Vec<Vec<String>> = others.map(row).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&["ALERT", "POOL", "WHAT"], &[], rows)) }
}

/// How many workers there are, and how many start programs as the configuration said once.
fn workers(status: &Value) -> String {
    let all = field(status, "workers");
    match status["outdated_workers"].as_u64() {
        None | Some(0) => all,
        Some(old) => format!("{all} ({old} with an older definition of their runtime; `muster ps -w` shows which)"),
    }
}

/// How many alerts last.
fn alerts(status: &Value) -> String {
    match status["alerts_firing"].as_u64() {
        None => "-".to_owned(),
        Some(0) => "none".to_owned(),
        Some(firing) => format!("{firing} firing; `muster alerts` lists them"),
    }
}

/// What holds tasks up: all, and those of single pools.
fn held(status: &Value) -> impl Iterator<Item = (&'static str, String)> {
    let paused = status["paused"] == json!(true);
    let all = paused.then(|| ("tasks", "paused; `muster resume --all` lets them go on".to_owned()));
    let pools = status["held_pools"].as_array().into_iter().flatten();
    let pools: Vec<String> = pools.map(|pool| format!("{}: {}", field(pool, "pool_name"), holds(pool))).collect();
    let single = (!pools.is_empty()).then(|| ("held", pools.join("; ")));
    all.into_iter().chain(single)
}

/// Where the registry is, and what to type to look into it.
fn registry(status: &Value) -> String {
    let Some(address) = status["registry_address"].as_str() else {
        return with_reach("in memory".to_owned(), &status["registry"]);
    };
    let hint =
        if address.starts_with('/') { socket_hint(Path::new(address)) } else { format!("redis-cli -u {address}") };
    with_reach(hint, &status["registry"])
}

/// A private server's password lies beside its socket. It is handed on as a variable: on a command line all could read it.
fn socket_hint(socket: &Path) -> String {
    let password = socket.with_file_name("password");
    let open = format!("redis-cli -s {}", socket.display());
    if password.exists() { format!("REDISCLI_AUTH=\"$(cat {})\" {open}", password.display()) } else { open }
}

fn with_reach(what: String, reach: &Value) -> String {
    match (reach["ok"].as_bool(), reach["error"].as_str()) {
        (Some(false), Some(error)) => format!("{what} (away: {error})"),
        (Some(false), None) => format!("{what} (away)"),
        _ => what,
    }
}
