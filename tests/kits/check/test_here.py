"""What is installed, which GPUs there are, the room on the disks, and the data: compared with what is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fedswin
from data.check.small_site import HU, case
from fedswin.data.datalist import write_datalist
from fedswin.kits.check.context import Context
from fedswin.kits.check.data import check_data
from fedswin.kits.check.machine import check_disk, check_gpus
from fedswin.kits.check.result import Result
from fedswin.kits.check.software import check_packages, check_python
from fedswin.kits.kit import read_kit
from fedswin.kits.manifest import MANIFEST, read_manifest


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def packages(kit: Path) -> dict[str, str]:
    return {result.name: result.state for result in check_packages(Context(read_kit(kit)))}


def test_what_the_kit_was_made_with_is_what_is_here(site: Path) -> None:
    assert packages(site) == dict.fromkeys(("fedswin", "nvflare", "torch", "monai", "numpy"), "ok")
    assert [result.state for result in check_python(Context(read_kit(site)))] == ["ok"]
    assert read_manifest(site).packages["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [
        ("fedswin", fedswin.__version__ + ".1", "error"),
        ("nvflare", "2.9.7", "ok"),
        ("nvflare", "2.8.0", "error"),
        ("nvflare", "3.9.0", "error"),
    ],
)
def test_server_and_sites_must_agree(site: Path, name: str, version: str, state: str) -> None:
    edit(site / MANIFEST, lambda content: content.update({name: version}))
    assert packages(site)[name] == state


@pytest.mark.parametrize(("change", "state"), [(0, "ok"), (1, "warning")])
def test_another_minor_version_of_torch_is_a_warning(site: Path, change: int, state: str) -> None:
    major, minor = torch.__version__.split(".")[:2]
    other = f"{major}.{int(minor) + change}.99+cu999"
    edit(site / MANIFEST, lambda content: content["packages"].update(torch=other))
    assert packages(site)["torch"] == state


def test_a_package_that_is_not_here(site: Path) -> None:
    edit(site / MANIFEST, lambda content: content["packages"].update(no_such_package="1.0"))
    assert packages(site)["no_such_package"] == "error"


def promise(kit: Path, gpus: int, memory: int) -> None:
    def change(content: dict[str, Any]) -> None:
        (manager,) = [entry for entry in content["components"] if entry["id"] == "resource_manager"]
        manager["args"].update(num_of_gpus=gpus, mem_per_gpu_in_GiB=memory)

    edit(kit / "local" / "resources.json", change)


@pytest.mark.parametrize(
    ("promised", "memory", "allowed", "state"),
    [(0, 0, 0, "ok"), (2, 30, 2, "ok"), (3, 0, 0, "error"), (2, 40, 0, "error"), (1, 0, 3, "error")],
)
def test_gpus(
    site: Path, monkeypatch: pytest.MonkeyPatch, promised: int, memory: int, allowed: int, state: str
) -> None:
    card = SimpleNamespace(name="Card", total_memory=32 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    promise(site, promised, memory)
    (site / "local" / "site.yaml").write_text(f"gpus: {allowed}\n")
    (result,) = check_gpus(Context(read_kit(site)))
    assert (result.state, "Card with 32 GiB, Card with 32 GiB" in result.found) == (state, True)


@pytest.mark.parametrize(("free", "state"), [(1.9, "error"), (2.1, "warning"), (9.9, "warning"), (10.1, "ok")])
def test_room_on_the_disks(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 1e9, path=path))
    results = list(check_disk(Context(read_kit(site))))
    assert [result.state for result in results] == [state, state]
    assert [result.found for result in results] == [f"{free} GB are free in {folder}" for folder in (site, tmp_path)]


def data(kit: Path) -> dict[str, Result]:
    return {result.name: result for result in check_data(Context(read_kit(kit)))}


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A site's data folder: three training cases, one validation case."""
    folder = tmp_path / "ct"
    cases = [case(folder, f"secret{number}", HU + number) for number in range(4)]
    write_datalist(folder, {"training": cases[:3], "validation": cases[3:]})
    return folder


def test_the_data_in_numbers_and_without_a_name(site: Path, ct: Path) -> None:
    (site / "local" / "site.yaml").write_text(f"data: {ct}\nmin_cases: 3\n")
    results = data(site)
    assert results["data"].found == "4 cases read (3 training, 1 validation, 0 test), 0 errors, 0 warnings"
    assert {result.state for result in results.values()} == {"ok"}
    (ct / "images" / "secret1.nii.gz").write_bytes(b"damaged")
    results = data(site)
    assert {name: result.state for name, result in results.items()} == {"data": "error", "training cases": "error"}
    assert results["training cases"].found.startswith("2 can be used")
    assert "1 errors" in results["data"].found
    assert not any("secret" in str(result) for result in results.values())


def test_the_environment_goes_before_the_policy(site: Path, ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "local" / "site.yaml").write_text("data: nowhere\n")
    assert data(site)["data"].found == f"{site / 'nowhere'} holds no datalist.json"
    monkeypatch.setenv("FEDSWIN_SITE_DATA", str(ct))
    assert data(site)["data"].state == "ok"


def test_no_data_folder(site: Path) -> None:
    assert data(site)["data"].state == "error"
