# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The rules of the detectors once more, as loops over boxes and points on numpy's float32, for small inputs.

Written from the description of the official detectors' rules, not from the models' code, which it is compared with.
Boxes are (x1, y1, x2, y2); maps are (C, h, w).
"""

import math
from itertools import product

import numpy as np


BACKGROUND, UNUSED = -1, -2


def anchors(grid, stride, scales, ratios):
    """Not rounded; centres at the cells' first corners; for each ratio (height / width) all scales."""
    found = []
    for row, column in product(range(grid[0]), range(grid[1])):
        for ratio, scale in product(ratios, scales):
            width, height = stride * scale / math.sqrt(ratio), stride * scale * math.sqrt(ratio)
            x, y = column * stride, row * stride
            found.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return np.array(found, np.float32)


def usable(grid, stride, image_size, anchors_per_cell):
    """Whether each anchor's cell begins within the image, padded to multiples of 32."""
    padded = [math.ceil(side / 32) * 32 for side in image_size]
    found = []
    for row, column in product(range(grid[0]), range(grid[1])):
        found += [row * stride < padded[0] and column * stride < padded[1]] * anchors_per_cell
    return found


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, np.float32(0)) * max(height, np.float32(0))
    return common / max(area(first) + area(second) - common, np.float32(1e-6))


def encode(box, anchor, stds):
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    deltas = (
        ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / width,
        ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / height,
        math.log((box[2] - box[0]) / width),
        math.log((box[3] - box[1]) / height),
    )
    return [delta / std for delta, std in zip(deltas, stds, strict=True)]


def decode(deltas, anchor, stds):
    limit = math.log(1000 / 16)
    dx, dy, dw, dh = (float(delta) * std for delta, std in zip(deltas, stds, strict=True))
    width, height = float(anchor[2]) - float(anchor[0]), float(anchor[3]) - float(anchor[1])
    x, y = (
        (float(anchor[0]) + float(anchor[2])) / 2 + dx * width,
        (float(anchor[1]) + float(anchor[3])) / 2 + dy * height,
    )
    width *= math.exp(min(max(dw, -limit), limit))
    height *= math.exp(min(max(dh, -limit), limit))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def clip(box, image_size):
    height, width = image_size
    return [min(max(side, 0.0), limit) for side, limit in zip(box, (width, height, width, height), strict=True)]


def match(places, boxes, foreground, background, least):
    """The object of each place; or what it is instead."""
    if len(boxes) == 0:
        return [BACKGROUND] * len(places)
    table = [[iou(place, box) for box in boxes] for place in places]
    matches = []
    for row in table:
        best = max(row)
        if best >= np.float32(foreground):
            matches.append(row.index(best))
        else:
            matches.append(BACKGROUND if best < np.float32(background) else UNUSED)
    for index in range(len(boxes)):  # a later object takes what an earlier one has taken
        best = max((row[index] for row in table), default=-1)
        for place, row in enumerate(table):
            if best >= np.float32(least) and row[index] == best:
                matches[place] = index
    return matches


def match_usable(places, boxes, is_usable, *thresholds):
    chosen = [index for index, usable in enumerate(is_usable) if usable]
    matches = [UNUSED] * len(places)
    for index, found in zip(chosen, match([places[index] for index in chosen], boxes, *thresholds), strict=True):
        matches[index] = found
    return matches


def sigmoid(logit):
    return 1 / (1 + math.exp(-float(logit)))


def binary_cross_entropy(logit, target):
    logit = float(logit)
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


def absolute_differences(deltas, targets):
    return sum(abs(float(delta) - target) for delta, target in zip(deltas, targets, strict=True))


def rpn_losses(logits, deltas, places, is_usable, boxes, thresholds):
    """When all anchors are sampled."""
    classes, regressions, number = 0.0, 0.0, 0
    for image in range(len(boxes)):
        matches = match_usable(places, boxes[image], is_usable[image], *thresholds)
        for place, found in enumerate(matches):
            if found == UNUSED:
                continue
            number += 1
            classes += binary_cross_entropy(logits[image][place], float(found >= 0))
            if found >= 0:
                target = encode(boxes[image][found], places[place], (1, 1, 1, 1))
                regressions += absolute_differences(deltas[image][place], target)
    return classes / max(number, 1), regressions / max(number, 1)


