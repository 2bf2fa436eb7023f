"""The protocol, without any I/O, clock or chance.

Bytes go in, events come out; decisions come back as data and are carried out by `trioton.network`. Where time matters it is an
argument, where chance matters it is handed in. So everything here is tested byte by byte, by plain functions.

How a message travels through these modules::

    values    a value becomes CBOR                                   a run becomes values again        values, scan
    flow      it gets a number, and gathers with others              it waits, under its policy        inbox
    packages  the run gets a header                                  what came twice is removed        inbox
    outbox    it waits for its link, and leaves in frames            frames become events              session
    frames    the frames' prefixes                                   bytes become frames               frames

`codec` has what all of them need of CBOR, and the messages that are strings. `window` and `flow` are the two ends of back-pressure: the one shares out room, the other keeps within it. `control` has the short
frames in which they speak, `handshake` those before all others. `heartbeat`, `backoff`, `policies`, `limits` and `identity` are
what their names say.

What a context knows of others than its neighbours::

    records    what each tells all others of itself, as bytes        interests   what all listen to, in whatever order that is heard
    trees      which contexts are linked, and how each reaches all   topology    all of this together: who there is, and the next step

`way` is what those behind one neighbour share of a flow, and `routed` has the frames in which contexts speak that are no neighbours.
"""
