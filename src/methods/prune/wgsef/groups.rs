//! Which weights form a group, and the norms of the groups of a flat vector.

use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Groups inside one weight tensor: W `[O, I, H, W]` of a convolution or `[O, I]` of a Linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// `W[o]`: a filter, or a row.
    Filter,
    /// `W[:, c]`: an input channel, or a column.
    Channel,
    /// `W[:, c, i, j]`: one position of an input channel, over all filters.
    FilterShape,
    /// `W[o, c]`: one kernel.
    Kernel,
    /// The whole tensor.
    Layer,
    /// A single weight.
    Element,
}

impl GroupKind {
    /// The dimensions of a weight of `rank` dimensions over which the groups run, row-major.
    pub fn dims(self, rank: usize) -> Vec<i64> {
        let rank = rank as i64;
        match self {
            GroupKind::Filter => vec![0],
            GroupKind::Channel => vec![1],
            GroupKind::FilterShape => (1..rank).collect(),
            GroupKind::Kernel => vec![0, 1],
            GroupKind::Layer => vec![],
            GroupKind::Element => (0..rank).collect(),
        }
    }
}

/// The group id of every weight, int64 of shape `shape` (filter_shape: (c*H + h)*W + w; kernel: o*I + c).
pub fn conv_groups(shape: &[i64], kind: GroupKind) -> Result<Tensor> {
    ensure!(
        shape.len() >= 2 && shape.iter().all(|&n| n > 0),
        "a weight has at least two dimensions, outputs and inputs, none empty; got {shape:?}"
    );
    let dims = kind.dims(shape.len());
    let size = |dim: usize| if dims.contains(&(dim as i64)) { shape[dim] } else { 1 };
    let run: Vec<i64> = (0..shape.len()).map(size).collect();
    let ids = Tensor::arange(run.iter().product::<i64>(), (Kind::Int64, Device::Cpu));
    Ok(ids.view(run.as_slice()).expand(shape, false).contiguous())
}

/// A partition of (part of) a flat vector into m groups. Entries of no group are left alone.
pub struct FlatGroups {
    /// `[n]` int64: the group of each entry, m for an entry of no group.
    slots: Tensor,
    m: usize,
}

impl FlatGroups {
    /// From one id an entry (`[n]` int64), -1 for an entry of no group.
    pub fn new(ids: &Tensor, m: usize) -> Result<FlatGroups> {
        ensure!(ids.dim() == 1, "groups has shape {:?}; one id for each entry of a flat vector is needed", ids.size());
        let host = Vec::<i64>::try_from(ids.to_device(Device::Cpu).to_kind(Kind::Int64))?;
        let bad = host.iter().enumerate().find(|(_, id)| !(-1..m as i64).contains(*id));
        if let Some((index, id)) = bad {
            anyhow::bail!("groups[{index}] = {id} is no group: ids go from 0 to {}, -1 means none", m as i64 - 1);
        }
        let ids = ids.to_kind(Kind::Int64);
        Ok(FlatGroups { slots: ids.where_self(&ids.ge(0), &ids.full_like(m as i64)), m })
    }

    /// From the entries of each group. An entry that two groups claim, or that lies outside 0..n, is an error that names it.
    pub fn from_sets(n: usize, sets: &[Vec<usize>]) -> Result<FlatGroups> {
        let mut ids = vec![-1i64; n];
        for (group, set) in sets.iter().enumerate() {
            for &index in set {
                let id = ids
                    .get_mut(index)
                    .with_context(|| format!("group {group} holds index {index}, but there are {n} values"))?;
                ensure!(*id < 0, "groups overlap: index {index} belongs to group {id} and to group {group}");
                *id = group as i64;
            }
        }
        FlatGroups::new(&Tensor::from_slice(&ids), sets.len())
    }

    /// m, the number of groups.
    pub fn len(&self) -> usize {
        self.m
    }

    pub fn is_empty(&self) -> bool {
        self.m == 0
    }

    /// n, the length of the vector.
    pub fn entries(&self) -> i64 {
        self.slots.size()[0]
    }

