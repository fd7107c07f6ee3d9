//! sum_l lambda_l GS_{k_l}(W_l) over the layers of a network: what training applies after every optimizer step.
//!
//! One step costs one reduction and one scaling a tensor. On the CPU the m squared norms then go to the exact host search;
//! on a device nothing is read back: all layers are searched in one padded batch.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor, no_grad};

use super::envelope::{self, Minimizer};
use super::{checks, device, group_lasso, half_space, prox, topk};
use crate::params::ParamId;
use crate::params::groups::GroupTable;

/// Groups that compete for the same k: those of one layer, or of the whole net (scope = global).
#[derive(Clone, Debug)]
pub struct Layer {
    pub name: String,
    /// Non-zero groups allowed.
    pub k: i64,
    pub lambda: f64,
    /// The group weights d_j, one for each of the layer's groups.
    pub d: Vec<f64>,
}

/// What a layer looks like now; read back to the host, so once an epoch rather than once a step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerState {
    pub name: String,
    /// GS_k(W_l), without lambda.
    pub value: f64,
    pub nonzero_groups: usize,
    /// Of the envelope; infinite when at most k groups are non-zero.
    pub eta: f64,
    pub z_min: f64,
    pub z_max: f64,
}

struct Level {
    layer: Layer,
    k: usize,
    start: usize,
}

impl Level {
    fn of<'a>(&self, all: &'a [f64]) -> &'a [f64] {
        &all[self.start..self.start + self.layer.d.len()]
    }
}

/// The padded batch `[L, M]` of the device form: one row a layer.
struct Batch {
    /// `[L * M]`: where each place's group sits among all m; m (a zero) for padding.
    places: Tensor,
    /// `[m]`: where each group sits in the batch.
    back: Tensor,
    rows: i64,
    /// `[L, 1]` int64.
    k: Tensor,
}

impl Batch {
    fn new(levels: &[Level], m: usize, device: Device) -> Batch {
        let width = levels.iter().map(|l| l.layer.d.len()).max().unwrap_or(0);
        let mut places = vec![m as i64; levels.len() * width];
        let mut back = Vec::with_capacity(m);
        for (row, level) in levels.iter().enumerate() {
            for j in 0..level.layer.d.len() {
                places[row * width + j] = (level.start + j) as i64;
                back.push((row * width + j) as i64);
            }
        }
        let k: Vec<i64> = levels.iter().map(|l| l.k as i64).collect();
        let tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        Batch { places: tensor(&places), back: tensor(&back), rows: levels.len() as i64, k: tensor(&k).unsqueeze(1) }
    }

    /// `[m]` to `[L, M]`.
    fn pad(&self, x: &Tensor) -> Tensor {
        x.constant_pad_nd([0, 1]).index_select(0, &self.places).view([self.rows, -1])
    }

    /// `[L, M]` to `[m]`.
    fn unpad(&self, x: &Tensor) -> Tensor {
        x.reshape(-1).index_select(0, &self.back)
    }
}

/// The penalty of a network.
pub struct Penalty {
    table: GroupTable,
    levels: Vec<Level>,
    batch: Batch,
    /// `[m]` float64 on the device: sqrt(d) and lambda d.
    sqrt_d: Tensor,
    lambda_d: Tensor,
}

impl Penalty {
    /// The groups of `table`, split in order among `layers`.
    pub fn new(table: GroupTable, layers: Vec<Layer>) -> Result<Penalty> {
        let mut levels = Vec::new();
        let mut start = 0;
        for layer in layers {
            let m = layer.d.len();
            checks::not_negative(&format!("lambda of {}", layer.name), layer.lambda)?;
            checks::weights(&format!("d of {}", layer.name), &layer.d, m)?;
            let k = checks::k(layer.k, m).map_err(|e| e.context(format!("layer {}", layer.name)))?;
            levels.push(Level { layer, k, start });
            start += m;
        }
        ensure!(start == table.len(), "the layers have {start} groups in all, the table has {}", table.len());
        let d: Vec<f64> = levels.iter().flat_map(|l| l.layer.d.iter().copied()).collect();
        let lambda_d: Vec<f64> = levels.iter().flat_map(|l| l.layer.d.iter().map(|d| l.layer.lambda * d)).collect();
        let device = table.device();
        Ok(Penalty {
            batch: Batch::new(&levels, table.len(), device),
            table,
            levels,
            sqrt_d: Tensor::from_slice(&d).to_device(device).sqrt(),
            lambda_d: Tensor::from_slice(&lambda_d).to_device(device),
        })
    }

