//! Coupled channels: which slices of which tensors belong to one channel, and how to cut them out.

use anyhow::{Result, ensure};
use std::ops::Range;
use tch::{Tensor, no_grad};

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
    /// The parameters of the residual branch that disappears as a whole when no channel stays. Empty: at least one must stay.
    pub branch: Vec<ParamId>,
}

impl ChannelGroup {
    /// A group inside one block, without members yet.
    pub fn inner(name: &str, channels: usize) -> ChannelGroup {
        ChannelGroup { name: name.to_owned(), channels, inner: true, members: Vec::new(), branch: Vec::new() }
    }

    /// A residual stream, without members yet.
    pub fn stream(name: &str, channels: usize) -> ChannelGroup {
        ChannelGroup { inner: false, ..ChannelGroup::inner(name, channels) }
    }

    /// Adds tensors that carry the group channels `at`: rows for producers and norms, columns for consumers.
    pub fn couple(&mut self, part: Part, params: impl IntoIterator<Item = ParamId>, at: Range<usize>) {
        let dim = if part == Part::Consumer { 1 } else { 0 };
        let member = |param| Member { param, dim, part, first: at.start, len: at.len(), span: 1 };
        self.members.extend(params.into_iter().map(member));
    }

    pub fn producer(mut self, params: impl IntoIterator<Item = ParamId>) -> ChannelGroup {
        self.couple(Part::Producer, params, 0..self.channels);
        self
    }

    pub fn norm(mut self, params: impl IntoIterator<Item = ParamId>) -> ChannelGroup {
        self.couple(Part::Norm, params, 0..self.channels);
        self
    }

    /// A layer whose columns read the group; `span` columns a channel (H*W after flattening a map, else 1).
    pub fn consumer(mut self, param: ParamId, span: i64) -> ChannelGroup {
        let span = span as usize;
        self.members.push(Member { param, dim: 1, part: Part::Consumer, first: 0, len: self.channels, span });
        self
    }

    /// The branch that disappears when no channel stays.
    pub fn removable(mut self, branch: impl IntoIterator<Item = ParamId>) -> ChannelGroup {
        self.branch.extend(branch);
        self
    }

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

/// Refuses a plan that does not fit the network: another number of groups or channels, or nothing left of a tensor that
/// must stay.
pub fn check_keep(store: &ParamStore, groups: &[ChannelGroup], keep: &[Vec<bool>]) -> Result<()> {
    let (planned, present) = (keep.len(), groups.len());
    ensure!(planned == present, "the plan has {planned} channel groups, the network has {present}");
    for (group, keep) in groups.iter().zip(keep) {
        let (name, flags, channels) = (&group.name, keep.len(), group.channels);
        ensure!(flags == channels, "the plan for {name} has {flags} entries, the layer has {channels} channels");
        let removed = !group.branch.is_empty() && !keep.contains(&true);
        for member in &group.members {
            let stays = removed || keep[member.first..member.first + member.len].contains(&true);
            ensure!(stays, "the plan for {name} leaves no channel of {}", store.name(member.param));
        }
    }
    Ok(())
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

/// Zeroes the producer and norm slices of the cut channels in place, and branches that lost all their channels as a whole:
/// the masked full net that a cut net must equal. Running statistics stay: beta = gamma = 0 silences a channel.
pub fn mask_tensors(store: &ParamStore, groups: &[ChannelGroup], keep: &[Vec<bool>]) {
    for (group, keep) in groups.iter().zip(keep) {
        let trainable = |id: &ParamId| store.role(*id).trainable();
        for member in group.members.iter().filter(|m| m.part != Part::Consumer && trainable(&m.param)) {
            let tensor = store.get(member.param).detach();
            let flags: Vec<f32> = keep[member.first..member.first + member.len]
                .iter()
                .flat_map(|&k| std::iter::repeat_n(f32::from(u8::from(k)), member.span))
                .collect();
            let mut shape = vec![1; tensor.dim()];
            shape[member.dim as usize] = -1;
            let mask = Tensor::from_slice(&flags).to_device(store.device()).to_kind(tensor.kind());
            store.assign(member.param, &(tensor * mask.view(shape.as_slice())));
        }
        if !keep.contains(&true) {
            for &id in group.branch.iter().filter(|id| trainable(id)) {
                let _ = no_grad(|| store.get(id).detach().zero_());
            }
        }
    }
}
