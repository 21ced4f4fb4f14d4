"""What README.md and docs/ claim of simulations is what the kept files say, and nothing is claimed beside that."""

from __future__ import annotations

import pytest
from claims import CLAIMED, CLAIMS
from documented import ROOT, Claim, at_least, at_most, borne, content, faults, part, unclaimed


def page(name: str) -> str:
    """Its text."""
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.page}: {claim.says[:50]}")
def test_the_kept_file_bears_the_claim(claim: Claim) -> None:
    assert faults(claim, page(claim.page), content(claim.results)) == []


@pytest.mark.parametrize(("name", "heading"), CLAIMED)
def test_no_number_is_claimed_that_no_kept_file_bears(name: str, heading: str) -> None:
    claims = [claim for claim in CLAIMS if claim.page == name]
    assert unclaimed(part(page(name), heading), claims, CLAIMED[name, heading]) == []


def test_what_is_said_with_every_prediction_of_theory_is_the_kept_record() -> None:
    from oversight.metrics.theory import CAME_TRUE

    assert content("theory.json")["counts"] == CAME_TRUE


# The mechanism itself

COVERS = Claim("page.md", "covers at least {} %\nof {} cells", "file.json", lambda kept: [at_least(kept[0]), kept[1]])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("it covers at  least 93.8 % of 1,640 cells", None),
        ("covers at least 93.7 % of 1640\ncells", "93.7"),
        ("covers at least 93.9 % of 1,640 cells", "93.9"),
        ("covers at least 93.8 % of 640 cells", "640"),
        ("covers at most 93.8 % of 640 cells", "found 0 times"),
        ("covers at least 93.8 % of 1,640 cells; covers at least 93.8 % of 1,640 cells", "found 2 times"),
    ],
)
def test_a_claim_that_the_file_does_not_bear_is_named(text: str, fault: str | None) -> None:
    found = faults(COVERS, text, (93.8149, 1640))
    assert (found == []) if fault is None else (len(found) == 1 and fault in found[0])


@pytest.mark.parametrize(
    ("said", "number", "right"),
    [
        (".938", 0.9384, True),
        (".938", 0.9386, False),
        ("\u2212.018", -0.0179, True),
        (".018", -0.0179, False),
        ("10,000", 10_000, True),
        (".40", at_most(0.3975), True),
        (".39", at_most(0.3975), False),
        (".41", at_most(0.3975), False),
        ("93", at_least(93.8), True),
    ],
)
def test_numbers_are_read_as_they_are_written(said: str, number: float, right: bool) -> None:
    assert borne(said, number) == right


def test_a_number_that_no_claim_covers_is_found() -> None:
    text = "It covers at least 93.8 % of 640 cells; a rival falls to 31.5 %, see [a](b-1.5.md), in 12.3 s, nominal .95."
    found = unclaimed(text, [COVERS], ["nominal .95"])
    assert len(found) == 1 and "31.5 %" in found[0]
    assert len(unclaimed(text, [], [])) == 3


def test_a_part_ends_at_the_next_heading_of_its_level() -> None:
    text = "# A\n## B\none\n### C\ntwo\n## D\nthree\n"
    assert part(text, "## B") == "one\n### C\ntwo\n" and part(text, "### C") == "two\n"
    with pytest.raises(LookupError, match="## E"):
        part(text, "## E")
