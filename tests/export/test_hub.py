"""Hub repositories, the hub itself simulated: what is downloaded, and what is said when it cannot be."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from foley.errors import CheckpointError
from foley_export.checkpoint import _wanted, open_checkpoint

ROOT = Path(__file__).parents[2]
REPOSITORY = "someone/some-sound"
HTTP = importlib.import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
"""The hub's HTTP library, another one in each of its major versions: httpx, httpx2."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Answers of the hub: the files of a repository, and a snapshot folder."""

    def __init__(self, monkeypatch, snapshot: Path, files=("unet/config.json",)) -> None:
        self.snapshot, self.files = snapshot, files
        self.listing: Exception | None = None
        self.cached = True
        self.calls: list[dict] = []
        monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", self.list_repo_files)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def list_repo_files(self, *_, **__):
        if self.listing is not None:
            raise self.listing
        return list(self.files)

    def snapshot_download(self, repository, *, revision=None, allow_patterns=None, local_files_only=False):
        self.calls.append({"repository": repository, "revision": revision, "patterns": allow_patterns})
        if local_files_only and not self.cached:
            raise errors.LocalEntryNotFoundError("nothing in the cache")
        return str(self.snapshot)


@pytest.fixture
def hub(monkeypatch, checkpoint, tmp_path):
    snapshot = tmp_path / COMMIT
    snapshot.symlink_to(checkpoint(), target_is_directory=True)
    return Hub(monkeypatch, snapshot)


def response(code: int):
    return HTTP.Response(code, request=HTTP.Request("GET", "https://huggingface.co"))


def test_a_repository_is_downloaded_and_its_commit_remembered(hub, read):
    opened = open_checkpoint(REPOSITORY, revision="main")
    assert (opened.name, opened.revision) == (REPOSITORY, COMMIT)
    assert opened.config("unet/config.json")["in_channels"] == 4
    assert hub.calls == [{"repository": REPOSITORY, "revision": "main", "patterns": ["unet/config.json"]}]


@pytest.mark.parametrize(
    "failure",
    [
        HTTP.ConnectError("name resolution failed"),
        HTTP.ReadTimeout("slow"),
        errors.OfflineModeIsEnabled("offline"),
        errors.HfHubHTTPError("503", response=response(503)),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_an_unreachable_hub(hub, failure):
    hub.listing = failure
    with pytest.warns(UserWarning, match=f"using the cached commit {COMMIT}"):
        assert open_checkpoint(REPOSITORY).revision == COMMIT
    hub.cached = False
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(REPOSITORY)
    said = str(caught.value)
    for word in (REPOSITORY, type(failure).__name__, "cannot be reached", "connect, or give the folder"):
        assert word in said


def test_a_full_disk_is_no_lost_connection(hub):
    hub.listing = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        open_checkpoint(REPOSITORY)
    assert hub.calls == []


@pytest.mark.parametrize(
    "failure",
    [
        errors.RepositoryNotFoundError("404\nno such repository", response=response(404)),
        errors.RevisionNotFoundError("404 no such revision", response=response(404)),
        errors.GatedRepoError("403 ask first", response=response(403)),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_repository_that_is_not_there_is_not_taken_from_the_cache(hub, failure):
    hub.listing = failure
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(REPOSITORY)
    assert f"the hub has no {REPOSITORY} that you may read" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.calls == []


def test_a_name_that_the_hub_would_not_take():
    with pytest.raises(CheckpointError, match="it is no hub id"):
        open_checkpoint("some one/some..sound")


def test_without_a_network_the_message_says_what_to_do(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / name) for name in ("runtime", "engines", "export"))
    script = "import sys; from foley.cli import cli, main; from foley_export.cli import export; cli.add_command(export)"
    arguments = ["export", "auffusion/auffusion-full", "-o", str(tmp_path / "bundle")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{script}; main({arguments})"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("foley: ")]
    assert "auffusion/auffusion-full" in line
    assert "give the folder of a downloaded checkpoint" in line
    assert not (tmp_path / "bundle").exists()


RELEASED = [
    ".gitattributes",
    "README.md",
    "condition_config.json",
    "condition_adapter_0/condition_adapter.pt",
    "condition_adapter_0/config.json",
    "feature_extractor/preprocessor_config.json",
    "scheduler/scheduler_config.json",
    "text_encoder_0/config.json",
    "text_encoder_0/merges.txt",
    "text_encoder_0/model.safetensors",
    "text_encoder_0/pytorch_model.bin",
    "text_encoder_0/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.bin",
    "vocoder/config.json",
    "vocoder/vocoder.pt",
    "training/optimizer.bin",
    "sample.wav",
    "model.ckpt",
]


def test_one_file_of_weights_a_component_is_downloaded():
    wanted = set(_wanted(RELEASED))
    weights = {name for name in wanted if name.endswith((".safetensors", ".bin", ".pt"))}
    assert weights == {
        "condition_adapter_0/condition_adapter.pt",
        "text_encoder_0/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.bin",
        "vocoder/vocoder.pt",
    }
    assert {name for name in RELEASED if name.endswith((".json", ".txt"))} <= wanted
    assert not wanted & {"sample.wav", "model.ckpt", "README.md", "training/optimizer.bin"}


def test_sentencepiece_models_are_downloaded():
    assert _wanted(["text_encoder_1/spiece.model"]) == ["text_encoder_1/spiece.model"]


def test_a_revision_of_a_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder, and --revision main means a hub repository"):
        open_checkpoint(str(tmp_path), revision="main")
