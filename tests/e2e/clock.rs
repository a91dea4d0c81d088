//! The clock of the machine is set, as the server sees it: libfaketime stands between, and no clock is really set.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::host::faketime;
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(30);

/// A server whose clock this file sets: by how many seconds it is ahead.
struct Skewed {
    muster: Muster,
    file: tempfile::NamedTempFile,
}

impl Skewed {
    fn start() -> Option<Self> {
        let Some(library) = faketime() else {
            // Cargo shows what a test prints only where it fails, so this goes past it.
            let _ = writeln!(std::io::stderr(), "skipped: libfaketime is not installed (apt-get install faketime)");
            return None;
        };
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "+0").expect("written");
        let options = Options::default()
            .env("LD_PRELOAD", library.display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", file.path().display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1")
            .env("USE_MULTIPROCESSING", "false");
        Some(Self { muster: Muster::start(options), file })
    }

    fn set(&self, seconds: i64) {
        std::fs::write(self.file.path(), format!("{seconds:+}")).expect("written");
    }

    fn submit(&self, fields: &Value) -> String {
        let mut body = json!({"pool_name": "developer_pool", "input": 1});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        self.muster.post("/api/v1/tasks", &body).text("task_id").to_owned()
    }

    fn start_of(&self, task: &str) -> String {
        self.muster.get(&format!("/api/v1/tasks/{task}")).text("not_before").to_owned()
    }

    fn state(&self, task: &str, wait: u32) -> String {
        self.muster.get(&format!("/api/v1/tasks/{task}?wait={wait}")).text("state").to_owned()
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_longer() {
    let Some(skewed) = Skewed::start() else { return };
    assert_eq!(skewed.muster.spawn("developer_pool").status, 201);
    let delayed = skewed.submit(&json!({"delay": 1.5}));
    skewed.set(-3_600);
    assert_eq!(skewed.state(&delayed, 20), "succeeded");
    wait_until("it is said", BOUND, || skewed.muster.log().contains("the clock was set"));
    assert_eq!(skewed.muster.get("/health").text("status"), "ok");
}

#[test]
fn a_server_that_starts_in_another_decade_forgets_nothing() {
    let Some(mut skewed) = Skewed::start() else { return };
    assert_eq!(skewed.muster.spawn("developer_pool").status, 201);
    let done = skewed.submit(&json!({}));
    assert_eq!(skewed.state(&done, 20), "succeeded");
    let waits = skewed.submit(&json!({"delay": 86_400}));
    let before = skewed.start_of(&waits);
    skewed.set(10 * 365 * 86_400);
    wait_until("it is said", BOUND, || skewed.muster.log().contains("the clock was set"));
    // A wait is a duration to the server that saw the clock set. To the next one it is the moment that it finds.
    wait_until("its wait moved too", BOUND, || skewed.start_of(&waits)[..4] != before[..4]);
    skewed.muster.kill9();
    skewed.muster.restart();
    assert_eq!(skewed.state(&done, 0), "succeeded");
    assert_eq!(skewed.state(&waits, 1), "queued");
    skewed.set(0);
    wait_until("the old time is back", BOUND, || skewed.muster.log().matches("the clock was set").count() == 2);
    assert_eq!((skewed.state(&done, 0), skewed.state(&waits, 1)), ("succeeded".to_owned(), "queued".to_owned()));
}
