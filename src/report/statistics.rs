//! Mean, spread and standard error of one metric over seeds.

#[derive(Clone, Debug, Default)]
pub struct Sample(pub Vec<f64>);

impl Sample {
    pub fn n(&self) -> usize {
        self.0.len()
    }

    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.n() as f64
    }

    /// Standard deviation with n - 1; none for a single value.
    pub fn std(&self) -> Option<f64> {
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|x| (x - mean).powi(2)).sum();
        (self.n() > 1).then(|| (squares / (self.n() - 1) as f64).sqrt())
    }

    /// Standard error of the mean.
    pub fn error(&self) -> Option<f64> {
        self.std().map(|s| s / (self.n() as f64).sqrt())
    }

    /// The middle value; of an even number the mean of the middle two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        match n {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// A number for people: four significant digits, whole numbers whole.
pub fn number(x: f64) -> String {
    rounded(x, 4)
}

/// A number beside its bound: six significant digits, without trailing zeros.
pub fn precise(x: f64) -> String {
    let text = rounded(x, 6);
    if text.contains('e') || !text.contains('.') {
        text
    } else {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A number with the digits after the point that two digits of its spread have.
pub fn beside(x: f64, spread: f64) -> String {
    let whole = |x: f64| if x.abs() < 1e15 { format!("{x:.0}") } else { format!("{x:.3e}") };
    if spread == 0.0 || !spread.is_finite() {
        return number(x);
    }
    let places = 1 - spread.log10().floor() as i32;
    match places {
        ..=0 => whole(x),
        1..=6 => format!("{x:.0$}", places as usize),
        _ if x.abs() >= 1e-3 => format!("{x:.6}"),
        _ => format!("{x:.1e}"),
    }
}

fn rounded(x: f64, digits: i32) -> String {
    let size = x.abs();
    if x.fract() == 0.0 && size < 1e15 {
        format!("{x}")
    } else if (1e-3..1e5).contains(&size) {
        let places = (digits - 1 - size.log10().floor() as i32).clamp(0, 9) as usize;
        format!("{x:.places$}")
    } else {
        format!("{x:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_a_known_sample() {
        let sample = Sample(vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(sample.mean(), 2.5);
        assert!((sample.std().unwrap() - 1.2909944487358056).abs() < 1e-15);
        assert!((sample.error().unwrap() - 0.6454972243679028).abs() < 1e-15);
        assert_eq!(Sample(vec![0.5]).std(), None);
        assert_eq!(number(0.95312), "0.9531");
        assert_eq!(precise(0.16477), "0.16477");
        assert_eq!(precise(0.5), "0.5");
        assert_eq!(precise(0.9999999), "1");
        assert_eq!(number(26.0), "26");
        assert_eq!(number(1.5e-7), "1.500e-7");
        assert_eq!((sample.median(), sample.min(), sample.max()), (2.5, 1.0, 4.0));
        assert_eq!(Sample(vec![3.0, 1.0, 2.0]).median(), 2.0);
        let shown = [(0.96213, 0.00544), (1234.5, 180.0), (3.3e-4, 0.0181), (2.5e-8, 1e-9), (0.25, 1e-9)];
        assert_eq!(shown.map(|(x, s)| beside(x, s)), ["0.9621", "1234", "0.000", "2.5e-8", "0.250000"]);
    }
}
