"""Transports: bytes in and out, and the only modules of Trioton that touch sockets, pipes or TLS.

``base`` says what a transport, a listener and a network are. ``address`` understands addresses. ``system`` has the
network of the system, which reaches its transports in ``tcp``, ``unix``, ``tls`` and ``memory``; ``stdio`` joins a
process to its child. ``polled`` and ``sockets`` are what the transports over descriptors have in common. ``processes``
tells which processes of this host live.
"""
