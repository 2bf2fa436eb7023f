"""Benchmarks: Trioton beside its peers, in one run, always across two processes and through public APIs only.

``python -m benchmarks`` runs everything; ``--help`` names the options. How it is built:

* `benchmarks.cases` says what is measured and of whom, `benchmarks.goals` what Trioton is held to;
* `benchmarks.runner` starts the processes of one library, tells them what to do and ends them in any case;
* `benchmarks.worker` is what runs in such a process, and ``benchmarks/peers/`` has one file a library;
* `benchmarks.report` and `benchmarks.plot` make the tables and the picture.

A machine's speed drifts while a run lasts, so the libraries take turns in several rounds, figures are medians over the
rounds, and ratios are medians of the ratios within each round.
"""
