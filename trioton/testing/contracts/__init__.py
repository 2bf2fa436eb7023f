"""Checks of the contracts that transports, channels and message types keep, for those who write their own.

They are in the spirit of `trio.testing.check_half_closeable_stream`: each takes something that makes what is to be checked, and raises
an `AssertionError` that names the rule which was broken.
"""
