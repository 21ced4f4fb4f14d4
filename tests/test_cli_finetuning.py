"""Fine-tuning from the command line: what is kept, what a second run costs, damage, and being killed."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

Said = Any
Run = Callable[..., Said]
Published = Callable[..., dict[str, int]]

READ = ("--precision", "float32", "--device", "cpu", "--max-tokens", "32")
QUICK = ("--set", "batch_size=16", "--set", "head_lr=1e-2", "--weak-lr", "3e-3", "--strong-lr", "3e-3")
FULL = ("w2s", "data.jsonl", "--weak", "tiny@0", "--strong", "tiny", "--train", "full", *READ, *QUICK)
BASE = (*FULL, "--set", "epochs=4", "--seeds", "2", "--near-duplicates", "ignore", "--json")
ONCE = ("--set", "epochs=1", "--seeds", "1", "--json")
ROLES = ("weak", "student", "ceiling")
N_RESULTS = {"supervise": 2, "teach": 2, "ceiling": 2, "rows": 1, "score": 1, "model": 6}


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory,
    save_tiny: Callable[..., Path],
    planted_rows: Callable[..., list[dict[str, Any]]],
    write_lines: Callable[..., Path],
) -> Path:
    """A directory with data.jsonl, away.jsonl and the network tiny."""
    path = tmp_path_factory.mktemp("stage")
    write_lines(path / "data.jsonl", planted_rows(400))
    write_lines(path / "away.jsonl", planted_rows(60, seed=1))
    save_tiny(path / "tiny")
    return path


@pytest.fixture(scope="module")
def fresh(stage: Path, executable: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The base study, run as a process of its own in the stage, where its store stays."""
    return subprocess.run([executable, *BASE], cwd=stage, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first(fresh: subprocess.CompletedProcess[str]) -> Any:
    """Its JSON."""
    assert fresh.returncode == 0, fresh.stderr
    return json.loads(fresh.stdout)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no line on the way is due."""
    monkeypatch.setattr("oversight.cli.printing.SECONDS_BETWEEN_LINES", math.inf)


@pytest.fixture
def here(stage: Path, place: Path) -> Path:
    """Where one stands: data and network, and no store."""
    for name in ("data.jsonl", "away.jsonl"):
        shutil.copy(stage / name, place / name)
    shutil.copytree(stage / "tiny", place / "tiny")
    return place


@pytest.fixture
def kept(first: Any, stage: Path, here: Path) -> Path:
    """Where one stands: data, network, and the store of the base study."""
    del first
    shutil.copytree(stage / "oversight-store", here / "oversight-store")
    return here / "oversight-store"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains fails."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("trained")

    monkeypatch.setattr("oversight.models.finetune.student.train", refuse)


def without_seconds(found: Any) -> Any:
    """The same JSON without how long it took."""
    if isinstance(found, dict):
        return {name: without_seconds(one) for name, one in found.items() if name != "seconds"}
    return [without_seconds(one) for one in found] if isinstance(found, list) else found


def by_kind(store: Path) -> dict[str, list[str]]:
    """Keys of a store by kind."""
    found: dict[str, list[str]] = {}
    for record in sorted(store.glob("??/[!.]*/record.json")):
        found.setdefault(json.loads(record.read_bytes())["content"]["kind"], []).append(record.parent.name)
    return found


def folder(store: Path, key: str) -> Path:
    return store / key[:2] / key


def arrays(store: Path, keys: list[str]) -> dict[str, bytes]:
    return {key: (folder(store, key) / "arrays.safetensors").read_bytes() for key in keys}


def drop_steps(store: Path) -> list[str]:
    """Forget every result but the models; gives the keys of those that hold predictions."""
    found = by_kind(store)
    for kind in ("supervise", "teach", "ceiling", "score"):
        for key in found[kind]:
            shutil.rmtree(folder(store, key))
    return [key for kind in ("supervise", "teach", "ceiling") for key in found[kind]]


def model_of(store: Path, study: Any, role: str) -> str:
    """The key of the model of seed 0 behind a role, found by the learning curve that both keep."""
    curve = study["choices"][role][0]["curve"]
    records = {key: json.loads((folder(store, key) / "record.json").read_bytes()) for key in by_kind(store)["model"]}
    [key] = [key for key, one in records.items() if one["content"]["record"]["choices"]["curve"] == curve]
    return key


# What a study says


def test_nothing_but_the_result_is_said(fresh: subprocess.CompletedProcess[str]) -> None:
    """Texts that lie side by side have no padding mask, of which the library would warn once per process."""
    foreign = [line for line in fresh.stderr.splitlines() if not line.startswith("oversight: ")]
    assert (fresh.returncode, foreign) == (0, [])


def test_json_names_how_both_roles_were_trained(first: Any) -> None:
    assert (first["train"], first["weak_train"]) == ("full", "full")


def test_the_settings_asked_for_are_shown_for_every_role_and_seed(first: Any) -> None:
    wanted = {"lr": 3e-3, "head_lr": 1e-2, "batch_size": 16, "epochs": 4, "schedule": "cosine", "dropout": False}
    assert {role: len(first["choices"][role]) for role in ROLES} == dict.fromkeys(ROLES, 2)
    for role in ROLES:
        for one in first["choices"][role]:
            assert {name: one[name] for name in wanted} == wanted


def test_the_learning_curve_of_every_run_is_kept_and_ends_with_the_last_update(first: Any) -> None:
    """An epoch of n rows in batches of 16 is ceil(n / 16) updates, and there are four."""
    for role in ROLES:
        for one in first["choices"][role]:
            assert one["updates"] == 4 * -(-one["n_rows"] // 16)
            assert one["curve"][-1]["step"] == one["updates"]
            assert {"loss", "agreement", "cross_entropy"} < set(one["curve"][0])


def test_the_ceiling_finds_the_planted_word_and_a_network_without_blocks_does_not(first: Any) -> None:
    """Without blocks the last token is all that is read, and its hint is right in three rows of four."""
    assert first["ceiling"]["accuracy"]["low"] > 0.9
    assert 0.6 < first["weak"]["accuracy"]["value"] < 0.85
    assert first["gap"]["low"] > 0.05 and first["pgr"]["defined"]


def test_a_student_learns_from_the_labels_it_was_given(first: Any) -> None:
    """The supervisor's soft labels follow the last word, which the student sees too."""
    assert first["agreement"]["all"]["value"] > 0.9


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "train", "weak_train", "shown"),
    [
        (("--train", "lora", "--set", "strong.rank=2"), "lora", "lora", {"rank": 2, "lr": 3e-3}),
        (("--train", "lp-ft"), "lp-ft", "lp-ft", {"train": "lp-ft"}),
        (("--weak-train", "probe", "--strong-train", "full"), "full", "probe", {"train": "full"}),
        (("--train", "probe", "--weak-train", "full"), "probe", "full", {"layer": 2}),
    ],
    ids=["lora", "lp-ft", "probe then full", "full then probe"],
)
def test_every_way_to_train_is_asked_for_by_role(
    words: tuple[str, ...], train: str, weak_train: str, shown: dict[str, Any], oversight: Run
) -> None:
    if "lora" in words:
        pytest.importorskip("peft")
    rates = {"weak": weak_train, "strong": train}
    given = [word for role, how in rates.items() if how != "probe" for word in (f"--{role}-lr", "3e-3")]
    pair = ("w2s", "data.jsonl", "--weak", "tiny@1", "--strong", "tiny", *READ, *given)
    said = oversight(*pair, *words, "--set", "batch_size=16", *ONCE)
    assert (said.code, said.err) == (0, "")
    assert (said.json["train"], said.json["weak_train"]) == (train, weak_train)
    [choices] = said.json["choices"]["student"]
    assert {name: choices.get(name) for name in shown} == shown


