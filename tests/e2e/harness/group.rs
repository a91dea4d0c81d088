//! A control group that bounds how many processes there are in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where groups are that bound processes: of version 1, and of version 2.
const ROOTS: [&str; 3] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// One of a test's own, which is gone with the test.
pub(crate) struct ProcessGroup(PathBuf);

impl ProcessGroup {
    /// Makes one where the host allows that.
    pub(crate) fn make() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("muster-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for root in ROOTS {
            let folder = Path::new(root).join(&name);
            match fs::create_dir(&folder) {
                Ok(()) if folder.join("pids.max").exists() => return Ok(Self(folder)),
                Ok(()) => drop(fs::remove_dir(&folder)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// One of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // The kernel takes a moment to let the last process go.
        let until = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
