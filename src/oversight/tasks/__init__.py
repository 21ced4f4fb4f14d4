"""What is to be learned: tasks by name, from files, directories and the Hub, and how they are cut."""

from __future__ import annotations

from collections.abc import Callable

from oversight.tasks.reviews import reviews
from oversight.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {"reviews": reviews}

ABOUT: dict[str, str] = {
    "reviews": "7,680 short reviews of 480 things, positive or negative, half of them hard on purpose (embedded, CC0)",
    "ladder": "12 questions about 8,000 made-up people, of whom networks of the ladder know (embedded, CC0)",
}
