//! Telling one process from every other, over reboots, pid namespaces and reused pids.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use muster_domain::LocalIdentity;

use crate::pidfd::Pidfd;
use crate::process_list::Stat;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PID_NAMESPACE: &str = "/proc/self/ns/pid";

/// What became of a process.
#[derive(Debug)]
pub enum Presence {
    /// It lives, and this is a hold on it.
    Alive(Pidfd),
    /// It has ended; a zombie has too.
    Dead,
    /// It cannot be seen from here: another host, or another pid namespace.
    Elsewhere,
}

/// This host, boot and pid namespace.
struct HostScope {
    host: String,
    boot_id: String,
    pid_namespace: u64,
}

/// Who a process is that this process sees as `pid`. `NotFound` where there is none.
pub fn of(pid: u32) -> io::Result<LocalIdentity> {
    let place = place()?;
    let start_time = start_time(pid)?;
    Ok(LocalIdentity {
        host: place.host.clone(),
        boot_id: place.boot_id.clone(),
        pid_namespace: place.pid_namespace,
        pid,
        start_time,
    })
}

/// Who this process is.
pub fn own() -> io::Result<LocalIdentity> {
    of(std::process::id())
}

/// What became of the process with this identity. Another boot of this host means that it is dead.
pub fn find(identity: &LocalIdentity) -> io::Result<Presence> {
    let place = place()?;
    if identity.boot_id != place.boot_id {
        return Ok(if identity.host == place.host { Presence::Dead } else { Presence::Elsewhere });
    }
    if identity.pid_namespace != place.pid_namespace {
        return Ok(Presence::Elsewhere);
    }
    // The descriptor first, the comparison afterwards: what is compared is then what is held, or both are gone.
    let pidfd = match Pidfd::open(identity.pid) {
        Ok(pidfd) => pidfd,
        // EINVAL: 0, or by now the number of a thread. ESRCH: nobody.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => return Ok(Presence::Dead),
        Err(error) => return Err(error),
    };
    match start_time(identity.pid) {
        Ok(start_time) if start_time == identity.start_time && !pidfd.is_dead() => Ok(Presence::Alive(pidfd)),
        Ok(_) => Ok(Presence::Dead),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(Presence::Dead),
        Err(error) => Err(error),
    }
}

fn start_time(pid: u32) -> io::Result<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    Stat::parse(&text)
        .map(|stat| stat.start_time)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not understood")))
}

/// Read once: none of it changes while a process lives (a renamed host keeps its boot id).
fn place() -> io::Result<&'static HostScope> {
    static PLACE: OnceLock<HostScope> = OnceLock::new();
    if let Some(place) = PLACE.get() {
        return Ok(place);
    }
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let boot_id = std::fs::read_to_string(BOOT_ID).map_err(|error| unread(BOOT_ID, &error))?.trim().to_owned();
    let pid_namespace = std::fs::metadata(PID_NAMESPACE).map_err(|error| unread(PID_NAMESPACE, &error))?.ino();
    Ok(PLACE.get_or_init(|| HostScope { host, boot_id, pid_namespace }))
}

/// An error that names what could not be read, and what that means where the whole of `/proc` is missing.
fn unread(path: &str, error: &io::Error) -> io::Error {
    let hint = if std::fs::exists("/proc/self/stat").unwrap_or(false) { "" } else { "; /proc must be mounted" };
    io::Error::new(error.kind(), format!("cannot read {path}: {error}{hint}"))
}
