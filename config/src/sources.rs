//! Where values are from: flag before environment before `.env` before file before default.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use muster_domain::nearest;

use super::dotenv::{self, Variable};
use super::mistake::{Mistake, ValueOrigin};
use super::settings::{OTHER_VARIABLES, SETTINGS, Setting};

/// What the command line said: a file, and values by the key of their setting.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The others.
    pub values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// Notes a value, where the flag was given.
    pub fn set(&mut self, key: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.values.insert(key, value);
        }
    }
}

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its variables, as far as they are UTF-8.
    pub variables: BTreeMap<String, String>,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it runs as root.
    pub root: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(utf8).collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// A variable that is set to something.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `~/x` in the user's home, and everything else in `folder` unless it is absolute.
    pub(crate) fn absolute(&self, path: &str, folder: &Path) -> PathBuf {
        match (path.strip_prefix("~/"), self.variable("HOME")) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => self.folder.join(folder).join(path).components().collect(),
        }
    }

    /// The data folder of those who say nothing.
    pub(crate) fn default_data_dir(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/muster");
        }
        let data = self.variable("XDG_DATA_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
        data.or_else(|| self.variable("HOME").map(|home| Path::new(home).join(".local/share")))
            .map_or_else(|| self.folder.join(".muster"), |data| data.join("muster"))
    }
}

/// The environment, and the files that were found by it.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The command line.
    pub(crate) flags: &'a Flags,
    /// The environment.
    pub(crate) environment: &'a Environment,
    /// The configuration file and its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Whether that file was found through the data folder, which it can then not move.
    pub(crate) found_in_data_dir: bool,
    dotenv_path: PathBuf,
    dotenv: Vec<Variable>,
}

impl<'a> Sources<'a> {
    /// Finds and reads the files: `--config`, `MUSTER_CONFIG`, `./muster.toml`, `<data folder>/muster.toml`, the first
    /// that there is; and the `.env` beside it, or in the current folder where there is no configuration.
    pub fn open(flags: &'a Flags, environment: &'a Environment) -> Result<Self, Mistake> {
        let (file, found_in_data_dir) = find_file(flags, environment)?;
        let folder = match &file {
            Some((path, _)) => path.parent().unwrap_or(Path::new("")).to_owned(),
            None => environment.folder.clone(),
        };
        let dotenv_path = folder.join(".env");
        // What is in the data folder may be put there by agents.
        let read = if found_in_data_dir { muster_files::read_found } else { |path: &Path| std::fs::read(path) };
        let dotenv = match read(&dotenv_path).map(String::from_utf8) {
            Ok(Ok(text)) => dotenv::parse(&text, &dotenv_path)?,
            // What can't be read as text or at all is somebody else's, as long as nobody asked for it.
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        Ok(Self { flags, environment, file, found_in_data_dir, dotenv_path, dotenv })
    }

    /// The path and the text of the configuration, where there is one.
    pub fn text(&self) -> Option<(&Path, &str)> {
        self.file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// A variable of the environment or of `.env`, with its place.
    pub fn variable(&self, name: &str) -> Option<(String, ValueOrigin)> {
        if let Some(value) = self.environment.variable(name) {
            return Some((value.to_owned(), ValueOrigin::Env(name.to_owned())));
        }
        // The last line wins, as in a shell that reads the file.
        let found = self.dotenv.iter().rev().find(|variable| variable.name == name && !variable.value.is_empty())?;
        Some((found.value.clone(), ValueOrigin::Line { path: self.dotenv_path.clone(), line: found.line }))
    }

    /// What a flag or a variable says about a setting, in the order of precedence: all that goes before the file.
    pub(crate) fn given(&self, setting: &Setting) -> Option<(String, ValueOrigin)> {
        match (self.flags.values.get(setting.key.as_str()), setting.flag) {
            (Some(value), Some(flag)) => Some((value.clone(), ValueOrigin::Flag(flag))),
            _ => self.variables_of(setting),
        }
    }

    /// The environment goes before `.env` for the setting as a whole, whichever of its names each of them uses.
    fn variables_of(&self, setting: &Setting) -> Option<(String, ValueOrigin)> {
        let found: Vec<_> = setting.env.iter().filter_map(|name| self.variable(name)).collect();
        let first = found.iter().position(|(_, origin)| matches!(origin, ValueOrigin::Env(_))).unwrap_or(0);
        found.into_iter().nth(first)
    }

    /// Variables of `.env` that look like ours and are not.
    pub(crate) fn unknown_variables(&self) -> Vec<Mistake> {
        let settings = || SETTINGS.iter().flat_map(|setting| setting.env.iter().map(String::as_str));
        let ours = self.dotenv.iter().filter(|variable| variable.name.starts_with("MUSTER_"));
        ours.filter(|v| !settings().chain(["MUSTER_URL", "MUSTER_API_KEY"]).any(|name| name == v.name))
            .map(|variable| {
                let origin = ValueOrigin::Line { path: self.dotenv_path.clone(), line: variable.line };
                let near = nearest(&variable.name, settings()).map(|(near, _)| format!("; the nearest is {near}"));
                let message = format!("there is no such setting in a .env file{}", near.unwrap_or_default());
                Mistake::new(origin, variable.name.clone(), message)
            })
            .collect()
    }

    /// Variables of the environment that look like ours and are not. The environment is shared, so this is only worth a
    /// note.
    pub(crate) fn notes(&self) -> Vec<String> {
        let settings = || SETTINGS.iter().flat_map(|setting| setting.env.iter().map(String::as_str));
        let ours = self.environment.variables.keys().filter(|name| name.starts_with("MUSTER_"));
        ours.filter(|name| !is_of_kubernetes(name) && !OTHER_VARIABLES.contains(&name.as_str()))
            .filter_map(|name| match nearest(name, settings()) {
                Some((_, 0)) => None,
                Some((near, 1..=2)) => Some(format!("{name} is no setting and was not read; {near} may be meant")),
                _ => Some(format!("{name} is no setting and was not read")),
            })
            .collect()
    }
}

/// Whether Kubernetes sets a variable of this name in every pod beside a service called `muster`.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.strip_prefix("MUSTER_").unwrap_or_default();
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].iter().any(|word| {
        rest.strip_prefix(word)
            .is_some_and(|rest| rest.is_empty() || (*word != "SERVICE_HOST" && rest.starts_with('_')))
    })
}

