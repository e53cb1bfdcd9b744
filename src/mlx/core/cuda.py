"""CUDA devices: none yet."""


def is_available() -> bool:
    """Whether a CUDA device can be used.

    >>> is_available()
    False
    """
    return False


__all__ = ["is_available"]
