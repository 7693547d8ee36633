"""Arrows between the packages, and what running the product loads."""

import ast
import sys
from pathlib import Path

import pytest
from support.commands import ROOT, run_python
from support.lora_files import add_parameters, unet_lora

RUNTIME_LIBRARIES = {"numpy", "msgspec", "safetensors", "tokenizers", "soundfile", "click"}
OWN = {"foley_engines": "engines", "foley": "runtime", "foley_export": "export", "foley_bench": "bench"}
MAY_IMPORT = {
    "foley_engines": {"foley_engines"},
    "foley": {"foley", "foley_engines"},
    "foley_export": {"foley", "foley_engines", "foley_export"},
    "foley_bench": set(OWN),
}
ENGINE_LIBRARIES = {
    "onnxruntime_cpu.py": {"onnxruntime"},
    "onnxruntime_cuda.py": {"onnxruntime"},
    "cuda/driver.py": {"cuda"},
    "tensorrt/library.py": {"tensorrt"},
    "plans/record.py": {"msgspec"},
    "plans/store.py": {"filelock"},
}
HEAVY = {"torch", "diffusers", "transformers", "onnx"}


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / OWN[package] / package).rglob("*.py"))
    assert found
    return found


def imports(file: Path) -> list[tuple[str, int]]:
    """Top-level names that a file imports anywhere, with the level of relative imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], 0) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found.append(((node.module or "").partition(".")[0], node.level))
    return found


def foreign(file: Path) -> set[str]:
    return {name for name, _ in imports(file)} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", OWN)
def test_arrows_between_the_packages(package: str):
    upward = {(str(file), name) for file in sources(package) for name in foreign(file) & set(OWN) - MAY_IMPORT[package]}
    assert upward == set()


@pytest.mark.parametrize("package", OWN)
def test_imports_are_absolute(package: str):
    assert [str(file) for file in sources(package) for _, level in imports(file) if level] == []


def test_the_runtime_imports_its_six_libraries_only():
    used = set().union(*map(foreign, sources("foley"))) - set(OWN)
    assert used == RUNTIME_LIBRARIES


def test_only_the_command_line_imports_click():
    users = {file.relative_to(ROOT).parts[2] for file in sources("foley") if "click" in foreign(file)}
    assert users == {"cli"}


def test_an_engine_imports_numpy_and_its_own_library_only():
    for file in sources("foley_engines"):
        place = file.relative_to(ROOT / "engines" / "foley_engines").as_posix()
        assert foreign(file) <= {"numpy", "foley_engines"} | ENGINE_LIBRARIES.get(place, set()), file


GENERATION = f"""
import sys
import foley, foley.cli
folder, output, lora = sys.argv[1:]
with foley.load(folder) as pipeline:
    pipeline.use_loras([foley.Lora(lora, 0.5)])
    [clip] = pipeline.generate("a dog barking", steps=2)
clip.save(output + "/clip.wav")
clip.save_spectrogram(output + "/clip.png")
assert all(report.passed for report in foley.verify(foley.load_bundle(folder)))
print(sorted({HEAVY} & set(sys.modules)), "onnxruntime" in sys.modules)
"""


def test_a_whole_generation_loads_no_torch_and_no_onnx(bundle_copy: Path, tmp_path: Path):
    lora, output = unet_lora(tmp_path / "rain.safetensors"), tmp_path / "output"
    output.mkdir()
    done = run_python("-c", GENERATION, add_parameters(bundle_copy), output, lora)
    assert (done.code, done.out) == (0, "[] True\n"), done.err
    assert sorted(path.name for path in output.iterdir()) == ["clip.png", "clip.wav"]


BENCHMARKS = f"""
import sys
sys.path.insert(0, sys.argv[1])
from importlib import import_module
from foley_bench.cli import COMMANDS
for module, _ in COMMANDS.values():
    import_module(module)
print(sorted({HEAVY - {"onnx"}} & set(sys.modules)))
"""


def test_commands_of_foley_bench_load_no_torch():
    assert run_python("-c", BENCHMARKS, ROOT / "bench").out == "[]\n"


def test_import_loads_no_engine_library():
    done = run_python("-c", "import sys, foley; print('onnxruntime' in sys.modules, 'click' in sys.modules)")
    assert done.out == "False False\n"


def test_import_is_quick():
    timer = "import time; begin = time.process_time(); import foley; print(time.process_time() - begin)"
    assert min(float(run_python("-c", timer).out) for _ in range(5)) < 0.3  # processor time; measured 0.12 s, calm
