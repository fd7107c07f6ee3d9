//! The learners that every continual method is compared with, and the fields of an experiment file that choose one.
//!
//! | file | learner | what it adds to the new task's cross entropy |
//! |---|---|---|
//! | [`finetune`] | nothing, the current task's columns only, all data so far, the classifier alone | - |
//! | [`er`] | experience replay | alpha CE(new) + (1 - alpha) CE(memory) |
//! | [`gem`] | gradient episodic memory | the gradient is projected so that no old task's loss rises ([`qp`]) |
//! | [`agem`] | averaged GEM | the same against one memory batch |
//! | [`ewc`] | elastic weight consolidation, online or separate | lambda sum F (theta - theta*)^2 |
//! | [`l2`] | the L2 anchor | lambda sum (theta - theta*)^2 |
//! | [`si`] | synaptic intelligence | c sum Omega (theta - theta*)^2 |
//! | [`lwf`] | learning without forgetting | alpha KD from the model after the last task |

pub mod agem;
mod config;
pub mod er;
pub mod ewc;
pub mod finetune;
pub mod gem;
pub mod l2;
pub mod lwf;
mod qp;
pub mod si;

pub use config::{Baseline, FisherBatch, LearnerName};

use anyhow::Result;

use self::agem::Agem;
use self::er::Er;
use self::ewc::Fisher;
use self::finetune::Finetune;
use self::gem::Gem;
use self::l2::Equal;
use self::lwf::Lwf;
use self::si::Path;
use super::anchor::Anchored;
use super::protocol::Learner;
use super::replay::Replay;
use super::tasks::Tasks;
use crate::models::Network;

impl Baseline {
    /// The learner. `batch`: samples of a training step.
    pub fn learner<'a>(
        &self,
        tasks: &'a Tasks,
        net: &'a Network,
        batch: usize,
        seed: u64,
    ) -> Result<Box<dyn Learner + 'a>> {
        let device = net.store.device();
        let balanced = || Replay::balanced(tasks, self.memory, seed, device);
        let fisher = |separate| {
            let batch = if self.fisher == FisherBatch::Sample { 1 } else { batch };
            Anchored::new(Fisher { batch, separate }, self.lambda, device)
        };
        Ok(match self.learner {
            LearnerName::Finetune => Box::new(Finetune::Global),
            LearnerName::FinetuneLocal => Box::new(Finetune::Local),
            LearnerName::Joint => Box::new(Finetune::Joint),
            LearnerName::LinearProbe => Box::new(Finetune::Probe),
            LearnerName::Er => Box::new(Er::new(self.alpha, balanced()?)),
            LearnerName::Agem => Box::new(Agem::new(balanced()?)),
            LearnerName::Gem => {
                let first = Replay::first_of_each_task(tasks, self.memory, seed, device)?;
                Box::new(Gem::new(self.gamma, self.ridge, first))
            }
            LearnerName::Ewc => Box::new(fisher(false)),
            LearnerName::EwcSeparate => Box::new(fisher(true)),
            LearnerName::L2 => Box::new(Anchored::new(Equal, self.lambda, device)),
            LearnerName::Lwf => Box::new(Lwf::new(&tasks.output, net, self.distillation, self.temperature)),
            LearnerName::Si => Box::new(Anchored::new(Path::new(&net.store, self.xi), self.c, device)),
        })
    }
}
