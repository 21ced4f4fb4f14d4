"""Code that changed is described otherwise, whatever it is reached by; what a key cannot see is refused."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods.method import WithLoss
from oversight.resolve.methods import load_method

Files = Mapping[str, str]
Fresh = Callable[..., str]

PLAIN = "def loss(logits, targets, *, progress):\n    return {} * logits.mean()\n"


@pytest.fixture(params=["named as a file", "imported"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fresh]:
    """The description of `own.py:loss`, as a new process would give it.

    Both ways, since a file's own name as a module changed with any edit of it, which hid what was missed.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("method_") or str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        importlib.invalidate_caches()

    def describing(files: Files, name: str = "loss") -> str:
        forget()
        for place, text in files.items():
            (tmp_path / place).parent.mkdir(exist_ok=True)
            (tmp_path / place).write_text(text)
        if request.param == "imported":
            own: Any = getattr(importlib.import_module("own"), name)
            method = WithLoss(own) if name == "loss" else own()
        else:
            _, method = load_method(f"own.py:{name}")
        return json.dumps(describe(method), sort_keys=True, allow_nan=False)

    yield describing
    forget()


def own(before: str, *, body: str, after: str = "") -> str:
    return f"{before}\n\ndef loss(logits, targets, *, progress):\n    {body}\n\n{after}\n"


HELPER = "def helper(x):\n    return {} * x\n"
WRAPPER = """
import functools
def wrapped(function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        return {} * function(*args, **kwargs)
    return run
"""
INSTANCE = """
import functools
class Wrapped:
    def __init__(self, function, scale={}):
        functools.update_wrapper(self, function)
        self.function, self.scale = function, scale
    def __call__(self, *args, **kwargs):
        return self.scale * self.function(*args, **kwargs)
"""
METHOD = """
from dataclasses import dataclass
from functools import cached_property
from oversight.methods.method import Needs
class Base:
    inherited = {base}
    def factor(self):
        return {factor}
@dataclass(frozen=True)
class Own(Base):
    needs = Needs()
    share: float = 0.5
    @property
    def double(self):
        return {double} * self.share
    @cached_property
    def kept(self):
        return {kept}
    @staticmethod
    def still(x):
        return {still} * x
    def train(self, student, data, *, seed):
        return student.fit(data.rows, data.only, seed=seed)
"""
PLANS: dict[str, str] = {"base": "1", "factor": "1", "double": "2", "kept": "3", "still": "4"}

