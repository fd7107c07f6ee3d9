//! One or two networks of one architecture in one store, under the prefixes `net1.` and `net2.`: what ELR+ and co-teaching
//! train. The gradients of each are independent of the other's weights, so one optimizer over all of them does what one for
//! each would.

use anyhow::Result;
use std::cell::Cell;
use std::rc::Rc;
use tch::{Device, Tensor};

use super::plus::pair_logits;
use crate::data::{Batch, DeviceSet};
use crate::models::layers::Conv2d;
use crate::models::{Arch, Cx, Model, Network};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, ParamId, ParamStore};
use crate::rng;
use crate::train::{Shuffled, Source, Step};

/// What a training pass runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// One net: logits `[B, K]`.
    One(usize),
    /// Every net on the same batch: logits `[nets, B, K]`.
    All,
}

/// A handle on the nets; clones share them and whose turn it is. In evaluation the logits are averaged over the nets.
#[derive(Clone)]
pub struct Peers(Rc<Nets>);

struct Nets {
    arch: Arch,
    nets: Vec<Box<dyn Model>>,
    turn: Cell<Turn>,
}

impl Peers {
    /// `count` (1 or 2) nets with initial values of their own from `seed`, as one network, and the handle on them.
    pub fn build(arch: &Arch, count: usize, seed: u64, device: Device) -> Result<(Network, Peers)> {
        let mut store = ParamStore::new(device);
        let net = |a: usize, store: &mut ParamStore| arch.build_part(Builder::new(store, seed).part(name(a)));
        let nets = (0..count).map(|a| net(a, &mut store)).collect::<Result<_>>()?;
        let peers = Peers(Rc::new(Nets { arch: arch.clone(), nets, turn: Cell::new(Turn::One(0)) }));
        Ok((Network { arch: arch.clone(), store, model: Box::new(peers.clone()) }, peers))
    }

    pub fn count(&self) -> usize {
        self.0.nets.len()
    }

    pub fn net(&self, a: usize) -> &dyn Model {
        &*self.0.nets[a]
    }

    /// The prefixes of the nets' tensors.
    pub fn parts(&self) -> Vec<String> {
        (0..self.count()).map(|a| format!("{}.", name(a))).collect()
    }

    /// The net that makes the targets of net a; alone, a net makes its own.
    pub fn other(&self, a: usize) -> usize {
        (a + 1) % self.count()
    }

    /// Decides what the training passes to come run.
    pub fn take_turn(&self, turn: Turn) {
        self.0.turn.set(turn);
    }

    /// The trained tensors of net a, and what an add-on lets all nets share.
    pub fn trainable(&self, store: &ParamStore, a: usize) -> Vec<ParamId> {
        let of = |id: ParamId, net: usize| store.name(id).starts_with(&format!("{}.", name(net)));
        let others = |id: ParamId| (0..self.count()).any(|net| net != a && of(id, net));
        store.trainable().into_iter().filter(|&id| !others(id)).collect()
    }
}

fn name(a: usize) -> String {
    format!("net{}", a + 1)
}

impl Model for Peers {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let all = || self.0.nets.iter().map(|net| net.forward(cx, x)).collect::<Vec<_>>();
        match self.0.turn.get() {
            Turn::One(a) if cx.train => self.net(a).forward(cx, x),
            Turn::All if cx.train => Tensor::stack(&all(), 0),
            _ => match &all()[..] {
                [one, two] => pair_logits(one, two),
                logits => logits[0].shallow_clone(),
            },
        }
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        Tensor::cat(&self.0.nets.iter().map(|net| net.features(cx, x)).collect::<Vec<_>>(), 1)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.0.nets.iter().flat_map(|net| net.classifier()).collect()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        self.0.nets.iter().flat_map(|net| net.convolutions()).collect()
    }

    /// None: nets that teach each other are not cut.
    fn channel_groups(&self, _store: &ParamStore) -> Vec<ChannelGroup> {
        Vec::new()
    }

    fn cut(&self, _keep: &[Vec<bool>]) -> Arch {
        self.0.arch.clone()
    }
}

/// An epoch in which each net sees the whole training set in an order of its own: first all batches of net 1, then all of
/// net 2. Net 1 sees the order that a single net would.
pub struct Turns<'a>(Vec<Shuffled<'a>>);

