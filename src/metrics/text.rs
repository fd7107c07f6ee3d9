//! Scores of predictions on language tasks: Matthews, F1, Pearson, Spearman, ROUGE-L.

use std::collections::HashMap;

/// Matthews correlation of two lists of classes (any number of classes; Gorodkin 2004), 0 when either side is constant:
/// (c s - sum_k p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), s samples, c right ones, p_k and t_k how often class k is
/// predicted and true.
pub fn matthews(predicted: &[i64], truth: &[i64]) -> f64 {
    let count = |list: &[i64]| {
        let mut counts: HashMap<i64, f64> = HashMap::new();
        list.iter().for_each(|class| *counts.entry(*class).or_default() += 1.0);
        counts
    };
    let (p, t) = (count(predicted), count(truth));
    let samples = truth.len() as f64;
    let right = predicted.iter().zip(truth).filter(|(p, t)| p == t).count() as f64;
    let both: f64 = p.iter().map(|(class, n)| n * t.get(class).unwrap_or(&0.0)).sum();
    let spread = |counts: &HashMap<i64, f64>| samples * samples - counts.values().map(|n| n * n).sum::<f64>();
    ratio(right * samples - both, (spread(&p) * spread(&t)).sqrt())
}

/// F1 of class `positive`: 2 tp / (2 tp + fp + fn), 0 when there is neither a prediction nor a sample of it.
pub fn f1(predicted: &[i64], truth: &[i64], positive: i64) -> f64 {
    let count = |list: &[i64]| list.iter().filter(|&&class| class == positive).count() as f64;
    let hits = predicted.iter().zip(truth).filter(|(p, t)| **p == positive && **t == positive).count() as f64;
    ratio(2.0 * hits, count(predicted) + count(truth))
}

/// Pearson correlation; 0 when either side is constant.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    ratio(xy, (xx * yy).sqrt())
}

/// Spearman correlation: Pearson's of the ranks, ties sharing the mean of theirs.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    pearson(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let before = order.partition_point(|&i| values[i].total_cmp(&values[tied[0]]).is_lt());
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
    }
    ranks
}

/// ROUGE-L F1 of a candidate against a reference (Lin 2004): with L the length of their longest common subsequence of words,
/// P = L / candidate, R = L / reference, F = 2 P R / (P + R). Words are runs of ASCII letters and digits, in lower case, as in
/// Google's `rouge_score` without stemming.
pub fn rouge_l(candidate: &str, reference: &str) -> f64 {
    let (candidate, reference) = (words(candidate), words(reference));
    let common = longest_common_subsequence(&candidate, &reference) as f64;
    ratio(2.0 * common, (candidate.len() + reference.len()) as f64)
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn classes_are_scored_as_scikit_learn_does() {
        let (truth, predicted) = ([1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 0, 1]);
        // tp 3, fp 1, fn 1, tn 1: (3*1 - 1*1) / sqrt(4*4*2*2)
        close(matthews(&predicted, &truth), 0.25);
        close(f1(&predicted, &truth, 1), 0.75);
        close(matthews(&[0, 1, 2, 2], &[0, 1, 2, 2]), 1.0);
        close(matthews(&[1, 1, 1], &[0, 1, 0]), 0.0);
        close(f1(&[0, 0], &[0, 0], 1), 0.0);
    }

    #[test]
    fn correlations_are_those_of_scipy() {
        close(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), 1.0);
        close(pearson(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.8);
        close(spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 100.0, 50.0, 1000.0]), 0.8);
        // Ranks 1.5, 1.5, 3 and 1, 2, 3.
        close(spearman(&[5.0, 5.0, 9.0], &[1.0, 2.0, 3.0]), 3f64.sqrt() / 2.0);
        close(pearson(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn rouge_l_counts_the_common_subsequence() {
        close(rouge_l("police kill the gunman", "police killed the gunman"), 0.75);
        close(rouge_l("The Cat, sat!", "the cat sat"), 1.0);
        close(rouge_l("the gunman kill police", "police killed the gunman"), 0.5);
        close(rouge_l("", "a"), 0.0);
    }
}
