//! Medians with their ranges: the only statistics the report uses.

use std::fmt::Write as _;

/// One figure over several runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// Adds a run's figure.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Adds another series.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The middle figure; the mean of the two middle ones of an even number.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The mean: of what is only known in coarse steps.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The figure below which a part of the runs lies (nearest rank).
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    /// Lowest and highest.
    pub(crate) fn range(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// `median (low-high)`.
    pub(crate) fn spread(&self) -> String {
        let (low, high) = self.range();
        format!("{} ({}-{})", number(self.median()), number(low), number(high))
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// Three significant digits, with spaces between thousands; a dash for what was not measured.
pub(crate) fn number(figure: f64) -> String {
    if !figure.is_finite() {
        return "-".into();
    }
    if figure < 0.0 {
        return format!("-{}", number(-figure));
    }
    match figure.abs() {
        f if f >= 999.5 => thousands(three_digits(figure)),
        f if f >= 99.95 => format!("{figure:.0}"),
        f if f >= 9.995 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// How many times one is the other: the median of the runs' own ratios, as a run and that of the other
/// which followed it met the same machine. Of runs that are no pairs, the ratio of the medians.
pub(crate) fn ratio(figure: &Series, reference: &Series) -> String {
    let ratio = if figure.0.len() == reference.0.len() {
        let pairs = figure.0.iter().zip(&reference.0);
        pairs.map(|(one, other)| one / other).collect::<Series>().median()
    } else {
        figure.median() / reference.median()
    };
    if ratio.is_finite() { format!("{ratio:.2}×") } else { "-".into() }
}

fn three_digits(figure: f64) -> u64 {
    let unit = 10_f64.powf(figure.abs().log10().floor() - 2.0);
    ((figure / unit).round() * unit).round() as u64
}

fn thousands(figure: u64) -> String {
    let digits = figure.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ranges_and_percentiles() {
        let series: Series = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!((series.median(), series.range()), (2.0, (1.0, 3.0)));
        let even: Series = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert_eq!(even.median(), 2.5);
        let hundred: Series = (1..=100).map(f64::from).collect();
        assert_eq!((hundred.percentile(50.0), hundred.percentile(99.0)), (50.0, 99.0));
        assert!(Series::default().median().is_nan());
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0, 1.234, 56.78, 999.4, 1234.0, 81_234.0, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.00", "1.23", "56.8", "999", "1 230", "81 200", "1 230 000"]);
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(number(-16_070.0), "-16 100");
    }

    #[test]
    fn a_ratio_is_of_runs_that_followed_each_other() {
        let series = |figures: [f64; 3]| figures.into_iter().collect::<Series>();
        // The machine was half as fast in one run, and that says nothing of the two.
        let (one, other) = (series([8.0, 16.0, 16.0]), series([10.0, 20.0, 10.0]));
        assert_eq!(ratio(&one, &other), "0.80×");
        assert_eq!(ratio(&one, &[10.0].into_iter().collect()), "1.60×");
    }
}
