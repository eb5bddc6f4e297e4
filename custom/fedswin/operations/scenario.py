"""The scenario file: how the sites of a study are made, so that a job file and a scenario are the whole study.

    description: Three sources of CT, one hospital each
    shard: {collection: $FEDSWIN_REAL_CT, by: source}

A scenario makes its sites in one of three ways: ``phantom``, ``shard`` and ``sites``, whose keys are those of the
commands `fedswin data phantom`, `shard` and `convert`. A path is relative to the scenario file; ``$NAME`` and
``${NAME}`` stand for environment variables, so that a scenario can be published without anybody's paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fedswin.data.convert.walk import walk
from fedswin.data.dealing.collection import read_collection
from fedswin.data.dealing.drawn import MANIFEST, Drawn, manifest_of
from fedswin.data.dealing.plan import By
from fedswin.errors import FedSwinError
from fedswin.settings import Positive, Section, parse_section, read_mapping
from fedswin.site_names import SITE_NAME_RULE, is_site_name

_WAYS = ("phantom", "shard", "sites")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
_WITHOUT_EFFECT: dict[str, Any] = {
    "description": True,
    "shard": {"collection": True},
    "sites": {"__all__": {"about": True, "convert": {"source": True}}},
}

Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PhantomSites(Section):
    """Synthetic CT of hospitals, as `fedswin data phantom` writes it."""

    sites: Positive = 3
    volumes: Positive = 6
    """Volumes of a hospital, on average."""
    seed: Seed = 0
    spacing: float = 3.0
    """Typical voxel size in mm."""


class ShardedSites(Section):
    """A collection dealt to sites, as `fedswin data shard` does it."""

    collection: str
    """A folder of ``<source>/<case>``, or a datalist file."""
    by: By
    sites: Positive | None = None
    alpha: Annotated[float, Field(gt=0)] | None = None
    """How much alike the sites are, by ``dirichlet`` and ``quantity``."""
    only: str | None = None
    """A glob on ``<source>/<case>``; other cases are left out."""
    annotated: Drawn | None = None
    """Who says which label values were drawn in each case; null takes all to be annotated in all."""
    seed: Seed = 0
    validation: Share = 0.2
    test: Share = 0.2
    """The shares of a site's patients; of those with a label, where others have none."""


class Archive(Section):
    """A hospital's archive, converted as `fedswin data convert` does it."""

    source: str
    """The folder of the archive."""
    seed: Seed = 0
    validation: Share = 0.2
    test: Share = 0.2
    """The shares of the patients."""
    resample: bool = False
    """Resample what does not lie on a regular grid, instead of leaving it out."""


class ArchivedSite(Section):
    """A site and its own archive."""

    convert: Archive
    about: dict[str, Any] = Field(default_factory=dict)
    """Facts for the reader: the collection, its region, volumes, format and licence, where to get it."""


class ScenarioSettings(Section):
    """What a scenario file holds: a description, and one way to make the sites."""

    description: str = ""
    phantom: PhantomSites | None = None
    shard: ShardedSites | None = None
    sites: Annotated[dict[str, ArchivedSite], Field(min_length=1)] | None = None
    """``{name: site}``."""

    @model_validator(mode="after")
    def _check(self) -> ScenarioSettings:
        ways = [way for way in _WAYS if getattr(self, way) is not None]
        if len(ways) != 1:
            found = " and ".join(f"'{way}'" for way in ways) or "none"
            raise ValueError(f"sites are made in one way, 'phantom', 'shard' or 'sites'; found {found}. Keep one")
        for name in self.sites or ():
            if not is_site_name(name):
                raise ValueError(f"sites: '{name}' cannot be a site's name. Use {SITE_NAME_RULE}")
        return self


