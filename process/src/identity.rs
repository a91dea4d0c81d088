//! Telling one process from every other, over reboots, pid namespaces and reused pids.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use muster_domain::LocalIdentity;

use crate::pidfd::Pidfd;
use crate::process_list::Stat;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PID_NAMESPACE: &str = "/proc/self/ns/pid";
const MACHINE_ID: &str = "/etc/machine-id";

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
    machine_id: Option<String>,
    boot_id: String,
    pid_namespace: u64,
}

/// Who a process is that this process sees as `pid`. `NotFound` where there is none.
pub fn of(pid: u32) -> io::Result<LocalIdentity> {
    let place = place()?;
    let start_time = start_time(pid)?;
    Ok(LocalIdentity {
        host: place.host.clone(),
        machine_id: place.machine_id.clone(),
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

/// What became of the process with this identity. Another boot of this host means that it is dead. That it is this host is known by its
/// name and its machine id together: either alone may be another host's too, e.g. of a copied image, and one without a machine
/// id can't be told from another.
pub fn find(identity: &LocalIdentity) -> io::Result<Presence> {
    let place = place()?;
    if identity.boot_id != place.boot_id {
        let is_of_this_host =
            identity.host == place.host && identity.machine_id.is_some() && identity.machine_id == place.machine_id;
        return Ok(if is_of_this_host { Presence::Dead } else { Presence::Elsewhere });
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
    let stat = Stat::read(pid)?.map(|stat| stat.start_time);
    stat.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not understood")))
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
    let machine_id = std::fs::read_to_string(MACHINE_ID).ok().and_then(|text| machine_id(&text));
    Ok(PLACE.get_or_init(|| HostScope { host, machine_id, boot_id, pid_namespace }))
}

/// By machine-id(5) it is 32 hexadecimal digits and not all of them zero. A host without one has an empty file, or the word
/// `uninitialized`.
fn machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_one =
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0');
    is_one.then(|| id.to_ascii_lowercase())
}

/// An error that names what could not be read, and what that means where the whole of `/proc` is missing.
fn unread(path: &str, error: &io::Error) -> io::Error {
    let hint = if std::fs::exists("/proc/self/stat").unwrap_or(false) { "" } else { "; /proc must be mounted" };
    io::Error::new(error.kind(), format!("cannot read {path}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_32_digits_that_are_not_all_zero() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        assert_eq!(machine_id(&format!("{id}\n")).as_deref(), Some(id));
        assert_eq!(machine_id(&id.to_uppercase()).as_deref(), Some(id));
        for none in ["", "\n", "uninitialized\n", &"0".repeat(32), &id[1..], &format!("{id}0"), &id.replace('3', "g")] {
            assert_eq!(machine_id(none), None, "{none:?}");
        }
    }

    #[test]
    fn another_boot_is_over_only_where_the_host_is_certainly_this_one() {
        let own = own().expect("this process");
        let of = |host: &str, machine_id: Option<&str>| {
            let (host, machine_id) = (host.to_owned(), machine_id.map(str::to_owned));
            find(&LocalIdentity { host, machine_id, boot_id: "another".to_owned(), ..own.clone() }).expect("asked")
        };
        let (host, id) = (own.host.as_str(), own.machine_id.as_deref());
        assert!(matches!(of(host, Some("another")), Presence::Elsewhere), "two hosts of one name");
        assert!(matches!(of(host, None), Presence::Elsewhere), "one that can't be told from another");
        assert!(matches!(of("another", id), Presence::Elsewhere), "two copies of one image");
        // Where this host has no machine id it knows no earlier boot of itself.
        assert_eq!(matches!(of(host, id), Presence::Dead), id.is_some());
    }
}