def focal(logit, target, alpha, gamma):
    probability = sigmoid(logit)
    if target:
        return alpha * (1 - probability) ** gamma * binary_cross_entropy(logit, 1)
    return (1 - alpha) * probability**gamma * binary_cross_entropy(logit, 0)


def retina_losses(logits, deltas, places, is_usable, boxes, labels, thresholds, alpha, gamma):
    classes, regressions, number = 0.0, 0.0, 0
    for image in range(len(boxes)):
        matches = match_usable(places, boxes[image], is_usable[image], *thresholds)
        for place, found in enumerate(matches):
            if found == UNUSED:
                continue
            for label, logit in enumerate(logits[image][place]):
                classes += focal(logit, found >= 0 and label == labels[image][found], alpha, gamma)
            if found >= 0:
                target = encode(boxes[image][found], places[place], (1, 1, 1, 1))
                regressions += absolute_differences(deltas[image][place], target)
        number += max(sum(found >= 0 for found in matches), 1)
    return classes / number, regressions / number


def box_losses(logits, deltas, regions, matches, boxes, labels):
    """Of one image's regions: which box each is, or `BACKGROUND`, the last class."""
    classes, regressions = 0.0, 0.0
    for region, found in enumerate(matches):
        row = [float(logit) for logit in logits[region]]
        label = len(row) - 1 if found == BACKGROUND else labels[found]
        classes += math.log(sum(math.exp(logit) for logit in row)) - row[label]
        if found != BACKGROUND:
            target = encode(boxes[found], regions[region], (0.1, 0.1, 0.2, 0.2))
            regressions += absolute_differences(deltas[region][label], target)
    return classes / max(len(matches), 1), regressions / max(len(matches), 1)


def mask_losses(logits, labels, targets):
    """Mean over the pixels of the masks of the right classes."""
    total, number = 0.0, 0
    for mask, label, target in zip(logits, labels, targets, strict=True):
        for row, column in np.ndindex(target.shape):
            total += binary_cross_entropy(mask[label][row][column], float(target[row][column]))
            number += 1
    return total / max(number, 1)


