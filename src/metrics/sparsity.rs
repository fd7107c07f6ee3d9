//! How much of a network is zero: single values and whole channels.

use serde::Serialize;
use tch::{Device, Kind, Tensor, no_grad};

use crate::params::View;
use crate::params::channels::{ChannelGroup, Part};

/// Zeros of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroFraction {
    pub tensor: String,
    /// Fraction of exact zeros, in [0, 1].
    pub zeros: f64,
}

/// Zero channels of one group of coupled channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroChannels {
    pub group: String,
    /// Channels all of whose trainable producer and normalization values are exactly zero: cutting them changes nothing.
    pub zero: usize,
    pub channels: usize,
}

/// The fraction of zeros of each trainable tensor of the view, in its order. One transfer to the host.
pub fn zero_fractions(view: &View) -> Vec<ZeroFraction> {
    let store = view.store();
    let ids = store.trainable();
    let nonzero = |tensor: &Tensor| tensor.count_nonzero(None);
    let counts = fetch(no_grad(|| ids.iter().map(|&id| nonzero(view.get(id))).collect()));
    let fraction = |(&id, nonzero): (&_, i64)| ZeroFraction {
        tensor: store.name(id).to_owned(),
        zeros: 1.0 - nonzero as f64 / view.get(id).numel() as f64,
    };
    ids.iter().zip(counts).map(fraction).collect()
}

/// The number of zero channels of each group, in their order. One transfer to the host.
pub fn zero_channels(view: &View, groups: &[ChannelGroup]) -> Vec<ZeroChannels> {
    let counts = fetch(no_grad(|| groups.iter().map(|group| live_channels(view, group)).collect()));
    let zero = |(group, live): (&ChannelGroup, i64)| ZeroChannels {
        group: group.name.clone(),
        zero: group.channels - live as usize,
        channels: group.channels,
    };
    groups.iter().zip(counts).map(zero).collect()
}

/// Number of channels with a value that is not zero (0-d, on the device).
fn live_channels(view: &View, group: &ChannelGroup) -> Tensor {
    let store = view.store();
    let live = Tensor::zeros([group.channels as i64], (Kind::Bool, store.device()));
    for member in group.members.iter().filter(|m| m.part != Part::Consumer && store.role(m.param).trainable()) {
        let rows = view.get(member.param).detach().transpose(0, member.dim).reshape([member.len as i64, -1]);
        let mut carried = live.narrow(0, member.first as i64, member.len as i64);
        let _ = carried.logical_or_(&rows.ne(0).any_dim(1, false));
    }
    live.sum(Kind::Int64)
}

fn fetch(counts: Vec<Tensor>) -> Vec<i64> {
    if counts.is_empty() {
        return Vec::new();
    }
    Vec::<i64>::try_from(Tensor::stack(&counts, 0).to_device(Device::Cpu)).expect("a vector of counts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::random_network;
    use crate::models::{Arch, CifarResnetArch};
    use crate::params::channels::mask_tensors;

    #[test]
    fn masked_channels_are_counted() {
        let (input, widths) = ([3, 8, 8], vec![4, 8, 16]);
        let arch = CifarResnetArch { input, classes: 10, depth: 8, widths, ..CifarResnetArch::default() };
        let net = random_network(Arch::CifarResnet(arch), 0);
        let groups = net.model.channel_groups(&net.store);
        let mut keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
        keep[1][2] = false;
        keep[3][..7].fill(false); // the first channel of the stem is channel 2 + 4 of the stream
        mask_tensors(&net.store, &groups, &keep);
        let view = View::plain(&net.store);
        let zero: Vec<(usize, usize)> = zero_channels(&view, &groups).iter().map(|z| (z.zero, z.channels)).collect();
        assert_eq!(zero, [(0, 4), (1, 8), (0, 16), (7, 16)]);
        let fractions = zero_fractions(&view);
        let of = |name: &str| fractions.iter().find(|f| f.tensor == name).unwrap().zeros;
        assert_eq!(of("conv1.weight"), 0.25);
        assert_eq!(of("layer2.0.conv1.weight"), 0.125);
        assert_eq!(of("linear.weight"), 0.0);
    }
}
