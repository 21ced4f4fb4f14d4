"""What a network is known by, what is refused, and a Hub that does not answer, answers, or says no."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub.constants
import numpy as np
import pytest

from oversight.errors import InputError
from oversight.models import checkpoint as checkpoints
from oversight.models.backbone import Backbone
from oversight.models.checkpoint import Checkpoint, embedded, from_directory, from_hub
from oversight.models.features import extract
from oversight.tasks.task import Rows

REPOSITORY = "someone/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copied(families: Mapping[str, Path], tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may change."""
    return Path(shutil.copytree(families["bert"], tmp_path / "copied"))


# Fingerprints


def change_config(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))


def change_weights(path: Path) -> None:
    """One bit of the last number, at the same size."""
    raw = bytearray((path / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (path / "model.safetensors").write_bytes(raw)


def change_tokenizer(path: Path) -> None:
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text.replace('"film"', '"movie"'))


def add_vocabulary(path: Path) -> None:
    (path / "vocab.txt").write_text("film\n")


def add_template(path: Path) -> None:
    (path / "chat_template.jinja").write_text("{{ messages }}")


def add_older_template(path: Path) -> None:
    (path / "chat_template.json").write_text('{"chat_template": "{{ messages }}"}')


def add_further_template(path: Path) -> None:
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")


CHANGES = [change_config, change_weights, change_tokenizer, add_vocabulary]
TEMPLATES = [add_template, add_older_template, add_further_template]


@pytest.mark.parametrize("change", [*CHANGES, *TEMPLATES])
def test_the_fingerprint_changes_with(copied: Path, change: Callable[[Path], None]) -> None:
    before = from_directory(copied).fingerprint
    change(copied)
    assert from_directory(copied).fingerprint != before


@pytest.mark.parametrize("file", ["chat_template.jinja", "additional_chat_templates/tools.jinja"])
def test_an_edited_chat_template_changes_the_fingerprint(copied: Path, file: str) -> None:
    add_template(copied)
    add_further_template(copied)
    before = from_directory(copied).fingerprint
    (copied / file).write_text("{{ other }}")
    assert from_directory(copied).fingerprint != before


def replace_file(file: Path, content: bytes) -> None:
    """By another one that is moved into its place, as downloads are."""
    other = file.with_name("other")
    other.write_bytes(content)
    other.replace(file)


def rewrite_file(file: Path, content: bytes) -> None:
    """Within the same inode."""
    file.write_bytes(content)


@pytest.mark.parametrize("write", [replace_file, rewrite_file])
@pytest.mark.parametrize("wait", [True, False], ids=["later", "at once"])
def test_weights_replaced_at_equal_size_and_time_are_seen(
    copied: Path, write: Callable[[Path, bytes], None], wait: bool
) -> None:
    """Within one process that knows the file already; the time of modification is set back, as `cp -p` does."""
    file = copied / "model.safetensors"
    if wait:
        time.sleep(2 * checkpoints.SETTLED_NS / 1e9)  # so that the hash of the first content is remembered
    before, stat = from_directory(copied).fingerprint, file.stat()
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    write(file, bytes(raw))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert from_directory(copied).fingerprint != before


def test_unchanged_weights_are_read_once(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(2 * checkpoints.SETTLED_NS / 1e9)
    before = from_directory(copied).fingerprint
    monkeypatch.setattr(checkpoints.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert from_directory(copied).fingerprint == before


def test_the_fingerprint_does_not_change_with_place_name_or_time(copied: Path, tmp_path: Path) -> None:
    before = from_directory(copied).fingerprint
    moved = Path(shutil.copytree(copied, tmp_path / "elsewhere" / "renamed"))
    for file in moved.iterdir():
        os.utime(file, (1e9, 1e9))
    assert from_directory(moved, name="another").fingerprint == before


def test_the_fingerprint_does_not_change_with_files_that_nothing_reads(copied: Path) -> None:
    before = from_directory(copied).fingerprint
    (copied / "README.md").write_text("about")
    (copied / "modeling_own.py").write_text("pass")
    assert from_directory(copied).fingerprint == before


def test_code_that_may_run_is_part_of_the_fingerprint(copied: Path) -> None:
    (copied / "modeling_own.py").write_text("x = 1")
    before = from_directory(copied, remote_code=True).fingerprint
    (copied / "modeling_own.py").write_text("x = 2")
    assert from_directory(copied, remote_code=True).fingerprint != before


def test_names_of_weight_files_that_swap_their_contents_change_the_fingerprint(tmp_path: Path) -> None:
    for place, (a, b) in {"one": ("left", "right"), "other": ("right", "left")}.items():
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.safetensors").write_text(a)
        (tmp_path / place / "b.safetensors").write_text(b)
    one, other = (Checkpoint(name="m", path=tmp_path / place).fingerprint for place in ("one", "other"))
    assert one != other


def test_a_commit_is_the_fingerprint(copied: Path) -> None:
    assert Checkpoint(name="m", path=copied, commit=COMMIT).fingerprint == COMMIT


# Directories


@pytest.mark.parametrize(
    ("removed", "complaint"),
    [
        ("config.json", "found no config.json, expected a directory made by save_pretrained"),
        ("*.safetensors", "found no weights, expected"),
        ("tokenizer*", "found no tokenizer, expected tokenizer.json"),
    ],
)
def test_a_directory_that_lacks_a_part_is_refused(copied: Path, removed: str, complaint: str) -> None:
    for file in copied.glob(removed):
        file.unlink()
    with pytest.raises(InputError, match=f"^mine: {complaint}"):
        from_directory(copied, name="mine")


@pytest.mark.parametrize(("content", "complaint"), [("{", "is not JSON"), ("[]", "holds no JSON object")])
def test_a_config_that_is_no_object_is_refused_when_read(copied: Path, content: str, complaint: str) -> None:
    (copied / "config.json").write_text(content)
    with pytest.raises(InputError, match=rf"^mine: config\.json {complaint}"):
        Backbone(checkpoint=Checkpoint(name="mine", path=copied))


def cut_short(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


@pytest.mark.parametrize(
    ("name", "damage", "complaint"),
    [
        ("config.json", cut_short, "damaged config.json"),
        ("tokenizer.json", cut_short, "damaged tokenizer.json"),
        ("model.safetensors", cut_short, r"damaged model.safetensors \(\d+ bytes where its header says \d+\)"),
        ("model.safetensors", lambda raw: raw + b"x", "bytes where its header says"),
        ("model.safetensors", lambda raw: raw[:5], "no whole header"),
        ("model.safetensors", lambda raw: b"no weights but words", "no whole header"),
        ("model.safetensors", lambda raw: raw[:8] + b"}" + raw[9:], "a header that is not JSON"),
    ],
)
def test_a_damaged_file_is_named_before_anything_is_computed(
    copied: Path, name: str, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    (copied / name).write_bytes(damage((copied / name).read_bytes()))
    with pytest.raises(InputError, match=rf"^mine: .*{complaint}"):
        from_directory(copied, name="mine")


def test_a_config_without_a_depth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vague"}')
    with pytest.raises(InputError, match="names no depth"):
        _ = Checkpoint(name="vague", path=tmp_path).n_blocks


@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layer", "n_layers", "num_layers"])
def test_the_depth_is_found_under_every_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({name: 7}))
    assert Checkpoint(name="m", path=tmp_path).n_blocks == 7


def test_the_text_part_of_a_model_of_several_parts_counts(tmp_path: Path) -> None:
    config = {"model_type": "several", "num_hidden_layers": 2, "text_config": {"num_hidden_layers": 9}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Checkpoint(name="m", path=tmp_path).n_blocks == 9


# The embedded encoder


def test_the_embedded_encoder_is_the_official_release(minilm: Checkpoint) -> None:
    """The sum is computed here once more, from the file."""
    found = sha256((minilm.path / "model.safetensors").read_bytes()).hexdigest()
    assert found == checkpoints.MINILM_SHA256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.mark.usefixtures("minilm")
def test_other_weights_in_its_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"weights have SHA-256 53aa.*expected 0000"):
        embedded()


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'oversight\[demo\]'"):
        embedded()


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach anything fails the test."""

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a network call")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, forbidden)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, forbidden)


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("which", ["minilm", "stories", "bert", "gpt2"])
def test_reading_a_local_network_opens_no_socket(
    request: pytest.FixtureRequest, which: str, rows_of: Callable[..., Rows]
) -> None:
    checkpoint: Checkpoint = request.getfixturevalue(which)
    again = embedded() if which == "minilm" else from_directory(checkpoint.path)
    assert len(extract(Backbone(checkpoint=again, device="cpu"), rows_of(["the film"]), depths=[1]).features[1]) == 1


# The Hub


class Hub(BaseHTTPRequestHandler):
    """The few answers that a download asks for, for one repository of one commit."""

    files: ClassVar[Mapping[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def log_message(self, *_args: Any) -> None:
        """Nothing on the terminal."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        api = f"/api/models/{REPOSITORY}"
        if path in {api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"}:
            return self.send(
                {"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            )
        if path.startswith(f"{api}/tree/"):
            return self.send(
                [
                    {"type": "file", "path": n, "size": len(f), "oid": sha256(f).hexdigest()[:40]}
                    for n, f in self.files.items()
                ]
            )
        if path.startswith(f"{api}/revision/"):
            return self.send({"error": "no"}, status=404, code="RevisionNotFound")
        name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
        if name in self.files:
            return self.send(self.files[name], etag=sha256(self.files[name]).hexdigest()[:40], body=body)
        return self.send({"error": "no"}, status=404, code="RepoNotFound")

    def send(self, content: Any, *, status: int = 200, code: str = "", etag: str = "", body: bool = True) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(raw)), "X-Repo-Commit": COMMIT, "X-Error-Code": code, "ETag": f'"{etag}"'}
        for name, value in headers.items():
            if value not in {"", '""'}:
                self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(raw)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


def point_to(monkeypatch: pytest.MonkeyPatch, address: tuple[Any, ...]) -> None:
    """Take this machine's port for the Hub."""
    endpoint = f"http://127.0.0.1:{address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(families: Mapping[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A Hub on this machine that holds the tiny BERT, and what it was asked."""
    files = {file.name: file.read_bytes() for file in families["bert"].iterdir()}
    files |= {"modeling_own.py": b"x = 1", "model.onnx": b"large"}
    files |= {"chat_template.jinja": b"{{ messages }}", "additional_chat_templates/tools.jinja": b"{{ tools }}"}

    class Here(Hub):
        pass

    Here.files, Here.asked = files, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Here)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    point_to(monkeypatch, server.server_address)
    yield Here
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("hub")
def test_a_network_of_the_hub_is_known_by_its_commit() -> None:
    found = from_hub(REPOSITORY)
    assert (found.name, found.commit, found.fingerprint) == (REPOSITORY, COMMIT, COMMIT)


@pytest.mark.usefixtures("hub")
def test_a_network_of_the_hub_has_the_features_of_the_same_directory(
    bert: Checkpoint, rows_of: Callable[..., Rows]
) -> None:
    rows = rows_of(["the film was good", "slow"])
    here, there = (
        extract(Backbone(checkpoint=one), rows, depths=[3]).features[3] for one in (bert, from_hub(REPOSITORY))
    )
    np.testing.assert_array_equal(here, there)


@pytest.mark.usefixtures("hub")
def test_only_what_is_needed_is_downloaded() -> None:
    names = {file.name for file in from_hub(REPOSITORY).path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert names.isdisjoint({"modeling_own.py", "model.onnx"})


@pytest.mark.usefixtures("hub")
def test_chat_templates_are_downloaded() -> None:
    path = from_hub(REPOSITORY).path
    assert (path / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (path / "additional_chat_templates" / "tools.jinja").read_text() == "{{ tools }}"


@pytest.mark.usefixtures("hub")
def test_code_is_downloaded_where_it_may_run() -> None:
    assert (from_hub(REPOSITORY, remote_code=True).path / "modeling_own.py").is_file()


def test_weights_that_are_only_pickled_are_not_downloaded(hub: type[Hub]) -> None:
    hub.files = {"pytorch_model.bin" if n == "model.safetensors" else n: f for n, f in hub.files.items()}
    with pytest.raises(InputError, match=r"found no weights, expected \*\.safetensors"):
        from_hub(REPOSITORY)


def test_weights_that_are_only_pickled_are_refused_by_name(families: Mapping[str, Path], tmp_path: Path) -> None:
    """A pickle can run code when it is read."""
    path = shutil.copytree(families["bert"], tmp_path / "pickled")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"found weights only as a pickle \(pytorch_model\.bin\)"):
        from_directory(path)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("revision", [None, "main"])
def test_what_was_downloaded_is_found_again_offline(monkeypatch: pytest.MonkeyPatch, revision: str | None) -> None:
    before = from_hub(REPOSITORY, revision=revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert from_hub(REPOSITORY, revision=revision) == before


@pytest.mark.usefixtures("hub")
def test_what_was_downloaded_is_found_again_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    before = from_hub(REPOSITORY)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(monkeypatch, closed.getsockname())
    assert from_hub(REPOSITORY) == before


@pytest.mark.usefixtures("hub")
def test_a_name_that_the_hub_does_not_know_is_said_to_be_none() -> None:
    with pytest.raises(InputError, match=r"^someone/else: the Hub has no such model"):
        from_hub("someone/else")


@pytest.mark.usefixtures("hub")
def test_a_revision_that_the_hub_does_not_know_is_named() -> None:
    with pytest.raises(InputError, match="no such model at revision 'v9'"):
        from_hub(REPOSITORY, revision="v9")


def one_line_on_what_to_do(error: InputError) -> bool:
    """Name, cause and the command that helps."""
    line = str(error)
    return line.isprintable() and line.startswith(f"{REPOSITORY}: ") and f"hf download {REPOSITORY} --local-dir" in line


@pytest.mark.usefixtures("cache", "no_sockets")
def test_offline_mode_says_what_to_do_and_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        from_hub(REPOSITORY)
    assert one_line_on_what_to_do(caught.value)


@pytest.mark.usefixtures("cache")
def test_a_refused_connection_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(monkeypatch, closed.getsockname())
    with pytest.raises(InputError) as caught:
        from_hub(REPOSITORY)
    assert one_line_on_what_to_do(caught.value)


@pytest.mark.usefixtures("cache")
def test_a_hub_that_takes_the_call_and_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit the library waits for ever; the test would not end."""
    monkeypatch.setattr(checkpoints, "HUB_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        point_to(monkeypatch, silent.getsockname())
        with pytest.raises(InputError) as caught:
            from_hub(REPOSITORY)
    assert one_line_on_what_to_do(caught.value)
