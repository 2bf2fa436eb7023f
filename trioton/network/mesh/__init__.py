"""The mesh: contexts that are not neighbours reach each other through those between them.

* ``mesh``: makes the rooms and joins them.
* ``flooding``: the records that every context tells of itself, and passes on of all others.
* ``membership``: who can be reached, who joins and who is gone, and which way leads to whom.
* ``relays``: passes on what is for others.
* ``routed``: the way to a context that is no neighbour.
* ``watch``: asks again where an answer should have come and has not.
"""
