"""Figures of a page: made small, they still show what matplotlib drew."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

import pytest

from avebench.tables import svg as module
from avebench.tables.figures import Line, Panel
from avebench.tables.svg import svg

PANEL = Panel(
    "",
    "share <of> products",
    "TAG-F1 & more",
    [
        Line("_V-IRC  10.12345", [(0.01, 50.125), (0.1, 61.5), (1.0, 80.75)], [1.5, 0.5, 0.25], number=0),
        Line("+TEM $x$ > 3", [(0.01, 40.0), (0.1, 70.0), (1.0, 87.38)], number=1),
    ],
    log_x=True,
    style="line",
)
LINK = "{http://www.w3.org/1999/xlink}href"


def _elements(text: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text[text.index("<svg") :]).iter())


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return what matplotlib drew, and the figure of a page."""
    kept: list[str] = []
    shorten = module._for_pages

    def keeping(raw: str) -> str:
        kept.append(raw)
        return shorten(raw)

    monkeypatch.setattr(module, "_for_pages", keeping)
    small = svg("one", PANEL)
    return kept[0], small


def test_every_mark_stays_where_it_was(drawn: tuple[str, str]) -> None:
    raw, small = (_elements(text) for text in drawn)
    for name in ("path", "use", "text", "rect"):
        before, after = ([one for one in some if one.tag.endswith("}" + name)] for some in (raw, small))
        assert len(after) == len(before) > 0
        assert [one.text for one in after] == [one.text for one in before]
        for attribute in ("d", "x", "y", "width", "height"):
            for was, is_now in zip(before, after, strict=True):
                expected = _numbers(was.get(attribute, ""))
                assert _numbers(is_now.get(attribute, "")) == pytest.approx(expected, abs=0.1)
        assert [one.get("style", "").count("opacity") for one in after] == [
            one.get("style", "").count("opacity") for one in before
        ]
    assert len(drawn[1]) < 0.6 * len(drawn[0])


def test_references_are_to_the_figure_itself(drawn: tuple[str, str]) -> None:
    small = _elements(drawn[1])
    names = Counter(one.get("id") for one in small if one.get("id"))
    assert set(names.values()) == {1}
    used = {one.get(LINK, "")[1:] for one in small if one.get(LINK)}
    used |= {re.sub(r"url\(#(.*)\)", r"\1", one.get("clip-path", "")) for one in small if one.get("clip-path")}
    assert used == set(names)
    assert set(names).isdisjoint(one.get("id") for one in _elements(svg("another", PANEL)))
