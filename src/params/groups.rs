//! Groups of values that lie in slices of several tensors: sums over each group, and scaling in place. Everything stays
//! on the tensors' device.

use anyhow::{Result, bail, ensure};
use tch::{Device, Kind, Tensor, no_grad};

use super::channels::{ChannelGroup, Member, Part};
use super::{ParamId, ParamStore};

/// The part of one tensor whose values belong to groups first..first + len.
#[derive(Clone, Debug)]
struct Slice {
    param: ParamId,
    name: String,
    /// The tensor's shape, the dimension that carries several values a channel split in two.
    shape: Vec<i64>,
    /// Dimensions of `shape` along which the group does not change: summed over.
    within: Vec<i64>,
    /// `shape` with every `within` dimension 1: how one value a group is broadcast over the tensor.
    spread: Vec<i64>,
    first: i64,
    len: i64,
}

impl Slice {
    /// The groups run, row-major, over `group_dims` of `shape`.
    fn new(param: ParamId, name: &str, shape: Vec<i64>, group_dims: &[i64], first: usize) -> Slice {
        let within: Vec<i64> = (0..shape.len() as i64).filter(|dim| !group_dims.contains(dim)).collect();
        let mut spread = shape.clone();
        for &dim in &within {
            spread[dim as usize] = 1;
        }
        let len = spread.iter().product();
        Slice { param, name: name.to_owned(), shape, within, spread, first: first as i64, len }
    }

    /// `[len]`: the sum of `x` (one number a value of the tensor) over each group, float32 at least.
    fn sum(&self, x: &Tensor) -> Tensor {
        let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        if self.within.is_empty() {
            return x.to_kind(kind).reshape(-1); // an empty list of dimensions would mean all of them
        }
        x.view(self.shape.as_slice()).sum_dim_intlist(self.within.as_slice(), false, kind).reshape(-1)
    }

    /// This slice's entries of `per_group`; most tables have one tensor or several with the same groups, and need no narrowing.
    fn part(&self, per_group: &Tensor) -> Tensor {
        if self.len == per_group.size()[0] {
            return per_group.shallow_clone();
        }
        per_group.narrow(0, self.first, self.len)
    }

    /// This slice's part of `per_group`, shaped to multiply the tensor seen as `shape`.
    fn spread(&self, per_group: &Tensor) -> Tensor {
        self.part(per_group).view(self.spread.as_slice())
    }

    /// Values of the tensor in one group.
    fn group_size(&self) -> i64 {
        self.within.iter().map(|&dim| self.shape[dim as usize]).product()
    }
}

/// m disjoint groups over the tensors of one network. Tensors are reached through a function of their id, so that the same
/// table serves parameters, gradients and earlier values.
#[derive(Clone, Debug)]
pub struct GroupTable {
    groups: usize,
    slices: Vec<Slice>,
    device: Device,
}

impl GroupTable {
    /// One group a channel: its trainable producer and norm values (filter or row, bias, gamma, beta), so that a zero group
    /// is a channel that is exactly zero.
    pub fn channels(store: &ParamStore, group: &ChannelGroup) -> Result<GroupTable> {
        let trained = |m: &&Member| m.part != Part::Consumer && store.param(m.param).trainable;
        let slice = |m: &Member| {
            let (name, mut shape) = (store.name(m.param), store.get(m.param).size());
            let dim = m.dim as usize;
            ensure!(
                shape[dim] == (m.len * m.span) as i64,
                "{name} has {} indices in dimension {dim}, but group {} gives it {}",
                shape[dim],
                group.name,
                m.len * m.span
            );
            shape.splice(dim..=dim, [m.len as i64, m.span as i64]);
            Ok(Slice::new(m.param, name, shape, &[m.dim], m.first))
        };
        let slices = group.members.iter().filter(trained).map(slice).collect::<Result<_>>()?;
        GroupTable::disjoint(group.channels, slices, store.device())
    }

    /// The groups of one tensor that run, row-major, over `group_dims` (none: the whole tensor is one group).
    pub fn tensor(store: &ParamStore, id: ParamId, group_dims: &[i64]) -> GroupTable {
        let slice = Slice::new(id, store.name(id), store.get(id).size(), group_dims, 0);
        GroupTable { groups: slice.len as usize, slices: vec![slice], device: store.device() }
    }