/// The text of the configuration file.
fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, Mistake> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        Mistake::new(ValueOrigin::Line { path: path.to_owned(), line }, "", "a character here is not in UTF-8")
    })
}

/// The configuration file and whether it was found through the data folder.
fn find_file(flags: &Flags, environment: &Environment) -> Result<(Option<(PathBuf, String)>, bool), Mistake> {
    let asked = match (&flags.config, environment.variable("MUSTER_CONFIG")) {
        (Some(path), _) => Some((path.clone(), ValueOrigin::Flag("--config"))),
        (None, Some(path)) => Some((PathBuf::from(path), ValueOrigin::Env("MUSTER_CONFIG".to_owned()))),
        (None, None) => None,
    };
    if let Some((path, origin)) = asked {
        let path = environment.folder.join(path);
        return match std::fs::read(&path) {
            Ok(bytes) => text_of(&path, bytes).map(|text| (Some((path, text)), false)),
            Err(error) => Err(Mistake::new(origin, "", format!("{} can't be read: {error}", path.display()))),
        };
    }
    let data_dir = match (flags.values.get("data_dir"), environment.variable("MUSTER_DATA_DIR")) {
        (Some(path), _) => environment.absolute(path, Path::new("")),
        (None, Some(path)) => environment.absolute(path, Path::new("")),
        (None, None) => environment.default_data_dir(),
    };
    for (folder, found_in_data_dir) in [(&environment.folder, false), (&data_dir, true)] {
        let path = folder.join("muster.toml");
        match muster_files::read_found(&path) {
            Ok(bytes) => return text_of(&path, bytes).map(|text| (Some((path, text)), found_in_data_dir)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // A data folder that belongs to somebody else is looked at when it is used.
            Err(error) if found_in_data_dir && error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => {
                let origin = ValueOrigin::Line { path, line: 1 };
                return Err(Mistake::new(origin, "", format!("the file can't be read: {error}")));
            }
        }
    }
    Ok((None, false))
}
