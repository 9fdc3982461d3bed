# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from families import GPVIT
from hf_gpvit import GPViTForImageClassification, GPViTForSemanticSegmentation, GPViTModel
from hf_gpvit.data import image_processor_for, load_label_set
from hf_gpvit.inference import (
    color_palette,
    group_assignment,
    group_assignment_map,
    group_heatmaps,
    group_map_panel,
    overlay_heatmap,
    overlay_segmentation,
    seen_picture,
    side_by_side,
    stripe_attention_map,
)
from hf_gpvit.inference import fonts as visualize_fonts


NAMES = {0: "wall", 1: "__floor__", 2: "cash $ $ desk", 3: "lamp"}
COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
# Grids of 4 x 6, 5 x 7 and 1 x 3 tokens; the last image is smaller than its tokens.
IMAGE_SIZES = [(32, 48), (40, 56), (7, 21)]


@pytest.fixture
def drawn_texts(monkeypatch):
    """Every text that matplotlib draws during the test."""
    text_class = pytest.importorskip("matplotlib.text").Text
    texts, draw = [], text_class.draw

    def record(self, *args, **kwargs):
        texts.append(self.get_text().strip())
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(text_class, "draw", record)
    return texts


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((pixels(image) == color).all(-1).any())


def quarters() -> np.ndarray:
    """40 x 60 ids: a quarter of class 0, the right half of class 2, a quarter ignored."""
    ids = np.full((40, 60), 255)
    ids[:20, :30] = 0
    ids[:, 30:] = 2
    return ids


def tiny(model_class=GPViTModel, **overrides):
    return model_class(GPVIT.config(**overrides)).eval()


# Palettes


def test_default_palette_is_distinct_and_stable():
    colors = color_palette(150)
    assert colors.shape == (150, 3) and colors.dtype == np.uint8
    distances = np.abs(colors[:, None].astype(int) - colors).sum(-1) + 999 * np.eye(150)
    assert distances.min() >= 30
    # With few classes, as in Cityscapes, no two are close.
    assert distances[:20, :20].min() >= 60
    np.testing.assert_array_equal(color_palette(150), colors)
    np.testing.assert_array_equal(color_palette(7), colors[:7])


def test_given_palette_is_kept():
    labels = load_label_set("ade20k")
    colors = color_palette(len(labels), labels.palette)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, labels.palette)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "num_labels must be at least 1, got 0"),
        ((3, COLORS), r"palette must have shape \(3, 3\) for 3 labels, got \(4, 3\)"),
        ((1, [(0.1, 0.5, 1.0)]), "palette must hold integers in 0..255, got float64"),
        ((1, [(0, 0, 256)]), r"palette must hold integers in 0\.\.255, got int\d+ in 0\.\.256"),
        ((1, [(-1, 0, 0)]), r"palette must hold integers in 0\.\.255, got int\d+ in -1\.\.0"),
    ],
)
def test_bad_palettes(arguments, message):
    with pytest.raises(ValueError, match=message):
        color_palette(*arguments)


# Segmentation


