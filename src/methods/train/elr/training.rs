//! What each variant does at the loop's doors.

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Kind, Reduction, Tensor, no_grad};

use super::config::{Evaluated, Method};
use super::coteaching::{CoTeaching, keep, small_loss};
use super::loss::Elr;
use super::memory::TargetMemory;
use super::peers::{Peers, Turn, turn};
use super::plus::{Averaging, Plus, average, mixed_targets};
use super::robust::RobustLoss;
use crate::data::Batch;
use crate::data::mixup::{beta_draw, larger_share, mix, one_hot};
use crate::methods::AddOns;
use crate::models::Cx;
use crate::params::{ParamId, ParamStore, View};
use crate::train::{Doors, Ema, Pass, Step, Terms};

/// ELR: L = CE + lambda mean log(1 - <t, p>), the memory indexed by the samples' rows in the training set.
pub struct ElrTraining<'a> {
    pub elr: Elr,
    pub memory: &'a TargetMemory,
}

impl Doors for ElrTraining<'_> {
    fn name(&self) -> &'static str {
        "elr"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce", "elr"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let made = self.elr.loss(pass.logits, &pass.batch.y, &pass.batch.index, self.memory);
        terms.add("ce", made.ce.shallow_clone());
        terms.add("elr", made.pull());
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        vec![("memory".into(), self.memory.rows().shallow_clone())]
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        load_memory(self.memory, state, "memory")
    }
}

/// A run without its memory would start it at zero and memorize the wrong labels after all.
fn load_memory(memory: &TargetMemory, state: &HashMap<String, Tensor>, name: &str) -> Result<()> {
    memory.load(state.get(name).with_context(|| format!("the checkpoint has no target {name}"))?)
}

/// A rival that is nothing but another loss.
pub struct RobustTraining {
    pub loss: RobustLoss,
}

impl Doors for RobustTraining {
    fn name(&self) -> &'static str {
        "robust"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["robust"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        terms.add("robust", self.loss.loss(pass.logits, &pass.batch.y));
        Ok(())
    }
}

/// Co-teaching: each net learns from the samples of small loss that the other picks.
pub struct CoTeachingTraining {
    coteaching: CoTeaching,
}

impl CoTeachingTraining {
    pub fn new(coteaching: CoTeaching, peers: &Peers) -> CoTeachingTraining {
        peers.take_turn(Turn::All);
        CoTeachingTraining { coteaching }
    }
}

impl Doors for CoTeachingTraining {
    fn name(&self) -> &'static str {
        "coteaching"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["net1", "net2"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let losses = [0, 1].map(|a| cross_entropies(&pass.logits.get(a), &pass.batch.y));
        // A small last batch keeps one sample: the mean of none is not a number.
        let keep = keep(self.coteaching.forget(step.epoch as f64), losses[0].numel() as i64).max(1);
        let picks = [0, 1].map(|a: usize| small_loss(&losses[a], keep));
        let learned = |a: usize| losses[a].index_select(0, &picks[1 - a]).mean(Kind::Float);
        terms.add("net1", learned(0));
        terms.add("net2", learned(1));
        Ok(())
    }
}

/// -log softmax(z_i)[y_i] for each sample, `[B]`.
fn cross_entropies(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::None, -100, 0.0)
}

/// ELR+: the nets take turns by the epoch; see [`super::plus`] for one step.
pub struct PlusTraining<'a> {
    beta: f64,
    plus: Plus,
    averaging: Averaging,
    mixup_alpha: f64,
    eval: Evaluated,
    peers: Peers,
    /// The trained tensors of each net.
    trained: Vec<Vec<ParamId>>,
    /// w': all nets' averaged weights. Its batch-norm statistics are its own, from its passes in train mode.
    averaged: Ema,
    /// What `--with` makes of the averaged weights.
    add_ons: AddOns,
    /// One a net.
    memories: &'a [TargetMemory],
    mixture: Option<Mixture>,
}

/// How the batch of this step was mixed.
struct Mixture {
    /// The samples before.
    x: Tensor,
    perm: Tensor,
    l: Tensor,
}