@pytest.mark.usefixtures("here")
def test_a_lexical_supervisor_needs_no_fine_tuning(oversight: Run) -> None:
    pair = ("w2s", "data.jsonl", "--weak", "bow", "--strong", "tiny", "--train", "full", *READ)
    said = oversight(*pair, "--strong-lr", "3e-3", "--set", "batch_size=16", *ONCE)
    assert (said.json["train"], said.json["weak_train"]) == ("full", "bow")
    assert "curve" not in said.json["choices"]["weak"][0]


# The same again


def test_the_same_command_again_is_answered_by_the_store(
    first: Any, kept: Path, oversight: Run, published: Published
) -> None:
    before = published()
    said = oversight(*BASE)
    assert said.numbers == first
    assert (said.err, published()) == ("", before)


def test_the_store_holds_one_model_per_training(kept: Path) -> None:
    assert {kind: len(keys) for kind, keys in by_kind(kept).items()} == N_RESULTS


@pytest.mark.usefixtures("kept")
def test_ls_names_models(oversight: Run) -> None:
    listed = [row["kind"] for row in oversight("ls", "--json").json["results"]]
    assert {kind: listed.count(kind) for kind in set(listed)} == N_RESULTS


def test_show_tells_how_a_model_was_made(kept: Path, oversight: Run) -> None:
    shown = oversight("show", by_kind(kept)["model"][0]).json
    assert shown["kind"] == "model" and shown["config"]["lr"] == 3e-3
    assert shown["record"]["choices"]["train"] == "full"


