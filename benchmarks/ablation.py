"""What each part of the mixture is worth: networks fitted for equal time, in equal bytes.

Every row is a network of the planner's size for --ratio, fitted on one thread for as many steps as
take --seconds by their best time, and measured in float. Those marked as coded are quantized to the
very bytes too, and measured as the network of the coded integers. Results go to a CSV file, a line
each; what is there already is not measured again. Prints Markdown tables. The volumes are looked
for in --data, by default the folder in INRCODEC_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from measuring import Problem, add_data_option, append, is_known, lines, path_of
from torch import Tensor

from inrcodec import planner
from inrcodec.architecture import Activation, Architecture, Gate, Mixture, Partition, Stack
from inrcodec.entropy.network import encode_network
from inrcodec.fitting import fit, pretraining, routing, sampling
from inrcodec.fitting.batches import ROUTED_STEPS
from inrcodec.fitting.deadline import Deadline
from inrcodec.fitting.importance import cell_variation
from inrcodec.fitting.quantize import quantize
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model import stack
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR
from inrcodec.model.network import from_quantized, initialized
from inrcodec.model.sine import TURN
from inrcodec.planner import Allocation, NetworkChoice

GATE_WIDTH = 16

PILOT_STEPS = 1 << 30
"""More than there is time for."""
PHASE_SECONDS = 4.0
"""Of a pilot fit, at the least, while the gate learns, and while it rests."""
LEARNING, RESTING = 0.0, 0.95
"""Shares of a fit at which a gate does so, where it rests at all."""

Patches = list[tuple[Any, str, Any]]
"""Module, name, and what is there instead."""

IN_A_PILOT: Patches = [(routing, "FIRST_STEP", 0), (sampling, "_POOL", 1 << 19)]
"""Soon as in the course of a fit: gates are taught, and voxels of those that rest are routed."""


@dataclass(frozen=True)
class Row:
    """One network, and one way of fitting it."""

    name: str
    network: NetworkChoice
    gate: Callable[[Mixture], Gate] | None = None
    pretrained: bool = True
    patches: Patches = field(default_factory=list)
    batch: int | None = None
    prepare: Callable[[INR], None] | None = None
    coded: bool = False


def gate_on_features(mixture: Mixture) -> Gate:
    """MoEC's: a ReLU network of two layers and a linear map on the shared encoder's features."""
    return Gate(Stack(0, 0), Stack(2, GATE_WIDTH), mixture.gate.active)


def gate_on_its_own(mixture: Mixture) -> Gate:
    """Neural Experts' without the features of the experts' encoder."""
    return replace(mixture.gate, reads_features=False)


class PapersAdam:
    """Adam or Adamax on every weight, at one rate for weights that w0 = 30 multiplies; ``scale``:
    the units of the network's output in one of ours; ``decay``: of the rate, by the end."""

    def __init__(
        self, model: INR, kind: Any, rate: float, *, scale: float, decay: float = 1.0
    ) -> None:
        heads = [parameter for head in model.heads() for parameter in head.parameters()]
        gate = model.gate_parameters()
        apart = {id(parameter) for parameter in (*heads, *gate)}
        sines = [parameter for parameter in model.parameters() if id(parameter) not in apart]
        self._decay = decay
        groups = [
            {"params": sines, "base": rate * 30 / TURN},
            {"params": heads, "base": rate / scale},
            {"params": gate, "base": rate},
        ]
        self._adam = kind([group for group in groups if group["params"]], lr=rate)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def set_rates(self, share: float, *_: object) -> None:
        for group in self._adam.param_groups:
            group["lr"] = group["base"] * self._decay**share

    def step(self, *_: object) -> None:
        self._adam.step()


def training(optimizer: Callable[[INR], PapersAdam]) -> Patches:
    return [
        (fit, "MuonAdam", lambda model, deviation: optimizer(model)),
        (fit, "learning_rate", lambda step, share: share),
        (stack, "FIRST_LAYER_TURNS", 30 / TURN),
    ]


@torch.no_grad()
def heads_for_0_to_100(model: INR) -> None:
    """Heads as SIREN begins them with w0 = 30, on values of 0 to 100."""
    for head in model.heads():
        bound = math.sqrt(6 / head.in_features) / 30 / 50
        head.weight.uniform_(-bound, bound)
        head.bias.fill_(-1)


