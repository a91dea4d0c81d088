//! The Prometheus page. Counters and histograms are recorded where things happen; how many pools, workers and agents
//! there are is read from the supervisor at each scrape, so that a pool that is gone leaves no series behind.

use std::fmt::Write;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use muster_supervisor::{BreakerState, PoolView, QueueView, SystemView, WorkerView};

/// Bounds of the histograms of seconds: from what a warm spawn takes to what a caller waits at the most.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 300.0,
];

/// Lines that are lost of the server's own log: whoever writes the log counts them under this name.
pub const LOG_LINES_DROPPED: &str = "muster_log_lines_dropped_total";

/// Makes this process record what the `metrics` macros say. Fails where something else does already. Opens no port.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// The recorded counters, and what they are.
const COUNTERS: [(&str, &str); 7] = [
    ("muster_agent_endings_total", "Runs of agents that ended, by what followed."),
    (
        LOG_LINES_DROPPED,
        "Lines of the server's log that were dropped, or could not be written, since nobody took them.",
    ),
    ("muster_registry_forged_messages_total", "Messages in Redis in Muster's name that were forged, and not believed."),
    (
        "muster_registry_replaced_keys_total",
        "Times that a key in Redis held what is none of Muster's, and was written anew.",
    ),
    ("muster_spawns_total", "Requests to spawn, by their outcome."),
    ("muster_task_attempts_total", "Attempts at tasks that ended, by what followed."),
    ("muster_worker_endings_total", "Workers that ended, by how they did."),
];

/// The same for histograms.
const HISTOGRAMS: [(&str, &str); 1] =
    [("muster_agent_start_seconds", "From the order to start an agent to its being ready.")];

/// Counters without labels. They are there from the start: a series that begins with its first count has no increase to see.
const PLAIN: [&str; 3] = [COUNTERS[1].0, COUNTERS[2].0, COUNTERS[3].0];