@pytest.mark.usefixtures("kept")
def test_verify_reads_models_too(oversight: Run) -> None:
    assert oversight("verify").out == "14 results, 0 damaged; 1 kept study, 0 damaged\n"


@pytest.mark.usefixtures("kept", "untrained")
def test_a_further_test_set_trains_nothing(first: Any, oversight: Run) -> None:
    studies = oversight(*BASE, "--test", "away=away.jsonl").json["studies"]
    assert [(one["test"], one["n_test"]) for one in studies] == [("test", first["n_test"]), ("away", 60)]
    assert studies[0]["ceiling"] == first["ceiling"] and studies[1]["ceiling"]["accuracy"]["value"] > 0.9


@pytest.mark.usefixtures("kept")
def test_a_further_test_set_leaves_the_models_as_they_are(kept: Path, oversight: Run, published: Published) -> None:
    models = {key: published()[key] for key in by_kind(kept)["model"]}
    oversight(*BASE, "--test", "away=away.jsonl")
    after = published()
    assert {key: after[key] for key in by_kind(kept)["model"]} == models


@pytest.mark.usefixtures("untrained")
def test_what_a_kept_model_predicts_are_the_bits_of_the_trained_one(kept: Path, oversight: Run) -> None:
    """The reference tool evaluates an untrained head after its cache was hit."""
    wanted = arrays(kept, [key for kind in ("supervise", "teach", "ceiling") for key in by_kind(kept)[kind]])
    keys = drop_steps(kept)
    said = oversight(*BASE)
    assert (said.code, said.err) == (0, "")
    assert arrays(kept, keys) == wanted


@pytest.mark.usefixtures("untrained")
def test_models_alone_give_the_same_numbers(first: Any, kept: Path, oversight: Run) -> None:
    drop_steps(kept)
    assert oversight(*BASE).numbers == first


def test_models_are_not_kept_where_asked(here: Path, oversight: Run) -> None:
    oversight(*FULL, *ONCE, "--no-keep-models")
    assert "model" not in by_kind(here / "oversight-store")
    assert list((here / "oversight-store" / "unfinished").glob("*")) == []


@pytest.mark.usefixtures("kept", "untrained")
def test_keeping_models_and_the_machine_decide_nothing(oversight: Run) -> None:
    plain = oversight(*BASE).numbers
    assert (
        oversight(*BASE, "--no-keep-models", "--set", "tokens_at_once=64", "--set", "checkpointing=yes").numbers
        == plain
    )


# What a change invalidates


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "to_do"),
    [
        (("--weak-lr", "1e-3"), {"supervise": 2, "teach": 2, "score": 1}),
        (("--strong-lr", "1e-3"), {"teach": 2, "ceiling": 2, "score": 1}),
        (("--set", "weak.epochs=5"), {"supervise": 2, "teach": 2, "score": 1}),
        (("--set", "strong.clip=2"), {"teach": 2, "ceiling": 2, "score": 1}),
        (("--strong-train", "lora"), {"teach": 2, "ceiling": 2, "score": 1}),
        (("--set", "seconds_between_checkpoints=1"), {}),
        (("--set", "clip=1"), {}),
    ],
    ids=["weak rate", "strong rate", "weak epochs", "strong clip", "strong lora", "machine", "a default"],
)
def test_a_setting_invalidates_what_depends_on_it_and_nothing_else(
    words: tuple[str, ...], to_do: dict[str, int], oversight: Run
) -> None:
    assert oversight(*BASE, *words, "--dry-run").json["steps_to_do"] == to_do


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_in_a_model_is_found_by_verify(first: Any, kept: Path, oversight: Run) -> None:
    key = model_of(kept, first, "student")
    flip(folder(kept, key) / "arrays.safetensors")
    said = oversight("verify", "--json")
    assert said.code == 1 and list(said.json["damaged"]) == [key]


