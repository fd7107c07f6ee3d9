//! `--with`: a method joins the training of another. Its fields stand in `[with.NAME]` as they do in its own `[method]`; its
//! doors are chained after those of the method that trains, several add-ons in the order of their names. Each keeps its own
//! state in the checkpoint and its own terms in train.csv.

use anyhow::{Context, Result, anyhow, bail, ensure};
use toml::{Table, Value};

use super::{ALL, Definition};
use crate::config::{self, ADD_ONS, Layer, Schema, hint};
use crate::models::Network;
use crate::params::{ParamStore, View};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, OptimizerConfig, ParamGroup};

/// What a method is in the training of another: doors made for one network, and what frames them.
pub trait AddOn: Doors {
    /// Gives parameters of its own, or those it reparameterizes, another learning rate or decay.
    fn regroup(&self, groups: Vec<ParamGroup>) -> Vec<ParamGroup> {
        groups
    }

    /// Before the first step: first rows and warnings. The numbers go to the summary.
    fn begin(&mut self, _net: &Network, _at: Stamp, _run: &mut Run) -> Result<Summary> {
        Ok(Summary::new())
    }

    /// After the last step: numbers for the summary.
    fn end(&self, _net: &Network, _at: Stamp, _run: &Run) -> Result<Summary> {
        Ok(Summary::new())
    }
}

/// How a method becomes an add-on.
pub struct Maker {
    /// The fields of `[with.NAME]`.
    pub section: fn() -> Schema,
    /// Checks them and fills in defaults.
    pub check: fn(&Table) -> Result<Table>,
    /// Makes the add-on for a network that was just built; it may rewrite the network's weights and add tensors of its own.
    pub attach: fn(&Table, &mut Network, &OptimizerConfig) -> Result<Box<dyn AddOn>>,
}

/// The schema of a method's files, with the sections of what can be added to it.
pub fn schema<D: Definition>() -> Schema {
    let sections = ALL.iter().filter_map(|method| Some((method.name, (method.add_on.as_ref()?.section)())));
    Schema::of::<D::Experiment>().with_add_ons(sections)
}

/// Checks a method's sections and those of its add-ons, and fills in defaults.
pub fn check<D: Definition>(sections: &Table) -> Result<Table> {
    let experiment: D::Experiment = config::typed(sections)?;
    let mut filled = Table::try_from(&experiment)?;
    let Some(Value::Table(given)) = sections.get(ADD_ONS) else { return Ok(filled) };
    let mut added = Table::new();
    for (name, section) in given {
        let maker = find(name)?;
        ensure!(name != D::NAME, "{name} cannot be added to itself (--with)");
        D::takes_add_ons(&experiment)
            .map_err(|why| anyhow!("{name} cannot be added to {} (--with): {why}", D::NAME))?;
        let section = section.as_table().with_context(|| format!("with.{name} must be a table of fields"))?;
        let section = (maker.check)(section).with_context(|| format!("[with.{name}]"))?;
        added.insert(name.clone(), section.into());
    }
    if !added.is_empty() {
        filled.insert(ADD_ONS.into(), added.into());
    }
    Ok(filled)
}

/// How the method called `name` is added; the error says which can be.
pub fn find(name: &str) -> Result<&'static Maker> {
    let makers = || ALL.iter().filter_map(|method| Some((method.name, method.add_on.as_ref()?)));
    let names = || makers().map(|(name, _)| name);
    if let Some((_, maker)) = makers().find(|(own, _)| *own == name) {
        return Ok(maker);
    }
    let there = names().collect::<Vec<_>>().join(", ");
    match super::find(name) {
        Ok(_) => bail!("{name} cannot be added to another method (--with); {there} can"),
        Err(_) => bail!("--with {name}: there is no such method{}; {there} can be added", hint(name, names())),
    }
}

/// What `--with NAME` changes of a configuration.
pub fn layer(name: &str) -> Result<Layer> {
    find(name)?;
    Layer::key_value(&format!("{ADD_ONS}.{name}={{}}"))
}

