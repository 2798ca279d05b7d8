"""Prefect's ``task`` and ``flow``, with secrets masked in exceptions that leave them.

Such exceptions are written to states, events, logs and stored results, where others read them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import prefect
from prefect.utilities.hashing import file_hash

from dda_core.sanitised_errors import without_secrets

Function = TypeVar("Function", bound=Callable[..., Any])


def hiding_secrets(function: Function) -> Function:
    """The function, wrapped so that its exceptions contain no secrets."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def hiding(*args: Any, **options: Any) -> Any:
            try:
                return await function(*args, **options)
            except Exception as error:
                clean = without_secrets(error)
            # Raised outside the block, which would make the error its own context.
            raise clean
    else:

        @wraps(function)
        def hiding(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except Exception as error:
                clean = without_secrets(error)
            # Raised outside the block, which would make the error its own context.
            raise clean

    return cast(Function, hiding)


def _task(**options: Any) -> Callable[[Function], Any]:
    return lambda function: prefect.task(**options)(hiding_secrets(function))


def _flow(**options: Any) -> Callable[[Function], Any]:
    def decorated(function: Function) -> Any:
        hiding = hiding_secrets(function)
        # Otherwise Prefect would resolve the parameters' types, and the flow's version, in this module.
        cast(Any, hiding).__signature__ = inspect.signature(function, eval_str=True)
        return prefect.flow(version=file_hash(inspect.getfile(function)), **options)(hiding)

    return decorated


if TYPE_CHECKING:
    task, flow = prefect.task, prefect.flow
else:
    # Prefect unwraps a task to hash its source, so persisted results keep their keys.
    task, flow = _task, _flow