/// Says what the recorded metrics are, for whoever reads the page.
fn describe() {
    for (name, help) in COUNTERS {
        metrics::describe_counter!(name, help);
    }
    for (name, help) in HISTOGRAMS {
        metrics::describe_histogram!(name, help);
    }
    for name in PLAIN {
        metrics::counter!(name).increment(0);
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

/// A figure of a pool: its name, its words, and where it is.
type Figure = (&'static str, &'static str, fn(&PoolView) -> u32);

/// A figure of a queue, where it has one.
type QueueFigure = (&'static str, &'static str, fn(&QueueView) -> Option<f64>);

/// The figures of a queue.
const QUEUE: [QueueFigure; 11] = [
    ("muster_queue_depth", "Tasks that wait and may start.", |queue| Some(queue.depth as f64)),
    ("muster_queue_delayed", "Tasks that wait for their time.", |queue| Some(queue.delayed as f64)),
    ("muster_queue_dead", "Tasks that were given up.", |queue| Some(queue.dead as f64)),
    ("muster_queue_running", "Tasks that run.", |queue| Some(queue.running as f64)),
    // Nothing that waits has waited for no time, so that a graph comes back to zero.
    ("muster_queue_oldest_wait_seconds", "How long the oldest ready task has been waiting.", |queue| {
        Some(queue.oldest_wait.unwrap_or_default().as_secs_f64())
    }),
    ("muster_queue_rate_in", "Tasks taken in per second, over the last minute.", |queue| Some(queue.rate_in)),
    ("muster_queue_rate_out", "Tasks ended per second, over the last minute.", |queue| Some(queue.rate_out)),
    ("muster_queue_wait_p50_seconds", "Wait for the first agent, median.", |queue| queue.wait_p50.map(seconds)),
    ("muster_queue_wait_p99_seconds", "Wait for the first agent, 99 of 100 less.", |queue| queue.wait_p99.map(seconds)),
    ("muster_queue_run_p50_seconds", "Time of an attempt, median.", |queue| queue.run_p50.map(seconds)),
    ("muster_queue_run_p99_seconds", "Time of an attempt, 99 of 100 less.", |queue| queue.run_p99.map(seconds)),
];

const fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// A page under construction.
pub(crate) struct MetricsPage(String);

impl MetricsPage {
    /// Begins with what the process recorded.
    pub(crate) const fn new(recorded: String) -> Self {
        Self(recorded)
    }

    /// The text of the page.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Whether this supervisor leads.
    pub(crate) fn leading(&mut self, leads: bool) {
        self.family("muster_leading", "Whether this supervisor leads.", [(String::new(), f64::from(u8::from(leads)))]);
    }

    /// How many connections the API has.
    pub(crate) fn connections(&mut self, count: usize) {
        self.family("muster_http_connections", "Open connections to the API.", [(String::new(), count as f64)]);
    }

    /// The figures of the supervisor.
    pub(crate) fn system(&mut self, system: &SystemView) {
        let one = |value| [(String::new(), value)];
        self.family("muster_uptime_seconds", "How long this process runs.", one(system.uptime.as_secs_f64()));
        self.family(
            "muster_degraded",
            "Ways in which the supervisor is less than it should be.",
            one(system.degraded.len() as f64),
        );
        self.family("muster_alerts_firing", "Alerts that last.", one(system.alerts.len() as f64));
    }

    /// The figures of the pools.
    pub(crate) fn pools(&mut self, pools: &[PoolView]) {
        let figures: [Figure; 11] = [
            ("muster_pool_workers", "Workers that may have a process.", |pool| pool.process_count),
            ("muster_pool_workers_ready", "Workers that take commands.", |pool| pool.active_worker_processes),
            ("muster_pool_workers_starting", "Workers that are not ready yet.", |pool| pool.scaling.workers.starting),
            (
                "muster_pool_agents_lacking",
                "Agents that ready tasks need beside those on their way, of a pool with on_demand.",
                |pool| pool.scaling.demand.map_or(0, |demand| u32::try_from(demand.lacking()).unwrap_or(u32::MAX)),
            ),
            ("muster_pool_slots", "Slots for agents.", |pool| pool.total_capacity),
            ("muster_pool_slots_used", "Taken slots.", |pool| pool.used_capacity),
            ("muster_pool_agents", "Agents wanted or still there.", |pool| pool.agent_count),
            ("muster_pool_agents_pending", "Agents that wait for a slot or a backoff.", |pool| pool.pending_agents),
            ("muster_pool_agents_quarantined", "Agents that wait for a person.", |pool| pool.quarantined_agents),
            ("muster_pool_paused", "Whether its tasks wait until it or the system is resumed.", |pool| {
                u32::from(pool.holds.paused || pool.holds.all_paused)
            }),
            ("muster_pool_intake_closed", "Whether it takes no new tasks until it is resumed.", |pool| {
                u32::from(pool.holds.intake_closed)
            }),
        ];
        for (name, help, figure) in figures {
            // A pool's name has no character that would need escaping.
            let label = |pool: &PoolView| format!("pool=\"{}\"", pool.pool_name);
            self.family(name, help, pools.iter().map(|pool| (label(pool), f64::from(figure(pool)))));
        }
        let states = |pool: &PoolView| {
            let (name, now) = (pool.pool_name.clone(), pool.holds.breaker.state);
            BreakerState::ALL.map(|state| {
                (format!("pool=\"{name}\",state=\"{}\"", state.as_str()), f64::from(u8::from(state == now)))
            })
        };
        self.family("muster_pool_breaker", "Whether its breaker is in this state.", pools.iter().flat_map(states));
    }

    /// The figures of the queues.
    pub(crate) fn queues(&mut self, queues: &[QueueView]) {
        for (name, help, figure) in QUEUE {
            let value = |queue: &QueueView| Some((format!("pool=\"{}\"", queue.pool_name), figure(queue)?));
            self.family(name, help, queues.iter().filter_map(value));
        }
    }

    /// What the workers use, added up by pool.
    pub(crate) fn workers(&mut self, workers: &[WorkerView]) {
        let mut used = std::collections::BTreeMap::<String, (f64, f64)>::new();
        for worker in workers {
            let sum = used.entry(format!("pool=\"{}\"", worker.pool_name)).or_default();
            sum.0 += worker.rss_bytes.unwrap_or_default() as f64;
            sum.1 += f64::from(worker.cpu_percent.unwrap_or_default()) / 100.0;
        }
        let rss = used.iter().map(|(label, (rss, _))| (label.clone(), *rss));
        self.family(
            "muster_pool_resident_bytes",
            "Resident memory of workers and their agents' programs, without what these start.",
            rss,
        );
        let cores = used.iter().map(|(label, (_, cores))| (label.clone(), *cores));
        self.family(
            "muster_pool_cpu_cores",
            "CPU of workers and their agents' programs, without what these start, in cores.",
            cores,
        );
    }

    fn family(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (label, value) in values {
            let _ = match label.as_str() {
                "" => writeln!(self.0, "{name} {value}"),
                label => writeln!(self.0, "{name}{{{label}}} {value}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::routes::tests::{open, pool, queue, system};
    use muster_supervisor::Holds;

    #[test]
    fn a_histogram_of_seconds_has_buckets() {
        let recorder = builder().expect("bounds").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("muster_agent_start_seconds").record(0.0004);
            metrics::counter!("muster_spawns_total").increment(2);
        });
        let text = recorder.handle().render();
        assert!(text.contains("# TYPE muster_agent_start_seconds histogram"), "{text}");
        assert!(text.contains("muster_agent_start_seconds_bucket{le=\"0.00025\"} 0"), "{text}");
        assert!(text.contains("muster_agent_start_seconds_bucket{le=\"0.0005\"} 1"), "{text}");
        assert!(text.contains("muster_spawns_total 2"), "{text}");
    }

    #[test]
    fn what_is_recorded_is_described_and_plain_counters_are_there_from_the_start() {
        let recorder = builder().expect("bounds").build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        let text = recorder.handle().render();
        for name in PLAIN {
            assert!(text.lines().any(|line| line == format!("{name} 0")), "{name} in\n{text}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in\n{text}");
        }
        let rooms =
            ["supervisor/src", "api/src", "src"].map(|room| format!("{}/../{room}", env!("CARGO_MANIFEST_DIR")));
        let mut recorded: BTreeSet<String> = rooms.iter().flat_map(|room| recorded_in(Path::new(room))).collect();
        // Its name is not spelled where it is counted.
        recorded.insert(LOG_LINES_DROPPED.to_owned());
        let described: BTreeSet<String> =
            COUNTERS.iter().chain(&HISTOGRAMS).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(recorded, described);
    }

    /// The names of metrics in the sources of a folder.
    fn recorded_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let names = entries.flat_map(|path| match path.is_dir() {
            true => recorded_in(&path),
            false => {
                let text = std::fs::read_to_string(&path).expect("a text");
                let calls = ["counter!(", "histogram!("].map(|call| text.split(call).skip(1).map(str::trim_start));
                let names = calls.into_iter().flatten().filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
                names.filter(|name| name.starts_with("muster_")).map(str::to_owned).collect()
            }
        });
        names.collect()
    }

    #[test]
    fn the_figures_are_the_views() {
        let mut page = MetricsPage::new("# recorded\n".to_owned());
        page.leading(true);
        page.system(&system());
        let holds = Holds { all_paused: true, paused: false, breaker: open(), ..pool("b").holds };
        page.pools(&[pool("a"), PoolView { holds, ..pool("b") }]);
        page.queues(&[queue("a"), QueueView { oldest_wait: None, wait_p50: None, wait_p99: None, ..queue("b") }]);
        page.workers(&[]);
        let text = page.into_text();
        for line in [
            "# recorded",
            "muster_leading 1",
            "muster_uptime_seconds 1.5",
            "muster_degraded 1",
            "# TYPE muster_pool_slots_used gauge",
            "muster_pool_slots_used{pool=\"a\"} 15",
            "muster_pool_slots_used{pool=\"b\"} 15",
            "muster_pool_agents_quarantined{pool=\"a\"} 1",
            "muster_alerts_firing 3",
            "muster_pool_paused{pool=\"a\"} 1",
            "muster_pool_paused{pool=\"b\"} 1",
            "muster_pool_intake_closed{pool=\"b\"} 0",
            "muster_pool_breaker{pool=\"a\",state=\"closed\"} 1",
            "muster_pool_breaker{pool=\"a\",state=\"open\"} 0",
            "muster_pool_breaker{pool=\"b\",state=\"open\"} 1",
            "muster_pool_breaker{pool=\"b\",state=\"half_open\"} 0",
            "# TYPE muster_queue_depth gauge",
            "muster_queue_depth{pool=\"a\"} 3",
            "muster_queue_oldest_wait_seconds{pool=\"a\"} 1.5",
            "muster_queue_oldest_wait_seconds{pool=\"b\"} 0",
            "muster_queue_wait_p99_seconds{pool=\"a\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("muster_queue_wait_p99_seconds{pool=\"b\"}"), "what is not known is not shown: {text}");
    }
}
