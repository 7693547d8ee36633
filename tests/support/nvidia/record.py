"""Record what NVIDIA's Python bindings offer, into surfaces/*.json: `python tests/support/nvidia/record.py`.

It needs Python 3.11 on Linux (x86-64), gcc, pip and a package index; no GPU, no driver, no TensorRT: the bindings are
compiled modules that ask for the libraries' entry points only, and stubs of these are enough to import them. For every
wheel of WHEELS it runs pip download into a temporary folder, unpacks the wheel, imports it in a process of its own
(read_tensorrt.py, read_cuda.py) and writes one file, one class or function a line, with the wheel's name and sha256.
A new release: add a line to WHEELS, run this, look at the differences with git, and add it to the fakes' versions.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
POINTERS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getLogger",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
INTEGERS = ("getInferLibVersion", "getNvOnnxParserVersion")


@dataclass(frozen=True)
class Wheel:
    """A wheel to record."""

    distribution: str
    version: str
    reader: str
    """The script that prints the surface."""
    surface: str
    """The name of the file in surfaces/, without its suffix."""
    needs: tuple[str, ...] = ()
    """Other distributions that the wheel imports."""


WHEELS = (
    Wheel("tensorrt_cu12_bindings", "10.3.0", "read_tensorrt.py", "tensorrt-10.3"),
    Wheel("tensorrt_cu12_bindings", "10.16.0.72", "read_tensorrt.py", "tensorrt-10.16"),
    Wheel("tensorrt_cu13_bindings", "11.4.0.106", "read_tensorrt.py", "tensorrt-11.4"),
    Wheel("cuda-bindings", "12.8.0", "read_cuda.py", "cuda-12"),
    Wheel("cuda-bindings", "13.5.0", "read_cuda.py", "cuda-13", ("cuda-pathfinder",)),
)


def main() -> None:
    """Record every wheel."""
    for wheel in WHEELS:
        with tempfile.TemporaryDirectory() as folder:
            record(wheel, Path(folder))


def record(wheel: Wheel, folder: Path) -> None:
    """Download, import and write the surface of one wheel."""
    file = download(f"{wheel.distribution}=={wheel.version}", folder / "wheels", folder / "unpacked")
    for need in wheel.needs:
        download(need, folder / "needs", folder / "unpacked")
    libraries = stub_libraries(folder / "libraries", wheel.version.partition(".")[0])
    surface = read(wheel.reader, folder / "unpacked", libraries)
    origin = {"wheel": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    target = HERE / "surfaces" / f"{wheel.surface}.json"
    target.write_text(lines({**origin, **surface}), encoding="utf-8")
    print(target.name, f"{target.stat().st_size / 1000:.0f} kB")  # noqa: T201


def download(requirement: str, wheels: Path, unpacked: Path) -> Path:
    """Download a wheel with pip and unpack it; gives the wheel's file."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    subprocess.run([*command, wheels, requirement], check=True)
    (file,) = wheels.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(unpacked)
    return file


def stub_libraries(folder: Path, major: str) -> Path:
    """Compile libraries with TensorRT's entry points, which do nothing; gives the folder."""
    folder.mkdir()
    functions = [f"void *{name}(void) {{ return 0; }}" for name in POINTERS]
    functions += [f"int {name}(void) {{ return 0; }}" for name in INTEGERS]
    source = folder / "stubs.c"
    source.write_text("\n".join(functions) + "\n", encoding="utf-8")
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", folder / file, source], check=True)
    return folder


def read(reader: str, unpacked: Path, libraries: Path) -> dict[str, Any]:
    """Run a reader over an unpacked wheel; gives the surface that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "LD_LIBRARY_PATH": str(libraries)}
    command = [sys.executable, str(HERE / reader)]
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    surface: dict[str, Any] = json.loads(finished.stdout)
    return surface


def lines(surface: dict[str, Any]) -> str:
    """Write JSON with one line an entry of each section."""
    parts = [f"{json.dumps(name)}: {_section(part)}" for name, part in surface.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _section(part: Any) -> str:
    if not isinstance(part, dict):
        return json.dumps(part)
    entries = [f"  {json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in part.items()]
    return "{\n" + ",\n".join(entries) + "\n}"


if __name__ == "__main__":
    main()
