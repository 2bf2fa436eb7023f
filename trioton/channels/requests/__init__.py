"""Requests: one side asks, the other runs a handler and answers.

* ``future``: one request, as its requester holds it.
* ``desk``: all requests of a context on one slot, and the repliers they go to.
* ``requester``: `ReqChannel`, with its streams in ``stream``.
* ``service``: all that a context answers on one slot, and who asks.
* ``replier``: `RepChannel`; ``handlers``: what it lets others call, and how.
"""
