"""The worker processes of one run or of many: started when there is work, kept as long as their owner wants them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import Code, Graph

from ..cancelling import deaf_to_ctrl_c
from ..scratch import Scratch
from .hands import Hand, stop
from .memory import Memory, default_limit_bytes
from .speeds import Speeds


class Crew:
    """processes: at most so many; threads: tasks at once in each; memory_bytes: of values between them, by default
    half of the machine's.

    `close`, the last reference's end or the program's ends the processes.
    """

    def __init__(self, processes: int, threads: int = 1, memory_bytes: int | None = None) -> None:
        self.processes = processes
        self.threads = threads
        self.hands: list[Hand] = []
        self.speeds = Speeds()
        scratch = self._scratch = Scratch()
        self._started = 0
        self._codes: set[str] = set()
        self._folder = ""
        self._known: dict[str, Any] = {}
        self.memory = Memory(memory_bytes or default_limit_bytes(), lambda: scratch.folder("memory"))
        weakref.finalize(self, _end_own, os.getpid(), self.hands, self.memory, scratch)

    def _knows(self, nodes: Mapping[str, Any]) -> bool:
        """Whether the workers have the code of these nodes (key to function or class) already, as it is now."""
        return bool(self._known) and all(
            not key.startswith("value:") and self._known.get(key) is target for key, target in nodes.items()
        )

    def _learn(self, code: Code, nodes: Mapping[str, Any]) -> None:
        """The code of the next run. Workers get it besides what they have; where the two differ in a module or file,
        they are ended. Raises PayloadError."""
        if code.sha256 in self._codes:
            self._known.update(nodes)
            return
        from grandpa_kfp_runtime.code.loader import add_members, unpack

        folder = self._scratch.folder(f"code-{code.sha256[:16]}")
        unpack(code.zip, code.sha256, folder)
        if self.hands and add_members(folder, Path(self._folder)):
            self._codes.add(code.sha256)
            self._known.update(nodes)
            return
        _dismiss(self.hands)
        self._codes, self._folder, self._known = {code.sha256}, str(folder), dict(nodes)

    def prepare(self, graph: Graph, root: Path | None) -> Graph:
        """The graph as workers know it, its code within their reach. Raises PayloadError."""
        if graph.code is None:
            nodes = {key: node.target for key, node in graph.nodes().items()}
            if self._knows(nodes):
                return graph
            from ...packing import pack

            packed = pack(graph, root=root)
            assert packed.code is not None
            self._learn(packed.code, nodes)
            return packed
        self._learn(graph.code, {})
        return graph

    def start(self) -> Hand:
        """One more process."""
        self._started += 1
        hand = Hand(self._started, self._folder, self.threads)
        self.hands.append(hand)
        return hand

    def lose(self, hand: Hand) -> int:
        """A process is gone, or is ended now; its exit code."""
        self.hands.remove(hand)
        code = hand.close(gently=False)
        self.memory.reader_gone(hand.number)
        return code

    def end_run(self) -> None:
        """What still works is asked to end, and killed when it does not; who has nothing to do stays for the next run.

        Ctrl-C meanwhile kills it at once.
        """
        left = [hand for hand in self.hands if hand.busy or hand.blocked]
        try:
            stop(left)
        finally:
            with deaf_to_ctrl_c():
                for hand in left:
                    self.lose(hand)
                self.memory.clear()

    def close(self) -> None:
        """No process, no memory, no file is left when this returns. What comes later starts anew."""
        _end(self.hands, self.memory, self._scratch)
        self._codes, self._known = set(), {}


def _end_own(process: int, hands: list[Hand], memory: Memory, scratch: Scratch) -> None:
    """At the end of the process that has the crew, not of a fork of it."""
    if os.getpid() == process:
        _end(hands, memory, scratch)


def _end(hands: list[Hand], memory: Memory, scratch: Scratch) -> None:
    _dismiss(hands)
    memory.close()
    scratch.close()


def _dismiss(hands: list[Hand]) -> None:
    for hand in hands:
        hand.ask_to_end()
    for hand in hands:
        hand.close(gently=True)
    hands.clear()
