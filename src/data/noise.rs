//! Label noise: wrong labels on purpose, so that what a method does about them can be measured. All randomness is drawn
//! from the seed before anything is trained: compared methods see the very same wrong labels.

use anyhow::{Result, bail, ensure};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::{DeviceSet, DeviceSplits};
use crate::rng;

/// Which labels become which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseKind {
    /// A share `rate` of all samples gets a uniform draw over ALL K classes: `rate (K-1)/K` of the labels are wrong.
    #[default]
    Sym,
    /// A share `rate` of all samples gets a uniform draw over the K-1 other classes.
    SymExclusive,
    /// CIFAR-10 only, a share `rate` of each class: truck to automobile, bird to airplane, cat and dog swapped, deer to horse.
    AsymCifar10,
    /// Each sample with probability `rate`: class c becomes the next one of its group, the last wraps to the first.
    PairInGroup,
}

/// The groups of classes of `pair_in_group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Group {
    /// Blocks of this many consecutive class ids (the official ELR code: 5).
    Consecutive(i64),
    Named(NamedGroup),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedGroup {
    /// The 20 super-classes of CIFAR-100, the five classes of each in the order of their ids.
    Superclass,
}

/// The `noise` table of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelNoise {
    pub kind: NoiseKind,
    /// Share of samples concerned, in [0, 1]; 0: no noise.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rate: f64,
    /// `pair_in_group` only: a block length that divides the number of classes, or "superclass".
    pub group: Group,
}

impl Default for LabelNoise {
    fn default() -> LabelNoise {
        LabelNoise { kind: NoiseKind::Sym, rate: 0.0, group: Group::Consecutive(5) }
    }
}

/// All random numbers of one injection, for n samples of K classes.
pub struct Draws {
    /// A permutation of 0..n: the sample at place i has rank i.
    pub perm: Vec<i64>,
    /// A class a rank, uniform over 0..K.
    pub draw: Vec<i64>,
    /// A number a sample, uniform in [0, 1).
    pub u: Vec<f64>,
}

impl Draws {
    /// The draws for one `part` of the data ("train", "validation"): a pure function of the arguments.
    pub fn new(seed: u64, part: &str, samples: usize, classes: i64) -> Draws {
        let stream = |what: &str| rng::stream(seed, &format!("label noise {part} {what}"));
        let (mut classes_drawn, mut uniform) = (stream("classes"), stream("uniform"));
        Draws {
            perm: rng::permutation(seed, &format!("label noise {part} order"), samples),
            draw: (0..samples).map(|_| classes_drawn.random_range(0..classes)).collect(),
            u: (0..samples).map(|_| uniform.random()).collect(),
        }
    }
}

/// Labels after the noise.
pub struct NoisyLabels {
    pub labels: Vec<i64>,
    /// Whether the label differs from the true one.
    pub changed: Vec<bool>,
}

impl NoisyLabels {
    /// The share of labels that are wrong, which symmetric noise makes smaller than its nominal rate.
    pub fn wrong_rate(&self) -> f64 {
        let wrong = self.changed.iter().filter(|&&changed| changed).count();
        wrong as f64 / self.changed.len().max(1) as f64
    }
}

/// The shares of labels that are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WrongRates {
    pub train: f64,
    /// None without validation data.
    pub val: Option<f64>,
}

/// The data with noise on its training and validation labels; the test labels stay true.
pub fn noisy_splits(data: DeviceSplits, noise: &LabelNoise, seed: u64) -> Result<(DeviceSplits, WrongRates)> {
    let (train, noisy) = noise.on_set(&data.train, seed, "train")?;
    let (val, noisy_val) = data.val.as_ref().map(|val| noise.on_set(val, seed, "validation")).transpose()?.unzip();
    let rates = WrongRates { train: noisy.wrong_rate(), val: noisy_val.map(|n| n.wrong_rate()) };
    Ok((DeviceSplits { train, val, test: data.test }, rates))
}

