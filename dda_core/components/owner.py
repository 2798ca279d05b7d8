"""Whose a component is: two models whose names give the same component name must not share it unasked.

What decides is the tags of the component's highest version, whatever its state.
"""

from __future__ import annotations

from dda_core.aws.tags import PORTAL_MODEL_NAME_TAG, PORTAL_USE_CASE_TAG, Warn, silent
from dda_core.components.component import ComponentPlan, ComponentVersion
from dda_core.exceptions import ComponentTaken


def is_anothers(plan: ComponentPlan, version: ComponentVersion) -> bool:
    """Whether the version's tags name another model or use case than the plan. A tag that is missing names none."""
    friendly = plan.friendly_name
    ours = {plan.model_name, friendly, friendly.removesuffix(f" ({plan.target.name})"), plan.base}
    use_case, model = version.tags.get(PORTAL_USE_CASE_TAG), version.tags.get(PORTAL_MODEL_NAME_TAG)
    return (use_case or plan.usecase_id) != plan.usecase_id or (model or plan.model_name) not in ours


def may_share(plan: ComponentPlan, version: ComponentVersion) -> bool:
    """Whether the plan may go on with the version: it is no other model's, or the caller gave the component's name."""
    return plan.name_given or not is_anothers(plan, version)


def check_owner(plan: ComponentPlan, highest: ComponentVersion, warn: Warn = silent) -> None:
    """Do nothing where the plan may add a version; ``warn`` is told where the tags do not say whose the component is.

    Raises:
        ComponentTaken: the component is another model's.
    """
    if plan.name_given:
        return
    if is_anothers(plan, highest):
        raise ComponentTaken(
            plan.component,
            highest.version,
            base=plan.base,
            model=plan.model_name,
            use_case=plan.usecase_id,
            other_model=highest.tags.get(PORTAL_MODEL_NAME_TAG),
            other_use_case=highest.tags.get(PORTAL_USE_CASE_TAG),
        )
    if missing := [tag for tag in (PORTAL_USE_CASE_TAG, PORTAL_MODEL_NAME_TAG) if not highest.tags.get(tag)]:
        warn(
            f"{plan.component} {highest.version} has no tag {' and '.join(missing)}: it is taken for one of model "
            f"{plan.model_name!r} of use case {plan.usecase_id!r}. Give another component_name if it is not."
        )
