//! What the host, or the control group of this process, has to give, and how hard it is pressed.

use std::fs;
use std::path::{Path, PathBuf};

/// What processes of this one may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Processors, in millionths of one.
    pub cpu: u64,
    /// Memory in bytes.
    pub memory: u64,
}

/// The share of the last ten seconds in which something waited, in hundredths of a percent (PSI, `some`, avg10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// For a processor.
    pub cpu: u64,
    /// For memory.
    pub memory: u64,
    /// For a disk.
    pub io: u64,
}

/// What is granted: the least of what the host has, the processors that this process may run on, and the limits of its control groups and
/// all above them. None where the host does not tell its processors or its memory.
pub fn granted() -> Option<Granted> {
    let memory = memory_line("MemTotal:")?;
    let processors = fs::read_to_string("/proc/self/status").ok();
    let processors = processors.and_then(|status| {
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).and_then(|list| count_of(list.trim()))
    });
    let mut granted = Granted { cpu: processors?.saturating_mul(1_000_000), memory };
    for (folder, version) in groups() {
        let limits = match version {
            Version::One => [quota_of_v1(&folder), number(&folder.join("memory.limit_in_bytes"))],
            Version::Two => [quota(&folder.join("cpu.max")), number(&folder.join("memory.max"))],
        };
        granted.cpu = limits[0].map_or(granted.cpu, |limit| granted.cpu.min(limit));
        granted.memory = limits[1].map_or(granted.memory, |limit| granted.memory.min(limit));
    }
    Some(granted)
}

/// How hard the host is pressed; none where the kernel does not tell.
pub fn pressure() -> Option<Pressure> {
    let read = |what: &str| some_of(&fs::read_to_string(format!("/proc/pressure/{what}")).ok()?);
    Some(Pressure { cpu: read("cpu")?, memory: read("memory")?, io: read("io")? })
}

/// The share of the granted memory that is available, 0 to 1: the least of what the host has, and the control groups of this process and
/// all above them. What a group could give up of its files at once counts as available, as it does for the host. None where the
/// host does not tell.
pub fn available() -> Option<f64> {
    let share = |available: u64, all: u64| (all > 0).then(|| available as f64 / all as f64);
    let mut least = share(memory_line("MemAvailable:")?, memory_line("MemTotal:")?)?;
    for (folder, version) in groups() {
        let [limit, used, idle] = match version {
            Version::One => ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
            Version::Two => ["memory.max", "memory.current", "inactive_file"],
        };
        // A group without a limit has none of its own.
        let (Some(limit), Some(used)) = (number(&folder.join(limit)), number(&folder.join(used))) else { continue };
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<u64>().ok()).unwrap_or(0);
        let free = limit.saturating_sub(used.saturating_sub(idle));
        least = share(free.min(limit), limit).map_or(least, |share| least.min(share));
    }
    Some(least)
}

/// A line of /proc/meminfo, in bytes.
fn memory_line(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many numbers are in a list such as `0-3,8`.
fn count_of(list: &str) -> Option<u64> {
    list.split(',').try_fold(0_u64, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)? + 1)
    })
}

/// The average over ten seconds of `some`, in hundredths.
fn some_of(text: &str) -> Option<u64> {
    let average = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    let average: f64 = average.split(' ').next()?.parse().ok()?;
    (average.is_finite() && average >= 0.0).then(|| (average * 100.0).round() as u64)
}

/// Of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The folders of this process's control groups that may limit processors or memory, and of all above them.
fn groups() -> Vec<(PathBuf, Version)> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (memberships, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    folders(&memberships, &mounts)
}

fn folders(memberships: &str, mounts: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for line in memberships.lines() {
        // ID:CONTROLLERS:PATH; version 2 names no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let limiting = controllers.split(',').find(|name| ["cpu", "memory"].contains(name));
        let version = if controllers.is_empty() { Version::Two } else { Version::One };
        if version == Version::One && limiting.is_none() {
            continue;
        }
        let Some((root, mount)) = mounts.lines().find_map(|line| mount_of(line, limiting)) else { continue };
        // Within a container the mount may begin at the group itself.
        let below = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
        let top = PathBuf::from(&mount);
        let folder: PathBuf = top.iter().chain(below.iter()).collect();
        let above = folder.ancestors().take_while(|folder| folder.starts_with(&top));
        found.extend(above.map(|folder| (folder.to_path_buf(), version)));
    }
    found
}