@dataclass(frozen=True)
class Scenario:
    """A scenario file.

    Attributes:
        path: where it is.
        settings: what it holds.
    """

    path: Path
    settings: ScenarioSettings

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what decides which sites are made: the settings, and the names and sizes of the files.

        Where the files lie, the description and the facts about a site have no part in it.

        Raises:
            FedSwinError: if a variable is not set, something is not there, or a source of a collection cannot be a
                site's name.
        """
        self._require_variables()
        self._require_files()
        settings = self.settings.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
        if (shard := settings["shard"]) and shard["annotated"] is None:
            del shard["annotated"]  # scenarios keep the digest that they had before it was a setting
        return hashlib.sha256(json.dumps([settings, self._listing()], sort_keys=True).encode()).hexdigest()

    def locate(self, text: str) -> Path:
        """Return the path that ``text`` in the file stands for; variables must be set."""
        return self.path.absolute().parent / os.path.expandvars(text)

    def record(self) -> dict[str, Any]:
        """Return the name, the digest and the settings, an absolute path cut down to its last part.

        Raises:
            FedSwinError: as `digest`.
        """
        settings = self.settings.model_dump(mode="json", exclude_none=True)
        for _, section, key in _locations(settings):
            path = Path(section[key])
            section[key] = path.name if path.is_absolute() else section[key]
        return {"name": self.path.stem, "digest": self.digest, "settings": settings}

    def _require_variables(self) -> None:
        texts = [section[key] for _, section, key in _locations(self.settings.model_dump())]
        names = [name for text in texts for pair in _VARIABLE.findall(text) for name in pair if name]
        if unset := [name for name in dict.fromkeys(names) if not os.environ.get(name)]:
            raise FedSwinError(
                f"{self.path}: environment variables that are not set: {', '.join(unset)}. Set each to the folder that "
                f"it stands for, such as: export {unset[0]}=/data/{unset[0].lower()}"
            )

    def _require_files(self) -> None:
        for where, section, key in _locations(self.settings.model_dump()):
            path = self.locate(section[key])
            if not path.exists():
                raise FedSwinError(
                    f"{self.path}: {where} is '{section[key]}', and {path} does not exist. "
                    "Correct it, or put the data there."
                )

    def _listing(self) -> Any:
        """List the files that the sites are made of, by what does not depend on where they lie."""
        if shard := self.settings.shard:
            return self._list_collection(shard)
        sites = self.settings.sites or {}
        return {name: _list_files(self.locate(site.convert.source)) for name, site in sites.items()}

    def _list_collection(self, shard: ShardedSites) -> list[Any]:
        found = read_collection(self.locate(shard.collection), shard.only)
        for scan in found.scans if shard.by == "source" else ():
            if not is_site_name(scan.source):
                raise FedSwinError(
                    f"{self.path}: shard.collection holds '{scan.source}', which cannot be a site's name. "
                    f"Rename the folder: {SITE_NAME_RULE}."
                )
        files = [(scan.key, file) for scan in found.scans for file in (scan.case.image, scan.case.label) if file]
        if shard.annotated == "manifest" and (manifest := manifest_of(self.locate(shard.collection))).is_file():
            files.append((MANIFEST, manifest))
        return [found.top_level, [(key, file.stat().st_size) for key, file in files]]


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; whether what it names is there is not looked at.

    Raises:
        FedSwinError: if it cannot be read, or a key or value in it is wrong.
    """
    content = read_mapping(path, "scenario file", "one of 'phantom', 'shard' and 'sites'")
    return Scenario(path, parse_section(ScenarioSettings, content, str(path)))


def _locations(settings: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Find each path among ``settings``: its full key, the section that holds it, and its key there."""
    if shard := settings.get("shard"):
        yield "shard.collection", shard, "collection"
    for name, site in (settings.get("sites") or {}).items():
        yield f"sites.{name}.convert.source", site["convert"], "source"


def _list_files(archive: Path) -> list[tuple[str, int]]:
    files, _ = walk(archive)
    return [(file.relative_to(archive).as_posix(), file.stat().st_size) for file in files]
