"""The Trio tasks that own everything: contexts, connections, listeners, and the events they tell of."""
