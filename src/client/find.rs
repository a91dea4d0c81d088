//! Where the server is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use muster_config::{ConfigError, Environment, Flags, Sources, data_dir};
use muster_files::Folder;

use super::Client;

/// The file in the data folder in which a server says where it listens, as `127.0.0.1:PORT`.
const ADDRESS_FILE: &str = "muster.addr";

/// A client, and the file that named its server, where one did.
#[derive(Debug)]
pub(crate) struct Found {
    /// Speaks to the server.
    pub(crate) client: Client,
    /// The file, which the server removes when it ends.
    pub(crate) address_file: Option<PathBuf>,
}

/// Why no server could be found.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// The configuration, in which the data folder may be named, is wrong.
    Config(ConfigError),
    /// No server has said where it is.
    NoAddress(PathBuf),
    /// The file in which one may have said it can't be read.
    Closed(PathBuf, std::io::Error),
}

impl From<ConfigError> for NotFound {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Finds the server by `url` (`--url`), else `MUSTER_URL`, else the data folder. `MUSTER_API_KEY` is what it is shown.
pub(crate) fn find(url: Option<&str>, flags: &Flags, environment: &Environment) -> Result<Found, NotFound> {
    let sources = Sources::open(flags, environment).map_err(ConfigError::from)?;
    let variable = |name: &str| sources.variable(name).map(|(value, _)| value);
    let key = variable("MUSTER_API_KEY");
    if let Some(url) = url.map(str::to_owned).or_else(|| variable("MUSTER_URL")) {
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        return Ok(Found { client: Client::new(&url, key), address_file: None });
    }
    let file = data_dir(&sources)?.join(ADDRESS_FILE);
    match read_address(&file) {
        Ok(address) if !address.trim().is_empty() => {
            let client = Client::new(&format!("http://{}", address.trim()), key);
            Ok(Found { client, address_file: Some(file) })
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(NotFound::Closed(file, error)),
        _ => Err(NotFound::NoAddress(file)),
    }
}

/// Reads the file with the address, without waiting for what somebody may have put in its place.
pub(crate) fn read_address(file: &Path) -> std::io::Result<String> {
    let folder = Folder::open(file.parent().unwrap_or(file))?;
    let file = folder.read(ADDRESS_FILE)?.ok_or(ErrorKind::NotFound)?;
    std::io::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(folder: &std::path::Path) -> Environment {
        let variables = BTreeMap::from([("MUSTER_DATA_DIR".to_owned(), "data".to_owned())]);
        Environment { variables, folder: folder.to_owned(), root: false }
    }

    fn base(url: Option<&str>, environment: &Environment) -> String {
        let found = find(url, &Flags::default(), environment).expect("a server");
        found.client.base().to_owned()
    }

    #[test]
    fn the_order_is_flag_environment_data_folder() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut environment = environment(folder.path());
        let nobody = find(None, &Flags::default(), &environment).expect_err("no server");
        assert!(matches!(nobody, NotFound::NoAddress(path) if path == folder.path().join("data/muster.addr")));
        std::fs::create_dir(folder.path().join("data")).expect("the data folder");
        std::fs::write(folder.path().join("data/muster.addr"), "127.0.0.1:1\n").expect("the address");
        assert_eq!(base(None, &environment), "http://127.0.0.1:1");
        std::fs::write(folder.path().join(".env"), "MUSTER_URL=https://two/\n").expect("the .env");
        assert_eq!(base(None, &environment), "https://two");
        environment.variables.insert("MUSTER_URL".to_owned(), "http://three".to_owned());
        assert_eq!(base(None, &environment), "http://three");
        assert_eq!(base(Some("four:80"), &environment), "http://four:80");
    }
}
