//! The simulator, and the decisions that it and a supervisor ask for.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use muster_domain::scaling::{PredictivePolicy, ProactivePolicy, ScalingPolicy, ScalingPreset};
use muster_domain::{ScalingConfig, Timestamp};
use muster_policy::scaling::{DemandHistory, Picture, PictureWorkers, ScalingHistory, SlotUse, decide};

use crate::Round;
use crate::sheet::{Goal, millis, percentile};

/// The policies that docs/scaling-comparison.md compares.
const LEAN: &str = "[pools.p]\nrole_type = 'x'\nmax_workers = 0\non_demand = {}\n[pools.p.scaling]\ncheck_interval = 10\n\
                    policies = [{ kind = 'target', target = 5, cooldown_out = 0, cooldown_in = 0 }]\n";

const GIBIBYTE: f64 = 1_073_741_824.0;

/// A week of 10,000 concurrent runs of ten minutes, a day of a million, and a decision for a thousand pools.
pub(crate) fn simulator(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "muster simulate, runs of ten minutes";
    let small = ["--load", "constant", "--concurrency", "1000", "--hours", "1"];
    let week = round.sized(&small[..], &["--preset", "week-10000"]);
    let (took, resident) = run(week)?;
    round.add(ROW, "a week of 10,000 runs at a time", "s", Goal::HereAtMost(10.0), took.as_secs_f64());
    round.add(ROW, "  memory of the week, at the most", "GiB", Goal::AlwaysAtMost(4.0), resident / GIBIBYTE);
    let day = round.sized(&small[..], &["--load", "constant", "--concurrency", "1000000", "--hours", "24"]);
    let (took, resident) = run(day)?;
    round.add(ROW, "a day of 1,000,000 runs at a time", "s", Goal::HereAtMost(300.0), took.as_secs_f64());
    round.add(ROW, "  memory of the day, at the most", "GiB", Goal::AlwaysAtMost(4.0), resident / GIBIBYTE);
    decisions(round);
    Ok(())
}

/// Runs the command. Answers how long it took, and the most memory that it had, in bytes.
fn run(words: &[&str]) -> anyhow::Result<(Duration, f64)> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("muster.toml");
    std::fs::write(&config, LEAN)?;
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.arg("simulate").arg("--config").arg(&config).args(words).stdout(Stdio::null());
    let mut child = command.spawn()?;
    let (path, mut resident) = (format!("/proc/{}/status", child.id()), 0.0_f64);
    let status = loop {
        // The kernel's own high-water mark, so only what is added in the last moment is missed.
        let told = std::fs::read_to_string(&path).unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        resident = resident.max(kibibytes.unwrap_or_default() * 1024.0);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    anyhow::ensure!(status.success(), "muster simulate ended with {status}");
    Ok((started.elapsed(), resident))
}

/// The same function that each check of a supervisor asks, for pools with a long history.
fn decisions(round: &mut Round<'_>) {
    const ROW: &str = "a decision for each of 1,000 pools";
    let now = Timestamp::from_millis(1_800_000_000_000);
    let pools = round.sized(10, 1_000_u32);
    let usual = ScalingConfig {
        preset: Some(ScalingPreset::Step),
        policies: [ScalingPreset::Target.policies(), vec![ScalingPolicy::Proactive(ProactivePolicy::default())]]
            .concat(),
        ..ScalingConfig::default()
    };
    let mut predictive = usual.clone();
    predictive.policies.push(ScalingPolicy::Predictive(PredictivePolicy::default()));
    let hours = (0..672).map(|hour| Some(100.0 + 50.0 * f64::from(hour % 24)));
    let first_hour = now.before(Duration::from_secs(672 * 3_600));
    let demand = DemandHistory { first_hour, hours: hours.collect() };
    let mut history = ScalingHistory { demand, ..ScalingHistory::default() };
    for check in 1..60 {
        let at = now.before(Duration::from_secs(3_600 - 60 * u64::from(check)));
        let decision = decide(&usual, &picture(check), &history, at);
        history.record(&decision, 10, at);
    }
    let figures = [
        ("step, target and proactive", &usual, Goal::HereAtMost(10.0)),
        ("  and predictive, of four weeks", &predictive, Goal::Shown),
    ];
    for (what, config, goal) in figures {
        let once = || {
            let started = Instant::now();
            let target = |pool| u64::from(decide(config, &picture(pool), &history, now).target);
            std::hint::black_box((0..pools).map(target).sum::<u64>());
            millis(started.elapsed())
        };
        let mut times: Vec<f64> = (0..round.sized(1, 9)).map(|_| once()).collect();
        round.add(ROW, what, "ms", goal, percentile(&mut times, 0.5));
    }
}

fn picture(pool: u32) -> Picture {
    let current = 1 + pool % 20;
    Picture {
        age: Some(Duration::ZERO),
        workers: PictureWorkers { current, max: 40, max_agents: 10, ..PictureWorkers::default() },
        queue: Some(pool % 50),
        running: Some(current * 5),
        on_demand_max_agents: Some(0),
        slots: Some(SlotUse { all: current * 10, taken: current * 5, busy: current * 5 }),
        cpu: Some(f64::from(pool % 100)),
        memory: Some(40.0),
        ..Picture::default()
    }
}