    /// All groups of several tables of one network, one table after the other. A value that two of them claim is an error.
    pub fn concat(tables: impl IntoIterator<Item = GroupTable>) -> Result<GroupTable> {
        let (mut groups, mut slices, mut device) = (0, Vec::new(), Device::Cpu);
        for table in tables {
            let shifted = |slice: Slice| Slice { first: slice.first + groups as i64, ..slice };
            slices.extend(table.slices.into_iter().map(shifted));
            groups += table.groups;
            device = table.device;
        }
        GroupTable::disjoint(groups, slices, device)
    }

    /// A slice covers its whole tensor, so groups overlap exactly when a tensor comes twice.
    fn disjoint(groups: usize, slices: Vec<Slice>, device: Device) -> Result<GroupTable> {
        for (i, slice) in slices.iter().enumerate() {
            if let Some(other) = slices[..i].iter().find(|other| other.param == slice.param) {
                bail!(
                    "groups overlap: value 0 of {} belongs to group {} and to group {}",
                    slice.name,
                    other.first,
                    slice.first
                );
            }
        }
        Ok(GroupTable { groups, slices, device })
    }

    /// m, the number of groups.
    pub fn len(&self) -> usize {
        self.groups
    }

    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The tensors that have groups.
    pub fn params(&self) -> impl Iterator<Item = ParamId> {
        self.slices.iter().map(|slice| slice.param)
    }

    /// Number of values in each group.
    pub fn sizes(&self) -> Vec<i64> {
        let mut sizes = vec![0; self.groups];
        for slice in &self.slices {
            let range = slice.first as usize..(slice.first + slice.len) as usize;
            sizes[range].iter_mut().for_each(|size| *size += slice.group_size());
        }
        sizes
    }

    /// `[m]` float64 on the table's device: for each group the sum of `x(id)`, a tensor of the parameter's shape.
    /// `|id| store.get(id).square()` gives the squared norms.
    pub fn sums(&self, x: impl Fn(ParamId) -> Tensor) -> Tensor {
        no_grad(|| {
            let totals = Tensor::zeros(self.groups as i64, (Kind::Double, self.device));
            for slice in &self.slices {
                let _ = slice.part(&totals).g_add_(&slice.sum(&x(slice.param)));
            }
            totals
        })
    }

    /// [`GroupTable::sums`] as host numbers: one transfer from a device. On the CPU the tensors' sums are added here, which
    /// costs next to nothing where small tensor operations would cost more than the sums themselves.
    pub fn sums_on_host(&self, x: impl Fn(ParamId) -> Tensor) -> Vec<f64> {
        if self.device != Device::Cpu {
            return host(&self.sums(x));
        }
        no_grad(|| {
            let mut totals = vec![0.0; self.groups];
            for slice in &self.slices {
                let sums = host(&slice.sum(&x(slice.param)));
                for (total, sum) in totals[slice.first as usize..].iter_mut().zip(sums) {
                    *total += sum;
                }
            }
            totals
        })
    }

    /// Multiplies every value by its group's factor (`[m]`), in place.
    pub fn scale<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor, factors: &Tensor) {
        self.each(values, factors, |mut target, _, factors| {
            let _ = target.g_mul_(factors);
        });
    }

    /// `targets += factor * values` for every value, in place; `factors` holds one number a group.
    pub fn add_scaled<'a, 'b>(
        &self,
        targets: impl Fn(ParamId) -> &'a Tensor,
        values: impl Fn(ParamId) -> &'b Tensor,
        factors: &Tensor,
    ) {
        self.each(targets, factors, |mut target, id, factors| {
            let _ = target.addcmul_(&values(id).view(target.size().as_slice()), factors);
        });
    }

    fn each<'a>(
        &self,
        targets: impl Fn(ParamId) -> &'a Tensor,
        factors: &Tensor,
        change: impl Fn(Tensor, ParamId, &Tensor),
    ) {
        no_grad(|| {
            // Tensors of one network mostly share a kind: converted once, the conversion below is then free.
            let mut factors = factors.shallow_clone();
            for slice in &self.slices {
                let target = targets(slice.param);
                factors = factors.to_kind(target.kind());
                change(target.view(slice.shape.as_slice()), slice.param, &slice.spread(&factors));
            }
        });
    }
}

