"""Where a run and its models come from: hashes, seeds, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedswin.report.facts import RunFacts


def provenance(run: RunFacts) -> list[tuple[str, str]]:
    """Return names and values; what an older run has not written down is left out."""
    content = run.provenance
    models, code = content.get("models") or {}, content.get("code") or {}
    parent, scenario = content.get("parent") or {}, content.get("scenario") or {}
    known: dict[str, Any] = {
        "job, SHA-256": content.get("job_sha256") or run.job.digest,
        "seed": run.job.seed,
        "command": content.get("command") and f"fedswin {content['command']}",
        "code": code.get("commit") and f"commit {code['commit']}",
        "code, SHA-256": code.get("sha256"),
        "started from, SHA-256 of the file": parent.get("file_sha256"),
        "started from, SHA-256 of the tensors": parent.get("tensors_sha256"),
        "best model, SHA-256 of the tensors": models.get("best", {}).get("sha256"),
        "last model, SHA-256 of the tensors": models.get("last", {}).get("sha256"),
        "scenario": scenario and f"{scenario['name']}, SHA-256 {scenario['digest']}",
        "versions": _versions(content),
        "Python": content.get("python"),
        "platform": content.get("platform"),
        **{f"from global model {other['first_round']} on": _software(other) for other in content.get("continued", [])},
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "", {})]


def _versions(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in content.get("versions", {}).items())


def _software(process: Mapping[str, Any]) -> str:
    """Return what a process ran that went on with a study."""
    code = process["code"]
    return f"code SHA-256 {code['sha256']}, commit {code['commit']}, {_versions(process)}, Python {process['python']}"
