//! Perplexity of a long text by windows.

use anyhow::{Result, bail, ensure};
use tch::{Kind, Reduction, Tensor, no_grad};

use crate::models::decoder::{IGNORED, Tokens};
use crate::models::{Cx, Decoder};
use crate::params::View;

/// Windows of a text and how far they move.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Tokens a window.
    pub length: i64,
    /// Tokens from a window's start to the next one's, `length` at most: the smaller, the more context each token has.
    pub stride: i64,
    /// Windows a pass.
    pub batch: i64,
}

/// What a text costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// Mean -log p of a token, in nats.
    pub loss: f64,
    /// Tokens predicted: all but the first.
    pub tokens: i64,
}

impl Perplexity {
    /// exp(loss).
    pub fn value(&self) -> f64 {
        self.loss.exp()
    }
}

/// Of a text int64 `[n]`: every token but the first is predicted exactly once, by the first window that holds it.
pub fn perplexity(decoder: &Decoder, view: &View, text: &Tensor, windows: Windows) -> Result<Perplexity> {
    let &[n] = &text.size()[..] else { bail!("a text is one row of tokens, not {:?}", text.size()) };
    let Windows { length, stride, batch } = windows;
    ensure!(n >= 2, "a text of {n} tokens has nothing to predict");
    ensure!(
        length >= 2 && (1..length).contains(&stride) || stride == length,
        "a stride of {stride} does not go with windows of {length}"
    );
    let ends: Vec<(i64, i64, i64)> = plan(n, length, stride);
    let mut sums = Vec::new();
    // Windows of equal shape go through together: (start, length, first predicted token inside).
    for group in ends.chunk_by(|a, b| a.1 == b.1 && a.2 == b.2) {
        for part in group.chunks(batch.max(1) as usize) {
            let rows: Vec<Tensor> = part.iter().map(|(start, length, _)| text.narrow(0, *start, *length)).collect();
            let ids = Tensor::stack(&rows, 0);
            let (_, length, first) = part[0];
            sums.push(no_grad(|| -> Result<Tensor> {
                let logits = decoder.logits(&Cx::eval(view), &Tokens::new(&ids))?;
                let logits = logits.narrow(1, first - 1, length - first).flatten(0, 1).to_kind(Kind::Float);
                let targets = ids.narrow(1, first, length - first).reshape(-1);
                let sum = logits.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Sum, IGNORED, 0.0);
                Ok(sum.to_kind(Kind::Double))
            })?);
        }
    }
    let total = Tensor::stack(&sums, 0).sum(Kind::Double).double_value(&[]);
    Ok(Perplexity { loss: total / (n - 1) as f64, tokens: n - 1 })
}

/// Each window's start, length and first predicted token inside it.
fn plan(n: i64, length: i64, stride: i64) -> Vec<(i64, i64, i64)> {
    let mut windows = Vec::new();
    let (mut start, mut predicted) = (0, 1);
    while predicted < n {
        let end = (start + length).min(n);
        // Windows side by side: the first token of the next one is predicted from the last of this one.
        let from = if predicted == start { start - 1 } else { start };
        windows.push((from, end - from, predicted - from));
        predicted = end;
        start += stride;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, DecoderConfig, Network};
    use tch::Device;

    #[test]
    fn every_token_is_predicted_once() {
        for (n, length, stride) in [(10, 4, 4), (10, 4, 2), (9, 4, 1), (3, 8, 8), (13, 5, 3)] {
            let covered: Vec<i64> =
                plan(n, length, stride).iter().flat_map(|(start, len, first)| start + first..start + len).collect();
            assert_eq!(covered, (1..n).collect::<Vec<_>>(), "{n} {length} {stride}");
            assert!(plan(n, length, stride).iter().all(|(_, len, first)| *first >= 1 && *len <= length + 1));
        }
    }

    #[test]
    fn one_window_is_the_plain_loss_and_batches_do_not_matter() {
        let config = DecoderConfig { vocab_size: 9, initializer_range: 0.5, ..DecoderConfig::default() };
        let net = Network::build(Arch::Decoder(config), 1, Device::Cpu).unwrap();
        let (decoder, view) = (net.decoder().unwrap(), View::plain(&net.store));
        let text = Tensor::from_slice(&[1i64, 5, 3, 8, 0, 2, 7, 7, 4, 6, 1]);
        let of = |length, stride, batch| perplexity(decoder, &view, &text, Windows { length, stride, batch }).unwrap();
        let logits = net.evaluate(&text.narrow(0, 0, 10).unsqueeze(0)).squeeze_dim(0);
        let plain = logits.cross_entropy_for_logits(&text.narrow(0, 1, 10)).double_value(&[]);
        assert!((of(11, 11, 1).loss - plain).abs() < 1e-5);
        assert!((of(4, 2, 1).loss - of(4, 2, 3).loss).abs() < 1e-6);
        assert_eq!(of(4, 2, 1).tokens, 10);
    }
}
