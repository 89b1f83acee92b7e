//! Runs of operations, made of any bytes, on every cache and on a plain map that does everything the
//! slow and obvious way; and any bytes as entries that lie in a store.
//!
//! `cargo xtask fuzz` looks for bytes with which something goes wrong; the tests here try a few
//! thousand.

mod entries;
mod model;
mod operation;
mod run;
mod subject;

use arbitrary::{Arbitrary, Unstructured};

pub use entries::entries;
use model::Model;
use operation::Operation;
use run::Run;
use subject::{ByHand, Text, Threaded};

/// Most operations of one run.
const LONGEST: usize = 400;

/// Operations on `sync::Cache`, in whichever arrangement the first byte says.
///
/// # Panics
/// If the cache and the map disagree.
pub fn threads(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 6 {
        0 => run(Threaded::<u64, u64>::sets(), None, data),
        1 => run(Threaded::<Text, Text>::sets(), None, data),
        2 => run(Threaded::<u64, u64>::of(1_000), None, data),
        3 => run(Threaded::<u64, u64>::by_weight(1_000), None, data),
        4 => run(Threaded::<Text, Text>::by_weight(3), Some(3), data),
        _ => run(Threaded::<u64, u64>::of(3), Some(3), data),
    }
}

/// Operations on `local::Cache`, over whichever table the first byte says.
///
/// # Panics
/// If the cache and the map disagree, or the cache with itself.
pub fn hand(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => run(ByHand::on_the_heap(100), None, data),
        1 => run(ByHand::fixed(), None, data),
        2 => run(ByHand::on_the_heap(3), Some(3), data),
        _ => run(ByHand::fixed_small(), Some(4), data),
    }
}

/// Runs the operations that the bytes tell. With a `bound`, entries may be evicted.
fn run(subject: impl subject::Subject, bound: Option<usize>, data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let mut run = Run::new(subject, Model::default(), bound);
    for _ in 0..LONGEST {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else { break };
        run.step(&operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes by a fixed generator (xorshift64, Marsaglia 2003).
    pub(crate) fn bytes(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..next() % 150).flat_map(|_| next().to_le_bytes()).collect()
    }

    #[test]
    fn threaded_caches_agree_with_the_map() {
        (0..600).for_each(|seed| threads(&bytes(seed)));
    }

    #[test]
    fn hand_driven_caches_agree_with_the_map() {
        (0..1_500).for_each(|seed| hand(&bytes(seed)));
    }

    /// Bytes with which a cache and the map once disagreed.
    #[test]
    fn what_once_went_wrong_does_so_no_more() {
        hand(include_bytes!("../regressions/hand/a-tag-expired-often"));
    }

    #[test]
    #[should_panic(expected = "read")]
    fn a_cache_that_forgets_to_invalidate_is_caught() {
        struct Forgetful(ByHand<subject::OnTheHeap>);
        impl subject::Subject for Forgetful {
            const LOADS_PLAIN: bool = false;
            subject::delegate!(put, put_if_absent, get, load, expire, clear, expire_tag);
            subject::delegate!(invalidate_tag, advance, sweep, len, cooling, check);
            fn invalidate(&mut self, _key: u8) {}
        }
        (0..50).for_each(|seed| run(Forgetful(ByHand::on_the_heap(100)), None, &bytes(seed)));
    }
}
