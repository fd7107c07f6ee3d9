"""The networks and training settings that reglab and PyTorch are timed on; `reglab bench --case NAME` runs the same.

One step: the next `batch` places of a random order of the set, gathered from uint8 samples on the device and scaled to
[0, 1]; forward, cross-entropy, backward, SGD; the loss added to a running sum on the device.
"""

from dataclasses import dataclass
from typing import Callable

import torch
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    """64-256-10."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 256), nn.Linear(256, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class LeNet5(nn.Module):
    """Two 5x5 convolutions (6, 16) without padding, each with ReLU and 2x2 max pooling; 256-120-84-10."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:  # option A: every other pixel, zeros for the new channels
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2: three stages of three blocks with 16, 32, 64 channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16, 1)] + 2 * [(16, 16, 1)] + [(16, 32, 2)] + 2 * [(32, 32, 1)] + [(32, 64, 2)] + 2 * [(64, 64, 1)]
        self.blocks = nn.Sequential(*(Block(*width) for width in widths))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


@dataclass(frozen=True)
class Case:
    model: Callable[[], nn.Module]
    sample: tuple[int, int, int]
    samples: int
    batch: int
    lr: float
    momentum: float
    weight_decay: float


CASES = {
    "mlp-digits": Case(Mlp, (1, 8, 8), 1797, 64, 0.1, 0.9, 0.0),
    "lenet-mnist": Case(LeNet5, (1, 28, 28), 60_000, 128, 0.01, 0.9, 0.0),
    "resnet20-cifar": Case(ResNet20, (3, 32, 32), 50_000, 128, 0.1, 0.9, 1e-4),
}
CLASSES = 10


class Data:
    """Random samples and labels on the device, and the places of each next batch: a new order every epoch."""

    def __init__(self, case, device):
        self.case, self.device = case, device
        self.samples = torch.randint(0, 256, (case.samples, *case.sample), dtype=torch.uint8, device=device)
        self.labels = torch.randint(0, CLASSES, (case.samples,), device=device)
        self.at = case.samples

    def next_batch(self):
        if self.at + self.case.batch > self.case.samples:
            self.order = torch.randperm(self.case.samples, device=self.device)
            self.at = 0
        self.at += self.case.batch
        return self.order[self.at - self.case.batch : self.at]
