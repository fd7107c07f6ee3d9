//! The samples of every task, on the device.

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use std::ops::RangeInclusive;
use tch::Device;

use super::config::StreamConfig;
use super::output::Output;
use super::stream::{Samples, Stream};
use crate::data::{self, Augment, DataConfig, DeviceSet, Images, Splits};
use crate::models::{Arch, Network};
use crate::run::Run;

pub struct Tasks {
    pub stream: Stream,
    pub output: Output,
    splits: Splits,
    augment: Augment,
    device: Device,
    /// The whole test set of each task.
    test: Vec<DeviceSet>,
}

/// Fixed test samples of all tasks, task after task: those of the first tasks are a prefix.
pub struct EvaluationSet {
    pub set: DeviceSet,
    /// Samples of each task.
    pub sizes: Vec<usize>,
}

impl Tasks {
    /// Reads the data and splits them into tasks. A task without training or test samples is an error that names it.
    pub fn load(run: &Run, data: &DataConfig, config: &StreamConfig) -> Result<Tasks> {
        let splits = data::load(data, &run.data_root, &ProgressBar::hidden())?;
        Tasks::new(splits, data.augment.clone(), config, run.seed(), run.device)
    }

    pub fn new(splits: Splits, augment: Augment, config: &StreamConfig, seed: u64, device: Device) -> Result<Tasks> {
        let stream = config.stream(splits.classes().len(), seed)?;
        let output = Output::new(&stream, config.columns, device);
        let mut tasks = Tasks { stream, output, splits, augment, device, test: Vec::new() };
        for task in 0..tasks.len() {
            for (what, images) in [("training", &tasks.splits.train), ("test", &tasks.splits.test)] {
                let empty = tasks.samples(images, task)?.is_empty();
                ensure!(!empty, "task {task} (labels {:?}) has no {what} samples", tasks.stream.columns(task));
            }
            let samples = tasks.samples(&tasks.splits.test, task)?;
            tasks.test.push(tasks.set(samples, &Augment::default())?);
        }
        Ok(tasks)
    }

    /// T.
    pub fn len(&self) -> usize {
        self.stream.tasks()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn samples(&self, images: &Images, task: usize) -> Result<Samples> {
        let all = Samples { pixels: images.pixels.shallow_clone(), labels: images.labels.shallow_clone() };
        self.stream.task(task, &all).with_context(|| format!("task {task}"))
    }

    fn set(&self, samples: Samples, augment: &Augment) -> Result<DeviceSet> {
        let classes = (0..self.output.width()).map(|column| format!("column {column}")).collect();
        let images = Images { pixels: samples.pixels, labels: samples.labels, classes };
        DeviceSet::new(&images, &self.splits.scale, augment, self.device)
    }

    /// The training samples of these tasks together (of one, but for the joint upper bound). Made anew at each call: past
    /// tasks take no memory.
    pub fn train(&self, tasks: RangeInclusive<usize>) -> Result<DeviceSet> {
        let parts = tasks.map(|task| self.samples(&self.splits.train, task)).collect::<Result<Vec<_>>>()?;
        self.set(Samples::concat(&parts), &self.augment)
    }

    /// The whole test set of a task.
    pub fn test(&self, task: usize) -> &DeviceSet {
        &self.test[task]
    }

    /// At most `most` test samples of each task, drawn once by the seed.
    pub fn evaluation_set(&self, most: usize, seed: u64) -> Result<EvaluationSet> {
        let chosen = |task: usize| -> Result<Samples> {
            Ok(self.samples(&self.splits.test, task)?.subset(most, seed, &format!("evaluation samples {task}")))
        };
        let parts = (0..self.len()).map(chosen).collect::<Result<Vec<_>>>()?;
        let sizes = parts.iter().map(Samples::len).collect();
        Ok(EvaluationSet { set: self.set(Samples::concat(&parts), &Augment::default())?, sizes })
    }

    /// The network of `arch` with a head for the whole stream, its initial values from the run's seed.
    pub fn network(&self, run: &Run, arch: &Arch) -> Result<Network> {
        let mut arch = arch.clone();
        arch.fit_data(&self.splits.shape(), self.output.width())?;
        Network::build(arch, run.seed(), self.device)
    }
}
