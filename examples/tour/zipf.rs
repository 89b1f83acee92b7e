//! Keys as people ask for them: a few very often, most of them seldom.

/// Draws keys by Zipf's law: the n-th key with a weight of 1 / n^skew.
pub(crate) struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(keys: u64, skew: f64) -> Self {
        let weights = (1..=keys).map(|n| (n as f64).powf(-skew));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// The key of the n-th draw: always the same, so that different users get the same sequence.
    pub(crate) fn draw(&self, n: u64) -> u64 {
        let unit = (mix(n) >> 11) as f64 / (1_u64 << 53) as f64;
        let target = unit * self.total();
        self.sums.partition_point(|sum| *sum < target) as u64
    }

    /// Share of all draws that the `keys` most popular keys get.
    pub(crate) fn share(&self, keys: usize) -> f64 {
        self.sums[keys - 1] / self.total()
    }

    fn total(&self) -> f64 {
        self.sums[self.sums.len() - 1]
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): the n-th of a row of random numbers.
const fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
