"""What a person sees of an output."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime.launch.previews import LIMIT_BYTES, Form, form_for, preview

EVIL = '<script>alert("x")</script>'
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
FORMS: tuple[Form, ...] = ("text", "markdown", "html")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (2.5, "2.5"),
        ("short", "'short'"),
        ("ä" * 100, "str of 100 characters\n\n" + "ä" * 100),
        ([1, {"a": None}], 'list of 2\n\n[\n  1,\n  {\n    "a": null\n  }\n]'),
        (b"\x00\xff", "bytes of 2\n\n00 ff"),
        ((1, "a"), "tuple of 2\n\n[0]: 1\n[1]: 'a'"),
        ({"model": (1, 2), 3: "x"}, "dict of 2\n\nmodel: tuple of 2\n3: 'x'"),
    ],
)
def test_plain_values_are_told_as_text(value: Any, text: str) -> None:
    assert preview(value).text == text


def test_an_array_is_told_by_shape_kind_bounds_and_first_items() -> None:
    numpy = pytest.importorskip("numpy")
    made = preview(numpy.arange(6.0).reshape(2, 3))
    assert made.text == "ndarray (2, 3) float64, min 0.0, max 5.0\n\n[[0. 1. 2.]\n [3. 4. 5.]]"
    assert made.metadata == {
        "type": "numpy.ndarray",
        "summary": "ndarray (2, 3) float64, min 0.0, max 5.0",
        "shape": [2, 3],
        "dtype": "float64",
    }


@pytest.mark.parametrize("make", ["zeros(0)", "array(['a', 'b'])", "array([None, {}], dtype=object)"])
def test_arrays_without_numbers_have_no_bounds(make: str) -> None:
    numpy = pytest.importorskip("numpy")
    assert "min" not in preview(eval(f"numpy.{make}", {"numpy": numpy})).text


def test_a_large_array_is_told_in_a_few_lines() -> None:
    numpy = pytest.importorskip("numpy")
    assert len(preview(numpy.zeros((2000, 2000))).text) < 2000


def test_a_frame_is_a_table_of_its_first_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a|b": range(25), "text": ["line\nbreak"] + ["x"] * 24})
    made = preview(frame)
    lines = made.text.splitlines()
    assert lines[:5] == [
        "DataFrame (25, 2)",
        "",
        "|   | a\\|b | text |",
        "| --- | --- | --- |",
        "| 0 | 0 | line break |",
    ]
    assert lines[-1] == "5 more rows"
    assert made.metadata["shape"] == [25, 2]
    assert made.metadata["columns"] == ["a|b", "text"]


def test_a_wide_frame_names_what_it_leaves_out() -> None:
    pandas = pytest.importorskip("pandas")
    made = preview(pandas.DataFrame([list(range(300))]))
    assert made.text.endswith("280 more columns")
    assert made.metadata["columns"] == [str(number) for number in range(100)]


def test_a_series_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    assert "| 0 | 7 |" in preview(pandas.Series([7], name="n")).text


@pytest.mark.parametrize("make", ["text", "frame", "dict", "class", "file"])
def test_values_are_escaped_in_html(make: str, tmp_path: Path) -> None:
    """Whatever a user's value holds is shown, never run."""

    class Evil:
        def __repr__(self) -> str:
            return EVIL

    file = tmp_path / "report.txt"
    file.write_text(EVIL)
    values: dict[str, Any] = {"text": EVIL * 10, "dict": {EVIL: (EVIL,)}, "class": Evil(), "file": file}
    if make == "frame":
        values["frame"] = pytest.importorskip("pandas").DataFrame({EVIL: [EVIL]})
    text = preview(values[make], "html").text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_markdown_holds_no_html_of_the_users_outside_fences() -> None:
    pandas = pytest.importorskip("pandas")
    assert "<script" not in preview(pandas.DataFrame({EVIL: [EVIL]}), "markdown").text
    text = preview("```\n" + EVIL * 10, "markdown").text
    fence = re.findall("^`+$", text, re.MULTILINE)
    assert fence[0] == fence[-1] == "````"


def test_a_picture_is_drawn_in_html_and_named_in_text(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(PNG)
    encoded = base64.b64encode(PNG).decode()
    assert f'<img alt="" src="data:image/png;base64,{encoded}">' in preview(path, "html").text
    assert preview(path).text == f"file plot.png, {len(PNG)} bytes"


def test_a_file_that_only_calls_itself_a_picture_is_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_text(EVIL)
    assert "<img" not in preview(path, "html").text


def test_a_large_picture_is_not_embedded(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(PNG + bytes(200 * 1024))
    assert "<img" not in preview(path, "html").text


def test_a_figure_is_drawn() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2], [3, 4])
    canvas = figure.canvas
    assert "data:image/png;base64," in preview(figure, "html").text
    assert figure.canvas is canvas


def test_a_text_file_shows_its_start_and_a_folder_its_entries(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    (tmp_path / "inner").mkdir()
    assert preview(tmp_path / "rows.csv").text == "file rows.csv, 8 bytes\n\na,b\n1,2\n"
    assert preview(tmp_path).text.splitlines()[1:] == ["", "inner/", "rows.csv"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ["\U0001f600" * 200_000, ["x" * 50] * 100_000, {str(n): (n,) for n in range(50_000)}])
def test_no_preview_is_large(value: Any, form: Form) -> None:
    assert len(preview(value, form).text.encode()) <= LIMIT_BYTES


def test_text_that_utf8_cannot_hold_is_shown_all_the_same() -> None:
    preview("\ud800" * 100).text.encode("utf-8")


def test_an_object_without_a_text_of_its_own_is_told_by_its_class() -> None:
    """No address in memory: the same value gives the same preview."""

    class Model:
        pass

    assert preview(Model()).text == preview(Model()).text
    assert "0x" not in preview(Model()).text


def test_metadata_is_json_without_nulls() -> None:
    pandas = pytest.importorskip("pandas")
    for value in (None, 1, {"a": 1}, {(1, 2): 3}, pandas.DataFrame({1: [None]})):
        metadata = preview(value).metadata
        assert json.loads(json.dumps(metadata)) == metadata
        assert None not in metadata.values()


def test_the_artifacts_type_chooses_the_form() -> None:
    assert [form_for(f"system.{name}") for name in ("Artifact", "HTML", "Markdown", "Dataset")] == [
        "text", "html", "markdown", "text",
    ]  # fmt: skip
