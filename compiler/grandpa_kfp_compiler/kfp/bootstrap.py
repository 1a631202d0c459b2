"""The command of a task in an image that has Python and nothing of ours (`--bootstrap`).

It installs the pinned runtime and the node's packages into a folder of its own and becomes the runtime.
One fixed script: what to install comes through the environment, so that the command is the same in every
task and a reader of the YAML (the local engine) can tell it from any other by comparing.
"""

from __future__ import annotations

from collections.abc import Sequence

SCRIPT = """\
import json, os, subprocess, sys, tempfile
site = tempfile.mkdtemp(prefix="grandpa-site-")
env = {name: value for name, value in os.environ.items() if not name.startswith("GRANDPA_STORE_")}
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--target", site]
done = subprocess.run(pip + json.loads(os.environ["GRANDPA_PACKAGES"]), env=env, stdout=sys.stderr)
if done.returncode:
    sys.exit("grandpa: pip could not install what the node needs; see above")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
os.execv(sys.executable, [sys.executable, "-m", "grandpa_kfp_runtime"] + sys.argv[1:])
"""

_FIND_PYTHON = 'command -v python >/dev/null && exec python -c "$0" "$@"; exec python3 -c "$0" "$@"'
"""Not every image with Python calls it `python`. No `$(` and no `$$`, which Kubernetes replaces."""

BOOTSTRAP_COMMAND = ("sh", "-c", _FIND_PYTHON, SCRIPT)


def requirements(version: str, packages: Sequence[str]) -> list[str]:
    """What pip is to install: this version of the runtime, and the node's packages.

    >>> requirements("0.1.0", ["scikit-learn==1.5.0", "numpy"])
    ['grandpa-kfp==0.1.0', 'numpy', 'scikit-learn==1.5.0']
    """
    return [f"grandpa-kfp=={version}", *sorted(packages)]
