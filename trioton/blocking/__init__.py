"""The same contexts and channels for code that is not async: plain threads, scripts, and the interactive interpreter.

What is here has the names of `trioton`, without ``await``, and means the same::

    import trioton.blocking

    with trioton.blocking.open_context("ann") as ctx:
        ctx.connect("localhost:9000")
        pub = trioton.blocking.PubChannel(ctx, "chat")
        pub.send("hello")
        for message in trioton.blocking.SubChannel(ctx, "answers"):
            print(message)

One rule stands in the place of cancel scopes: each call that may wait takes ``timeout``, in seconds. If that has gone by it raises
`TimeoutError`, and has done nothing. Without it, or with None, it waits for ever; with 0 it does not wait.

Any thread may use all of it at any time. Ctrl-C in the main thread ends whatever waits there with `KeyboardInterrupt`, and leaves
everything as a timeout does. What was made before a fork raises `ForkedError` in the child.
"""

from __future__ import annotations

from .connection import Connection as Connection
from .connection import Listener as Listener
from .context import Context as Context
from .context import open_context as open_context
from .portal import ForkedError as ForkedError
from .pulling import PullChannel as PullChannel
from .pushing import PushChannel as PushChannel
from .receiving import EventStream as EventStream
from .receiving import Merge as Merge
from .receiving import Receiver as Receiver
from .receiving import SubChannel as SubChannel
from .receiving import merge as merge
from .replying import RepChannel as RepChannel
from .requesting import Future as Future
from .requesting import ReqChannel as ReqChannel
from .requesting import RequestTarget as RequestTarget
from .requesting import ResultStream as ResultStream
from .sending import PubChannel as PubChannel
from .sending import Sender as Sender
from .sending import open_channel as open_channel
from .state import StateChannel as StateChannel
