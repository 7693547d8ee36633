"""Verification: recorded outputs against what an engine gives."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import load_quietly, scale_weights

import foley
from foley.errors import BundleError, EngineError, EngineUnavailableError
from foley.verify import SNR_FLOOR_DB, GraphReport, snr_db

SIGNAL = np.array([3.0, -4.0], np.float32)


def reports(folder: Path) -> dict[str, GraphReport]:
    return {report.graph: report for report in foley.verify(load_quietly(folder), threads=1)}


def test_the_mini_bundle_passes(mini_bundle: Path):
    found = list(foley.verify(foley.load_bundle(mini_bundle)))
    assert [report.graph for report in found] == ["text_encoder", "denoise_step", "latent_decoder", "vocoder"]
    assert all(report.passed and report.snr_db > 120 and report.worst_error < 1e-5 for report in found)


@pytest.mark.parametrize("graph", ["text_encoder", "denoise_step", "latent_decoder", "vocoder"])
def test_perturbed_weights_fail_their_graph_alone(bundle_copy: Path, graph: str):
    scale_weights(bundle_copy, graph, 1.01)
    found = reports(bundle_copy)
    assert [name for name, report in found.items() if not report.passed] == [graph]
    assert 20 < found[graph].snr_db < 80
    assert found[graph].worst_error > 1e-4


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_minus_infinity(bundle_copy: Path, factor: float):
    scale_weights(bundle_copy, "latent_decoder", factor)
    report = reports(bundle_copy)["latent_decoder"]
    assert (report.snr_db, report.passed) == (float("-inf"), False)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([3.0, -4.0], float("inf")),
        ([3.0, -3.5], 20.0),  # 25 / 0.25
        ([0.0, 0.0], 0.0),
        ([3.0, np.nan], float("-inf")),
        ([3.0, np.inf], float("-inf")),
    ],
)
def test_ratio_in_decibels(other: list[float], expected: float):
    assert snr_db(SIGNAL, np.array(other, np.float32)) == pytest.approx(expected)


def test_noise_over_silence_is_minus_infinity():
    assert snr_db(np.zeros(2, np.float32), SIGNAL) == float("-inf")
    assert snr_db(np.zeros(2, np.float32), np.zeros(2, np.float32)) == float("inf")


def test_floors():
    assert SNR_FLOOR_DB == {"fp32": 80.0, "fp16": 35.0, "bf16": 20.0}
    report = GraphReport("x", "fp32", 80.0, 0.0, 80.0)
    assert report.passed
    assert not GraphReport("x", "fp32", 79.99, 0.0, 80.0).passed
    assert not GraphReport("x", "fp32", float("nan"), 0.0, 80.0).passed


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"mel": np.zeros((1, 7, 16), np.float32), "waveform": np.zeros((1, 2560), np.float32)}, "mel has shape"),
        ({"mel": np.zeros((1, 8, 16)), "waveform": np.zeros((1, 2560), np.float32)}, "mel: got float64"),
        ({"mel": np.zeros((1, 8, 16), np.float32), "waveform": np.zeros((1, 2559), np.float32)}, "recorded .1, 2559"),
    ],
)
def test_a_recording_of_other_shapes_or_types_fails(bundle_copy: Path, recorded: dict, words: str):
    np.savez_compressed(bundle_copy / "golden/vocoder.npz", **recorded)
    with pytest.raises((EngineError, foley.errors.VerificationError), match=words):
        reports(bundle_copy)


def test_an_unusable_engine_is_refused(mini_bundle: Path):
    with pytest.raises(EngineUnavailableError):
        next(foley.verify(foley.load_bundle(mini_bundle), engine="tensorrt"))


def test_a_damaged_recording_is_a_bundle_error(bundle_copy: Path):
    (bundle_copy / "golden/vocoder.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(BundleError):
        reports(bundle_copy)
