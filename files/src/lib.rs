//! Files that agents can touch: the one way to open, move and remove them.
//!
//! Agents may run as the user that runs Muster, and so may replace anything in the data folder by anything: a log by a FIFO,
//! which would hold whoever opens it for ever; a folder by a link, which would lead elsewhere whoever writes or removes under
//! it; a file by a device. So nothing under the data folder is opened by its whole path. It is opened beneath its
//! [`Folder`]:
//!
//! - no link is followed, in no component (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`; on kernels and in
//!   containers without it each component is opened by itself with `O_NOFOLLOW`);
//! - no open waits (`O_NONBLOCK`), and what is opened as a file is a regular one (`fstat` of what was opened);
//! - what is named under an open folder is in it, whatever its path leads to by now.
//!
//! The data folder itself may be reached by links: whoever configured it put them there. So may the configuration in it, of which only
//! that is asked that it is a regular file ([`read_found`]).
//!
//! | file | its part |
//! |---|---|
//! | `beneath` | how the kernel is asked |
//! | `folder` | an open folder, and what is done in it |
//! | `removal` | a whole folder goes, however deep agents made it |
//! | `data_paths` | what is where in the data folder |

mod beneath;
mod data_paths;
mod folder;
mod removal;

pub use data_paths::{DataPath, FOLDERS};
pub use folder::{FileId, Folder, read_found};
