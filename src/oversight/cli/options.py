"""Options of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Task = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A name, a file (.jsonl[.gz], .csv, .parquet), a directory with train.* and test.*, "
        "or hf:org/name[:config][@revision].",
    ),
]
Weak = Annotated[
    list[str],
    typer.Option(
        "--weak",
        metavar="MODEL",
        help="Who labels: bow, minilm[@k], ladder:RUNG, DIR[@k], org/name[@k], labels:FILE, boost:MODEL; planted "
        "errors: flipped:RATE, planted:STRUCTURE:RATE; a+b for several together. Repeat for several studies.",
    ),
]
Strong = Annotated[list[str], typer.Option("--strong", metavar="MODEL", help="Who learns. Repeat for several studies.")]
Method = Annotated[
    list[str] | None,
    typer.Option("--method", metavar="NAME", help="How weak labels are used (default: naive). Repeat for several."),
]
Train = Annotated[
    str,
    typer.Option(
        "--train", metavar="HOW", help="How networks are trained: probe, full, lora, lp-ft; prompt = not at all."
    ),
]
WeakTrain = Annotated[
    str | None, typer.Option("--weak-train", metavar="HOW", help="The supervisor's, where it is another one.")
]
StrongTrain = Annotated[
    str | None, typer.Option("--strong-train", metavar="HOW", help="The student's and the ceiling's.")
]
WeakLr = Annotated[
    str | None,
    typer.Option("--weak-lr", metavar="X[,X...]", help="The supervisor's learning rate; of several the best is kept."),
]
StrongLr = Annotated[
    str | None,
    typer.Option("--strong-lr", metavar="X[,X...]", help="The same for student and ceiling, chosen on weak labels."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[OWNER.]NAME=VALUE",
        help="A setting of fine-tuning, such as epochs=3, strong.rank=16, weak.batch_size=8, checkpointing=true (see "
        "docs/finetuning.md), or of a method that is asked for (bootstrap.through=minilm@1). Repeatable.",
    ),
]
KeepModels = Annotated[
    bool,
    typer.Option("--keep-models/--no-keep-models", help="Keep fine-tuned weights in the store, for further tests."),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Trainings of every role; 5 or more for an interval over seeds.")]
Test = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="NAME=FILE", help="A further test set, scored by itself. Repeatable."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Of gap and PGR: accuracy, balanced_accuracy, auroc, nll, brier, ece. "
        "Default: accuracy, balanced where a class exceeds 55 % of the test.",
    ),
]
Text = Annotated[
    str | None, typer.Option("--text", metavar="COLUMN", help="Column of the text; dotted paths reach inside.")
]
Label = Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="Column of the class.")]
Group = Annotated[
    str | None, typer.Option("--group", metavar="COLUMN", help="Rows of one group stay in one part of every split.")
]
Difficulty = Annotated[str | None, typer.Option("--difficulty", metavar="COLUMN", help="Column of a kind of row.")]
MostTrain = Annotated[int | None, typer.Option("--n-train", help="Most rows outside the test set.")]
MostTest = Annotated[int | None, typer.Option("--n-test", help="Most rows of the test set.")]
Version = Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)]
Strict = Annotated[bool, typer.Option("--strict", help="Rows in both train and test are an error.")]
NearDuplicates = Annotated[
    str | None,
    typer.Option(
        "--near-duplicates",
        metavar="join|warn|ignore",
        help="What is done about rows whose texts resemble each other. Default: join them into groups (above 200,000 "
        "rows they are not searched).",
    ),
]
NearDuplicatesAt = Annotated[
    float,
    typer.Option("--near-duplicates-at", metavar="X", help="Jaccard similarity of 3-grams from which on they do."),
]
WeakPenalty = Annotated[
    str | None,
    typer.Option("--weak-penalty", metavar="X[,X...]", help="L2 penalties of the supervisor's probe to choose from."),
]
StrongPenalty = Annotated[
    str | None, typer.Option("--strong-penalty", metavar="X[,X...]", help="The same for student and ceiling.")
]
WeakLayers = Annotated[
    str | None,
    typer.Option(
        "--weak-layers", metavar="all|K[,K...]", help="Choose the supervisor's layer on its own held-out rows."
    ),
]
StrongLayers = Annotated[
    str | None,
    typer.Option(
        "--strong-layers",
        metavar="all|K[,K...]",
        help="Choose the student's layer on weak validation labels (the ceiling's on true ones).",
    ),
]
WeakPool = Annotated[
    str | None, typer.Option("--weak-pool", metavar="mean|last|cls", help="How the supervisor reads hidden states.")
]
StrongPool = Annotated[
    str | None, typer.Option("--strong-pool", metavar="mean|last|cls", help="The same for student and ceiling.")
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longer texts are truncated, and counted.")]
Precision = Annotated[str, typer.Option("--precision", metavar="auto|float32|bfloat16", help="Of hidden states.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where hidden states are computed.")]
RemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Let code that comes with weights run.")]
AuxWeight = Annotated[
    float | None,
    typer.Option("--aux-weight", help="Method confidence: final share of the student's own guess (0.5)."),
]
SplitSeed = Annotated[int | None, typer.Option("--split-seed", help="Fix the cut of the training rows.")]
InitSeed = Annotated[int | None, typer.Option("--init-seed", help="Fix the initial weights.")]
OrderSeed = Annotated[int | None, typer.Option("--order-seed", help="Fix the order of rows in training.")]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a report: one self-contained page (.html), .md, .csv, .json, or the figures (.png, .pdf).",
    ),
]
TellTheory = Annotated[
    bool, typer.Option("--theory", help="Also what theory predicts of the gain, before anything is scored.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and count the steps; compute nothing.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="DIR", help="Where results are kept. Default: $OVERSIGHT_STORE, else ./oversight-store."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where report.html goes.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The first characters of a key.")]
OtherKey = Annotated[str, typer.Argument(metavar="OTHER", help="The same of another one.")]
Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY]...", help="Keys or names of kept studies (`ls --studies`); none = every kept study."),
]
Archive = Annotated[
    str, typer.Argument(metavar="FILE", help="A path or a URL (s3://, gs://, ...) that ends in .tar or .tar.gz.")
]
OfKind = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Only results of this kind.")]
OfName = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Only those whose name contains this.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="DATE", help="Only those made since: 2026-01-31 (UTC), 3d or 12h ago.")
]
Failed = Annotated[bool, typer.Option("--failed", help="Steps that failed, and why.")]
Studies = Annotated[bool, typer.Option("--studies", help="What was asked for: kept studies.")]
Delete = Annotated[bool, typer.Option("--delete", help="Remove it; otherwise it is only shown.")]
DeleteDamaged = Annotated[
    bool, typer.Option("--delete", help="Remove what is damaged, so that its command makes it again.")
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="NAME", help="A kept study that is no longer wanted. Repeatable."),
]
OlderThan = Annotated[
    float, typer.Option("--older-than", metavar="DAYS", help="For how long unfinished fits may lie untouched.")
]

ComparedTasks = Annotated[
    list[str],
    typer.Argument(metavar="TASK...", help="Names, files, directories or hf:org/name: those of the leaderboard."),
]
OneWeak = Annotated[
    str,
    typer.Option(
        "--weak",
        metavar="MODEL",
        help="Who labels; a+b for methods that take several supervisors; planted errors: flipped:RATE, "
        "planted:STRUCTURE:RATE.",
    ),
]
OneStrong = Annotated[str, typer.Option("--strong", metavar="MODEL", help="Who learns.")]
Methods = Annotated[
    str, typer.Option("--methods", metavar="all|NAME,...", help="Which methods; all = every one that applies.")
]
FurtherMethod = Annotated[
    list[str] | None,
    typer.Option("--method", metavar="NAME|FILE.py:NAME", help="One more, such as your own in a file. Repeatable."),
]
ComparedSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[OWNER.]NAME=VALUE",
        help="A setting of fine-tuning (epochs=3, strong.rank=16) or of a method (bootstrap.through=minilm@1, "
        "confidence.aux_weight=0.75). Repeatable.",
    ),
]
Development = Annotated[
    list[str] | None,
    typer.Option("--dev", metavar="TASK", help="Choose every method's settings on this task. Repeatable."),
]
Trials = Annotated[int, typer.Option("--trials", metavar="N", help="Settings tried for every method on --dev tasks.")]
Family = Annotated[
    list[str] | None,
    typer.Option("--family", metavar="NAME=TASK,TASK", help="Tasks that count as one, beside those found. Repeatable."),
]
LinearMetric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="accuracy, balanced_accuracy, nll or brier. Default: accuracy, balanced where a class exceeds 55 %.",
    ),
]
BoardReport = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Also write it to a file: .html, .md or .json.")
]

StressedTask = Annotated[
    str,
    typer.Argument(metavar="[TASK]", help="A name, a file, a directory or hf:org/name. Default: reviews (embedded)."),
]
StressedWeak = Annotated[
    str, typer.Option("--weak", metavar="MODEL", help="One supervisor, whose errors are counted and planted anew.")
]
StressMethods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="NAME,...",
        help="How weak labels are used; naive is always among them. Default: naive, and confidence where it applies.",
    ),
]
Checks = Annotated[
    str, typer.Option("--checks", metavar="all|NAME,...", help="simulable, errors, imitation, leak. Default: all.")
]

PlanFile = Annotated[
    Path | None, typer.Argument(metavar="[PLAN.toml]", help="The grid: tasks, supervisors, students, methods, seeds.")
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help="A plan that ships: probe-fast.")]
PrintPlan = Annotated[bool, typer.Option("--print", help="Print the plan's text, to start your own from, and stop.")]
SweepTask = Annotated[
    list[str] | None, typer.Option("--task", metavar="TASK", help="In place of the plan's tasks. Repeatable.")
]
SweepSeeds = Annotated[int | None, typer.Option("--seeds", help="In place of the plan's number of seeds.")]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", help="Local processes; cores and GPUs are shared out among them.")
]
Ray = Annotated[
    str | None, typer.Option("--ray", metavar="local|ADDRESS", help="A Ray cluster on which the store is mounted.")
]
Slurm = Annotated[
    int | None, typer.Option("--slurm", metavar="N", help="Submit N jobs that work on this sweep together.")
]
SlurmSettings = Annotated[
    list[str] | None,
    typer.Option("--slurm-set", metavar="NAME=VALUE", help="Of the jobs: timeout_min=240, slurm_partition=gpu, ..."),
]
GpuShare = Annotated[
    float, typer.Option("--gpu-share", metavar="X", help="Of a GPU for each step that works on one (Ray).")
]
Memory = Annotated[
    float | None,
    typer.Option("--memory", metavar="GB", help="That steps may take at once. Default: what is free on this machine."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try steps again that failed in an earlier run of this sweep.")
]
SweepDryRun = Annotated[
    bool, typer.Option("--dry-run", help="The graph in numbers: steps, shared ones, time, memory. Computes nothing.")
]
ReportOut = Annotated[
    str,
    typer.Option("-o", "--out", metavar="FILE", help="Where the report goes; its ending says its format. - = stdout."),
]
ReportFormat = Annotated[
    str | None, typer.Option("--format", metavar="html|md|csv|json|png|pdf", help="In place of the ending.")
]
ReportNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Kept studies (`ls --studies`) or keys of scores, or how they begin; none = everything that is kept.",
    ),
]
OnlyTask = Annotated[
    list[str] | None, typer.Option("--task", metavar="NAME", help="Only this task; * and ? match any. Repeatable.")
]
OnlyMethod = Annotated[list[str] | None, typer.Option("--method", metavar="NAME", help="Only this method.")]
OnlyWeak = Annotated[list[str] | None, typer.Option("--weak", metavar="MODEL", help="Only this supervisor.")]
OnlyStrong = Annotated[list[str] | None, typer.Option("--strong", metavar="MODEL", help="Only this student.")]
OnlyTest = Annotated[list[str] | None, typer.Option("--test", metavar="NAME", help="Only this test set.")]
