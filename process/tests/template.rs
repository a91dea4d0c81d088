//! Copies of a template. Without a harness: a template is this same program, and has one thread.

mod support;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use muster_process::{Child, Custody, ProcessExit, Program, Spawner, Stdio, identity, mark, template};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{read_all, run, wait_until};

const TEMPLATE: &str = "be-a-template";
const WORKER: &str = "be-a-worker";

/// Whether this process has come from a template.
static IS_COPY: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some(WORKER) => work(),
        Some(TEMPLATE) => {
            template::serve(words[2].parse().expect("its parent")).expect("served");
            IS_COPY.store(true, std::sync::atomic::Ordering::Relaxed);
            work()
        }
        // Whatever a harness is asked for.
        _ if words.iter().any(|word| word == "--list") => println!("copies_are_what_was_ordered: test"),
        _ => test(),
    }
}

/// Says what it is, and ends as its stdin tells it.
fn work() -> ! {
    let line = std::fs::read("/proc/self/cmdline").expect("its command line");
    let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    let limit = getrlimit(Resource::RLIMIT_STACK).expect("a limit").0;
    let is_copy = IS_COPY.load(std::sync::atomic::Ordering::Relaxed);
    let mark = std::env::var(mark::WORKER).unwrap_or_default();
    // A thread, since the C library has to know this process as its own.
    let thread = std::thread::spawn(std::process::id).join().expect("a thread");
    let parent = std::os::unix::process::parent_id();
    let files = std::fs::read_dir("/proc/self/fd").expect("its descriptors").count() - 1;
    println!("{is_copy}|{mark}|{thread}|{parent}|{limit}|{files}|{line}");
    eprintln!("on stderr");
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order).expect("its order");
    std::process::exit(order.trim().parse().expect("a number"));
}

struct Worker {
    child: Child,
    is_copy: bool,
    id: String,
    limit: u64,
}

/// An id that nobody else has.
fn new_id() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("00000000-0000-7000-8000-{:012}", u64::from(std::process::id()) * 1000 + u64::from(next))
}

fn program(id: &str, title: &str) -> Program {
    Program {
        file: Some(PathBuf::from("/proc/self/exe")),
        env: vec![("A".into(), "b".into()), (mark::WORKER.into(), id.into())],
        stdin: Stdio::Pipe,
        stdout: Stdio::Pipe,
        stderr: Stdio::Pipe,
        template: Some(["template-of-tests", TEMPLATE].map(OsString::from).to_vec()),
        ..Program::new(["worker-of-tests", WORKER, title, id], Custody::Free)
    }
}

/// Starts one, checks what is the same for each, and leaves it running.
async fn start() -> Worker {
    let id = new_id();
    let mut child = Spawner::start().expect("a nursery").spawn(program(&id, "title")).await.expect("it starts");
    let line = first_line(child.stdout.take().expect("a pipe"));
    let [is_copy, mark, thread, parent, limit, files, title] =
        line.splitn(7, '|').collect::<Vec<_>>().try_into().expect("seven parts");
    assert_eq!(title, format!("worker-of-tests {WORKER} title {id}"));
    assert_eq!((mark, thread), (id.as_str(), child.pid.to_string().as_str()));
    assert_eq!((parent, files), (std::process::id().to_string().as_str(), "3"), "{line}");
    assert_eq!(first_line(child.stderr.take().expect("a pipe")), "on stderr");
    assert_eq!(child.identity, Some(identity::of(child.pid).expect("it lives")));
    assert_eq!(mark::marked(id.as_ref()).expect("readable"), [child.pid], "one process bears the mark");
    let (is_copy, limit) = (is_copy == "true", limit.parse().expect("a number"));
    Worker { child, is_copy, id, limit }
}

/// Starts some until one is a copy.
async fn start_copy() -> Worker {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let worker = start().await;
        if worker.is_copy {
            return worker;
        }
        assert!(Instant::now() < until, "none was copied");
        end(worker, 0).await;
    }
}