impl<'a> PlusTraining<'a> {
    /// `averaged` starts from random values of its own (official code).
    pub fn new(
        config: &Method,
        peers: Peers,
        averaged: ParamStore,
        add_ons: AddOns,
        memories: &'a [TargetMemory],
    ) -> PlusTraining<'a> {
        PlusTraining {
            beta: config.beta,
            plus: config.plus(),
            averaging: config.averaging(),
            mixup_alpha: config.mixup_alpha,
            eval: config.eval,
            trained: (0..peers.count()).map(|a| peers.trainable(&averaged, a)).collect(),
            peers,
            averaged: Ema { store: averaged, updates: 0 },
            add_ons,
            memories,
            mixture: None,
        }
    }
}

impl Doors for PlusTraining<'_> {
    fn name(&self) -> &'static str {
        "elr_plus"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce", "elr"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn eval_view(&self, store: &ParamStore, view: &mut View) {
        if self.eval == Evaluated::Ema {
            store.ids().for_each(|id| view.set(id, self.averaged.store.get(id).shallow_clone()));
        }
    }

    /// xm = l x + (1-l) x[perm], ym likewise; the turn passes on.
    fn batch(&mut self, step: &Step, batch: &mut Batch) {
        self.peers.take_turn(Turn::One(turn(step, self.peers.count()).0));
        let device = batch.y.device();
        let l = if self.mixup_alpha > 0.0 {
            larger_share(&beta_draw(self.mixup_alpha, device))
        } else {
            Tensor::ones([0; 0], (Kind::Float, device))
        };
        let perm = Tensor::randperm(batch.y.numel() as i64, (Kind::Int64, device));
        let mixed = |tensor: &Tensor| mix(tensor, &tensor.index_select(0, &perm), &l);
        let classes = self.memories[0].rows().size()[1];
        batch.soft = Some(mixed(&one_hot(&batch.y, classes, Kind::Float)));
        let xm = mixed(&batch.x);
        let x = std::mem::replace(&mut batch.x, xm);
        self.mixture = Some(Mixture { x, perm, l });
    }

    fn loss(&mut self, step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let (a, s) = turn(step, self.peers.count());
        let Mixture { x, perm, l } = self.mixture.take().context("a batch that was not mixed")?;
        // P comes from the other net's averaged weights, in train mode: batch statistics.
        let peer = no_grad(|| {
            let mut averaged = View::plain(&self.averaged.store);
            self.add_ons.view(&self.averaged.store, &mut averaged);
            self.peers.net(self.peers.other(a)).forward(&Cx::train(&averaged), &x)
        });
        let q = mixed_targets(&self.memories[a], &pass.batch.index, &peer, self.beta, &perm, &l);
        let labels = pass.batch.soft.as_ref().context("a batch without mixed labels")?;
        let made = self.plus.loss(pass.logits, labels, &q, s);
        terms.add("ce", made.ce.shallow_clone());
        terms.add("elr", made.pull());
        Ok(())
    }

    /// w'_a <- gamma_s w'_a + (1-gamma_s) w_a, parameters only.
    fn update(&mut self, step: &Step) -> Result<()> {
        let (a, s) = turn(step, self.peers.count());
        let (averaged, raw): (Vec<&Tensor>, Vec<&Tensor>) =
            self.trained[a].iter().map(|&id| (self.averaged.store.get(id), step.store.get(id))).unzip();
        average(&averaged, &raw, self.averaging.decay(s))?;
        self.averaged.updates += 1;
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let memory = |(a, memory): (usize, &TargetMemory)| (memory_name(a), memory.rows().shallow_clone());
        let memories = self.memories.iter().enumerate().map(memory);
        memories.chain(self.averaged.state()).collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        for (a, memory) in self.memories.iter().enumerate() {
            load_memory(memory, state, &memory_name(a))?;
        }
        let state: Vec<(String, Tensor)> = state.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        self.averaged.load_state(&state)
    }
}

fn memory_name(a: usize) -> String {
    format!("memory{}", a + 1)
}
