//! Many starts leave no descriptor, no zombie and no process. Alone in its file: it counts what the whole process has.

mod support;

use muster_process::{Child, Custody, ProcessExit, Program, Stdio};
use support::{all_means, run, shell, spawn};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a folder").count()
}

/// The names of this process's children.
fn children() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").expect("a folder");
    let lists = threads
        .map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("children")).unwrap_or_default());
    let pids: Vec<String> =
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    pids.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("a name")).collect()
}

async fn piped(number: i32, custody: Custody, means: muster_process::Means) -> ProcessExit {
    let mut program = shell(&format!("exit {number}"), custody);
    (program.stdin, program.stdout, program.stderr) = (Stdio::Pipe, Stdio::Pipe, Stdio::Pipe);
    let Child { exit, .. } = &mut spawn(program, means).await.expect("it starts");
    exit.await
}

/// 200 at once, each with its own exit code, and as many that do not start.
async fn round(custody: Custody, means: muster_process::Means) {
    let starts: Vec<_> = (0..200).map(|number| tokio::spawn(piped(number, custody, means))).collect();
    for (number, start) in (0..200).zip(starts) {
        assert_eq!(start.await.expect("no panic"), ProcessExit::Code(number), "{custody:?} {means:?}");
    }
    let failures: Vec<_> = (0..50).map(|_| tokio::spawn(spawn(Program::new(["/nowhere"], custody), means))).collect();
    for failure in failures {
        assert!(failure.await.expect("no panic").is_err());
    }
}

#[test]
fn many_starts_leave_nothing() {
    run(async {
        for means in all_means() {
            for custody in [Custody::Tree, Custody::Child, Custody::Free] {
                piped(0, custody, means).await;
                let before = open_descriptors();
                round(custody, means).await;
                assert_eq!(open_descriptors(), before, "{custody:?} {means:?}");
                assert_eq!(children(), ["muster-zygote\n"], "{custody:?} {means:?}");
            }
        }
    });
}