impl LabelNoise {
    /// Whether this noise can be put on labels of `classes` classes; the error names the field.
    pub fn check(&self, classes: i64) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.rate), "noise rate = {} is outside [0, 1]", self.rate);
        match (self.kind, self.group) {
            (NoiseKind::SymExclusive, _) => {
                ensure!(classes >= 2, "noise kind sym_exclusive needs at least two classes, the data has {classes}");
            }
            (NoiseKind::AsymCifar10, _) => {
                ensure!(
                    classes == 10,
                    "noise kind asym_cifar10 needs the 10 classes of CIFAR-10, the data has {classes}"
                );
            }
            (NoiseKind::PairInGroup, Group::Consecutive(group)) => {
                let divides = group > 0 && classes % group == 0;
                ensure!(divides, "noise group = {group} does not divide the number of classes, {classes}");
            }
            (NoiseKind::PairInGroup, Group::Named(NamedGroup::Superclass)) => {
                ensure!(
                    classes == 100,
                    "noise group = superclass needs the 100 classes of CIFAR-100, the data has {classes}"
                );
            }
            (NoiseKind::Sym, _) => {}
        }
        Ok(())
    }

    /// A set with this noise on its labels, and what became of them. The draws are those of `part` ("train") under `seed`:
    /// compared runs of one seed see the same wrong labels.
    pub fn on_set(&self, set: &DeviceSet, seed: u64, part: &str) -> Result<(DeviceSet, NoisyLabels)> {
        let classes = set.classes().len() as i64;
        let labels = Vec::<i64>::try_from(set.labels().to_device(Device::Cpu))?;
        let noisy = self.apply(&labels, classes, &Draws::new(seed, part, labels.len(), classes))?;
        Ok((set.with_labels(&Tensor::from_slice(&noisy.labels))?, noisy))
    }

    /// Puts the noise on `labels` (values in 0..classes) with the random numbers given.
    pub fn apply(&self, labels: &[i64], classes: i64, draws: &Draws) -> Result<NoisyLabels> {
        self.check(classes)?;
        if let Some(at) = labels.iter().position(|y| !(0..classes).contains(y)) {
            bail!("label[{at}] = {} is outside 0..{classes}", labels[at]);
        }
        let noisy = match self.kind {
            NoiseKind::Sym => self.symmetric(labels, draws, |_, drawn| {
                ensure!((0..classes).contains(&drawn), "draw = {drawn} is outside 0..{classes}");
                Ok(drawn)
            })?,
            NoiseKind::SymExclusive => {
                self.symmetric(labels, draws, |y, drawn| Ok((y + 1 + drawn.rem_euclid(classes - 1)) % classes))?
            }
            NoiseKind::AsymCifar10 => self.asymmetric(labels, draws)?,
            NoiseKind::PairInGroup => self.pairs(labels, classes, draws)?,
        };
        let changed = noisy.iter().zip(labels).map(|(new, old)| new != old).collect();
        Ok(NoisyLabels { labels: noisy, changed })
    }

    /// T `[K][K]`: the probability T[i][j] that class i is observed as class j. Rows sum to one.
    pub fn transition(&self, classes: i64) -> Result<Vec<Vec<f64>>> {
        self.check(classes)?;
        let (rate, others) = (self.rate, (classes - 1) as f64);
        let row = |i: i64| {
            // A share `moved` of the class goes elsewhere, `to` says how much of it to class j.
            let spread = |moved: f64, to: &dyn Fn(i64) -> f64| -> Vec<f64> {
                (0..classes).map(|j| if i == j { 1.0 - moved } else { 0.0 } + moved * to(j)).collect()
            };
            let only = |class: i64| move |j: i64| f64::from(u8::from(j == class));
            match self.kind {
                NoiseKind::Sym => spread(rate, &|_| 1.0 / classes as f64),
                NoiseKind::SymExclusive => spread(rate, &|j| if i == j { 0.0 } else { 1.0 / others }),
                NoiseKind::AsymCifar10 => spread(rate, &only(LOOK_ALIKE[i as usize])),
                NoiseKind::PairInGroup => spread(rate, &only(self.group.next(i))),
            }
        };
        Ok((0..classes).map(row).collect())
    }

    /// The samples of rank i < rate n get a new label, made from the old one and draw[i].
    fn symmetric(
        &self,
        labels: &[i64],
        draws: &Draws,
        new_label: impl Fn(i64, i64) -> Result<i64>,
    ) -> Result<Vec<i64>> {
        let order = checked_order(&draws.perm, labels.len())?;
        ensure!(draws.draw.len() == labels.len(), "draw has {} values for {} labels", draws.draw.len(), labels.len());
        let mut noisy = labels.to_vec();
        for (rank, (&sample, &drawn)) in order.iter().zip(&draws.draw).enumerate() {
            if is_among_first(rank, self.rate, labels.len()) {
                noisy[sample] = new_label(labels[sample], drawn)?;
            }
        }
        Ok(noisy)
    }

    /// The members of rank j < rate n_c inside each class c, ranked by the permutation, get the look-alike class.
    fn asymmetric(&self, labels: &[i64], draws: &Draws) -> Result<Vec<i64>> {
        let mut size = [0; LOOK_ALIKE.len()];
        labels.iter().for_each(|&y| size[y as usize] += 1);
        let mut noisy = labels.to_vec();
        let mut seen = [0; LOOK_ALIKE.len()];
        for sample in checked_order(&draws.perm, labels.len())? {
            let class = labels[sample] as usize;
            if is_among_first(seen[class], self.rate, size[class]) {
                noisy[sample] = LOOK_ALIKE[class];
            }
            seen[class] += 1;
        }
        Ok(noisy)
    }

    /// Sample i becomes the next class of its group where u[i] < rate.
    fn pairs(&self, labels: &[i64], classes: i64, draws: &Draws) -> Result<Vec<i64>> {
        ensure!(draws.u.len() == labels.len(), "u has {} values for {} labels", draws.u.len(), labels.len());
        let next: Vec<i64> = (0..classes).map(|class| self.group.next(class)).collect();
        Ok(labels.iter().zip(&draws.u).map(|(&y, &u)| if u < self.rate { next[y as usize] } else { y }).collect())
    }
}

