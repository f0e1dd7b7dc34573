"""The deduplication memory of tasks: one claim in Redis for each hash that a task triggers, or has.

A claim is *pending* while its DAG run is being made, and *confirmed* once the run exists. Only a
confirmed claim makes duplicates; each of them slides it to now plus its window. A pending claim
belongs to the run that it names: whoever will make the same run may take it again, everybody else
waits. It turns *stale* when its owner has had long enough; then it may be taken over, if the run that
it names doesn't exist. Redis's own clock counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from airflow_incoming.stores.redis_connection import ask

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

#: Longer than Airflow's client tries to reach the API server, so that no claim is lost by being slow.
PENDING = timedelta(minutes=10)

ClaimState = Literal["taken", "kept", "confirmed", "pending", "stale"]

# KEYS: the claim. ARGV: DAG, run, window and time to be pending in ms, the run to take over from.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'dag', 'run', 'until')
if held[2] then
    local confirmed = held[3] == '0'
    if confirmed then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
    if held[2] ~= ARGV[2] then
        if confirmed then return {'confirmed', held[1], held[2]} end
        if now < tonumber(held[3]) then return {'pending', held[1], held[2]} end
        if held[2] ~= ARGV[5] then return {'stale', held[1], held[2]} end
    elseif confirmed then
        return {'kept', held[1], held[2]}
    end
end
redis.call('HSET', KEYS[1], 'dag', ARGV[1], 'run', ARGV[2], 'until', string.format('%d', now + ARGV[4]))
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[3]), tonumber(ARGV[4])))
return {'taken', ARGV[1], ARGV[2]}
"""

# KEYS: the claim. ARGV: run, window in ms.
_CONFIRM = """
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', '0')
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: the claim. ARGV: run.
_RELEASE = """
local held = redis.call('HMGET', KEYS[1], 'run', 'until')
if held[1] ~= ARGV[1] or held[2] == '0' then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The DAG run that a hash stands for, and how the claim is held.

    ``taken``: it is ours and pending, trigger; ``kept``: it was ours and confirmed already.
    ``confirmed``, ``pending``, ``stale``: it is that of another run, the one that is named.
    """

    state: ClaimState
    dag_id: str
    run_id: str

    @property
    def is_ours(self) -> bool:
        """Tell whether the claim is held for the run that asked."""
        return self.state in ("taken", "kept")


class Claims:
    """One Redis hash per claim, ``<prefix>:claim:<hash>``. Every verb raises RedisUnavailable."""

    def __init__(self, client: Client, *, prefix: str, pending: timedelta = PENDING) -> None:
        self._client = client
        self._prefix = f"{prefix}:claim:"
        self._pending = pending

    def take(self, hash_: str, *, dag_id: str, run_id: str, window: timedelta, instead_of: str = "") -> Claim:
        """Claim a hash for a DAG run, unless it is another run's; one round trip, decided in Redis.

        A confirmed claim slides to now plus ``window``, whoever asks. ``instead_of`` is the run of a
        stale claim that may be taken over.
        """
        durations = _milliseconds(window), _milliseconds(self._pending)
        answer = self._call(_TAKE, hash_, (dag_id, run_id, *durations, instead_of))
        state, held_dag, held_run = (part.decode() for part in answer)
        return Claim(state=cast("ClaimState", state), dag_id=held_dag, run_id=held_run)

    def confirm(self, hash_: str, *, run_id: str, window: timedelta) -> bool:
        """Remember for ``window`` that this run exists; False where the claim isn't this run's any more."""
        return bool(self._call(_CONFIRM, hash_, [run_id, _milliseconds(window)]))

    def release(self, hash_: str, *, run_id: str) -> bool:
        """Give a pending claim back; False where it is confirmed, or isn't this run's."""
        return bool(self._call(_RELEASE, hash_, [run_id]))

    def _call(self, script: str, hash_: str, arguments: Sequence[str | int]) -> Any:
        (answer,) = ask(self._client, [("EVAL", script, 1, self._prefix + hash_, *arguments)])
        return answer


def _milliseconds(duration: timedelta) -> int:
    return max(1, int(duration.total_seconds() * 1000))
