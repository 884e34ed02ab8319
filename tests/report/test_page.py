"""The page: what stands on it is what was stored, as text, and it loads nothing."""

import json
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from inprocess import avebench_here as avebench
from stored_cells import CATEGORY, COLOUR, KIND, LONG, ROWS, TEXTS, result, write_store

from avebench.report.writing import write_report
from avebench.store.results import Store

VOID = {"meta", "link", "br", "hr", "img", "input", "col"}
METRIC = {"P": "tag_precision", "R": "tag_recall", "TAG-F1": "tag_f1", "CLS-F1": "cls_f1"}


class Element:
    """An element of a page with its children, which are elements and texts."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Element | str] = []

    def all(self, *names: str) -> "Iterator[Element]":
        """Yield the elements of these names below this one; all without any."""
        for child in self.children:
            if isinstance(child, Element):
                if not names or child.name in names:
                    yield child
                yield from child.all(*names)

    def text(self) -> str:
        """Return all text below this element."""
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)


class Page(HTMLParser):
    """A page as a tree; AssertionError if an element is not closed where it should be."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(content)
        self.close()
        assert self.open == [self.root], f"not closed: {[one.name for one in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


Cells = list[tuple[str, Element]]
"""Heading and cell; published and measured figures have the same headings, the measured ones come later."""


def _table(page: Page, part: str) -> list[tuple[str, str, Cells]]:
    """Return section, row label and cells of each row of the first table of a part."""
    details = next(one for one in page.root.all("details") if one.attributes.get("id", "").endswith(f"-{part}"))
    table = next(details.all("table"))
    heads = [one for one in table.all("tr") if any(e.attributes.get("scope") == "col" for e in one.all("th"))]
    headings = [next(one.all("button")).text() for one in heads[0].all("th")][1:]
    lines, section = [], ""
    for row in (row for body in table.all("tbody") for row in body.all("tr")):
        label = next(row.all("th")).text()
        if row.attributes.get("class") == "section":
            section = label
            continue
        cells = list(row.all("td"))
        assert len(cells) == len(headings)
        lines.append((section, label, list(zip(headings, cells, strict=True))))
    return lines


def _data(page: Page) -> Any:
    return json.loads(next(one for one in page.root.all("script") if one.attributes.get("id") == "data").text())


def _values(page: Page, cell: Element) -> list[tuple[Any, float]]:
    """Return the stored results behind a measured figure, as their files have them, and the figure of each."""
    button = next(cell.all("button"))
    numbers = [int(number) for number in button.attributes["data-cells"].split()]
    values = [float(value) for value in button.attributes["data-values"].split()]
    files = [json.loads(Path(_data(page)["cells"][number]["file"]).read_text()) for number in numbers]
    return list(zip(files, values, strict=True))


def _shown(values: list[float], digits: int = 2) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_store(folder)
    write_report(
        [str(folder / "mine.toml")],
        out=folder / "runs",
        recorded=False,
        data=folder / "data",
        output=folder / "report.html",
        format="html",
    )
    return folder


@pytest.fixture(scope="module")
def page(place: Path) -> Page:
    return Page((place / "report.html").read_text())


def test_what_comes_from_data_is_text(page: Page) -> None:
    """No tag of a text, a value, an attribute, a label, a title or a hardware name becomes an element of the page."""
    elements = list(page.root.all())
    assert not {"img", "b", "i", "u"} & {one.name for one in elements}
    assert [one.attributes.get("type") for one in page.root.all("script")] == ["application/json", None]
    assert not [name for one in elements for name in one.attributes if name.startswith("on")]
    texts = {one.text() for one in elements}
    assert {ROWS[0], ROWS[1], COLOUR, KIND, CATEGORY, "A <script>title</script> & more"} <= texts
    assert "A note with <b>markup</b>." in texts
    # Every title of which a mistake is shown stands there as it is, whatever pieces it is cut into; the last is right.
    titles = {one.text() for one in elements if one.attributes.get("class") == "title"}
    assert titles == {text for text, _ in list(TEXTS.values())[:3]} and any(LONG in title for title in titles)
    said = [one.text() for one in elements if one.attributes.get("class") == "what"]
    assert f"wrong attribute · gold {KIND} “连衣裙”, predicted {COLOUR} “连衣裙” · 2" in said
    assert f"spurious · predicted {KIND} “more” · 1" in said
    # What a script reads holds no tag either.
    assert "<" not in next(one for one in page.root.all("script") if one.attributes.get("id") == "data").text()


