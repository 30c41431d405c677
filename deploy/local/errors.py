"""What can keep a developer's machine from being set up."""


class Unusable(Exception):
    """The server at this address will not do; the message says why."""


class SetupFailed(Exception):
    """There is nothing left to try; the message says what to do or where to look."""
