"""What `packages=` asks for against what this environment has, before a run in it starts.

Tasks of the local engine use the packages that are here, whatever they ask for; only tasks of a compiled
pipeline install anything. `execute.py` calls it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from grandpa_kfp_compiler.graph import Call
from grandpa_kfp_compiler.verify.faults import place_of
from grandpa_kfp_runtime.errors import PackagesError


def check_packages(calls: Sequence[Call], tell: Callable[[str], None]) -> None:
    """Tells which packages are here in another version; raises PackagesError naming all that are not here."""
    first: dict[str, Call] = {}
    for call in calls:
        for requirement in call.options.packages or ():
            first.setdefault(requirement, call)
    if not first:
        return
    from grandpa_kfp_runtime.code.requirements import unmet

    missing = []
    for item in unmet(list(first), deep=False):
        place = place_of(first[item.requirement])
        if item.version:
            tell(f"{place}: it asks for {item.requirement}, and runs here with {item.name} {item.version}")
        else:
            missing.append((place, item.requirement.partition(" --hash")[0]))
    if missing:
        told = "\n".join(f"{place}: it asks for {name}, which is not installed here" for place, name in missing)
        names = " ".join(shlex.quote(name) for _, name in missing)
        raise PackagesError(f"{told}\ninstall them, `pip install {names}`, or run the compiled YAML, whose tasks do")
