//! Bad input gets one clear sentence, the right exit code, and loses nothing.

mod common;

use common::{SMALL, Scratch};
use std::path::Path;
use std::process::Output;

/// Exit code, and what the sentence must contain.
fn refused(output: &Output, code: i32, needles: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    let sentences: Vec<&str> = error.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(sentences.len(), 1, "one sentence: {error}");
    assert!(!error.contains("panicked") && !error.contains("frame #") && !error.contains("defect"), "{error}");
    for needle in needles {
        assert!(
            sentences[0].contains(needle) || (code == 2 && error.contains(needle)),
            "{needle:?} is not in: {error}"
        );
    }
}

fn usage(args: &[&str], needles: &[&str]) {
    let scratch = Scratch::new();
    refused(&scratch.reglab(args), 2, needles);
    assert!(!scratch.path().join("results").exists(), "nothing may be written for a usage error");
}

fn wgsef(overrides: &[&str], needles: &[&str]) {
    usage(&[&["prune", "wgsef"], overrides].concat(), needles);
}

/// Writes a file below the folder.
fn file(scratch: &Scratch, name: &str, bytes: impl AsRef<[u8]>) {
    let path = scratch.path().join(name);
    std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
    std::fs::write(&path, bytes).expect("a file");
}

/// A run that fails after its folder was made: exit code 1.
fn fails(scratch: &Scratch, overrides: &[&str], needles: &[&str]) {
    refused(&scratch.reglab(&[SMALL, &["-q"], overrides].concat()), 1, needles);
}

#[test]
fn mistyped_words() {
    usage(&["prun", "wgsef"], &["prun"]);
    usage(&["prune", "wgsf"], &["wgsf", "wgsef"]);
    wgsef(&["--preset", "quik"], &["no preset \"quik\"", "did you mean quick", "gpu"]);
    wgsef(&["--arm", "magnitud"], &["no arm \"magnitud\"", "did you mean magnitude"]);
    wgsef(&["--seed", "-1"], &["--seed"]);
    wgsef(&["--jobs", "0"], &["--jobs"]);
    wgsef(&["--nmae", "x"], &["--nmae"]);
    usage(&["show", "wgseff"], &["no method \"wgseff\"", "did you mean wgsef"]);
}

#[test]
fn values_that_other_pruning_methods_cannot_use() {
    let masks =
        |overrides: &[&str], needles: &[&str]| usage(&[&["prune", "mask-sparsity"], overrides].concat(), needles);
    masks(&["method.fraction=1.0"], &["method.fraction = 1", "below 1"]);
    masks(&["method.rule=threshold", "method.criterion=l1"], &["method.criterion should be \"bn\""]);
    masks(&["method.rule=energy", "method.macs=0.5"], &["method.macs needs method.rule"]);
    let gates =
        |overrides: &[&str], needles: &[&str]| usage(&[&["prune", "polarization"], overrides].concat(), needles);
    gates(&["method.target=1.5"], &["method.target", "1.5"]);
    gates(&["train.batch=4"], &["train.batch = 4", "8 or more"]);
    gates(&["train.accumulate=2"], &["train.accumulate = 2"]);
    gates(&["method.ramp.start=2.0"], &["ramp.start"]);
    usage(&["export", "nowhere", "-o", "net.pt"], &["nowhere is no safetensors file, checkpoint or run"]);
    usage(&["export", "nowhere", "-o", "net.onnx"], &["net.onnx should end in .pt"]);
}

#[test]
fn unknown_keys_name_the_nearest() {
    wgsef(
        &["method.sparsty=0.9"],
        &["method.sparsty=0.9", "unknown key method.sparsty", "did you mean method.sparsity"],
    );
    wgsef(&["trian.epochs=5"], &["unknown key trian", "did you mean train"]);
    wgsef(&["train.optimizer.learning_rate=1"], &["unknown key train.optimizer.learning_rate", "lr"]);
    wgsef(&["model.depth=20"], &["unknown key model.depth", "hidden"]);
    wgsef(&["sparsity"], &["not of the form KEY=VALUE"]);
    wgsef(&["a b=1"], &["not a dotted key"]);
}

