"""What a key cannot see: the environment, files, the network, the clock, the machine, and code that is put together
while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

ENVIRONMENT, FILE, NETWORK, UNSEEN = "the environment", "a file", "the network", "code that is not to be seen"
CLOCK, MACHINE = "the clock", "the machine"

BUILTINS: Mapping[str, str] = {
    **dict.fromkeys(("open", "input"), FILE),
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "globals"), UNSEEN),
}
# Whose functions all reach out of the process.
MODULES: Mapping[str, str] = {
    **dict.fromkeys(("subprocess", "sqlite3", "shelve", "fileinput", "linecache", "glob", "dotenv"), FILE),
    **dict.fromkeys(("shutil", "tempfile", "inspect", "mmap"), FILE),
    **dict.fromkeys(("socket", "requests", "httpx", "urllib3", "aiohttp", "boto3"), NETWORK),
    **dict.fromkeys(("platform", "getpass", "locale", "psutil"), MACHINE),
}
# The operating system's, of which only names are put together without a look at anything.
SYSTEM = frozenset(["os", "posix", "nt", "posixpath", "ntpath", "genericpath"])
OF_NAMES = """
path join basename dirname split splitext splitdrive splitroot normpath normcase isabs commonpath commonprefix fspath
fsencode fsdecode sep altsep pathsep linesep extsep curdir pardir devnull PathLike error
"""
PURE = frozenset(OF_NAMES.split())
VARIABLES = frozenset(["environ", "environb", "getenv", "getenvb", "expandvars", "expanduser", "get_exec_path"])
ABOUT_IT = frozenset(["cpu_count", "uname", "getpid", "getppid", "getuid", "getlogin", "getloadavg", "name", "sysconf"])
# Of `time` everything but how to wait and to write a time that is given.
TIMELESS = frozenset(["sleep", "struct_time", "strptime", "mktime"])
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
    **dict.fromkeys(("now", "utcnow", "today"), CLOCK),
}
READS = "read_"
# Of whatever object: these names mean the same everywhere.
OF_PATHS = """
read_text read_bytes open exists is_file is_dir is_symlink is_mount iterdir rglob lstat samefile cwd
"""
ATTRIBUTES: Mapping[str, str] = {
    **dict.fromkeys(OF_PATHS.split(), FILE),
    "from_pretrained": NETWORK,
    "expanduser": ENVIRONMENT,
    **dict.fromkeys(("now", "utcnow", "today"), CLOCK),
}


def read_by_name(module: str, name: str) -> str | None:
    """What a name of a module that is not the user's reads; None: nothing that a key cannot see."""
    top = module.partition(".")[0]
    if top in MODULES:
        return MODULES[top]
    if top in SYSTEM:
        return _of_system(name)
    if top == "time":
        return None if not name or name in TIMELESS else CLOCK
    if top == "builtins":
        return BUILTINS.get(name)
    if top == "sys" and name == "modules":
        return UNSEEN
    if name.startswith(READS):
        return FILE
    return FUNCTIONS.get(name)


def _of_system(name: str) -> str | None:
    if name in VARIABLES:
        return ENVIRONMENT
    if name in ABOUT_IT:
        return MACHINE
    return None if not name or name in PURE else FILE


def read_by_object(thing: Any) -> str | None:
    """What a function, or the environment itself, reads."""
    if thing is os.environ or thing is getattr(os, "environb", None):
        return ENVIRONMENT
    name, module = getattr(thing, "__name__", None), getattr(thing, "__module__", None)
    if not callable(thing) or not isinstance(name, str):
        return None
    return read_by_name(module if isinstance(module, str) else "", name)
