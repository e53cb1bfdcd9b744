"""Python's cyclic garbage collector and graphs.

Recording makes millions of small objects that live long and form no cycles; with the default
thresholds the collector walks them over and over (measured: a third of the time of a loop that
evaluates only at its end).  The thresholds are raised once, unless the user chose others.
"""

from __future__ import annotations

import gc

_RAISED = (10_000, 5, 20)
"""With 1000 last, what got old and then became garbage in a cycle (a dropped compiled function)
practically stayed; 20 costs that loop nothing, for Python waits until a quarter is new."""


def calm() -> None:
    """Collect less often; a user's own thresholds are left as they are."""
    if gc.isenabled() and 0 < gc.get_threshold()[0] <= 2_000:
        gc.set_threshold(*_RAISED)
