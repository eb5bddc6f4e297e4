"""Scenarios: what a file may say, which sites it makes, that they are made once, and what a run remembers of them."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from end_to_end import tiny
from fedswin.data.datalist import read_site, site_folders
from fedswin.data.dealing.shard import shard
from fedswin.data.phantom import write_phantoms
from fedswin.errors import FedSwinError
from fedswin.operations.made_sites import make_sites, resolve_sites, scenario_of
from fedswin.operations.scenario import PhantomSites, ShardedSites, load_scenario
from fedswin.run_lock import lock_run

SHIPPED = sorted((Path(__file__).parents[2] / "simulator").glob("*.yaml"))
PHANTOM = {"phantom": {"sites": 1, "volumes": 3, "spacing": 6}}
SHARD = {"shard": {"collection": "our CT", "by": "source"}}


def write(folder: Path, content: dict[str, Any], name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


def collect(folder: Path, *sources: str) -> Path:
    """Make a collection of four cases a source; its files need not be NIfTI, since nothing here opens them."""
    for source in sources:
        for number in range(4):
            case = folder / source / f"case{number}"
            case.mkdir(parents=True)
            (case / "ct.nii.gz").write_text(f"ct {source} {number}")
            (case / "label.nii.gz").write_text("label")
    return folder


def make(scenario: Path, out: Path) -> tuple[Path, str]:
    """Return the folder of the sites for a run at ``out``, and what a person is shown."""
    console = Console(file=io.StringIO(), width=1000)
    return resolve_sites(scenario, out, console=console), console.file.getvalue()


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "scenario.json"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A scenario that deals a collection which lies beside it."""
    collect(tmp_path / "our CT", "north", "south")
    return write(tmp_path, SHARD)


def test_phantoms_are_those_of_the_command(tmp_path: Path) -> None:
    made, shown = make(write(tmp_path, PHANTOM), tmp_path / "runs" / "first")
    write_phantoms(tmp_path / "own", sites=1, volumes=3, spacing=6)
    assert contents(made) == contents(tmp_path / "own")
    assert f"{made}: 1 sites, hospital_a" in shown


DEALS = [
    {"by": "source"},
    {"by": "iid", "sites": 3, "seed": 7, "only": "*/case[0-2]"},
    {"by": "quantity", "sites": 2, "alpha": 0.3},
]


