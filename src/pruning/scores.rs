//! How important a channel is: filter scores, DepGraph's group scores (Fang et al., CVPR 2023), chance.

use anyhow::{Result, ensure};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use crate::params::channels::{ChannelGroup, Member, Part};
use crate::params::{ParamStore, Role};
use crate::rng;

/// A score of one filter among the filters of its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilterScore {
    /// `sum |W[c]|`
    L1,
    /// `||W[c]||`
    L2,
    /// Distance from the other filters, `sum_j ||W[c] - W[j]||` (He et al. 2019): a small one is redundant.
    Fpgm,
}

/// Scores `[C]` float64 of the rows of `w` `[C, ..]`.
pub fn filter_scores(w: &Tensor, score: FilterScore) -> Tensor {
    let rows = rows(w, 0, w.size()[0]);
    match score {
        FilterScore::L1 => rows.abs().sum_dim_intlist(1, false, Kind::Double),
        FilterScore::L2 => rows.square().sum_dim_intlist(1, false, Kind::Double).sqrt(),
        // 2: from the differences themselves; through a matrix product close filters would cancel.
        FilterScore::Fpgm => Tensor::cdist(&rows, &rows, 2.0, 2).sum_dim_intlist(1, false, Kind::Double),
    }
}

/// sum |.|^p of each of `channels` equal slices of dimension `dim` of `t`: what one member adds to its group's score.
pub fn member_scores(t: &Tensor, dim: i64, channels: i64, p: f64) -> Tensor {
    rows(t, dim, channels).abs().pow_tensor_scalar(p).sum_dim_intlist(1, false, Kind::Double)
}

/// `t` in float64 with one row a channel of dimension `dim`, `[channels, rest]`.
fn rows(t: &Tensor, dim: i64, channels: i64) -> Tensor {
    t.detach().to_kind(Kind::Double).movedim_int(dim, 0).reshape([channels, -1])
}

/// How the scores of one layer are made comparable with those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalizer {
    /// Divided by the layer's mean.
    #[default]
    Mean,
    /// s_c / (sum of the layer's scores >= s_c) (Lee et al. 2021).
    Lamp,
    None,
}

impl Normalizer {
    /// A layer whose scores are all zero keeps them.
    pub fn apply(self, scores: &[f64]) -> Vec<f64> {
        let divided = |score: f64, by: f64| if score == 0.0 { 0.0 } else { score / by };
        match self {
            Normalizer::None => scores.to_vec(),
            Normalizer::Mean => {
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                scores.iter().map(|&score| divided(score, mean)).collect()
            }
            Normalizer::Lamp => {
                let at_least = |score: f64| scores.iter().filter(|other| **other >= score).sum::<f64>();
                scores.iter().map(|&score| divided(score, at_least(score))).collect()
            }
        }
    }
}

/// What the channels of a group are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Chance, from the run's seed and the group's name.
    Random,
    /// `sum |W[c]|` of the producing layer.
    L1,
    /// `||W[c]||` of the producing layer.
    L2,
    /// Distance from the other filters of the producing layer.
    Fpgm,
    /// |gamma_c| of the normalization (network slimming): means something after sparse training.
    Bn,
    /// Mean over the group's members (producer rows, gammas, consumer columns) of sum |.|.
    GroupL1,
    /// Mean over the group's members of sum of squares.
    GroupL2,
}

/// One score a channel of `group`; several tensors of a kind (the producers of a residual stream) are averaged. `bn` on a
/// group without normalization is an error.
pub fn channel_scores(
    store: &ParamStore,
    group: &ChannelGroup,
    criterion: Criterion,
    normalizer: Normalizer,
    seed: u64,
) -> Result<Vec<f64>> {
    let role = |m: &Member, role: Role| store.role(m.param) == role;
    let filters = |score: FilterScore| {
        let producer = |m: &&Member| m.part == Part::Producer && role(m, Role::Weight);
        mean(group, group.members.iter().filter(producer), |m| {
            filter_scores(&rows(store.get(m.param), m.dim, m.len as i64), score)
        })
    };
    let whole = |p: f64| {
        let counted = |m: &&Member| role(m, Role::Weight) || role(m, Role::NormScale);
        mean(group, group.members.iter().filter(counted), |m| member_scores(store.get(m.param), m.dim, m.len as i64, p))
    };
    let scores = no_grad(|| match criterion {
        Criterion::Random => {
            let mut stream = rng::stream(seed, &format!("random scores of {}", group.name));
            Ok((0..group.channels).map(|_| stream.random_range(0.0..1.0)).collect())
        }
        Criterion::L1 => filters(FilterScore::L1),
        Criterion::L2 => filters(FilterScore::L2),
        Criterion::Fpgm => filters(FilterScore::Fpgm),
        Criterion::Bn => {
            let gammas = group.members.iter().filter(|m| role(m, Role::NormScale));
            mean(group, gammas, |m| member_scores(store.get(m.param), 0, m.len as i64, 1.0))
        }
        Criterion::GroupL1 => whole(1.0),
        Criterion::GroupL2 => whole(2.0),
    })?;
    Ok(normalizer.apply(&scores))
}

