//! What a program gets, and what a caller hears when it does not start.

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use muster_process::{Custody, Means, ProcessExit, Program, SpawnError, Stdio, look_at_program};
use support::{all_means, output, read_all, run, shell, spawn};

const CUSTODIES: [Custody; 3] = [Custody::Tree, Custody::Child, Custody::Free];

/// Every custody, a tree by each means.
fn all_ways() -> Vec<(Custody, Means)> {
    let ways = CUSTODIES.into_iter().flat_map(|custody| all_means().into_iter().map(move |means| (custody, means)));
    ways.collect()
}

fn failure(program: Program, means: Means) -> SpawnError {
    run(spawn(program, means)).expect_err("it does not start")
}

#[test]
fn its_end_is_exact() {
    for (custody, means) in all_ways() {
        for (script, expected) in [
            ("exit 0", ProcessExit::Code(0)),
            ("exit 255", ProcessExit::Code(255)),
            ("kill -SEGV $$", ProcessExit::Signal(11)),
            ("kill -PIPE $$", ProcessExit::Signal(13)),
            ("kill -TERM $$", ProcessExit::Signal(15)),
            ("kill -KILL $$", ProcessExit::Signal(9)),
        ] {
            let exit = run(async { spawn(shell(script, custody), means).await.expect("it starts").exit.await });
            assert_eq!(exit, expected, "{custody:?} {means:?} {script}");
        }
    }
}

#[test]
fn it_has_the_given_environment_and_folder_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a path");
    for (custody, means) in all_ways() {
        let mut program = Program::new(["env"], custody);
        program.env = vec![("ONE".into(), "1".into()), ("EMPTY".into(), "".into())];
        let (shown, _) = run(output(program, means));
        let mut lines: Vec<&str> = shown.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["EMPTY=", "ONE=1"], "{custody:?}");

        let mut program = Program::new(["pwd"], custody);
        program.cwd = Some(folder.clone());
        assert_eq!(run(output(program, means)).0.trim(), folder.to_str().expect("text"), "{custody:?}");
    }
}

#[test]
fn it_has_three_descriptors_and_no_more() {
    // Not closed on exec, as a careless library opens it; and above what a loop would reach first.
    let stray = std::fs::File::open("/dev/null").expect("opened");
    let stray = nix::fcntl::fcntl(&stray, nix::fcntl::FcntlArg::F_DUPFD(200)).expect("a copy");
    for custody in [Custody::Tree, Custody::Child] {
        for means in all_means() {
            // The fourth is the folder that ls reads.
            let (shown, exit) = run(output(Program::new(["ls", "/proc/self/fd"], custody), means));
            assert_eq!((shown.as_str(), exit), ("0\n1\n2\n3\n", ProcessExit::Code(0)), "{custody:?} {means:?}");
        }
    }
    nix::unistd::close(stray).expect("closed");
}

#[test]
fn its_signals_are_as_if_nobody_had_touched_them() {
    for (custody, means) in all_ways() {
        let (shown, _) =
            run(output(Program::new(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], custody), means));
        // The standard library resets no more than SIGPIPE: what this one was started to ignore (by nohup, say) it passes
        // on, and the C library's own two signals are out of its reach.
        let inherited = if custody == Custody::Free { ignored_here() | 0b11 << 31 } else { 0 };
        for line in shown.lines() {
            assert_eq!(signal_set(line) & !inherited, 0, "{custody:?} {means:?} {line}");
        }
    }
}

/// The signals that this process ignores, but for SIGPIPE.
fn ignored_here() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find(|line| line.starts_with("SigIgn")).expect("a line");
    signal_set(line) & !(1 << (nix::libc::SIGPIPE - 1))
}

/// The set of a line such as `SigIgn: 0000000180000007`.
fn signal_set(line: &str) -> u64 {
    u64::from_str_radix(line.split_whitespace().nth(1).expect("a set"), 16).expect("a number")
}

#[test]
fn its_pipes_carry() {
    for (custody, means) in all_ways() {
        run(async {
            let mut program = shell("read line; echo got $line; echo oops >&2; cat", custody);
            (program.stdin, program.stdout, program.stderr) = (Stdio::Pipe, Stdio::Pipe, Stdio::Pipe);
            let mut child = spawn(program, means).await.expect("it starts");
            let mut stdin = std::fs::File::from(child.stdin.take().expect("a pipe"));
            stdin.write_all(b"this\nand that").expect("written");
            drop(stdin);
            assert_eq!(read_all(child.stdout.take().expect("a pipe")), "got this\nand that", "{custody:?}");
            assert_eq!(read_all(child.stderr.take().expect("a pipe")), "oops\n");
            assert_eq!(child.exit.await, ProcessExit::Code(0));
        });
    }
}

