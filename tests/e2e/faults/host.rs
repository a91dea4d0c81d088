//! The host runs short of something, or somebody takes a folder away.

use std::ffi::CString;
use std::fs;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::row::Registry::{Configured, Private};
use super::row::Store::Postgres;
use super::row::{Mend, Row, Skip};
use super::site::{Plan, Site};
use crate::harness::group::ProcessGroup;
use crate::harness::host::{give_files, leave_no_files};
use crate::harness::{BOUND, wait_until};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("host: no files for workers", no_files_for_workers)
            .registries(&[Private, Configured])
            .says(&["open files"]),
        Row::new("host: no files for the server", no_files_for_the_server)
            .prepare(|plan| {
                plan.options.through = ["prlimit", "--nofile=256"].map(str::to_owned).to_vec();
                Ok(())
            })
            .says(&["open files", "connections"]),
        Row::new("host: log folder removed", logs_removed).says(&["logs"]),
        Row::new("host: log folder moved", |site| moved(site, "logs")).says(&["logs"]),
        Row::new("host: data folder moved", |site| moved(site, ""))
            .names(&["is away", "was removed, moved or replaced"]),
        // A database in it would be lost, and nothing brings that back without a restart.
        Row::new("host: data folder removed", data_removed).stores(&[Postgres]).names(&["is away"]),
        Row::new("host: no processes", no_processes)
            .prepare(in_a_group)
            .alert("start_failed")
            .says(&["gives no more processes"]),
    ]
}

fn no_files_for_workers(site: &mut Site) -> Result<Mend, Skip> {
    let pids: Vec<u32> = site.muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    let before: Vec<(u32, libc::rlimit)> = pids.into_iter().map(|pid| (pid, leave_no_files(pid))).collect();
    Ok(Box::new(move |_| before.into_iter().for_each(|(pid, limit)| give_files(pid, limit))))
}

/// Somebody connects and says nothing, more often than there are files.
fn no_files_for_the_server(site: &mut Site) -> Result<Mend, Skip> {
    let address = site.muster.address();
    let idle: Vec<TcpStream> = (0..300).map_while(|_| TcpStream::connect(&address).ok()).collect();
    Ok(Box::new(move |_| drop(idle)))
}

fn logs_removed(site: &mut Site) -> Result<Mend, Skip> {
    fs::remove_dir_all(site.muster.data_dir().join("logs")).expect("a folder");
    Ok(Box::new(|_| {}))
}

/// Two paths become each other.
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let (one, other, here) = (text(one), text(other), libc::AT_FDCWD);
    // SAFETY: strings that end with a NUL.
    match unsafe { libc::renameat2(here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn data_removed(site: &mut Site) -> Result<Mend, Skip> {
    let folder = site.muster.data_dir().to_owned();
    wait_until("nobody writes into it meanwhile", BOUND, || fs::remove_dir_all(&folder).is_ok());
    // As an operator would, with whatever rights.
    Ok(Box::new(move |_| fs::create_dir(folder).expect("an empty folder")))
}

/// The server, its workers and its agents in a control group of their own.
fn in_a_group(plan: &mut Plan) -> Result<(), Skip> {
    let group = ProcessGroup::make().map_err(|error| Skip(format!("no control group bounds processes ({error})")))?;
    let enter = format!("echo $$ > '{}' && exec \"$@\"", group.file("cgroup.procs").display());
    plan.options.through = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
    plan.group = Some(group);
    Ok(())
}

/// As many as there are: not one more.
fn no_processes(site: &mut Site) -> Result<Mend, Skip> {
    let group = site.plan.group.as_ref().expect("it was made");
    let now = fs::read_to_string(group.file("pids.current")).expect("a number");
    fs::write(group.file("pids.max"), now.trim()).expect("a bound");
    Ok(Box::new(|site| {
        let group = site.plan.group.as_ref().expect("it was made");
        fs::write(group.file("pids.max"), "max").expect("no bound");
    }))
}

/// Moves a folder away, and back over what was made in its place.
fn moved(site: &mut Site, name: &str) -> Result<Mend, Skip> {
    let data = site.muster.data_dir();
    let folder = if name.is_empty() { data.to_owned() } else { data.join(name) };
    let away = site.plan.folder.path().join("away");
    fs::rename(&folder, &away).map_err(|error| Skip(format!("the folder can't be moved ({error})")))?;
    // In one step, where another one is in its place by now: the server makes that again as soon as it is gone.
    Ok(Box::new(move |_| match folder.exists() {
        true => exchange(&away, &folder).expect("it is back"),
        false => fs::rename(away, folder).expect("it is back"),
    }))
}
