//! What of the supervisor's views is on the page.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use muster_domain::{PoolName, TaskState, Timestamp};
use muster_supervisor::prometheus::{
    AttemptOutcome, Component, MetricFamily, QueueState, Resource, TaskTotals, TokenUse, families,
};
use muster_supervisor::{AlertKind, PoolView, PressureView, QueueView, ResourcesView, SystemView, WorkerView};

use super::page::MetricsPage;
use super::process;

/// A figure of a pool: its family, and where it is.
type Figure = (&'static MetricFamily, fn(&PoolView) -> f64);

/// The figures of a pool.
const FIGURES: [Figure; 21] = [
    (&families::WORKERS, |pool| pool.process_count.into()),
    (&families::WORKERS_READY, |pool| pool.active_worker_processes.into()),
    (&families::WORKERS_STARTING, |pool| pool.scaling.workers.starting.into()),
    (&families::WORKERS_INTERRUPTED, |pool| pool.interrupted_workers.into()),
    (&families::WORKERS_OUTDATED, |pool| pool.outdated_workers.into()),
    (&families::WORKERS_UNREACHABLE, |pool| pool.unreachable_workers.into()),
    (&families::WORKERS_DESIRED, |pool| pool.scaling.workers.desired().into()),
    (&families::WORKERS_MIN, |pool| pool.scale.min_workers.into()),
    (&families::WORKERS_MAX, |pool| match pool.scale.max_workers {
        0 => f64::INFINITY,
        most => most.into(),
    }),
    (&families::WORKERS_STARTED, |pool| pool.total_workers_spawned as f64),
    (&families::LOAD, |pool| pool.scale.load_percentage / 100.0),
    (&families::HEALTH, |pool| pool.scale.health_score),
    (&families::AGENTS, |pool| pool.agent_count.into()),
    (&families::AGENTS_PENDING, |pool| pool.pending_agents.into()),
    (&families::AGENTS_QUARANTINED, |pool| pool.quarantined_agents.into()),
    (&families::AGENTS_LACKING, |pool| pool.scaling.demand.map_or(0.0, |demand| demand.lacking() as f64)),
    (&families::SLOTS, |pool| pool.total_capacity.into()),
    (&families::SLOTS_USED, |pool| pool.used_capacity.into()),
    (&families::PAUSED, |pool| yes(pool.holds.paused || pool.holds.all_paused)),
    (&families::INTAKE_CLOSED, |pool| yes(pool.holds.intake_closed)),
    (&families::DRAINING, |pool| yes(pool.holds.draining)),
];

fn yes(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds_of(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

impl MetricsPage {
    /// What is known of the process whether it leads or not.
    pub(crate) fn process(&mut self, started: SystemTime, leads: bool, connections: usize) {
        self.series(&families::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.one(&families::START_TIME, since.as_secs_f64());
        let used =
            [(&families::PROCESS_CPU, process::cpu_seconds()), (&families::PROCESS_MEMORY, process::resident_bytes())];
        for (family, value) in used {
            if let Some(value) = value {
                self.one(family, value);
            }
        }
        self.one(&families::LEADING, yes(leads));
        self.one(&families::HTTP_CONNECTIONS, connections as f64);
    }

    /// The figures of the supervisor.
    pub(crate) fn system(&mut self, system: &SystemView, pools: &[&str]) {
        self.one(&families::DEGRADED, system.degraded.len() as f64);
        self.one(&families::REGISTRY_UP, yes(system.registry.ok));
        self.one(&families::STORE_UP, yes(system.store.ok));
        for component in Component::ALL {
            let is_enabled = match component {
                Component::MetricsCollector => system.runs.metrics_collector,
                Component::Autoscaler => system.runs.autoscaler,
            };
            self.series(&families::COMPONENT_ENABLED, &[component.as_str()], yes(is_enabled));
        }
        self.alerts(system, pools);
    }

    fn alerts(&mut self, system: &SystemView, pools: &[&str]) {
        let mut counts = BTreeMap::from([((AlertKind::Degraded.as_str(), ""), 0_u32)]);
        let of_pools = || AlertKind::ALL.into_iter().filter(|kind| *kind != AlertKind::Degraded);
        counts.extend(pools.iter().flat_map(|pool| of_pools().map(|kind| ((kind.as_str(), *pool), 0))));
        for alert in &system.alerts {
            let pool = alert.pool.as_ref().map_or("", PoolName::as_str);
            *counts.entry((alert.kind.as_str(), pool)).or_default() += 1;
        }
        for ((kind, pool), count) in counts {
            self.series(&families::ALERTS_FIRING, &[kind, pool], count.into());
        }
    }

    /// The figures of the pools.
    pub(crate) fn pools(&mut self, pools: &[PoolView]) {
        for pool in pools {
            let name = pool.pool_name.as_str();
            for (family, figure) in FIGURES {
                self.series(family, &[name], figure(pool));
            }
            if let Some(at) = pool.scale.last_scaled_at {
                self.series(&families::LAST_SCALED, &[name], seconds_of(at));
            }
            self.states(&families::STATUS_IS, &[name], Some(pool.scale.status.as_str()));
            self.states(&families::SCALING_HELD, &[name], pool.scale.held.map(|held| held.as_str()));
            self.states(&families::BREAKER_IS, &[name], Some(pool.holds.breaker.state.as_str()));
            self.states(&families::LACKS, &[name], pool.holds.lacks.map(|lack| lack.as_str()));
        }
    }

    /// The figures of the queues.
    pub(crate) fn queues(&mut self, queues: &[QueueView]) {
        for queue in queues {
            let name = queue.pool_name.as_str();
            for state in QueueState::ALL {
                let count = match state {
                    QueueState::Ready => queue.depth,
                    QueueState::Delayed => queue.delayed,
                    QueueState::Running => queue.running,
                    QueueState::Dead => queue.dead,
                };
                self.series(&families::QUEUE_TASKS, &[name, state.as_str()], count as f64);
            }
            // Nothing that waits has waited for no time, so that a graph comes back to zero.
            self.series(&families::OLDEST_WAIT, &[name], queue.oldest_wait.unwrap_or_default().as_secs_f64());
        }
    }

    /// What the tasks of a pool came to.
    pub(crate) fn tasks(&mut self, pool: &PoolName, totals: &TaskTotals) {
        let name = pool.as_str();
        self.series(&families::TASKS_SUBMITTED, &[name], totals.submitted as f64);
        for state in TaskState::ALL.into_iter().filter(|state| state.is_final()) {
            self.series(&families::TASKS_ENDED, &[name, state.as_str()], totals.ended(state) as f64);
        }
        for outcome in AttemptOutcome::ALL {
            self.series(&families::ATTEMPTS, &[name, outcome.as_str()], totals.attempts(outcome) as f64);
        }
        self.histogram(&families::TASK_WAIT, &[name], &totals.waits);
        self.histogram(&families::TASK_RUN, &[name], &totals.runs);
        for direction in TokenUse::ALL {
            let tokens = match direction {
                TokenUse::Input => totals.usage.input_tokens,
                TokenUse::Output => totals.usage.output_tokens,
            };
            self.series(&families::TASK_TOKENS, &[name, direction.as_str()], tokens as f64);
        }
        self.series(&families::TASK_COST, &[name], totals.usage.cost_micros as f64 / 1e6);
    }

    /// What the workers use by their heartbeats, added up by pool.
    pub(crate) fn workers(&mut self, workers: &[WorkerView]) {
        let mut used = BTreeMap::<&str, (f64, f64)>::new();
        for worker in workers {
            let sum = used.entry(worker.pool_name.as_str()).or_default();
            sum.0 += worker.rss_bytes.unwrap_or_default() as f64;
            sum.1 += f64::from(worker.cpu_percent.unwrap_or_default()) / 100.0;
        }
        for (pool, (resident, cores)) in used {
            self.series(&families::RESIDENT, &[pool], resident);
            self.series(&families::CPU, &[pool], cores);
        }
    }

    /// What the metrics collector measured at last.
    pub(crate) fn measured(&mut self, at: Timestamp, pools: &[(PoolName, ResourcesView)]) {
        self.one(&families::COLLECTED, seconds_of(at));
        for (pool, used) in pools {
            let figures = [
                (&families::TREE_MEMORY, used.memory_bytes),
                (&families::TREE_CPU, used.cpu_percent.map(|percent| percent / 100.0)),
                (&families::MEMORY_USAGE, used.memory_usage.map(|percent| percent / 100.0)),
                (&families::CPU_USAGE, used.cpu_usage.map(|percent| percent / 100.0)),
            ];
            for (family, value) in figures {
                if let Some(value) = value {
                    self.series(family, &[pool.as_str()], value);
                }
            }
        }
        // The host is the same for all of them.
        if let Some(pressure) = pools.iter().find_map(|(_, used)| used.pressure) {
            self.pressure(pressure);
        }
    }

    fn pressure(&mut self, pressure: PressureView) {
        for resource in Resource::ALL {
            let percent = match resource {
                Resource::Cpu => pressure.cpu,
                Resource::Memory => pressure.memory,
                Resource::Io => pressure.io,
            };
            self.series(&families::PRESSURE, &[resource.as_str()], percent / 100.0);
        }
    }
}
