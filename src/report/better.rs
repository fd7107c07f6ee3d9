//! Which of two values of a metric is the better one, told from the metric's name.

/// Words of names whose least value is best; asked first, since `accuracy_loss` is a loss.
const LESS: [&str; 24] = [
    "loss",
    "mse",
    "mae",
    "error",
    "err",
    "nll",
    "ece",
    "perplexity",
    "ppl",
    "fid",
    "forg",
    "forgetting",
    "gap",
    "regret",
    "memorized",
    "time",
    "seconds",
    "ms",
    "latency",
    "macs",
    "flops",
    "params",
    "bytes",
    "wf10",
];
const MORE: [&str; 19] = [
    "accuracy",
    "acc",
    "top1",
    "top5",
    "precision",
    "recall",
    "f1",
    "auroc",
    "auc",
    "psnr",
    "ssim",
    "bleu",
    "rouge",
    "map",
    "miou",
    "wp10",
    "reward",
    "correct",
    "speed",
];

/// +1 where more is better, -1 where less is, 0 where the name does not tell (a count, a norm, a setting).
pub fn direction(metric: &str) -> i8 {
    let words: Vec<&str> = metric.split(['_', '.', '-', '/']).collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    match (has(&LESS), has(&MORE)) {
        (true, _) => -1,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        assert_eq!(["test_accuracy", "min_acc", "wrong_correct", "psnr"].map(direction), [1; 4]);
        assert_eq!(["upper_loss", "latency_b128_ratio", "forg", "memorized", "gap_depth"].map(direction), [-1; 5]);
        assert_eq!(["k", "accepted_steps", "near_zero", "best_value"].map(direction), [0; 4]);
    }
}
