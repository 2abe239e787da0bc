"""The bench runs, and would rather fail than print a figure for work that was not done."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.bench.__main__ import main
from tests.bench.load import loaded
from tests.bench.measure import measured
from tests.bench.measurement import WARM_UP, Size
from tests.bench.project.three_steps import STEPS, result
from tests.bench.workloads import check

SMALL = ("--n", "50", "--seconds", "0.1", "--repeats", "1")


def test_every_workload_gives_one_row_beside_its_yardstick_and_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", *SMALL, "--folder", str(tmp_path)]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["workload"] for row in rows] == ["three-step", "latency", "intake"]
    assert [row["n"] for row in rows[:2]] == [50, 50]
    assert all(row["instances_per_s"] > 0 and row["ratio_to_yardstick"] > 0 and row["cpu_s"] > 0 and row["rss_mb"] > 0 for row in rows)
    assert [row["p99_ms"] is not None for row in rows] == [False, True, True]
    assert not any(tmp_path.iterdir())


def test_nodes_on_one_database_run_exactly_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TEST_POSTGRES_URL", postgres_url)

    assert main(["three-step", "latency", "--store", "postgres", *SMALL, "--folder", str(tmp_path)]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(row["workload"], row["store"], row["nodes"], row["n"]) for row in rows] == [
        *(("three-step", "postgres", nodes, 50) for nodes in (1, 2, 3)),
        ("latency", "postgres", 1, 50),
    ]
    assert all(row["instances_per_s"] > 0 and row["ratio_to_yardstick"] > 0 and row["cpu_s"] > 0 and row["rss_mb"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("workload", "facts"),
    [
        ("sequential", {"replay_s"}),
        ("sleepers", {"parked_mb", "woken_per_s", "late_p50_ms", "late_p99_ms", "bytes_each_beyond_payload"}),
        ("idle", {"percent_of_a_core"}),
        ("recovery", {"all_running_again_s", "slow_all_complete_s"}),
        ("growth", {"among_10000_per_s", "among_10000_cpu_ms_each", "among_n_cpu_ms_each", "bytes_each"}),
        ("lists", {"newest_p95_ms", "page_p95_ms", "deep_page_p95_ms", "status_p95_ms", "describe_p95_ms", "workflows_p95_ms"}),
    ],
)
def test_a_long_workload_tells_what_only_it_has(workload: str, facts: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([workload, *SMALL, "--folder", str(tmp_path)]) == 0

    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{"))
    assert (row["workload"], row["n"], row["rss_mb"] > 0) == (workload, 50, True)
    assert facts <= row["facts"].keys()


def test_every_message_of_a_queue_becomes_an_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TEST_AMQP_URL", amqp_url)

    assert main(["amqp", *SMALL, "--folder", str(tmp_path)]) == 0

    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{"))
    assert (row["workload"], row["n"]) == ("amqp", 50)


def test_without_a_server_its_rows_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TEST_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")

    assert main(["latency", *SMALL, "--folder", str(tmp_path)]) == 0

    printed = capsys.readouterr()
    assert [json.loads(line)["store"] for line in printed.out.splitlines() if line.startswith("{")] == ["sqlite"]
    assert "left out" in printed.err


def test_a_run_that_did_not_leave_what_was_asked_for_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["three-step", "--n", "-1", "--repeats", "1", "--folder", str(tmp_path)]) == 1  # the warm-up leaves one too many

    assert "per s" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that a small run has left."""
    folder = tmp_path_factory.mktemp("whole")
    measured("three-step", folder, Size(n=10, seconds=0))
    check(folder / "hub.sqlite", WARM_UP + 10)
    return folder / "hub.sqlite"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM step WHERE instance = 7 AND name = 'charge'",
        "DELETE FROM instance WHERE key = 7",
        "UPDATE instance SET output = NULL WHERE key = 7",
    ],
)
def test_an_instance_that_is_not_whole_on_disk_is_an_error(whole: Path, tmp_path: Path, damage: str) -> None:
    file = Path(shutil.copy(whole, tmp_path))
    with closing(sqlite3.connect(file)) as db:
        for (guard,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {guard}")  # they keep what has ended as it is
        assert db.execute(damage).rowcount == 1
        db.commit()

    with pytest.raises(AssertionError, match="60 instances were run"):
        check(file, WARM_UP + 10)


async def test_an_answer_other_than_202_is_no_figure(aiohttp_server: Callable[[web.Application], Awaitable[TestServer]]) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    app = web.Application()
    app.router.add_post("/hook", refuse)
    server = await aiohttp_server(app)

    with pytest.raises(AssertionError, match="sender"):
        await loaded(str(server.make_url("/hook")), 0.05)


def test_a_step_stores_about_a_hundred_bytes() -> None:
    assert all(90 <= len(orjson.dumps(result("id", step))) <= 110 for step in STEPS)
