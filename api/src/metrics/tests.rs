//! The page as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_domain::{ProcessId, Timestamp, WorkerState};
use muster_supervisor::prometheus::{FamilyKind, MetricFamily, TaskTotals, families};
use muster_supervisor::{Holds, PoolView, PressureView, QueueView, ResourcesView, ScaleView, WorkerView};

use super::*;
use crate::routes::tests::{open, pool, queue, system};

/// What the macros counted.
fn counted() -> String {
    let recorder = builder().expect("bounds").build_recorder();
    metrics::with_local_recorder(&recorder, || {
        metrics::histogram!(families::AGENT_START.name, "pool" => "a").record(1.0);
        metrics::counter!(families::SPAWNS.name, "outcome" => "succeeded").increment(2);
        metrics::counter!(families::WORKER_ENDINGS.name, "outcome" => "lost", "pool" => "a").increment(3);
        metrics::counter!(families::WORKER_ENDINGS.name, "outcome" => "lost", "pool" => "gone").increment(4);
    });
    recorder.handle().render()
}

fn worker() -> WorkerView {
    WorkerView {
        process_id: ProcessId::generate(),
        pool_name: "a".parse().expect("a name"),
        pid: Some(1),
        host: None,
        agent_count: 1,
        max_agents: 10,
        utilization: 0.1,
        cpu_percent: Some(50.0),
        rss_bytes: Some(4096),
        status: WorkerState::Ready,
        tier: None,
        interruption: None,
        outdated: false,
        unreachable: None,
        started_at: Timestamp::from_millis(0),
        last_heartbeat: None,
    }
}

/// A page of two pools with everything there is.
fn page() -> MetricsPage {
    let mut page = MetricsPage::default();
    page.process(UNIX_EPOCH + Duration::from_millis(1500), true, 7);
    let holds = Holds { all_paused: true, paused: false, breaker: open(), ..pool("b").holds };
    let scale = ScaleView { max_workers: 0, ..pool("b").scale };
    page.system(&system(), &["a", "b"]);
    page.pools(&[pool("a"), PoolView { holds, scale, ..pool("b") }]);
    page.queues(&[queue("a"), QueueView { oldest_wait: None, ..queue("b") }]);
    let mut totals = TaskTotals::default();
    totals.submitted = 5;
    totals.usage.cost_micros = 1_500;
    totals.waits.add(Duration::from_millis(7));
    page.tasks(&"a".parse().expect("a name"), &totals);
    page.workers(&[worker()]);
    let used = ResourcesView {
        cpu_percent: Some(150.0),
        cpu_usage: Some(75.0),
        memory_bytes: Some(1024.0),
        memory_usage: Some(0.5),
        pressure: Some(PressureView { cpu: 12.5, memory: 0.0, io: 1.0 }),
    };
    page.measured(Timestamp::from_millis(2500), &[("a".parse().expect("a name"), used)]);
    page.counted(&counted(), Some(&["a", "b"]));
    page
}