def test_a_damaged_model_is_named_and_trained_again_to_the_same_numbers(first: Any, kept: Path, oversight: Run) -> None:
    key = model_of(kept, first, "student")
    whole = arrays(kept, [key])
    flip(folder(kept, key) / "arrays.safetensors")
    drop_steps(kept)
    said = oversight(*BASE)
    assert without_seconds(said.numbers) == without_seconds(first)
    assert said.err.startswith(f"oversight: damaged result computed again: {key}: ") and said.err.count("\n") == 1
    assert arrays(kept, [key]) == whole


def test_whole_weights_that_are_not_those_of_the_predictions_count_as_damaged(
    first: Any, kept: Path, oversight: Run
) -> None:
    """Checksums agree, but the head is another one: what was kept of its predictions tells."""
    from oversight.sealed import map_arrays, read_record, write_sealed

    key = model_of(kept, first, "ceiling")
    whole, place = arrays(kept, [key]), folder(kept, key)
    content = {name: one for name, one in read_record(place).items() if name != "arrays_sha256"}
    held = dict(map_arrays(place / "arrays.safetensors"))
    held["weights.head.weight"] = held["weights.head.weight"] * 1.5
    shutil.rmtree(place)
    place.mkdir()
    write_sealed(place, held, content)
    assert oversight("verify").code == 0
    drop_steps(kept)
    said = oversight(*BASE)
    assert f"{key}: its weights give predictions that differ by " in said.err and said.err.count("\n") == 1
    assert without_seconds(said.numbers) == without_seconds(first)
    assert arrays(kept, [key]) == whole


# Stopped and started again

DYING = """
import os, signal, sys
from pathlib import Path
place, n = sys.argv[1], int(sys.argv[2])
sys.argv = ["oversight", *sys.argv[3:]]
calls = [0]
def count():
    calls[0] += 1
    if calls[0] == n:
        os.kill(os.getpid(), signal.SIGKILL)
if place == "update":
    from oversight.models.finetune import loop
    real = loop._update
    def dying(*args, **options):
        count()
        return real(*args, **options)
    loop._update = dying
elif place == "checkpoint":
    from oversight.models.finetune import state
    real_write = state.write_sealed
    def dying(folder, *args):
        (Path(folder) / "arrays.safetensors").write_bytes(b"half")
        count()
        (Path(folder) / "arrays.safetensors").unlink()
        real_write(folder, *args)
    state.write_sealed = dying
else:
    from oversight.runs.store import DirectoryStore
    real_put = DirectoryStore.put
    def dying(self, key, outcome, *, about):
        if place == "before keeping" and about["kind"] == "model":
            count()
        found = real_put(self, key, outcome, about=about)
        if place == "after keeping" and about["kind"] == "model":
            count()
        return found
    DirectoryStore.put = dying
from oversight.cli import run
run()
"""
OFTEN = ("--set", "seconds_between_checkpoints=0")
DEATHS = [("update", 11), ("checkpoint", 14), ("before keeping", 2), ("after keeping", 3)]


