//! The data folder: only its owner may look into it, one supervisor at a time leads in it, and a file in it says where.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use muster_process::DataLock;

/// An opened data folder.
pub(crate) struct House {
    folder: PathBuf,
}

impl House {
    /// Makes the folder where it is missing, and closes it to others.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let words = || format!("cannot make the data folder {}", folder.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(words)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).with_context(words)?;
        for inner in ["logs/agents", "logs/workers", "agents"] {
            std::fs::create_dir_all(folder.join(inner)).with_context(words)?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file whose lock the leader holds.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.folder.join("muster.lock")
    }

    /// Takes the folder, unless another supervisor has it.
    pub(crate) fn try_lock(&self) -> anyhow::Result<Option<DataLock>> {
        let path = self.lock_file();
        DataLock::acquire(&path).with_context(|| format!("cannot lock {}", path.display()))
    }

    /// Says where the API is. Written aside and renamed, so that nobody reads half of it.
    pub(crate) fn write_address(&self, address: &str) -> anyhow::Result<()> {
        use std::io::Write;
        let (path, draft) = (self.address_file(), self.folder.join(".muster.addr"));
        let words = || format!("cannot write {}", path.display());
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .with_context(words)?;
        file.write_all(address.as_bytes()).with_context(words)?;
        std::fs::rename(&draft, &path).with_context(words)
    }

    /// Where the leader's API is, if one wrote it.
    pub(crate) fn read_address(&self) -> Option<String> {
        std::fs::read_to_string(self.address_file()).ok().map(|text| text.trim().to_owned())
    }

    /// The API is gone.
    pub(crate) fn remove_address(&self) {
        if let Err(error) = std::fs::remove_file(self.address_file()) {
            tracing::debug!(%error, "the address file stays");
        }
    }

    fn address_file(&self) -> PathBuf {
        self.folder.join("muster.addr")
    }
}
