//! The metric families. A row is the one place where a name, its type, its labels and its words are.

use super::words::{
    AgentOutcome, AttemptOutcome, Component, DecisionOutcome, QueueState, Resource, SpawnOutcome, TokenUse,
    WorkerOutcome, ended_words, held_words, result_words,
};
use super::{FamilyKind, Label, MetricFamily, of_words};
use crate::alerts::AlertKind;
use crate::view::{BreakerState, Lack, PoolStatus};

const POOL: Label = Label { name: "pool", words: None };
const VERSION: Label = Label { name: "version", words: None };
const COMPONENT: Label = of_words::<Component>("component");
const ALERT: Label = of_words::<AlertKind>("kind");
const RESOURCE: Label = of_words::<Resource>("resource");
const SPAWN: Label = of_words::<SpawnOutcome>("outcome");
const AGENT_OUTCOME: Label = of_words::<AgentOutcome>("outcome");
const WORKER_OUTCOME: Label = of_words::<WorkerOutcome>("outcome");
const STATUS: Label = of_words::<PoolStatus>("status");
const HELD: Label = Label { name: "reason", words: Some(held_words) };
const DECISION: Label = of_words::<DecisionOutcome>("outcome");
const RESULT: Label = Label { name: "result", words: Some(result_words) };
const LACK: Label = of_words::<Lack>("reason");
const BREAKER: Label = of_words::<BreakerState>("state");
const QUEUE: Label = of_words::<QueueState>("state");
const ENDED: Label = Label { name: "state", words: Some(ended_words) };
const ATTEMPT: Label = of_words::<AttemptOutcome>("outcome");
const TOKENS: Label = of_words::<TokenUse>("direction");

macro_rules! families {
    ($($title:literal { $($id:ident: $kind:ident $name:literal [$($label:ident),*] $help:literal,)+ })+) => {
        $($(
            #[doc = $help]
            pub const $id: MetricFamily =
                MetricFamily { name: $name, kind: FamilyKind::$kind, labels: &[$($label),*], help: $help };
        )+)+

        /// All of them, under the titles of their groups.
        pub const GROUPS: &[(&str, &[MetricFamily])] = &[$(($title, &[$($id),+])),+];
    };
}

