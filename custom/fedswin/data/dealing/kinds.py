"""What kind of patient each one is, for sites that do not see the same kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedswin.data.dealing.collection import Scan
from fedswin.data.dealing.splits import by_patient
from fedswin.data.shown_classes import ShownClasses, class_order


def patient_kinds(scans: Sequence[Scan], shown: ShownClasses) -> dict[str, str]:
    """Return ``{patient: kind}``.

    The federated learning literature skews labels by the class of an image, of which a CT has none or many. Here a
    patient's kind is the source, and within it the rarest class that the patient's label maps show: the tumour rather
    than the liver around it. The rarest is the one that the fewest patients of the source show; of several, the first
    in `class_order`. Label values mean what their source says, so value 1 of two sources is two kinds. Patients without
    a label map, and those whose label maps are empty, are kinds of their own in each source.

    Args:
        scans: the cases; those of one patient are of one source.
        shown: the classes that the label maps show.
    """
    patients = by_patient(scans, lambda scan: scan.case.patient)
    patients_with = Counter((scans[0].source, name) for scans in patients for name in _classes(scans, shown))
    return {scans[0].case.patient: f"{scans[0].source}: {_trait(scans, shown, patients_with)}" for scans in patients}


def _classes(scans: Sequence[Scan], shown: ShownClasses) -> frozenset[str]:
    return frozenset().union(*(shown[scan.case.label] for scan in scans if scan.case.label))


def _trait(scans: Sequence[Scan], shown: ShownClasses, patients_with: Counter[tuple[str, str]]) -> str:
    if not any(scan.case.label for scan in scans):
        return "unlabelled"
    classes = _classes(scans, shown)
    if not classes:
        return "background only"
    return min(classes, key=lambda name: (patients_with[scans[0].source, name], class_order(name)))
