"""`--unet`: a training run that wrote its U-Net alone, exported with the pipeline that it was trained from."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from foley.errors import CheckpointError
from foley_export.checkpoint import open_checkpoint
from foley_export.systems import read_model

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def pipeline(checkpoint):
    return checkpoint(layout="no-adapter")


@pytest.fixture
def run(pipeline, tmp_path):
    """A run's folder as diffusers' training script writes it, its U-Net changed."""
    folder = tmp_path / "runs" / "checkpoint-90000"
    shutil.copytree(pipeline / "unet", folder / "unet")
    state = load_file(folder / "unet" / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / "unet" / WEIGHTS)
    return folder


def unet_of(checkpoint):
    plan = next(plan for plan in read_model(checkpoint).graphs if plan.name == "denoise_step")
    return plan.build().unet


@pytest.mark.parametrize("inside", ["", "unet"])
def test_the_trained_unet_is_read_and_all_else_is_the_pipelines(pipeline, run, inside):
    checkpoint = open_checkpoint(str(pipeline)).with_unet(run / inside)
    theirs, trained = unet_of(open_checkpoint(str(pipeline))), unet_of(checkpoint)
    assert all(torch.allclose(new, old + 1) for new, old in zip(trained.parameters(), theirs.parameters(), strict=True))
    read_model(checkpoint)
    others = [path for path in checkpoint.files() if path.parent.name != "unet"]
    assert others
    assert all(path.is_relative_to(pipeline) for path in others)


def test_the_bundle_names_the_run_and_its_digest_is_of_the_files_that_were_read(pipeline, run):
    plain, trained = open_checkpoint(str(pipeline)), open_checkpoint(str(pipeline)).with_unet(run)
    for checkpoint in (plain, trained):
        unet_of(checkpoint)
    assert trained.name == f"{plain.name} with checkpoint-90000/unet"
    assert trained.digest() != plain.digest()
    same = open_checkpoint(str(pipeline)).with_unet(pipeline)
    unet_of(same)
    assert same.digest() == plain.digest()


def test_a_folder_without_a_unet_is_refused(pipeline, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no config.json; give the folder that diffusers' training wrote"):
        open_checkpoint(str(pipeline)).with_unet(tmp_path)


def test_a_checkpoint_without_a_unet_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="has no unet/ to replace; give the folder of a whole pipeline"):
        open_checkpoint(str(tmp_path)).with_unet(run)
