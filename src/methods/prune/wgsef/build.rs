//! From the configuration to the penalty of a network: which tensors are regularized, in which groups, how many stay.

use anyhow::{Result, ensure};

use super::config::{GroupKind, Method, Scope};
use super::penalty::{Layer, Penalty};
use crate::models::Network;
use crate::params::channels::ChannelGroup;
use crate::params::groups::GroupTable;
use crate::params::{Param, ParamId, Role};

/// The penalty of a network and the channel groups it acts on (empty unless whole channels are the groups).
pub struct Regularized {
    pub penalty: Penalty,
    /// Indices into `model.channel_groups` of the penalty's layers.
    pub channels: Vec<usize>,
}

/// One table of groups with the name of its layer.
type Named = (String, GroupTable);

pub fn penalty(net: &Network, groups: &[ChannelGroup], config: &Method) -> Result<Regularized> {
    let channels: Vec<usize> = match config.groups {
        // Residual streams couple whole stages: the usual choice is the free channels inside the blocks.
        GroupKind::Channel => groups.iter().enumerate().filter(|(_, g)| g.inner).map(|(i, _)| i).collect(),
        _ => Vec::new(),
    };
    let tables: Vec<Named> = match config.groups {
        GroupKind::Channel => {
            let table = |&i: &usize| Ok((groups[i].name.clone(), GroupTable::channels(&net.store, &groups[i])?));
            channels.iter().map(table).collect::<Result<_>>()?
        }
        _ => weight_tables(net, config.groups),
    };
    ensure!(!tables.is_empty(), "the model has no {:?} groups to regularize", config.groups);
    let layers = layers(&tables, config)?;
    let table = GroupTable::concat(tables.into_iter().map(|(_, table)| table))?;
    Ok(Regularized { penalty: Penalty::new(table, layers)?, channels })
}

/// Groups inside single weight tensors: all but those of the first layer and of the classifier.
fn weight_tables(net: &Network, kind: GroupKind) -> Vec<Named> {
    let classifier = net.model.classifier();
    let mut chosen: Vec<(ParamId, &Param)> =
        net.store.iter().filter(|(id, p)| p.role == Role::Weight && !classifier.contains(id)).collect();
    // A network of two layers has nothing else to offer than its first.
    if chosen.len() > 1 {
        chosen.remove(0);
    }
    let table = |(id, param): (ParamId, &Param)| {
        let dims: Vec<i64> = match (kind, param.tensor.dim()) {
            (GroupKind::Filter, _) => vec![0],
            (GroupKind::InChannel, _) | (GroupKind::FilterShape, 2) => vec![1],
            (GroupKind::FilterShape, _) => vec![1, 2, 3],
            (GroupKind::Kernel, _) => vec![0, 1],
            (GroupKind::Layer, _) => vec![],
            (_, dims) => (0..dims as i64).collect(),
        };
        (param.name.trim_end_matches(".weight").to_owned(), GroupTable::tensor(&net.store, id, &dims))
    };
    chosen.into_iter().map(table).collect()
}

fn layers(tables: &[Named], config: &Method) -> Result<Vec<Layer>> {
    let weights = |table: &GroupTable| table.sizes().into_iter().map(|size| config.weight(size)).collect::<Vec<f64>>();
    let layer = |name: &str, d: Vec<f64>| {
        Ok(Layer { name: name.to_owned(), k: config.kept(name, d.len())?, lambda: config.lambda, d })
    };
    match (config.scope, config.groups) {
        // A layer is one group: k counts layers.
        (Scope::Global, _) | (_, GroupKind::Layer) => {
            Ok(vec![layer("the network", tables.iter().flat_map(|(_, table)| weights(table)).collect())?])
        }
        (Scope::Layer, _) => tables.iter().map(|(name, table)| layer(name, weights(table))).collect(),
    }
}
