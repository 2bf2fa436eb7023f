"""Which tests of the documentation pytest runs by itself."""

# They import the programs beside them, and with one of these they fail on purpose: test_snippets.py runs them.
collect_ignore_glob = ["snippets/test_words*.py"]
