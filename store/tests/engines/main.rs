//! One conformance suite, three engines: SQLite, PostgreSQL, and PostgreSQL behind PgBouncer in transaction mode; and what
//! only one of them can do. The servers are Debian's, started here on private unix sockets, one set for all tests.

mod conformance;
mod outages;
mod places;
mod servers;
mod sqlite_file;

/// Makes a test of every function of the suite, for one engine.
macro_rules! suite {
    ($engine:ident: $($module:ident { $($test:ident),+ $(,)? })+) => {
        mod $engine {
            $($(
                #[tokio::test]
                async fn $test() {
                    let place = super::places::$engine().await;
                    super::conformance::$module::$test(&place).await;
                    place.store.close().await;
                }
            )+)+
        }
    };
}

macro_rules! suites {
    ($($engine:ident),+) => {
        $(suite! { $engine:
            pools { pools_are_made_changed_and_drained, a_pool_goes_only_when_it_is_empty }
            workers { workers_open_and_end, workers_are_counted_once }
            agents {
                agents_are_made_with_a_slot_or_without, assigning_has_preconditions, stopping_has_preconditions,
                releasing_says_what_comes_next, reviving_has_preconditions,
                restarting_has_preconditions, capacity_is_never_exceeded,
                agents_are_listed_in_pages, only_live_agents_are_live,
            }
            keys { a_key_is_used_once, two_requests_race_for_a_key, a_key_needs_its_pool }
            batches { a_batch_is_atomic_on_error, one_batch_s_error_is_not_another_s, nobody_gets_anothers_rows,
                a_large_batch_is_one_transaction }
            events { events_are_numbered_and_resumed, events_have_no_holes_under_concurrency,
                pruning_keeps_the_highest_number, pruning_takes_what_is_old }
            leadership { a_fenced_leader_changes_nothing, resigning_ends_it_at_once }
        })+
    };
}

suites!(sqlite, postgres, pgbouncer);

/// The lease exists in PostgreSQL only.
macro_rules! leases {
    ($($engine:ident $name:ident),+) => {
        $(#[tokio::test]
        async fn $name() {
            let place = places::$engine().await;
            conformance::leadership::a_lease_is_held_renewed_and_taken_over(&place).await;
            place.store.close().await;
        })+
    };
}

leases!(postgres a_lease_of_postgres, pgbouncer a_lease_behind_pgbouncer);
