"""The command of a task in an image that has Python and nothing of ours (`--bootstrap`).

It installs the pinned runtime into a folder of its own and becomes it; the node's packages are then the
runtime's affair, as in every image. One fixed script: what to install comes through the environment, so
that the command is the same in every task and a reader of the YAML (the local engine) can tell it from any
other by comparing.
"""

from __future__ import annotations

SCRIPT = """\
import os, subprocess, sys, tempfile
site = tempfile.mkdtemp(prefix="grandpa-site-")
hidden = ("GRANDPA_STORE_", "GRANDPA_CODE")
env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
if env.get("GRANDPA_INDEX_URL"):
    env["PIP_INDEX_URL"] = os.path.expandvars(env["GRANDPA_INDEX_URL"])
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check"]
done = subprocess.run(pip + ["--target", site, env["GRANDPA_RUNTIME"]], env=env, stdout=sys.stderr)
if done.returncode:
    sys.exit("grandpa: pip could not install " + env["GRANDPA_RUNTIME"] + "; see above")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
os.execv(sys.executable, [sys.executable, "-m", "grandpa_kfp_runtime"] + sys.argv[1:])
"""

_FIND_PYTHON = 'command -v python >/dev/null && exec python -c "$0" "$@"; exec python3 -c "$0" "$@"'
"""Not every image with Python calls it `python`. No `$(` and no `$$`, which Kubernetes replaces."""

BOOTSTRAP_COMMAND = ("sh", "-c", _FIND_PYTHON, SCRIPT)


def runtime_requirement(version: str) -> str:
    """What pip is to install first.

    >>> runtime_requirement("0.1.0")
    'grandpa-kfp==0.1.0'
    """
    return f"grandpa-kfp=={version}"
