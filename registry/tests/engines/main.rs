//! The engines pass one suite ([`conformance`]), and the memory engine passes it behind its faults too; what only Redis can suffer is in [`outages`], what operators see of
//! it in [`content`], and what strangers do to it in [`strangers`] and [`forgers`].

mod bench;
mod conformance;
mod content;
mod forgers;

mod outages;
mod reaching;
mod redis_server;
mod rights;
mod samples;
mod speed;
mod strangers;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until the condition holds, and fails when it does not within ten seconds.
async fn wait_until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that must come, and fails when it does not within ten seconds.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(10), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