/// The add-ons of one network: none, unless the run was started with `--with`.
pub struct AddOns {
    added: Vec<(&'static str, Box<dyn AddOn>)>,
    optimizer: OptimizerConfig,
    summary: Summary,
}

impl AddOns {
    /// Makes those of the run for a network that was just built.
    pub fn attach(run: &Run, net: &mut Network, optimizer: &OptimizerConfig) -> Result<AddOns> {
        let mut added = Vec::new();
        let sections = run.config.sections.get(ADD_ONS).and_then(Value::as_table);
        for (name, section) in sections.into_iter().flatten() {
            let method = super::find(name)?;
            let section = section.as_table().with_context(|| format!("with.{name} is no table"))?;
            let made = (find(name)?.attach)(section, net, optimizer).with_context(|| format!("[with.{name}]"))?;
            added.push((method.name, made));
        }
        Ok(AddOns { added, optimizer: optimizer.clone(), summary: Summary::new() })
    }

    /// The optimizer's groups: all that is trainable, as the add-ons divide it.
    pub fn groups(&self, net: &Network) -> Vec<ParamGroup> {
        let all = ParamGroup { ids: net.store.trainable(), lr_mult: 1.0, weight_decay: self.optimizer.weight_decay };
        self.added.iter().fold(vec![all], |groups, (_, add_on)| add_on.regroup(groups))
    }

    pub fn doors(&mut self) -> impl Iterator<Item = &mut dyn Doors> {
        self.added.iter_mut().map(|(_, add_on)| &mut **add_on as &mut dyn Doors)
    }

    /// Adds what they make of their network's parameters to a view of its store.
    pub fn view(&self, store: &ParamStore, view: &mut View) {
        self.added.iter().for_each(|(_, add_on)| add_on.view(store, view));
    }

    /// The plain network that the trained one amounts to.
    pub fn folded(&self, net: Network) -> Result<Network> {
        if self.added.is_empty() {
            return Ok(net);
        }
        let mut view = View::plain(&net.store);
        tch::no_grad(|| self.view(&net.store, &mut view));
        net.folded(&view)
    }

    /// To be called before the phase whose doors they are.
    pub fn begin(&mut self, net: &Network, at: Stamp, run: &mut Run) -> Result<()> {
        for (name, add_on) in &mut self.added {
            self.summary.extend(named(name, add_on.begin(net, at, run)?));
        }
        Ok(())
    }

    /// To be called after it: all their numbers, `NAME.number`, for the summary.
    pub fn end(&self, net: &Network, at: Stamp, run: &Run) -> Result<Summary> {
        let mut summary = self.summary.clone();
        for (name, add_on) in &self.added {
            summary.extend(named(name, add_on.end(net, at, run)?));
        }
        Ok(summary)
    }
}

fn named(name: &str, numbers: Summary) -> impl Iterator<Item = (String, serde_json::Value)> {
    numbers.into_iter().map(move |(key, value)| (format!("{name}.{key}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::distill::self_distill::SelfDistill;
    use crate::methods::hpo::maid::Maid;
    use crate::methods::train::elr::EarlyLearning;
    use crate::methods::train::weight_compander::WeightCompander;

    fn added(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn fields_left_out_are_those_of_the_added_method() {
        let filled = check::<EarlyLearning>(&added("with.weight-compander.bound_sigmas = 3.0")).unwrap();
        let section = filled["with"]["weight-compander"].as_table().unwrap();
        assert_eq!(section["bound_sigmas"].as_float(), Some(3.0));
        assert_eq!(section["slope"].as_float(), Some(1.0));
        assert_eq!(check::<EarlyLearning>(&filled).unwrap(), filled);
        assert!(!check::<EarlyLearning>(&Table::new()).unwrap().contains_key("with"));
    }

    #[test]
    fn what_cannot_be_combined_is_refused_by_name() {
        let compander = added("with.weight-compander = {}");
        let text = |result: Result<Table>| format!("{:#}", result.unwrap_err());
        assert!(text(check::<WeightCompander>(&compander)).contains("cannot be added to itself"));
        assert!(text(check::<Maid>(&compander)).contains("weight-compander cannot be added to maid"));
        assert!(
            text(check::<SelfDistill>(&added("data.val = 9\nwith.weight-compander = {}")))
                .contains("method.model = \"network\"")
        );
        assert!(text(check::<EarlyLearning>(&added("with.maid = {}"))).contains("maid cannot be added"));
        let unknown = text(check::<EarlyLearning>(&added("with.weight-compender = {}")));
        assert!(unknown.contains("did you mean weight-compander?"), "{unknown}");
        let bad = text(check::<EarlyLearning>(&added("with.weight-compander.slope = -1.0")));
        assert!(bad.contains("[with.weight-compander]") && bad.contains("slope = -1"), "{bad}");
    }
}
