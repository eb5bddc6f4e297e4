"""What a bundle does with a scan, written in MONAI's own configuration language."""

from __future__ import annotations

from typing import Any

from fedswin.config import DataSettings, Job
from fedswin.data.label_map import label_type
from fedswin.data.loading import air_level

Config = dict[str, Any]


def inference_config(job: Job) -> Config:
    """Return ``configs/inference.json``: `image_preprocessing`, the sliding window and the way back, by MONAI alone.

    It differs from ``fedswin predict`` in one thing: all class probabilities of a scan are held at once.
    """
    return {
        "imports": ["$import glob", "$from collections import deque"],
        "bundle_root": ".",
        "image": "",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/labels'",
        "datalist": "$[@image] if @image else sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "roi": list(job.data.roi),
        "label_values": [0, *job.segmentation.written_values.values()],
        "network_def": _network(job),
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(job.data)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': image} for image in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": _window(job),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(job)},
        "segment": "$torch.no_grad()(lambda case: @postprocessing("
        "{**case, 'pred': @inferer(case['image'][None].to(@device), @network)[0].cpu()}))",
        "run": [
            "$print(len(@datalist), 'images to segment')",
            "$@network.load_state_dict("
            "torch.load(@bundle_root + '/models/model.pt', map_location=@device, weights_only=True))",
            "$deque(map(@segment, @dataset), maxlen=0)",
        ],
    }


def _network(job: Job) -> Config:
    return {
        "_target_": "SwinUNETR",
        "in_channels": len(job.data.channels),
        "out_channels": 1 + len(job.segmentation.classes),
        "feature_size": job.model.feature_size,
    }


def _preprocessing(data: DataSettings) -> list[Config]:
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": data.spacing, "mode": "bilinear"}
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": "NibabelReader",
            "image_only": True,
            "ensure_channel_first": True,
        },
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        *([spacing] if data.spacing else []),
        *(_windowed(data) if data.is_ct else _standardised()),
        {"_target_": "SpatialPadd", "keys": "image", "spatial_size": "@roi"},
    ]


def _windowed(data: DataSettings) -> list[Config]:
    low, high = data.hu_window
    return [
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": low,
            "a_max": high,
            "b_min": 0.0,
            "b_max": 1.0,
            "clip": True,
        },
        _crop(select_fn=f"$lambda image: image > {air_level(data)!r}"),
    ]


def _standardised() -> list[Config]:
    return [_crop(), {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}]


def _crop(**more: str) -> Config:
    return {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True, **more}


def _window(job: Job) -> Config:
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": "@roi",
        "sw_batch_size": 4,
        "overlap": job.segmentation.overlap,
        "mode": "gaussian",
    }


def _postprocessing(job: Job) -> list[Config]:
    written = f"$np.{label_type(job.segmentation.written_values.values())}"
    return [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "CopyItemsd", "keys": "image", "names": "seen"},
        {"_target_": "Lambdad", "keys": "seen", "func": "$lambda image: torch.ones_like(image[:1])"},
        {
            "_target_": "Invertd",
            "keys": ["pred", "seen"],
            "transform": "@preprocessing",
            "orig_keys": ["image", "image"],
            "nearest_interp": [False, True],
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "MaskIntensityd", "keys": "pred", "mask_key": "seen"},
        {
            "_target_": "MapLabelValued",
            "keys": "pred",
            "orig_labels": "$range(len(@label_values))",
            "target_labels": "@label_values",
            "dtype": written,
        },
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_dtype": written,
            "separate_folder": False,
        },
    ]
