//! Processes that a supervisor of a test left behind.

use std::path::Path;

/// A process that bears a mark.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) pid: u32,
    /// What it is, for the one who reads that the test failed.
    #[expect(dead_code, reason = "read by people, in the message of a failed test")]
    command_line: String,
}

/// Every process that bears one of these marks: in its arguments, its environment, or its folder. All that a
/// supervisor starts bears the test's folder: the private Redis as the path of its socket, workers and agents in
/// `TMPDIR`, whatever cleared its environment at least in its current folder, and workers their id. Zombies bear none.
pub(super) fn find(marks: &[String]) -> Vec<Leftover> {
    let bears = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        marks.iter().any(|mark| text.contains(mark))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    let found = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path();
        let cwd =
            || std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| bears(cwd.into_os_string().into_encoded_bytes()));
        let file = |name: &str| std::fs::read(path.join(name)).is_ok_and(&bears);
        // A program that the test itself holds the strings of bears them in its memory only.
        (pid != std::process::id() && (file("cmdline") || file("environ") || cwd())).then(|| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            Leftover { pid, command_line: String::from_utf8_lossy(&line).replace('\0', " ") }
        })
    });
    found.collect()
}

/// The ids of the workers that wrote a log here.
pub(super) fn workers_of(data_dir: &Path) -> Vec<String> {
    let logs = std::fs::read_dir(data_dir.join("logs").join("workers")).into_iter().flatten().flatten();
    logs.filter_map(|log| log.file_name().to_str()?.strip_suffix(".log").map(str::to_owned)).collect()
}