@pytest.mark.parametrize("as_map", [np.asarray, torch.as_tensor, lambda ids: ids.astype(np.uint8)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_segmentation_colors(as_map, mode):
    image = noise(60, 40, mode)
    overlay = overlay_segmentation(image, as_map(quarters()), NAMES, COLORS, alpha=0.25, legend=False)
    assert overlay.size == image.size and overlay.mode == "RGB"
    before, after = pixels(image), pixels(overlay)
    for row, column, color in ((5, 5, COLORS[0]), (5, 40, COLORS[2]), (39, 59, COLORS[2])):
        np.testing.assert_array_equal(
            after[row, column], np.rint(0.75 * before[row, column] + np.multiply(0.25, color))
        )
    np.testing.assert_array_equal(after[20:, :30], before[20:, :30])


def test_segmentation_opacity():
    image = noise(60, 40)
    clear = overlay_segmentation(image, quarters(), NAMES, COLORS, alpha=0, legend=False)
    np.testing.assert_array_equal(pixels(clear), pixels(image))
    opaque = overlay_segmentation(image, quarters(), NAMES, alpha=1, legend=False)
    np.testing.assert_array_equal(pixels(opaque)[0, 0], color_palette(4)[0])


def test_segmentation_with_another_ignore_index():
    image = noise(60, 40)
    ids = np.where(quarters() == 255, -100, quarters())
    overlay = overlay_segmentation(image, ids, NAMES, COLORS, ignore_index=-100, legend=False)
    np.testing.assert_array_equal(pixels(overlay)[20:, :30], pixels(image)[20:, :30])
    assert not np.array_equal(pixels(overlay)[:20], pixels(image)[:20])


@pytest.mark.parametrize("scale", [1, 10])
def test_legend_has_the_classes_that_occur(drawn_texts, scale):
    image = noise(60 * scale, 40 * scale)
    ids = quarters().repeat(scale, 0).repeat(scale, 1)
    ids[0, 0] = 1
    overlay = overlay_segmentation(image, ids, NAMES, COLORS, alpha=0.5)
    largest_first = [("50.0%", 2), ("25.0%", 0), ("<0.1%", 1)]
    assert drawn_texts == [f"{share}  {NAMES[index]}" for share, index in largest_first]
    plain = overlay_segmentation(image, ids, NAMES, COLORS, alpha=0.5, legend=False)
    np.testing.assert_array_equal(pixels(overlay.crop((0, 0, *image.size))), pixels(plain))
    legend = overlay.crop((image.width, 0, *overlay.size))
    assert [has_color(legend, color) for color in COLORS] == [True, True, True, False]
    assert has_color(legend, (0, 0, 0)) and pixels(legend)[:, [0, -1]].min() == 255


def test_legend_of_many_classes_stays_near_the_picture_height(drawn_texts):
    labels = load_label_set("ade20k")
    ids = np.arange(150).repeat(16 * 16).reshape(160, 240)
    overlay = overlay_segmentation(noise(240, 160), ids, labels.id2label, labels.palette)
    assert [text.partition("%  ")[2] for text in drawn_texts] == list(labels.names)
    assert overlay.height < 400


def test_no_legend_without_labelled_pixels():
    image = noise(60, 40)
    overlay = overlay_segmentation(image, np.full((40, 60), 255), NAMES)
    np.testing.assert_array_equal(pixels(overlay), pixels(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((40, 60, 3))}, "image must be a PIL image, got ndarray"),
        ({"segmentation_map": quarters().T}, r"image's size \(height 40, width 60\), got shape \(60, 40\)"),
        ({"segmentation_map": quarters()[None]}, r"image's size .*, got shape \(1, 40, 60\)"),
        ({"segmentation_map": torch.zeros(40, 60)}, "segmentation_map must hold integer class ids, got float32"),
        ({"segmentation_map": quarters() + 2}, r"ids of id2label \(0\.\.3\) or 255 \(ignored\), got \[4, 257\]"),
        ({"ignore_index": 0}, r"or 0 \(ignored\), got \[255\]"),
        ({"id2label": {}}, r"id2label must map class ids .*, got keys \[\]"),
        ({"id2label": {"0": "wall"}}, r"id2label must map class ids .*, got keys \['0'\]"),
        ({"palette": COLORS[:3]}, r"palette must have shape \(4, 3\)"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1.5"),
        ({"alpha": float("nan")}, r"alpha must be in \[0, 1\], got nan"),
    ],
)
def test_bad_segmentation_arguments(changes, message):
    arguments = {"image": noise(60, 40), "segmentation_map": quarters(), "id2label": NAMES}
    with pytest.raises(ValueError, match=message):
        overlay_segmentation(**arguments | changes)


def of_names(*names):
    """A legend of equally many pixels of each."""
    ids = np.arange(len(names)).repeat(40 * 60 // len(names)).reshape(40, -1)
    return overlay_segmentation(noise(*ids.shape[::-1]), ids, dict(enumerate(names)))


@pytest.fixture
def fonts(monkeypatch):
    """matplotlib's fonts, of which only its own ones are installed."""
    manager = pytest.importorskip("matplotlib.font_manager")
    monkeypatch.setattr(visualize_fonts, "_family_of", {})
    own = [entry for entry in manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(manager.fontManager, "ttflist", own)
    return manager.fontManager


def test_letters_that_no_font_has_are_escapes(fonts, drawn_texts):
    """And the id tells what they stand for."""
    of_names("背景", "道路", "road", "Straße")
    names = [text.partition("%  ")[2] for text in drawn_texts]
    assert names == [r"\u80cc\u666f (0)", r"\u9053\u8def (1)", "road", "Straße"]


def test_names_that_would_look_alike(fonts, drawn_texts):
    of_names("背", r"\u80cc", "a\nb\x1b", "same", "same", "x" * 10_000)
    names = [text.partition("%  ")[2] for text in drawn_texts]
    assert len(set(names)) == 6
    assert names[2] == r"a\nb\x1b (2)"
    assert len(names[-1]) < 70


def test_a_legend_of_very_many_classes_can_be_saved(drawn_texts, tmp_path):
    """As a JPEG, which has at most 65500 pixels a side."""
    names = [f"{number} {'W' * 80}" for number in range(300)]
    overlay = of_names(*names)
    overlay.save(tmp_path / "overlay.jpg")
    assert len(drawn_texts) == 257
    assert drawn_texts[-1].endswith("%  44 more classes")


def test_a_font_that_has_the_letters_is_used(fonts, drawn_texts, tmp_path):
    """Found among those that are installed, and drawn with."""
    builder_module = pytest.importorskip("fontTools.fontBuilder")
    pen_module = pytest.importorskip("fontTools.pens.ttGlyphPen")
    pen = pen_module.TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((500, 900), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = builder_module.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "triangle"])
    builder.setupCharacterMap({ord("背"): "triangle", ord("景"): ".notdef"})
    builder.setupGlyf({".notdef": pen_module.TTGlyphPen(None).glyph(), "triangle": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "triangle": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Triangles", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "triangles.ttf")
    fonts.addfont(tmp_path / "triangles.ttf")
    pictures = [pixels(of_names(name, "road")) for name in ("背", "背背")]
    assert [text.partition("%  ")[2] for text in drawn_texts] == ["背", "road", "背背", "road"]
    assert visualize_fonts.families(["a背"])[-1] == "Triangles"
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()
    assert visualize_fonts.drawable("景") == r"\u666f"


def test_titles_of_other_alphabets(fonts, drawn_texts):
    side_by_side({"1: 背景": noise(300, 200), "α": noise(300, 200)})
    assert drawn_texts == [r"1: \u80cc\u666f", "α"]


# Panels


def test_panels_in_a_row(drawn_texts):
    first, second = noise(200, 150), noise(180, 150, "L")
    panel = side_by_side({"the $picture$": first, "grey": second})
    assert drawn_texts == ["the $picture$", "grey"]
    gap = panel.width - 200 - 180
    assert 0 < gap < 40
    assert 0 < panel.height - 150 < 60
    bottom = panel.height - 150
    np.testing.assert_array_equal(pixels(panel.crop((0, bottom, 200, panel.height))), pixels(first))
    np.testing.assert_array_equal(pixels(panel.crop((200 + gap, bottom, *panel.size))), pixels(second))
    assert pixels(panel)[:, 200 : 200 + gap].min() == 255


def test_panels_in_columns_at_a_height(drawn_texts):
    pictures = {"a": noise(50, 40), "b": noise(40, 80), "c": noise(400, 40), "": noise(1, 300)}
    row = side_by_side({"a": pictures["a"]}, height=120)
    assert row.width == 150
    grid = side_by_side(pictures, columns=3, height=120)
    # Widths at height 120 are 150, 60, 1200 and 1; the fourth picture starts a second row.
    assert 0 <= grid.width - (150 + 60 + 1200) < 60
    assert 2 * row.height <= grid.height < 2 * row.height + 40
    assert pixels(grid)[-1, 150:].min() == 255


def test_long_titles_wrap(drawn_texts):
    picture = noise(200, 100)
    panel = side_by_side({"one title of so many words that it would reach into the other": picture, "b": picture})
    assert "\n" in drawn_texts[0] and drawn_texts[1] == "b"
    np.testing.assert_array_equal(pixels(panel)[-100:, :200], pixels(picture))
    # The title keeps to its own panel, and nothing of it is cut off.
    assert pixels(panel)[:-100, 198:].min(axis=(1, 2))[:5].min() == 255
    assert pixels(panel)[0].min() == 255


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "images must hold at least one picture, got none"),
        ({"images": {"a": None}}, r"images\['a'\] must be a PIL image, got NoneType"),
        ({"columns": 0}, "columns must be at least 1, got 0"),
        ({"height": 0}, "height must be at least 1, got 0"),
    ],
)
def test_bad_panels(changes, message):
    with pytest.raises(ValueError, match=message):
        side_by_side(**{"images": {"a": noise(9, 9)}} | changes)


# Heatmaps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_heatmap_peak(dtype):
    heatmap = torch.zeros(4, 6, dtype=dtype)
    heatmap[1, 4] = 7
    overlay = overlay_heatmap(Image.new("RGB", (60, 40), "black"), heatmap, alpha=1, colormap="gray")
    assert overlay.size == (60, 40)
    values = pixels(overlay)[..., 0]
    # Around the centre of that cell, y = 15 and x = 45; each pixel's own centre is half a pixel on.
    peak = np.argwhere(values == values.max()).mean(axis=0)
    np.testing.assert_allclose(peak, (14.5, 44.5))
    assert values[14, 44] == pytest.approx(255 * 0.95 * 0.95, abs=2)
    assert values[14, 50] == pytest.approx(255 * 0.95 * 0.45, abs=2)
    assert values[25:].max() == 0 and values[:, :35].max() == 0


def test_heatmap_scale_does_not_matter():
    image, heatmap = noise(60, 40), torch.rand(4, 6)
    overlay = pixels(overlay_heatmap(image, heatmap))
    assert np.abs(pixels(overlay_heatmap(image, heatmap * 1e-6 - 3e-6)) - overlay).max() <= 1
    assert not np.array_equal(pixels(overlay_heatmap(image, heatmap, colormap="viridis")), overlay)


def test_heatmap_opacity_and_constant_map():
    image = noise(60, 40)
    np.testing.assert_array_equal(pixels(overlay_heatmap(image, torch.rand(4, 6), alpha=0)), pixels(image))
    constant = overlay_heatmap(image, torch.ones(4, 6), alpha=1, colormap="gray")
    assert pixels(constant).max() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "cat.png"}, "image must be a PIL image, got str"),
        ({"heatmap": torch.rand(1, 4, 6)}, r"heatmap must be \(height, width\) .*, got shape \(1, 4, 6\)"),
        ({"heatmap": torch.rand(0, 6)}, r"heatmap must be \(height, width\) .*, got shape \(0, 6\)"),
        ({"heatmap": torch.full((2, 2), torch.nan)}, "heatmap must hold finite values"),
        ({"alpha": -0.1}, r"alpha must be in \[0, 1\], got -0.1"),
        ({"colormap": "hot dog"}, "colormap must be one of matplotlib's .*, got 'hot dog'"),
    ],
)
def test_bad_heatmaps(changes, message):
    with pytest.raises(ValueError, match=message):
        overlay_heatmap(**{"image": noise(60, 40), "heatmap": torch.rand(4, 6)} | changes)


