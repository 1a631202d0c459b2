"""Containers of other images beside Python nodes: a command as a node, a component file of the kfp SDK as another.

grandpa run samples/containers/pipeline.py -p most=2     needs Docker here, and the kfp SDK, which reads count.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from grandpa_kfp import ContainerNode, Node, Workflow, current, kfp_component, launch

count = kfp_component("count.yaml")


@ContainerNode(
    image="alpine:3",
    command=["sh", "-ec", 'sort "$0" | uniq -c | sort -rn | head -n "$1" | awk "{ print \\$2 }" > "$2"'],
    args=["{words}", "{most}", "{result}"],
)
def most_frequent(words: Path, most: int = 3) -> Annotated[Path, "Dataset"]:
    """The words that occur most often, a line each."""
    raise AssertionError("runs in its container")


@Node
def write(text: str) -> Path:
    """A file with a word in each line."""
    place = current().scratch_dir() / "words.txt"
    place.write_text("\n".join(text.split()) + "\n", encoding="utf-8")
    return place


@Node
def report(words: Path, of: int) -> str:
    """What the containers found, in words; a container's file is a path here, its number a number."""
    return f"{', '.join(words.read_text(encoding='utf-8').split())} of {of} words"


@Workflow
def frequent_words(text: str = "a rose is a rose is a rose", most: int = 2) -> str:
    """The words that a text has most of."""
    words = write(text)
    return report(most_frequent(words, most), count(text=words))


if __name__ == "__main__":
    launch()
