"""What the label maps of a site show: which of a job's classes, under which label values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedswin.config import SegmentationSettings
from fedswin.data.label_maps import BACKGROUND, LABEL_MAPS, PAIRS
from fedswin.data.volume import VolumeError
from fedswin.errors import nearest


@dataclass(frozen=True)
class Annotation:
    """How a label map is to be read; each case carries the one of its site.

    Attributes:
        annotated: the names of the classes that were annotated; ``None`` stands for all classes of the job. Where a
            class is not annotated, background says nothing about it.
        label_map: what label values stand for where they differ from the job's: ``{label value: name of a class, or
            "background"}``, or the name of one of `LABEL_MAPS`.
        source: the datalist that says so, for messages.
    """

    annotated: tuple[str, ...] | None = None
    label_map: Mapping[int, str] | str = field(default_factory=dict, hash=False)
    source: Path = field(default=Path(), compare=False)

    def annotated_indices(self, settings: SegmentationSettings) -> tuple[int, ...]:
        """Return the indices, ascending and without 0, of the job's classes that are annotated."""
        classes = settings.class_indices
        return tuple(index for name, index in classes.items() if self.annotated is None or name in self.annotated)

    def class_indices(self, settings: SegmentationSettings) -> dict[int, int]:
        """Return ``{label value: class index}``: the site's label map first, then the job's classes.

        An organ of a named label map that is no class of the job counts as the pair it belongs to (`PAIRS`), or as
        background: such a map serves jobs of one organ and of many.

        Raises:
            VolumeError: if ``annotated`` or a written-out label map names a class that the job does not have, or an
                annotated class is left without a label value.
        """
        names = self._names(settings)
        self._require_known("annotated", self.annotated or (), settings)
        self._require_known("label_map", set(names.values()) - {BACKGROUND}, settings)
        indices = {BACKGROUND: 0} | settings.class_indices
        values = dict.fromkeys(settings.known_values, 0)
        values |= {value: index for index, own in enumerate(settings.label_values, start=1) for value in own}
        values |= {value: indices[name] for value, name in names.items()}
        self._require_reachable(settings, values)
        return values

    def _names(self, settings: SegmentationSettings) -> Mapping[int, str]:
        if not isinstance(self.label_map, str):
            return self.label_map
        ways = {value: (name, PAIRS.get(name)) for value, name in LABEL_MAPS[self.label_map].items()}
        return {value: next((n for n in names if n in settings.classes), BACKGROUND) for value, names in ways.items()}

    def _require_known(self, key: str, names: Collection[str], settings: SegmentationSettings) -> None:
        known = settings.classes
        for name in sorted(names):
            if name not in known:
                problem = f"'{key}' names '{name}', which is not a class of the job{nearest(name, known)}"
                raise VolumeError(self.source, problem, f"Its classes are {', '.join(known)}.")

    def _require_reachable(self, settings: SegmentationSettings, values: Mapping[int, int]) -> None:
        for index in self.annotated_indices(settings):
            if index not in values.values():
                name = list(settings.classes)[index - 1]
                fix = "Give it one in 'label_map', or list in 'annotated' the classes that were annotated, without it."
                raise VolumeError(self.source, f"no label value stands for the class '{name}'", fix)


def read_annotation(path: Path, content: Mapping[str, Any]) -> Annotation:
    """Return what ``annotated`` and ``label_map`` of the datalist at ``path`` say; both may be absent.

    Raises:
        VolumeError: if one of them is malformed. Whether a job has such classes is seen when the job is known.
    """
    annotated = _read_annotated(path, content["annotated"]) if "annotated" in content else None
    return Annotation(annotated, _read_label_map(path, content.get("label_map", {})), path)


def _read_annotated(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        fix = "It must be a list of the names of one class or more; without it, all classes count as annotated."
        raise VolumeError(path, f"'annotated' is {names!r}", fix)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise VolumeError(path, f"'annotated' names '{twice}' twice", "Name it once.")
    return tuple(names)


def _read_label_map(path: Path, entries: Any) -> Mapping[int, str] | str:
    if isinstance(entries, str):
        if entries not in LABEL_MAPS:
            problem = f"'label_map' is '{entries}', which FedSwin does not know{nearest(entries, LABEL_MAPS)}"
            raise VolumeError(path, problem, f"Known are {', '.join(LABEL_MAPS)}; or write the label map out.")
        return entries
    if not isinstance(entries, dict):
        fix = 'It must be an object {"label value": "class"}, or the name of a label map that FedSwin knows.'
        raise VolumeError(path, f"'label_map' is {entries!r}", fix)
    return {_read_value(path, value): _read_name(path, value, name) for value, name in entries.items()}


def _read_value(path: Path, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and str(int(value)) == value):
        raise VolumeError(path, f"'label_map' has the key '{value}'", 'A key is a label value, such as "7".')
    return int(value)


def _read_name(path: Path, value: str, name: Any) -> str:
    name = BACKGROUND if name == 0 and not isinstance(name, bool) else name
    if not isinstance(name, str):
        fix = f'A label value stands for the name of a class, or for "{BACKGROUND}" or 0.'
        raise VolumeError(path, f"'label_map' maps {value} to {name!r}", fix)
    if value == "0" and name != BACKGROUND:
        fix = "0 is always background: give the class another value in the label map's files."
        raise VolumeError(path, f"'label_map' maps 0 to '{name}'", fix)
    return name