# Group maps


def most_different(maps: torch.Tensor, number: int) -> list[int]:
    """The most peaked map, then always the one whose nearest among those taken is farthest away."""
    taken = [int(maps.flatten(1).var(dim=1).argmax())]
    while len(taken) < number:
        nearest = {
            group: min((maps[group] - maps[other]).norm().item() for other in taken)
            for group in range(len(maps))
            if group not in taken
        }
        taken.append(max(nearest, key=nearest.get))
    return taken


@pytest.mark.parametrize("model_class", [GPViTModel, GPViTForImageClassification, GPViTForSemanticSegmentation])
@pytest.mark.parametrize(("block", "num_groups"), [(0, 6), (1, 3), (-1, 1)])
def test_group_panel_shows_the_most_different_groups(drawn_texts, model_class, block, num_groups):
    model, pixel_values, image = tiny(model_class), torch.randn(1, 3, 40, 56), noise(56, 40)
    maps = model.group_maps(pixel_values)[block][0]
    groups = most_different(maps, num_groups)
    panel = group_map_panel(model, pixel_values, image, block=block, num_groups=num_groups)
    assert drawn_texts == ["picture"] + [f"group {group}" for group in groups]
    overlays = {f"group {group}": overlay_heatmap(image, maps[group]) for group in groups}
    columns = {1: 2, 3: 2, 6: 3}[num_groups]
    expected = side_by_side({"picture": image} | overlays, columns=columns, height=256)
    np.testing.assert_array_equal(pixels(panel), pixels(expected))


