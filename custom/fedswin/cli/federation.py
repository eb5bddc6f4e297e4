"""Commands for a real federation: kits, jobs, what is kept of studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedswin.cli.options import (
    CodeOption,
    InitOption,
    JobArgument,
    JsonOption,
    KitOption,
    OptionalKitOption,
    OutOption,
    OverwriteOption,
    SetOption,
    StrictInitOption,
)
from fedswin.cli.screen import console, print_jobs, print_json, print_outcome, stderr
from fedswin.config import load_job
from fedswin.errors import FedSwinError

app = typer.Typer()
job_app = typer.Typer(help="What a job becomes.", no_args_is_help=True)
app.add_typer(job_app, name="job")

JobIdArgument = Annotated[str, typer.Argument(metavar="JOB_ID", help="The id that submit printed.")]


@app.command()
def provision(
    consortium: Annotated[Path, typer.Argument(help="Who takes part: a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of kits to write.")],
    renew: Annotated[
        list[str] | None,
        typer.Option("--renew", metavar="NAME", help="Give this kit a new key; * stands for any text. Repeatable."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a startup kit for the server, each site and each person of a consortium.

    Kits that are there stay as they are: only those of new sites and people are added.

    Example: fedswin provision provisioning/example.yaml --out kits
    """
    from fedswin.kits.provision import provision as run

    done = run(consortium, out, overwrite=overwrite, renew=renew or ())
    for kit, ends in done.made.items():
        console.print(f"{kit}: valid until {ends:%Y-%m-%d}", markup=False)
    for participant in done.requested:
        console.print(f"{participant}: for a site that makes its own key", markup=False)
    if done.kept:
        console.print(f"kits that stay as they were: {done.kept}")
    console.print(f"authority: valid until {done.authority_ends:%Y-%m-%d}")
    console.print(f"fingerprint: {done.authority}", markup=False)
    if done.cut_short:
        stderr.print("The authority ends earlier than certificate_days asks for, and the certificates with it.")


@app.command()
def adopt(
    kit: Annotated[Path, typer.Argument(metavar="KIT", help="The folder that nvflare package wrote.")],
    code_in_jobs: Annotated[
        bool, typer.Option("--code-in-jobs", help="The consortium's file says code_in_jobs: true.")
    ] = False,
) -> None:
    """Restrict a kit whose key was made by its owner as fedswin provision does, and sign what is in it.

    provisioning/distributed.md has all steps.

    Example: fedswin adopt workspace/abdominal_ct/prod_00/hospital_c
    """
    from fedswin.kits.distributed import adopt as run

    manifest = run(kit, code_in_jobs=code_in_jobs)
    console.print(f"{kit}: {manifest.kind} {manifest.participant} of {manifest.study}", markup=False)
    console.print(f"fingerprint of the authority: {manifest.authority}", markup=False)


@app.command()
def submit(
    job: JobArgument,
    kit: KitOption,
    init: InitOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="JOB_ID", help="Go on with the study of this job, at the sites connected now."
        ),
    ] = None,
    code: CodeOption = "installed",
    settings: SetOption = None,
    strict: StrictInitOption = False,
    json: JsonOption = False,
) -> None:
    """Submit a job to a running federation, and print its id, alone on stdout; what each site decided goes to stderr.

    With --resume a job that still runs is ended first, after the round that is under way.

    Example: fedswin submit jobs/demo/pretrain.yaml --kit kits/lead@university.org
    """
    from fedswin.operations import submit as operation
    from fedswin.operations.preflight import plan_initial_state

    study = load_job(job, settings or ())
    if resume and init:
        raise FedSwinError("--init starts a study and --resume goes on with one. Give one of the two.")
    if resume:
        submission = operation.submit_next_segment(study, resume, kit, code=code)
    else:
        submission = operation.submit(study, plan_initial_state(study, init, stderr, strict=strict), kit, code=code)
    if json:
        decisions = [decision._asdict() for decision in submission.decisions]
        print_json({"job_id": submission.job_id, "decisions": decisions})
        return
    for decision in submission.decisions:
        stderr.print(str(decision), markup=False)
    if not submission.decisions:
        stderr.print("The job waits until others have ended. Watch it with: fedswin monitor", submission.job_id)
    print(submission.job_id)


