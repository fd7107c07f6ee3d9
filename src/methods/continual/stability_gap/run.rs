//! The run: a learner on a stream, under continual evaluation.

use anyhow::Result;

use super::config::Config;
use crate::continual::protocol::Protocol;
use crate::continual::tasks::Tasks;
use crate::report::plot::draw_column;
use crate::run::{Run, Summary};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let tasks = Tasks::load(run, &config.data, &config.stream)?;
    let net = tasks.network(run, &config.model)?;
    let mut learner = config.method.learner(&tasks, &net, config.train.batch, run.seed())?;
    let protocol = Protocol {
        tasks: &tasks,
        net: &net,
        train: &config.train,
        stream: &config.stream,
        evaluation: &config.evaluation,
    };
    let summary = protocol.learn(learner.as_mut(), run)?;
    draw_column(run, "loss", "train", "loss", None)?;
    Ok(summary)
}
