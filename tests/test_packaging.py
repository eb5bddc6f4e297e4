"""What is installed is complete: files that are no Python are named in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools.config.pyprojecttoml import read_configuration

ROOT = Path(__file__).parents[1]


def test_every_template_of_the_package_is_installed() -> None:
    named = read_configuration(ROOT / "pyproject.toml", expand=False)["tool"]["setuptools"]["package-data"]
    for folder in (ROOT / "custom" / "fedswin").glob("*/templates"):
        patterns = [*named["*"], *named.get(f"fedswin.{folder.parent.name}", [])]
        installed = {path for pattern in patterns for path in folder.parent.glob(pattern)}
        assert {path for path in folder.rglob("*") if path.is_file()} <= installed, folder