// A state that is one of several is a gauge for each of them, 1 for the one that is: OpenMetrics' state set would name the label as the
// family, which no query expects.
families! {
    "The supervisor" {
        BUILD: Info "muster_build_info" [VERSION] "Which version runs; always 1.",
        START_TIME: Gauge "process_start_time_seconds" [] "When this process began, in seconds since 1970.",
        PROCESS_CPU: Counter "process_cpu_seconds_total" [] "Processor time of this process, without its workers.",
        PROCESS_MEMORY: Gauge "process_resident_memory_bytes" [] "Resident memory of this process, without its workers.",
        LEADING: Gauge "muster_leading" [] "Whether this supervisor leads: 1, or 0 for one that starts, waits or stands by. All that is read of pools comes from the one that leads.",
        DEGRADED: Gauge "muster_degraded_reasons" [] "Ways in which the supervisor is less than it should be; 0 is healthy.",
        REGISTRY_UP: Gauge "muster_registry_up" [] "Whether Redis, or the registry in memory, answers.",
        STORE_UP: Gauge "muster_store_up" [] "Whether the database answers.",
        ALERTS_FIRING: Gauge "muster_alerts_firing" [ALERT, POOL] "Alerts that last, by their kind; without a pool where one is about none.",
        COMPONENT_ENABLED: Gauge "muster_component_enabled" [COMPONENT] "Whether it runs beside the pools.",
        HTTP_CONNECTIONS: Gauge "muster_http_connections" [] "Open connections to the API.",
        LOG_LINES_DROPPED: Counter "muster_log_lines_dropped_total" [] "Lines of the server's log that were dropped, or could not be written, since nobody took them.",
        FORGED_MESSAGES: Counter "muster_registry_forged_messages_total" [] "Messages in Redis in Muster's name that were forged, and not believed.",
        REPLACED_KEYS: Counter "muster_registry_replaced_keys_total" [] "Times that a key in Redis held what is none of Muster's, and was written anew.",
        SPAWN_REQUESTS: Counter "muster_spawn_requests_total" [] "Agents that somebody asked for.",
        SPAWNS: Counter "muster_spawns_total" [SPAWN] "First starts of agents, by how they went.",
    }
    "Workers and scaling" {
        WORKERS: Gauge "muster_pool_workers" [POOL] "Workers that may have a process: starting, ready, draining.",
        WORKERS_READY: Gauge "muster_pool_workers_ready" [POOL] "Workers that take commands.",
        WORKERS_STARTING: Gauge "muster_pool_workers_starting" [POOL] "Workers that are not ready yet.",
        WORKERS_OUTDATED: Gauge "muster_pool_workers_outdated" [POOL] "Workers that start programs by an older definition of the runtime.",
        WORKERS_INTERRUPTED: Gauge "muster_pool_workers_interrupted" [POOL] "Workers under which the capacity will be taken away: others are started in their place.",
        WORKERS_UNREACHABLE: Gauge "muster_pool_workers_unreachable" [POOL] "Workers that nobody can ask or end: their agents wait.",
        WORKERS_DESIRED: Gauge "muster_pool_workers_desired" [POOL] "Workers that are to be there: the target, or, where nobody has said one, those that take agents and `min_workers` at the least.",
        WORKERS_MIN: Gauge "muster_pool_workers_min" [POOL] "`min_workers`.",
        WORKERS_MAX: Gauge "muster_pool_workers_max" [POOL] "`max_workers`; `+Inf` without a bound.",
        WORKERS_STARTED: Counter "muster_pool_workers_started_total" [POOL] "Workers ever started, over all supervisors.",
        WORKER_ENDINGS: Counter "muster_worker_endings_total" [POOL, WORKER_OUTCOME] "Workers that ended, by how they did.",
        STATUS_IS: Gauge "muster_pool_status" [POOL, STATUS] "Whether this is the status of its workers' number.",
        SCALING_HELD: Gauge "muster_pool_scaling_held" [POOL, HELD] "Whether this holds its policies.",
        LAST_SCALED: Gauge "muster_pool_last_scaled_timestamp_seconds" [POOL] "When its target was changed last, in seconds since 1970; none before the first time.",
        SCALING_DECISIONS: Counter "muster_scaling_decisions_total" [POOL, DECISION] "Decisions about the number of workers that were stored; of those that hold, the ones whose reason is another than before.",
        SCALING_RESULTS: Counter "muster_scaling_results_total" [POOL, RESULT] "Decisions that were to change the number of workers, by what came of them.",
        LOAD: Gauge "muster_pool_load_ratio" [POOL] "Slots of agents that have work, as a share of all; 0 without slots.",
        HEALTH: Gauge "muster_pool_health_ratio" [POOL] "Its `health_score`: share of wanted workers that are ready and heard x share of agents that are not in quarantine.",
    }
    "Agents" {
        AGENTS: Gauge "muster_pool_agents" [POOL] "Agents that are wanted or still there.",
        AGENTS_PENDING: Gauge "muster_pool_agents_pending" [POOL] "Agents that wait for a slot or a backoff.",
        AGENTS_QUARANTINED: Gauge "muster_pool_agents_quarantined" [POOL] "Agents that crashed too often and wait for a person.",
        AGENTS_LACKING: Gauge "muster_pool_agents_lacking" [POOL] "Agents that ready tasks need beside those on their way, of a pool with `on_demand`.",
        SLOTS: Gauge "muster_pool_slots" [POOL] "Slots for agents.",
        SLOTS_USED: Gauge "muster_pool_slots_used" [POOL] "Taken slots.",
        AGENT_START: Histogram "muster_agent_start_seconds" [POOL] "From the order to start an agent to its being ready.",
        AGENT_ENDINGS: Counter "muster_agent_endings_total" [POOL, AGENT_OUTCOME] "Runs of agents that ended, by what followed.",
    }
    "Tasks" {
        QUEUE_TASKS: Gauge "muster_queue_tasks" [POOL, QUEUE] "Tasks that are not over, and those that were given up.",
        OLDEST_WAIT: Gauge "muster_queue_oldest_wait_seconds" [POOL] "How long the oldest task that may start has been waiting; 0 where none does.",
        TASKS_SUBMITTED: Counter "muster_tasks_submitted_total" [POOL] "Tasks that were taken in.",
        TASKS_ENDED: Counter "muster_tasks_ended_total" [POOL, ENDED] "Tasks that are over, by how they ended.",
        ATTEMPTS: Counter "muster_task_attempts_total" [POOL, ATTEMPT] "Attempts at tasks that ended, by what followed.",
        TASK_WAIT: Histogram "muster_task_wait_seconds" [POOL] "From the making of a task to its first attempt.",
        TASK_RUN: Histogram "muster_task_run_seconds" [POOL] "How long attempts took that ended.",
        TASK_TOKENS: Counter "muster_task_tokens_total" [POOL, TOKENS] "Tokens that attempts which ended said they used.",
        TASK_COST: Counter "muster_task_cost_usd_total" [POOL] "What these attempts said they cost, in US dollars.",
        PAUSED: Gauge "muster_pool_paused" [POOL] "Whether its tasks wait until it or the system is resumed.",
        INTAKE_CLOSED: Gauge "muster_pool_intake_closed" [POOL] "Whether it takes no new tasks until it is resumed.",
        DRAINING: Gauge "muster_pool_draining" [POOL] "Whether it empties: nothing is taken in or begun.",
        BREAKER_IS: Gauge "muster_pool_breaker_state" [POOL, BREAKER] "Whether its circuit breaker is in this state.",
        LACKS: Gauge "muster_pool_lacks" [POOL, LACK] "Whether no agent takes its ready tasks for this reason.",
    }
    "Processors and memory" {
        RESIDENT: Gauge "muster_pool_resident_memory_bytes" [POOL] "Resident memory of workers and their agents' programs, without what these start: what heartbeats say.",
        CPU: Gauge "muster_pool_cpu_cores" [POOL] "Processors that workers and their agents' programs use, without what these start: what heartbeats say.",
        TREE_MEMORY: Gauge "muster_pool_tree_memory_bytes" [POOL] "Memory of workers with all that they have started (PSS), as last measured by the metrics collector.",
        TREE_CPU: Gauge "muster_pool_tree_cpu_cores" [POOL] "Processors that they used in the time of that measurement.",
        MEMORY_USAGE: Gauge "muster_pool_memory_usage_ratio" [POOL] "The same memory as a share of what the host or its control group grants.",
        CPU_USAGE: Gauge "muster_pool_cpu_usage_ratio" [POOL] "The same processors as a share of what the host or its control group grants.",
        PRESSURE: Gauge "muster_host_pressure_ratio" [RESOURCE] "Share of the last ten seconds in which something on the host waited for it (PSI, `some`); none where the kernel does not tell.",
        COLLECTED: Gauge "muster_metrics_collected_timestamp_seconds" [] "When the metrics collector measured last, in seconds since 1970.",
    }
}
