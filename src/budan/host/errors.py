"""Why the embedded database does not run; each message is for the person who started us and names the remedy."""


class DatabaseNotStarted(RuntimeError):  # noqa: N818 - says what is wrong, like wire.errors
    """The base of all that `embedded.start` raises: catch this, print it, exit."""


class FolderUnusable(DatabaseNotStarted):
    """A folder that the database's user cannot use."""


class FolderInUse(DatabaseNotStarted):
    """Another server runs on this folder."""


class ClusterFailed(DatabaseNotStarted):
    """The database's files cannot be made, or were made by another version."""


class StartFailed(DatabaseNotStarted):
    """The server ended, or fell silent, before it was ready; the message holds the end of its log."""
