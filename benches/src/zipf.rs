//! Keys as people ask for them: a few very often, most of them seldom.

use crate::keys::SplitMix;

/// Draws numbers by Zipf's law: `n`, counted from 0, with a weight of 1 / (n + 1)^skew.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The weights of all numbers up to each.
    sums: Vec<f64>,
}

impl Zipf {
    /// The law over the first `numbers` numbers.
    pub fn new(numbers: u64, skew: f64) -> Self {
        let mut sum = 0.0;
        let add = |n: u64| {
            sum += (n as f64).powf(-skew);
            sum
        };
        Self { sums: (1..=numbers).map(add).collect() }
    }

    /// One draw.
    pub fn draw(&self, numbers: &mut SplitMix) -> u64 {
        let target = numbers.unit() * self.total();
        self.sums.partition_point(|sum| *sum <= target) as u64
    }

    /// `length` draws, always the same for a seed.
    pub fn draws(&self, length: usize, seed: u64) -> Vec<u64> {
        let mut numbers = SplitMix::new(seed);
        (0..length).map(|_| self.draw(&mut numbers)).collect()
    }

    /// Share of all draws that go to the `first` most popular numbers.
    pub fn share(&self, first: usize) -> f64 {
        first.checked_sub(1).map_or(0.0, |last| self.sums[last] / self.total())
    }

    fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_harmonic_numbers() {
        let zipf = Zipf::new(4, 1.0);
        let total = 1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0;
        assert_eq!(zipf.share(0), 0.0);
        assert!((zipf.share(1) - 1.0 / total).abs() < 1e-12);
        assert!((zipf.share(4) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn draws_follow_the_law() {
        let zipf = Zipf::new(1_000, 0.99);
        let draws = zipf.draws(200_000, 7);
        assert!(draws.iter().all(|draw| *draw < 1_000));
        for first in [1, 10, 100] {
            let count = draws.iter().filter(|draw| **draw < first).count();
            let found = count as f64 / draws.len() as f64;
            let expected = zipf.share(first as usize);
            assert!((found - expected).abs() < 0.005, "{first}: {found} for {expected}");
        }
    }
}