impl<'a> Turns<'a> {
    pub fn new(set: &'a DeviceSet, nets: usize, batch: usize, drop_last: bool, seed: u64) -> Turns<'a> {
        let order = |a: usize| if a == 0 { seed } else { rng::mix(seed, &name(a)) };
        Turns((0..nets).map(|a| Shuffled::new(set, batch, drop_last, order(a))).collect())
    }
}

impl Source for Turns<'_> {
    fn batches_per_epoch(&self) -> u64 {
        self.0.iter().map(Source::batches_per_epoch).sum()
    }

    fn batch(&mut self, epoch: u64, index: u64) -> Batch {
        let each = self.0[0].batches_per_epoch();
        self.0[(index / each) as usize].batch(epoch, index % each)
    }
}

/// Whose turn it is at a step of [`Turns`], and the step count s that the nets share: each counts its own steps from 1, and
/// an epoch counts once.
pub fn turn(step: &Step, nets: usize) -> (usize, i64) {
    let each = step.steps_per_epoch / nets as u64;
    let within = (step.step - 1) % step.steps_per_epoch;
    ((within / each) as usize, (step.epoch * each + within % each + 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MlpArch;
    use crate::params::View;
    use tch::Kind;

    fn pair() -> (Network, Peers) {
        let arch = Arch::Mlp(MlpArch { inputs: 3, hidden: vec![4], classes: 2, ..MlpArch::default() });
        Peers::build(&arch, 2, 5, Device::Cpu).unwrap()
    }

    #[test]
    fn a_turn_runs_one_net_and_evaluation_averages_both() {
        let (net, peers) = pair();
        let (x, view) = (Tensor::ones([1, 3], (Kind::Float, Device::Cpu)), View::plain(&net.store));
        let one = |a: usize| peers.net(a).forward(&Cx::train(&view), &x);
        assert_ne!(one(0), one(1), "each net has initial values of its own");
        peers.take_turn(Turn::One(1));
        assert_eq!(net.model.forward(&Cx::train(&view), &x), one(1));
        assert_eq!(net.evaluate(&x), (one(0) + one(1)) * 0.5);
        peers.take_turn(Turn::All);
        assert_eq!(net.model.forward(&Cx::train(&view), &x).size(), [2, 1, 2]);
        let names: Vec<&str> = peers.trainable(&net.store, 1).into_iter().map(|id| net.store.name(id)).collect();
        assert_eq!(names, ["net2.fc1.weight", "net2.fc1.bias", "net2.fc2.weight", "net2.fc2.bias"]);
    }

    #[test]
    fn each_net_sees_every_sample_once_an_epoch_and_net_1_as_if_it_were_alone() {
        let x = Tensor::zeros([10, 1], (Kind::Float, Device::Cpu));
        let labels = Tensor::zeros([10], (Kind::Int64, Device::Cpu));
        let set = DeviceSet::from_tensors(x, labels, vec!["a".into()]).unwrap();
        let mut turns = Turns::new(&set, 2, 4, false, 7);
        let mut alone = Shuffled::new(&set, 4, false, 7);
        assert_eq!(turns.batches_per_epoch(), 6);
        let rows = |source: &mut dyn Source, range: std::ops::Range<u64>| -> Vec<i64> {
            range.flat_map(|i| Vec::<i64>::try_from(source.batch(3, i).index).unwrap()).collect()
        };
        let (first, second) = (rows(&mut turns, 0..3), rows(&mut turns, 3..6));
        assert_eq!(first, rows(&mut alone, 0..3));
        assert_ne!(first, second);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<i64>>());
    }

    #[test]
    fn both_nets_count_the_same_steps() {
        let (net, _) = pair();
        let at = |step| {
            let step = Step {
                step,
                run_step: step,
                epoch: (step - 1) / 6,
                steps_per_epoch: 6,
                steps: 60,
                lr: 0.1,
                model: &*net.model,
                store: &net.store,
                seed: 0,
            };
            turn(&step, 2)
        };
        assert_eq!([1, 3, 4, 6, 7, 12].map(at), [(0, 1), (0, 3), (1, 1), (1, 3), (0, 4), (1, 6)]);
    }
}