MOEC_TRAINING = partial(PapersAdam, kind=torch.optim.Adam, rate=5e-4, decay=0.1)
TINC_TRAINING = partial(PapersAdam, kind=torch.optim.Adamax, rate=1e-3)
"""https://github.com/RichealYoung/TINC, opt/SingleTask/default.yaml."""

MOEC = NetworkChoice(Partition.MOEC, experts=4)
NEURAL = NetworkChoice(Partition.NEURAL_EXPERTS, experts=4)
OCTREE = NetworkChoice(Partition.OCTREE)

ROWS = [
    Row("single", NetworkChoice(Partition.SINGLE), coded=True),
    Row("single, FINER", NetworkChoice(Partition.SINGLE, activation=Activation.FINER)),
    Row("MoEC", NetworkChoice(Partition.MOEC), coded=True),
    Row("MoEC, 4 experts", MOEC),
    Row("MoEC, FINER", replace(MOEC, activation=Activation.FINER)),
    *(
        Row(f"MoEC, {experts} experts", replace(MOEC, experts=experts))
        for experts in (2, 8, 16)
    ),
    Row("MoEC, top-2", replace(MOEC, active_experts=2)),
    Row("MoEC without balancing loss", MOEC, patches=[(routing, "BALANCE_WEIGHT", 0.0)]),
    Row("MoEC without capacity", MOEC, patches=[(routing, "CAPACITY", 1e3)]),
    Row("MoEC without stages", MOEC, patches=[
        (routing, "GATE_SHARES", dict.fromkeys(routing.GATE_SHARES, 1.0))]),
    Row("MoEC without pretraining", MOEC, pretrained=False),
    Row(
        "MoEC, random pretraining",
        MOEC,
        patches=[(pretraining, "balanced_boxes", lambda voxels, lengths, experts: (
            pretraining.random_cells(len(lengths), experts, torch.Generator().manual_seed(0))))],
    ),
    Row("MoEC, gate on features", MOEC, gate=gate_on_features),
    Row("Neural Experts, 4 experts", NEURAL, coded=True),
    Row("Neural Experts without pretraining", NEURAL, pretrained=False),
    Row("Neural Experts, gate without features", NEURAL, gate=gate_on_its_own),
    Row("octree", OCTREE, coded=True),
    Row("octree by importance", replace(OCTREE, allocation=Allocation.IMPORTANCE)),
    *(
        Row(
            f"{name}{scaled}",
            network,
            gate=gate,
            patches=training(partial(optimizer, scale=scale)),
            batch=batch,
            prepare=prepare,
        )
        for name, network, gate, optimizer, batch in (
            ("MoEC, the paper's training", MOEC, gate_on_features, MOEC_TRAINING, 200_000),
            ("octree, TINC's training", OCTREE, None, TINC_TRAINING, 262_144),
        )
        for scaled, scale, prepare in (
            ("", 50, heads_for_0_to_100), (", values of -1 to 1", 1, None)
        )
    ),
]  # fmt: skip


class Pace(Deadline):
    """Ends a pilot fit of its own accord, and times the steps of it."""

    def __init__(self) -> None:
        super().__init__()
        self._best: dict[float, float] = {}
        self._shares = self._phases()

    def share(self) -> float:
        return next(self._shares)

    def _phases(self) -> Iterator[float]:
        yield from [LEARNING] * ROUTED_STEPS
        for phase in (LEARNING, RESTING):
            found: list[float] = []
            while sum(found) < PHASE_SECONDS:
                begin = time.process_time()
                yield from [phase] * ROUTED_STEPS
                found.append(time.process_time() - begin)
            self._best[phase] = min(found) / ROUTED_STEPS
        yield 1.0

    def seconds(self, learning: float) -> float:
        """Of a step, on average, where a gate learns for that share of the fit: by the best of the
        groups that are routed together, for what else the machine does slows some of them, and says
        nothing of the network."""
        return learning * self._best[LEARNING] + (1 - learning) * self._best[RESTING]


@contextmanager
def patched(patches: Patches) -> Iterator[None]:
    with ExitStack() as undo:
        for module, name, value in patches:
            undo.enter_context(mock.patch.object(module, name, value))
        yield


def architecture_of(row: Row, problem: Problem, ratio: int) -> Architecture:
    values, shape = problem.values, problem.header.shape
    found = planner.plan_architecture(
        problem.room(ratio),
        problem.coordinates,
        row.network,
        lambda level: cell_variation(values, shape, level),
    )
    if row.gate is not None:
        assert isinstance(found, Mixture)
        found = replace(found, gate=row.gate(found))
    return found


