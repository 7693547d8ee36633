"""NVIDIA's Python bindings without NVIDIA: recorded surfaces, fakes that offer no more than these, a check of names.

    fakes = installed(monkeypatch, tensorrt="11.4", cuda="13")   # support.nvidia.install; a fresh machine
    fake_device("NVIDIA A10", (8, 6), 24 << 30)                  # support.nvidia.machine; seen by both fakes
    fakes.machine.lazy = True                                    # enqueued work waits for a synchronisation
    fakes.machine.refused_operators["Einsum"] = "not today"      # the parser refuses it
    fakes.machine.failures["cudaMalloc"] = "cudaErrorMemoryAllocation"
    fakes.machine.failures["ICudaEngine.create_execution_context"] = None
    fakes.machine.driver = False                                 # or devices = 0
    ...
    fakes.machine.counts["build"]                                # timed, deserialize, refit, enqueue, capture, launch
    fakes.machine.check()                                        # no leak, no double free, no range beyond memory
    fakes.touched()                                              # every name that was used

| file | holds |
|---|---|
| `record.py read_*.py surfaces/` | the real bindings' names and signatures; recorded by hand, anew for a new release |
| `surface.py` | loads one |
| `machine.py memory.py streams.py` | the device that both fakes run on |
| `fake_cuda.py cuda_*.py` | `cuda.bindings.runtime` |
| `fake_tensorrt.py pybind.py arguments.py behaviours.py trt_*.py` | `tensorrt`; `trt_*.py` say what members do |
| `onnx_network.py plan_file.py` | the graph that a network, a plan and an engine hold |
| `install.py rig.py` | the fakes in `sys.modules`; a small graph through them |
| `conformance.py source_reader.py` | which names a package uses, and which release lacks one |
"""
