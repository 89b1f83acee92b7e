//! Scene four: a bound on memory under a skewed load.

use core::convert::Infallible;
use std::time::Duration;

use advanced_caching::sync::Cache;

use crate::show::{self, Progress, Promises};

const KEYS: u64 = 10_000;
const CAPACITY: usize = 1_000;
const READS: u64 = 400_000;

pub(crate) fn show(promises: &mut Promises) -> Result<(), Box<dyn std::error::Error>> {
    show::heading(
        "Scene four: capacity",
        "10,000 keys are read with a skew (Zipf, 0.99), and the cache may hold 1,000. What is kept?",
    );
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(CAPACITY)
        .ttl(Duration::from_secs(300))
        .stale_while_revalidate(Duration::from_secs(60))
        .build()?;
    let (mut most, mut zipf) = (0, Zipf::new(KEYS, 0.99));
    let progress = Progress::new("reading", READS);
    for read in 0..READS {
        let key = zipf.next();
        cache.get_or_load_here(&key, || Ok::<_, Infallible>(key * key))?;
        if read % 1_000 == 0 {
            most = most.max(cache.len());
            progress.advance(1_000);
        }
    }
    progress.done();
    let stats = cache.stats();
    let ratio = stats.hit_ratio();
    println!("  {READS} reads, {:.1} % hits  {}", ratio * 100.0, show::bar(ratio, 1.0, 32));
    println!("  {} loads, {} evictions, at most {most} entries held", stats.loads, stats.evictions);
    println!("\n  What the cache knows of the hottest key:");
    cache.explain(&0).to_string().lines().for_each(|line| println!("    {line}"));
    promises.check("capacity: never more than 1,000 entries", most <= CAPACITY);
    promises.check("capacity: the hottest key stayed", cache.contains(&0));
    promises.check(
        "capacity: a tenth of the keys answered more than half of the reads",
        ratio > 0.5 && stats.evictions > 0,
    );
    Ok(())
}

/// Draws keys by Zipf's law: the n-th key with a weight of 1 / n^skew.
struct Zipf {
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(keys: u64, skew: f64) -> Self {
        let weights = (1..=keys).map(|n| (n as f64).powf(-skew));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect(), state: 1 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let unit = (self.state >> 11) as f64 / (1_u64 << 53) as f64;
        let target = unit * self.sums.last().copied().unwrap_or(0.0);
        self.sums.partition_point(|sum| *sum < target) as u64
    }
}
