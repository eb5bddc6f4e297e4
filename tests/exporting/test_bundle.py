"""A bundle is MONAI's: its own tools load it, prepare a scan as FedSwin does, and come to the same label map."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, load, run, verify_net_in_out
from monai.networks.nets import SwinUNETR

import stand_in
from fedswin.config import Job, parse_job
from fedswin.data.loading import image_preprocessing
from fedswin.exporting.bundle import how_to_use
from fedswin.exporting.export import export
from fedswin.segmentation.inference import predict
from fedswin.segmentation.model import build_segmenter
from fedswin.weights.file import Weights, load_parameters, parameters, save_weights

pytestmark = [  # MONAI says that a configuration can run code, and that a decoder of DICOM is not there
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:NvImgCodec:UserWarning"),
]
CT = {"spacing": [2.0, 2.0, 3.0], "hu_window": [-175, 250]}
NARROW = {"spacing": [3.0, 3.0, 3.0], "hu_window": [-50, 250]}  # fat is cut off with the air
COARSE = {"spacing": [4.0, 4.0, 4.0], "hu_window": [-175, 250]}
MR = {"channels": ["T1", "FLAIR"], "spacing": [2.0, 2.0, 2.0]}
CLASSES = {"liver": 6, "kidneys": [2, 3], "aorta": 8}
AFFINE = np.array([[1.3, 0, 0, -50], [0, 1.1, 0.2, 30], [0, -0.2, 2.5, 5], [0, 0, 0, 1]])
NEEDS_FIRE = pytest.mark.skipif(not find_spec("fire"), reason="'python -m monai.bundle' needs fire: pip install fire")


def job(data, classes=CLASSES):
    content = {
        "name": "abdomen",
        "task": "finetune",
        "model": {"feature_size": 12},
        "data": {"roi": [64, 32, 32], **data},
        "segmentation": {"classes": classes, "overlap": 0.25},
    }
    return parse_job(content, "test")


def weights_of(job: Job) -> Weights:
    """Weights by chance, with the last layer set so that each class is somewhere the likeliest."""
    model = build_segmenter(job)
    with torch.no_grad():
        model.out.conv.conv.weight *= 4
        model.out.conv.conv.bias[0] = 0.5
    return Weights(parameters(model), job, {"round": 3, "global": {"dice": 0.42, "hd95": None}, "sites": {"a": {}}})


def bundle_of(job: Job, folder: Path) -> Path:
    model = folder.with_name("model.pt")
    save_weights(model, weights_of(job))
    export(model, "bundle", folder)
    return folder


def scan(path: Path, shape=(80, 60, 44), codes="RAS", channels=0) -> Path:
    """A blurred body with organs in air; with channels, the same in several contrasts."""
    rng = np.random.default_rng(0)
    noise = np.stack([np.roll(rng.normal(size=shape), shift, (0, 1, 2)) for shift in range(4)]).mean(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = np.where(x**2 + y**2 < 0.8, 40 + 60 * np.sin(4 * x + 3 * z) + 30 * noise, -1000).astype(np.float32)
    if channels:
        body = np.stack([np.clip(body + 200 * channel, 0, None) for channel in range(channels)], axis=-1)
    return stand_in.save(path, body, AFFINE, codes)


def run_here(bundle: Path, image: Path, out: Path) -> nib.Nifti1Image:
    """Run the bundle in this process, from another folder than its own."""
    config = str(bundle / "configs" / "inference.json")
    run(config_file=config, bundle_root=str(bundle), image=str(image), output_dir=str(out), logging_file=False)
    [label] = out.iterdir()
    return nib.load(label)


def ours(job: Job, image: Path) -> np.ndarray:
    """What ``fedswin predict`` writes for ``image``."""
    model = build_segmenter(job)
    load_parameters(model, weights_of(job).tensors, "test")
    indices = predict(stand_in.ensemble(job, model.eval()), image)
    return np.array([0, *job.segmentation.written_values.values()])[indices]


def run_alone(folder: Path, *command: str) -> str:
    """Run Python in ``folder``, where to import fedswin is an error; return what it prints."""
    barrier = folder.parent / "barrier"
    barrier.mkdir(exist_ok=True)
    (barrier / "fedswin.py").write_text("raise ImportError('a bundle must run without FedSwin')")
    environment = {**os.environ, "PYTHONPATH": str(barrier)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def bundle(tmp_path):
    return bundle_of(job(CT), tmp_path / "bundle")


def test_the_folder_is_laid_out_as_monai_has_it(bundle):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    configs = {f"configs/{name}" for name in ("metadata.json", "inference.json", "labels.json", "logging.conf")}
    assert files == {"LICENSE", "README.md", "models/model.pt", *configs}
    assert (bundle / "README.md").read_text().startswith("# abdomen: bundle\n")
    labels = json.loads((bundle / "configs" / "labels.json").read_text())
    assert labels == {"background": 0, "liver": 6, "kidneys": 2, "aorta": 8}


def test_its_card_has_the_checksums_of_the_model_and_the_configurations(bundle):
    found = dict(re.findall(r"^- the file `(.+)`: `(\w+)`$", (bundle / "README.md").read_text(), re.MULTILINE))
    names = ["models/model.pt", *(f"configs/{name}.json" for name in ("inference", "labels", "metadata"))]
    assert found == {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in names}


def test_the_weights_load_strictly_into_monais_network_and_give_the_same_output(bundle):
    theirs = SwinUNETR(in_channels=1, out_channels=4, feature_size=12).eval()
    theirs.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True), strict=True)
    model = build_segmenter(job(CT)).eval()
    load_parameters(model, weights_of(job(CT)).tensors, "test")
    window = torch.rand(1, 1, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(theirs(window), model(window), rtol=0, atol=1e-5)


def test_monai_loads_the_network_with_its_weights(bundle):
    network = load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu")
    expected = weights_of(job(CT)).tensors
    found = dict(network.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("data", [CT, MR])
def test_monai_finds_the_network_as_the_metadata_describes_it(tmp_path, data):
    configs = bundle_of(job(data), tmp_path / "bundle") / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out("network_def", **files, device="cpu")
    override = {"_meta_#network_data_format#outputs#pred#num_channels": 7}
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out("network_def", **files, device="cpu", **override)


@pytest.mark.parametrize("data", [CT, MR])
def test_the_metadata_has_what_monai_requires(tmp_path, data):
    """The keys and types that MONAI's schema of 2024-07-25 requires, written down from it."""
    metadata = json.loads((bundle_of(job(data), tmp_path / "bundle") / "configs" / "metadata.json").read_text())
    texts = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description")
    for key in (*texts, "authors", "copyright", "data_source", "data_type", "intended_use", "image_classes"):
        assert isinstance(metadata[key], str), key
        assert metadata[key], key
    assert all(isinstance(version, str) for version in metadata["required_packages_version"].values())
    assert metadata["version"] in metadata["changelog"]
    assert all(isinstance(text, str) for text in metadata["references"])
    for part in ("inputs", "outputs", "post_processed_outputs"):
        [tensor] = metadata["network_data_format"][part].values()
        assert {type(tensor[key]) for key in ("type", "format", "dtype")} == {str}, part
        assert {type(tensor[key]) for key in ("spatial_shape", "value_range")} == {list}, part
        assert type(tensor["num_channels"]) is int, part
        assert type(tensor["is_patch_data"]) is bool, part


