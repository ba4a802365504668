"""Laws are tried on the same values everywhere, so that a red run is red again on the next machine."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=200, database=None)
settings.load_profile("repeatable")