#[test]
fn wrong_values_name_what_would_be_right() {
    wgsef(&["train.epochs=many"], &["train.epochs = \"many\" should be a whole number"]);
    wgsef(&["train.epochs=1.5"], &["train.epochs = 1.5 should be a whole number"]);
    wgsef(&["train.batch=0"], &["train.batch = 0 should be a whole number >= 1"]);
    wgsef(&["method.sparsity=-0.1"], &["method.sparsity = -0.1 should be a number >= 0 and <= 1"]);
    wgsef(&["method.sparsity=1.5"], &["method.sparsity = 1.5"]);
    wgsef(&["method.sparsity=1.0"], &["should be below 1"]);
    wgsef(&["method.lambda=-1"], &["method.lambda = -1 should be a number >= 0"]);
    wgsef(&["method.lambda=nan"], &["method.lambda"]);
    wgsef(&["method.regularizer=wgsf"], &["method.regularizer = \"wgsf\" should be one of", "did you mean wgsef"]);
    wgsef(&["data.name=minst"], &["data.name = \"minst\"", "did you mean mnist"]);
    wgsef(&["model.name=mpl"], &["model.name = \"mpl\"", "did you mean mlp"]);
    wgsef(&["train.optimizer.lr=-1"], &["train.optimizer.lr"]);
    wgsef(&["train=5"], &["train = 5", "table"]);
    wgsef(&["train.epochs.x=5"], &["train.epochs is a table", "should be a whole number"]);
    wgsef(&["data.augment.pad_crop=-1"], &["data.augment.pad_crop = -1"]);
}

#[test]
fn devices() {
    wgsef(&["--device", "tpu"], &["device = \"tpu\" should be cpu, cuda, cuda:N or auto"]);
    if !tch::Cuda::is_available() {
        wgsef(&["--device", "cuda"], &["no CUDA GPU is visible", "reglab doctor"]);
        wgsef(&["--device", "cuda:7"], &["no CUDA GPU is visible"]);
    }
}

#[test]
fn experiment_files() {
    let scratch = Scratch::new();
    let refuse = |args: &[&str], needles: &[&str]| refused(&scratch.reglab(args), 2, needles);
    refuse(&["prune", "wgsef", "-c", "nope.toml"], &["cannot read the experiment file nope.toml"]);
    file(&scratch, "broken.toml", "[train]\nepochs = = 3\n");
    refuse(&["prune", "wgsef", "-c", "broken.toml"], &["broken.toml:2: not valid TOML"]);
    file(&scratch, "bytes.toml", [0xff, 0xfe, 0x00]);
    refuse(&["prune", "wgsef", "-c", "bytes.toml"], &["bytes.toml is not a text file"]);
    file(&scratch, "key.toml", "seed = 1\n\n[train]\nepochs = 3\nbtach = 4\n");
    refuse(&["prune", "wgsef", "-c", "key.toml"], &["key.toml:5: unknown key train.btach", "did you mean train.batch"]);
    file(&scratch, "arm.toml", "[arms.a]\nmethod.lamda = 1\n");
    refuse(&["prune", "wgsef", "-c", "arm.toml"], &["unknown key method.lamda", "did you mean method.lambda"]);
    file(&scratch, "nameless.toml", "seed = 1\n");
    refuse(&["run", "nameless.toml"], &["does not name its method"]);
    file(&scratch, "stranger.toml", "[method]\nname = \"nosuch\"\n");
    refuse(&["run", "stranger.toml"], &["no method \"nosuch\""]);
    refuse(&["prune", "wgsef", "-c", "stranger.toml"], &["for the method nosuch, not for wgsef"]);
}

