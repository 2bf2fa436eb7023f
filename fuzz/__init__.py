"""Bytes from people who mean harm: targets, a corpus that is kept, and two ways to search for what breaks them.

A *target* is a plain function of some bytes. It gives them to a part of Trioton as a peer would, and raises what should never be raised, or
`Violation` if something is not as promised. ``python -m fuzz --help`` says how to run them; CONTRIBUTING.md says what for.
"""
