"""Sounds as files, read back by libsndfile."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import run_python

from foley.clip import Clip, Timings, audio_format
from foley.errors import UsageError

TIMINGS = Timings(text_encoder_ms=1.0, denoise_ms=2.0, steps=3, latent_decoder_ms=4.0, vocoder_ms=8.0)
STEP = 1 / 32768  # one 16-bit step


def make(samples: np.ndarray, mel: np.ndarray | None = None) -> Clip:
    mel = np.zeros((8, 100), np.float32) if mel is None else mel
    return Clip("a dog", 7, samples.astype(np.float32), 16_000, 160, np.zeros((3, 4, 8), np.float32), mel, TIMINGS)


def sine(count: int = 16_000, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(count) / 16_000)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".WAV"])
def test_sixteen_bits_come_back(tmp_path: Path, ending: str):
    path = make(sine()).save(tmp_path / f"clip{ending}")
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    assert soundfile.info(path).subtype == "PCM_16"
    assert soundfile.info(path).channels == 1
    assert np.abs(samples - sine()).max() <= STEP / 2 + 1e-7


def test_vorbis_comes_back_about_the_same(tmp_path: Path):
    samples, rate = soundfile.read(make(sine()).save(tmp_path / "clip.ogg"))
    assert (rate, soundfile.info(tmp_path / "clip.ogg").subtype) == (16_000, "VORBIS")
    assert len(samples) == 16_000
    assert np.corrcoef(samples, sine())[0, 1] > 0.99


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_full_scale_does_not_wrap(tmp_path: Path, ending: str):
    loud = np.array([1.0, -1.0, 1.5, -1.5, 0.99999, 0.0, 1e9, -1e9])
    values, _ = soundfile.read(make(loud).save(tmp_path / f"clip{ending}"), dtype="int16")
    assert values.tolist() == [32767, -32768, 32767, -32768, 32767, 0, 32767, -32768]


def test_steps_are_rounded_to_the_nearest(tmp_path: Path):
    samples = np.array([0.4, 0.6, -0.4, -0.6, 1.0]) * STEP
    values, _ = soundfile.read(make(samples).save(tmp_path / "clip.wav"), dtype="int16")
    assert values.tolist() == [0, 1, 0, -1, 1]


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg"])
def test_one_sample_is_a_file(tmp_path: Path, ending: str):
    samples, _ = soundfile.read(make(np.array([0.25])).save(tmp_path / f"clip{ending}"))
    assert len(samples) == 1


LONG = """
import sys, numpy as np, soundfile
sys.path.insert(0, sys.argv[1])
from test_clip import make, sine
path = make(sine(600 * 16_000)).save(sys.argv[2])
print(soundfile.info(path).frames)
"""


def test_ten_minutes_of_vorbis_do_not_crash(tmp_path: Path):
    """libsndfile's encoder keeps a whole write on the stack: one write of ten minutes ends the process."""
    done = run_python(
        "-c", LONG.replace("from test_clip", "from runtime.test_clip"), Path(__file__).parents[1], tmp_path / "a.ogg"
    )
    assert (done.code, done.out) == (0, "9600000\n"), done.err[-300:]


def test_a_clip_tells_its_length_and_time():
    clip = make(sine(24_000))
    assert clip.seconds == 1.5
    assert clip.timings.total_ms == 15.0


@pytest.mark.parametrize(
    ("name", "got"), [("clip.mp3", "'.mp3'"), ("clip", "'nothing'"), ("clip.", "'"), (".wav", "'nothing'")]
)
def test_an_unknown_ending_offers_the_known(tmp_path: Path, name: str, got: str):
    with pytest.raises(UsageError, match=r"expected one of .wav, .flac, .ogg") as caught:
        make(sine()).save(tmp_path / name)
    assert got in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_endings_in_any_case():
    assert audio_format(Path("a.FLAC")) == ("FLAC", "PCM_16")


def test_a_picture_shows_the_heard_part_of_the_mel(tmp_path: Path):
    png = make(sine(1601), np.arange(800, dtype=np.float32).reshape(8, 100)).save_spectrogram(tmp_path / "a.png")
    width = int.from_bytes(png.read_bytes()[16:20], "big")
    assert width == 11  # ⌈1601 / 160⌉
