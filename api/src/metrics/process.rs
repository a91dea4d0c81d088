//! What this process itself uses, as the kernel says it.

/// Ticks a second in what the kernel says of processes: it shows them to programs as of 100 Hz, whatever it counts in.
const TICKS: f64 = 100.0;

/// Processor time of this process since it began, in seconds.
pub(super) fn cpu_seconds() -> Option<f64> {
    cpu_seconds_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Its resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    resident_bytes_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn cpu_seconds_in(stat: &str) -> Option<f64> {
    // The name of the program may have blanks and brackets; what follows its last bracket has none.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS)
}

fn resident_bytes_in(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kibibytes * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_kernel_writes_it() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 1000 0 0 0 150 50 7 7 20 0 1 0 12345 1000 200";
        assert_eq!(cpu_seconds_in(stat), Some(2.0));
        assert_eq!(resident_bytes_in("Name:\tmuster\nVmRSS:\t    2048 kB\nThreads:\t3\n"), Some(2_097_152.0));
        assert_eq!((cpu_seconds_in("nonsense"), resident_bytes_in("Name:\tmuster\n")), (None, None));
        assert!(resident_bytes() > Some(1e6) && cpu_seconds() >= Some(0.0));
    }
}
