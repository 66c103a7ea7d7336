"""`medseg segment`: needs the core alone."""

from __future__ import annotations

import time as clock

from medseg.cli import quantities
from medseg.cli import segment_options as options
from medseg.cli.app import app, reporter
from medseg.cli.engine import start_early
from medseg.cli.exits import needs_extra
from medseg.cli.options import CredentialsFile, KeyFile, NoIndex, OutOption, Quiet, Verbose, inputs_and_out
from medseg.errors import Code, ExitCode, MedsegError


@app.command(rich_help_panel="Use a trained model")
def segment(
    inputs: options.In = None,
    out: options.Out = None,
    out_option: OutOption = None,
    model: options.Model = None,
    convention: options.Convention = None,
    mode: options.Mode = None,
    device: options.Device = "auto",
    runtime: options.Runtime = None,
    precision: options.Precision = None,
    fast: options.Fast = False,
    accept_domain: options.AcceptDomain = False,
    channel: options.Channel = None,
    recipe: options.Recipe = None,
    include_labels: options.IncludeLabels = False,
    mask: options.Mask = None,
    strip: options.Strip = False,
    private: options.Private = False,
    confidence_map: options.ConfidenceMap = False,
    probabilities: options.Probabilities = False,
    figure: options.Figure = True,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    workers: options.Workers = 1,
    threads: options.Threads = 0,
    time_limit: options.TimeLimit = 1800,
    memory_limit: options.MemoryLimit = None,
    max_memory: options.MaxMemory = None,
    time: options.Time = None,
    retry: options.Retry = False,
    watch: options.Watch = False,
    shard: options.Shard = None,
    executor: options.Executor = "local",
    scheduler: options.Scheduler = None,
    json_lines: options.JsonLines = False,
    series: options.Series = None,
    seg_type: options.SegType = "binary",
    key_file: KeyFile = None,
    no_index: NoIndex = False,
    credentials: CredentialsFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> ExitCode:
    """Segment scans or images with a trained model. A second run skips what is done.

    Example: `medseg segment SCANS OUT --model work/recipe`, or for one scan `medseg segment t1.nii.gz
    labels.nii.gz --model work/recipe`. Without --model skull-stripped brains get their tissues by a model
    that ships with medseg (`medseg models`); whole heads need --strip.

    Writes `OUT/<case>.nii.gz` in the scan's native space (`<case>.png` for an image), `<case>.json`,
    `labels.json`, `summary.html` to be read first, `summary.csv`, `quarantine.csv` and `run.json`.

    The folder of the training is read by the model's own patterns, others by --recipe or --channel. Else a
    case is named after the folders below IN and its file, joined by underscores: `IN/p1/anat/T1.nii.gz` is
    `p1_anat_T1` (`IN/sub_1/T1.nii.gz` is `sub_1__T1`), and a model with several channels takes files named
    `<case>_<channel>`. Two inputs that would get the same name are both excluded.

    DICOM exports (folders of any depth, zip archives, `dicomweb://host[:port]/dicom-web/studies/UID`) are
    taken too: each volume of a series is a case under a pseudonym, with `<case>.seg.dcm` (DICOM SEG) and
    `<case>.sr.dcm` (volumes); only `OUT/private/` tells whom the pseudonyms stand for.

    A scan unlike those that the model was trained on is excluded (`OUT_OF_DOMAIN`) unless --accept-domain is
    given. Only one command at a time may write to OUT. Exit code 3: some inputs were excluded (see
    `quarantine.csv`), or a DICOM SEG could not be written; the next run tries again.
    """
    if executor == "local" and max_memory is None:  # which counts every process
        start_early("segment", workers)
    from medseg.console import Reporter
    from medseg.model import folder as model_folder
    from medseg.model import packaged
    from pipelines.commands import (
        models,
        remote_inputs,
        segment_budget,
        segment_file,
        segment_plan,
        segment_watch,
    )
    from pipelines.commands import segment as pipeline
    from pipelines.commands.segment_budget import Budget
    from pipelines.commands.segment_runtime import Asked
    from pipelines.execution.engines import Execution, Shard
    from pipelines.execution.limits import Limits, share_of_memory

    began = clock.time()
    inputs, out = inputs_and_out(inputs, out, out_option)
    if max_memory is not None and memory_limit is not None:
        details = "--memory-limit is for each worker, and --max-memory for all together"
        raise MedsegError(Code.USAGE, "--max-memory", details, "leave one of them out")
    budget = Budget.of(
        None if max_memory is None else quantities.size("--max-memory", max_memory),
        None if time is None else quantities.duration("--time", time),
        began,
    )
    memory = memory_limit * 2**20 if memory_limit else share_of_memory(max(1, workers))
    chosen = packaged.default() if model is None else model_folder.locate(model)
    settings = pipeline.Settings(
        chosen if convention is None else packaged.with_convention(chosen, convention),
        mode,
        confidence_map,
        device,
        include_labels,
        key_file,
        not no_index,
        accept_domain,
        private,
        tuple(series or ()),
        mask,
        strip,
        seg_type,
        figure,
        tuple(channel or ()),
        retry,
        None if shard is None else Shard.parse(shard),
        Execution(workers, executor, scheduler, Limits(time_limit or None, memory)),
        recipe,
        overwrite,
        numerics=Asked(runtime, precision, fast),
        threads=threads,
        budget=budget,
        probabilities=probabilities,
    )
    one_file = segment_file.is_file(out)
    if one_file and (watch or shard is not None):
        option = "--watch" if watch else "--shard"
        raise MedsegError(Code.USAGE, option, f"{out} is one file", "name a folder for OUT")
    segment_budget.require_possible(budget, settings.execution, watch=watch)
    if dry_run and watch:
        raise MedsegError(Code.USAGE, "--watch", "--dry-run looks once", "leave one of them out")
    if any(map(remote_inputs.is_address, inputs)):
        needs_extra("dicom")
        model_folder.read(settings.model)  # before a study is fetched for nothing
    unlogged = one_file or dry_run
    say = Reporter(quiet=quiet, verbose=verbose) if unlogged else reporter(out, quiet=quiet, verbose=verbose)
    say.json_lines = json_lines
    if model is None:
        say.line(f"no --model: {models.words(settings.model)}")
    with remote_inputs.fetched(inputs, None if unlogged else out, credentials, say) as paths:
        if dry_run:
            return segment_plan.run(paths, out, settings, say)
        if one_file:
            return segment_file.run(paths, out, settings, say)
        if watch:
            return segment_watch.run(paths, out, settings, say)
        return pipeline.run(paths, out, settings, say)
