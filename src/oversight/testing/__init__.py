"""For whoever writes a method or a loss: a task with a known truth, and the contract that every method keeps.

    from oversight.testing import check_method
    check_method(MyMethod())                     # silent, or one line for each rule that is broken

Nothing is downloaded: features are drawn, and the network that they would come from exists by name only.
"""

from __future__ import annotations

from oversight.testing.contract import ContractError, accuracies, check_method
from oversight.testing.worlds import Labeller, Planted, flips, mean_interval, planted

__all__ = ["ContractError", "Labeller", "Planted", "accuracies", "check_method", "flips", "mean_interval", "planted"]
