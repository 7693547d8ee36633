"""What a wheel holds, data beside the code included, whatever .gitignore leaves out elsewhere."""

import shutil
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel
from support.commands import ROOT

PACKAGES = ("runtime/foley", "engines/foley_engines", "export/foley_export", "bench/foley_bench")
DATA = (
    "runtime/foley/demo/bundle.json",
    "runtime/foley/demo/golden/vocoder.npz",
    "runtime/foley/demo/graphs/vocoder.cpu.onnx",
    "runtime/foley/demo/graphs/vocoder.onnx",
    "runtime/foley/demo/graphs/vocoder.weights",
    "runtime/foley/demo/tokenizer/text_encoder.json",
)
LEFT_OUT = (
    "runtime/foley/scratch.onnx",
    "runtime/foley/demo/dog.wav",
    "export/foley_export/trial.onnx",
    "export/foley_export/demo_model/checkpoint/model_index.json",
    "export/foley_export/demo_model/checkpoint/unet/diffusion_pytorch_model.safetensors",
    "export/foley_export/demo_model/checkpoint/vocoder/vocoder.pt",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's own packaging over packages of an empty file each, with data as it would ship."""
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in (*(f"{package}/__init__.py" for package in PACKAGES), *DATA, *LEFT_OUT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demos_data_is_in_the_wheel(project: Path):
    wheel = project / "dist" / build_wheel(str(project / "dist"))
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {*(f"{package}/__init__.py" for package in PACKAGES), *DATA}
    assert names == {name.partition("/")[2] for name in expected}