def test_the_metadata_says_what_goes_in_and_what_comes_out(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    io = metadata["network_data_format"]
    assert io["inputs"]["image"]["channel_def"] == {"0": "CT"}
    assert io["inputs"]["image"]["spatial_shape"] == [64, 32, 32]
    assert io["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver", "2": "kidneys", "3": "aorta"}
    label_map = io["post_processed_outputs"]["pred"]
    assert label_map["channel_def"] == {"0": "background", "6": "liver", "2": "kidneys", "8": "aorta"}
    assert label_map["value_range"] == [0, 8]
    assert metadata["eval_metrics"] == {"dice": 0.42}
    assert metadata["task"] == "Segmentation of liver, kidneys and aorta in CT"
    assert metadata["fedswin"]["tensors_sha256"] == weights_of(job(CT)).digest


@pytest.mark.parametrize("shape", [(80, 60, 44), (30, 26, 20)])
@pytest.mark.parametrize("data", [CT, NARROW, MR, {"hu_window": [-1000, 1000]}])
def test_monai_prepares_a_scan_exactly_as_for_training(tmp_path, data, shape):
    of = job(data)
    image = scan(tmp_path / "scan.nii.gz", shape, "PIR" if of.data.is_ct else "RAS", 0 if of.data.is_ct else 2)
    configs = bundle_of(of, tmp_path / "bundle") / "configs"
    config = ConfigParser(ConfigParser.load_config_file(str(configs / "inference.json")))
    theirs = config.get_parsed_content("preprocessing")({"image": str(image)})["image"]
    expected = image_preprocessing(of.data)({"image": str(image)})["image"]
    assert torch.equal(theirs.as_tensor(), expected.as_tensor())
    assert torch.equal(theirs.affine, expected.affine)


@pytest.mark.parametrize(
    ("data", "codes", "shape"),
    [
        (CT, "RAS", (80, 60, 44)),
        (CT, "LPS", (30, 26, 20)),
        (NARROW, "PIR", (80, 60, 44)),
        (NARROW, "ASL", (100, 50, 30)),
        ({"hu_window": [-175, 250]}, "SPL", (70, 40, 36)),
    ],
)
def test_its_label_map_is_that_of_fedswin_predict(tmp_path, data, codes, shape):
    of = job(data)
    image = scan(tmp_path / "scan.nii.gz", shape, codes)
    found = run_here(bundle_of(of, tmp_path / "bundle"), image, tmp_path / "out")
    expected = ours(of, image)
    assert set(np.unique(expected)) == {0, 2, 6, 8}
    assert found.get_data_dtype() == np.uint8
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-5)
    assert (np.asarray(found.dataobj) == expected).mean() > 0.999


