"""The search: which trials to run, when to stop them, where they run, and what is kept of it."""