# What is edited, as (files before, what replaces what in which file).
EDITED: dict[str, tuple[Files, str, str, str]] = {
    "a helper in the file": (
        {"own.py": own(HELPER.format(2), body="return helper(logits.mean())")},
        "own.py",
        "2 *",
        "3 *",
    ),
    "a helper of a helper": (
        {"own.py": own(HELPER.format(2) + "def between(x):\n    return helper(x)\n", body="return between(logits)")},
        "own.py",
        "2 *",
        "3 *",
    ),
    "a helper that stands below": (
        {"own.py": own("", body="return helper(logits)", after=HELPER.format(2))},
        "own.py",
        "2 *",
        "3 *",
    ),
    "a module's function": (
        {"own.py": own("import helpers", body="return helpers.helper(logits)"), "helpers.py": HELPER.format(2)},
        "helpers.py",
        "2 *",
        "3 *",
    ),
    "a function from a module": (
        {"own.py": own("from helpers import helper as h", body="return h(logits)"), "helpers.py": HELPER.format(2)},
        "helpers.py",
        "2 *",
        "3 *",
    ),
    "a function of a folder": (
        {
            "own.py": own("import tools.parts", body="return tools.parts.helper(logits)"),
            "tools/__init__.py": "",
            "tools/parts.py": HELPER.format(2),
        },
        "tools/parts.py",
        "2 *",
        "3 *",
    ),
    "a module imported while it runs": (
        {"own.py": own("", body="import helpers as h; return h.helper(logits)"), "helpers.py": HELPER.format(2)},
        "helpers.py",
        "2 *",
        "3 *",
    ),
    "a function imported while it runs": (
        {"own.py": own("", body="from helpers import helper; return helper(logits)"), "helpers.py": HELPER.format(2)},
        "helpers.py",
        "2 *",
        "3 *",
    ),
    "a module under another name": (
        {"own.py": own("import helpers", body="h = helpers; return h.helper(logits)"), "helpers.py": HELPER.format(2)},
        "helpers.py",
        "2 *",
        "3 *",
    ),
    "a constant of a module": (
        {"own.py": own("import settings", body="return settings.SCALE * logits"), "settings.py": "SCALE = 2"},
        "settings.py",
        "2",
        "3",
    ),
    "a constant": ({"own.py": own("SCALE = 2", body="return SCALE * logits")}, "own.py", "2", "3"),
    "a constant within": ({"own.py": own("SCALE = 2", body="return [SCALE * x for x in logits]")}, "own.py", "2", "3"),
    "a dict": ({"own.py": own("OF = {'a': [1, {'b': 2}]}", body="return OF['a'] * logits")}, "own.py", "2", "3"),
    "an array": (
        {"own.py": own("import numpy as np\nOF = np.array([1, 2])", body="return OF * logits")},
        "own.py",
        "2",
        "3",
    ),
    "a tensor": (
        {"own.py": own("import torch\nOF = torch.tensor([1, 2])", body="return OF * logits")},
        "own.py",
        "2",
        "3",
    ),
    "an object of settings": (
        {
            "own.py": own(
                "class Settings:\n    def __init__(self):\n        self.scale = 2\nS = Settings()",
                body="return S.scale * logits",
            )
        },
        "own.py",
        "= 2",
        "= 3",
    ),
    "an enum": (
        {"own.py": own("import enum\nclass E(enum.Enum):\n    A = 2", body="return E.A.value * logits")},
        "own.py",
        "2",
        "3",
    ),
    "what is read from a file at import": (
        {
            "own.py": own("import json\nwith open('of.json') as f: OF = json.load(f)", body="return OF['a'] * logits"),
            "of.json": '{"a": 2}',
        },
        "of.json",
        "2",
        "3",
    ),
    "a wrapper": (
        {"own.py": own(WRAPPER.format(2) + "@wrapped", body="return logits").replace("@wrapped\n\n", "@wrapped\n")},
        "own.py",
        "2 *",
        "3 *",
    ),
    "a function behind a wrapper": (
        {"own.py": own(WRAPPER.format(2) + "@wrapped", body="return 4 * logits").replace("@wrapped\n\n", "@wrapped\n")},
        "own.py",
        "4 *",
        "5 *",
    ),
    "a function behind an instance": (
        {
            "own.py": own(INSTANCE.format(2) + "@Wrapped", body="return 4 * logits").replace(
                "@Wrapped\n\n", "@Wrapped\n"
            )
        },
        "own.py",
        "4 *",
        "5 *",
    ),
    "an instance that wraps": (
        {"own.py": own(INSTANCE.format(2) + "@Wrapped", body="return logits").replace("@Wrapped\n\n", "@Wrapped\n")},
        "own.py",
        "scale=2",
        "scale=3",
    ),
    "a helper behind a decorator of a package": (
        {"own.py": own("import torch\n@torch.no_grad()\n" + HELPER.format(2), body="return helper(logits)")},
        "own.py",
        "2 *",
        "3 *",
    ),
    "a helper that is remembered": (
        {
            "own.py": own(
                "import functools\n@functools.lru_cache\n" + HELPER.format(2), body="return helper(1) * logits"
            )
        },
        "own.py",
        "2 *",
        "3 *",
    ),
    "a partial": (
        {
            "own.py": "import functools\ndef of(logits, targets, *, progress, scale):\n    return scale * logits\n"
            "loss = functools.partial(of, scale=2)\n"
        },
        "own.py",
        "=2",
        "=3",
    ),
    "a closure": (
        {
            "own.py": "def of(scale):\n    def loss(logits, targets, *, progress):\n        return scale * logits\n"
            "    return loss\nloss = of(2)\n"
        },
        "own.py",
        "of(2)",
        "of(3)",
    ),
    "a default": (
        {"own.py": "def loss(logits, targets, *, progress, scale=2):\n    return scale * logits\n"},
        "own.py",
        "=2",
        "=3",
    ),
    "an attribute": ({"own.py": own("", body="return logits", after="loss.classes = 2")}, "own.py", "2", "3"),
    "a replaced call": (
        {
            "own.py": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Loss:\n"
            "    def __call__(self, logits, targets, *, progress):\n        return logits\n"
            "def other(self, logits, targets, *, progress):\n    return 2 * logits\n"
            "Loss.__call__ = other\nloss = Loss()\n"
        },
        "own.py",
        "2 *",
        "3 *",
    ),
    "a call replaced from elsewhere": (
        {
            "own.py": "from loss import Loss\nimport change\nloss = Loss()\n",
            "loss.py": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Loss:\n"
            "    def __call__(self, logits, targets, *, progress):\n        return logits\n",
            "change.py": "from loss import Loss\n"
            "Loss.__call__ = lambda self, logits, targets, *, progress: 2 * logits\n",
        },
        "change.py",
        "2 *",
        "3 *",
    ),
    **{
        f"{what} of a method": ({"own.py": METHOD.format(**PLANS)}, "own.py", *change)
        for what, change in {
            "the base": ("inherited = 1", "inherited = 2"),
            "an inherited function": ("return 1", "return 2"),
            "a property": ("2 * self", "3 * self"),
            "a cached property": ("return 3", "return 4"),
            "a static function": ("4 * x", "5 * x"),
            "a field": ("= 0.5", "= 0.25"),
        }.items()
    },
}


