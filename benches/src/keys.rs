//! Keys, and the orders in which they are asked for. All of them are the same in every run.

use core::borrow::Borrow;
use core::hash::Hash;
use std::sync::Arc;

/// A key, and the borrowed form by which it is looked up.
pub trait Key: Borrow<<Self as Key>::Asked> + Clone + Eq + Hash + Send + Sync + 'static {
    /// What a caller who looks for the key has in hand.
    type Asked: ?Sized + Eq + Hash + ToOwned<Owned = Self>;

    /// The `n`-th key.
    fn nth(n: u64) -> Self;
}

impl Key for u64 {
    type Asked = Self;

    fn nth(n: u64) -> Self {
        n
    }
}

impl Key for String {
    type Asked = str;

    fn nth(n: u64) -> Self {
        format!("customer:{n}")
    }
}

/// What a cache keeps.
pub trait Value: Clone + Send + Sync + 'static {
    /// The value of the `n`-th key.
    fn of(n: u64) -> Self;

    /// A value that was just loaded, made as fast as one can be.
    fn loaded() -> Self;
}

impl Value for u64 {
    fn of(n: u64) -> Self {
        n
    }

    fn loaded() -> Self {
        0
    }
}

impl Value for Arc<str> {
    fn of(n: u64) -> Self {
        format!("value of {n}").into()
    }

    fn loaded() -> Self {
        "a loaded value".into()
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): a row of random numbers from a seed.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The row of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`, each as likely as the others. (Lemire's multiplication: the
    /// error is below 2⁻³² for all `end` used here.)
    pub fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(end);
        (product >> 64) as u64
    }

    /// The next number from 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// `length` keys out of the first `keys`, in random order.
pub fn random<K: Key>(keys: u64, length: usize, seed: u64) -> Vec<K> {
    let mut numbers = SplitMix::new(seed);
    (0..length).map(|_| K::nth(numbers.below(keys))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_is_the_published_one() {
        // The reference implementation's first numbers for the seed 1234567.
        let mut numbers = SplitMix::new(1_234_567);
        assert_eq!(numbers.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn random_keys_repeat_by_seed_and_reach_every_key() {
        let keys: Vec<u64> = random(100, 2_000, 1);
        assert_eq!(keys, random::<u64>(100, 2_000, 1));
        assert_ne!(keys, random::<u64>(100, 2_000, 2));
        assert!((0..100).all(|key| keys.contains(&key)) && keys.iter().all(|key| *key < 100));
    }

    #[test]
    fn units_stay_below_one_and_spread() {
        let mut numbers = SplitMix::new(3);
        let units: Vec<_> = (0..10_000).map(|_| numbers.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        let mean = units.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
