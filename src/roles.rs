//! The roles of this process that the command line can pick, and what commands need of the configuration.

use muster_cli::{CommandFailure, Given, InForce, Roles, ServerAddress, ServerLookup, Simulated, SimulationRequest};
use muster_config::{Config, ConfigError, Environment, Flags, Sources};

/// This binary, in the environment that it was started with.
pub(crate) struct Binary {
    environment: Environment,
}

impl Binary {
    /// In the environment of this process.
    pub(crate) fn of_process() -> Self {
        Self { environment: Environment::of_process() }
    }

    /// The configuration; where it is wrong, that kept `undone` from being done.
    fn load(&self, given: &Given, undone: Option<&'static str>) -> Result<Config, CommandFailure> {
        muster_config::load(&flags(given), &self.environment).map_err(|error| wrong(&error, undone))
    }
}

fn flags(given: &Given) -> Flags {
    Flags { config: given.config.clone(), values: given.values.clone() }
}

fn wrong(error: &ConfigError, undone: Option<&'static str>) -> CommandFailure {
    CommandFailure::Config { mistakes: error.to_string(), undone }
}

fn failed(error: anyhow::Error) -> CommandFailure {
    CommandFailure::Failed(format!("{error:#}"))
}

impl Roles for Binary {
    /// `url` is that of `--url`, else it is `MUSTER_URL`, else the server is the one of the data folder. `MUSTER_API_KEY` is what it is
    /// shown.
    fn server(&self, given: &Given, url: Option<&str>) -> Result<ServerLookup, CommandFailure> {
        let flags = flags(given);
        let sources = Sources::open(&flags, &self.environment).map_err(|mistake| wrong(&mistake.into(), None))?;
        let variable = |name: &str| sources.variable(name).map(|(value, _)| value);
        let address = match url.map(str::to_owned).or_else(|| variable("MUSTER_URL")) {
            Some(url) => ServerAddress::Url(url),
            None => ServerAddress::DataDir(muster_config::data_dir(&sources).map_err(|error| wrong(&error, None))?),
        };
        Ok(ServerLookup { address, key: variable("MUSTER_API_KEY") })
    }

    fn config(&self, given: &Given) -> Result<InForce, CommandFailure> {
        let config = self.load(given, None)?;
        Ok(InForce { rows: config.rows(), json: config.to_json(), notes: config.notes })
    }

    fn settings(&self) -> String {
        muster_config::markdown()
    }

    fn serve(&self, given: &Given) -> Result<(), CommandFailure> {
        crate::serve::run(self.load(given, Some("nothing was started"))?).map_err(failed)
    }

    fn migrate(&self, given: &Given) -> Result<String, CommandFailure> {
        crate::migrate::run(&self.load(given, Some("no database was touched"))?).map_err(failed)
    }

    fn simulate(&self, given: &Given, asked: &SimulationRequest) -> Result<Simulated, CommandFailure> {
        crate::simulate::run(&flags(given), &self.environment, asked)
    }

    fn say_last(&self, line: String) {
        crate::logging::say_last(line);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn binary(folder: &Path) -> Binary {
        let variables = BTreeMap::from([("MUSTER_DATA_DIR".to_owned(), "data".to_owned())]);
        Binary { environment: Environment { variables, folder: folder.to_owned(), root: false } }
    }

    #[test]
    fn a_server_is_looked_for_by_flag_environment_and_data_folder() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut binary = binary(folder.path());
        let address = |binary: &Binary, url| binary.server(&Given::default(), url).expect("an address").address;
        assert_eq!(address(&binary, None), ServerAddress::DataDir(folder.path().join("data")));
        std::fs::write(folder.path().join(".env"), "MUSTER_URL=https://two/\nMUSTER_API_KEY=k\n").expect("the .env");
        let two = ServerLookup { address: ServerAddress::Url("https://two/".to_owned()), key: Some("k".to_owned()) };
        assert_eq!(binary.server(&Given::default(), None).expect("a server"), two);
        binary.environment.variables.insert("MUSTER_URL".to_owned(), "http://three".to_owned());
        assert_eq!(address(&binary, None), ServerAddress::Url("http://three".to_owned()));
        assert_eq!(address(&binary, Some("four:80")), ServerAddress::Url("four:80".to_owned()));
    }

    /// The command line does not see the settings, so the help of its flags is written by hand.
    #[test]
    fn the_help_of_a_flag_says_what_its_setting_does() {
        let mut flags: BTreeMap<String, String> = muster_cli::flags_of_serve().into_iter().collect();
        let table = muster_config::markdown().replace('`', "");
        for row in table.lines().map(|line| line.splitn(6, " | ").collect::<Vec<_>>()) {
            let [_, variables, flag, _, default, doc] = row[..] else { continue };
            if !flag.starts_with("--") {
                continue;
            }
            let help = flags.remove(flag).unwrap_or_else(|| panic!("{flag} is no flag"));
            let mut parts = help.split(" [").map(|part| part.trim_end_matches(']'));
            let meaning = parts.next().unwrap_or_default();
            let (what, _) = doc.split_once([';', '.', ':']).unwrap_or((doc.trim_end_matches(" |"), ""));
            assert!(meaning.starts_with(what), "{flag}: {help:?} says another thing than {doc:?}");
            let mut notes: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once(": ")).collect();
            assert_eq!(notes.remove("env"), variables.split(", ").next(), "{flag}");
            match notes.remove("default") {
                // What the schema can't say is in the words.
                Some(said) if default.is_empty() => assert!(doc.contains(&format!("Default: {said}")), "{flag}: {doc}"),
                Some(said) => assert_eq!(said, default, "{flag}"),
                None => assert!(["", "false"].contains(&default), "{flag} does not say its default"),
            }
        }
        assert_eq!(flags.into_keys().collect::<Vec<_>>(), ["--config", "--json", "--url"], "these are no settings");
    }

    #[test]
    fn a_wrong_configuration_is_told_with_what_was_not_done() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let (binary, given) =
            (binary(folder.path()), Given { config: Some("/nowhere/x.toml".into()), ..Given::default() });
        let failures = [
            (binary.config(&given).map(drop), "the configuration is wrong\n"),
            (binary.server(&given, None).map(drop), "the configuration is wrong\n"),
            (binary.serve(&given), "the configuration is wrong, and nothing was started\n"),
            (binary.migrate(&given).map(drop), "the configuration is wrong, and no database was touched\n"),
        ];
        for (result, words) in failures {
            let failure = result.expect_err("no such file");
            assert_eq!(failure.code(), 64, "{failure}");
            let told = failure.to_string();
            assert!(told.starts_with(&format!("{words}--config: /nowhere/x.toml can't be read")), "{told}");
        }
    }

    #[test]
    fn what_is_in_force_is_shown_with_its_place() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut given = Given::default();
        given.values.insert("data_dir", "/d".to_owned());
        let shown = binary(folder.path()).config(&given).expect("a configuration");
        let row = |key: &str| shown.rows.iter().find(|row| row[0] == key).expect(key).clone();
        assert_eq!(row("data_dir"), ["data_dir", "/d", "--data-dir"]);
        assert_eq!(row("database.url")[1], "sqlite:/d/muster.db");
        assert_eq!(shown.json["settings"][0]["key"], "listen");
    }
}
