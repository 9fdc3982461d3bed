# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of models, what they take by count, and the rounds in which they are timed."""

import gc
import math
import timeit
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.benchmark import timer  # waits for what is under way on an accelerator
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from transformers import PreTrainedModel

from entrants import MODELS, NUM_CLASSES, Work
from hf_gpvit.costs import count_costs
from memory import kept_bytes, weight_bytes


SECONDS_PER_ROUND = 0.2  # quick steps are repeated for so long
SLOW_SECONDS = 20.0  # slower steps are timed once, not in every round
COMPILE_MODES = {"compiled": None, "cuda-graphs": "reduce-overhead"}
CUDA_CALLS = 3  # after the first one, in which compilers work; CUDA graphs are recorded in the next two


@dataclass
class Clock:
    """Times a step, once a round; `times` are seconds of a call."""

    step: Callable[[], object]
    calls: int = 1
    times: list[float] = field(default_factory=list)

    def calibrate(self) -> None:
        """Sets how many calls a round has, from one call; that one is the only one if it is slow."""
        seconds = self._seconds(1)
        self.calls = max(1, math.ceil(SECONDS_PER_ROUND / seconds))
        if seconds > SLOW_SECONDS:
            self.times.append(seconds)

    def measure(self) -> None:
        if self.times and self.times[0] > SLOW_SECONDS:
            return
        self.step()  # what ran before it has emptied the caches
        self.times.append(self._seconds(self.calls))

    def _seconds(self, calls: int) -> float:
        return timeit.Timer(self.step, timer=timer).timeit(calls) / calls


@dataclass
class Entry:
    """A work that is ready to be timed.

    Attributes:
        work: What it is.
        parameters: Their number.
        macs: Multiply-adds of convolutions and matrix products in a step, backward pass included.
        memory_bytes: On CUDA what was allocated at the peak of a step, weights included. Elsewhere counted: weights,
            and in inference the most that tensors hold at a time; in training gradients and what autograd keeps.
        clock: Its times; None if the step did not fit into memory.
    """

    work: Work
    parameters: int = 0
    macs: int = 0
    memory_bytes: int = 0
    clock: Clock | None = None


def run_rounds(clocks: Iterable[Clock], rounds: int, after_round: Callable[[int], None] = lambda index: None) -> None:
    """Every clock once a round, so that a machine which changes its speed changes it for all of them."""
    clocks = list(clocks)
    for index in range(rounds):
        for clock in clocks:
            clock.measure()
        after_round(index)


def prepare(work: Work, device: torch.device) -> Entry:
    """Builds the model, counts what a step takes, and warms it up; an entry without clock is out of memory."""
    entry = Entry(work)
    try:
        _fill(entry, device)
    except torch.OutOfMemoryError:
        entry.clock = None
    gc.collect()  # models refer to themselves in circles, and would wait here
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return entry


def _fill(entry: Entry, device: torch.device) -> None:
    work = entry.work
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    model = build(work, device)
    entry.parameters = sum(parameter.numel() for parameter in model.parameters())
    entry.macs, entry.memory_bytes = count(model, work, device)
    clock = Clock(make_step(model, work, device))
    clock.step()
    if device.type == "cuda":
        entry.memory_bytes = _peak_bytes(clock.step, device) - before
    clock.calibrate()
    entry.clock = clock


def _peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(CUDA_CALLS):  # graphs take their memory when they are recorded, not when they run
        step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def build(work: Work, device: torch.device) -> nn.Module:
    """The model as its library gives it, in the mode of the work; only inference changes the weights' dtype."""
    model = MODELS[work.model](work.height, work.width).to(device).train(work.mode == "training")
    return model if work.mode == "training" else model.to(getattr(torch, work.dtype))


def make_step(model: nn.Module, work: Work, device: torch.device) -> Callable[[], None]:
    """A call of it is one forward pass, or one forward and backward pass."""
    runner = _executed(model, work.execution)
    pixel_values = _pixel_values(work, device)
    if work.mode == "inference":
        return _inference_step(runner, pixel_values)
    return _training_step(model, make_loss(model, runner, pixel_values, work))


def make_loss(
    model: nn.Module, runner: Callable[..., object], pixel_values: torch.Tensor, work: Work
) -> Callable[[], torch.Tensor]:
    """Cross-entropy of random labels: models of transformers compute it themselves, at full size in segmentation."""
    device = pixel_values.device
    if "segformer" in work.model or "upernet" in work.model:
        labels = torch.randint(model.config.num_labels, (work.batch_size, work.height, work.width), device=device)
    else:
        labels = torch.randint(NUM_CLASSES, (work.batch_size,), device=device)

    def loss() -> torch.Tensor:
        with _autocast(work, device):
            if isinstance(model, PreTrainedModel):
                return runner(pixel_values=pixel_values, labels=labels).loss
            return F.cross_entropy(runner(pixel_values), labels)

    return loss


def count(model: nn.Module, work: Work, device: torch.device) -> tuple[int, int]:
    """Multiply-adds and bytes of a step, counted in eager mode."""
    if work.mode == "inference":
        costs = count_costs(_Countable(model, work, device), work.height, work.width)
        return work.batch_size * costs.macs, costs.weight_bytes + work.batch_size * costs.activation_bytes
    loss = make_loss(model, model, _pixel_values(work, device), work)
    with FlopCounterMode(display=False, custom_mapping={_CONVOLUTION_BACKWARD: _backward_flops}) as flops:
        loss().backward()
    gradients = sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None)
    model.zero_grad()
    return flops.get_total_flops() // 2, weight_bytes(model) + gradients + kept_bytes(model, loss)


def _backward_flops(
    grad_shape, pixel_shape, weight_shape, bias, stride, padding, dilation, transposed, out_padding, groups, mask, **_
) -> int:
    """Each of both gradients takes what the forward pass took; PyTorch's formula forgets the weights' groups."""
    return sum(mask[:2]) * conv_flop_count(pixel_shape, weight_shape, grad_shape, transposed)


_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward


class _Countable(nn.Module):
    """Any library's model as one that `count_costs` takes."""

    def __init__(self, model: nn.Module, work: Work, device: torch.device):
        super().__init__()
        self.model = model
        self.config = SimpleNamespace(num_channels=3)
        self.dtype = getattr(torch, work.dtype)
        self.device = device

    def forward(self, pixel_values: torch.Tensor) -> object:
        return self.model(pixel_values)


def _pixel_values(work: Work, device: torch.device) -> torch.Tensor:
    dtype = getattr(torch, work.dtype) if work.mode == "inference" else torch.float32
    return torch.randn(work.batch_size, 3, work.height, work.width, device=device, dtype=dtype)


def _executed(model: nn.Module, execution: str) -> Callable[..., object]:
    if execution == "eager":
        return model
    # every model and size gets its own graphs, but all of them share the code of their classes, and with the usual
    # limit the last ones would run uncompiled without a word
    torch._dynamo.config.recompile_limit = 1024
    torch._dynamo.config.accumulated_recompile_limit = 2**16
    return torch.compile(model, mode=COMPILE_MODES[execution], dynamic=False)


def _inference_step(runner: Callable[..., object], pixel_values: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.inference_mode():
            runner(pixel_values)

    return step


def _training_step(model: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        model.zero_grad()  # to None, as training loops do
        loss().backward()

    return step


def _autocast(work: Work, device: torch.device) -> AbstractContextManager:
    if work.dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, work.dtype))