@pytest.mark.parametrize("size", [(56, 40), (112, 80), (9, 200)])
def test_group_heatmaps(size):
    model, pixel_values, image = tiny(), torch.randn(1, 3, 40, 56), noise(*size)
    heatmaps = group_heatmaps(model, pixel_values, image, num_groups=4)
    maps = model.group_maps(pixel_values)[-1][0]
    assert list(heatmaps) == most_different(maps, 4)
    for group, heatmap in heatmaps.items():
        assert heatmap.size == size
        np.testing.assert_array_equal(pixels(heatmap), pixels(overlay_heatmap(image, maps[group])))


def test_group_heatmaps_that_are_all_the_same():
    """Of a picture of one token: still as many groups as asked for."""
    assert set(group_heatmaps(tiny(), torch.randn(1, 3, 8, 8), noise(8, 8), num_groups=5)) == set(range(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 2}, r"block must be in -2\.\.1 \(2 GP Blocks\), got 2"),
        ({"block": -3}, r"block must be in -2\.\.1 \(2 GP Blocks\), got -3"),
        ({"num_groups": 0}, r"num_groups must be in 1\.\.5, the groups of GP Block -1, got 0"),
        ({"block": 0, "num_groups": 7}, r"num_groups must be in 1\.\.6, the groups of GP Block 0, got 7"),
        ({"pixel_values": torch.randn(2, 3, 40, 40)}, r"one picture \(batch size 1\), got batch size 2"),
        ({"pixel_values": torch.randn(3, 40, 40)}, r"pixel_values must be \(batch, 3, height, width\)"),
        ({"image": None}, "image must be a PIL image, got NoneType"),
        ({"model": torch.nn.Linear(1, 1)}, "this Linear has no GP Blocks"),
    ],
)
def test_bad_group_panel_arguments(changes, message):
    arguments = {"model": tiny(), "pixel_values": torch.randn(1, 3, 40, 40), "image": noise(40, 40), "num_groups": 2}
    for draw in (group_heatmaps, group_map_panel):
        with pytest.raises(ValueError, match=message):
            draw(**arguments | changes)


