//! A filter of system calls may refuse what a zygote does. Alone in its file, since a filter is for good.

mod support;

use std::mem::offset_of;

use muster_process::{Custody, ProcessExit, Spawner};
use support::{all_means, await_wicked, new_tag, output, run, shell, spawn, tagged, wicked, zygotes};

/// Has the kernel refuse to this thread, and to those that it starts, any clone with one of these flags.
fn refuse_clone(flags: libc::c_int) {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset: usize| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset as u32);
    let leave = |verdict| step(libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
    let number = libc::SYS_clone as u32;
    let mut program = [
        load(offset_of!(libc::seccomp_data, nr)),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, number),
        load(offset_of!(libc::seccomp_data, args)),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, flags as u32),
        leave(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        leave(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a whole filter.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn where_none_may_be_inits_are_forked() {
    refuse_clone(libc::CLONE_PARENT);
    Spawner::start().and_then(|spawner| spawner.warm_up()).expect("a zygote that nobody has asked yet");
    for means in all_means() {
        run(async {
            let secret = format!("secret-{}", new_tag());
            let mut program = shell("echo $SECRET; ls /proc/self/fd", Custody::Tree);
            program.env.push(("SECRET".into(), secret.clone().into()));
            let (shown, exit) = output(program, means).await;
            assert_eq!(
                (shown.as_str(), exit),
                (format!("{secret}\n0\n1\n2\n3\n").as_str(), ProcessExit::Code(0)),
                "{means:?}"
            );
            assert_eq!(zygotes(), [0; 0], "none is kept that can do nothing");
            let tag = new_tag();
            let tree = spawn(wicked(&tag), means).await.expect("it starts");
            await_wicked(&tag);
            let open = std::fs::read_dir(format!("/proc/{}/fd", tree.root)).map(Iterator::count);
            assert!(open.as_ref().is_ok_and(|open| *open == 2) || open.is_err(), "lifeline and signals, not {open:?}");
            let name = std::fs::read_to_string(format!("/proc/{}/comm", tree.root)).expect("a name");
            assert_eq!(name, "muster-init\n");
            tree.keeper.kill();
            assert_eq!(tree.exit.await, ProcessExit::Signal(libc::SIGKILL));
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
            let missing = muster_process::Program::new(["/nowhere/agent"], Custody::Tree);
            let error = spawn(missing, means).await.expect_err("there is no such program").to_string();
            assert_eq!(error, "cannot run /nowhere/agent: No such file or directory (os error 2)");
        });
    }
}
