# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Every faster way gives what the forward gives whose place it takes, and stands back where others would notice."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from families import GPVIT, HRVIT, awake, trained
from hf_gpvit.models import shortcuts
from hf_gpvit.models.decode_head import SegformerHead
from hf_gpvit.models.layers import MLP, PointwiseLinear, StripeAttention
from hf_gpvit.models.modeling_gpvit import GPViTGrouping, GPViTGroupPropagation
from hf_gpvit.models.modeling_hrvit import HRViTMixCFN
from model_outputs import assert_same
from small_detectors import small_detector


@dataclass(frozen=True)
class Case:
    """A method with a shortcut, on a module of its own."""

    shortcut: Callable
    build: Callable[..., nn.Module]
    inputs: Callable[[], tuple]
    method: str = "forward"
    with_gradients: bool = True  # whether it is taken where gradients are wanted
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)

    def __call__(self, module, inputs):
        """What the method gives, as tensors."""
        return flat(getattr(module, self.method)(*inputs))

    def is_taken(self, module, inputs):
        return self.shortcut(copy.deepcopy(module), *inputs) is not None  # a copy: statistics move


def flat(output):
    return [value for value in (output if isinstance(output, tuple) else (output,)) if value is not None]


def part(family, kind, **overrides):
    """The first module of that kind in a tiny model."""
    model = awake(family.segmentor_class(family.config(**overrides)))
    return next(module for module in model.modules() if isinstance(module, kind))


def head(**overrides):
    return trained(SegformerHead([8, 16, 24], 16, 5, dropout_rate=0.0, **{"linear_levels": True} | overrides))


