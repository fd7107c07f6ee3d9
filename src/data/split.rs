//! Which image is for what: a pure function of the counts asked for and the split seed.

use anyhow::{Result, ensure};

use super::DataConfig;
use crate::rng;

/// The rows of a set without a test part, shuffled and cut: training images first, test images last, validation images just
/// before them, so that more or fewer training images leave the others as they are.
pub(super) struct Cut {
    pub train: Vec<i64>,
    pub val: Vec<i64>,
    pub test: Vec<i64>,
}

/// Cuts a set of `n` images that has no test part of its own.
pub(super) fn cut(config: &DataConfig, n: usize) -> Result<Cut> {
    let test = match (config.train, config.test) {
        (0, 0) => n / 5,
        (train, 0) => n.saturating_sub(train.saturating_add(config.val)),
        (_, test) => test,
    };
    ensure!(
        test > 0,
        "data.train = {} and data.val = {} leave no test images: {} has {n} images",
        config.train,
        config.val,
        config.name
    );
    let order = rng::permutation(config.split_seed, "split", n);
    let (train, val) = train_and_val(config, n, test)?;
    Ok(Cut {
        train: order[..train].to_vec(),
        val: order[n - test - val..n - test].to_vec(),
        test: order[n - test..].to_vec(),
    })
}

/// The rows of training and validation images in a training part of `n` images; `None` stands for the whole part as it is.
pub(super) fn cut_training_part(config: &DataConfig, n: usize) -> Result<Option<(Vec<i64>, Vec<i64>)>> {
    let (train, val) = train_and_val(config, n, 0)?;
    if train == n {
        return Ok(None);
    }
    let order = rng::permutation(config.split_seed, "split", n);
    Ok(Some((order[..train].to_vec(), order[n - val..].to_vec())))
}

/// The rows of test images in a test part of `n` images; `None` stands for the whole part as it is.
pub(super) fn cut_test_part(config: &DataConfig, n: usize) -> Result<Option<Vec<i64>>> {
    let (test, name) = (config.test, config.name);
    ensure!(test <= n, "data.test = {test}, but {name} has {n} test images");
    if test == 0 || test == n {
        return Ok(None);
    }
    Ok(Some(rng::permutation(config.split_seed, "split test", n)[n - test..].to_vec()))
}

/// How many of `n` images are for training and validation when `test` of them are for testing.
fn train_and_val(config: &DataConfig, n: usize, test: usize) -> Result<(usize, usize)> {
    let (name, val) = (config.name, config.val);
    let free = n.saturating_sub(val.saturating_add(test));
    let whose = if test > 0 { "images" } else { "training images" };
    let taken = if test > 0 { format!("data.val = {val} and {test} for testing") } else { format!("data.val = {val}") };
    ensure!(free > 0, "{name} has {n} {whose}: {taken} leave none for training");
    ensure!(
        config.train <= free,
        "data.train = {}, but {name} has {n} {whose}, of which {taken} leave {free} for training",
        config.train
    );
    Ok((if config.train == 0 { free } else { config.train }, val))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(train: usize, val: usize, test: usize) -> DataConfig {
        DataConfig { train, val, test, ..Default::default() }
    }

    #[test]
    fn zero_takes_what_is_left() {
        let sizes = |train, val, test| {
            let cut = cut(&counts(train, val, test), 1797).unwrap();
            (cut.train.len(), cut.val.len(), cut.test.len())
        };
        assert_eq!(sizes(0, 0, 0), (1438, 0, 359));
        assert_eq!(sizes(600, 300, 0), (600, 300, 897));
        assert_eq!(sizes(0, 0, 500), (1297, 0, 500));
        assert_eq!(sizes(300, 0, 600), (300, 0, 600));
    }

    #[test]
    fn test_and_validation_images_do_not_depend_on_the_number_of_training_images() {
        let (few, many) = (cut(&counts(10, 5, 20), 100).unwrap(), cut(&counts(0, 5, 20), 100).unwrap());
        assert_eq!((&few.val, &few.test), (&many.val, &many.test));
        assert_eq!(few.train, many.train[..10]);
        let mut all = [many.train, many.val, many.test].concat();
        all.sort();
        assert_eq!(all, (0..100).collect::<Vec<i64>>());
    }

    #[test]
    fn the_shuffle_is_a_function_of_the_seed() {
        let with = |split_seed| cut(&DataConfig { split_seed, ..counts(0, 0, 20) }, 100).unwrap().test;
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
        assert_eq!(with(0), rng::permutation(0, "split", 100)[80..]);
    }

    #[test]
    fn counts_that_do_not_fit_are_named() {
        let refused = |train, val, test| cut(&counts(train, val, test), 1797).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            refused(5000, 0, 500),
            "data.train = 5000, but digits has 1797 images, of which data.val = 0 and 500 for testing leave 1297 for training"
        );
        assert!(refused(1797, 0, 0).contains("leave no test images"));
        assert!(refused(5000, 0, 0).contains("data.train = 5000"));
        assert!(refused(0, 2000, 0).contains("data.val = 2000"));
        assert!(refused(0, 0, 1797).contains("none for training"));
        assert!(refused(usize::MAX, usize::MAX, 1).contains("data.val"));
    }

    #[test]
    fn parts_are_cut_apart() {
        assert!(cut_training_part(&counts(0, 0, 0), 60).unwrap().is_none());
        let (train, val) = cut_training_part(&counts(0, 10, 0), 60).unwrap().unwrap();
        assert_eq!((train.len(), val.len()), (50, 10));
        assert!(train.iter().all(|row| !val.contains(row)));
        assert!(cut_test_part(&counts(0, 0, 0), 10).unwrap().is_none());
        assert_eq!(cut_test_part(&counts(0, 0, 4), 10).unwrap().unwrap().len(), 4);
        let refused = cut_test_part(&counts(0, 0, 11), 10).unwrap_err().to_string();
        assert_eq!(refused, "data.test = 11, but digits has 10 test images");
        let refused = cut_training_part(&counts(60, 1, 0), 60).unwrap_err().to_string();
        assert!(refused.starts_with("data.train = 60, but digits has 60 training images"), "{refused}");
    }
}
