"""Your own file: any column names, rows of one group kept together, a second test set from elsewhere."""

import csv
import random
from pathlib import Path

import oversight as ov

draw = random.Random(0)
FINE, POOR = ("sturdy", "quiet", "clean", "quick"), ("flimsy", "noisy", "dirty", "slow")


def write(path: str, *, things: list[str], n: int) -> None:
    """Write n reviews per thing to a CSV file."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "stars", "product"])
        for thing in things:
            for i in range(n):
                stars = draw.choice(["good", "bad"])
                words = draw.choices(FINE if stars == "good" else POOR, k=1) + draw.choices(FINE + POOR, k=3)
                rows.writerow([f"the {thing} was {' and '.join(words)}, order {i}", stars, thing])


write("shop.csv", things=[f"kettle {i}" for i in range(240)], n=5)
write("hotels.csv", things=[f"hotel {i}" for i in range(60)], n=5)

columns = ov.Columns(text="review", label="stars", group="product")
task = ov.load_task("shop.csv", columns=columns)
result = ov.weak_to_strong(
    task, weak="bow", strong="minilm@2", seeds=2, tests={"hotels": "hotels.csv"}, columns=columns
)
print(result)
print(result.to_pandas().groupby(["test", "role"]).apply(lambda rows: (rows.choice == rows.truth).mean()))
