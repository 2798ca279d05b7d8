"""Who owns a component: two models whose names give the same component name must not share it by accident.

The tags of the component's highest version decide, whatever its state.
"""

from __future__ import annotations

from dda_core.aws.tags import PORTAL_MODEL_NAME_TAG, PORTAL_USE_CASE_TAG, Warn, silent
from dda_core.components.component import ComponentPlan, ComponentVersion
from dda_core.exceptions import ComponentTaken


def belongs_to_other(plan: ComponentPlan, version: ComponentVersion) -> bool:
    """Whether the version's tags name another model or use case than the plan's. Missing tags match."""
    friendly = plan.friendly_name
    ours = {plan.model_name, friendly, friendly.removesuffix(f" ({plan.target.name})"), plan.base}
    use_case, model = version.tags.get(PORTAL_USE_CASE_TAG), version.tags.get(PORTAL_MODEL_NAME_TAG)
    return (use_case or plan.usecase_id) != plan.usecase_id or (model or plan.model_name) not in ours


def may_share(plan: ComponentPlan, version: ComponentVersion) -> bool:
    """Whether the plan may adopt the version: it has the same owner, or the caller gave the component's name."""
    return plan.name_given or not belongs_to_other(plan, version)


def check_owner(plan: ComponentPlan, highest: ComponentVersion, warn: Warn = silent) -> None:
    """Check that the plan may add a version; calls ``warn`` if the tags do not name the owner.

    Raises:
        ComponentTaken: another model owns the component.
    """
    if plan.name_given:
        return
    if belongs_to_other(plan, highest):
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
            f"{plan.component} {highest.version} has no tag {' and '.join(missing)}; assuming that it belongs to model "
            f"{plan.model_name!r} of use case {plan.usecase_id!r}. Give another component_name if it does not."
        )