def test_model_without_gp_blocks():
    model = tiny(group_layer_indices=[], num_group_tokens=[])
    with pytest.raises(ValueError, match="this GPViTModel has no GP Blocks"):
        group_map_panel(model, torch.randn(1, 3, 40, 40), noise(40, 40))
    with pytest.raises(ValueError, match="this GPViTModel has no GP Blocks"):
        group_assignment(model, torch.randn(1, 3, 40, 40), noise(40, 40))
    assert stripe_attention_map(model, torch.randn(1, 3, 40, 40), (0, 0), layer=1).shape == (5, 5)


@pytest.mark.parametrize("model_class", [GPViTModel, GPViTForImageClassification, GPViTForSemanticSegmentation])
@pytest.mark.parametrize("block", [0, -1])
def test_tokens_go_to_the_group_that_they_take_most_of(model_class, block):
    model, pixel_values = tiny(model_class), torch.randn(1, 3, 40, 56)
    shares = model(pixel_values, output_ungroup_attentions=True).ungroup_attentions[block][0].mean(dim=0)
    groups = group_assignment_map(model, pixel_values, block)
    assert groups.shape == (5, 7)
    for token, group in enumerate(groups.flatten().tolist()):
        assert shares[token, group] == shares[token].max()
    assert len(groups.unique()) > 1


