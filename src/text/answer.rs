//! From a text to a label with a decoder: the answer whose tokens are most probable after the prompt.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};

use super::padded;
use crate::models::decoder::Tokens;
use crate::models::{Cx, Decoder};
use crate::params::View;

/// Log-probability of each answer's tokens after each prompt, `[prompts, answers]`, float64, in nats. Each pass scores `batch`
/// pairs.
pub fn answer_scores(
    decoder: &Decoder,
    view: &View,
    prompts: &[Vec<i64>],
    answers: &[Vec<i64>],
    batch: usize,
) -> Result<Tensor> {
    ensure!(prompts.iter().chain(answers).all(|ids| !ids.is_empty()), "a prompt or an answer has no tokens");
    let pairs: Vec<(&Vec<i64>, &Vec<i64>)> =
        prompts.iter().flat_map(|prompt| answers.iter().map(move |answer| (prompt, answer))).collect();
    let device = view.store().device();
    let mut scores = Vec::new();
    for part in pairs.chunks(batch.max(1)) {
        scores.push(no_grad(|| score(decoder, view, part, device))?);
    }
    ensure!(!scores.is_empty(), "there is nothing to score");
    Ok(Tensor::cat(&scores, 0).view([prompts.len() as i64, answers.len() as i64]))
}

fn score(decoder: &Decoder, view: &View, pairs: &[(&Vec<i64>, &Vec<i64>)], device: Device) -> Result<Tensor> {
    let rows: Vec<Vec<i64>> = pairs.iter().map(|(prompt, answer)| [&prompt[..], answer].concat()).collect();
    let counted: Vec<Vec<i64>> =
        pairs.iter().map(|(prompt, answer)| [vec![0; prompt.len()], vec![1; answer.len()]].concat()).collect();
    let real: Vec<Vec<i64>> = rows.iter().map(|ids| vec![1; ids.len()]).collect();
    let [ids, counted, mask] = [rows, counted, real].map(|rows| padded(&rows, 0).to_device(device));
    let logits = decoder.logits(&Cx::eval(view), &Tokens::masked(&ids, &mask))?;
    let t = ids.size()[1];
    let log_p = logits.narrow(1, 0, t - 1).log_softmax(-1, Kind::Float);
    let chosen = log_p.gather(-1, &ids.narrow(1, 1, t - 1).unsqueeze(-1), false).squeeze_dim(-1);
    Ok((chosen * counted.narrow(1, 1, t - 1)).sum_dim_intlist(1, false, Kind::Double))
}

/// The most probable answer's number for each prompt.
pub fn choose(scores: &Tensor) -> Result<Vec<i64>> {
    Ok(Vec::<i64>::try_from(scores.argmax(1, false).to_device(Device::Cpu))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, DecoderConfig, Network};

    #[test]
    fn scores_are_sums_over_the_answer_alone_whatever_the_padding() {
        let config = DecoderConfig { vocab_size: 7, initializer_range: 0.5, ..DecoderConfig::default() };
        let net = Network::build(Arch::Decoder(config), 1, Device::Cpu).unwrap();
        let (decoder, view) = (net.decoder().unwrap(), View::plain(&net.store));
        let prompts = [vec![1, 2, 3], vec![4]];
        let answers = [vec![5], vec![6, 1, 2]];
        let scores = |batch| answer_scores(decoder, &view, &prompts, &answers, batch).unwrap();
        assert!(scores(1).allclose(&scores(4), 1e-5, 1e-6, false));
        let ids = Tensor::from_slice(&[1i64, 2, 3]).view([1, 3]);
        let by_hand = net.evaluate(&ids).log_softmax(-1, Kind::Double).double_value(&[0, 2, 5]);
        assert!((scores(4).double_value(&[0, 0]) - by_hand).abs() < 1e-5);
        assert_eq!(choose(&Tensor::from_slice(&[-1.0, -3.0, -2.0, -0.5]).view([2, 2])).unwrap(), [0, 1]);
    }
}
