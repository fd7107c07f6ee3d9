//! What counting achieves: the losses a trained model must beat.

use std::collections::HashMap;

/// Mean -log p of every token of `test` but the first, in nats, where p is its share in `train`, each count one higher.
pub fn unigram_loss(train: &[i64], test: &[i64], vocabulary: usize) -> f64 {
    let mut counts = vec![1.0; vocabulary];
    train.iter().for_each(|&token| counts[token as usize] += 1.0);
    let total = counts.iter().sum::<f64>();
    mean(test[1..].iter().map(|&token| counts[token as usize] / total))
}

/// The same with p(b | a) = (pairs a b + p(b)) / (a's + 1), p(b) the unigram share: where a was not seen, the unigram decides.
pub fn bigram_loss(train: &[i64], test: &[i64], vocabulary: usize) -> f64 {
    let mut singles = vec![1.0; vocabulary];
    train.iter().for_each(|&token| singles[token as usize] += 1.0);
    let total = singles.iter().sum::<f64>();
    let mut pairs: HashMap<(i64, i64), f64> = HashMap::new();
    let mut firsts = vec![0.0; vocabulary];
    for pair in train.windows(2) {
        *pairs.entry((pair[0], pair[1])).or_default() += 1.0;
        firsts[pair[0] as usize] += 1.0;
    }
    mean(test.windows(2).map(|pair| {
        let seen = pairs.get(&(pair[0], pair[1])).unwrap_or(&0.0);
        (seen + singles[pair[1] as usize] / total) / (firsts[pair[0] as usize] + 1.0)
    }))
}

fn mean(probabilities: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = probabilities.len() as f64;
    probabilities.map(|p| -p.ln()).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_training_text() {
        let train = [0, 1, 0, 1, 0, 1];
        assert!((unigram_loss(&train, &[2, 0, 1], 2) - 2f64.ln()).abs() < 1e-12);
        // After 0: three times 1, of three; after 1: twice 0, of two (the text ends).
        let expected = -((3.5f64 / 4.0).ln() + (2.5f64 / 3.0).ln()) / 2.0;
        assert!((bigram_loss(&train, &[0, 1, 0], 2) - expected).abs() < 1e-12);
    }
}
