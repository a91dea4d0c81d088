//! The README's commands, run as they are printed.

use std::process::Command;

use crate::harness::{Muster, Options};

/// The one `sh` block of the README that holds these words.
fn block(words: &str) -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a README");
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    blocks.find(|block| block.contains(words)).unwrap_or_else(|| panic!("no block has {words}")).to_owned()
}

/// Runs a block in the repository's folder, with the program that is tested, as somebody without any Muster variables.
fn play(block: &str, home: &std::path::Path) -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_muster")).parent().expect("its folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let ended = Command::new("bash")
        .args(["-eu", "-c", block])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", &home.display().to_string())])
        .output()
        .expect("bash runs");
    let (printed, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{printed}\n{said}");
    printed.into_owned()
}

#[test]
fn fifteen_spawns_make_two_workers() {
    let muster = Muster::start(Options::default());
    // The program that is tested goes before the one that `make run` builds.
    let block = block("seq 15").replace("127.0.0.1:8000", &muster.address()).replace("export PATH", "unused");
    let printed = play(&block, muster.folder());
    assert_eq!(printed.lines().filter(|line| *line == "201").count(), 15, "{printed}");
    for figures in ["\"process_count\": 2", "\"used_capacity\": 15", "\"available_capacity\": 5"] {
        assert!(printed.contains(figures), "{figures}: {printed}");
    }
}

#[test]
fn the_examples_run_by_copy_and_paste() {
    let folder = tempfile::Builder::new().prefix("mr").tempdir_in("/tmp").expect("a folder");
    let place = folder.path().join("example").display().to_string();
    let printed = play(&block("--config examples/muster.toml").replace("/tmp/muster-example", &place), folder.path());
    for words in [
        "python_pool  demo     idle",
        "shell_pool",
        "{\"words\": 3}",
        "terminated",
        "out told to stop",
        "end was stopped",
        "is stopped",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "all that it made is gone");
}

#[test]
fn a_command_line_works_off_a_queue_by_copy_and_paste() {
    let folder = tempfile::Builder::new().prefix("mr").tempdir_in("/tmp").expect("a folder");
    let place = folder.path().join("queue").display().to_string();
    let bulk = block("--data-binary @tasks.ndjson");
    let whole = block("> /tmp/muster-queue/muster.toml").replace("muster queue\n", &format!("{bulk}muster queue\n"));
    let printed = play(&whole.replace("/tmp/muster-queue", &place), folder.path());
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("3"), "{printed}");
    for words in
        ["succeeded\n", "\"state\":\"queued\"", "\"input\": \"line 100\"", "\"output\": 2", "WAITING", "is stopped"]
    {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let ids: Vec<&str> = printed.lines().filter(|line| line.len() == 36 && !line.contains(' ')).collect();
    assert_eq!((ids.len(), &ids[..2]), (4, &ids[2..]), "a repeat answers for the same tasks: {printed}");
    assert!(printed.contains("\"accepted\":1,\"refused\":1"), "each line is answered for itself: {printed}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "all that it made is gone");
}
