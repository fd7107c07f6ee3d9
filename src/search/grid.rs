//! All combinations of each key's values, the last key fastest.

use anyhow::{Result, bail};

use super::space::{Dimension, Space};

/// The values of one key, as numbers.
fn axis(key: &str, dimension: &Dimension) -> Result<Vec<f64>> {
    match dimension {
        Dimension::Categorical { choices } => Ok((0..choices.len()).map(|i| i as f64).collect()),
        Dimension::Float { values: Some(values), .. } => Ok(values.clone()),
        Dimension::Int { values: Some(values), .. } => Ok(values.iter().map(|&n| n as f64).collect()),
        Dimension::Float { points: Some(points), low, high, log, .. } => Ok(spaced(*low, *high, *log, *points)),
        Dimension::Int { points: Some(points), low, high, log, .. } => {
            let mut values = spaced(*low as f64, *high as f64, *log, *points);
            values.iter_mut().for_each(|x| *x = x.round());
            values.dedup();
            Ok(values)
        }
        Dimension::Float { step: Some(step), low, high, .. } => {
            let steps = ((high - low) / step + 1e-9).floor() as u64;
            Ok((0..=steps).map(|i| low + i as f64 * step).collect())
        }
        Dimension::Int { low, high, log: false, step, .. } => {
            Ok((*low..=*high).step_by(step.unwrap_or(1) as usize).map(|n| n as f64).collect())
        }
        _ => bail!("[space.{key}]: a grid needs values, points or step"),
    }
}

/// `n` numbers from low to high, both among them; the middle for n = 1.
fn spaced(low: f64, high: f64, log: bool, n: u64) -> Vec<f64> {
    let at = |t: f64| if log { low * (high / low).powf(t) } else { low + (high - low) * t };
    let inside = |i: u64| if i == n - 1 { high } else { at(i as f64 / (n - 1) as f64) };
    if n == 1 { vec![at(0.5)] } else { (0..n).map(inside).collect() }
}

/// The numbers of combination `index`; `None` past the last.
pub fn point(space: &Space, index: u64) -> Result<Option<Vec<f64>>> {
    let axes = space.iter().map(|(key, dimension)| axis(key, dimension)).collect::<Result<Vec<_>>>()?;
    let mut rest = index;
    let mut numbers = vec![0.0; axes.len()];
    for (number, axis) in numbers.iter_mut().zip(&axes).rev() {
        *number = axis[(rest % axis.len() as u64) as usize];
        rest /= axis.len() as u64;
    }
    Ok((rest == 0).then_some(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_key_runs_fastest_and_the_grid_ends() {
        let space: Space = toml::from_str(
            "[lr]\nkind='float'\nlow=0.01\nhigh=1.0\nlog=true\npoints=3\n[n]\nkind='int'\nlow=2\nhigh=6\nstep=4\n[act]\nkind='categorical'\nchoices=['relu','gelu']",
        )
        .unwrap();
        let all: Vec<Vec<f64>> = (0..12).map(|i| point(&space, i).unwrap().unwrap()).collect();
        assert_eq!(all[0], [0.01, 2.0, 0.0]);
        assert_eq!(all[1], [0.01, 2.0, 1.0]);
        assert_eq!(all[2], [0.01, 6.0, 0.0]);
        assert!((all[4][0] - 0.1).abs() < 1e-12);
        assert_eq!(all[11], [1.0, 6.0, 1.0]);
        assert_eq!(point(&space, 12).unwrap(), None);
    }

    #[test]
    fn an_open_range_is_refused() {
        let space: Space = toml::from_str("[lr]\nkind='float'\nlow=0.01\nhigh=1.0").unwrap();
        assert!(point(&space, 0).unwrap_err().to_string().contains("[space.lr]: a grid needs"));
    }
}
