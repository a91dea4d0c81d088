//! The configuration for readers: what is in force and where it is from, and the README's table of all there is.

use serde_json::{Value, json};

use super::limits::{presentable_budget, presentable_limits};
use super::pools::{presentable, presentable_pool};
use super::settings::{SETTINGS, TABLES};
use super::{Config, Origin};

impl Config {
    /// Rows of key, value and place: every setting, then the file's tables.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let mut rows: Vec<[String; 3]> =
            self.shown.iter().map(|s| [s.key.to_owned(), s.value.clone(), s.origin.to_string()]).collect();
        let file = self.file.as_ref().map_or_else(|| "default".to_owned(), |path| path.display().to_string());
        for (name, profile) in &self.runtimes {
            let built_in = matches!(profile, muster_domain::RuntimeProfile::Echo);
            let from = if built_in { Origin::Default.to_string() } else { file.clone() };
            rows.push([format!("runtimes.{name}"), presentable(profile), from]);
        }
        for pool in &self.pools {
            rows.push([format!("pools.{}", pool.pool_name), presentable_pool(pool), file.clone()]);
        }
        for (name, limits) in self.tenants.iter() {
            rows.push([format!("tenants.{name}"), presentable_limits(limits), file.clone()]);
        }
        for (scope, name, budget) in self.budgets.iter() {
            rows.push([format!("budgets of the {scope} {name}"), presentable_budget(budget), file.clone()]);
        }
        rows
    }

    /// The same for programs, with the file and the notes. Secrets are not in it.
    pub(crate) fn to_json(&self) -> Value {
        let settings: Vec<Value> = self
            .rows()
            .into_iter()
            .map(|[key, value, origin]| json!({"key": key, "value": value, "origin": origin}))
            .collect();
        json!({"file": self.file, "settings": settings, "notes": self.notes})
    }
}

/// The README's tables: all settings, then the keys of the file's tables.
pub(crate) fn markdown() -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let mut out = String::from("| key | variable | flag | default | what it does |\n|---|---|---|---|---|\n");
    for s in SETTINGS {
        let variables: Vec<String> = s.env.iter().map(|name| code(name)).collect();
        let flag = code(s.flag.unwrap_or_default());
        out.push_str(&format!(
            "| `{}` | {} | {flag} | {} | {} |\n",
            s.key,
            variables.join(", "),
            code(s.default),
            s.doc
        ));
    }
    let tables = [
        ("runtimes", "[runtimes.NAME]"),
        ("pools", "[pools.NAME]"),
        ("tenants", "[tenants.NAME]"),
        ("budgets", "[[budgets]]"),
    ];
    for (table, title) in tables {
        out.push_str(&format!("\n| `{title}` | default | what it does |\n|---|---|---|\n"));
        for key in TABLES.iter().filter(|key| key.table == table) {
            out.push_str(&format!("| `{}` | {} | {} |\n", key.key, code(key.default), key.doc));
        }
    }
    out
}
