//! Traces for those who have none.

use std::io::{self, Write};
use std::str::FromStr;

/// What the requests are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Load {
    /// Few keys are popular and many are not, after Zipf's law.
    Zipf,
    /// All keys in order, again and again: the worst for least-recently-used.
    Loop,
    /// Zipf, and now and then a run over keys that never come again.
    Scan,
    /// Zipf, and ten times other keys become the popular ones.
    Shift,
}

impl FromStr for Load {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "zipf" => Ok(Self::Zipf),
            "loop" => Ok(Self::Loop),
            "scan" => Ok(Self::Scan),
            "shift" => Ok(Self::Shift),
            _ => Err(format!("there is no kind `{name}`; there are zipf, loop, scan and shift")),
        }
    }
}

/// A trace to make; the same one gives the same requests.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recipe {
    /// What the requests are like.
    pub load: Load,
    /// How many keys (those of scans not counted).
    pub keys: u32,
    /// How many requests.
    pub requests: u64,
    /// Zipf's exponent: 0 for keys that are alike, about 1 for the web's.
    pub skew: f64,
    /// Another seed gives other requests.
    pub seed: u64,
}

impl Recipe {
    /// Requests with skew 0.99 and seed 1.
    pub const fn new(load: Load, keys: u32, requests: u64) -> Self {
        Self { load, keys, requests, skew: 0.99, seed: 1 }
    }

    /// Writes the requests in the plain format.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut zipf = Zipf::new(self.keys, self.skew, self.seed);
        for n in 0..self.requests {
            writeln!(out, "{}", self.id(n, &mut zipf))?;
        }
        out.flush()
    }

    /// The id of the `n`th request.
    fn id(&self, n: u64, zipf: &mut Zipf) -> u64 {
        let keys = u64::from(self.keys);
        match self.load {
            Load::Zipf => zipf.rank(),
            Load::Loop => n % keys,
            // One request of four is part of a run, and a run is a quarter of the keys.
            Load::Scan if n % keys >= keys - keys / 4 => keys + n,
            Load::Scan => zipf.rank(),
            Load::Shift => (zipf.rank() + self.tenth(n) * keys.div_ceil(10)) % keys,
        }
    }

    fn tenth(&self, n: u64) -> u64 {
        (u128::from(n) * 10 / u128::from(self.requests)) as u64
    }
}

/// Ranks from 0, the rank r with a probability proportional to 1 / (r + 1)^skew.
struct Zipf {
    /// For each rank the probability of it or a lower one, times the last element.
    sums: Vec<f64>,
    random: SplitMix,
}

impl Zipf {
    fn new(keys: u32, skew: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let step = |rank: u32| {
            sum += (f64::from(rank) + 1.0).powf(-skew);
            sum
        };
        Self { sums: (0..keys).map(step).collect(), random: SplitMix(seed) }
    }

    fn rank(&mut self) -> u64 {
        let total = self.sums.last().copied().unwrap_or_default();
        let point = self.random.unit() * total;
        let rank = self.sums.partition_point(|sum| *sum <= point);
        rank.min(self.sums.len().saturating_sub(1)) as u64
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and random enough for traces.
struct SplitMix(u64);

impl SplitMix {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and without, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Format, Trace};

    fn ids(recipe: Recipe) -> Vec<u64> {
        let mut text = Vec::new();
        recipe.write(&mut text).unwrap();
        let trace = Trace::read(text.as_slice(), "generated", Format::Plain).unwrap();
        trace.requests().map(|request| request.id).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for load in [Load::Zipf, Load::Scan, Load::Shift] {
            let recipe = Recipe::new(load, 100, 1_000);
            assert_eq!(ids(recipe), ids(recipe));
            assert_ne!(ids(recipe), ids(Recipe { seed: 2, ..recipe }));
            assert_eq!(ids(recipe).len(), 1_000);
        }
    }

    #[test]
    fn ranks_are_as_frequent_as_zipf_says() {
        let ids = ids(Recipe { skew: 1.0, ..Recipe::new(Load::Zipf, 3, 110_000) });
        // 1 + 1/2 + 1/3 = 11/6, so of 110,000 requests 60,000, 30,000 and 20,000.
        for (id, expected) in [(0, 60_000_usize), (1, 30_000), (2, 20_000)] {
            let found = ids.iter().filter(|other| **other == id).count();
            assert!(found.abs_diff(expected) < 1_000, "{id}: {found}");
        }
    }

    #[test]
    fn a_loop_runs_over_all_keys() {
        assert_eq!(ids(Recipe::new(Load::Loop, 3, 7)), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn the_keys_of_a_scan_come_once() {
        let ids = ids(Recipe::new(Load::Scan, 100, 1_000));
        let mut scanned: Vec<_> = ids.into_iter().filter(|id| *id >= 100).collect();
        assert_eq!(scanned.len(), 250);
        scanned.dedup();
        assert_eq!(scanned.len(), 250);
    }

    #[test]
    fn after_a_shift_others_are_popular() {
        let ids = ids(Recipe::new(Load::Shift, 1_000, 10_000));
        let zeros = |part: &[u64]| part.iter().filter(|id| **id == 0).count();
        assert!(zeros(&ids[..1_000]) > 50 && zeros(&ids[1_000..2_000]) < 10);
    }

    #[test]
    fn the_generator_agrees_with_its_published_numbers() {
        let mut random = SplitMix(1_234_567);
        let first = [random.next(), random.next()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