@pytest.mark.parametrize("options", DEALS, ids=lambda options: options["by"])
def test_shards_are_those_of_the_command(study: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    content = {"shard": {"collection": "our CT", "test": 0.4, **options}}
    made, _ = make(write(tmp_path, content), tmp_path / "run")
    shard(tmp_path / "our CT", tmp_path / "own", test=0.4, **options)
    for name, folder in site_folders(tmp_path / "own").items():
        own, other = (read_site(site) for site in (folder, made / name))
        for split in ("training", "validation", "test"):
            assert [c.image.resolve() for c in own.cases(split)] == [c.image.resolve() for c in other.cases(split)]


def test_what_was_drawn_in_each_case_is_written_if_a_scenario_asks_for_it(tmp_path: Path) -> None:
    collection = collect(tmp_path / "our CT", "north")
    content = [
        {"folder": "north", "id": path.name, "labels": {"3": "organ"}} for path in (collection / "north").iterdir()
    ]
    (collection / "manifest.json").write_text(json.dumps(content))
    asked, unasked = ({"shard": {**SHARD["shard"], "annotated": said}} for said in ("manifest", None))
    made, _ = make(write(tmp_path, asked), tmp_path / "runs" / "run")
    cases = [case for cases in read_site(made / "north").splits.values() for case in cases]
    assert {case.annotation.annotated for case in cases if case.label} == {(3,)}
    digests = [load_scenario(write(tmp_path, c, f"{n}.yaml")).digest for n, c in enumerate((asked, unasked, SHARD))]
    assert digests[0] != digests[1] == digests[2]
    (collection / "manifest.json").write_text(json.dumps(content[1:]))
    assert load_scenario(write(tmp_path, asked, "again.yaml")).digest != digests[0]
    assert load_scenario(write(tmp_path, SHARD, "2.yaml")).digest == digests[2]


def test_a_scenario_that_says_nothing_new_has_the_digest_that_it_always_had(tmp_path: Path) -> None:
    """Or every run and experiment of before would be on other sites."""
    case = tmp_path / "CT" / "north" / "case0"
    case.mkdir(parents=True)
    (case / "ct.nii.gz").write_bytes(b"12345")
    assert load_scenario(write(tmp_path, {"shard": {"collection": "CT", "by": "source"}})).digest == (
        "dfbd907e27cfef396f1806edbd439ae2a448d052fb224c9e4e0e44372f3c6259"
    )


def test_each_site_is_converted_from_its_own_archive_and_never_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = pytest.importorskip("fedswin.data.convert.conversion")
    tiny.write_sites(tmp_path / "archives", {"a": 1, "b": 2})
    scenario = write(tmp_path, {"sites": {name: {"convert": {"source": f"archives/{name}"}} for name in "ab"}})
    convert = conversion.convert

    def cut_off_at_b(source: Path, out: Path, **options: Any) -> Any:
        if out.name == "b":
            raise KeyboardInterrupt
        return convert(source, out, **options)

    monkeypatch.setattr(conversion, "convert", cut_off_at_b)
    with pytest.raises(KeyboardInterrupt):
        make(scenario, tmp_path / "runs" / "one")
    [unfinished] = (tmp_path / "runs").iterdir()
    assert unfinished.suffix == ".part"
    done = contents(unfinished / "a")
    monkeypatch.setattr(conversion, "convert", convert)
    made, shown = make(scenario, tmp_path / "runs" / "one")
    assert "- b: 1 files left out: no image of a known form." in shown  # the datalist of its archive
    assert contents(made / "a") == done
    for name, cases in (("a", 3), ("b", 4)):
        splits = read_site(made / name).splits
        assert sum(map(len, splits.values())) == cases
    assert list((tmp_path / "runs").iterdir()) == [made]


def test_what_the_user_should_know_of_a_collection_is_printed(study: Path, tmp_path: Path) -> None:
    (tmp_path / "our CT" / "dicom" / "case0").mkdir(parents=True)
    _, shown = make(study, tmp_path / "run")
    assert "- dicom: no NIfTI found, left out" in shown


@pytest.mark.parametrize(("section", "command"), [(PhantomSites, write_phantoms), (ShardedSites, shard)])
def test_a_scenarios_defaults_are_those_of_the_command(section: type, command: Callable[..., Any]) -> None:
    defaults = {name: field.default for name, field in inspect.signature(command).parameters.items()}
    for name, field in section.model_fields.items():
        if not field.is_required():
            assert defaults.get(name) == field.default, name


def test_sites_are_made_beside_the_run_and_found_by_the_next_one(study: Path, tmp_path: Path) -> None:
    first, _ = make(study, tmp_path / "runs" / "pretrain")
    before = (first / "scenario.json").stat().st_mtime_ns
    second, shown = make(study, tmp_path / "runs" / "finetune")
    assert first == second
    assert first.parent == tmp_path / "runs"
    assert first.name.startswith("study-")
    assert str(first) in shown
    assert (second / "scenario.json").stat().st_mtime_ns == before
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_data_that_is_no_scenario_is_taken_as_it_is(tmp_path: Path) -> None:
    assert make(tmp_path / "sites", tmp_path / "run") == (tmp_path / "sites", "")


def test_the_digest_is_of_what_decides_which_sites_are_made(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = load_scenario(study).digest
    assert load_scenario(write(tmp_path, {**SHARD, "description": "In other words"}, "a.yaml")).digest == digest
    assert load_scenario(write(tmp_path, {"shard": {**SHARD["shard"], "seed": 1}}, "b.yaml")).digest != digest
    monkeypatch.setenv("OUR_CT", str(collect(tmp_path / "another disk" / "CT", "north", "south")))
    assert (
        load_scenario(write(tmp_path, {"shard": {"collection": "${OUR_CT}", "by": "source"}}, "c.yaml")).digest
        == digest
    )
    (tmp_path / "our CT" / "north" / "case0" / "label.nii.gz").unlink()
    assert load_scenario(study).digest != digest


def test_a_collection_that_has_grown_makes_new_sites(study: Path, tmp_path: Path) -> None:
    first, _ = make(study, tmp_path / "run")
    collect(tmp_path / "our CT", "west")
    second, _ = make(study, tmp_path / "run")
    assert (set(site_folders(first)), set(site_folders(second))) == ({"north", "south"}, {"north", "south", "west"})


def test_sites_that_could_not_be_made_whole_are_not_there(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedswin.data.dealing.shard._write_site", cut_off)
        with pytest.raises(KeyboardInterrupt):
            make(study, tmp_path / "runs" / "one")
    assert list((tmp_path / "runs").iterdir()) == []
    made, _ = make(study, tmp_path / "runs" / "one")
    assert set(site_folders(made)) == {"north", "south"}


def test_made_sites_are_replaced_when_asked_and_other_things_never(study: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    out = tmp_path / "sites"
    make_sites(load_scenario(study), out, console=console)
    collect(tmp_path / "our CT", "west")
    with pytest.raises(FedSwinError, match="sites exists"):
        make_sites(load_scenario(study), out, console=console)
    make_sites(load_scenario(study), out, overwrite=True, console=console)
    assert set(site_folders(out)) == {"north", "south", "west"}
    with pytest.raises(FedSwinError, match="something other than the sites of a scenario"):
        make_sites(load_scenario(study), tmp_path / "our CT", overwrite=True, console=console)


def test_a_run_is_not_resumed_on_other_sites_than_it_was_started_on(study: Path, tmp_path: Path) -> None:
    made, _ = make(study, tmp_path / "runs" / "one")
    sites = [read_site(folder) for folder in site_folders(made).values()]
    fold = tmp_path / "runs" / "one" / "fold0"
    fold.mkdir(parents=True)
    (fold / "provenance.json").write_text(json.dumps(scenario_of(sites)))
    console = Console(file=io.StringIO())
    assert resolve_sites(study, tmp_path / "runs" / "one", resume=True, console=console) == made
    collect(tmp_path / "our CT", "west")
    with pytest.raises(
        FedSwinError, match=f"fold0 was started on other sites .* Resume on its own sites, such as --data {made}"
    ):
        resolve_sites(study, tmp_path / "runs" / "one", resume=True, console=console)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one", made.name}


def test_the_record_names_no_folder_of_a_machine(study: Path, tmp_path: Path) -> None:
    content = {**SHARD, "shard": {"collection": str(tmp_path / "our CT"), "by": "source"}}
    scenario = load_scenario(write(tmp_path, content))
    made, _ = make(scenario.path, tmp_path / "run")
    [record] = scenario_of([read_site(made / "north")]).values()
    assert (record["name"], record["digest"]) == ("study", load_scenario(study).digest)
    assert record["settings"]["shard"]["collection"] == "our CT"
    assert str(tmp_path) not in (made / "scenario.json").read_text()


def test_sites_of_no_scenario_have_no_record(tmp_path: Path) -> None:
    shard(collect(tmp_path / "our CT", "north"), tmp_path / "sites", by="source")
    assert scenario_of([read_site(tmp_path / "sites" / "north")]) == {}


ARCHIVE = {"convert": {"source": "archive"}}
WRONG = {
    "unknown key": ({"phantoms": {}}, r"unknown key 'phantoms' \(did you mean 'phantom'"),
    "unknown key of a way": ({"phantom": {"volume": 3}}, r"unknown key 'phantom.volume' \(did you mean 'volumes'"),
    "unknown key of a site": (
        {"sites": {"a": {"convert": {"sorce": "x"}}}},
        r"unknown key 'sites.a.convert.sorce' \(did you mean 'source'",
    ),
    "two ways": ({**PHANTOM, **SHARD}, "made in one way.*found 'phantom' and 'shard'. Keep one"),
    "no way": ({"description": "of nothing"}, "made in one way, 'phantom', 'shard' or 'sites'; found none"),
    "no site": ({"sites": {}}, "sites: Dictionary should have at least 1 item"),
    "site name": ({"sites": {"St. Mary": ARCHIVE}}, "'St. Mary' cannot be a site's name. Use letters, digits"),
    "the server's name": ({"sites": {"server": ARCHIVE}}, "'server' cannot be a site's name"),
    "way to shard": ({"shard": {"collection": "x", "by": "sauce"}}, "shard.by: Input should be 'source'"),
    "type": ({"phantom": {"sites": "many"}}, "phantom.sites: Input should be a valid integer"),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_scenario_is_refused_with_file_key_and_reason(
    tmp_path: Path, content: dict[str, Any], words: str
) -> None:
    with pytest.raises(FedSwinError, match=f"study.yaml: .*{words}"):
        load_scenario(write(tmp_path, content))


ABSENT = {
    "variable": (
        {"collection": "$NO_SUCH_CT/part"},
        "study.yaml: environment variables that are not set: NO_SUCH_CT. Set",
    ),
    "collection": ({"collection": "../nowhere"}, "study.yaml: shard.collection is '../nowhere', and .* does not exist"),
    "option": ({"collection": "our CT", "by": "iid"}, "study.yaml: --by iid needs a number of sites"),
}


@pytest.mark.parametrize(("options", "words"), ABSENT.values(), ids=ABSENT)
def test_what_a_scenario_lacks_is_named_before_anything_is_made(
    study: Path, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    scenario = write(tmp_path, {"shard": {"by": "source", **options}})
    with pytest.raises(FedSwinError, match=words):
        make(scenario, tmp_path / "runs" / "one")
    assert not list(tmp_path.glob("runs/*"))


def test_a_source_that_cannot_be_a_site_is_named_unless_sites_are_dealt_otherwise(tmp_path: Path) -> None:
    collect(tmp_path / "our CT", "St. Mary", "north")
    with pytest.raises(FedSwinError, match=r"shard.collection holds 'St. Mary', which cannot be a site's name"):
        make(write(tmp_path, SHARD), tmp_path / "run")
    dealt = write(tmp_path, {"shard": {"collection": "our CT", "by": "iid", "sites": 2}})
    assert set(site_folders(make(dealt, tmp_path / "run")[0])) == {"site_1", "site_2"}


def test_an_archive_that_has_grown_makes_new_sites(tmp_path: Path) -> None:
    scenario = write(tmp_path, {"sites": {"a": ARCHIVE, "b": {"convert": {"source": "other"}}}})
    for name in ("archive", "other"):
        (tmp_path / name / "series").mkdir(parents=True)
    digest = load_scenario(scenario).digest
    (tmp_path / "other" / "series" / "slice1").write_text("DICM")
    assert load_scenario(scenario).digest != digest


def test_a_scenario_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match=r"none.yaml: cannot read the scenario file: No such file"):
        make(tmp_path / "none.yaml", tmp_path / "run")


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_every_scenario_of_the_project_is_valid_and_names_what_it_needs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario(path)
    assert scenario.settings.description
    variables = {word.split("/")[0] for word in path.read_text().split() if word.startswith("$")}
    for name in variables:
        monkeypatch.delenv(name.strip("${}"), raising=False)
    if variables:
        with pytest.raises(FedSwinError) as refused:
            _ = scenario.digest
        assert all(name.strip("${}") in str(refused.value) for name in variables)
    else:
        assert scenario.digest


def test_two_commands_do_not_make_the_same_sites_at_once(study: Path, tmp_path: Path) -> None:
    made, _ = make(study, tmp_path / "run")
    shutil.rmtree(made)
    with (
        lock_run(tmp_path / f"{made.name}.lock"),
        pytest.raises(FedSwinError, match=r"\.lock is being written by process .* start again"),
    ):
        make(study, tmp_path / "run")
    shutil.rmtree(tmp_path / f"{made.name}.lock")
    make(study, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"our CT", "study.yaml", made.name}
