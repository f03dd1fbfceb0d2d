"""The one exception of this folder: what is wrong, and what to do about it."""


class Fault(Exception):
    """A message that names the value, the limit and what to do. Commands print it and end with status 1."""
