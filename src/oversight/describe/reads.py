"""What a key cannot see: the environment, files, the network, and code that is put together while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

ENVIRONMENT, FILE, NETWORK, UNSEEN = "the environment", "a file", "the network", "code that is not to be seen"

BUILTINS: Mapping[str, str] = {
    **dict.fromkeys(("open", "input"), FILE),
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "globals"), UNSEEN),
}
# Whose functions all reach out of the process.
MODULES: Mapping[str, str] = {
    **dict.fromkeys(("subprocess", "sqlite3", "shelve", "fileinput", "linecache", "glob", "dotenv"), FILE),
    **dict.fromkeys(("socket", "requests", "httpx", "urllib3", "aiohttp", "boto3"), NETWORK),
}
# By name, in whatever module that is not the user's.
FILES = """
open load loadtxt genfromtxt fromfile memmap load_file load_model safe_open load_npz loadmat imread get_data listdir
scandir popen system stdin argv getline getlines
"""
NETWORKS = """
from_pretrained hf_hub_download snapshot_download load_dataset urlopen urlretrieve load_state_dict_from_url
"""
FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(FILES.split(), FILE),
    **dict.fromkeys(NETWORKS.split(), NETWORK),
    **dict.fromkeys(("environ", "environb", "getenv", "getenvb"), ENVIRONMENT),
    "import_module": UNSEEN,
}
READS = "read_"
# Of whatever object: these names mean the same everywhere.
ATTRIBUTES: Mapping[str, str] = {"read_text": FILE, "read_bytes": FILE, "open": FILE, "from_pretrained": NETWORK}


def read_by_name(module: str, name: str) -> str | None:
    """What a name of a module that is not the user's reads; None: nothing that a key cannot see."""
    top = module.partition(".")[0]
    if top in MODULES:
        return MODULES[top]
    if top == "builtins":
        return BUILTINS.get(name)
    if name.startswith(READS):
        return FILE
    return FUNCTIONS.get(name)


def read_by_object(thing: Any) -> str | None:
    """What a function, or the environment itself, reads."""
    if thing is os.environ or thing is getattr(os, "environb", None):
        return ENVIRONMENT
    name, module = getattr(thing, "__name__", None), getattr(thing, "__module__", None)
    if not callable(thing) or not isinstance(name, str):
        return None
    return read_by_name(module if isinstance(module, str) else "", name)
