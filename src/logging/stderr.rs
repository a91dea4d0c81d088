//! Stderr without the lock of the standard library, which whoever waits in a write would hold against everybody else.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use muster_files::{DataPath, FileId};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often it is looked whether the file is still at its place.
const LOOK: Duration = Duration::from_secs(1);

/// Where the file that is this process's stderr belongs, if it is one in the data folder.
static PLACE: OnceLock<DataPath> = OnceLock::new();

/// Says where that is. Without effect where stderr is something else.
pub(super) fn stands_at(place: DataPath) -> io::Result<()> {
    let own = FileId::of(&Stderr::open()?.file)?;
    if place.id()? == Some(own) {
        // There is one word on it, from the process's orders.
        let _ = PLACE.set(place);
    }
    Ok(())
}

/// Descriptor 2 under another number.
pub(super) struct Stderr {
    file: File,
    looked: Instant,
}

/// The same, opened with the first line: most workers say none.
#[derive(Default)]
pub(super) struct LateStderr(Option<Stderr>);

impl Write for LateStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let opened = match self.0.take() {
            Some(opened) => opened,
            None => Stderr::open()?,
        };
        self.0.insert(opened).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stderr {
    pub(super) fn open() -> io::Result<Self> {
        let fd = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self { file: File::from(fd), looked: Instant::now() })
    }

    /// Begins a new file where the present one was removed or moved: what is written there nobody would find.
    fn look(&mut self, place: &DataPath) -> io::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        if place.id()? != Some(FileId::of(&self.file)?) {
            self.file = place.append()?;
            nix::unistd::dup2_stderr(&self.file)?;
        }
        Ok(())
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(place) = PLACE.get() {
            // Where there can be no new one, the old one is as good as nothing, and the next look tries again.
            let _ = self.look(place);
        }
        loop {
            match self.file.write(bytes) {
                // Somebody who shares it has made it so; what is written still has to get there.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
