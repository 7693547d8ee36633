"""The names that callers rely on."""

import foley
import foley_engines


def test_all_of_foley():
    assert foley.__all__ == [
        "SAMPLERS",
        "Bundle",
        "Clip",
        "FoleyError",
        "Generation",
        "GraphReport",
        "Lora",
        "NegativeIgnoredWarning",
        "Part",
        "Pipeline",
        "PromptTruncatedWarning",
        "Request",
        "Step",
        "Timings",
        "__version__",
        "load",
        "load_bundle",
        "verify",
    ]
    assert all(hasattr(foley, name) for name in foley.__all__)


def test_all_of_foley_engines():
    assert foley_engines.__all__ == [
        "ENGINES",
        "Array",
        "Buffer",
        "BuildOptions",
        "CpuSetup",
        "CudaSetup",
        "Engine",
        "EngineStatus",
        "GraphFile",
        "Host",
        "Session",
        "Setup",
        "Shape",
        "Spelling",
        "TensorRtSetup",
        "TensorSpec",
        "choose",
        "open",
        "open_host",
        "status",
    ]
    assert all(hasattr(foley_engines, name) for name in foley_engines.__all__)