/// Float32 or float64 numbers of any device.
fn host(x: &Tensor) -> Vec<f64> {
    let count = x.numel();
    if x.kind() == Kind::Double {
        let mut values = vec![0.0; count];
        x.copy_data(&mut values, count);
        return values;
    }
    let mut values = vec![0f32; count];
    x.copy_data(&mut values, count);
    values.into_iter().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Role;

    fn count(shape: &[i64]) -> Tensor {
        Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)).view(shape)
    }

    /// A conv with bias (3 channels) whose next layer is a Linear reading a flattened 1 x 2 map.
    fn store() -> (ParamStore, ChannelGroup) {
        let mut store = ParamStore::new(Device::Cpu);
        let weight = store.add("conv.weight", Role::Weight, count(&[3, 2, 1, 2]));
        let bias = store.add("conv.bias", Role::Bias, count(&[3]));
        let mean = store.add("bn.running_mean", Role::Buffer, count(&[3]));
        let linear = store.add("fc.weight", Role::Weight, count(&[2, 6]));
        let member = |param, dim, part, span| Member { param, dim, part, first: 0, len: 3, span };
        let members = vec![
            member(weight, 0, Part::Producer, 1),
            member(bias, 0, Part::Producer, 1),
            member(mean, 0, Part::Norm, 1),
            member(linear, 1, Part::Consumer, 2),
        ];
        (store, ChannelGroup { name: "conv".into(), channels: 3, inner: true, members, branch: Vec::new() })
    }

    #[test]
    fn a_channel_sums_and_scales_its_filter_and_bias_only() {
        let (store, group) = store();
        let table = GroupTable::channels(&store, &group).unwrap();
        assert_eq!(table.sizes(), [5, 5, 5]);
        let sums = table.sums(|id| store.get(id).square());
        assert_eq!(host(&sums), [14.0, 16.0 + 25.0 + 36.0 + 49.0 + 1.0, 64.0 + 81.0 + 100.0 + 121.0 + 4.0]);
        assert_eq!(table.sums_on_host(|id| store.get(id).square()), host(&sums));
        table.scale(|id| store.get(id), &Tensor::from_slice(&[1.0, 0.0, 2.0]));
        assert_eq!(host(store.get(ParamId(0)))[3..9], [3.0, 0.0, 0.0, 0.0, 0.0, 16.0]);
        assert_eq!(host(store.get(ParamId(1))), [0.0, 0.0, 4.0]);
        assert_eq!(host(store.get(ParamId(2))), [0.0, 1.0, 2.0]);
        assert_eq!(host(store.get(ParamId(3)))[11], 11.0);
    }

    #[test]
    fn several_indices_a_channel_are_one_group() {
        let (store, mut group) = store();
        group.members.retain(|m| m.part == Part::Consumer);
        group.members[0].part = Part::Producer;
        let table = GroupTable::channels(&store, &group).unwrap();
        assert_eq!(host(&table.sums(|id| store.get(id).shallow_clone())), [14.0, 22.0, 30.0]);
        table.scale(|id| store.get(id), &Tensor::from_slice(&[0.0, 1.0, 0.0]));
        assert_eq!(host(store.get(ParamId(3))), [0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 0.0, 0.0]);
    }

    #[test]
    fn groups_of_one_tensor_run_over_any_dimensions() {
        let (store, _) = store();
        let sums = |dims: &[i64]| host(&GroupTable::tensor(&store, ParamId(0), dims).sums(|id| store.get(id).copy()));
        assert_eq!(sums(&[]), [66.0]);
        assert_eq!(sums(&[1]), [0.0 + 1.0 + 4.0 + 5.0 + 8.0 + 9.0, 2.0 + 3.0 + 6.0 + 7.0 + 10.0 + 11.0]);
        assert_eq!(sums(&[1, 2, 3]), [12.0, 15.0, 18.0, 21.0]);
        assert_eq!(sums(&[0, 1, 2, 3]), (0..12).map(f64::from).collect::<Vec<f64>>());
    }

    #[test]
    fn add_scaled_reads_one_store_and_writes_another() {
        let (store, _) = store();
        let table = GroupTable::tensor(&store, ParamId(1), &[0]);
        let target = Tensor::ones([3], (Kind::Float, Device::Cpu));
        table.add_scaled(|_| &target, |id| store.get(id), &Tensor::from_slice(&[5.0, 2.0, 0.5]));
        assert_eq!(host(&target), [1.0, 3.0, 2.0]);
    }

    #[test]
    fn concatenated_tables_must_not_share_a_tensor() {
        let (store, group) = store();
        let channels = GroupTable::channels(&store, &group).unwrap();
        let linear = GroupTable::tensor(&store, ParamId(3), &[0]);
        let both = GroupTable::concat([channels.clone(), linear.clone()]).unwrap();
        assert_eq!(both.sizes(), [5, 5, 5, 6, 6]);
        let error = GroupTable::concat([channels, linear.clone(), linear]).unwrap_err();
        assert_eq!(error.to_string(), "groups overlap: value 0 of fc.weight belongs to group 3 and to group 5");
    }
}