def measured(
    row: Row, problem: Problem, ratio: int, seconds: float, seed: int, coded: bool
) -> dict[str, Any]:
    architecture = architecture_of(row, problem, ratio)
    effort = planner.plan_effort(planner.Preset.FAST, architecture, problem.header.voxels)

    def fitted(sampler: VoxelSampler, steps: int, deadline: Deadline | None = None) -> INR:
        generator = torch.Generator().manual_seed(seed)
        model = initialized(architecture, sampler.statistics, generator)
        if row.prepare is not None:
            row.prepare(model)
        if isinstance(model, MoEINR) and row.pretrained:
            pretraining.pretrain_gate(model, sampler, generator)
        fit.fit(model, sampler, steps, row.batch or effort.batch, ignore, deadline=deadline)
        return model

    with patched(row.patches):
        pace = Pace()
        with patched(IN_A_PILOT):
            fitted(problem.sampler(seed), PILOT_STEPS, pace)
        learning = routing.GATE_SHARES.get(architecture.partition, 0.0)
        steps = int(seconds / pace.seconds(learning))
        sampler = problem.sampler(seed)
        model = fitted(sampler, steps)
    line = {
        "weights": architecture.parameters,
        "steps": steps,
        "float": round(problem.psnr(model), 3),
    }
    if coded:
        quantized = quantize(
            model,
            sampler,
            problem.room(ratio),
            lambda candidate: len(encode_network(candidate)),
            effort.tuning_steps,
            effort.batch,
            ignore,
        )
        line["file"] = round(problem.psnr(from_quantized(quantized)), 3)
        line["bytes"] = len(encode_network(quantized))
    return line


def ignore(*_: object) -> None:
    """No progress is shown."""


COLUMNS = (
    "volume", "ratio", "seconds", "seed", "row", "weights", "steps", "float", "file", "bytes",
)  # fmt: skip
KEY = COLUMNS[:5]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "volumes", nargs="*", default=["ct_head", "mr_t1_brain_crop", "microscopy_mouse_brain"]
    )
    parser.add_argument("--ratio", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", default="", help="only these, names with ; between")
    parser.add_argument("--float", action="store_true", help="quantize none of them")
    parser.add_argument("--out", type=Path, default="docs/benchmarks/ablation.csv")
    add_data_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.volumes:
        problem = None
        for seed in map(int, options.seeds.split(",")):
            for row in ROWS:
                own = name, options.ratio, options.seconds, seed, row.name
                key = dict(zip(KEY, map(str, own), strict=True))
                unwanted = options.rows and row.name not in options.rows.split(";")
                if unwanted or is_known(options.out, key):
                    continue
                problem = problem or Problem(path_of(name, options.data))
                coded = row.coded and not options.float
                found = measured(row, problem, options.ratio, options.seconds, seed, coded)
                append(options.out, key | found, COLUMNS)
    known = lines(options.out)
    for ratio, seconds in dict.fromkeys((m["ratio"], m["seconds"]) for m in known):
        same = [m for m in known if (m["ratio"], m["seconds"]) == (ratio, seconds)]
        for column in ("float", "file"):
            if filled := [m for m in same if m[column]]:
                print(f"\n{ratio}x, {seconds} s, {column} dB:\n")
                print_table(filled, column)


def print_table(measurements: list[dict[str, str]], column: str) -> None:
    """A line a row, a column a volume: the mean over the seeds, and half of their spread."""
    volumes = list(dict.fromkeys(m["volume"] for m in measurements))
    print("| | " + "".join(f"{name} | " for name in volumes) + "mean |")
    print("|---|" + "---|" * (len(volumes) + 1))
    for name in [row.name for row in ROWS]:
        cells, means = [], []
        for volume in volumes:
            found = [
                float(m[column]) for m in measurements if m["volume"] == volume and m["row"] == name
            ]
            if not found:
                cells.append("")
                continue
            means.append(statistics.mean(found))
            half = (max(found) - min(found)) / 2
            cells.append(f"{means[-1]:.2f}" + (f" ± {half:.2f}" if len(found) > 1 else ""))
        if means:
            mean = f"{statistics.mean(means):.2f}" if len(means) == len(volumes) else ""
            print(f"| {name} | " + " | ".join(cells) + f" | {mean} |")


if __name__ == "__main__":
    main()