/// The root and the mount point of a line of mountinfo(5), where it is one of control groups: of version 1 with this controller, or of
/// version 2 where none is named.
fn mount_of(line: &str, controller: Option<&str>) -> Option<(String, String)> {
    let (front, back) = line.split_once(" - ")?;
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1)?);
    let is_it = match controller {
        None => kind == "cgroup2",
        Some(controller) => kind == "cgroup" && options.split(',').any(|option| option == controller),
    };
    let mut front = front.split(' ').skip(3);
    is_it.then_some((front.next()?.to_owned(), front.next()?.to_owned()))
}

/// A file with one number; none where it says `max` or is not there.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `QUOTA PERIOD`, in millionths of a processor; none of `max`.
fn quota(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    millionths(quota.parse().ok()?, period.parse().ok()?)
}

/// The same of version 1, where no limit is -1.
fn quota_of_v1(folder: &Path) -> Option<u64> {
    millionths(number(&folder.join("cpu.cfs_quota_us"))?, number(&folder.join("cpu.cfs_period_us"))?)
}

fn millionths(quota: u64, period: u64) -> Option<u64> {
    quota.saturating_mul(1_000_000).checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_grants_something() {
        let granted = granted().expect("a host");
        assert!(granted.cpu >= 1_000 && granted.memory > 1 << 26, "{granted:?}");
    }

    #[test]
    fn this_host_has_some_memory_left() {
        let available = available().expect("a host");
        assert!((0.0..=1.0).contains(&available), "{available}");
    }

    #[test]
    fn lists_of_processors_are_counted() {
        for (list, count) in
            [("0", Some(1)), ("0-3", Some(4)), ("0-1,4,6-7", Some(5)), ("", None), ("3-1", None), ("a", None)]
        {
            assert_eq!(count_of(list), count, "{list:?}");
        }
    }

    #[test]
    fn pressure_is_the_average_of_ten_seconds() {
        assert_eq!(
            some_of("some avg10=1.44 avg60=0.31 avg300=0.66 total=44\nfull avg10=9.00 avg60=0 avg300=0 total=0"),
            Some(144)
        );
        assert_eq!(
            (some_of("full avg10=9.00 avg60=0"), some_of("some avg10=x avg60=0"), some_of("")),
            (None, None, None)
        );
    }

    #[test]
    fn quotas_are_parts_of_a_processor() {
        assert_eq!((millionths(50_000, 100_000), millionths(150_000, 100_000)), (Some(500_000), Some(1_500_000)));
        assert_eq!(millionths(1, 0), None);
        let place = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).expect("written");
        write("cpu.max", "max 100000\n");
        write("memory.max", "max\n");
        assert_eq!((quota(&place.path().join("cpu.max")), number(&place.path().join("memory.max"))), (None, None));
        write("cpu.max", "25000 100000\n");
        write("cpu.cfs_quota_us", "-1\n");
        write("cpu.cfs_period_us", "100000\n");
        assert_eq!((quota(&place.path().join("cpu.max")), quota_of_v1(place.path())), (Some(250_000), None));
    }

    #[test]
    fn groups_are_found_with_all_above_them() {
        let paths = |memberships: &str, mounts: &str| -> Vec<String> {
            let folders = folders(memberships, mounts).into_iter();
            folders.map(|(folder, version)| format!("{} {version:?}", folder.display())).collect()
        };
        let two = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(paths("0::/a/b\n", two), ["/sys/fs/cgroup/a/b Two", "/sys/fs/cgroup/a Two", "/sys/fs/cgroup Two"]);
        let one = "31 23 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                   32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        assert_eq!(
            paths("4:memory:/x\n8:pids:/\n0::/\n", one),
            ["/sys/fs/cgroup/memory/x One", "/sys/fs/cgroup/memory One"]
        );
        let inside = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(paths("0::/docker/1\n", inside), ["/sys/fs/cgroup Two"]);
        assert!(paths("nonsense\n", "nonsense\n").is_empty());
    }
}
