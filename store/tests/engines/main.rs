//! One conformance suite, four engines: SQLite, PostgreSQL, PostgreSQL behind PgBouncer in transaction mode, and the one in
//! memory, for tests, behind its faults; and what only one of them can do. The servers are Debian's, started here on private
//! unix sockets, one set for all tests.

mod alike;
mod conformance;
mod connections;
mod older;
mod outages;
mod places;
mod servers;
mod settings;
mod sqlite_file;
mod sqlite_size;

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
            pools {
                pools_are_made_changed_and_drained, queues_are_paused_and_closed, pools_have_a_target_of_workers, decisions_about_workers_are_kept_with_what_came_of_them, a_pool_goes_only_when_it_is_empty,
            }
            workers { workers_open_and_end, a_worker_is_known_by_its_engine_too, workers_are_counted_once, workers_that_ended_are_listed_the_latest_first, a_notice_is_kept_while_its_worker_is_there }
            agents {
                agents_are_made_with_a_slot_or_without, assigning_has_preconditions, stopping_has_preconditions,
                releasing_says_what_comes_next, reviving_has_preconditions,
                restarting_has_preconditions, capacity_is_never_exceeded,
                agents_are_listed_in_pages, only_live_agents_are_live,
            }
            accounts { usage_is_summed_by_account, a_sum_has_a_bound, sums_of_agents_go_with_them,
                executions_are_counted_whatever_is_pruned, lives_are_noted_the_latest_first, queues_are_closed_and_opened }
            metrics { metrics_are_read_as_they_were_recorded, a_row_that_is_there_stays, old_metrics_go_tier_by_tier,
                metrics_of_many_pools_are_one_round }
            keys { a_key_is_used_once, two_requests_race_for_a_key, a_key_needs_its_pool, keys_by_the_hundred }
            batches { a_batch_is_atomic_on_error, one_batch_s_error_is_not_another_s, nobody_gets_anothers_rows,
                a_large_batch_is_one_transaction, agents_by_the_hundred }
            refusals {
                a_poisoned_task_stands_alone, a_poisoned_end_stands_alone, a_poisoned_batch_is_not_anothers,
                every_character_is_stored,
            }
            events { events_are_numbered_and_resumed, events_have_no_holes_under_concurrency,
                pruning_keeps_the_highest_number, pruning_takes_what_is_old }
            tasks {
                a_task_is_read_as_it_was_made, a_task_needs_its_pool, starting_has_preconditions,
                halting_has_preconditions, ending_says_what_comes_next, an_end_and_a_cancellation_race,
                the_history_keeps_every_attempt, settling_has_preconditions, redriving_has_preconditions,
                withdrawing_leaves_nothing,
            }
            task_moves { every_move_of_every_status }
            task_batches {
                batches_of_any_size, a_batch_is_carried_out_in_order, a_fenced_leader_changes_no_task,
                a_tasks_key_is_used_once, two_requests_race_for_a_tasks_key, long_texts_are_kept_whole,
            }
            task_lists {
                queues_are_in_the_order_of_age, a_task_for_one_agent_waits_in_its_own_queue,
                delayed_tasks_are_due_in_time, waits_move_with_the_clock_and_moments_stay,
                a_clock_that_was_set_is_followed_in_steps,
                what_ended_in_the_future_is_brought_back, tasks_expire_while_they_wait, what_runs_is_found,
                tasks_are_listed_in_pages, a_tenants_tasks_are_counted_since_a_time, pruning_takes_tasks_by_their_end,
            }
            leadership { a_fenced_leader_changes_nothing, resigning_ends_it_at_once }
        })+
    };
}

suites!(sqlite, postgres, pgbouncer, memory);

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
