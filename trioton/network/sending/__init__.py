"""What a context sends: how messages become packages, who gets them, and what becomes of it.

* ``dispatcher``: messages gather, are cut into packages and written. The path of every message.
* ``outlet``: the sending end of one slot, with the tasks that wait for room there, and its backlog.
* ``outlets``: which outlets there are.
* ``lives``: outlets open, close, end and die.
* ``audience``: what neighbours say about the flows that they get: interest, room, that they are gone.
* ``branches``: what follows from that for the way of one flow to one neighbour, and what the neighbour is told.
* ``progress``: how far the flows have come, for those who flush and close.
* ``congestion``: tells of tasks that wait for room for long.
"""
