//! Scene four: a bound on memory under a skewed load.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use advanced_caching::sync::Cache;

use crate::promises::Promises;
use crate::show::{self, Colour, Progress, Row, count};
use crate::zipf::Zipf;

const KEYS: u64 = 10_000;
const CAPACITY: usize = 1_000;
const READS: u64 = 400_000;

pub(crate) fn show(promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    show::heading(
        "4  Capacity",
        "What is left of the hits if memory holds only a tenth of the keys?",
    );
    let (keys, capacity, reads) = (count(KEYS), count(CAPACITY as u64), count(READS));
    println!(
        "{keys} keys, a capacity of {capacity} entries, {reads} reads by Zipf's law (0.99).\n"
    );
    let cache: Cache<u64, u64> = Cache::builder()
        .capacity(CAPACITY)
        .ttl(Duration::from_secs(300))
        .stale_while_revalidate(Duration::from_secs(60))
        .build()?;
    let zipf = Zipf::new(KEYS, 0.99);
    let most = read(&cache, &zipf)?;
    print(&cache, &zipf, most);
    promise(&cache, most, promises);
    Ok(())
}

/// Reads; returns the most entries that were held at any time.
fn read(cache: &Cache<u64, u64>, zipf: &Zipf) -> Result<usize, Box<dyn Error>> {
    let progress = Progress::new("reading", READS);
    let mut most = 0;
    for n in 0..READS {
        let key = zipf.draw(n);
        cache.get_or_load_here(&key, || Ok::<_, Infallible>(key * key))?;
        most = most.max(cache.len());
        progress.advance(1);
    }
    progress.done();
    Ok(most)
}

fn print(cache: &Cache<u64, u64>, zipf: &Zipf, most: usize) {
    let stats = cache.stats();
    let row = |name, share: f64| {
        let bar = show::bar(share, 1.0, 32);
        Row::new(name).cell(format!("{:.1} %", share * 100.0)).bar(Colour::Green, bar)
    };
    let best = row("the most popular 1,000, known beforehand", zipf.share(CAPACITY));
    show::table(&["", "hits"], &[row("this cache", stats.hit_ratio()), best]);
    let (loads, evictions) = (count(stats.loads), count(stats.evictions));
    println!(
        "  {loads} loads, {evictions} evictions; never more than {} entries.",
        count(most as u64)
    );
    println!("\nWhat the cache says of its hottest key:");
    show::indented(&cache.explain(&0).to_string());
}

fn promise(cache: &Cache<u64, u64>, most: usize, promises: &mut Promises) {
    let (stats, held) = (cache.stats(), cache.len() as u64);
    let (loads, evictions, ratio) = (stats.loads, stats.evictions, stats.hit_ratio());
    let (most, capacity) = (most as u64, CAPACITY as u64);
    promises.check("capacity: never more than 1,000 entries", count(most), most <= capacity);
    promises.check(
        "capacity: what was loaded and is not held was evicted",
        format!("{} = {} - {}", count(held), count(loads), count(evictions)),
        held + evictions == loads,
    );
    let percent = format!("{:.1} %", ratio * 100.0);
    promises.check("capacity: more than half of the reads were hits", percent, ratio > 0.5);
    promises.check("capacity: the hottest key is held", "", cache.contains(&0));
}
