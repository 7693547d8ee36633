"""The parity table as text: rendered, written between its markers, read back, and held against new figures."""

from dataclasses import replace

import pytest

from foley.errors import UsageError
from foley_bench.parity.figures import Figure
from foley_bench.parity.table import disagreements, read_table, render, write_table

FIGURES = [
    Figure("cpu", "fp32", "graph `vocoder`", "torch, same weights", 125.4, 80.0),
    Figure("cpu", "fp16", "graph `vocoder`", "torch, same weights", 64.8, 35.0),
]
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    write_table(path, FIGURES)
    return path


def test_rendered_rows():
    assert render(FIGURES).splitlines() == [
        "| engine | precision | what | against | measured | floor |",
        "| --- | --- | --- | --- | ---: | ---: |",
        "| cpu | fp32 | graph `vocoder` | torch, same weights | 125 dB | 80 dB |",
        "| cpu | fp16 | graph `vocoder` | torch, same weights | 65 dB | 35 dB |",
    ]


def test_what_is_around_the_markers_stays(page):
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| engine")
    assert text.endswith(f"|\n{END}\n\nThe rest.\n")
    write_table(page, FIGURES)
    assert page.read_text() == text


def test_a_written_table_agrees(page):
    assert read_table(page.read_text()) == {FIGURES[0].key: 125, FIGURES[1].key: 65}
    assert [*disagreements(page.read_text(), FIGURES)] == []


def test_rounding_noise_is_no_disagreement(page):
    assert [*disagreements(page.read_text(), [replace(figure, snr_db=figure.snr_db - 8) for figure in FIGURES])] == []


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ([replace(FIGURES[0], snr_db=100.0), FIGURES[1]], "measured 100.0 dB, the page says 125 dB"),
        ([replace(FIGURES[0], snr_db=float("-inf")), FIGURES[1]], "measured -inf dB"),
        (FIGURES[:1], "nothing measures the page's row cpu · fp16"),
        ([*FIGURES, replace(FIGURES[0], what="clip")], "the page has no row cpu · fp32 · clip"),
    ],
)
def test_a_stale_table_is_told(page, figures, words):
    (line,) = disagreements(page.read_text(), figures)
    assert words in line


@pytest.mark.parametrize("text", ["no markers", BEGIN, f"{END}{BEGIN}"])
def test_a_page_without_markers(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UsageError, match="parity:begin"):
        write_table(page, FIGURES)
    assert page.read_text() == text


def test_a_row_that_is_none():
    with pytest.raises(UsageError, match="not a row"):
        read_table(f"{BEGIN}\n| a |\n|---|\n| cpu | fp32 | x |\n{END}")


def test_a_figure_below_its_floor():
    assert [figure.passed for figure in (FIGURES[0], replace(FIGURES[0], snr_db=79.9))] == [True, False]
    assert not replace(FIGURES[0], snr_db=float("nan")).passed
