//! The methods, each under one verb. A method is found by its file name; adding one touches its file, its experiments folder
//! and one line of [`ALL`].

mod add_on;
pub mod analyze;
pub mod continual;
pub mod distill;
mod drive;
pub mod hpo;
pub mod prune;
mod resolve;
pub mod train;

pub use add_on::{AddOn, AddOns, Maker, layer as add_on_layer};
pub use drive::drive;
pub use resolve::{lay_arms, resolve_arms};

use anyhow::{Result, bail};
use std::sync::OnceLock;
use toml::Table;

use crate::config::{self, Experiment, Schema, hint};
use crate::ops::Op;
use crate::run::{Run, Summary};

/// The registry.
pub static ALL: &[Method] = &[
    Method::of::<analyze::dynamical_stability::DynamicalStability>(),
    Method::of::<analyze::intrinsic_dim::IntrinsicDimension>(),
    Method::of::<continual::stability_gap::StabilityGap>(),
    Method::of::<distill::self_distill::SelfDistill>(),
    Method::of::<hpo::maid::Maid>(),
    Method::of::<hpo::search::Search>(),
    Method::of::<prune::mask_sparsity::MaskSparsity>(),
    Method::of::<prune::polarization::Polarization>(),
    Method::of::<prune::wgsef::Wgsef>(),
    Method::of::<train::adamixup::AdaMixUp>(),
    Method::of::<train::elr::EarlyLearning>(),
    Method::of::<train::lm::LanguageModel>(),
    Method::of::<train::orth_conv::OrthConv>(),
    Method::of::<train::weight_compander::WeightCompander>(),
];

/// What the method does to a network: the first word of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Prune,
    Quantize,
    Distill,
    Continual,
    Hpo,
    Train,
    Finetune,
    Generate,
    Analyze,
}

impl Verb {
    pub const ALL: [Verb; 9] = [
        Verb::Prune,
        Verb::Quantize,
        Verb::Distill,
        Verb::Continual,
        Verb::Hpo,
        Verb::Train,
        Verb::Finetune,
        Verb::Generate,
        Verb::Analyze,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Prune => "prune",
            Verb::Quantize => "quantize",
            Verb::Distill => "distill",
            Verb::Continual => "continual",
            Verb::Hpo => "hpo",
            Verb::Train => "train",
            Verb::Finetune => "finetune",
            Verb::Generate => "generate",
            Verb::Analyze => "analyze",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Verb::Prune => "Remove channels and weights",
            Verb::Quantize => "Store weights in few bits",
            Verb::Distill => "Train a network on another's outputs",
            Verb::Continual => "Learn tasks one after another",
            Verb::Hpo => "Tune hyper-parameters",
            Verb::Train => "Regularize an ordinary training run",
            Verb::Finetune => "Adapt a trained network",
            Verb::Generate => "Generative models",
            Verb::Analyze => "Measure a network or its training",
        }
    }
}

/// What a method's file defines.
pub trait Definition {
    /// Its experiment file: sections with documented fields.
    type Experiment: Experiment;

    /// The name everywhere: command, experiments folder, ops, report.
    const NAME: &'static str;
    const VERB: Verb;
    /// Other words for the command.
    const ALIASES: &'static [&'static str] = &[];
    const PAPER: &'static str;
    /// One line: what it does.
    const ABOUT: &'static str;
    /// Experiment files by preset name, compiled in.
    const PRESETS: &'static [(&'static str, &'static str)];
    /// `claims.toml`: the paper's numbers and what must hold here.
    const CLAIMS: &'static str;
    /// The keys of the summary that a table of runs shows.
    const HEADLINE: &'static [&'static str];
    const OPS: &'static [Op];
    /// How `--with` adds it to the training of another method; None: it cannot be added.
    const ADD_ON: Option<Maker> = None;

    /// Refuses an experiment to whose training no method can be added (`--with`), and says why.
    fn takes_add_ons(_experiment: &Self::Experiment) -> Result<()> {
        bail!("it does not train in the common loop")
    }

    fn run(experiment: Self::Experiment, run: &mut Run) -> Result<Summary>;
}

/// A method as the command line sees it.
pub struct Method {
    pub name: &'static str,
    pub verb: Verb,
    pub aliases: &'static [&'static str],
    pub paper: &'static str,
    pub about: &'static str,
    pub presets: &'static [(&'static str, &'static str)],
    pub claims: &'static str,
    pub headline: &'static [&'static str],
    pub ops: &'static [Op],
    pub add_on: Option<Maker>,
    pub schema: fn() -> Schema,
    /// Checks the sections of a file and fills in defaults.
    pub check: fn(&Table) -> Result<Table>,
    pub run: fn(&mut Run) -> Result<Summary>,
}

impl Method {
    const fn of<D: Definition>() -> Method {
        Method {
            name: D::NAME,
            verb: D::VERB,
            aliases: D::ALIASES,
            paper: D::PAPER,
            about: D::ABOUT,
            presets: D::PRESETS,
            claims: D::CLAIMS,
            headline: D::HEADLINE,
            ops: D::OPS,
            add_on: D::ADD_ON,
            schema: add_on::schema::<D>,
            check: add_on::check::<D>,
            run: |run| D::run(config::typed(&run.config.sections)?, run),
        }
    }

    /// The text of a preset.
    pub fn preset(&self, name: &str) -> Result<&'static str> {
        let names = || self.presets.iter().map(|(n, _)| *n);
        match self.presets.iter().find(|(n, _)| *n == name) {
            Some((_, text)) => Ok(text),
            None => bail!(
                "{} has no preset {name:?}{}; it has {}",
                self.name,
                hint(name, names()),
                names().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

/// The method called `name`, or by one of its aliases.
pub fn find(name: &str) -> Result<&'static Method> {
    let names = || ALL.iter().flat_map(|m| std::iter::once(m.name).chain(m.aliases.iter().copied()));
    match ALL.iter().find(|m| m.name == name || m.aliases.contains(&name)) {
        Some(method) => Ok(method),
        None => bail!("there is no method {name:?}{}; `reglab list` shows all", hint(name, names())),
    }
}

/// Every registered core function: those of the methods and of the parts they share.
pub fn ops() -> &'static [Op] {
    static OPS: OnceLock<Vec<Op>> = OnceLock::new();
    OPS.get_or_init(|| {
        let shared = [
            crate::models::OPS,
            crate::models::decoder::OPS,
            crate::models::encoder::OPS,
            crate::text::OPS,
            crate::pruning::OPS,
            crate::pruning::NETWORK_OPS,
            crate::continual::OPS,
        ];
        shared.iter().copied().chain(ALL.iter().map(|m| m.ops)).flatten().copied().collect()
    })
}

/// The three experiment files of a method, compiled into the binary.
macro_rules! presets {
    ($name:literal) => {
        &[
            ("quick", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/", $name, "/quick.toml"))),
            ("gpu", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/", $name, "/gpu.toml"))),
            ("paper", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/", $name, "/paper.toml"))),
        ]
    };
}
pub(crate) use presets;

/// The claims file of a method, compiled into the binary.
macro_rules! claims {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/", $name, "/claims.toml"))
    };
}
pub(crate) use claims;
