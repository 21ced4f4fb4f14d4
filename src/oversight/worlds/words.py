"""Made-up words: pronounceable, of no language, each once."""

from __future__ import annotations

import numpy as np

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


class Coiner:
    """Makes words; the same seed, the same words in the same order."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._used: set[str] = set()

    def word(self, syllables: int) -> str:
        """A word of so many syllables that was not made before."""
        while True:
            drawn = self._rng.integers((len(CONSONANTS), len(VOWELS)), size=(syllables, 2)).tolist()
            made = "".join(CONSONANTS[c] + VOWELS[v] for c, v in drawn)
            if made not in self._used:
                self._used.add(made)
                return made

    def words(self, n: int, syllables: int) -> tuple[str, ...]:
        """n of them."""
        return tuple(self.word(syllables) for _ in range(n))
