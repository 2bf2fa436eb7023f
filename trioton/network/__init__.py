"""The Trio tasks that own everything: contexts, connections, listeners, and the events they tell of.

The context:

* ``opening``: the block that owns a context.
* ``context``: the context as programs see it, and the nurseries of its tasks.
* ``neighbours``: which connections it has; what is told and forgotten when they come and go.
* ``associations``, ``association``: what it has to do with each other context, over whichever way; ``mesh`` has the rooms of what lies
  beyond neighbours.
* ``traffic``: what it sends and receives; its rooms are in ``sending`` and ``receiving``, with ``interest`` and ``local`` between them.
* ``events``: what it tells of its network.
* ``heart``: the heartbeats of all its links.

How a connection comes to be:

* ``listener``: somebody comes to an address of ours.
* ``dialling``: we dial somebody, and dial again.
* ``establish``: the handshake, on either end.

A connection:

* ``connection``: the connection as programs see it, and what the rest of the context uses of it.
* ``life``: the task that owns it: one link after the other, until the end. ``states`` has the names of where it stands.
* ``link``: one transport, read and written.
* ``resuming``: how it gets the next transport, and how one that its client has given up is known.
* ``trust``: how far the peer is trusted over a link, and what it is granted if it is not.
* ``guard``: takes out what such a peer may not, before anything else hears of it. ``denials`` hears what others refuse to us.
* ``talk``: how the talk over a link begins, and who hears what the peer says. ``flow_talk`` checks what it says about flows.
* ``goodbye``: how it ends in good order.

Small things that others use: ``arguments`` (wrong ones are named), ``cancellation``, ``pace`` (how often tasks yield), ``peer`` (who is
at the other end), ``statistics``.
"""
