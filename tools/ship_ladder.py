"""Grow the ladder that ships with the package, or check that one grown here knows what the shipped one knows.

python tools/ship_ladder.py            # grows what is missing in src/oversight/worlds/grown, some four minutes
"""

from __future__ import annotations

import torch

from oversight.worlds.ladder import RUNGS, SHIPPED
from oversight.worlds.nursery import grow_ladder
from oversight.worlds.world import WORLD


def main() -> None:
    torch.set_num_threads(1)
    for card in grow_ladder(SHIPPED, WORLD, RUNGS.values(), seed=0, one_tokenizer=True):
        print(card.rung, card.updates, dict(card.known), flush=True)
    size = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
