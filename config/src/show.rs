//! The configuration for readers: what is in force and where it is from, and the README's table of all there is.

use serde_json::{Value, json};

use super::limits::{presentable_budget, presentable_limits};
use super::pools::{presentable, presentable_pool};
use super::settings::{SETTINGS, TABLES};
use super::{Config, ValueOrigin};

impl Config {
    /// Rows of key, value and place: every setting, then the file's tables.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let mut rows: Vec<[String; 3]> =
            self.shown.iter().map(|s| [s.key.to_owned(), s.value.clone(), s.origin.to_string()]).collect();
        let file = self.file.as_ref().map_or_else(|| "default".to_owned(), |path| path.display().to_string());
        for (name, profile) in &self.runtimes {
            let built_in = matches!(profile, muster_domain::RuntimeProfile::Echo);
            let from = if built_in { ValueOrigin::Default.to_string() } else { file.clone() };
            rows.push([format!("runtimes.{name}"), presentable(profile), from]);
        }
        for pool in &self.pools {
            rows.push([format!("pools.{}", pool.pool_name), presentable_pool(pool), file.clone()]);
        }
        rows.extend(self.pool_rows.iter().cloned());
        for (name, limits) in self.tenants.iter() {
            rows.push([format!("tenants.{name}"), presentable_limits(limits), file.clone()]);
        }
        for (scope, name, budget) in self.budgets.iter() {
            rows.push([format!("budgets of the {scope} {name}"), presentable_budget(budget), file.clone()]);
        }
        rows
    }

    /// The same for programs, with the file and the notes. Secrets are not in it.
    pub fn to_json(&self) -> Value {
        let settings: Vec<Value> = self
            .rows()
            .into_iter()
            .map(|[key, value, origin]| json!({"key": key, "value": value, "origin": origin}))
            .collect();
        json!({"file": self.file, "settings": settings, "notes": self.notes})
    }
}

/// The README's tables: all settings, then the keys of the file's tables.
pub fn markdown() -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let mut out =
        String::from("| key | variable | flag | value | default | what it does |\n|---|---|---|---|---|---|\n");
    for s in SETTINGS.iter() {
        let variables: Vec<String> = s.env.iter().map(|name| code(name)).collect();
        let (flag, default) = (code(s.flag.unwrap_or_default()), code(&s.default()));
        let (words, doc) = (s.field.words(), &s.field.doc);
        out.push_str(&format!("| `{}` | {} | {flag} | {words} | {default} | {doc} |\n", s.key, variables.join(", ")));
    }
    for table in TABLES.iter() {
        out.push_str(&format!("\n| `{}` | value | default | what it does |\n|---|---|---|---|\n", table.title));
        for setting in &table.keys {
            let default = if setting.needed { "needed".to_owned() } else { code(&setting.default_text()) };
            out.push_str(&format!("| `{}` | {} | {default} | {} |\n", setting.key, setting.words(), setting.doc));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use muster_domain::PoolConfig;
    use muster_domain::schema::Described;

    use super::*;

    #[test]
    fn every_setting_of_a_pool_is_in_the_docs() {
        let docs = markdown();
        for setting in PoolConfig::settings() {
            assert!(docs.contains(&format!("| `{}` | {} |", setting.key, setting.words())), "{}: {docs}", setting.key);
        }
    }
}