@app.command()
def fetch(
    job_id: JobIdArgument,
    kit: KitOption,
    out: OutOption,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="The longest to --wait. Default: as long as it takes.", min=0),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Bring the run folder of a job that has ended.

    Example: fedswin fetch JOB_ID --kit kits/lead@university.org --out runs/pretrain
    """
    from fedswin.operations.fetch import fetch as run

    if timeout is not None and not wait:
        raise FedSwinError("--timeout says how long to --wait. Add --wait, or leave it out.")
    run(job_id, kit, out, wait=wait, timeout=timeout, overwrite=overwrite)
    if json:
        print_json({"job_id": job_id, "run": str(out)})
    else:
        print_outcome(out)


@app.command()
def monitor(
    study: Annotated[str, typer.Argument(metavar="RUN|JOB_ID", help="A run folder, or the id of a federation's job.")],
    kit: OptionalKitOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print a line for each thing that happens, as for a log.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Watch a study until it ends: a simulation, a local run, or a job of a federation. Ctrl-C ends the watching only.

    A site is preparing, training, scoring (it only scores the model), waiting (it has answered, others have not), sent
    (it has answered, the round is over), late (a round was over before it answered), refused (its update was not
    taken) or gone (no sign of life, ended, or left out).

    With --json it prints one object, how far the study is now, and ends.

    Example: fedswin monitor runs/pretrain
    """
    from fedswin.operations.admin import Federation
    from fedswin.operations.monitor import JobSource, watch
    from fedswin.operations.run_source import run_source
    from fedswin.operations.study_view import Source

    def show(source: Source) -> None:
        if json:
            print_json(source().as_dict())
        else:
            watch(source, console, plain=plain)

    if kit is None or Path(study).is_dir():
        show(run_source(Path(study)))
    else:
        with Federation(kit) as federation:
            show(JobSource(federation, study))


@app.command("list")
def list_jobs(kit: KitOption, json: JsonOption = False) -> None:
    """List the jobs of a federation, the newest first.

    Example: fedswin list --kit kits/lead@university.org
    """
    from fedswin.operations.jobs import list_jobs as run

    jobs = run(kit)
    if json:
        print_json([job._asdict() for job in jobs])
    else:
        print_jobs(jobs)


@app.command()
def abort(job_id: JobIdArgument, kit: KitOption, json: JsonOption = False) -> None:
    """Stop a job at once, at the server and at its sites. Its study can be resumed: submit --resume JOB_ID.

    Example: fedswin abort JOB_ID --kit kits/lead@university.org
    """
    from fedswin.operations.jobs import abort_job

    status = abort_job(job_id, kit)
    if json:
        print_json({"job_id": job_id, "status": status})
    else:
        console.print(f"{job_id}: {status}")


@job_app.command()
def export(
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; it must not exist.")],
    sites: Annotated[
        str | None, typer.Option(help="The sites that take part: names with commas between. Default: the job's.")
    ] = None,
    init: InitOption = None,
    code: CodeOption = "installed",
    settings: SetOption = None,
    strict: StrictInitOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the plain NVFlare job folder that a job becomes, to read it, or for nvflare job submit.

    Example: fedswin job export jobs/pretrain.yaml --sites hospital_a,hospital_b --out exported
    """
    from fedswin.operations.preflight import plan_initial_state
    from fedswin.operations.submit import export_for_review

    study = load_job(job, settings or ())
    names = sites.split(",") if sites else study.federation.sites
    initial = plan_initial_state(study, init, stderr, strict=strict)
    for path in export_for_review(study, names or (), initial, out, code=code, overwrite=overwrite):
        console.print(str(path), markup=False)


@app.command()
def studies(
    folder: Annotated[Path, typer.Argument(help="The folder 'studies' of a server's or site's kit.")],
    delete: Annotated[
        list[str] | None, typer.Option("--delete", metavar="ID", help="Delete what is kept of it. May be repeated.")
    ] = None,
    idle: Annotated[
        float | None, typer.Option("--delete-idle", metavar="DAYS", help="Delete all that were not used for so long.")
    ] = None,
) -> None:
    """List what a server or a site keeps of its studies, so that they can be resumed, or delete it.

    It is kept until it is deleted here.

    Example: fedswin studies kits/hospital_a/studies --delete-idle 90
    """
    from fedswin.operations.studies import delete_studies, list_studies

    kept = list_studies(folder)
    gone = {*(delete or ()), *(study.id for study in kept if idle is not None and study.idle_days > idle)}
    delete_studies(folder, sorted(gone))
    table = Table("study", "job", "size", "last used")
    for study in kept:
        when = "deleted" if study.id in gone else f"{study.idle_days:.1f} days ago"
        table.add_row(study.id, study.job, f"{study.size / 1e6:.1f} MB", when)
    console.print(table)
