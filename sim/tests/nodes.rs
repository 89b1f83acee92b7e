//! Several processes before one store, by many seeds.

use cache_sim::nodes::{Tally, run};

#[test]
fn many_seeds() {
    let mut all = Tally::default();
    let mut wrong = vec![];
    let start = std::time::Instant::now();
    let from: u64 = std::env::var("FROM").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("COUNT").ok().and_then(|s| s.parse().ok()).unwrap_or(400);
    let verbose = std::env::var("VERBOSE").is_ok();
    for seed in from..from + count {
        if count < 500 {
            eprintln!("seed {seed}");
        }
        match run(seed, verbose) {
            Ok(tally) => all.add(&tally),
            Err(what) => wrong.push(what),
        }
    }
    eprintln!("{all:?} {:?} {}", start.elapsed(), wrong.len());
    for what in wrong.iter().take(40) {
        eprintln!("{what}");
    }
    assert!(wrong.is_empty());
}
