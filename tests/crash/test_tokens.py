"""A process dies around making and revoking tokens: what was printed opens the hub, and what was revoked opens nothing any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.core.access import ANYBODY, Scope
from hub.core.errors import Rejected
from hub.engine.access import Doorkeeper

from .faults import SIDES, Fault, FaultyStore
from .forks import Lives, Stage
from .journal import DATABASE
from .ledger import Ledger, Reader
from .node import ACKS, file_store, node

ROUNDS = 6
ADMIN = frozenset({Scope.ADMIN})


async def make_and_revoke(stage: Stage) -> None:
    """Make tokens and revoke every second one, and write down what has been answered."""
    said = Ledger(stage.folder / ACKS)
    store = FaultyStore(file_store(stage.folder), Fault(**stage.task["fault"]), stage.folder / "grave")
    async with node(stage.folder, {}, store=store) as engine:
        for number in range(ROUNDS):
            made = await engine.access.create(f"t{number}", ADMIN, account="local", by=ANYBODY)
            said.note("made", made.secret)
            if number % 2:
                said.note("revoking", made.secret)
                await engine.access.revoke(made.token.id)
                said.note("revoked", made.secret)


async def judge(stage: Stage) -> None:
    """Look at every token after the death."""
    lines = [tuple(line) for line in Reader(stage.folder / ACKS).news()]
    made, revoking, revoked = ({text for word, text in lines if word == which} for which in ("made", "revoking", "revoked"))
    async with node(stage.folder, {}) as engine:
        assert engine.access.open == (not engine.access.tokens())
        assert not (made and engine.access.open)
        assert len(engine.access.tokens()) in (len(made), len(made) + 1)  # the one whose answer nobody has seen
        for text in made:
            assert opens(engine.access, text) == (text not in revoked) or text in revoking - revoked


def opens(access: Doorkeeper, text: str) -> bool:
    try:
        return access.identify(text).may(Scope.ADMIN)
    except Rejected:
        return False


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("kind", "at"), [*(("KeepToken", at) for at in range(1, ROUNDS + 1)), *(("RevokeToken", at) for at in range(1, ROUNDS // 2 + 1))]
)
def test_a_token_that_was_answered_is_what_was_answered_whenever_the_process_dies(
    lives: Lives, folder: Path, kind: str, at: int, side: str
) -> None:
    assert lives.run(make_and_revoke, folder, fault={"kind": kind, "at": at, "side": side}).killed

    lives.run(judge, folder)

    texts = [line[1].split("_")[2] for line in Reader(folder / ACKS).news()]
    stored = b"".join(path.read_bytes() for path in folder.glob(f"{DATABASE}*"))
    assert not [text for text in texts if text.encode() in stored]
