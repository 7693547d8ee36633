"""A peer that computes nothing: it sleeps, and does otherwise what its settings say. It is no test."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np


class Peer:
    LIBRARIES = ("numpy",)

    def prepare(self, settings, folder):
        if settings.get("unpreparable"):
            (folder / "half").write_text("a")
            raise RuntimeError("no room")
        (folder / "model").write_text(str(os.getpid()))
        return {"fidelity": {"denoise_step": 120.0}}

    def load(self, settings):
        self.settings = settings
        if settings.get("absent"):
            raise ModuleNotFoundError("No module named 'peerless'")
        if settings.get("noise"):
            print("hello from a library")  # noqa: T201
            subprocess.run(["echo", "and from its child"], check=True)
        return {"threads": settings.get("counted", settings["threads"]), "emulated": settings.get("emulated", False)}

    def run(self, task, inputs):
        with Path(self.settings["log"]).open("a") as log:
            log.write(f"{self.settings['name']} {task['unit']} {task['steps']}\n")
        if self.settings.get("crash"):
            os.write(2, b"out of luck\n")
            os._exit(3)
        if self.settings.get("noise"):
            print("50 %|████")  # noqa: T201
        time.sleep(self.settings.get("sleep_s", 0.0))
        evaluations = self.settings.get("evaluations", task["steps"])
        given = inputs["latents"][:, 0] if task["unit"] == "decode" else inputs["latents"]
        return given * np.float32(self.settings.get("factor", 1.0)), evaluations
