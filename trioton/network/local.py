"""What stands where a link would, for what a context sends to its own subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..protocol.packages import PackageHeader, PackageKind

if TYPE_CHECKING:
    from ..protocol.flow import Branch, SendFlow
    from ..protocol.packages import Package
    from .reception import Reception

LOCAL: Final = "local"
"""The key of the branch that leads to the subscriptions of the context itself."""


class LocalOutbox:
    """Stands where a link's outbox would: packages go straight to the context's own subscriptions."""

    links_lost = 0

    def __init__(self, reception: Reception, source: bytes) -> None:
        self._reception = reception
        self._source = source

    def add_package(self, _branch: Branch, package: Package, flow: SendFlow) -> None:
        """Deliver a package."""
        header = PackageHeader(
            PackageKind.PUBLISH, self._source, flow.stream, package.first, flow.slot, package.count, None
        )
        self._reception.local_package(header, b"".join(package.body), is_last=package.is_last)

    def remove_branch(self, branch: Branch) -> None:
        """Nothing ever waits here."""
