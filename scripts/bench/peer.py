"""One PyTorch competitor as a long-lived process:  peer.py CASE MODE DEVICE

It reads lines `run N`, takes N training steps and answers `seconds S`. MODE is eager (torch.optim's default), fused
(eager with fused=True) or compile (torch.compile, in the fastest of its settings on this machine).
"""

import contextlib
import logging
import sys
import time

logging.disable(logging.WARNING)  # torch.compile's remarks about what it skips

import torch
import torch._inductor.config
from torch.nn import functional as F

from cases import CASES, Data

torch._inductor.config.autotune_num_choices_displayed = 0
torch._inductor.config.max_autotune_report_choices_stats = False

TRIAL_SECONDS = 1.0


def say(text):
    print(f"{' '.join(sys.argv[1:])}: {text}", file=sys.stderr, flush=True)


class Trainer:
    """`compiled`: the mode of torch.compile for the loss, `step_compiled`: whether it compiles the optimizer too."""

    def __init__(self, case, device, fused=None, compiled=None, step_compiled=False):
        torch.manual_seed(0)
        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        self.data = Data(case, self.device)
        # As reglab does: channels-last and bfloat16 autocast on a GPU, plain float32 on a CPU.
        layout = torch.channels_last if on_gpu else torch.contiguous_format
        model = case.model().to(self.device, memory_format=layout)

        def loss(places):
            x = self.data.samples[places].float() / 255
            cast = torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext()
            with cast:
                logits = model(x.contiguous(memory_format=layout))
                return F.cross_entropy(logits, self.data.labels[places])

        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=case.lr, momentum=case.momentum, weight_decay=case.weight_decay, fused=fused
        )
        self.loss = torch.compile(loss, mode=compiled) if compiled else loss
        self.optimizer_step = torch.compile(self.optimizer.step) if step_compiled else self.optimizer.step
        self.running_loss = torch.zeros((), device=self.device)

    def run(self, steps):
        """Seconds of `steps` training steps."""
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.loss(self.data.next_batch())
            loss.backward()
            self.optimizer_step()
            self.optimizer.zero_grad(set_to_none=True)
            self.running_loss += loss.detach()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def pace(trainer):
    """Seconds a step once it is warm: runs of twice as many steps until one lasts long enough."""
    steps = 1
    while (seconds := trainer.run(steps)) < TRIAL_SECONDS:
        steps *= 2
    return min(seconds, trainer.run(steps)) / steps


def fastest_compiled(case, device):
    """Compiles in every setting and keeps the fastest: the strongest opponent."""
    best = None
    for mode in ("default", "max-autotune"):
        for optimizer in ({"fused": True}, {"step_compiled": True}):
            name = f"{mode}, optimizer {'fused' if 'fused' in optimizer else 'compiled'}"
            try:
                torch._dynamo.reset()
                trainer = Trainer(case, device, compiled=mode, **optimizer)
                trainer.run(3)  # compiles
                seconds = pace(trainer)
            except Exception as error:
                say(f"{name} does not work: {type(error).__name__}: {str(error).splitlines()[0]}")
                continue
            say(f"{name}: {1 / seconds:.1f} steps/s")
            if best is None or seconds < best[0]:
                best = (seconds, mode, optimizer)
    if best is None:
        sys.exit("torch.compile works in none of its settings")
    torch._dynamo.reset()
    return Trainer(case, device, compiled=best[1], **best[2])


def main():
    case, mode, device = CASES[sys.argv[1]], sys.argv[2], sys.argv[3]
    trainer = {
        "eager": lambda: Trainer(case, device),
        "fused": lambda: Trainer(case, device, fused=True),
        "compile": lambda: fastest_compiled(case, device),
    }[mode]()
    for line in sys.stdin:
        print(f"seconds {trainer.run(int(line.removeprefix('run ')))}", flush=True)


main()