    /// `[m]`: the sum of `x` `[n]` over each group.
    pub fn sums(&self, x: &Tensor) -> Tensor {
        let totals = Tensor::zeros(self.m as i64 + 1, (x.kind(), x.device()));
        totals.index_add(0, &self.slots, x).narrow(0, 0, self.m as i64)
    }

    /// `[m]`: the Euclidean norm of each group of `x` `[n]`.
    pub fn norms(&self, x: &Tensor) -> Tensor {
        self.sums(&x.square()).sqrt()
    }

    /// `[n]`: each entry's group value of `per_group` `[m]`, `ungrouped` for the entries of no group.
    pub fn spread(&self, per_group: &Tensor, ungrouped: f64) -> Tensor {
        let rest = Tensor::full(1, ungrouped, (per_group.kind(), per_group.device()));
        Tensor::cat(&[per_group, &rest], 0).index_select(0, &self.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(t: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(t.to_kind(Kind::Double).reshape(-1)).unwrap()
    }

    #[test]
    fn ids_follow_the_documented_order() {
        let shape = [2, 3, 2, 2];
        let id = |kind, at: &[i64]| conv_groups(&shape, kind).unwrap().int64_value(at);
        assert_eq!(id(GroupKind::Filter, &[1, 2, 0, 1]), 1);
        assert_eq!(id(GroupKind::Channel, &[1, 2, 0, 1]), 2);
        assert_eq!(id(GroupKind::FilterShape, &[1, 2, 1, 0]), (2 * 2 + 1) * 2);
        assert_eq!(id(GroupKind::Kernel, &[1, 2, 1, 1]), 3 + 2);
        assert_eq!(id(GroupKind::Layer, &[1, 2, 1, 1]), 0);
        assert_eq!(id(GroupKind::Element, &[1, 2, 1, 1]), 23);
    }

    #[test]
    fn a_linear_layer_has_rows_and_columns() {
        let ids = |kind| numbers(&conv_groups(&[2, 3], kind).unwrap());
        assert_eq!(ids(GroupKind::Filter), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(ids(GroupKind::Channel), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        assert_eq!(ids(GroupKind::FilterShape), ids(GroupKind::Channel));
        assert_eq!(ids(GroupKind::Kernel), ids(GroupKind::Element));
        assert!(conv_groups(&[4], GroupKind::Filter).is_err());
    }

    #[test]
    fn an_empty_group_and_ungrouped_entries() {
        let groups = FlatGroups::new(&Tensor::from_slice(&[0i64, 1, 0, -1, 1]), 3).unwrap();
        assert_eq!(numbers(&groups.norms(&Tensor::from_slice(&[3.0, 0.0, -4.0, 7.0, -2.0]))), [5.0, 2.0, 0.0]);
        assert_eq!(numbers(&groups.spread(&Tensor::from_slice(&[1.0, 2.0, 3.0]), 9.0)), [1.0, 2.0, 1.0, 9.0, 2.0]);
    }

    #[test]
    fn bad_ids_name_the_index() {
        let message = |r: Result<FlatGroups>| r.err().unwrap().to_string();
        let ids = Tensor::from_slice(&[0i64, 1, 2]);
        assert_eq!(message(FlatGroups::new(&ids, 2)), "groups[2] = 2 is no group: ids go from 0 to 1, -1 means none");
        assert_eq!(
            message(FlatGroups::from_sets(4, &[vec![0, 3], vec![1, 3]])),
            "groups overlap: index 3 belongs to group 0 and to group 1"
        );
        assert_eq!(
            message(FlatGroups::from_sets(2, &[vec![0], vec![2]])),
            "group 1 holds index 2, but there are 2 values"
        );
        let groups = FlatGroups::from_sets(4, &[vec![2], vec![0, 3]]).unwrap();
        assert_eq!(numbers(&groups.sums(&Tensor::from_slice(&[1.0, 2.0, 4.0, 8.0]))), [4.0, 9.0]);
    }
}
