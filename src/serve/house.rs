//! The data folder: only its owner may look into it, one supervisor at a time leads in it, and a file in it says where.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use muster_process::DataLock;
use nix::unistd::{Uid, User, geteuid};

/// An opened data folder.
pub(crate) struct House {
    folder: PathBuf,
}

impl House {
    /// Makes the folder where it is missing, and closes it to others.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let words = || format!("cannot make the data folder {}", folder.display());
        check_owner(folder, geteuid())?;
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

/// Refuses a folder of somebody else, which only its owner may close to others. Root may use any.
fn check_owner(folder: &Path, me: Uid) -> anyhow::Result<()> {
    // One that is not there has no owner yet, and one that can't be looked at is told by the attempt to make it.
    let Ok(owner) = folder.metadata().map(|data| Uid::from_raw(data.uid())) else { return Ok(()) };
    if owner != me && !me.is_root() {
        bail!(
            "the data folder {} belongs to {}, and this is {}: start Muster as its owner, or name another folder with \
             --data-dir or MUSTER_DATA_DIR",
            folder.display(),
            name_of(owner),
            name_of(me)
        );
    }
    Ok(())
}

fn name_of(user: Uid) -> String {
    match User::from_uid(user) {
        Ok(Some(known)) => format!("the user {}", known.name),
        _ => format!("the user with the id {user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_another_user_is_refused_with_both_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let me = geteuid();
        assert!(check_owner(folder.path(), me).is_ok());
        assert!(check_owner(&folder.path().join("none"), me).is_ok());
        let other = Uid::from_raw(me.as_raw() + 54_321);
        let words = check_owner(folder.path(), other).expect_err("somebody else").to_string();
        let expected = format!("the data folder {} belongs to {}", folder.path().display(), name_of(me));
        assert!(words.starts_with(&expected), "{words}");
        assert!(words.contains(&format!("id {other}")) && words.contains("--data-dir"), "{words}");
    }
}