@pytest.mark.parametrize("scale", [1, 2])
def test_group_assignment_has_a_patch_for_each_token(scale):
    model, pixel_values, image = tiny(), torch.randn(1, 3, 40, 56), noise(56 * scale, 40 * scale)
    groups = group_assignment_map(model, pixel_values, 0)
    patches = color_palette(model.config.num_group_tokens[0])[groups]
    patches = patches.repeat(8 * scale, axis=0).repeat(8 * scale, axis=1)
    np.testing.assert_array_equal(pixels(group_assignment(model, pixel_values, image, 0, alpha=1)), patches)
    half = pixels(group_assignment(model, pixel_values, image, 0, alpha=0.5))
    np.testing.assert_allclose(half, (pixels(image) + patches) / 2, atol=0.5)
    palette = [(group, 0, 255) for group in range(model.config.num_group_tokens[0])]
    painted = pixels(group_assignment(model, pixel_values, image, 0, alpha=1, palette=palette))
    np.testing.assert_array_equal(painted[:: 8 * scale, :: 8 * scale, 0], groups)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": 2}, r"block must be in -2\.\.1 \(2 GP Blocks\), got 2"),
        ({"pixel_values": torch.randn(2, 3, 40, 40)}, r"one picture \(batch size 1\), got batch size 2"),
        ({"image": None}, "image must be a PIL image, got NoneType"),
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\], got 1\.5"),
        ({"palette": [(0, 0, 0)]}, r"palette must have shape \(5, 3\) for 5 labels"),
        ({"model": torch.nn.Linear(1, 1)}, "this Linear has no GP Blocks"),
    ],
)
def test_bad_group_assignment_arguments(changes, message):
    arguments = {"model": tiny(), "pixel_values": torch.randn(1, 3, 40, 40), "image": noise(40, 40)}
    with pytest.raises(ValueError, match=message):
        group_assignment(**arguments | changes)


def test_seen_picture_is_what_the_processor_cut_out():
    image_processor = image_processor_for(tiny(GPViTForImageClassification), 32)
    image_processor.do_resize = False
    image = noise(48, 40)
    pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
    np.testing.assert_array_equal(
        pixels(seen_picture(pixel_values, image_processor)), pixels(image.crop((8, 4, 40, 36)))
    )


# Stripe attention


