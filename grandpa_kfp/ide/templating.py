"""The templates, filled. Called by `vscode` and `pycharm`."""

from __future__ import annotations

import json
from typing import Any


def rendered(template: str, **values: Any) -> str:
    """The text of a template of `templates/`. In XML values are escaped; JSON has the filter `json`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("grandpa_kfp.ide"),
        autoescape=lambda name: name is not None and ".xml" in name,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(template).render(**values)
