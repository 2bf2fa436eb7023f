"""What a context receives: who listens here, what arrives, and how far its sources may send.

* ``reception``: packages are checked and handed to those who listen. The path of every message.
* ``subscription``: the receiving end of one slot for one channel, and which of them there are.
* ``listening``: subscriptions come and go, and neighbours hear of it.
* ``incoming``: the flows that arrive, by slot and source.
* ``grants``: sources ask for room, start, give room back, and want to hear what has been taken.
* ``reports``: sources hear what has been taken and how far they may send.
* ``claims``: who may send on a one-to-one channel.
"""
