#!/usr/bin/env python3
"""Times training steps of reglab beside PyTorch's, all in one run.

    scripts/setup.sh --peers && cargo build --release
    python3 scripts/bench/bench.py [--device cpu] [--csv rounds.csv]

All programs of a case (cases.py) stay alive; in every round each takes the same number of steps in turn, so that whatever
else the machine does meets all of them alike. A ratio is the median over the rounds of the ratio within a round.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ["eager", "fused", "compile"]
CASES = ["mlp-digits", "lenet-mnist", "resnet20-cifar"]


def physical_cores():
    """Cores that this process may use, hyper-threads counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count()))
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(cpu)
    return len(siblings)


class Program:
    """A process that takes training steps on demand: reads `run N`, answers `seconds S`."""

    def __init__(self, name, command, threads):
        self.name = name
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def run(self, steps):
        """Seconds of `steps` steps."""
        try:
            self.process.stdin.write(f"run {steps}\n")
        except BrokenPipeError:
            pass  # it has ended: the empty answer says so
        answer = self.process.stdout.readline()
        if not answer.startswith("seconds "):
            self.close()
            raise RuntimeError(f"{self.name} answered {answer!r} to 'run {steps}' (exit code {self.process.returncode})")
        return float(answer.split()[1])

    def pace(self, long_enough):
        """Seconds a step once it is warm: runs of twice as many steps until one lasts `long_enough` seconds."""
        steps = 1
        while (seconds := self.run(steps)) < long_enough:
            steps *= 2
        return seconds / steps

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


def programs(case, options):
    if options.reglab:
        command = [options.reglab, "bench", "--case", case, "--device", options.device]
        yield Program("reglab", command, options.threads)
    for peer in options.peers:
        command = [options.python, str(HERE / "peer.py"), case, peer, options.device]
        yield Program(peer, command, options.threads)


def measure(case, options):
    """Rows (round, program, steps, seconds) of one case."""
    running = list(programs(case, options))
    try:
        paces = []
        for program in running:
            print(f"{case}: warming {program.name} up", file=sys.stderr)
            paces.append(program.pace(options.seconds))
        steps = max(1, int(options.seconds / statistics.median(paces)))
        rows = []
        for number in range(options.rounds):
            print(f"{case}: round {number + 1} of {options.rounds}, {steps} steps", file=sys.stderr)
            start = number % len(running)
            for program in running[start:] + running[:start]:  # nobody is always first
                rows.append((number, program.name, steps, program.run(steps)))
        return rows
    finally:
        for program in running:
            program.close()


def summary(rows):
    """Steps per second of each program, and of reglab over each other program."""
    rate = {}
    for number, program, steps, seconds in rows:
        rate.setdefault(program, {})[number] = steps / seconds
    median = {program: statistics.median(rates.values()) for program, rates in rate.items()}
    ratio = {}
    if "reglab" in rate:
        for program in rate.keys() - {"reglab"}:
            ratio[program] = statistics.median(rate["reglab"][n] / rate[program][n] for n in rate[program])
    return median, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=CASES, type=lambda text: text.split(","), help="comma-separated")
    parser.add_argument("--peers", default=PEERS, type=lambda text: [p for p in text.split(",") if p], help="comma-separated")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--threads", default=physical_cores(), type=int, help="of every program (default: physical cores)")
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=1.0, type=float, help="of one program's turn in a round")
    parser.add_argument("--reglab", default=str(ROOT / "target/release/reglab"), help="the program; empty: peers alone")
    parser.add_argument("--python", default=str(ROOT / ".peers/bin/python"), help="a Python with torch 2.11")
    parser.add_argument("--csv", help="file for every round's numbers")
    options = parser.parse_args()
    for program, remedy in [(options.reglab, "cargo build --release"), (options.python, "scripts/setup.sh --peers")]:
        if program and not os.access(program, os.X_OK):
            sys.exit(f"bench: {program} does not exist; run '{remedy}'")
    unknown = set(options.cases) - set(CASES) | set(options.peers) - set(PEERS)
    if unknown:
        sys.exit(f"bench: unknown {', '.join(sorted(unknown))}; cases: {', '.join(CASES)}; peers: {', '.join(PEERS)}")

    names = (["reglab"] if options.reglab else []) + options.peers
    compared = options.peers if options.reglab else []
    print(f"Training steps per second on {options.device} with {options.threads} threads, medians of {options.rounds} rounds\n")
    print("| case | " + " | ".join(names + [f"reglab/{peer}" for peer in compared]) + " |")
    print("|---" + "|---:" * (len(names) + len(compared)) + "|")
    everything = []
    for case in options.cases:
        try:
            rows = measure(case, options)
        except RuntimeError as error:
            sys.exit(f"bench: {case}: {error}")
        everything += [(case, *row, row[2] / row[3]) for row in rows]
        median, ratio = summary(rows)
        cells = [f"{median[name]:.0f}" for name in names] + [f"{ratio[peer]:.2f}" for peer in compared]
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["case", "round", "program", "steps", "seconds", "steps_per_second"])
            writer.writerows(everything)


main()