impl Group {
    /// The class after `class` inside its group; the last wraps to the first.
    fn next(self, class: i64) -> i64 {
        match self {
            Group::Consecutive(length) => class / length * length + (class % length + 1) % length,
            Group::Named(NamedGroup::Superclass) => {
                let parent = CIFAR100_SUPERCLASS[class as usize];
                let sibling = |c: &i64| CIFAR100_SUPERCLASS[(c % 100) as usize] == parent;
                (class + 1..=class + 100).find(sibling).expect("the class itself comes round again") % 100
            }
        }
    }
}

/// Ranks below rate n, with the comparison of the official code: in floating point, not rounded.
fn is_among_first(rank: usize, rate: f64, count: usize) -> bool {
    (rank as f64) < rate * count as f64
}

fn checked_order(perm: &[i64], samples: usize) -> Result<Vec<usize>> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    ensure!(sorted.into_iter().eq(0..samples as i64), "perm is not a permutation of the {samples} samples");
    Ok(perm.iter().map(|&i| i as usize).collect())
}

/// What each class of CIFAR-10 is mistaken for, in the order airplane, automobile, bird, cat, deer, dog, frog, horse, ship,
/// truck.
const LOOK_ALIKE: [i64; 10] = [0, 1, 0, 5, 7, 3, 6, 7, 8, 1];