def test_images_of_several_channels_and_large_label_values(tmp_path):
    of = job(MR, {"oedema": 1000, "core": 1, "rim": 70})
    image = scan(tmp_path / "scan.nii.gz", (60, 50, 40), channels=2)
    found = run_here(bundle_of(of, tmp_path / "bundle"), image, tmp_path / "out")
    assert found.get_data_dtype() == np.uint16
    assert found.shape == (60, 50, 40)
    assert (np.asarray(found.dataobj) == ours(of, image)).mean() > 0.999
    assert np.asarray(found.dataobj).max() == 1000


@pytest.mark.parametrize("case", ["sarcoma/STS_008", "organs/tptbox_lumbar"])
def test_on_real_ct(tmp_path, real_ct, case):
    of, image = job(COARSE), real_ct / case / "ct.nii.gz"
    found = np.asarray(run_here(bundle_of(of, tmp_path / "bundle"), image, tmp_path / "out").dataobj)
    expected = ours(of, image)
    assert set(np.unique(expected)) == {0, 2, 6, 8}
    assert (found == expected).mean() > 0.999


def test_on_real_ct_in_a_process_that_has_no_fedswin(tmp_path, real_ct):
    of, image = job(COARSE), real_ct / "organs" / "tptbox_lumbar" / "ct.nii.gz"
    bundle = bundle_of(of, tmp_path / "bundle")
    options = {"config_file": "configs/inference.json", "image": str(image)}
    run_alone(bundle, "-c", f"from monai.bundle import run; run(**{options})")
    found = np.asarray(nib.load(bundle / "labels" / "ct_seg.nii.gz").dataobj)
    assert (found == ours(of, image)).mean() > 0.999


def test_a_folder_of_phantoms_in_a_process_that_has_no_fedswin(tmp_path, bundle):
    images = [scan(bundle / "images" / f"{codes}.nii.gz", (64, 40, 36), codes) for codes in ("RAS", "LPI")]
    printed = run_alone(bundle, "-c", "from monai.bundle import run; run(config_file='configs/inference.json')")
    assert "2 images to segment" in printed
    for image in images:
        found = np.asarray(nib.load(bundle / "labels" / f"{image.name[:3]}_seg.nii.gz").dataobj)
        assert (found == ours(job(CT), image)).mean() > 0.999


@NEEDS_FIRE
def test_the_commands_of_the_readme(tmp_path, bundle):
    commands = re.findall(r"\$ python (-m monai.*)", (bundle / "README.md").read_text())
    image = scan(bundle / "scan.nii.gz", (64, 40, 36))
    scan(bundle / "scans" / "other.nii.gz", (64, 40, 36))
    for command in commands:
        run_alone(bundle, *command.split())
    assert {path.name for path in (bundle / "labels").iterdir()} == {"scan_seg.nii.gz", "other_seg.nii.gz"}
    found = np.asarray(nib.load(bundle / "labels" / "scan_seg.nii.gz").dataobj)
    assert (found == ours(job(CT), image)).mean() > 0.999


def test_the_readmes_lines_train_it_further(tmp_path, bundle):
    image = scan(bundle / "images" / "case1.nii.gz", (40, 30, 24))
    (bundle / "labels").mkdir()
    label = np.array([0, 2, 6, 8], np.uint8)[np.indices((40, 30, 24)).sum(0) % 4]
    stand_in.save(bundle / "labels" / "case1.nii.gz", label, nib.load(image).affine)
    [lines] = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(), re.DOTALL)
    run_alone(bundle, "-c", lines)
    before, after = (torch.load(bundle / "models" / f"{name}.pt", weights_only=True) for name in ("model", "finetuned"))
    SwinUNETR(in_channels=1, out_channels=4, feature_size=12).load_state_dict(after, strict=True)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert "swinViT.patch_embed.proj.weight" in moved
    assert "out.conv.conv.bias" in moved
    assert max((after[name] - before[name]).abs().max() for name in moved) < 1.1e-4  # one step of AdamW at 1e-4


def test_the_readme_says_which_scans_it_takes_and_what_the_values_mean():
    text = how_to_use(weights_of(job(CT)))
    assert "0 is background, 6 is liver, 2 is kidneys, 8 is aorta" in text
    assert "CT in Hounsfield units" in text
    assert "the channels T1, FLAIR, in this order" in how_to_use(weights_of(job(MR)))
