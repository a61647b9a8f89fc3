//! Medians and the like, over figures that a noisy machine gave.

/// The figure below which this share of all figures lies; 0.5 is the median. Where that falls between two figures, so does it.
/// Not a number where there is none.
#[must_use]
pub fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let place = figures.len().saturating_sub(1) as f64 * share.clamp(0.0, 1.0);
    // Within the figures by construction, and there are far fewer than a float can count.
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (figures.get(below), figures.get(above)) {
        // Not by a difference: a figure may be infinite.
        (Some(below), Some(above)) if below == above => *below,
        (Some(below), Some(above)) => below * (1.0 - place.fract()) + above * place.fract(),
        _ => f64::NAN,
    }
}

/// The middle, and how far the middle half spreads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Three quarters of the figures are at least this.
    pub low: f64,
    /// Half of them are.
    pub median: f64,
    /// A quarter of them is.
    pub high: f64,
}

impl Spread {
    /// Of these figures.
    #[must_use]
    pub fn of(figures: &[f64]) -> Spread {
        let at = |share| quantile(figures.to_vec(), share);
        Spread { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// Of the ratios of `ours` to `theirs`, pair by pair.
    #[must_use]
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Spread {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Spread::of(&ratios)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_where_their_share_is() {
        let figures = vec![5.0, 1.0, 4.0, 2.0, 3.0];
        for (share, figure) in [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.875, 4.5), (1.0, 5.0), (7.0, 5.0)] {
            assert_eq!(quantile(figures.clone(), share), figure, "{share}");
        }
        assert_eq!(quantile(vec![1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(vec![1.0, f64::INFINITY, f64::INFINITY], 0.5), f64::INFINITY);
        assert_eq!(quantile(vec![1.0, 2.0, f64::INFINITY], 0.5), 2.0);
        assert!(quantile(Vec::new(), 0.5).is_nan());
    }

    #[test]
    fn ratios_are_those_of_pairs() {
        let spread = Spread::of_ratios(&[2.0, 30.0, 4.0], &[1.0, 10.0, 1.0]);
        assert_eq!(spread, Spread { low: 2.5, median: 3.0, high: 3.5 });
        assert_eq!(spread.to_string(), "3.00 (2.50–3.50)");
    }
}
