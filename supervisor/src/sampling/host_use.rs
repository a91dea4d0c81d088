//! What the kernel knows of the trees of this host's workers, from one pass over its processes. It blocks.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use muster_domain::{AgentId, LocalIdentity, ProcessId};
use muster_process::census::Census;
use muster_process::host::{self, Granted, Pressure};
use muster_process::{identity, mark};

use super::picture::WorkerPicture;

/// The variable of an agent's programs that says whose they are.
const AGENT: &str = "MUSTER_AGENT_ID";

/// What tells one process from another one with its pid: the pid and the start time.
pub(crate) type ProcessKey = (u32, u64);

/// What was read of a host at one moment.
#[derive(Debug)]
pub(crate) struct HostUse {
    /// When, in clock ticks since boot.
    pub(crate) taken_at: u64,
    pub(crate) granted: Option<Granted>,
    pub(crate) pressure: Option<Pressure>,
    /// Of the workers whose processes are this host's and live.
    pub(crate) workers: Vec<WorkerUse>,
}

/// Processor time of a tree so far.
#[derive(Clone, Debug)]
pub(crate) struct TreeCpu {
    pub(crate) tree: ProcessKey,
    /// With that of all that ended and was waited for. It falls where something ends that nobody waits for.
    pub(crate) total: Duration,
    /// Of each process that lives, itself.
    pub(crate) members: Vec<(ProcessKey, Duration)>,
}

/// What a worker and all that it owns use.
#[derive(Debug)]
pub(crate) struct WorkerUse {
    pub(crate) process_id: ProcessId,
    /// Processor time so far, tree by tree: the whole worker is one, but for a worker within the supervisor, whose trees are those of its
    /// agents.
    pub(crate) cpu: Vec<TreeCpu>,
    pub(crate) memory: u64,
    pub(crate) agents: Vec<AgentUse>,
}

/// What a tree of an agent uses. An agent that starts a program for each task may have several.
#[derive(Debug)]
pub(crate) struct AgentUse {
    pub(crate) agent_id: AgentId,
    pub(crate) cpu: TreeCpu,
    pub(crate) memory: u64,
}

/// Measures these workers, those of them that are processes of this host.
pub(crate) fn measure(workers: &[WorkerPicture]) -> io::Result<HostUse> {
    let own = identity::own()?;
    let census = Census::take()?;
    let measured = workers.iter().filter_map(|worker| {
        let process = worker.identity.as_ref().filter(|process| is_of(process, &own))?;
        (census.start_time(process.pid)? == process.start_time).then(|| of_worker(&census, worker, process, &own))
    });
    let workers = measured.collect();
    Ok(HostUse { taken_at: census.taken_at(), granted: host::granted(), pressure: host::pressure(), workers })
}

/// Whether the pids of a process count here.
fn is_of(process: &LocalIdentity, own: &LocalIdentity) -> bool {
    (&process.boot_id, process.pid_namespace) == (&own.boot_id, own.pid_namespace)
}

fn of_worker(census: &Census, worker: &WorkerPicture, process: &LocalIdentity, own: &LocalIdentity) -> WorkerUse {
    let owner = process.pid;
    let is_within = owner == own.pid;
    let branches: Vec<(u32, AgentId)> = branches(census, worker, owner);
    let counted = match is_within {
        true => branches.iter().flat_map(|(branch, _)| census.tree(*branch)).collect(),
        false => census.tree(owner),
    };
    let memory = census.memory(&counted, owner);
    let of_branch = |(branch, agent): &(u32, AgentId)| {
        let tree = census.tree(*branch);
        // The init is the worker's: it is small, and runs in one memory with the others.
        let programs = tree.get(1..).filter(|programs| !programs.is_empty()).unwrap_or(&tree);
        let sum = programs.iter().filter_map(|pid| memory.get(pid)).sum();
        AgentUse { agent_id: *agent, cpu: cpu_of(census, &tree), memory: sum }
    };
    let agents: Vec<AgentUse> = branches.iter().map(of_branch).collect();
    let cpu = match is_within {
        true => agents.iter().map(|agent| agent.cpu.clone()).collect(),
        false => vec![cpu_of(census, &counted)],
    };
    WorkerUse { process_id: worker.process_id, cpu, memory: memory.values().sum(), agents }
}

/// Of a tree, its root first.
fn cpu_of(census: &Census, tree: &[u32]) -> TreeCpu {
    let key = |pid: u32| (pid, census.start_time(pid).unwrap_or_default());
    TreeCpu {
        tree: tree.first().copied().map_or((0, 0), key),
        total: census.cpu(tree),
        members: tree.iter().map(|pid| (key(*pid), census.own_cpu(*pid))).collect(),
    }
}

/// The children of a worker's process that hold a tree of one of its agents: by the pid of the agent's program, else by what the program
/// was told, since an agent that starts one for each task has none that lasts.
fn branches(census: &Census, worker: &WorkerPicture, owner: u32) -> Vec<(u32, AgentId)> {
    let lasting = worker.agents.iter().filter_map(|(agent, pid)| Some((census.branch_of(owner, (*pid)?)?, *agent)));
    let mut found: HashMap<u32, AgentId> = lasting.collect();
    if worker.agents.iter().any(|(_, pid)| pid.is_none()) {
        for branch in census.children(owner) {
            let program = census.children(*branch).first();
            if let (Some(program), false) = (program, found.contains_key(branch)) {
                let told = mark::variable(*program, AGENT).and_then(|id| id.to_str()?.parse::<AgentId>().ok());
                let of_worker = told.filter(|told| worker.agents.iter().any(|(agent, _)| agent == told));
                found.extend(of_worker.map(|agent| (*branch, agent)));
            }
        }
    }
    found.into_iter().collect()
}