/// The super-class of each class of CIFAR-100 (`coarse_labels` of the data set).
const CIFAR100_SUPERCLASS: [u8; 100] = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, //
    6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, //
    5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, //
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, //
    16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
];

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: usize = 10_000;

    fn noisy(kind: NoiseKind, rate: f64, group: Group, classes: i64) -> (Vec<i64>, NoisyLabels) {
        let labels: Vec<i64> = (0..SAMPLES as i64).map(|i| i % classes).collect();
        let draws = Draws::new(7, "train", SAMPLES, classes);
        let noisy = LabelNoise { kind, rate, group }.apply(&labels, classes, &draws).unwrap();
        (labels, noisy)
    }

    const FIVE: Group = Group::Consecutive(5);

    #[test]
    fn symmetric_noise_redraws_the_true_class_one_time_in_k_and_every_class_alike() {
        let (labels, noisy) = noisy(NoiseKind::Sym, 0.8, FIVE, 10);
        assert!((noisy.wrong_rate() - 0.72).abs() < 0.01, "wrong rate {}", noisy.wrong_rate());
        let wrong_to = |class| noisy.labels.iter().zip(&labels).filter(|(n, y)| n != y && **n == class).count() as f64;
        assert!((0..10).all(|class| (wrong_to(class) / 720.0 - 1.0).abs() < 0.15));
    }

    #[test]
    fn exclusive_symmetric_noise_changes_exactly_the_share_asked_for() {
        let (_, noisy) = noisy(NoiseKind::SymExclusive, 0.3, FIVE, 7);
        assert_eq!(noisy.wrong_rate(), 0.3);
    }

    #[test]
    fn asymmetric_noise_changes_the_share_of_each_confused_class_and_no_other() {
        let (labels, noisy) = noisy(NoiseKind::AsymCifar10, 0.4, FIVE, 10);
        for (class, becomes) in [(9, 1), (2, 0), (3, 5), (5, 3), (4, 7)] {
            let moved = labels.iter().zip(&noisy.labels).filter(|(y, n)| **y == class && **n == becomes).count();
            assert_eq!(moved, 400, "class {class}");
        }
        assert_eq!(noisy.wrong_rate(), 0.2);
    }

    #[test]
    fn pairs_stay_inside_their_group_and_wrap() {
        let (labels, noisy) = noisy(NoiseKind::PairInGroup, 1.0, FIVE, 10);
        assert!(labels.iter().zip(&noisy.labels).all(|(y, n)| *n == y / 5 * 5 + (y + 1) % 5));
        let (_, some) = self::noisy(NoiseKind::PairInGroup, 0.25, FIVE, 10);
        assert!((some.wrong_rate() - 0.25).abs() < 0.02);
    }

    #[test]
    fn superclasses_have_five_members_each_and_are_cycled() {
        let superclass = Group::Named(NamedGroup::Superclass);
        for class in 0..100 {
            let five: Vec<i64> = std::iter::successors(Some(class), |&c| Some(superclass.next(c))).take(6).collect();
            assert_eq!(five[5], class);
            let parents = five.iter().map(|&c| CIFAR100_SUPERCLASS[c as usize]);
            assert!(parents.into_iter().all(|parent| parent == CIFAR100_SUPERCLASS[class as usize]));
            assert!(!five[1..5].contains(&class));
        }
        // aquatic mammals: beaver, dolphin, otter, seal, whale
        assert_eq!([4, 30, 55, 72, 95].map(|c| superclass.next(c)), [30, 55, 72, 95, 4]);
    }

    #[test]
    fn the_transition_matrix_is_the_frequency_of_each_flip() {
        for kind in [NoiseKind::Sym, NoiseKind::SymExclusive, NoiseKind::AsymCifar10, NoiseKind::PairInGroup] {
            let (labels, noisy) = noisy(kind, 0.4, FIVE, 10);
            let transition = LabelNoise { kind, rate: 0.4, group: FIVE }.transition(10).unwrap();
            for (i, row) in transition.iter().enumerate() {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                for (j, &p) in row.iter().enumerate() {
                    let pair = |(y, n): &(&i64, &i64)| (**y, **n) == (i as i64, j as i64);
                    let seen = labels.iter().zip(&noisy.labels).filter(pair).count() as f64 / 1000.0;
                    assert!((seen - p).abs() < 0.06, "{kind:?} {i} {j}: {seen} {p}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_noise_and_each_part_its_own() {
        let draws = |part| Draws::new(1, part, 50, 10);
        assert_eq!(draws("train").draw, draws("train").draw);
        assert_ne!(draws("train").draw, draws("validation").draw);
        assert_ne!(draws("train").perm, draws("validation").perm);
        assert_ne!(draws("train").u, draws("validation").u);
    }

    #[test]
    fn a_set_keeps_its_samples_and_gets_the_labels_of_its_seed_and_part() {
        let labels = Tensor::arange(40, (tch::Kind::Int64, Device::Cpu)).remainder(4);
        let x = Tensor::arange(40, (tch::Kind::Float, Device::Cpu)).view([40, 1]);
        let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let set = DeviceSet::from_tensors(x, labels.shallow_clone(), classes).unwrap();
        let noise = LabelNoise { rate: 0.5, ..LabelNoise::default() };
        let (spoiled, noisy) = noise.on_set(&set, 3, "train").unwrap();
        let wrong = spoiled.labels().ne_tensor(&labels).sum(tch::Kind::Int64).int64_value(&[]);
        assert_eq!(wrong as f64 / 40.0, noisy.wrong_rate());
        assert!(wrong > 0 && spoiled.slice(0, 40).x == set.slice(0, 40).x);
        assert_eq!(noise.on_set(&set, 3, "train").unwrap().1.labels, noisy.labels);
        assert_ne!(noise.on_set(&set, 3, "val").unwrap().1.labels, noisy.labels);
    }

    #[test]
    fn bad_noise_is_refused_with_the_field_and_the_value() {
        let refusal = |kind, rate, group, classes| {
            LabelNoise { kind, rate, group }.check(classes).expect_err("must be refused").to_string()
        };
        assert!(refusal(NoiseKind::Sym, 1.5, FIVE, 10).contains("rate = 1.5"));
        assert!(refusal(NoiseKind::Sym, f64::NAN, FIVE, 10).contains("rate = NaN"));
        assert!(refusal(NoiseKind::AsymCifar10, 0.1, FIVE, 100).contains("100"));
        assert!(refusal(NoiseKind::PairInGroup, 0.1, Group::Consecutive(3), 10).contains("group = 3"));
        assert!(refusal(NoiseKind::PairInGroup, 0.1, Group::Named(NamedGroup::Superclass), 10).contains("superclass"));
    }

    #[test]
    fn groups_are_written_as_a_number_or_a_name() {
        let read = |text| toml::from_str::<LabelNoise>(text).map(|noise| noise.group);
        assert_eq!(read("group = 4").unwrap(), Group::Consecutive(4));
        assert_eq!(read("group = \"superclass\"").unwrap(), Group::Named(NamedGroup::Superclass));
        assert!(read("group = \"class\"").is_err());
    }
}
