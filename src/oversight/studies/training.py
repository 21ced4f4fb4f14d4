"""What the training of the three roles tells a reader before the numbers are believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oversight.runs.store import Outcome


def training_warnings(runs: Sequence[tuple[Sequence[Outcome], Outcome, Outcome]]) -> list[str]:
    """Roles whose training had not come to rest, and networks that could not be packed.

    Args:
        runs: by seed: the supervisors, the student, the ceiling.
    """
    roles = {
        "supervisor": [[dict(one.record["choices"]) for one in labels] for labels, _, _ in runs],
        "student": [[dict(student.record["choices"])] for _, student, _ in runs],
        "ceiling": [[dict(ceiling.record["choices"])] for _, _, ceiling in runs],
    }
    warnings: list[str] = []
    for role, by_seed in roles.items():
        n = sum(any(one.get("undertrained", False) for one in fits) for fits in by_seed)
        if n:
            warnings.append(
                f"undertrained: the training loss of the {role} was still falling at the end, or never fell, "
                f"in {n} of {len(by_seed)} seeds; ask for more epochs"
            )
    return warnings + _padded([one for by_seed in roles.values() for fits in by_seed for one in fits])


def _padded(fits: Sequence[dict[str, Any]]) -> list[str]:
    reasons = dict.fromkeys(str(one.get("why_padded")) for one in fits if one.get("packed") is False)
    return [f"texts were padded, as they could not be packed: {reason}" for reason in reasons]
