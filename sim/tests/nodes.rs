//! Several processes before one store, by many seeds.

use cache_sim::nodes::{run, run_all};

#[test]
fn whatever_store_and_wires_do_all_that_must_hold_holds() {
    let (all, wrong) = run_all(0..400, false);
    assert!(wrong.is_empty(), "{}", wrong[0]);
    // A run in which nothing happens, or nothing goes wrong, shows nothing.
    assert!(all.reads > 50_000 && all.mutations > 10_000 && all.loads > 10_000, "{all}");
    assert!(all.refused > 100 && all.errors > 1_000, "{all}");
}

/// What each of them found has a scenario of its own; they stay, in whatever world they run now.
#[test]
fn seeds_that_once_found_a_fault_find_none() {
    for seed in [408, 3_734, 4_999, 5_574, 13_010, 13_022, 18_466] {
        assert!(run(seed, false).is_ok(), "{seed}");
    }
}

#[test]
fn a_seed_runs_the_same_again() {
    for seed in 0..8 {
        assert_eq!(run(seed, false), run(seed, false));
    }
    assert_ne!(run(0, false).unwrap().trace, run(8, false).unwrap().trace);
}
