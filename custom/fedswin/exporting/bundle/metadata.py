"""What a bundle says of itself: ``metadata.json``, as MONAI's bundle specification has it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fedswin.config import Job
from fedswin.data.label_map import label_type
from fedswin.report.wording import listed
from fedswin.weights.file import Weights

_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
_VERSION = "1.0.0"
OWN_PART = "fedswin"
"""The key of what MONAI's specification does not know: which job and which tensors a bundle is of."""
_REFERENCES = [
    "Tang et al., Self-Supervised Pre-Training of Swin Transformers for 3D Medical Image Analysis, CVPR 2022. "
    "https://arxiv.org/abs/2111.14791",
    "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images, "
    "BrainLes 2021. https://arxiv.org/abs/2201.01266",
    "Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, 2022. "
    "https://arxiv.org/abs/2211.02701",
]


def metadata(weights: Weights) -> dict[str, Any]:
    """Return ``configs/metadata.json``.

    It names no site: where the model was trained stands in the model card, as far as it may be told.
    """
    job = weights.job
    owners = f"The sites of the study '{job.name}'"
    return {
        "schema": _SCHEMA,
        "version": _VERSION,
        "changelog": {_VERSION: _origin(weights)},
        **_versions(),
        "task": f"Segmentation of {listed(list(job.segmentation.classes))} in {listed(job.data.channels)}",
        "description": _description(job),
        "authors": owners,
        "copyright": f"{owners}. See LICENSE.",
        "data_source": "Scans that stayed at the sites; they are not to be had.",
        "data_type": "nibabel",
        "image_classes": _image_classes(job),
        "label_classes": _label_classes(job),
        "pred_classes": f"{1 + len(job.segmentation.classes)} channels, background first, one for each class",
        "eval_metrics": _metrics(weights),
        "intended_use": "Research. It is no medical device, and no one has shown that it is fit for use in the clinic.",
        "references": _REFERENCES,
        "network_data_format": _network_data_format(job),
        OWN_PART: {"job": job.name, "job_sha256": job.digest, "tensors_sha256": weights.digest},
    }


def _origin(weights: Weights) -> str:
    made = weights.provenance.get("round")
    return f"Model of the job '{weights.job.name}'" + (f", global model {made}" if made is not None else "")


def _versions() -> dict[str, Any]:
    return {
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in ("nibabel", "einops")},
    }


def _description(job: Job) -> str:
    spacing = f"{' x '.join(f'{side:g}' for side in job.data.spacing)} mm" if job.data.spacing else "their own spacing"
    window = " x ".join(map(str, job.data.roi))
    return (
        f"MONAI's SwinUNETR, trained with FedSwin on scans in RAS and {spacing}, in windows of {window} voxels. "
        "configs/inference.json brings a scan there, and the label map back."
    )


def _image_classes(job: Job) -> str:
    if job.data.is_ct:
        low, high = job.data.hu_window
        return f"CT, {low:g} to {high:g} HU scaled to 0 to 1"
    return f"{listed(job.data.channels)}, each scaled to mean 0 and standard deviation 1 over its voxels above 0"


def _label_classes(job: Job) -> str:
    values = job.segmentation.written_values
    return ", ".join(f"{value}: {name}" for name, value in {"background": 0, **values}.items())


def _metrics(weights: Weights) -> dict[str, float]:
    """The mean over the sites of their validation scores, as far as they are known."""
    scores = weights.provenance.get("global", {})
    return {name: value for name, value in scores.items() if value is not None}


def _network_data_format(job: Job) -> dict[str, Any]:
    classes, values = job.segmentation.classes, job.segmentation.written_values
    window = {"type": "image", "spatial_shape": list(job.data.roi), "dtype": "float32", "is_patch_data": True}
    image = {
        **window,
        "format": "magnitude",
        "modality": ", ".join(job.data.channels),
        "num_channels": len(job.data.channels),
        "value_range": [0, 1] if job.data.is_ct else [],
        "channel_def": _numbered(list(job.data.channels)),
    }
    logits = {
        **window,
        "format": "labels",
        "num_channels": 1 + len(classes),
        "value_range": [],
        "channel_def": _numbered(["background", *classes]),
    }
    label_map = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": str(label_type(values.values())),
        "value_range": [0, max(values.values())],
        "is_patch_data": False,
        "channel_def": {"0": "background", **{str(value): name for name, value in values.items()}},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": logits}, "post_processed_outputs": {"pred": label_map}}


def _numbered(names: list[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}