@pytest.mark.parametrize("what", EDITED)
def test_an_edit_of(what: str, fresh: Fresh) -> None:
    """Each would otherwise be answered with the result of the code before; what is not edited is described the same."""
    files, place, old, new = EDITED[what]
    name = "Own" if "class Own" in files["own.py"] else "loss"
    before = fresh(files, name)
    assert fresh(files, name) == before
    assert old in files[place]
    assert fresh({**files, place: files[place].replace(old, new)}, name) != before
    assert fresh(files, name) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("# why", "# another reason"),
        lambda text: text + "\ndef unused(x):\n    return 5 * x\n",
        lambda text: "\n\n" + text,
        lambda text: text.replace("UNUSED = 1", "UNUSED = 2"),
    ],
    ids=["comment", "other function", "lines", "other constant"],
)
def test_an_edit_that_changes_nothing_it_does_is_the_same(change: Callable[[str], str], fresh: Fresh) -> None:
    text = own("UNUSED = 1\n# why\n" + HELPER.format(2), body="return helper(logits)")
    assert fresh({"own.py": text}) == fresh({"own.py": change(text)})


def test_another_function_of_a_module_does_not_count(fresh: Fresh) -> None:
    files = {"own.py": own("import helpers", body="return helpers.helper(logits)"), "helpers.py": HELPER.format(2)}
    assert fresh(files) == fresh({**files, "helpers.py": HELPER.format(2) + "import os\nPLACE = open\n"})


