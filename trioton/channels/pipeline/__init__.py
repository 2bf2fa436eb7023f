"""Pipelines: one side pushes jobs, the other pulls them; each job is done by one of those who ask for it.

* ``desk``: all jobs that a context pushes on one slot, and the contexts that they go to.
* ``push``: `PushChannel`.
* ``intake``: all jobs that a context pulls on one slot, who asks for them, and whose they are.
* ``pull``: `PullChannel`.
"""
