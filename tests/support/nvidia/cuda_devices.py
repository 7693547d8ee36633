"""Devices, versions and words of the fake CUDA runtime."""

from support.nvidia.cuda_registry import INVALID_VALUE, CudaError, Handle, behaviour
from support.nvidia.machine import current
from support.nvidia.surface import Surface


@behaviour("cudaGetErrorName")
def get_error_name(_: Surface, error: str) -> tuple[bytes]:
    return (error.encode(),)


@behaviour("cudaGetErrorString")
def get_error_string(_: Surface, error: str) -> tuple[bytes]:
    words = {"cudaErrorMemoryAllocation": "out of memory", "cudaSuccess": "no error", INVALID_VALUE: "invalid argument"}
    return (words.get(error, f"words for {error}").encode(),)


@behaviour("cudaGetLastError")
@behaviour("cudaPeekAtLastError")
def get_last_error(_: Surface) -> tuple[()]:
    return ()


@behaviour("cudaRuntimeGetVersion")
@behaviour("cudaDriverGetVersion")
@behaviour("getLocalRuntimeVersion")
def get_version(surface: Surface) -> tuple[int]:
    major, minor = (int(part) for part in surface.version.split(".")[:2])
    return (1000 * major + 10 * minor,)


@behaviour("cudaGetDeviceCount")
def get_device_count(_: Surface) -> tuple[int]:
    if not current().devices:
        raise CudaError("cudaErrorNoDevice")
    return (current().devices,)


@behaviour("cudaSetDevice")
def set_device(_: Surface, device: int) -> tuple[()]:
    _check_device(device)
    return ()


@behaviour("cudaGetDevice")
def get_device(_: Surface) -> tuple[int]:
    return (0,)


@behaviour("cudaGetDeviceProperties")
def get_device_properties(_: Surface, device: int) -> tuple[Handle]:
    _check_device(device)
    facts = current().device
    major, minor = facts.compute_capability
    values = {"name": facts.name.encode(), "major": major, "minor": minor, "totalGlobalMem": facts.memory_bytes}
    more = {"multiProcessorCount": 132, "l2CacheSize": 50 << 20, "integrated": 0, "pciBusID": 1, "pciDeviceID": 0}
    return (Handle("cudaDeviceProp", values={**values, **more, "pciDomainID": 0}),)


@behaviour("cudaDeviceGetAttribute")
def device_get_attribute(_: Surface, attribute: str, device: int) -> tuple[int]:
    _check_device(device)
    major, minor = current().device.compute_capability
    known = {
        "cudaDevAttrComputeCapabilityMajor": major,
        "cudaDevAttrComputeCapabilityMinor": minor,
        "cudaDevAttrMultiProcessorCount": 132,
        "cudaDevAttrL2CacheSize": 50 << 20,
        "cudaDevAttrIntegrated": 0,
        "cudaDevAttrMemoryPoolsSupported": 1,
    }
    if attribute not in known:
        raise NotImplementedError(f"the fake has no value for {attribute}")
    return (known[attribute],)


@behaviour("cudaMemGetInfo")
def mem_get_info(_: Surface) -> tuple[int, int]:
    total = current().device.memory_bytes
    return total - current().memory.used(), total


def _check_device(device: int) -> None:
    if not 0 <= device < current().devices:
        raise CudaError("cudaErrorInvalidDevice")
