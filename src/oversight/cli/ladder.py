"""The ladder: networks that know something, and how to grow more of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oversight.cli import options as o
from oversight.cli import printing
from oversight.cli.app import app

if TYPE_CHECKING:
    from oversight.worlds.ladder import Card

ladder = typer.Typer(no_args_is_help=False, help="Networks grown in a made-up world, and questions about it.")
app.add_typer(ladder, name="ladder")


@ladder.callback(invoke_without_command=True)
def rungs(context: typer.Context, as_json: o.Json = False) -> None:
    """The networks that ship: what each is for, and the share of facts it knows."""
    if context.invoked_subcommand is not None:
        return
    from oversight.worlds.ladder import RUNGS, SHIPPED, read_card

    cards = [card for name in RUNGS if (card := read_card(SHIPPED / name)) is not None]
    if as_json:
        return printing.print_json({"rungs": [card.as_json() for card in cards]})
    for card in cards:
        known = ", ".join(f"{name} {share:.2f}" for name, share in card.known.items())
        typer.echo(f"ladder:{card.rung:10} {card.width:4} wide, {card.updates:5,} updates, {card.about}; knows {known}")


@ladder.command()
def grow(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the rungs and their world are kept.")],
    rung: Annotated[
        list[str] | None, typer.Option("--rung", metavar="NAME", help="Only this one. Repeatable. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of first weights and documents.")] = 0,
    larger: Annotated[bool, typer.Option("--larger", help="Also xxl, 3xl and 4xl, for those with a GPU.")] = False,
    world_seed: Annotated[int, typer.Option("--world-seed", min=0, help="Of people, facts and questions.")] = 0,
    people: Annotated[int, typer.Option("--people", help="Who appear in documents.")] = 8000,
    unevenness: Annotated[
        float, typer.Option("--unevenness", help="People are met as (rank + 10) ** -X; 0 = all alike.")
    ] = 1.0,
    salience: Annotated[
        float, typer.Option("--salience", help="Share of documents that state a half outright; 0 = none.")
    ] = 0.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "cpu",
    as_json: o.Json = False,
) -> None:
    """Grow the networks of a ladder; those that are there already stay.

    About four minutes of one core for all. DIR is then a set of questions (oversight w2s DIR --weak DIR/early-s
    --strong DIR/xl), and every rung a directory that transformers can read.
    """
    from oversight.resolve.models import check_device
    from oversight.worlds.ladder import rungs_of
    from oversight.worlds.nursery import grow_ladder
    from oversight.worlds.world import World

    check_device(device, here=True)
    chosen = rungs_of(tuple(rung or ()), larger=larger)
    strangers = min(1600, people // 5)
    world = World(seed=world_seed, people=people, strangers=strangers, unevenness=unevenness, salience=salience)
    cards: list[Card] = []
    with printing.growth_bar() as told:
        for card in grow_ladder(out, world, chosen, seed=seed, device=device, told=told):
            cards.append(card)
            if not as_json:
                known = ", ".join(f"{name} {share:.2f}" for name, share in card.known.items())
                typer.echo(f"{out / card.rung}: {card.updates:,} updates; knows {known}")
    if as_json:
        printing.print_json({"rungs": [card.as_json() for card in cards]})
