//! Coupled channels: which slices of which tensors belong to one channel, and how to cut them out.

use tch::Tensor;

use super::{ParamId, ParamStore};

/// What a member's slice does for its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rows that make the channel (filters, Linear rows) and their bias.
    Producer,
    /// Scale, shift and running statistics of the normalization between.
    Norm,
    /// The columns that read the channel.
    Consumer,
}

/// One tensor dimension that carries (a range of) a group's channels: channel `c` with first <= c < first + len sits at
/// indices (c - first) * span .. (c - first + 1) * span of dimension `dim`.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub param: ParamId,
    pub dim: i64,
    pub part: Part,
    /// The first group channel this tensor carries (option-A shortcuts shift later stages).
    pub first: usize,
    pub len: usize,
    /// Indices per channel: H*W for a Linear layer that reads a flattened H x W map, else 1.
    pub span: usize,
}

/// Channels that must be removed together in every member.
#[derive(Clone, Debug)]
pub struct ChannelGroup {
    /// The name of the producing layer (`layer1.0.conv1`), or of the stage for a residual stream.
    pub name: String,
    pub channels: usize,
    /// True when no residual addition couples it: the group lies inside one block.
    pub inner: bool,
    pub members: Vec<Member>,
}

impl ChannelGroup {
    pub fn members(&self, part: Part) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |m| m.part == part)
    }
}

impl Member {
    /// The indices of dimension `dim` that stay when `keep` (one flag a group channel) is applied.
    pub fn kept_indices(&self, keep: &[bool]) -> Vec<i64> {
        let kept = (0..self.len).filter(|&c| keep[self.first + c]);
        kept.flat_map(|c| (c * self.span..(c + 1) * self.span).map(|i| i as i64)).collect()
    }

    /// The flat positions of channel `c`'s values inside the (contiguous) tensor of this shape.
    pub fn flat_indices(&self, shape: &[i64], channel: usize) -> Vec<i64> {
        let dim = self.dim as usize;
        let inner: i64 = shape[dim + 1..].iter().product();
        let outer: i64 = shape[..dim].iter().product();
        let c = (channel - self.first) as i64;
        let range = c * self.span as i64..(c + 1) * self.span as i64;
        let place = |o: i64, i: i64, r: i64| (o * shape[dim] + i) * inner + r;
        let rows = (0..outer).flat_map(|o| range.clone().map(move |i| (o, i)));
        rows.flat_map(|(o, i)| (0..inner).map(move |r| place(o, i, r))).collect()
    }
}

/// The tensors of `store` with the channels cut whose flag is false; `keep[g]` has one flag for each channel of `groups[g]`.
/// Tensors of no group come back whole.
pub fn cut_tensors(store: &ParamStore, groups: &[ChannelGroup], keep: &[Vec<bool>]) -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = store.iter().map(|(_, p)| p.tensor.detach()).collect();
    for (group, keep) in groups.iter().zip(keep) {
        for member in &group.members {
            let indices = Tensor::from_slice(&member.kept_indices(keep)).to_device(store.device());
            tensors[member.param.0] = tensors[member.param.0].index_select(member.dim, &indices);
        }
    }
    tensors
}

/// Zeroes the producer and norm slices of the cut channels in place: the masked full net that a cut net must equal.
pub fn mask_tensors(store: &ParamStore, groups: &[ChannelGroup], keep: &[Vec<bool>]) {
    for (group, keep) in groups.iter().zip(keep) {
        for member in group.members.iter().filter(|m| m.part != Part::Consumer) {
            let param = store.param(member.param);
            if !param.trainable {
                continue; // running statistics: beta = gamma = 0 already silences the channel
            }
            let flags: Vec<f32> = keep[member.first..member.first + member.len]
                .iter()
                .flat_map(|&k| std::iter::repeat_n(f32::from(u8::from(k)), member.span))
                .collect();
            let mut shape = vec![1; param.tensor.dim()];
            shape[member.dim as usize] = -1;
            let mask = Tensor::from_slice(&flags)
                .to_device(store.device())
                .to_kind(param.tensor.kind())
                .view(shape.as_slice());
            store.assign(member.param, &(param.tensor.detach() * mask));
        }
    }
}
