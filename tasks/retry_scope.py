"""The scope of a retry: which targets the run may do, from its tags, which are read once and then removed."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.cache_policies import DEFAULT
from pydantic import BaseModel, ConfigDict

from tasks.decorators import task
from tasks.run import current_run
from tasks.store.tags import tags_of

RETRY = "retry:"
"""``retry:<target>`` names a target; ``retry:force`` forces compilation."""
FORCE = "force"


class RetryOrder(BaseModel):
    """What a retry does: the named targets (if none, every failed one); ``force`` compiles them again."""

    model_config = ConfigDict(frozen=True)

    targets: tuple[str, ...] = ()
    force: bool = False

    def leaves_alone(self, target: str) -> bool:
        """Whether a failed target is out of scope."""
        return bool(self.targets) and target not in self.targets


def retry_tags(targets: Iterable[str], *, force: bool) -> list[str]:
    """The tags that tell a run what to retry."""
    return [f"{RETRY}{word}" for word in (*targets, *([FORCE] if force else []))]


def order_of(tags: Iterable[str]) -> RetryOrder:
    """The scope that a run's tags describe."""
    words = [tag.removeprefix(RETRY) for tag in tags if tag.startswith(RETRY)]
    return RetryOrder(targets=tuple(word for word in words if word != FORCE), force=FORCE in words)


@task(name="read-retry-order", task_run_name="read what to do again", cache_policy=DEFAULT, persist_result=True)
async def read_retry_order(retry: int) -> RetryOrder:
    """The scope of this ``retry`` from the run's tags. Persisted, because a restart no longer has the tags."""
    return order_of(await tags_of(current_run().flow_run_id))
