"""Two loops in two threads encode at the same time: what leaves with a message of one is no affair of the other."""

from __future__ import annotations

import threading

from trioton.channels import references


def test_each_thread_has_its_own_message() -> None:
    seen: list[object] = []
    references.forget_leaving()
    references.leaving.ends.append("ours")  # type: ignore[arg-type]  # anything will do
    thread = threading.Thread(target=lambda: seen.append(references.take_leaving()))
    thread.start()
    thread.join()
    assert seen == [[]]
    assert references.take_leaving() == ["ours"]
    assert references.take_leaving() == []
