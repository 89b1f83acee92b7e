//! What is told of many measurements of one thing.

/// The median, and the quartiles below and above it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quartiles {
    /// A quarter of the values are lower.
    pub q1: f64,
    /// Half of the values are lower.
    pub median: f64,
    /// Three quarters of the values are lower.
    pub q3: f64,
}

impl Quartiles {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        let at = |part| quantile(&sorted, part);
        Self { q1: at(0.25), median: at(0.5), q3: at(0.75) }
    }
}

/// The values in order.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which `part` of the values lie; between two of them by straight line. Not a
/// number if there is no value.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_do_not_mind_the_order() {
        let found = Quartiles::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(found, Quartiles { q1: 2.0, median: 3.0, q3: 4.0 });
        let found = Quartiles::of([7.0]);
        assert_eq!(found, Quartiles { q1: 7.0, median: 7.0, q3: 7.0 });
    }

    #[test]
    fn quantiles_lie_between_two_values_on_a_straight_line() {
        let values = [10.0, 20.0, 40.0];
        assert_eq!(quantile(&values, 0.0), 10.0);
        assert_eq!(quantile(&values, 0.25), 15.0);
        assert_eq!(quantile(&values, 0.75), 30.0);
        assert_eq!(quantile(&values, 1.0), 40.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
