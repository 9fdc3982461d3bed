# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which letters can be drawn. matplotlib draws the same box for all that its font lacks, and names become one."""

from collections.abc import Iterable

from ..extras import import_extra
from ..files import printable


# They have a glyph for everything, which is a box with the name of its alphabet, or nothing.
_PLACEHOLDERS = ("last resort", "lastresort", "adobe blank", "notdef")

# The family of an installed font that has a letter; None where none has it.
_family_of: dict[str, str | None] = {}


def drawable(text: str) -> str:
    """The text on one line, with escapes such as "\\u80cc" for the letters that no installed font has."""
    text = printable(text)
    families_of = _families_of(text)
    return "".join(char if families_of[char] else char.encode("unicode_escape").decode() for char in text)


def families(texts: Iterable[str]) -> list[str]:
    """Fonts for lines of `drawable` texts, as matplotlib takes them: its own, and others for what that lacks."""
    own = import_extra("matplotlib.font_manager").FontProperties().get_family()
    found = _families_of("".join(texts).replace("\n", "")).values()
    return list(dict.fromkeys([*own, *filter(None, found)]))


def _families_of(text: str) -> dict[str, str | None]:
    """By letter, the family of a font that has it. New ones are looked for in all installed fonts at once."""
    missing = set(text) - _family_of.keys()
    fonts = _fonts() if missing else {}
    for family, file in fonts.items():
        found = _letters_in(file, missing)
        _family_of.update(dict.fromkeys(found, family))
        missing -= found
        if not missing:
            break
    _family_of.update(dict.fromkeys(missing))
    return {char: _family_of[char] for char in text}


def _fonts() -> dict[str, str]:
    """The file of each upright family, its own one first, as matplotlib chooses it: of the most usual weight."""
    manager = import_extra("matplotlib.font_manager")
    properties = manager.FontProperties()
    entries = [entry for entry in manager.fontManager.ttflist if entry.style == "normal"]
    entries.sort(key=lambda entry: (entry.name, -abs(manager.weight_dict.get(entry.weight, entry.weight) - 400)))
    others = {entry.name: entry.fname for entry in entries if not entry.name.lower().startswith(_PLACEHOLDERS)}
    return {properties.get_family()[0]: manager.findfont(properties)} | others


def _letters_in(file: str, letters: set[str]) -> set[str]:
    """Those for which a font has a glyph that shows something."""
    try:
        font = import_extra("matplotlib.ft2font").FT2Font(file)
        found = {char for char in letters if font.get_char_index(ord(char))}
        return {char for char in found if char == " " or font.load_char(ord(char)).width}
    except (OSError, RuntimeError):  # a file that has gone, or is no font
        return set()