#[test]
fn a_given_descriptor_is_its_own() {
    for (custody, means) in all_ways() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut program = shell("echo out; echo err >&2", custody);
        let copy = || Stdio::Fd(file.as_file().try_clone().expect("a copy").into());
        (program.stdout, program.stderr) = (copy(), copy());
        run(async { spawn(program, means).await.expect("it starts").exit.await });
        assert_eq!(std::fs::read_to_string(file.path()).expect("read"), "out\nerr\n", "{custody:?}");
    }
}

#[test]
fn new_privileges_are_for_those_who_may() {
    for means in all_means() {
        for (allowed, expected) in [(false, "1"), (true, "0")] {
            let mut program = Program::new(["grep", "NoNewPrivs", "/proc/self/status"], Custody::Tree);
            program.allow_new_privileges = allowed;
            let (shown, _) = run(output(program, means));
            // It is inherited, so where these tests run without it stays so.
            let own = std::fs::read_to_string("/proc/self/status").expect("read").contains("NoNewPrivs:\t1");
            assert_eq!(shown.split_whitespace().nth(1), Some(if own { "1" } else { expected }), "{means:?}");
        }
    }
}

#[test]
fn a_program_that_is_missing_is_named() {
    for (custody, means) in all_ways() {
        let error = failure(Program::new(["/nowhere/agent"], custody), means);
        assert_eq!(
            error.to_string(),
            "cannot run /nowhere/agent: No such file or directory (os error 2)",
            "{custody:?}"
        );
        let mut program = Program::new(["agent-of-nowhere"], custody);
        program.search_path = Some("/usr/bin:/bin".into());
        let error = failure(program, means).to_string();
        assert_eq!(error, "\"agent-of-nowhere\" is not in PATH", "{custody:?}");
    }
}

#[test]
fn a_program_that_is_none_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str, mode, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        path
    };
    let plain = make("plain", 0o644, "#!/bin/sh\n");
    let orphan = make("orphan", 0o755, "#!/nowhere/python\n");
    let says = |path: &Path, custody, means| failure(Program::new([path], custody), means).to_string();
    for (custody, means) in all_ways() {
        let error = says(&plain, custody, means);
        assert!(error.ends_with("Permission denied (os error 13) (is it executable?)"), "{custody:?}: {error}");
        let error = says(&orphan, custody, means);
        assert!(error.ends_with("(the interpreter in its first line is missing)"), "{custody:?}: {error}");
    }
    let bare = make("bare", 0o755, "echo hello\n");
    let error = says(&bare, Custody::Tree, Means::BestEffort);
    assert!(error.ends_with("(a script needs a first line such as #!/bin/sh)"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_entered_is_named() {
    for (custody, means) in all_ways() {
        for (folder, why) in [("/nowhere", "No such file or directory"), ("/dev/null", "Not a directory")] {
            let mut program = Program::new(["true"], custody);
            program.cwd = Some(folder.into());
            let error = failure(program, means).to_string();
            assert!(error.starts_with(&format!("cannot start in {folder}: {why}")), "{custody:?}: {error}");
        }
    }
}

#[test]
fn a_look_says_what_a_start_would() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, mode) in [("plain", 0o644), ("agent", 0o755)] {
        let path = folder.path().join(name);
        std::fs::write(&path, "#!/bin/sh\n").expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
    }
    let here = folder.path().to_str().expect("text");
    let program = |words: &[&str], search_path: &str, cwd: &str| {
        let mut program = Program::new(words, Custody::Tree);
        (program.search_path, program.cwd) = (Some(search_path.into()), Some(cwd.into()));
        program
    };
    for (words, search_path, cwd) in [
        (&[][..], "/bin", "/"),
        (&[""], "/bin", "/"),
        (&["agent"], "/bin", here),
        (&["plain"], here, "/"),
        (&["./plain"], "/bin", here),
        (&["./agent"], "/bin", "/"),
        (&["./none"], here, here),
        (&["/usr"], "/bin", "/"),
        (&["/dev/null/agent"], "/bin", "/"),
        (&["agent"], here, "/nowhere"),
        (&["agent"], here, "/dev/null"),
    ] {
        let seen = look_at_program(&program(words, search_path, cwd)).expect_err("it would not start").to_string();
        for means in all_means() {
            assert_eq!(failure(program(words, search_path, cwd), means).to_string(), seen, "{words:?} {means:?}");
        }
    }
    for (word, search_path, cwd) in [("agent", here, "/"), ("./agent", "/bin", here), ("sh", "/bin", "/")] {
        look_at_program(&program(&[word], search_path, cwd)).expect("it would start");
    }
}

#[test]
fn what_no_process_can_be_given_is_refused() {
    for (custody, means) in all_ways().into_iter().filter(|(custody, _)| *custody != Custody::Free) {
        assert!(matches!(failure(Program::new(["true", "a\0b"], custody), means), SpawnError::NulByte { .. }));
    }
    assert!(matches!(failure(Program::new(Vec::<String>::new(), Custody::Tree), Means::BestEffort), SpawnError::Empty));
    assert!(matches!(failure(Program::new([""], Custody::Free), Means::BestEffort), SpawnError::Empty));
}
