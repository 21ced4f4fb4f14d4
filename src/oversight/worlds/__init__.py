"""Worlds of made-up facts, networks grown in them, and questions on which weak-to-strong generalization is real."""

from oversight.worlds.questions import Question
from oversight.worlds.world import WORLD, World

__all__ = ["WORLD", "Question", "World"]