def maps():
    return [torch.randn(2, width, 12 // 2**index, 18 // 2**index) for index, width in enumerate((8, 16, 24))]


def stripes():
    return torch.randn(2, 9, 12)


def mask():
    return torch.zeros(2, 1, 1, 9).masked_fill(torch.arange(9) > 6, torch.finfo(torch.float32).min)


FLOAT32 = (torch.float32,)  # what is a matter of CPUs' libraries is so in float32
CASES = {
    "product": Case(
        lambda module, states: shortcuts.product_by_convolution(states, module[0].weight, module[0].bias),
        lambda: nn.Sequential(PointwiseLinear(32, 5)),
        lambda: (torch.randn(2, 50, 32),),
        dtypes=FLOAT32,
    ),
    "attention": Case(
        shortcuts.attend_short,
        lambda: part(GPVIT, StripeAttention),
        lambda: (stripes(), stripes(), stripes()),
        "attend",
        dtypes=FLOAT32,
    ),
    "masked attention": Case(
        shortcuts.attend_short,
        lambda: part(GPVIT, StripeAttention),
        lambda: (stripes(), stripes(), stripes(), mask()),
        "attend",
        dtypes=FLOAT32,
    ),
    "mlp": Case(
        shortcuts.mlp_in_place, lambda: MLP(8, 16, "gelu"), lambda: (torch.randn(2, 80, 8),), with_gradients=False
    ),
    "grouping": Case(
        shortcuts.group_by_weights,
        lambda **overrides: part(GPVIT, GPViTGrouping, **overrides),
        lambda: (torch.randn(1, 6, 24), torch.randn(2, 60, 24)),
    ),
    "ungrouping": Case(
        shortcuts.ungroup_by_weights,
        lambda **overrides: part(GPVIT, GPViTGroupPropagation, **overrides),
        lambda: (torch.randn(2, 60, 24), torch.randn(2, 6, 24)),
        "ungroup",
    ),
    "mixcfn": Case(
        shortcuts.mix_in_place,
        lambda: part(HRVIT, HRViTMixCFN),
        lambda: (torch.randn(2, 6, 9, 8),),
        with_gradients=False,
    ),
    "convolutions": Case(
        shortcuts.mix_at_once,
        lambda: part(HRVIT, HRViTMixCFN),
        lambda: (torch.randn(2, 6, 9, 16),),
        "mix",
        with_gradients=False,
    ),
    "head": Case(shortcuts.fuse_at_each_size, head, lambda: (maps(),), "fuse"),
}


# The projections around attention are not its own.
LAYERED = [name for name in CASES if "attention" not in name]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(params=LAYERED)
def layered(request):
    return CASES[request.param]


@pytest.fixture(autouse=True)
def _two_libraries(monkeypatch):
    """Whether there is a choice depends on how torch was built; convolutions run anywhere."""
    monkeypatch.setattr(shortcuts, "_HAS_CHOICE", True)


@pytest.fixture
def plain(monkeypatch):
    """Calls a function with every shortcut switched off."""

    def call(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(shortcuts, "ENABLED", False)
            return function(*args)

    return call


def made(case, dtype=torch.float32):
    """The module of a case and its inputs."""
    module = case.build().eval().to(dtype)
    return module, [nested(value, dtype) for value in case.inputs()]


def nested(value, dtype):
    return [item.to(dtype) for item in value] if isinstance(value, list) else value.to(dtype)


def assert_close(actual, expected, tolerance=None):
    tolerance = tolerance or (1e-10 if expected[0].dtype == torch.float64 else 1e-4)
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


# Values and gradients.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_same_values(case, dtype, plain):
    module, inputs = made(case, dtype)
    assert case.is_taken(module, inputs) == (dtype in case.dtypes)
    assert_close(case(module, inputs), plain(case, module, inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_same_gradients(case, dtype, train, plain):
    module, inputs = made(case, dtype)
    twin = copy.deepcopy(module.train(train))
    assert case.is_taken(module, inputs) == (case.with_gradients and dtype in case.dtypes)
    assert_close(gradients(case, module, inputs), plain(gradients, case, twin, inputs))


def gradients(case, module, inputs):
    """Outputs, statistics, and gradients for inputs and parameters."""
    leaves = [leaf.requires_grad_() for value in inputs for leaf in (value if isinstance(value, list) else [value])]
    leaves += module.parameters()
    outputs = case(module, inputs)
    loss = (outputs[0] * torch.linspace(-1, 1, outputs[0].shape[-1], dtype=outputs[0].dtype)).sum()
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [*outputs, *found, *(buffer for buffer in module.buffers() if buffer.is_floating_point())]


@pytest.mark.parametrize("size", [(64, 96), (57, 90)])  # whole and padded stripes
def test_models(family, size, plain):
    model, pixel_values = awake(family.segmentor_class(family.config())), torch.randn(2, 3, *size)
    labels = torch.randint(0, 5, (2, *size))

    def computed():
        model.zero_grad()
        outputs = model(pixel_values, labels=labels)
        outputs.loss.backward()
        return [outputs.logits, *(parameter.grad.clone() for parameter in model.parameters())]

    torch.testing.assert_close(computed(), plain(computed), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(model(pixel_values).logits, plain(model, pixel_values).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", ["group_attentions", "ungroup_attentions"])
@torch.no_grad()
def test_weights_that_are_asked_for(output):
    model, pixel_values = awake(GPVIT.model_class(GPVIT.config())), torch.randn(2, 3, 64, 96)
    outputs = model(pixel_values, **{f"output_{output}": True})
    assert len(outputs[output]) == 2
    torch.testing.assert_close(outputs.last_hidden_state, model(pixel_values).last_hidden_state, rtol=1e-4, atol=1e-5)


# What others add to a module counts.


def doubling(module, args, output):
    return 2 * output


class Adapter(nn.Module):
    """More than its weight shows."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, states):
        return 2 * self.base_layer(states)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class TensorSubclass(torch.Tensor):
    """Stands for quantised weights."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (F.linear, F.conv2d):
            states, weight, *others = args
            return function(states, 2 * weight.as_subclass(torch.Tensor), *others)
        return super().__torch_function__(function, types, args, kwargs or {})


def with_subclassed_weight(parent, name):
    layer = parent.get_submodule(name)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(TensorSubclass))


def with_other_forward(parent, name):
    layer = parent.get_submodule(name)
    original = layer.forward
    layer.forward = lambda states: 2 * original(states)


def with_accelerate_hook(parent, name):
    hooks = pytest.importorskip("accelerate.hooks")

    class Doubling(hooks.ModelHook):
        def post_forward(self, module, output):
            return 2 * output

    hooks.add_hook_to_module(parent.get_submodule(name), Doubling())


def offloaded(parent, name):
    """The weights are on meta but for the moment of the call, when they are doubled."""
    layer = parent.get_submodule(name)
    weights = {key: 2 * value.data for key, value in layer.named_parameters()}

    def load(module, args):
        for key, value in weights.items():
            setattr(module, key, nn.Parameter(value))

    def unload(module, args, output):
        module.to("meta")

    layer.to("meta")
    layer.register_forward_pre_hook(load)
    layer.register_forward_hook(unload)


def on(function):
    return lambda parent, name: function(parent.get_submodule(name))


LAYERS = (nn.Linear, nn.Conv2d)
ALTERATIONS = {
    "hook": on(lambda layer: layer.register_forward_hook(doubling)),
    "pre-hook": on(lambda layer: layer.register_forward_pre_hook(lambda module, args: (2 * args[0],))),
    "accelerate's hook": with_accelerate_hook,
    "forward of the instance": with_other_forward,
    "adapter": lambda parent, name: parent.set_submodule(name, Adapter(parent.get_submodule(name))),
    "tensor subclass": with_subclassed_weight,
    "parametrisation": on(lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())),
    "weight norm": on(lambda layer: parametrizations.weight_norm(layer).parametrizations.weight.original0.mul_(2)),
    "pruning": on(lambda layer: prune.random_unstructured(layer, "weight", 0.5)),
    "offloading": offloaded,
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@torch.no_grad()
def test_altered_layers(layered, alteration, plain):
    module, inputs = made(layered)
    used = [name for name, layer in module.named_modules() if isinstance(layer, LAYERS) and is_used(layered, name)]
    assert used
    for name in used:
        altered, before = copy.deepcopy(module), plain(layered, module, inputs)
        ALTERATIONS[alteration](altered, name)
        expected = plain(layered, altered, inputs)
        assert not torch.allclose(expected[0], before[0], atol=1e-4), name
        assert_close(layered(altered, inputs), expected)


@pytest.mark.parametrize("alteration", ["hook", "pre-hook", "accelerate's hook", "forward of the instance"])
@torch.no_grad()
def test_altered_norms(alteration, plain):
    for name in ("grouping", "ungrouping", "mixcfn", "head"):
        case = CASES[name]
        module, inputs = made(case)
        norms = [name for name, child in module.named_modules() if isinstance(child, (nn.LayerNorm, nn.BatchNorm2d))]
        for norm in [norm for norm in norms if is_used(case, norm)]:
            altered = copy.deepcopy(module)
            ALTERATIONS[alteration](altered, norm)
            assert_close(case(altered, inputs), plain(case, altered, inputs))


def is_used(case, name):
    """Whether the method of a case calls that layer, as it is written."""
    module, inputs = made(case)
    calls = []
    with module.get_submodule(name).register_forward_hook(lambda *args: calls.append(args)):
        case(module, inputs)
    return bool(calls)


@torch.no_grad()
def test_parametrised_weights_are_computed_once():
    """Spectral norm takes a step of its iteration each time."""
    linear, calls = PointwiseLinear(7, 5).double(), []

    class Counted(nn.Module):
        def forward(self, weight):
            calls.append(1)
            return weight

    nn.utils.parametrize.register_parametrization(linear, "weight", Counted())
    calls.clear()
    linear(torch.randn(2, 50, 7, dtype=torch.float64))
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_fire_as_often(case, kind, plain):
    module, inputs = made(case)
    backward = kind.startswith("full_backward")
    run, arguments = (gradients, (case, module, inputs)) if backward else (case, (module, inputs))
    for name, child in module.named_modules():
        calls = []
        handle = getattr(child, f"register_{kind}_hook")(lambda *args, calls=calls: calls.append(len(args)))
        with torch.set_grad_enabled(backward):
            run(*arguments)
            count = len(calls)
            plain(run, *arguments)
        handle.remove()
        assert len(calls) == 2 * count, name


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@torch.no_grad()
def test_hooks_keep_what_they_see(case, train):
    """Nothing overwrites it."""
    module, inputs = made(case)
    for child in module.train(train).modules():
        seen, copies = [], []
        handles = [
            child.register_forward_hook(lambda module, args, output, seen=seen: seen.extend(flat(output))),
            child.register_forward_hook(lambda *args, seen=copies: seen.extend(map(torch.clone, flat(args[2])))),
        ]
        case(module, inputs)
        for handle in handles:
            handle.remove()
        assert all(map(torch.equal, seen, copies))


@pytest.mark.parametrize("name", ["product", "mlp", "grouping", "ungrouping", "mixcfn"])
@torch.no_grad()
def test_int8_weights(name, plain):
    quantization = pytest.importorskip("torchao.quantization")
    case = CASES[name]
    module, inputs = made(case)
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig())
    assert_close(case(module, inputs), plain(case, module, inputs))


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd")
@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
def test_adapters_of_peft(family, use_dora, plain):
    """One on every layer: each of them counts and gets a gradient."""
    peft = pytest.importorskip("peft")
    for model in family.models(**family.shallow)[2:]:
        for weight in [weight for weight in model.parameters() if not weight.any()]:
            nn.init.normal_(weight, std=0.2)  # what begins at zero hides what is before it
        kinds = nn.Linear if use_dora else (nn.Linear, nn.Conv2d)
        layers = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
        ranks = {f"^{name}": 2 * getattr(module, "groups", 1) for name, module in layers.items()}
        config = peft.LoraConfig(
            r=2, target_modules=list(layers), rank_pattern=ranks, init_lora_weights=False, use_dora=use_dora
        )
        adapted = peft.get_peft_model(copy.deepcopy(model), config).eval()
        batch = {"pixel_values": torch.randn(2, 3, 40, 56), "labels": torch.randint(0, 5, (2, 40, 56))}
        if isinstance(model, family.classifier_class):
            batch["labels"] = torch.tensor([1, 3])
        outputs = adapted(**batch)
        assert_same(outputs, plain(lambda: adapted(**batch)), atol=1e-4, rtol=1e-4)  # noqa: B023
        assert not torch.allclose(outputs.logits, model(**batch).logits, atol=1e-4)
        outputs.loss.backward()
        weights = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        assert len(weights) >= 2 * len(layers)
        assert [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("place", ["cpu", "disk"])
@torch.no_grad()
def test_offloaded_models(family, place, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    for index, model in enumerate(family.models()[2:]):
        pixel_values = torch.randn(2, 3, 40, 56)
        expected = model(pixel_values, output_attentions=True)
        if place == "cpu":
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        else:
            accelerate.disk_offload(model, tmp_path / str(index), execution_device=torch.device("cpu"))
        assert {weight.device.type for weight in model.parameters()} == {"meta"}
        assert_same(model(pixel_values, output_attentions=True), expected, atol=1e-5, rtol=1e-5)


# The types of numbers, and compilers.


@torch.no_grad()
def test_bfloat16(case, plain):
    module, inputs = made(case, torch.bfloat16)
    assert_close(case(module, inputs), plain(case, module, inputs), tolerance=0.05)


@torch.no_grad()
def test_autocast(case, plain):
    module, inputs = made(case)
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = case(module, inputs), plain(case, module, inputs)
    assert [value.dtype for value in actual] == [value.dtype for value in expected]
    torch.testing.assert_close(actual, expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", ["grouping", "ungrouping"])
@torch.no_grad()
def test_half_precision_scores_are_not_rounded_before_the_softmax(name):
    case = CASES[name]
    module, inputs = made(case)
    with torch.autocast("cpu", torch.bfloat16):
        assert not case.is_taken(module, inputs)
    assert not case.is_taken(*made(case, torch.bfloat16))


def test_weights_of_two_types_are_refused_as_by_convolutions():
    module, inputs = made(CASES["head"])
    module.levels[0].double()
    with pytest.raises(RuntimeError, match="same|type"):
        module.fuse(*inputs)


def test_autocast_rounds_a_product_of_weights_once(plain):
    """Not its factors."""
    module, inputs = made(CASES["head"])
    expected = module.fuse(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        actual = module.fuse(*inputs).float()
    assert (actual - expected).abs().max() < 0.05 * expected.std()


@pytest.mark.parametrize("with_gradients", [False, True])
def test_compiles(case, with_gradients, plain):
    module, inputs = made(case)
    torch.compiler.reset()
    compiled = torch.compile(getattr(module, case.method), fullgraph=True, backend="eager")
    with torch.set_grad_enabled(with_gradients):
        assert_close(flat(compiled(*inputs)), plain(case, module, inputs))


# Where they are a gain.


@pytest.mark.parametrize("shape", [(7,), (3, 7), (63, 7), (64, 7), (0, 7), (2, 9, 11, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_any_shape(shape, bias):
    linear, states = PointwiseLinear(7, 5, bias=bias), torch.randn(shape)
    torch.testing.assert_close(linear(states), F.linear(states, linear.weight, linear.bias), rtol=1e-5, atol=1e-5)
    taken = shortcuts.product_by_convolution(states, linear.weight, linear.bias) is not None
    assert taken == (states.numel() >= 64 * 7)


def test_products_without_a_choice(monkeypatch):
    monkeypatch.setattr(shortcuts, "_HAS_CHOICE", False)
    case = CASES["product"]
    assert not case.is_taken(*made(case))


@pytest.mark.parametrize(
    "mutate", [lambda x: x.transpose(0, 1), lambda x: x[:, ::2], lambda x: x.expand(3, 40, 30, 7)]
)
def test_products_of_any_strides(mutate):
    linear, states = PointwiseLinear(7, 5), mutate(torch.randn(40, 30, 7))
    output = linear(states)
    torch.testing.assert_close(output, F.linear(states, linear.weight, linear.bias), rtol=1e-5, atol=1e-5)
    assert output.is_contiguous()


def multiplications(function, *args):
    # torch 2.11 does not count CPUs' flash attention
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        function(*args)
    return flops.get_total_flops() // 2


def test_gp_blocks_multiply_less(plain):
    block = part(GPVIT, GPViTGroupPropagation).double()
    states = torch.randn(2, 60, 24, dtype=torch.float64)
    # per token and channel 6 groups * 2 heads instead of 24 channels + 6 groups, twice, and then of 24 * 2 + 6
    saved = 2 * 60 * 24 * (2 * (24 + 6 - 12) + (24 * 2 + 6 - 12))
    # the weights' own: the query's once, keys and values for each image, the two output weights
    spent = 24 * 24 * (6 + 2 * 2 * 6 + 24)
    biases = 24 * (6 + 2 * 6)
    assert plain(multiplications, block, states) - multiplications(block, states) == saved - spent - biases


def test_heads_multiply_less(plain):
    """HRViT-b3 with its head at 512x512: 32 instead of 70 GMAC."""
    widths = (64, 128, 256, 512)
    decode_head = SegformerHead(widths, 768, 150, linear_levels=True)
    feature_maps = [torch.zeros(1, width, 8192 // width, 8192 // width) for width in widths]
    saved = plain(multiplications, decode_head, feature_maps) - multiplications(decode_head, feature_maps)
    assert saved == pytest.approx(38.1e9, rel=0.01)


@pytest.mark.parametrize("name", ["grouping", "ungrouping"])
@pytest.mark.parametrize(
    ("length", "overrides"),
    [
        (10, {}),  # composing weights costs more than so few tokens save
        (60, {"num_group_tokens": [25, 25]}),  # 25 groups * 2 heads are more than 24 channels + 25 groups
        (60, {"attn_implementation": "eager"}),  # which computes as it is written
    ],
)
def test_groups_are_plain_where_that_is_no_gain(name, length, overrides):
    case, count = CASES[name], overrides.get("num_group_tokens", [6])[0]
    module, tokens = case.build(**overrides).eval(), torch.randn(2, length, 24)
    inputs = (torch.randn(1, count, 24), tokens) if name == "grouping" else (tokens, torch.randn(2, count, 24))
    assert not case.is_taken(module, inputs)


def test_long_stripes_go_to_sdpa(monkeypatch):
    module, inputs = made(CASES["attention"])
    monkeypatch.setattr(shortcuts, "_MAX_SHORT_WEIGHTS", 2 * 2 * 9 * 9 - 1)
    assert not CASES["attention"].is_taken(module, inputs)


def test_only_linear_levels_are_composed():
    assert shortcuts.fuse_at_each_size(head(linear_levels=False), maps()) is None


@pytest.mark.parametrize(("name", "path"), [("head", "fusion"), ("grouping", ""), ("ungrouping", "ungrouping")])
def test_subclasses_are_called(name, path):
    """They may do more than their weights say, or have others."""
    module, inputs = made(CASES[name])
    part = module.get_submodule(path)
    part.__class__ = type("Variant", (type(part),), {})
    if name == "ungrouping":
        del part.query
    assert CASES[name].shortcut(module, *inputs) is None


def test_parts_compile_one_by_one():
    """Compilers allow some recompilations for each piece of code: what is decorated has its own."""
    torch.compiler.reset()
    for name in LAYERED:
        module, inputs = made(CASES[name])
        torch.compile(getattr(module, CASES[name].method), fullgraph=True, backend="eager")(*inputs)


# --- of detectors


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.999])
@torch.no_grad()
def test_masks_of_found_are_those_of_all_places(threshold):
    """Of many detections, of few, and of none."""
    model = small_detector("masks", score_threshold=threshold)
    pixel_values = torch.randn(2, 3, 70, 96)
    outputs = model(pixel_values)
    with shortcuts.plain_forwards():
        expected = model(pixel_values)
    torch.testing.assert_close(outputs.pred_masks, expected.pred_masks, atol=1e-3, rtol=1e-3)
    exists = outputs.logits.sigmoid().amax(-1) > 0
    assert (outputs.pred_masks != 0).any((-1, -2)).equal(exists)
    assert exists.all() == (threshold == 0) and exists.any() == (threshold < 0.9)