def test_a_page_loads_nothing(page: Page, place: Path) -> None:
    ids = [one.attributes["id"] for one in page.root.all() if "id" in one.attributes]
    for one in page.root.all():
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"):
            reference = one.attributes.get(name, "#")
            assert reference.startswith(("#", "data:image/png;base64,")), (one.name, name, reference)
            assert reference == "#" or reference.startswith("data:") or reference[1:] in ids
        for value in one.attributes.values():
            assert all(target in ids for target in re.findall(r"url\(#([^)]*)\)", value))
            assert all(target.startswith("#") for target in re.findall(r"url\(\s*([^)]*)\)", value))
    assert not list(page.root.all("link", "iframe", "object", "embed", "base"))
    styles = "".join(one.text() for one in page.root.all("style"))
    assert "@import" not in styles and "url(" not in styles
    policy = next(one for one in page.root.all("meta") if "http-equiv" in one.attributes).attributes["content"]
    assert policy.startswith("default-src 'none';") and "http" not in policy
    assert not re.search(r"\bfetch\(|XMLHttpRequest|import\(", "".join(one.text() for one in page.root.all("script")))
    assert len(list(page.root.all("svg"))) >= 5 and (place / "report.html").stat().st_size < 1e6


def test_figures_are_those_of_the_stored_results(page: Page) -> None:
    """Each measured figure names its cells, and is the mean and spread of what their files hold."""
    checked = 0
    for section, label, cells in [*_table(page, "table"), *_table(page, "reproduction")]:
        for heading, cell in cells:
            metric = METRIC.get(section if heading == "%" else heading)
            button = next(cell.all("button"), None)
            if metric is None or button is None or "data-cells" not in button.attributes:
                continue
            found = _values(page, cell)
            values = [stored["scores"]["metrics"][metric]["value"] for stored, _ in found]
            assert values == [value for _, value in found] and {stored["row"] for stored, _ in found} == {label}
            assert cell.text() == _shown(values)
            checked += 1
    # Two tables of four metrics; two rows, of which one has two repetitions.
    assert checked == 16
    rows = {label: dict(cells) for _, label, cells in _table(page, "table")}
    # By hand: 4 of 4 predicted are right of 7, then 3 of 3; the other row has 2 of 4.
    assert rows[ROWS[0]]["R"].text() == _shown([100 * 4 / 7, 100 * 3 / 7]) and rows[ROWS[1]]["P"].text() == "50.00"
    assert rows[ROWS[0]]["n"].text() == "2" and rows[ROWS[2]]["P"].text() == "not run"


def test_breakdowns_are_those_of_the_stored_results(page: Page) -> None:
    checked = 0
    for part, name in (("attributes", "per_attribute"), ("slices", "per_slice"), ("categories", "per_slice")):
        for _, label, cells in _table(page, part):
            key = f"category: {label}" if part == "categories" else label
            for row in ROWS[:2]:
                values = []
                for stored, value in _values(page, dict(cells)[row]):
                    counts = stored["scores"][name][key]
                    assert value == pytest.approx(200 * counts["tp"] / (counts["predicted"] + counts["gold"]))
                    values.append(value)
                assert dict(cells)[row].text() == _shown(values)
                checked += 1
    assert checked == 2 * 4
    cost = {label: dict(cells) for _, label, cells in _table(page, "cost")}[ROWS[0]]
    shown = {"parameters (millions)": "1.50", "training (min)": "1.50", "s per 1,000 examples": "125.00"}
    assert all(cost[heading].text() == f"{text} ± 0.00" for heading, text in shown.items())
    assert cost["peak memory (GB)"].text() == "2.00 ± 0.00"
    kinds = {label: dict(cells) for _, label, cells in _table(page, "mistakes")}
    # By hand: blue, coat, 连衣裙, 红色 are gold; 连衣裙 is taken for a colour, "more" is nothing; dress is missed.
    by_hand = {"missed": 4, "wrong attribute": 1, "wrong boundary": 0, "spurious": 1}
    assert {kind: kinds[ROWS[1]][kind].text() for kind in by_hand} == {k: f"{n:.1f}" for k, n in by_hand.items()}
    assert kinds[ROWS[0]]["missed"].text() == _shown([3, 4], 1)
    confused = {label: dict(cells) for _, label, cells in _table(page, "confusion")}
    assert confused[f"{KIND} → {COLOUR}"][ROWS[1]].text() == "1.0" and len(confused) == 1


