//! The update rules, schedules and gradient clipping against what PyTorch does (tests/fixtures/make_optimizers.py).

use std::collections::HashMap;
use std::path::Path;

use reglab::native::{generator_state, set_generator_state};
use reglab::params::file::{self, TensorFile};
use reglab::params::{ParamStore, Role};
use reglab::train::{Optimizer, OptimizerConfig, ParamGroup, ScheduleConfig, clip_grad_norm, clip_grad_value};
use tch::{Device, Kind, Tensor};

struct Fixture {
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

fn fixture(name: &str) -> Fixture {
    let path = Path::new("tests/fixtures").join(name);
    let TensorFile { tensors, metadata } = file::read(&path).expect("a fixture");
    Fixture { tensors: tensors.into_iter().collect(), metadata }
}

/// The largest |a - b| / (|b| + 0.01).
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.detach().to_kind(Kind::Double), b.to_kind(Kind::Double));
    ((a - &b).abs() / (b.abs() + 0.01)).max().double_value(&[])
}

/// Takes all steps of each configuration of a file; every value after every step must agree. PyTorch went in float64; in
/// float32 twenty steps drift apart by rounding.
fn compare_optimizer(name: &str) {
    compare_in(Kind::Double, 1e-12, name);
    compare_in(Kind::Float, 1e-4, name);
}

fn compare_in(kind: Kind, tolerance: f64, name: &str) {
    let fixture = fixture(name);
    assert!(!fixture.metadata.is_empty());
    for (configuration, text) in &fixture.metadata {
        let mut table: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).expect("a table");
        let late = table.remove("late").and_then(|late| late.as_i64()).unwrap_or(0);
        let config: OptimizerConfig = serde_json::from_value(table.into()).expect("a configuration");
        let mut store = ParamStore::new(Device::Cpu);
        for parameter in ["a", "b"] {
            let start = &fixture.tensors[&format!("start.{parameter}")];
            // A double's copy: `to_kind` of the same kind is the fixture's own tensor.
            store.add(parameter, Role::Weight, start.to_kind(kind).copy());
        }
        let group = ParamGroup::all(&store, &config);
        let mut optimizer = Optimizer::new(&config, vec![group], &store).expect("an optimizer");
        for step in 0..20 {
            let gradient = |parameter: &str| {
                let absent = parameter == "b" && step < late;
                (!absent).then(|| fixture.tensors[&format!("grads.{parameter}")].get(step).to_kind(kind))
            };
            optimizer.step(&store, &[gradient("a"), gradient("b")], config.lr).expect("a step");
            for (_, param) in store.iter() {
                let expected = fixture.tensors[&format!("{configuration}.{}", param.name)].get(step);
                let distance = distance(&param.tensor, &expected);
                assert!(distance < tolerance, "{name}: {configuration}, step {step}, {}: {distance}", param.name);
            }
        }
    }
}

#[test]
fn sgd_is_pytorchs() {
    compare_optimizer("optimizer-sgd.safetensors");
}

#[test]
fn adam_is_pytorchs() {
    compare_optimizer("optimizer-adam.safetensors");
}

#[test]
fn adamw_is_pytorchs() {
    compare_optimizer("optimizer-adamw.safetensors");
}

#[test]
fn rmsprop_is_pytorchs() {
    compare_optimizer("optimizer-rmsprop.safetensors");
}

#[test]
fn schedules_are_pytorchs() {
    let fixture = fixture("schedules.safetensors");
    let number = |name: &str| fixture.metadata[name].parse::<f64>().expect("a number");
    let (base, per_epoch, total) = (number("base"), number("steps_per_epoch") as u64, number("total_steps") as u64);
    assert!(!fixture.tensors.is_empty());
    for (name, rates) in &fixture.tensors {
        let schedule: ScheduleConfig = serde_json::from_str(&fixture.metadata[name]).expect("a configuration");
        schedule.check().expect("a schedule");
        for step in 0..total {
            let (ours, theirs) = (schedule.lr(base, step, per_epoch, total), rates.double_value(&[step as i64]));
            assert!((ours - theirs).abs() < 1e-12, "{name}, step {step}: {ours}, PyTorch has {theirs}");
        }
    }
}

#[test]
fn clipping_is_pytorchs() {
    let fixture = fixture("clip.safetensors");
    let named = |name: &str| ["a", "b"].map(|parameter| Some(fixture.tensors[&format!("{name}.{parameter}")].copy()));
    let compare = |name: &str, clip: &dyn Fn(&mut [Option<Tensor>])| {
        let mut grads = named("grads");
        clip(&mut grads);
        for (ours, theirs) in grads.iter().flatten().zip(named(name).iter().flatten()) {
            assert!(distance(ours, theirs) < 1e-12, "{name}");
        }
    };
    compare("norm-0.7", &|grads| drop(clip_grad_norm(grads, 0.7).expect("clipping")));
    compare("norm-100", &|grads| drop(clip_grad_norm(grads, 100.0).expect("clipping")));
    compare("value-0.5", &|grads| clip_grad_value(grads, 0.5).expect("clipping"));
}

/// Here and not beside the code: no other test of this program draws random numbers meanwhile.
#[test]
fn a_restored_generator_repeats() {
    let draw = || Vec::<f32>::try_from(Tensor::rand([4], (Kind::Float, Device::Cpu))).expect("values");
    let state = generator_state(Device::Cpu).expect("a state");
    let first = draw();
    assert_ne!(draw(), first);
    set_generator_state(Device::Cpu, &state).expect("its own state");
    assert_eq!(draw(), first);
}
