"""Read a canary as it was stored: what does not have the shape is refused with an exception of its own kind."""

from collections.abc import Mapping
from typing import Any

from reconciler.planning.address import Address
from reconciler.planning.canary.canary import Split
from reconciler.planning.canary.judgement import Counts, Evidence, Trial


def split_from(data: Mapping[str, Any]) -> Split:
    """Return the canary of JSON data. Raises KeyError, TypeError or ValueError if it is none."""
    trial = data["trial"]
    return Split(
        **{
            **data,
            "address": Address(**data["address"]),
            "trial": Trial(
                canary=Counts(**trial["canary"]),
                others=Counts(**trial["others"]),
                failing=_evidence(trial["failing"]),
                slowing=_evidence(trial["slowing"]),
                warm=int(trial["warm"]),
            ),
        }
    )


def _evidence(data: Mapping[str, Any]) -> Evidence:
    return Evidence(stakes=tuple(map(float, data["stakes"])), reserve=float(data["reserve"]), looks=int(data["looks"]))