def test_an_environment_variable_read_at_import_counts_by_its_value(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = own("import os\nSCALE = float(os.environ['SCALE'])", body="return SCALE * logits")
    found: list[str] = []
    for scale in ("1", "2", "1"):
        monkeypatch.setenv("SCALE", scale)
        found.append(fresh({"own.py": text}))
    assert found[0] == found[2] != found[1]


def test_functions_that_call_each_other_are_described(fresh: Fresh) -> None:
    text = own(
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\n",
        body="return even(4) and loss",
    )
    assert fresh({"own.py": text}) == fresh({"own.py": text}) != fresh({"own.py": text.replace("n != 0", "n == 0")})


@pytest.mark.parametrize(
    "text",
    [
        own(
            "import torch\nimport logging\nlog = logging.getLogger(__name__)",
            body="log.info('x'); return torch.nn.functional.mse_loss(logits, targets)",
        ),
        own("from torch.nn.functional import cross_entropy as ce", body="return ce(logits, targets)"),
        own(
            "import math, re\nfrom pathlib import Path\nWORD = re.compile('a')",
            body="return math.exp(progress) * len(WORD.findall('a')) * logits",
        ),
        own("import oversight as ov", body="return ov.cross_entropy(logits, targets)"),
        own("import torch", body="return torch.stack([one for one in logits]).sum()"),
        own(
            "import numpy as np\nGEN = {'seed': 1}", body="return np.random.default_rng(GEN['seed']).normal() * logits"
        ),
        own(
            "from typing import Any\nimport torch\nDTYPE = torch.float32\nAny2 = list[Any]",
            body="return logits.to(DTYPE), Any2",
        ),
        own("import torch\nCE = torch.nn.CrossEntropyLoss(label_smoothing=.1)", body="return CE(logits, targets)"),
        own("TABLE = {}\nTABLE['a'] = max", body="return TABLE['a'](logits)"),
        own("import os", body="return len(os.path.join('a', os.path.basename('b/c')) + os.sep) * logits"),
        own("import time, datetime", body="time.sleep(0); return datetime.date(2026, 1, 2).day * logits"),
        own("TABLE = {'a': 1}", body="own = dict(TABLE); own['b'] = 2; own.update(c=3); return len(own) * logits"),
        own("WEIGHTS = [1, 2]", body="x = logits.clone(); x[WEIGHTS[0]] = 0; return x.sum() * WEIGHTS.count(1)"),
    ],
    ids=[
        "logger",
        "package",
        "regex",
        "ours",
        "chain",
        "generator",
        "types",
        "module",
        "builtin",
        "names",
        "a date",
        "a copy",
        "an index",
    ],
)
def test_what_is_commonly_written_is_described(text: str, fresh: Fresh) -> None:
    assert fresh({"own.py": text}) == fresh({"own.py": text})


REFUSED = {
    "environ": own("import os", body="return float(os.environ['A']) * logits"),
    "environ.get": own("import os", body="return float(os.environ.get('A', 1)) * logits"),
    "getenv": own("import os", body="return float(os.getenv('A', '1')) * logits"),
    "from environ": own("from os import environ", body="return float(environ['A']) * logits"),
    "from getenv": own("from os import getenv as g", body="return float(g('A')) * logits"),
    "environ while it runs": own("", body="import os; return float(os.environ['A']) * logits"),
    "environ from while it runs": own("", body="from os import environ as e; return float(e['A']) * logits"),
    "environ in a helper": own("import os\ndef helper(x):\n    return os.environ['A']\n", body="return helper(logits)"),
    "open": own("", body="return float(open('x').read()) * logits"),
    "open within": own("", body="return [float(open(x).read()) for x in 'ab']"),
    "read_text": own("from pathlib import Path", body="return float(Path('x').read_text()) * logits"),
    "a path's open": own("from pathlib import Path", body="return Path('x').open().read()"),
    "numpy": own("import numpy as np", body="return np.load('x.npy') * logits"),
    "numpy under another name": own("from numpy import load", body="return load('x.npy') * logits"),
    "torch": own("import torch", body="return torch.load('x.pt') * logits"),
    "pandas": own("", body="import pandas as pd; return pd.read_csv('x') * logits"),
    "a process": own("import subprocess", body="return subprocess.run(['x'])"),
    "weights": own("from transformers import AutoModel", body="return AutoModel.from_pretrained('x')(logits)"),
    "eval": own("", body="return eval('1') * logits"),
    "its place": own("", body="return len(__file__) * logits"),
    "a counter": own("N = 0", body="global N; N += 1; return N * logits"),
    "a generator": own("import numpy as np\nRNG = np.random.default_rng(0)", body="return RNG.normal() * logits"),
    "a file that is open": own("import io\nF = io.StringIO('1')", body="return F.readline()"),
    "whether a file is there": own("import os", body="return logits if os.path.exists('x') else targets"),
    "exists under another name": own("from os.path import exists as e", body="return logits if e('x') else targets"),
    "what a path is": own("from pathlib import Path", body="return logits if Path('x').is_file() else targets"),
    "a file's size": own("import os", body="return os.stat('x').st_size * logits"),
    "where it is called": own("import os", body="return len(os.getcwd()) * logits"),
    "expandvars": own("import os", body="return float(os.path.expandvars('$A')) * logits"),
    "expanduser while it runs": own("", body="from os.path import expanduser; return len(expanduser('~')) * logits"),
    "modules": own("import sys", body="return sys.modules['helpers'].K * logits"),
    "time": own("import time", body="return time.time() * logits"),
    "a clock under another name": own("from time import perf_counter as t", body="return t() * logits"),
    "today": own("from datetime import date", body="return date.today().day * logits"),
    "now": own("import datetime", body="return datetime.datetime.now().hour * logits"),
    "the machine": own("import platform", body="return len(platform.node()) * logits"),
    "a list that grows": own("SEEN = []", body="SEEN.append(1); return len(SEEN) * logits"),
    "a kept result": own("KEPT = {}", body="KEPT[len(KEPT)] = logits; return len(KEPT) * logits"),
    "a key that is computed": own("KEPT = {}", body="KEPT[str(progress), 1] = logits + 1; return logits"),
    "a kept result deleted": own("KEPT = {'a': 1}", body="del KEPT['a']; return logits"),
    "a lock": own("import threading\nLOCK = threading.Lock()", body="return LOCK"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_key_cannot_see_is_refused_in_one_line(what: str, fresh: Fresh) -> None:
    with pytest.raises(InputError) as caught:
        fresh({"own.py": REFUSED[what]})
    assert "so no stored result could be believed" in str(caught.value) and str(caught.value).isprintable()
    assert str(caught.value).startswith("WithLoss -> loss")


SAID = """
import os
from dataclasses import dataclass
from oversight.methods.method import Needs
@dataclass(frozen=True)
class Own:
    needs = Needs()
    def identity(self):
        return {"scale": os.environ["SCALE"]}
    def train(self, student, data, *, seed):
        return float(os.environ["SCALE"])
"""


def test_an_object_that_says_what_it_read_is_taken_at_its_word(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code counts all the same."""
    found: list[str] = []
    for scale, text in (("1", SAID), ("2", SAID), ("1", SAID), ("1", SAID.replace("float(", "int("))):
        monkeypatch.setenv("SCALE", scale)
        found.append(fresh({"own.py": text}, "Own"))
    assert found[0] == found[2] and len({found[0], found[1], found[3]}) == 3


DESCRIBED = "import json, own; from oversight.describe import describe; print(json.dumps(describe(own.loss)))"


@pytest.fixture
def packaged(tmp_path: Path) -> Callable[..., str]:
    """The description of a loss that calls an installed package, in a process of its own."""
    place = tmp_path / "site-packages"
    (tmp_path / "own.py").write_text(own("from brought import helper", body="return helper(logits)"))

    def describing(factor: int, version: str, *, editable: bool = False) -> str:
        shutil.rmtree(place, ignore_errors=True)
        about = place / f"brought-{version}.dist-info"
        about.mkdir(parents=True)
        (place / "brought").mkdir()
        (place / "brought" / "__init__.py").write_text(HELPER.format(factor))
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: brought\nVersion: {version}\n")
        (about / "RECORD").write_text("brought/__init__.py,,\n")
        if editable:
            (about / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
        paths = [str(place), str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        words = [sys.executable, "-c", DESCRIBED]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    return describing


def test_an_installed_package_counts_by_its_version_and_an_editable_one_by_its_code(
    packaged: Callable[..., str],
) -> None:
    assert packaged(2, "1.0") == packaged(3, "1.0") != packaged(2, "1.1")
    first, edited = (packaged(factor, "1.0", editable=True) for factor in (2, 3))
    assert first != edited and first == packaged(2, "1.1", editable=True)
