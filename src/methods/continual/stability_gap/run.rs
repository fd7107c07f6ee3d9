//! The run: a learner on a stream, under continual evaluation.

use anyhow::Result;

use super::agem::Agem;
use super::config::{Config, Fisher, LearnerName};
use super::er::Er;
use super::ewc::{Ewc, Importance};
use super::finetune::{Finetune, Kind};
use super::gem::Gem;
use super::lwf::Lwf;
use super::si::Si;
use crate::continual::protocol::{Learner, Protocol};
use crate::continual::replay::Replay;
use crate::continual::tasks::Tasks;
use crate::models::Network;
use crate::report::plot::{Chart, Curve, columns, draw_column};
use crate::run::{Run, Summary};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let tasks = Tasks::load(run, &config.data, &config.stream)?;
    let net = tasks.network(run, &config.model)?;
    let mut learner = learner(&config, &tasks, &net, run.seed())?;
    let protocol = Protocol {
        tasks: &tasks,
        net: &net,
        train: &config.train,
        stream: &config.stream,
        evaluation: &config.evaluation,
    };
    let summary = protocol.learn(learner.as_mut(), run)?;
    draw_column(run, "loss", "train", "loss", None)?;
    if config.evaluation.gradient_norms {
        draw_norms(run)?;
    }
    Ok(summary)
}

fn learner<'a>(config: &Config, tasks: &'a Tasks, net: &'a Network, seed: u64) -> Result<Box<dyn Learner + 'a>> {
    let m = &config.method;
    let device = net.store.device();
    let balanced = || Replay::balanced(tasks, m.memory, seed, device);
    Ok(match m.learner {
        LearnerName::Finetune => Box::new(Finetune::new(tasks, Kind::Finetune)),
        LearnerName::FinetuneLocal => Box::new(Finetune::new(tasks, Kind::Local)),
        LearnerName::Joint => Box::new(Finetune::new(tasks, Kind::Joint)),
        LearnerName::Er => Box::new(Er::new(tasks, m.alpha, balanced()?)),
        LearnerName::Agem => Box::new(Agem::new(tasks, balanced()?)),
        LearnerName::Gem => {
            let first = Replay::first_of_each_task(tasks, m.memory, seed, device)?;
            Box::new(Gem::new(tasks, m.gamma, m.ridge, first))
        }
        LearnerName::Ewc => {
            let batch = if m.fisher == Fisher::Sample { 1 } else { config.train.batch };
            Box::new(Ewc::new(tasks, net, m.lambda, Importance::Fisher { batch }))
        }
        LearnerName::L2 => Box::new(Ewc::new(tasks, net, m.lambda, Importance::One)),
        LearnerName::Lwf => Box::new(Lwf::new(tasks, net, m.distillation, m.temperature)),
        LearnerName::Si => Box::new(Si::new(tasks, net, m.c, m.xi)),
    })
}

/// plots/gradients.svg: the norms of both parts of the gradient.
fn draw_norms(run: &Run) -> Result<()> {
    let curve = |part: &str| -> Result<Curve> {
        Ok(Curve { name: part.to_owned(), points: columns(run.folder(), "gradients", "step", part, None)? })
    };
    let curves = [curve("plasticity")?, curve("stability")?];
    let tasks = columns(run.folder(), "gradients", "step", "task", None)?;
    let switches: Vec<f64> = tasks.windows(2).filter(|pair| pair[0].1 < pair[1].1).map(|pair| pair[0].0).collect();
    let title = "norm of the gradient's two parts";
    let chart = Chart { title, x: "step", y: "norm", curves: &curves, dots: false, marks: &switches };
    run.write("plots/gradients.svg", chart.svg()?.as_bytes())
}
