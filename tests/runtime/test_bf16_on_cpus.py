"""A bf16 bundle and the CPU engine, which has no such arithmetic: one line, before anything is loaded."""

import pytest
from support.bundles import edit_manifest

import foley
from foley.bundle import load_bundle
from foley.errors import EngineUnavailableError


@pytest.fixture
def bfloat16(bundle_copy):
    edit_manifest(bundle_copy, lambda manifest: manifest["graphs"]["denoise_step"].update(precision="bf16"))
    return bundle_copy


def test_from_python(bfloat16):
    for run in (lambda: foley.load(bfloat16), lambda: [*foley.verify(load_bundle(bfloat16))]):
        with pytest.raises(EngineUnavailableError, match=r"engine 'cpu' cannot run .* a bf16 bundle"):
            run()


@pytest.mark.parametrize("arguments", [["verify"], ["generate", "a bell", "-o", "x.wav", "--bundle"]])
def test_from_the_command_line(command, bfloat16, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    command(*arguments, bfloat16).refused("'cpu'", "bfloat16", "--engine tensorrt", "--precision fp32")
    assert not (tmp_path / "x.wav").exists()