def stripe_weights_by_hand(model, pixel_values, layer: int, token: tuple[int, int]) -> list[dict]:
    """What `token` gives to each token (row, column) it sees, one dict per direction, token pair by token pair."""
    seen = []
    attention = model.base_model.layers[layer].attention
    handle = attention.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(pixel_values)
    handle.remove()
    config, width = model.config, model.config.stripe_width
    head_dim = config.hidden_size // config.num_attention_heads
    query, key, _ = attention.qkv(seen[0][0]).chunk(3, dim=-1)
    tokens = [(row, column) for row in range(query.shape[0]) for column in range(query.shape[1])]
    half = config.num_attention_heads // 2
    directions = []
    for axis, heads in ((1, range(half)), (0, range(half, 2 * half))):
        stripe = [other for other in tokens if other[axis] // width == token[axis] // width]
        total = torch.zeros(len(stripe))
        for head in heads:
            channels = slice(head * head_dim, (head + 1) * head_dim)
            scores = [query[token][channels] @ key[other][channels] / head_dim**0.5 for other in stripe]
            total += torch.stack(scores).softmax(0)
        directions.append(dict(zip(stripe, (total / half).tolist(), strict=True)))
    return directions


@pytest.mark.parametrize("stripe_width", [2, 4])
@pytest.mark.parametrize("layer", [0, 3, -1])
@pytest.mark.parametrize("size", IMAGE_SIZES)
@torch.no_grad()
def test_stripe_attention_by_hand(size, layer, stripe_width):
    model, pixel_values = tiny(stripe_width=stripe_width), torch.randn(1, 3, *size)
    rows, columns = model.token_grid(*size)
    for token in {(0, 0), (rows // 2, columns // 2), (rows - 1, 0), (rows - 1, columns - 1)}:
        attention_map = stripe_attention_map(model, pixel_values, token, layer)
        assert attention_map.shape == (rows, columns) and attention_map.dtype == torch.float32
        expected = torch.zeros(rows, columns)
        for weights in stripe_weights_by_hand(model, pixel_values, layer, token):
            assert sum(weights.values()) == pytest.approx(1)
            for other, weight in weights.items():
                expected[other] += weight
        torch.testing.assert_close(attention_map, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_stripe_attention_lies_in_the_stripes(size):
    model, pixel_values = tiny(GPViTForSemanticSegmentation), torch.randn(1, 3, *size)
    rows, columns = model.token_grid(*size)
    row, column = rows - 1, columns // 2
    attention_map = stripe_attention_map(model, pixel_values, (row, column))
    in_rows = torch.arange(rows)[:, None] // 2 == row // 2
    in_columns = torch.arange(columns) // 2 == column // 2
    assert attention_map.sum().item() == pytest.approx(2, abs=1e-5)
    assert (attention_map[in_rows | in_columns] > 0).all()
    assert (attention_map[~(in_rows | in_columns)] == 0).all()
    # Where only one direction reaches, it can't give more than its 1.
    assert attention_map[in_rows & ~in_columns].sum() < 1 + 1e-5
    assert attention_map[~in_rows & in_columns].sum() < 1 + 1e-5


def test_stripe_attention_as_heatmap_leaves_the_model_alone():
    model, pixel_values = tiny(), torch.randn(1, 3, 40, 56)
    implementation = model.config._attn_implementation
    attention_map = stripe_attention_map(model, pixel_values, (2, 3))
    assert not attention_map.requires_grad
    assert model.config._attn_implementation == implementation
    assert overlay_heatmap(noise(56, 40), attention_map).size == (56, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 1}, r"layer must be a LePE layer, one of \[0, 3\], but 1 is a GP Block"),
        ({"layer": -2}, r"layer must be a LePE layer, one of \[0, 3\], but -2 is a GP Block"),
        ({"layer": 4}, r"layer must be in -4\.\.3 \(4 layers\), got 4"),
        ({"token": (5, 0)}, r"token must be a \(row, column\) in rows 0\.\.4 and columns 0\.\.6, got \(5, 0\)"),
        ({"token": (0, 7)}, r"columns 0\.\.6, got \(0, 7\)"),
        ({"token": (0, -1)}, r"columns 0\.\.6, got \(0, -1\)"),
        ({"token": (1, 2, 3)}, r"columns 0\.\.6, got \(1, 2, 3\)"),
        ({"pixel_values": torch.randn(3, 3, 40, 56)}, r"one picture \(batch size 1\), got batch size 3"),
    ],
)
def test_bad_stripe_arguments(changes, message):
    arguments = {"model": tiny(), "pixel_values": torch.randn(1, 3, 40, 56), "token": (0, 0)}
    with pytest.raises(ValueError, match=message):
        stripe_attention_map(**arguments | changes)


def test_train_mode_is_refused():
    model, pixel_values = tiny().train(), torch.randn(1, 3, 40, 40)
    with pytest.raises(ValueError, match=r"model must be in eval mode.*call model\.eval\(\)"):
        stripe_attention_map(model, pixel_values, (0, 0))
    with pytest.raises(ValueError, match=r"model must be in eval mode.*call model\.eval\(\)"):
        group_map_panel(model, pixel_values, noise(40, 40), num_groups=2)
    with pytest.raises(ValueError, match="eval mode"):
        group_assignment(model, pixel_values, noise(40, 40))


# matplotlib


def test_missing_matplotlib_is_named(monkeypatch):
    for name in {"matplotlib"} | {name for name in sys.modules if name.startswith("matplotlib.")}:
        monkeypatch.setitem(sys.modules, name, None)
    image = noise(60, 40)
    for draw in (
        lambda: overlay_segmentation(image, quarters(), NAMES),
        lambda: overlay_heatmap(image, torch.rand(4, 6)),
        lambda: side_by_side({"a": image}),
    ):
        with pytest.raises(ImportError, match=r'pip install "hf-gpvit\[train\]"'):
            draw()
    assert overlay_segmentation(image, quarters(), NAMES, legend=False).size == image.size


def test_matplotlib_is_lazy_and_pyplot_never_loaded():
    program = """
import sys
from PIL import Image
from hf_gpvit.inference import overlay_heatmap, side_by_side
assert "matplotlib" not in sys.modules
side_by_side({"a": overlay_heatmap(Image.new("RGB", (9, 9)), [[0.0, 1.0]])})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
