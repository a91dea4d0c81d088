//! Simulated lives: whatever happens to tasks in whatever order, the promises of the queue hold, and all comes to rest.
//!
//! A life runs in virtual time on one thread, with the real supervisor and policy, workers that keep or break the rules of the
//! post as its seed says, and a store in memory that takes its time. The same seed is the same life: `MUSTER_SEED=17 cargo test -p muster-supervisor simulation` plays one again.

mod checks;
mod life;
mod troubles;

use life::Life;

/// Lives per test; the tests run side by side.
const LIVES: u64 = 500;

/// Lives a life, and says what it came to: the same for the same seed.
fn live(seed: u64) -> u64 {
    let _teller = Teller(seed);
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let life = async { Life::begin(seed).await.live().await };
    runtime.expect("a runtime").block_on(life)
}

/// Tells the seed of a life that did not end well.
struct Teller(u64);

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again: MUSTER_SEED={} cargo test -p muster-supervisor simulation", self.0);
        }
    }
}

/// The one that somebody wants to see again.
fn wanted() -> Option<u64> {
    std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok())
}

fn live_all(part: u64) {
    match wanted() {
        Some(seed) if part == 0 => {
            let _ = live(seed);
        }
        Some(_) => {}
        None => (0..LIVES).for_each(|n| {
            let _ = live(n * 4 + part);
        }),
    }
}

#[test]
fn the_first_part_of_the_lives() {
    live_all(0);
}

#[test]
fn the_second_part_of_the_lives() {
    live_all(1);
}

#[test]
fn the_third_part_of_the_lives() {
    live_all(2);
}

#[test]
fn the_last_part_of_the_lives() {
    live_all(3);
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..10 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
}
