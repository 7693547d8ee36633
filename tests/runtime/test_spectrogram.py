"""Pictures, decoded by Pillow."""

from pathlib import Path

import numpy as np
import pytest

from foley.errors import UsageError
from foley.spectrogram import VIRIDIS, save_spectrogram

Image = pytest.importorskip("PIL.Image", reason="Pillow decodes the pictures")
DARK, BRIGHT = VIRIDIS[0], VIRIDIS[-1]


def picture(mel: np.ndarray, folder: Path) -> np.ndarray:
    """Save and decode: uint8 [rows, columns, RGB]."""
    save_spectrogram(mel.astype(np.float32), folder / "mel.png")
    with Image.open(folder / "mel.png") as image:
        image.verify()
    with Image.open(folder / "mel.png") as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_pitch_goes_up_and_time_to_the_right(tmp_path: Path):
    mel = np.zeros((8, 20))
    mel[0, 15:] = 1.0  # a low tone, late
    pixels = picture(mel, tmp_path)
    assert pixels.shape == (8, 20, 3)
    bright = (pixels == BRIGHT).all(axis=-1)
    assert bright[-1].tolist() == [False] * 15 + [True] * 5
    assert not bright[:-1].any()
    assert (pixels[~bright] == DARK).all()


def test_the_range_is_spread_over_the_colours(tmp_path: Path):
    [row] = picture(np.linspace(-11.5, 5.3, 256)[None], tmp_path)
    assert len({tuple(pixel) for pixel in row}) > 250
    assert (row[[0, 128, 255]] == [DARK, row[128], BRIGHT]).all()
    assert np.abs(row[128].astype(int) - VIRIDIS[4]).max() <= 2
    assert (np.diff(row.astype(int).sum(axis=1)) >= -3).all()  # brighter is louder


@pytest.mark.parametrize("level", [0.0, -11.5])
def test_a_flat_mel_is_dark(tmp_path: Path, level: float):
    assert (picture(np.full((4, 5), level), tmp_path) == DARK).all()


def test_a_picture_of_one_frame(tmp_path: Path):
    assert picture(np.arange(4.0)[:, None], tmp_path).shape == (4, 1, 3)


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="none is no folder"):
        save_spectrogram(np.zeros((2, 2), np.float32), tmp_path / "none/mel.png")