    pub fn table(&self) -> &GroupTable {
        &self.table
    }

    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.levels.iter().map(|l| &l.layer)
    }

    /// theta <- prox_{lr lambda_l GS_{k_l}}(theta) for every layer, in place. `lr` is the learning rate of this step.
    pub fn prox<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor, lr: f64) {
        let square = |id| values(id).square();
        let factors = no_grad(|| match self.table.device() {
            Device::Cpu => self.prox_factors_on_host(&self.table.sums_on_host(square), lr),
            _ => self.prox_factors_on_device(&self.table.sums(square), lr),
        });
        self.table.scale(values, &factors);
    }

    fn prox_factors_on_host(&self, squared: &[f64], lr: f64) -> Tensor {
        self.on_host(squared, |level, z| {
            let shrink: Vec<f64> = level.layer.d.iter().map(|d| lr * level.layer.lambda * d).collect();
            let u = prox::occupancy(z, &shrink, level.k);
            u.iter().zip(&shrink).map(|(&u, &shrink)| prox::factor(u, shrink)).collect()
        })
    }

    fn prox_factors_on_device(&self, squared: &Tensor, lr: f64) -> Tensor {
        let z = self.batch.pad(&self.scaled_norms(squared));
        let shrink = self.batch.pad(&(&self.lambda_d * lr));
        let u = device::occupancy(&z, &shrink, &self.batch.k);
        self.batch.unpad(&device::prox_factors(&u, &shrink))
    }

    /// targets += lambda_l dGS_{k_l}/dtheta in place (targets: the loss gradients): the proximal-free step of HSPG. Every k
    /// must be at least 1.
    pub fn add_gradient<'a, 'b>(
        &self,
        targets: impl Fn(ParamId) -> &'a Tensor,
        values: impl Fn(ParamId) -> &'b Tensor,
    ) -> Result<()> {
        if let Some(level) = self.levels.iter().find(|l| l.k == 0) {
            anyhow::bail!("layer {}: with k = 0 the envelope has no gradient", level.layer.name);
        }
        let square = |id| values(id).square();
        let factors = no_grad(|| match self.table.device() {
            Device::Cpu => self.gradient_factors_on_host(&self.table.sums_on_host(square)),
            _ => self.gradient_factors_on_device(&self.table.sums(square)),
        });
        self.table.add_scaled(targets, values, &factors);
        Ok(())
    }

    fn gradient_factors_on_host(&self, squared: &[f64]) -> Tensor {
        self.on_host(squared, |level, z| {
            let u = envelope::minimizer(z, level.k).u;
            let factors = envelope::gradient_factors(z, &u, &level.layer.d);
            factors.iter().map(|factor| level.layer.lambda * factor).collect()
        })
    }

    fn gradient_factors_on_device(&self, squared: &Tensor) -> Tensor {
        let z = self.batch.pad(&self.scaled_norms(squared));
        let u = device::occupancy(&z, &z.zeros_like(), &self.batch.k);
        self.batch.unpad(&device::gradient_factors(&z, &u, &self.batch.pad(&self.lambda_d)))
    }

    /// The half-space step: `values` hold the trial point t, `previous` the point x before the step; groups where t left
    /// the half-space around x, and groups that were zero, become zero.
    pub fn half_space<'a, 'b>(
        &self,
        values: impl Fn(ParamId) -> &'a Tensor,
        previous: impl Fn(ParamId) -> &'b Tensor,
        eps: f64,
    ) {
        no_grad(|| {
            let dots = self.table.sums(|id| values(id) * previous(id));
            let stays = half_space::stays(&dots, &self.squared_norms(previous), eps);
            self.table.scale(values, &stays.to_kind(Kind::Double));
        });
    }

    /// theta <- prox of lr lambda_l sum_g d_g ||theta_g|| (the group-lasso baseline, w = d), in place.
    pub fn prox_group_lasso<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor, lr: f64) {
        no_grad(|| {
            let norms = self.squared_norms(&values).sqrt();
            self.table.scale(values, &group_lasso::factors(&norms, &(&self.lambda_d * lr)));
        });
    }

    /// Zeroes all but the k_l groups with the largest z_j of every layer, in place: the final projection, and the step of
    /// the baseline `iht`.
    pub fn project<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor) {
        no_grad(|| {
            let kept = self.largest(&self.squared_norms(&values));
            self.table.scale(values, &kept.to_kind(Kind::Double));
        });
    }

    /// The scaled norms z_j of all groups, `[m]`, layer after layer.
    pub fn norms<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor) -> Vec<f64> {
        let squared = no_grad(|| self.table.sums_on_host(|id| values(id).square()));
        self.levels.iter().flat_map(|level| envelope::scaled_norms(level.of(&squared), &level.layer.d)).collect()
    }

    /// Which groups [`Penalty::project`] keeps, one list a layer.
    pub fn kept<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor) -> Vec<Vec<bool>> {
        let squared = no_grad(|| self.table.sums_on_host(|id| values(id).square()));
        let kept = |level: &Level| {
            let z = envelope::scaled_norms(level.of(&squared), &level.layer.d);
            let flags = topk::largest(&Tensor::from_slice(&z), level.k);
            (0..z.len()).map(|j| flags.int64_value(&[j as i64]) != 0).collect()
        };
        self.levels.iter().map(kept).collect()
    }

    fn largest(&self, squared: &Tensor) -> Tensor {
        let z = self.batch.pad(&self.scaled_norms(squared));
        self.batch.unpad(&topk::largest_of_rows(&z, &self.batch.k))
    }

    /// What every layer looks like now.
    pub fn state<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor) -> Vec<LayerState> {
        let squared = no_grad(|| self.table.sums_on_host(|id| values(id).square()));
        let state = |level: &Level| {
            let z = envelope::scaled_norms(level.of(&squared), &level.layer.d);
            let Minimizer { eta, .. } = envelope::minimizer(&z, level.k);
            LayerState {
                name: level.layer.name.clone(),
                value: envelope::value(&z, eta),
                nonzero_groups: z.iter().filter(|z| **z > 0.0).count(),
                eta,
                z_min: z.iter().copied().fold(f64::INFINITY, f64::min),
                z_max: z.iter().copied().fold(0.0, f64::max),
            }
        };
        self.levels.iter().map(state).collect()
    }

    fn squared_norms<'a>(&self, values: impl Fn(ParamId) -> &'a Tensor) -> Tensor {
        self.table.sums(|id| values(id).square())
    }

    fn scaled_norms(&self, squared: &Tensor) -> Tensor {
        squared.sqrt() * &self.sqrt_d
    }

    /// Factors `[m]` from squared norms `[m]`: `factors` is called with every layer and its z.
    fn on_host(&self, squared: &[f64], factors: impl Fn(&Level, &[f64]) -> Vec<f64>) -> Tensor {
        let layer = |level: &Level| factors(level, &envelope::scaled_norms(level.of(squared), &level.layer.d));
        Tensor::from_slice(&self.levels.iter().flat_map(layer).collect::<Vec<f64>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, Model};
    use crate::params::ParamStore;

    /// An MLP with two hidden layers; each hidden layer's neurons are groups.
    fn network() -> (ParamStore, Box<dyn Model>) {
        let mut store = ParamStore::new(Device::Cpu);
        let arch = serde_json::json!({"name": "mlp", "inputs": 5, "hidden": [6, 9], "classes": 3});
        let model = serde_json::from_value::<Arch>(arch).unwrap().build(&mut store, 3).unwrap();
        (store, model)
    }

    fn penalty(store: &ParamStore, model: &dyn Model, ks: [i64; 2]) -> Result<Penalty> {
        let groups = model.channel_groups(store);
        let table = GroupTable::concat(groups.iter().map(|g| GroupTable::channels(store, g).unwrap()))?;
        let layers = groups.iter().zip(ks).map(|(group, k)| Layer {
            name: group.name.clone(),
            k,
            lambda: 0.4 * (k + 1) as f64,
            d: (0..group.channels).map(|j| 0.5 + 0.2 * j as f64).collect(),
        });
        Penalty::new(table, layers.collect())
    }

    fn host(x: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(x).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let difference = (a - b).abs().max().double_value(&[]);
        assert!(difference <= 1e-12, "the forms differ by {difference}");
    }

    #[test]
    fn host_and_device_form_give_the_same_factors() {
        let (store, model) = network();
        for ks in [[0, 9], [2, 3], [6, 1], [5, 8]] {
            let penalty = penalty(&store, &*model, ks).unwrap();
            let squared = penalty.squared_norms(|id| store.get(id));
            let on_host = host(&squared);
            for lr in [0.0, 0.01, 1.0, 50.0] {
                let host = penalty.prox_factors_on_host(&on_host, lr);
                assert_close(&host, &penalty.prox_factors_on_device(&squared, lr));
            }
            if ks[0] > 0 {
                assert_close(
                    &penalty.gradient_factors_on_host(&on_host),
                    &penalty.gradient_factors_on_device(&squared),
                );
            }
        }
    }

    #[test]
    fn repeated_prox_leaves_k_groups_and_the_projection_agrees() {
        let (store, model) = network();
        let penalty = penalty(&store, &*model, [2, 3]).unwrap();
        let values = |id| store.get(id);
        let untouched = store.get(store.find("fc3.weight").unwrap()).copy();
        let nonzero = || penalty.state(values).iter().map(|s| s.nonzero_groups).collect::<Vec<_>>();
        assert_eq!(nonzero(), [6, 9]);
        for _ in 0..200 {
            penalty.prox(values, 0.05);
        }
        assert_eq!(nonzero(), [2, 3]);
        let kept = penalty.kept(values).into_iter().map(|keep| keep.iter().filter(|k| **k).count());
        assert_eq!(kept.collect::<Vec<_>>(), [2, 3]);
        let before = store.deep_clone();
        penalty.project(values);
        assert_eq!(store.ids().filter(|&id| store.get(id) != before.get(id)).count(), 0);
        assert_eq!(store.get(store.find("fc3.weight").unwrap()), &untouched);
    }

    #[test]
    fn the_gradient_is_that_of_the_sum_of_the_layers() {
        let (store, model) = network();
        let penalty = penalty(&store, &*model, [2, 3]).unwrap();
        let gradients: Vec<Tensor> = store.iter().map(|(_, p)| p.tensor.zeros_like().detach()).collect();
        penalty.add_gradient(|id| &gradients[id.0], |id| store.get(id)).unwrap();
        // GS_k is homogeneous of degree two: <theta, grad> = 2 GS.
        let inner: f64 =
            store.iter().map(|(id, p)| (&p.tensor * &gradients[id.0]).sum(Kind::Double).double_value(&[])).sum();
        let state = penalty.state(|id| store.get(id));
        let value: f64 = penalty.layers().zip(state).map(|(layer, state)| layer.lambda * state.value).sum();
        assert!((inner - 2.0 * value).abs() < 1e-5 * value, "{inner} {value}");
        assert!(
            self::penalty(&store, &*model, [0, 3])
                .unwrap()
                .add_gradient(|id| &gradients[id.0], |id| store.get(id))
                .is_err()
        );
    }

    #[test]
    fn half_space_drops_groups_that_turned_around() {
        let (store, model) = network();
        let penalty = penalty(&store, &*model, [2, 3]).unwrap();
        let before = store.deep_clone();
        let turned = Tensor::from_slice(&[1.0, -1.0, 0.1, 1.0, -0.2, 1.0].map(|x: f64| x));
        let factors = Tensor::cat(&[turned, Tensor::ones(9, (Kind::Double, Device::Cpu))], 0);
        penalty.table().scale(|id| store.get(id), &factors);
        penalty.half_space(|id| store.get(id), |id| before.get(id), 0.2);
        let rows = penalty.table().sums(|id| store.get(id).square());
        let alive: Vec<bool> = host(&rows).iter().map(|&row| row > 0.0).collect();
        assert_eq!(alive[..7], [true, false, false, true, false, true, true]);
    }

    #[test]
    fn group_lasso_kills_the_small_groups() {
        let (store, model) = network();
        let penalty = penalty(&store, &*model, [2, 3]).unwrap();
        let norms = host(&penalty.squared_norms(|id| store.get(id)).sqrt());
        let thresholds = host(&(&penalty.lambda_d * 0.3));
        penalty.prox_group_lasso(|id| store.get(id), 0.3);
        let shrunk = host(&penalty.squared_norms(|id| store.get(id)).sqrt());
        for ((before, after), t) in norms.iter().zip(shrunk).zip(thresholds) {
            assert!((after - (before - t).max(0.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn bad_layers_are_refused_by_name() {
        let (store, model) = network();
        let error = |ks| format!("{:#}", penalty(&store, &*model, ks).err().unwrap());
        assert_eq!(error([7, 1]), "layer fc1: k = 7 must lie between 0 and the number of groups, 6");
        let table = GroupTable::channels(&store, &model.channel_groups(&store)[0]).unwrap();
        let layer = Layer { name: "fc1".into(), k: 1, lambda: 0.1, d: vec![1.0; 5] };
        let error = Penalty::new(table, vec![layer]).err().unwrap().to_string();
        assert_eq!(error, "the layers have 5 groups in all, the table has 6");
    }
}
