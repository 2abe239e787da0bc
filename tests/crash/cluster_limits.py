"""The throttle of a cluster, judged by the times at which its instances have started."""

from __future__ import annotations

from .cluster_judge import rows
from .cluster_project import PERIOD_S

_SLACK_S = 0.5  # between the moment at which an instance may start and the one at which it does, on a busy machine


async def overdrawn(url: str) -> list[str]:
    """Return where instances of `throttled` have started faster than one a period, over any stretch of time.

    Those that a dead node has left behind count at the time when another one has begun them anew, so they are left out.
    """
    found = await rows(
        url,
        "SELECT i.started_at FROM instance i JOIN workflow w ON w.key = i.workflow "
        "WHERE w.name = 'throttled' AND i.recoveries = 0 ORDER BY i.started_at",
    )
    started = [at / 1_000_000 for (at,) in found]
    return overdrafts(started)


def overdrafts(started: list[float]) -> list[str]:
    """Return the stretches of these times, in seconds, that hold more starts than a throttle lets through."""
    faults = []
    lead, lead_since = 0.0, 0  # by how much the starts up to now are ahead of one a period, and since which one
    for number in range(1, len(started)):
        lead += PERIOD_S - (started[number] - started[number - 1])
        if lead <= 0:
            lead, lead_since = 0.0, number
        elif lead > _SLACK_S:
            took_s = started[number] - started[lead_since]
            faults.append(f"{number - lead_since + 1} instances of throttled have started within {took_s:.3f} s")
            lead, lead_since = 0.0, number
    return faults
