//! The data of the run: a validation part out of each class, and wrong labels on training and validation samples.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tch::{Device, Tensor};

use crate::data::noise::{Draws, LabelNoise, NoiseKind};
use crate::data::{DeviceSet, DeviceSplits};
use crate::rng;
use crate::run::{Run, Stamp};

/// Data with wrong labels, and the truth about the training set.
pub struct Corrupted {
    /// Training and validation set with observed labels, test set with right ones.
    pub data: DeviceSplits,
    /// The true classes of the training samples, int64 `[n]` on the device.
    pub truth: Tensor,
    /// Whether each training label is wrong, bool `[n]` on the device.
    pub wrong: Tensor,
    /// The share of training labels that are wrong: symmetric noise redraws the true class now and then.
    pub wrong_rate: f64,
}

/// A row of noise.csv: one part of the data.
#[derive(Serialize)]
struct NoiseRow {
    part: &'static str,
    kind: NoiseKind,
    /// The share of labels the noise was asked to touch.
    rate: f64,
    samples: usize,
    wrong: usize,
    /// The share of labels that are wrong now.
    wrong_rate: f64,
}

/// Takes `validation` of each class's training samples away (the same ones for every seed of a run: `split_seed` decides) and
/// puts the noise on what is left and on the validation samples. The noise depends on the run's seed and the data alone, so
/// compared methods see the very same wrong labels.
pub fn corrupt(
    run: &mut Run,
    data: DeviceSplits,
    noise: &LabelNoise,
    validation: f64,
    split_seed: u64,
) -> Result<Corrupted> {
    let DeviceSplits { train, val, test } = data;
    let (train, val) = if validation > 0.0 {
        let (train, val) = split_classes(&train, validation, split_seed)?;
        (train, Some(val))
    } else {
        (train, val)
    };
    let truth = train.labels().shallow_clone();
    let (train, wrong_rate) = put_on(run, &train, noise, "train")?;
    let val = val.map(|val| put_on(run, &val, noise, "validation")).transpose()?.map(|(val, _)| val);
    let wrong = train.labels().ne_tensor(&truth);
    Ok(Corrupted { data: DeviceSplits { train, val, test }, truth, wrong, wrong_rate })
}

fn put_on(run: &mut Run, set: &DeviceSet, noise: &LabelNoise, part: &'static str) -> Result<(DeviceSet, f64)> {
    let classes = set.classes().len() as i64;
    let draws = Draws::new(run.seed(), part, set.len(), classes);
    let noisy = noise.apply(&host(set.labels())?, classes, &draws).context("[noise]")?;
    let wrong_rate = noisy.wrong_rate();
    let wrong = noisy.changed.iter().filter(|&&changed| changed).count();
    let row = NoiseRow { part, kind: noise.kind, rate: noise.rate, samples: set.len(), wrong, wrong_rate };
    run.row("noise", Stamp::default(), &row)?;
    run.progress.say(&format!(
        "{part}: {wrong} of {} labels are wrong ({:.1}%, nominal rate {:.1}%)",
        set.len(),
        100.0 * wrong_rate,
        100.0 * noise.rate
    ));
    Ok((set.with_labels(&Tensor::from_slice(&noisy.labels).to_device(set.device()))?, wrong_rate))
}

/// Training and validation set: of each class of n samples round(share n) go to the second.
fn split_classes(set: &DeviceSet, share: f64, seed: u64) -> Result<(DeviceSet, DeviceSet)> {
    let labels = host(set.labels())?;
    let mut quota = vec![0.0; set.classes().len()];
    labels.iter().for_each(|&y| quota[y as usize] += share);
    let mut quota: Vec<usize> = quota.into_iter().map(|n: f64| n.round() as usize).collect();
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for row in rng::permutation(seed, "validation split", labels.len()) {
        let left = &mut quota[labels[row as usize] as usize];
        if *left > 0 {
            *left -= 1;
            val.push(row);
        } else {
            train.push(row);
        }
    }
    ensure!(
        !train.is_empty() && !val.is_empty(),
        "method.validation = {share} leaves {} samples for training and {} for validation",
        train.len(),
        val.len()
    );
    let subset = |rows: &mut Vec<i64>| {
        rows.sort_unstable();
        set.subset(&Tensor::from_slice(rows).to_device(set.device()))
    };
    Ok((subset(&mut train), subset(&mut val)))
}

fn host(labels: &Tensor) -> Result<Vec<i64>> {
    Ok(Vec::try_from(labels.to_device(Device::Cpu))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn each_class_gives_its_share_and_no_sample_is_in_both_parts() {
        let x = Tensor::arange(40, (Kind::Float, Device::Cpu)).view([40, 1]);
        let labels = Tensor::from_slice(&[vec![0i64; 30], vec![1; 10]].concat());
        let set = DeviceSet::from_tensors(x, labels, vec!["a".into(), "b".into()]).unwrap();
        let (train, val) = split_classes(&set, 0.1, 0).unwrap();
        assert_eq!(host(val.labels()).unwrap(), [0, 0, 0, 1]);
        let values = |set: &DeviceSet| Vec::<f32>::try_from(set.slice(0, set.len()).x.view(-1)).unwrap();
        let mut all = [values(&train), values(&val)].concat();
        all.sort_by(f32::total_cmp);
        assert_eq!(all, (0..40).map(|i| i as f32).collect::<Vec<_>>());
        let refused = split_classes(&set, 0.01, 0).map(drop).unwrap_err().to_string();
        assert!(refused.contains("method.validation = 0.01"), "{refused}");
    }
}