#[test]
fn data_files() {
    let scratch = Scratch::new();
    let mnist = &["data.name=mnist", "data.train=0", "data.test=0", "--data-root", "d"];
    fails(&scratch, mnist, &["train-images-idx3-ubyte", "reglab data get mnist"]);
    for name in ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        file(&scratch, &format!("d/mnist/{name}"), [0u8, 0, 8, 1, 0, 0, 0, 0]);
    }
    file(&scratch, "d/mnist/train-images-idx3-ubyte", b"\x00\x00\x08\x07 not an image file");
    fails(&scratch, mnist, &["train-images-idx3-ubyte"]);
    file(&scratch, "d/mnist/train-images-idx3-ubyte", [0u8, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2, 3]);
    fails(&scratch, mnist, &["train-images-idx3-ubyte"]);
    let cifar = &["data.name=cifar10", "data.train=0", "data.test=0", "--data-root", "d"];
    fails(&scratch, cifar, &["cifar-10-batches-bin", "reglab data get cifar10"]);
    for i in 1..=5 {
        file(&scratch, &format!("d/cifar-10-batches-bin/data_batch_{i}.bin"), vec![1u8; 3073 * 2 - 7]);
    }
    file(&scratch, "d/cifar-10-batches-bin/test_batch.bin", vec![1u8; 3073]);
    fails(&scratch, cifar, &["data_batch_1.bin"]);
    let folder = |path: &'static str| vec!["data.name=folder", path, "data.train=0", "data.test=0", "--data-root", "d"];
    fails(&scratch, &folder("data.path=nowhere"), &["nowhere"]);
    file(&scratch, "d/empty/readme.txt", "no classes here");
    fails(&scratch, &folder("data.path=empty"), &["empty"]);
    file(&scratch, "d/photos/cat/a.png", b"\x89PNG but not really");
    file(&scratch, "d/photos/dog/b.png", b"\x89PNG but not really");
    fails(&scratch, &folder("data.path=photos"), &["a.png"]);
    fails(&scratch, &["data.train=5000"], &["data.train = 5000", "1797"]);
    fails(&scratch, &["method.k=300"], &["method.k = 300", "256"]);
    fails(&scratch, &["model.hidden=[0]"], &["positive", "[64, 0, 10]"]);
}

#[test]
fn checkpoints_to_start_from() {
    let scratch = Scratch::new();
    fails(&scratch, &["method.start=nope.safetensors"], &["nope.safetensors"]);
    file(&scratch, "pickle.pt", b"PK\x03\x04 a zip archive as torch.save writes it");
    fails(&scratch, &["method.start=pickle.pt"], &["pickle.pt", "safetensors"]);
    scratch.succeed(&[SMALL, &["--name", "good", "-q"]].concat());
    let good = scratch.path().join("results/prune/wgsef/good/checkpoints/168/model.safetensors");
    let bytes = std::fs::read(&good).expect("the checkpoint at the end of training");
    file(&scratch, "cut.safetensors", &bytes[..bytes.len() / 2]);
    fails(&scratch, &["method.start=cut.safetensors"], &["cut.safetensors", "truncated"]);
    let start = format!("method.start={}", good.display());
    fails(&scratch, &[&start, "model.hidden=[32]"], &["fc1.weight", "[256, 64]", "[32, 64]"]);
    fails(&scratch, &[&start, "model.hidden=[256, 32]"], &["fc2.weight", "[10, 256]", "[32, 256]"]);
    scratch.succeed(&[SMALL, &["-q", &start]].concat());
}

