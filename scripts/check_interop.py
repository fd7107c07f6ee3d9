#!/usr/bin/env python3
"""Proves that what reglab writes loads elsewhere: checkpoints in PyTorch, tables in pandas, event files in TensorBoard.

    scripts/setup.sh --peers
    python3 -m pip install --target .interop --no-deps torchvision==0.26.0 pillow
    python3 -m pip install --target .interop tensorboard pandas
    PYTHONPATH=.interop .peers/bin/python scripts/check_interop.py [target/release/reglab]

For every architecture: reglab trains one for two steps, PyTorch's own definition takes its file with load_state_dict(strict),
and `reglab selftest` compares both programs' logits on random images.
"""
import csv, glob, json, os, struct, subprocess, sys, tempfile, zlib

import pandas, torch, torchvision
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "target/release/reglab"


def png(path, pixels):
    """Writes 32x32 RGB pixels (3,072 bytes)."""
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + pixels[96 * y:96 * y + 96] for y in range(32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b""))


def images(folder):
    for name in ["a", "b", "c"]:
        os.makedirs(f"{folder}/{name}")
        for i in range(20):
            png(f"{folder}/{name}/{i}.png", os.urandom(3072))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3072, 256), nn.Linear(256, 3)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Block(nn.Module):
    """akamaster/pytorch_resnet_cifar10's block, option A."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, ::self.stride, ::self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)))


class CifarResnet(nn.Module):
    def __init__(self, blocks=3, classes=3):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        stage = lambda a, b, s: nn.Sequential(Block(a, b, s), *[Block(b, b, 1) for _ in range(blocks - 1)])
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def small_stem(net):
    """The stem for small images that kuangliu/pytorch-cifar and others give to torchvision's ResNets."""
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


def vgg16_bn():
    net = torchvision.models.vgg16_bn(num_classes=3)
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 3)
    return net


NETWORKS = {
    "mlp": Mlp,
    "cifar-resnet": CifarResnet,
    "resnet18": lambda: small_stem(torchvision.models.resnet18(num_classes=3)),
    "resnet34": lambda: small_stem(torchvision.models.resnet34(num_classes=3)),
    "resnet50": lambda: torchvision.models.resnet50(num_classes=3),
    "vgg16-bn": vgg16_bn,
}


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"reglab {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def train(name, data, results):
    run("prune", "wgsef", "--arm", "dense", "-q", "--tensorboard", "--results", results, "--name", name,
        "data.name=folder", f"data.path={data}", "data.train=40", "data.test=20", f"model.name={name}",
        "method.k=10000", "method.clamp_k=true", "method.latency_runs=0", "train.epochs=1", "finetune.epochs=0",
        "train.log_every=1", *(["model.depth=20"] if name == "cifar-resnet" else []))
    return f"{results}/prune/wgsef/{name}"


def check_network(name, folder, cases):
    file = sorted(glob.glob(f"{folder}/checkpoints/*/model.safetensors"))[-1]
    net = NETWORKS[name]()
    net.load_state_dict(load_file(file), strict=True)
    net.eval()
    x = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        y = net(x)
    os.link(file, f"{cases}/{name}.safetensors")
    meta = {"op": "model.logits", "params": json.dumps({"checkpoint": f"{name}.safetensors"}), "rtol": "1e-4", "atol": "1e-4"}
    save_file({"in.x": x, "out.y": y}, f"{cases}/{name}-case.safetensors", metadata=meta)


def check_tables(folder):
    for path in glob.glob(f"{folder}/*.csv"):
        frame = pandas.read_csv(path)
        with open(path) as file:
            assert len(frame) == len(list(csv.reader(file))) - 1, path
    events = EventAccumulator(f"{folder}/tensorboard")
    events.Reload()
    train = pandas.read_csv(f"{folder}/train.csv")
    phase = train.phase.iloc[0]  # a column of text is part of the tag
    points = events.Scalars(f"train/loss/{phase}")
    assert [p.step for p in points] == list(train.step), "steps in TensorBoard"
    assert all(abs(p.value - loss) < 1e-6 * abs(loss) for p, loss in zip(points, train.loss)), "losses in TensorBoard"
    return len(train)


def main():
    with tempfile.TemporaryDirectory() as place:
        images(f"{place}/data")
        os.mkdir(f"{place}/cases")
        for name in NETWORKS:
            folder = train(name, f"{place}/data", f"{place}/results")
            check_network(name, folder, f"{place}/cases")
            rows = check_tables(folder)
            print(f"{name}: loads in PyTorch; {rows} rows of train.csv are the same in pandas and TensorBoard")
        print(run("selftest", "--cases", f"{place}/cases").strip())


main()
