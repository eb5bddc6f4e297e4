"""SimEnv: what goes wrong at a site costs that site its round, and nobody else theirs."""

from __future__ import annotations

import pytest

from end_to_end import tiny
from end_to_end.faults.injection import Fault, assert_happened, environment, models_written
from end_to_end.simulation import RunningSimulation
from fedswin.records import read_records
from fedswin.training.journal import last_entry
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = "abcd"
ROUNDS = 8
FAULTS = [
    Fault("nan", "a", 0),
    Fault("lacks a tensor", "b", 0),
    Fault("another shape", "c", 1),
    Fault("gpu out of memory", "d", 1),
    Fault("out of memory", "a", 2),
    Fault("disk full", "b", 2),
    Fault("late", "c", 3),
    *(Fault("nan", site, 4) for site in SITES),
    Fault("upload breaks off", "a", 7),
]
FROZEN_ROUND = 5
FROZEN = "d"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run folder of a simulation that suffered all of it, each fault in a round of its own for its site."""
    folder = tmp_path_factory.mktemp("faults")
    data = tiny.write_sites(folder / "hospitals", dict.fromkeys(SITES, 1))
    job = tiny.job(
        {
            **tiny.PRETRAIN,
            "federation": {"rounds": ROUNDS, "local_steps": 2, "min_sites": 2, "grace_after_quorum": 15},
        }
    )
    out = folder / "run"
    with RunningSimulation(job, data, out, environment=environment(*FAULTS)) as simulation:
        simulation.wait_for(lambda: trains(out / "sites" / FROZEN, FROZEN_ROUND), "site to freeze")
        site = simulation.site(FROZEN)
        site.suspend()
        simulation.wait_for(lambda: models_written(out) > FROZEN_ROUND, "model without the frozen site")
        site.resume()
        assert simulation.finish() == 0, simulation.printed()
    assert_happened(out, *FAULTS)
    return out


@pytest.fixture(scope="module")
def records(finished):
    """The records by the round that they are about."""
    lines = read_records(finished)
    assert [line["round"] for line in lines] == list(range(ROUNDS + 1))
    return {line["round"] - 1: line for line in lines}


def trains(site, number):
    """Whether a site is in the middle of its training in this round."""
    entry = last_entry(site) or {}
    return (entry.get("phase"), entry.get("round")) == ("training", number)


def trained(record):
    """The sites whose updates were taken."""
    return {site for site, entry in record["sites"].items() if "weight" in entry}


def refused(record):
    return {entry["site"]: entry["reason"] for entry in record["refused"]}


def test_a_broken_update_is_refused_with_the_name_of_the_tensor(records):
    first, second = refused(records[0]), refused(records[1])
    assert first.keys() == {"a", "b"}
    assert "values that are not finite" in first["a"]
    assert first["b"].startswith("missing ")
    assert "has the shape" in second["c"]
    assert trained(records[0]) == {"c", "d"}
    assert trained(records[1]) == {"a", "b"}


def test_an_error_at_a_site_reaches_the_server_as_its_kind_alone(records, finished):
    assert refused(records[1])["d"] == "OutOfMemoryError"
    assert refused(records[2]) == {"a": "MemoryError", "b": "OSError (ENOSPC)"}
    assert trained(records[2]) == {"c", "d"}
    segment = finished / "nvflare" / "segment1" / "tiny_pretrain"
    for site in ("a", "d"):
        assert any("patient7" in path.read_text() for path in (segment / site).rglob("log.txt")), "at the site it is"
    # What is only one site's, and the screen that the simulator's processes share, no server would have.
    folders = [segment / "server", *(finished / name for name in ("global", "state", "tensorboard"))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in finished.iterdir() if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if b"patient7" in path.read_bytes()] == []


def test_who_is_slow_or_frozen_is_missing_and_takes_part_again_and_the_late_answer_is_counted(records):
    assert {number: record["missing"] for number, record in records.items() if record["missing"]} == {
        3: ["c"],
        FROZEN_ROUND: [FROZEN],
    }
    assert {number: record["late"] for number, record in records.items() if record["late"]} == {
        4: [{"site": "c", "round": 3}],
        FROZEN_ROUND + 1: [{"site": FROZEN, "round": FROZEN_ROUND}],
    }
    assert trained(records[3]) == {"a", "b", "d"}
    assert trained(records[FROZEN_ROUND]) == {"a", "b", "c"}
    assert trained(records[FROZEN_ROUND + 1]) == set(SITES)


def test_a_round_in_which_all_fail_keeps_the_old_model_and_the_study_goes_on(records, finished):
    assert {number: record["status"] for number, record in records.items() if record["status"] != "ok"} == {
        -1: "initial",
        4: "failed",
    }
    assert refused(records[4]).keys() == set(SITES)
    assert records[4]["global"] == records[3]["global"]
    assert records[5]["global"] != records[4]["global"]
    assert load_weights(finished / "global" / "last.pt").provenance["round"] == ROUNDS


def test_an_upload_that_breaks_off_costs_only_its_site_the_round(records):
    assert refused(records[7]) == {"a": "the transfer broke off before the update was whole"}
    assert trained(records[7]) == {"b", "c", "d"}
    assert "metrics" in records[7]["sites"]["a"], "it scores the next global model, which comes of the others"
