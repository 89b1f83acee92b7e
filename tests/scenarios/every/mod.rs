//! Scenarios that apply to every driver, written once.

pub(crate) mod failures;
pub(crate) mod mutations;
pub(crate) mod single_flight;
pub(crate) mod windows;

/// Stamps every scenario of this module as a test of one driver.
macro_rules! scenarios_of {
    ($driver:ty) => {
        stamp! { $driver, single_flight:
            s1_a_cold_key_is_loaded_once_for_fifty_callers
            s1_a_too_old_entry_is_loaded_once_for_fifty_callers
            pa_a_hundred_callers_of_a_cold_key_make_one_load
            pc_all_who_wait_are_told_of_one_failure_and_a_later_caller_may_load
            pp_when_the_first_load_panics_nobody_hangs_and_all_are_told
            pp_when_a_refresh_panics_the_old_value_serves
            s20_after_a_loader_that_panicked_the_next_caller_loads
            s24_a_key_works_after_its_first_load_failed
        }
        stamp! { $driver, windows:
            s2_an_instant_refresh_comes_each_time_an_entry_is_stale
            s2_a_slow_refresh_comes_each_time_an_entry_is_stale
            s2_the_right_to_refresh_is_given_back_at_once
            s14_after_the_stale_window_the_old_value_serves_while_the_origin_is_down
            s14_after_all_windows_the_error_is_told
            s16_what_has_expired_goes_without_being_read_again
            pe_the_first_read_after_freshness_ended_is_served_in_no_time
            pt_past_the_soft_time_out_the_old_value_serves_and_the_load_lands
            pt_followers_are_bound_by_the_soft_time_out_of_the_flight
            pt_past_the_hard_time_out_a_typed_error_is_told_and_the_load_lands
            pt_followers_are_bound_by_the_hard_time_out_of_the_flight
            pt_a_load_past_both_time_outs_serves_what_the_windows_allow
        }
        stamp! { $driver, failures:
            pf_five_reads_of_a_stale_value_make_one_call_while_the_origin_is_down
            pf_five_reads_of_a_kept_value_make_one_call_while_the_origin_is_down
            pf_the_cool_down_doubles_and_a_success_ends_it
            pf_with_fail_fast_a_cold_key_cools_down_too
            s22_every_outcome_is_counted
        }
        stamp! { $driver, mutations:
            s15_a_put_during_a_refresh_wins
            s15_an_expire_during_a_refresh_wins
            pg_after_an_invalidation_nobody_sees_the_load_that_it_interrupted
            pg_a_load_that_ends_after_an_invalidation_leaves_nothing
            pg_an_invalidated_tag_refuses_the_load_that_began_before
            pg_a_clear_refuses_the_loads_that_began_before
            ph_after_a_put_nobody_sees_the_load_that_it_interrupted
            ph_a_put_that_finds_a_fresh_value_interrupts_nothing
        }
    };
}

macro_rules! stamp {
    ($driver:ty, $module:ident: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                <$driver as $crate::world::Driver>::watch($crate::every::$module::$name::<$driver>);
            }
        )*
    };
}

pub(crate) use {scenarios_of, stamp};
