//! A value that a job keeps: what a look at it costs.

use core::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use advanced_caching::sync::Background;
use arc_swap::ArcSwap;
use cache_benches::round::{Contestant, Round};
use cache_benches::row::Row;

use crate::Setup;

type Prices = Vec<u64>;

fn prices() -> Prices {
    (0..1_000).collect()
}

pub(crate) fn read(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let reads = setup.request.either(1 << 18, 1 << 16);
    let mut contestants = vec![];
    if setup.request.wants("ours") {
        let kept = kept();
        let look = move || kept.look().map_or(0, |prices| prices[7]);
        contestants.push(contestant("ours", reads, look));
    }
    if setup.request.wants("arc_swap") {
        let kept = ArcSwap::new(Arc::new(prices()));
        contestants.push(contestant("arc_swap", reads, move || kept.load()[7]));
    }
    setup.play(bench, &mut contestants, setup.request.rounds(11, 5))
}

fn kept() -> Background<Prices> {
    let builder = Background::builder("prices").every(Duration::from_secs(3_600));
    let kept = builder.start(|| Ok::<_, Infallible>(prices())).expect("the settings are right");
    kept.ready().expect("the load cannot fail");
    kept
}

fn contestant(
    name: &'static str,
    reads: usize,
    look: impl Fn() -> u64 + 'static,
) -> Contestant<'static> {
    let play = move || {
        read_all(reads / 8, &look);
        let start = Instant::now();
        read_all(reads, &look);
        Round::alone(start.elapsed(), reads)
    };
    Contestant::new(name, 1, play)
}

#[inline(never)]
fn read_all(reads: usize, look: impl Fn() -> u64) {
    for _ in 0..reads {
        black_box(look());
    }
}