def test_published_figures_are_those_of_the_packaged_file(page: Page) -> None:
    packaged = Path(__file__).parents[2] / "experiments" / "published.toml"
    stored = {(row["table"], row["label"]): row for row in tomllib.loads(packaged.read_text())["row"]}
    places = {ROWS[0]: ("journal-6", "V-IRC"), ROWS[2]: ("journal-6", "+ARM")}
    checked = 0
    for section, label, cells in [*_table(page, "table"), *_table(page, "reproduction")]:
        for heading, cell in cells:
            button = next(cell.all("button"), None)
            if button is None or "data-published" not in button.attributes:
                continue
            assert button.attributes["data-published"] == "/".join(places[label])
            # The file's names are those of the paper: P and R are of spans.
            name = {"P": "precision", "R": "recall", "TAG-F1": "tag_f1"}[section if heading == "%" else heading]
            assert float(cell.text()) == stored[places[label]]["metrics"][name]
            checked += 1
    assert checked == 2 * 2 * 3
    verdicts = {
        (section, label): dict(cells)["Verdict"].text() for section, label, cells in _table(page, "reproduction")
    }
    assert verdicts["TAG-F1", ROWS[0]] == "not comparable: published on mepave"
    assert verdicts["TAG-F1", ROWS[2]] == "not run" and verdicts["TAG-F1", ROWS[1]] == ""


def test_the_head_says_what_was_run(page: Page) -> None:
    def pairs(kind: str) -> dict[str, str]:
        found = next(one for one in page.root.all("dl") if one.attributes.get("class") == kind)
        return dict(zip((one.text() for one in found.all("dt")), (one.text() for one in found.all("dd")), strict=True))

    facts = pairs("facts")
    assert facts["Data"].startswith("jsonl ") and "4 examples of test" in facts["Data"]
    assert facts["Measured"] == "2 of 3 rows, 1 / 2 repetitions" and facts["Finished"] == "1970-01-02 00:00 UTC"
    assert "journal 6" in facts["Published"] and facts["Settings"] == "profile paper"
    assert {"published", "measured", "reproduced", "within noise", "not reproduced"} <= set(pairs("guide"))
    (nav,) = page.root.all("nav")
    assert next(nav.all("a")).attributes["href"] == "#mine-jsonl" and "1 not comparable" not in nav.text()
    assert "3 not comparable" in nav.text() and f"{ROWS[0]} (TAG-F1" in nav.text()
    # A script would round the seed.
    assert {cell["seed"] for cell in _data(page)["cells"]} == {str(2**62 + 1)}


def test_many_cells_are_a_small_page(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    names = [f"attribute {number}" for number in range(26)]
    counts = {"tp": 5, "predicted": 9, "gold": 8}
    for place in range(200):
        row, repetition = divmod(place, 5)
        scores = {
            "examples": 4,
            "metrics": {"tag_f1": {"value": 1000 / 17, **counts}},
            "per_attribute": dict.fromkeys(names, counts),
            "per_slice": {},
            "mean_selected_range": 1.0,
            "c_o": 5.0,
            "c_m": 2.0,
        }
        config = {f"option {number}": [number] * 9 for number in range(60)}
        key = f"{place:064d}"
        store.folder(key).mkdir(parents=True)
        store.write(result(key=key, row=f"row {row}", repetition=repetition, scores=scores, config=config))
    output = tmp_path / "report.html"
    write_report([], out=store.out, recorded=False, data=None, output=output, format="html")
    page = Page(output.read_text())
    assert len(_data(page)["cells"]) == 200 and len(_table(page, "attributes")) == 26
    # What cells share stands once.
    assert len(_data(page)["shared"]) < 10 and output.stat().st_size < 8e6


def test_the_command_writes_a_page_and_says_where(place: Path, tmp_path: Path) -> None:
    done = avebench(tmp_path, "report", "--out", str(place / "runs"), "--data", str(place / "data"))
    assert done.returncode == 0 and re.fullmatch(r"The report is in report.html \(0\.\d MB\).\n", done.stdout)
    page = Page((tmp_path / "report.html").read_text())
    assert "file of this table is not at hand" in page.root.text()
    # Rows of one system whose options are not known are not taken for each other.
    for _, label, cells in _table(page, "table"):
        assert {stored["row"] for stored, _ in _values(page, dict(cells)["P"])} == {label}
    done = avebench(tmp_path, "report", "table66")
    assert done.returncode == 2 and "No result and no experiment is called 'table66'. Did you mean" in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