#[test]
fn places() {
    let scratch = Scratch::new();
    file(&scratch, "occupied", "a file, not a folder");
    fails(&scratch, &["--results", "occupied"], &["occupied"]);
    scratch.succeed(&[SMALL, &["--name", "r", "-q"]].concat());
    let run = scratch.path().join("results/prune/wgsef/r");
    let before = common::tables(&run);
    fails(&scratch, &["--name", "r"], &["exists already", "--force"]);
    assert_eq!(common::tables(&run), before, "an existing result is not touched");
    refused(&scratch.reglab(&[SMALL, &["--name", "../x"]].concat()), 2, &["--name"]);
    refused(&scratch.reglab(&["resume", "results"]), 2, &["results is not the folder of a run"]);
    file(&scratch, "results/prune/wgsef/mine/notes.txt", "not a run");
    fails(&scratch, &["--name", "mine", "--force"], &["not the folder of a run"]);
    refused(&scratch.reglab(&["report", "nowhere"]), 1, &["nowhere"]);
    refused(&scratch.reglab(&["plot", "results/prune/wgsef/r", "-y", "los"]), 2, &["column los", "did you mean loss"]);
    refused(&scratch.reglab(&["plot", "results/prune/wgsef/r", "-o", "x.txt"]), 2, &["x.txt"]);
    refused(&scratch.reglab(&["selftest", "--cases", "nowhere"]), 2, &["nowhere"]);
    refused(&scratch.reglab(&["selftest", "--cases", "results"]), 1, &["holds no oracle cases"]);
    refused(&scratch.reglab(&["data", "get", "minst"]), 2, &["minst", "did you mean mnist"]);
}

#[test]
fn a_busy_or_damaged_run_is_left_alone() {
    let scratch = Scratch::new();
    scratch.succeed(&[SMALL, &["--name", "r", "-q"]].concat());
    let run = scratch.path().join("results/prune/wgsef/r");
    std::fs::remove_file(run.join("summary.json")).expect("pretend it did not finish");
    let resume = || scratch.reglab(&["resume", "results/prune/wgsef/r", "-q"]);
    let lock = std::fs::File::options().write(true).open(run.join(".lock")).expect("the lock");
    lock.lock().expect("held by this test");
    let before = common::tables(&run);
    refused(&resume(), 1, &["in use by another process"]);
    fails(&scratch, &["--name", "r", "--force"], &["in use by another process"]);
    assert_eq!(common::tables(&run), before);
    drop(lock);
    let last = run.join("checkpoints/last");
    let model = std::fs::read(last.join("model.safetensors")).expect("a checkpoint");
    std::fs::write(last.join("model.safetensors"), &model[..100]).expect("cut");
    refused(&resume(), 1, &["model.safetensors", "truncated"]);
    std::fs::write(last.join("model.safetensors"), &model).expect("mended");
    let meta = std::fs::read(last.join("meta.json")).expect("a checkpoint");
    std::fs::write(last.join("meta.json"), "{").expect("cut");
    refused(&resume(), 1, &["meta.json is damaged"]);
    std::fs::write(last.join("meta.json"), meta).expect("mended");
    scratch.succeed(&["resume", "results/prune/wgsef/r", "-q"]);
    assert_eq!(common::tables(&run), before);
}

#[test]
fn numbers_that_blow_up_name_step_and_term() {
    let scratch = Scratch::new();
    fails(
        &scratch,
        &["train.optimizer.lr=1e30", "method.regularizer=none", "--name", "r"],
        &["step ", "not finite", "checkpoint"],
    );
    let record = std::fs::read_to_string(scratch.path().join("results/prune/wgsef/r/run.json")).expect("a record");
    assert!(record.contains("\"failed\"") && record.contains("not finite"), "{record}");
}

/// A disk of 1 MiB that fills up in the middle of a run. Needs the right to mount.
#[test]
fn a_full_disk_says_so() {
    let scratch = Scratch::new();
    let small = scratch.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let mount =
        |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).output().is_ok_and(|o| o.status.success());
    let place = small.to_string_lossy().into_owned();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", &place]) {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    }
    let output = scratch.reglab(&[SMALL, &["-q", "--results", "small", "checkpoint.every_steps=1"]].concat());
    let whole = std::panic::catch_unwind(|| refused(&output, 1, &["cannot write"]));
    let leftovers = has_leftovers(&small);
    assert!(mount(&["umount", &place]));
    whole.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    assert!(!leftovers, "half-written files stay behind");
}

fn has_leftovers(folder: &Path) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        entry.file_name().to_string_lossy().contains(".tmp") || (path.is_dir() && has_leftovers(&path))
    })
}
