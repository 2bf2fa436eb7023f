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
"""