@pytest.mark.slow
def test_killed_again_and_again_the_same_command_ends_with_the_same_numbers(
    first: Any, stage: Path, here: Path, environment: dict[str, str], oversight: Run
) -> None:
    """In an update, within the writing of a checkpoint, before a model is published, and after, before its step is.

    The sittings follow each other on one store, each dying at its own place; the last one is left alone.
    """
    store = here / "oversight-store"
    for place, n in DEATHS:
        command = [sys.executable, "-c", DYING, place, str(n), *BASE, *OFTEN]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), (place, done.stderr)
    assert list((store / "unfinished").iterdir())
    said = oversight(*BASE, *OFTEN)
    assert (said.code, said.err) == (0, "")
    assert without_seconds(said.numbers) == without_seconds(first)
    assert list((store / "unfinished").iterdir()) == []
    assert {key: one for keys in by_kind(store).values() for key, one in arrays(store, keys).items()} == {
        key: one
        for keys in by_kind(stage / "oversight-store").values()
        for key, one in arrays(stage / "oversight-store", keys).items()
    }


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    here: Path, environment: dict[str, str], oversight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at its 7th update, it makes all that are left and the 7th again, but not the six before."""
    words = (*FULL, "--set", "epochs=1", "--seeds", "1", "--json", *OFTEN)
    command = [sys.executable, "-c", DYING, "update", "7", *words]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    from oversight.models.finetune import loop

    real, made = loop._update, [0]

    def counted(*args: Any, **options: Any) -> float:
        made[0] += 1
        return real(*args, **options)

    monkeypatch.setattr(loop, "_update", counted)
    study = oversight(*words).json
    assert made[0] == sum(study["choices"][role][0]["updates"] for role in ROLES) - 6


# Ground truth, marked


@pytest.fixture(scope="module")
def oracle_words() -> tuple[str, ...]:
    return (*FULL, "--method", "oracle_early_stopping", "--set", "epochs=1", "--seeds", "1")


@pytest.mark.usefixtures("here")
def test_a_method_that_saw_the_truth_is_marked_in_json_and_in_the_table(
    oracle_words: tuple[str, ...], oversight: Run
) -> None:
    assert oversight(*oracle_words, "--json").json["oracle"] is True
    shown = " ".join(oversight(*oracle_words).out.split())
    assert "oracle_early_stopping (oracle)" in shown and "methods marked (oracle) saw ground truth" in shown


def test_a_report_marks_it_too(here: Path, oracle_words: tuple[str, ...], oversight: Run) -> None:
    oversight(*oracle_words, "--report", "r.html")
    assert "oracle_early_stopping (oracle)" in (here / "r.html").read_text("utf-8")


@pytest.mark.usefixtures("kept")
def test_no_other_study_is_marked(first: Any, oversight: Run) -> None:
    assert first["oracle"] is False
    assert "(oracle)" not in oversight(*BASE[:-1]).out


# How it goes


@pytest.mark.usefixtures("here")
def test_without_a_terminal_long_fits_print_a_line_now_and_then(
    oversight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oversight.cli.printing.SECONDS_BETWEEN_LINES", 0.0)
    lines = oversight(*FULL, *ONCE).err.splitlines()
    form = r"oversight: (.+): tiny(@0)?, seed 0: update \d+/\d+, loss \d+\.\d{3}(, agreement \d\.\d{3})?, \d+:\d\d left"
    found = [re.fullmatch(form, line) for line in lines]
    assert all(found), lines
    assert {one[1] for one in found if one} == {
        "supervisors learn and label",
        "students learn from weak labels",
        "ceilings learn from ground truth",
    }


@pytest.mark.usefixtures("here")
def test_where_no_line_is_due_none_is_printed(oversight: Run) -> None:
    assert oversight(*FULL, *ONCE).err == ""


# What is refused


REFUSED = {
    "--train fulll": "unknown train 'fulll': did you mean 'full'? known: probe, full, lora, lp-ft",
    "--weak-train looora": "unknown train 'looora': did you mean 'lora'?",
    "--train full --set epohcs=3": "unknown setting of full 'epohcs': did you mean 'epochs'? known: ",
    "--train full --set rank=3": "unknown setting of full 'rank': ",
    "--train lora --set rank=0": "lora: found rank 0, expected at least 1",
    "--train lora --set targets=nothing": "tiny@0: found the LoRA target 'nothing', which matches no linear layer; ",
    "--train lora --set targets=c_attn,": "tiny@0: found the LoRA target '', which matches no linear layer; ",
    "--train full --set epochs=2.5": "--set epochs: found '2.5', expected a whole number or none",
    "--train full --set checkpointing=perhaps": "--set checkpointing: found 'perhaps', expected true or false",
    "--train full --set optimizer=sgd": "--set optimizer: found 'sgd', expected adamw or adafactor",
    "--train full --set student.epochs=3": "--set: found 'student.epochs=3', expected NAME=VALUE, weak.NAME=VALUE or ",
    "--train full --set epochs=": "--set: found 'epochs=', expected NAME=VALUE",
    "--train full --weak-lr 0": "full: found lr 0, expected numbers above 0",
    "--train full --strong-lr 1e-3,x": "--set lr: found '1e-3,x', expected a number or numbers between commas or none",
    "--train full --set batch_size=4000": "tiny@0: found batch_size 4000, expected at most the ",
    "--train full --max-tokens 7": "tiny: found max_tokens=7, expected at least 8",
    "--train probe --weak-lr 1e-3": "weak.lr: a setting of fine-tuning, but nothing is fine-tuned in this role",
    "--train probe --set epochs=3": "--set epochs: a setting of fine-tuning, found train probe",
    "--train full --weak-penalty 1": "model 'tiny@0': penalties are those of a probe, found train full",
    "--train lp-ft --strong-layers 1": "model 'tiny': layers are chosen for a probe, found train lp-ft",
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", REFUSED)
def test_a_bad_setting_is_one_line_and_leaves_nothing(words: str, refused: Callable[..., str]) -> None:
    said = refused("w2s", "data.jsonl", "--weak", "tiny@0", "--strong", "tiny", *READ, *words.split())
    assert said.startswith(REFUSED[words])