async fn end(worker: Worker, code: i32) {
    let mut child = worker.child;
    let mut stdin = std::fs::File::from(child.stdin.take().expect("a pipe"));
    write!(stdin, "{code}").expect("told");
    drop(stdin);
    assert_eq!((&mut child.exit).await, ProcessExit::Code(code));
    assert!(mark::marked(worker.id.as_ref()).expect("readable").is_empty());
}

fn first_line(pipe: OwnedFd) -> String {
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).expect("blocking");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(std::fs::File::from(pipe));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
    line.trim_end().to_owned()
}

/// The templates of this process that live.
fn templates() -> Vec<u32> {
    children(std::process::id())
        .into_iter()
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"template-of-tests\0be-a-template\0"))
        })
        .collect()
}

fn children(own: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{own}/task")).expect("threads");
    let children = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children
        .flat_map(|text| text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn the_template() -> u32 {
    wait_until("there is one template", || templates().len() == 1);
    templates()[0]
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// One after the other: there is one nursery, and each part changes what it has.
fn test() {
    run(async {
        copies_are_what_was_ordered().await;
        a_template_that_is_killed_or_hangs_is_replaced().await;
        copies_have_what_their_owner_has_by_now().await;
        what_can_not_be_copied_is_started().await;
    });
    println!("copies are what was ordered");
}

async fn copies_are_what_was_ordered() {
    let first = start().await;
    assert!(!first.is_copy, "there is no template yet");
    let (copy, other) = (start_copy().await, start_copy().await);
    let template = the_template();
    assert!(
        mark::workers().expect("readable").iter().all(|id| id.len() == 36 && !id.to_string_lossy().starts_with("--"))
    );
    // It is needed no more once they are made.
    signal(template, libc::SIGKILL);
    end(first, 3).await;
    end(copy, 7).await;
    let mut killed = other.child;
    killed.keeper.kill();
    assert_eq!((&mut killed.exit).await, ProcessExit::Signal(libc::SIGKILL));
}

async fn a_template_that_is_killed_or_hangs_is_replaced() {
    end(start_copy().await, 0).await;
    let killed = the_template();
    signal(killed, libc::SIGKILL);
    wait_until("it is gone", || !templates().contains(&killed));
    end(start().await, 0).await;
    end(start_copy().await, 0).await;
    let hung = the_template();
    signal(hung, libc::SIGSTOP);
    let began = Instant::now();
    let worker = start().await;
    assert!(!worker.is_copy && began.elapsed() < Duration::from_secs(5), "nobody waits for long");
    wait_until("it is gone", || !templates().contains(&hung));
    end(worker, 0).await;
    end(start_copy().await, 0).await;
}

async fn copies_have_what_their_owner_has_by_now() {
    end(start_copy().await, 0).await;
    let before = the_template();
    let (soft, hard) = getrlimit(Resource::RLIMIT_STACK).expect("a limit");
    let less = (4 << 20) + 4096;
    setrlimit(Resource::RLIMIT_STACK, less, hard).expect("set");
    let worker = start().await;
    assert_eq!(worker.limit, less);
    end(worker, 0).await;
    let copy = start_copy().await;
    assert_eq!(copy.limit, less);
    assert_ne!(the_template(), before);
    end(copy, 0).await;
    setrlimit(Resource::RLIMIT_STACK, soft, hard).expect("set");
}

async fn what_can_not_be_copied_is_started() {
    end(start_copy().await, 0).await;
    let spawner = Spawner::start().expect("a nursery");
    let (long, id) = ("x".repeat(500), new_id());
    let in_a_folder = Program { cwd: Some("/".into()), ..program(&new_id(), "title") };
    let marked_in_another_way = program("short", "title");
    for program in [program(&id, &long), in_a_folder, marked_in_another_way] {
        let mut child = spawner.spawn(program).await.expect("it starts");
        drop(child.stderr.take());
        let mut stdin = std::fs::File::from(child.stdin.take().expect("a pipe"));
        stdin.write_all(b"5").expect("told");
        drop(stdin);
        let said = read_all(child.stdout.take().expect("a pipe"));
        assert!(said.starts_with("false|"), "{said}");
        // Its stderr is closed, which ends it in whatever way.
        (&mut child.exit).await;
    }
}
