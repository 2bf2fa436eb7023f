"""The few things that a picture in SVG is made of: elements, escaped texts of known width, and the heads of arrows.

Everything is a str, and the same arguments always give the same one. No element refers to another by an id, so that pictures
can stand in one page without being taken for each other.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from typing import Final

FONT: Final = "Helvetica, Arial, sans-serif"
SIZE: Final = 12
"""Of texts, if nothing else is said."""

# Widths in parts of the size, on the safe side: of the usual fonts without serifs the broad ones count.
_NARROW: Final = frozenset("ijlI.,:;|!'`()[]{} tfr/\\-")
_BROAD: Final = frozenset("mwMW@%—…→\N{MULTIPLICATION SIGN}")
_BOLD: Final = 1.1

# What XML 1.0 does not let in, what its readers would turn into something else, and what turns the order of a line around.
_UNSHOWABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def showable(text: str) -> str:
    """Write the characters of `text` that a picture cannot show as Python would, with a backslash."""
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Give `text` as it can be shown in one line: without breaks and wide gaps."""
    return showable(" ".join(text.split()))


def text_width(text: str, size: float = SIZE, *, is_bold: bool = False) -> float:
    """How wide `text` is at most."""
    return math.fsum(map(_breadth, text)) * size * (_BOLD if is_bold else 1)


def _breadth(character: str) -> float:
    if character in _NARROW:
        return 0.4
    if character in _BROAD or unicodedata.east_asian_width(character) in "WF":
        return 1
    return 0.72 if character.isupper() else 0.63


def fit(text: str, room: float, size: float = SIZE, *, is_bold: bool = False) -> str:
    """Cut `text` so that it is at most `room` wide; an ellipsis says that there was more."""
    factor = size * (_BOLD if is_bold else 1)
    width, kept = 0.0, 0
    for place, character in enumerate(text):
        if width + factor <= room:
            kept = place  # up to here there is room for the ellipsis
        width += _breadth(character) * factor
        if width > room:
            return text[:kept].rstrip() + "…" if kept else ""
    return text


def wrap(text: str, room: float, size: float = SIZE, *, is_bold: bool = False, most: int = 4) -> list[str]:
    """Break `text` into lines that are at most `room` wide; the last of `most` lines is cut."""
    lines, line = [], ""
    for word in fit(one_line(text), most * room, size, is_bold=is_bold).split():
        longer = f"{line} {word}" if line else word
        if line and text_width(longer, size, is_bold=is_bold) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [fit(line, room, size, is_bold=is_bold) for line in lines]


def number(value: float) -> str:
    """Write a length or a place: to a tenth of a pixel."""
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def element(name: str, *content: str, **attributes: str | float) -> str:
    """Make an element of ready pieces of SVG; in the names of attributes ``_`` stands for ``-``."""
    words = [name]
    for key, value in attributes.items():
        shown = html.escape(showable(value)) if isinstance(value, str) else number(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    head = " ".join(words)
    return f"<{head}>{''.join(content)}</{name}>" if content else f"<{head}/>"


def document(content: str, width: float, height: float) -> str:
    """Make a whole picture."""
    root = element(
        "svg",
        f"\n{content}\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        font_family=FONT,
        font_size=SIZE,
    )
    return root + "\n"


def plain(words: str) -> str:
    """Make the content of an element of `words`, whatever is in them."""
    return html.escape(showable(words))


def text(words: str, x: float, y: float, **attributes: str | float) -> str:
    """Make a text of one line."""
    return element("text", html.escape(one_line(words)), x=x, y=y, **attributes)


def tooltip(words: str) -> str:
    """Make the text that a browser shows when the mouse rests on the element around it."""
    return element("title", plain("\n".join(words.splitlines())))


def path(*steps: str | float, **attributes: str | float) -> str:
    """Make a path of the letters and numbers of its steps."""
    return element("path", d=" ".join(step if isinstance(step, str) else number(step) for step in steps), **attributes)


def head(from_x: float, from_y: float, x: float, y: float, color: str, *, is_open: bool = False) -> str:
    """Make the head of an arrow that comes from one point and ends at another."""
    length = math.hypot(x - from_x, y - from_y) or 1
    along_x, along_y = (x - from_x) / length, (y - from_y) / length
    back_x, back_y = x - 9 * along_x, y - 9 * along_y
    side_x, side_y = 4 * along_y, -4 * along_x
    steps = ("M", back_x + side_x, back_y + side_y, "L", x, y, "L", back_x - side_x, back_y - side_y)
    if is_open:
        return path(*steps, fill="none", stroke=color, stroke_width=1.6)
    return path(*steps, "Z", fill=color)


def cross(x: float, y: float, color: str, size: float = 5) -> str:
    """Make a cross that says: not any further."""
    steps = ("M", x - size, y - size, "L", x + size, y + size, "M", x - size, y + size, "L", x + size, y - size)
    return path(*steps, fill="none", stroke=color, stroke_width=2.6)