/// The mean, for each channel of the group, of the scores of the members that carry it.
fn mean<'a>(
    group: &ChannelGroup,
    members: impl Iterator<Item = &'a Member>,
    scores: impl Fn(&Member) -> Tensor,
) -> Result<Vec<f64>> {
    let (mut sums, mut counts) = (vec![0.0; group.channels], vec![0.0; group.channels]);
    for member in members {
        let scores = Vec::<f64>::try_from(scores(member).to_device(tch::Device::Cpu))?;
        for (channel, score) in scores.into_iter().enumerate() {
            sums[member.first + channel] += score;
            counts[member.first + channel] += 1.0;
        }
    }
    let missing = counts.iter().position(|count| *count == 0.0);
    ensure!(
        missing.is_none(),
        "channel {} of {} has no tensor that this criterion scores (bn needs a normalization layer)",
        missing.unwrap_or(0),
        group.name
    );
    Ok(sums.iter().zip(counts).map(|(sum, count)| sum / count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Arch;
    use tch::Device;

    fn numbers(t: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(t).unwrap()
    }

    #[test]
    fn filter_scores_by_hand() {
        let w = Tensor::from_slice2(&[[3.0f32, -4.0], [0.0, 0.0], [3.0, 0.0]]);
        assert_eq!(numbers(&filter_scores(&w, FilterScore::L1)), [7.0, 0.0, 3.0]);
        assert_eq!(numbers(&filter_scores(&w, FilterScore::L2)), [5.0, 0.0, 3.0]);
        assert_eq!(numbers(&filter_scores(&w, FilterScore::Fpgm)), [9.0, 8.0, 7.0]);
    }

    #[test]
    fn normalizers_by_hand() {
        let scores = [1.0, 4.0, 1.0, 2.0];
        assert_eq!(Normalizer::None.apply(&scores), scores);
        assert_eq!(Normalizer::Mean.apply(&scores), [0.5, 2.0, 0.5, 1.0]);
        assert_eq!(Normalizer::Lamp.apply(&scores), [0.125, 1.0, 0.125, 1.0 / 3.0]);
        assert_eq!(Normalizer::Mean.apply(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(Normalizer::Lamp.apply(&[0.0, 3.0]), [0.0, 1.0]);
    }

    #[test]
    fn a_neuron_is_scored_by_its_row_and_its_column() {
        let mut store = ParamStore::new(Device::Cpu);
        let arch = serde_json::json!({"name": "mlp", "inputs": 2, "hidden": [3], "classes": 2});
        let model = serde_json::from_value::<Arch>(arch).unwrap().build(&mut store, 0).unwrap();
        let set = |name: &str, values: &[f32], shape: &[i64]| {
            store.assign(store.find(name).unwrap(), &Tensor::from_slice(values).view(shape));
        };
        set("fc1.weight", &[1.0, -1.0, 0.0, 2.0, 0.0, 0.0], &[3, 2]);
        set("fc2.weight", &[1.0, 0.0, 0.0, -3.0, 2.0, 0.0], &[2, 3]);
        let group = &model.channel_groups(&store)[0];
        let score = |criterion| channel_scores(&store, group, criterion, Normalizer::None, 1);
        assert_eq!(score(Criterion::L1).unwrap(), [2.0, 2.0, 0.0]);
        assert_eq!(score(Criterion::GroupL1).unwrap(), [3.0, 2.0, 0.0]);
        assert_eq!(score(Criterion::GroupL2).unwrap(), [6.0, 4.0, 0.0]);
        assert_eq!(score(Criterion::Random).unwrap(), score(Criterion::Random).unwrap());
        assert!(score(Criterion::Bn).unwrap_err().to_string().starts_with("channel 0 of fc1 has no tensor"));
    }
}
