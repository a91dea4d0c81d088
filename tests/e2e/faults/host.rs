//! The host runs short of something, or somebody takes a folder away.

use std::fs;
use std::net::TcpStream;

use super::row::Registry::{Configured, Private};
use super::row::{Mend, Row, Skip};
use super::site::Site;
use crate::harness::host::{give_files, leave_no_files};

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

/// Moves a folder away, and back over what was made in its place.
fn moved(site: &mut Site, name: &str) -> Result<Mend, Skip> {
    let folder = site.muster.data_dir().join(name);
    let away = site.plan.folder.path().join("away");
    fs::rename(&folder, &away).map_err(|error| Skip(format!("the folder can't be moved ({error})")))?;
    Ok(Box::new(move |_| {
        drop(fs::remove_dir_all(&folder));
        fs::rename(away, folder).expect("it is back");
    }))
}
