//! The intrinsic dimension of a curve of performance over d, and how sure it is.

use anyhow::{Result, ensure};

/// Where the mean performance first passes threshold times baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct IntrinsicDimension {
    /// The dimensions that were tried, ascending, without the direct runs (d = 0).
    pub unique_d: Vec<i64>,
    /// Mean performance at each.
    pub mean: Vec<f64>,
    pub baseline: f64,
    /// The smallest d with mean > threshold x baseline, strictly; the largest tried where there is none.
    pub d_int: i64,
    pub perf_at: f64,
    pub solved: bool,
}

/// From one performance a run; d = 0 are runs in the full space, whose mean is the baseline where none is given.
pub fn intrinsic_dimension(
    d: &[i64],
    perf: &[f64],
    baseline: Option<f64>,
    threshold: f64,
) -> Result<IntrinsicDimension> {
    ensure!(d.len() == perf.len(), "{} dimensions, but {} performances", d.len(), perf.len());
    ensure!(threshold > 0.0 && threshold <= 1.0, "threshold = {threshold} must be above 0 and at most 1");
    let mean_at = |wanted: i64| {
        let values: Vec<f64> = d.iter().zip(perf).filter(|(d, _)| **d == wanted).map(|(_, p)| *p).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let baseline = match baseline {
        Some(given) => given,
        None => {
            ensure!(d.contains(&0), "no baseline is given and there is no run with d = 0");
            mean_at(0)
        }
    };
    ensure!(
        baseline > 0.0,
        "the baseline {baseline} is not above 0: a share of it means nothing; shift the performance to a positive scale"
    );
    let mut unique_d: Vec<i64> = d.iter().copied().filter(|d| *d > 0).collect();
    unique_d.sort_unstable();
    unique_d.dedup();
    ensure!(!unique_d.is_empty(), "no run in a subspace: d must be above 0 somewhere");
    let mean: Vec<f64> = unique_d.iter().map(|&d| mean_at(d)).collect();
    let (place, solved) = first_above(&mean, threshold * baseline);
    let (d_int, perf_at) = (unique_d[place], mean[place]);
    Ok(IntrinsicDimension { d_int, perf_at, unique_d, mean, baseline, solved })
}

/// The first place strictly above the bound, or the last place and false.
fn first_above(values: &[f64], bound: f64) -> (usize, bool) {
    match values.iter().position(|value| *value > bound) {
        Some(place) => (place, true),
        None => (values.len() - 1, false),
    }
}

/// d_int of resamples that take for each d one of its runs, with their mean and population standard deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    pub d_int: Vec<i64>,
    pub mean: f64,
    pub std: f64,
}

/// `perf[i]` are the runs at d[i] (ascending), `choice[m][i]` the run that resample m takes there.
pub fn bootstrap(d: &[i64], perf: &[Vec<f64>], choice: &[Vec<usize>], bound: f64) -> Result<Bootstrap> {
    ensure!(d.len() == perf.len() && !d.is_empty(), "{} dimensions, but {} rows of runs", d.len(), perf.len());
    ensure!(!choice.is_empty(), "at least one resample is needed");
    let resample = |choice: &Vec<usize>| -> Result<i64> {
        let pick = |(runs, &i): (&Vec<f64>, &usize)| runs.get(i).copied();
        let values: Option<Vec<f64>> = perf.iter().zip(choice).map(pick).collect();
        let values = values.filter(|v| v.len() == d.len());
        let values = values.ok_or_else(|| anyhow::anyhow!("a resample names a run that there is not: {choice:?}"))?;
        Ok(d[first_above(&values, bound).0])
    };
    let d_int = choice.iter().map(resample).collect::<Result<Vec<i64>>>()?;
    let n = d_int.len() as f64;
    let mean = d_int.iter().map(|&d| d as f64).sum::<f64>() / n;
    let variance = d_int.iter().map(|&d| (d as f64 - mean).powi(2)).sum::<f64>() / n;
    Ok(Bootstrap { d_int, mean, std: variance.sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_itself_is_not_passed() {
        let found = intrinsic_dimension(&[20, 10, 30], &[0.9, 0.5, 0.95], Some(1.0), 0.9).unwrap();
        assert_eq!((found.d_int, found.solved, found.unique_d), (30, true, vec![10, 20, 30]));
        let none = intrinsic_dimension(&[10, 20], &[0.5, 0.6], Some(1.0), 0.9).unwrap();
        assert_eq!((none.d_int, none.solved), (20, false));
    }

    #[test]
    fn direct_runs_are_the_baseline_where_none_is_given() {
        let found = intrinsic_dimension(&[0, 0, 5], &[0.4, 0.6, 0.46], None, 0.9).unwrap();
        assert_eq!((found.baseline, found.d_int, found.solved), (0.5, 5, true));
        assert!(intrinsic_dimension(&[5], &[0.4], None, 0.9).is_err());
        let negative = intrinsic_dimension(&[0, 5], &[-3.0, -4.0], None, 0.9).unwrap_err().to_string();
        assert!(negative.contains("-3"), "{negative}");
    }

    #[test]
    fn resamples_spread_where_runs_disagree() {
        let perf = [vec![0.8, 0.95], vec![0.99, 0.99]];
        let found = bootstrap(&[10, 20], &perf, &[vec![0, 0], vec![1, 0]], 0.9).unwrap();
        assert_eq!((found.d_int, found.mean, found.std), (vec![20, 10], 15.0, 5.0));
        assert!(bootstrap(&[10, 20], &perf, &[vec![2, 0]], 0.9).is_err());
    }
}
