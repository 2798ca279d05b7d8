"""``task`` and ``flow`` as Prefect's, but no exception leaves them with a secret in its text.

What leaves a task or a flow is written into states, events, logs and stored results, where others read it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import prefect
from prefect.utilities.hashing import file_hash

from dda_core.sanitised_errors import without_secrets

Decorator = TypeVar("Decorator", bound=Callable[..., Any])
Function = TypeVar("Function", bound=Callable[..., Any])


def hiding_secrets(function: Function) -> Function:
    """The function, whose exceptions leave it without secrets."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def hiding(*args: Any, **options: Any) -> Any:
            try:
                return await function(*args, **options)
            except Exception as error:
                clean = without_secrets(error)
            # Not from inside the block, which would make the error its own context.
            raise clean
    else:

        @wraps(function)
        def hiding(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except Exception as error:
                clean = without_secrets(error)
            # Not from inside the block, which would make the error its own context.
            raise clean

    return cast(Function, hiding)


def _hiding(decorator: Decorator) -> Decorator:
    """Prefect's decorator, which is always given options here, over ``hiding_secrets``."""

    def with_options(**options: Any) -> Callable[[Function], Any]:
        return lambda function: decorator(**options)(hiding_secrets(function))

    return cast(Decorator, with_options)


def _with_version(decorator: Decorator) -> Decorator:
    """The decorator, with the version that Prefect would take from the file of the function itself."""

    def with_options(**options: Any) -> Callable[[Function], Any]:
        return lambda function: decorator(version=file_hash(inspect.getfile(function)), **options)(function)

    return cast(Decorator, with_options)


task = _hiding(prefect.task)
"""``prefect.task``. Prefect looks through the wrapper at the source, so kept results keep their keys."""

flow = _with_version(_hiding(prefect.flow))
"""``prefect.flow``."""