def interpolate(feature_map, y, x):
    """Between pixels, whose centres are whole numbers; those at the border reach a pixel further, then comes 0."""
    _, height, width = feature_map.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(feature_map.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = feature_map[:, top, left] * (1 - (x - left)) + feature_map[:, top, right] * (x - left)
    lower = feature_map[:, bottom, left] * (1 - (x - left)) + feature_map[:, bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def roi_align(feature_map, box, scale, side):
    """(C, side, side): means over points at most a pixel apart; pixel centres are at a half."""
    left, top, right, bottom = (float(value) * scale - 0.5 for value in box)
    height, width = (bottom - top) / side, (right - left) / side
    rows, columns = math.ceil(height), math.ceil(width)
    found = np.zeros((feature_map.shape[0], side, side))
    for row, column in np.ndindex(side, side):
        for i, j in np.ndindex(rows, columns):
            y = top + (row + (i + 0.5) / rows) * height
            x = left + (column + (j + 0.5) / columns) * width
            found[:, row, column] += interpolate(feature_map, y, x) / (rows * columns)
    return found


def level(box):
    """0 to 3: one more with each doubling of the side from 112 on."""
    side = np.sqrt(max(area(box), np.float32(0)))
    return min(max(math.floor(math.log2(float(side) / 56 + 1e-6)), 0), 3)


def cut_mask(mask, box, side):
    return roi_align(np.asarray(mask, np.float64)[None], box, 1.0, side)[0] >= 0.5


def suppress(boxes, scores, groups, threshold):
    """Indices that stay, best first; and how near to the threshold the nearest decision was."""
    order = sorted(range(len(boxes)), key=lambda index: -float(scores[index]))
    kept, margin = [], math.inf
    for index in order:
        overlaps = [float(iou(boxes[index], boxes[other])) for other in kept if groups[index] == groups[other]]
        margin = min([margin, *(abs(overlap - threshold) for overlap in overlaps)])
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(index)
    return kept, margin


def propose(logits, deltas, places, image_size, before, after, threshold):
    """Of one image: boxes from (A,), (A, 4) and (A, 4) of each level; and the nearest decision."""
    boxes, scores, levels = [], [], []
    for index in range(len(logits)):
        best = sorted(range(len(logits[index])), key=lambda place: -float(logits[index][place]))[:before]
        for place in best:
            box = clip(decode(deltas[index][place], places[index][place], (1, 1, 1, 1)), image_size)
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                scores.append(logits[index][place])
                levels.append(index)
    kept, margin = suppress(boxes, scores, levels, threshold)
    return [boxes[index] for index in kept[:after]], margin


def retina_detections(logits, deltas, places, image_size, config):
    """Of one image: (box, score, label), best first; and the nearest decision."""
    boxes, scores, labels = [], [], []
    for index in range(len(logits)):
        pairs = list(np.ndindex(logits[index].shape))
        best = sorted(pairs, key=lambda pair: -float(logits[index][pair]))[: config.retina_pre_nms_top_n]
        for place, label in best:
            boxes.append(clip(decode(deltas[index][place], places[index][place], (1, 1, 1, 1)), image_size))
            scores.append(sigmoid(logits[index][place, label]))
            labels.append(label)
    return best_detections(boxes, scores, labels, config)


def region_detections(logits, deltas, regions, image_size, config):
    """Of one image: logits (R, num_labels + 1), the background last, deltas (R, num_labels, 4), regions (R, 4)."""
    boxes, scores, labels = [], [], []
    for row, region_deltas, region in zip(logits, deltas, regions, strict=True):
        exponentials = [math.exp(float(logit)) for logit in row]
        for label in range(len(row) - 1):
            boxes.append(clip(decode(region_deltas[label], region, (0.1, 0.1, 0.2, 0.2)), image_size))
            scores.append(exponentials[label] / sum(exponentials))
            labels.append(label)
    return best_detections(boxes, scores, labels, config)


def best_detections(boxes, scores, labels, config):
    above = [index for index in range(len(boxes)) if scores[index] > config.score_threshold]
    boxes, scores, labels = ([values[index] for index in above] for values in (boxes, scores, labels))
    margin = min((abs(score - config.score_threshold) for score in scores), default=1)
    kept, nearest = suppress(boxes, scores, labels, config.nms_threshold)
    found = [(boxes[index], scores[index], labels[index]) for index in kept[: config.num_detections]]
    return found, min(margin, nearest)


def look(values, grid, place):
    """What a map (h * w, C) has at a place (x, y) in units of the image: bilinear between centres, 0 outside."""
    height, width = grid
    x, y = place[0] * width - 0.5, place[1] * height - 0.5
    found = np.zeros(values.shape[1])
    for row, column in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
        if 0 <= row < height and 0 <= column < width:
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            found += weight * values[row * width + column]
    return found


def cell_centres(grid):
    height, width = grid
    return [((column + 0.5) / width, (row + 0.5) / height) for row, column in product(range(height), range(width))]


def deformable_attention(offsets, logits, values, places, grids, heads):
    """(N, C): what queries see, before the output projection.

    Args:
        offsets, logits: (N, heads * levels * points * 2) and (N, heads * levels * points), in this order.
        values: (sum of h * w, C), projected.
        places: (N, 2).
        grids: (h, w) of each level.
    """
    points = logits.shape[1] // (heads * len(grids))
    offsets = offsets.reshape(len(places), heads, len(grids), points, 2)
    logits = logits.reshape(len(places), heads, len(grids) * points)
    channels = values.shape[1] // heads
    seen = np.zeros((len(places), values.shape[1]))
    for query, head in np.ndindex(len(places), heads):
        weights = np.exp(logits[query, head] - logits[query, head].max())
        weights = (weights / weights.sum()).reshape(len(grids), points)
        start = 0
        part = slice(head * channels, (head + 1) * channels)
        for index, (height, width) in enumerate(grids):
            level_values = values[start : start + height * width, part]
            start += height * width
            for point in range(points):
                x, y = offsets[query, head, index, point]
                place = places[query][0] + x / width, places[query][1] + y / height
                seen[query, part] += weights[index, point] * look(level_values, (height, width), place)
    return seen
