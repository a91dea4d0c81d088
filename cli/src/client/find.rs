//! Where the server is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use muster_files::Folder;

use super::ApiClient;
use crate::roles::{ServerAddress, ServerLookup};

/// The file in the data folder in which a server says where it listens, as `127.0.0.1:PORT`.
const ADDRESS_FILE: &str = "muster.addr";

/// A client, and the file that named its server, where one did.
#[derive(Debug)]
pub(crate) struct FoundServer {
    /// Speaks to the server.
    pub(crate) client: ApiClient,
    /// The file, which the server removes when it ends.
    pub(crate) address_file: Option<PathBuf>,
}

/// Why no server could be found.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// No server has said where it is.
    NoAddress(PathBuf),
    /// The file in which one may have said it can't be read.
    Closed(PathBuf, std::io::Error),
}

/// Finds the server.
pub(crate) fn find(ServerLookup { address, key }: ServerLookup) -> Result<FoundServer, NotFound> {
    let folder = match address {
        ServerAddress::Url(url) => {
            let url = if url.contains("://") { url } else { format!("http://{url}") };
            return Ok(FoundServer { client: ApiClient::new(&url, key), address_file: None });
        }
        ServerAddress::DataDir(folder) => folder,
    };
    let file = folder.join(ADDRESS_FILE);
    match read_address(&file) {
        Ok(address) if !address.trim().is_empty() => {
            let client = ApiClient::new(&format!("http://{}", address.trim()), key);
            Ok(FoundServer { client, address_file: Some(file) })
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
    use super::*;

    fn base(address: ServerAddress) -> String {
        find(ServerLookup { address, key: None }).expect("a server").client.base().to_owned()
    }

    #[test]
    fn a_server_is_at_its_url_or_where_the_data_folder_says() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let data_dir = || ServerAddress::DataDir(folder.path().join("data"));
        let nobody = find(ServerLookup { address: data_dir(), key: None }).expect_err("no server");
        assert!(matches!(nobody, NotFound::NoAddress(path) if path == folder.path().join("data/muster.addr")));
        std::fs::create_dir(folder.path().join("data")).expect("the data folder");
        std::fs::write(folder.path().join("data/muster.addr"), "127.0.0.1:1\n").expect("the address");
        assert_eq!(base(data_dir()), "http://127.0.0.1:1");
        assert_eq!(base(ServerAddress::Url("https://two/".to_owned())), "https://two");
        assert_eq!(base(ServerAddress::Url("four:80".to_owned())), "http://four:80");
    }
}