#[test]
fn the_figures_are_the_views() {
    let text = page().into_text(Format::Text);
    for line in [
        "# TYPE muster_build_info gauge",
        "process_start_time_seconds 1.5",
        "muster_leading 1",
        "muster_http_connections 7",
        "muster_degraded_reasons 1",
        "muster_registry_up 0",
        "muster_store_up 1",
        "muster_component_enabled{component=\"metrics_collector\"} 1",
        "muster_component_enabled{component=\"autoscaler\"} 0",
        "muster_alerts_firing{kind=\"quarantine\",pool=\"q\"} 2",
        "muster_alerts_firing{kind=\"no_capacity\",pool=\"a\"} 0",
        "muster_alerts_firing{kind=\"degraded\"} 0",
        "# TYPE muster_pool_slots_used gauge",
        "muster_pool_slots_used{pool=\"b\"} 15",
        "muster_pool_workers_max{pool=\"a\"} 20",
        "muster_pool_workers_max{pool=\"b\"} +Inf",
        "muster_pool_load_ratio{pool=\"a\"} 0.25",
        "muster_pool_health_ratio{pool=\"a\"} 0.5",
        "muster_pool_status{pool=\"a\",status=\"scaling_up\"} 1",
        "muster_pool_status{pool=\"a\",status=\"active\"} 0",
        "muster_pool_scaling_held{pool=\"a\",reason=\"max_workers\"} 0",
        "muster_pool_last_scaled_timestamp_seconds{pool=\"a\"} 0",
        "muster_pool_paused{pool=\"b\"} 1",
        "muster_pool_breaker_state{pool=\"a\",state=\"closed\"} 1",
        "muster_pool_breaker_state{pool=\"b\",state=\"open\"} 1",
        "muster_pool_breaker_state{pool=\"b\",state=\"half_open\"} 0",
        "muster_queue_tasks{pool=\"a\",state=\"ready\"} 3",
        "muster_queue_oldest_wait_seconds{pool=\"a\"} 1.5",
        "muster_queue_oldest_wait_seconds{pool=\"b\"} 0",
        "muster_tasks_submitted_total{pool=\"a\"} 5",
        "muster_task_attempts_total{pool=\"a\",outcome=\"retried\"} 0",
        "# TYPE muster_task_wait_seconds histogram",
        "muster_task_wait_seconds_bucket{pool=\"a\",le=\"0.005\"} 0",
        "muster_task_wait_seconds_bucket{pool=\"a\",le=\"0.01\"} 1",
        "muster_task_wait_seconds_bucket{pool=\"a\",le=\"+Inf\"} 1",
        "muster_task_wait_seconds_count{pool=\"a\"} 1",
        "muster_task_wait_seconds_sum{pool=\"a\"} 0.007",
        "muster_task_cost_usd_total{pool=\"a\"} 0.0015",
        "muster_pool_resident_memory_bytes{pool=\"a\"} 4096",
        "muster_pool_tree_cpu_cores{pool=\"a\"} 1.5",
        "muster_host_pressure_ratio{resource=\"cpu\"} 0.125",
        "muster_metrics_collected_timestamp_seconds 2.5",
        "# TYPE muster_spawns_total counter",
        "muster_spawns_total{outcome=\"succeeded\"} 2",
        "muster_spawns_total{outcome=\"failed\"} 0",
        "muster_worker_endings_total{pool=\"a\",outcome=\"lost\"} 3",
        "muster_worker_endings_total{pool=\"b\",outcome=\"lost\"} 0",
        "muster_log_lines_dropped_total 0",
        "muster_agent_start_seconds_bucket{pool=\"a\",le=\"0.5\"} 0",
        "muster_agent_start_seconds_bucket{pool=\"a\",le=\"1.0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(!text.contains("gone"), "a pool that is gone leaves no series: {text}");
    assert!(!text.contains("# EOF"));
}

#[test]
fn the_page_has_every_family_and_no_other() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text = page().into_text(format);
        let shown: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let expected: Vec<&str> = match format {
            Format::Text => MetricFamily::all().map(|family| family.name).collect(),
            Format::OpenMetrics => MetricFamily::all().map(MetricFamily::base).collect(),
        };
        assert_eq!(shown, expected);
    }
}

/// Each sample stands behind the words of its family, once, with the labels of the table in their order.
#[test]
fn the_samples_are_their_families() {
    let text = page().into_text(Format::OpenMetrics);
    let (mut family, mut series, mut seen) = (None, BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = MetricFamily::all().find(|family| rest.starts_with(&format!("{} ", family.base())));
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let family = family.expect("a family");
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(name), "{line} is there twice");
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let suffix = name.strip_prefix(family.name).expect(line);
        assert!(suffix.is_empty() || family.kind == FamilyKind::Histogram, "{line}");
        let names: Vec<&str> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        let own: Vec<&str> = family.labels.iter().map(|label| label.name).collect();
        let own = if suffix == "_bucket" { [&own[..], &["le"]].concat() } else { own };
        // An alert that is about no pool has none.
        assert!(names == own || family.name == families::ALERTS_FIRING.name, "{line}: {own:?}");
        *seen.entry(family.name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), MetricFamily::all().count());
}

#[test]
fn open_metrics_names_families_without_a_suffix_and_ends() {
    let text = page().into_text(Format::OpenMetrics);
    for line in [
        "# TYPE muster_build info",
        "# TYPE muster_spawns counter",
        "muster_spawns_total{outcome=\"succeeded\"} 2",
        "# UNIT muster_task_wait_seconds seconds",
        "# UNIT muster_pool_load_ratio ratio",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn one_that_does_not_lead_shows_what_it_counted() {
    let mut page = MetricsPage::default();
    page.process(SystemTime::now(), false, 0);
    page.counted(&counted(), None);
    let text = page.into_text(Format::Text);
    assert!(text.contains("\nmuster_leading 0\n") && text.contains("pool=\"gone\""), "{text}");
    assert!(text.contains("\nmuster_registry_replaced_keys_total 0\n"), "{text}");
    assert!(!text.contains("muster_pool_workers{"), "{text}");
}
