"""Tests of the workflow, in virtual time. Run them in this folder: pip install pytest, then pytest.

The fixture `workflows` comes with the hub. Called without an argument it opens the project that this file belongs to.
"""

from datetime import UTC, datetime


def test_the_write_is_tried_until_it_succeeds(workflows):
    hub = workflows()
    hub.disable_sleeps()
    hub.mock_step_result("call an API", {"status": 200, "body": "ok"})
    hub.mock_step_error("a write that may fail", RuntimeError("no luck"), times=2)
    hub.mock_step_result("a write that may fail", "3 files written")

    run = hub.create({"hello": "world"})

    assert run.output() == {
        "received": {"hello": "world"},
        "files": ["report.csv", "photo.jpg", "notes.txt"],
        "api": {"status": 200, "body": "ok"},
        "written": "3 files written",
    }


def test_a_write_that_never_succeeds_ends_the_instance(workflows):
    hub = workflows()
    hub.mock_step_result("call an API", {"status": 200, "body": "ok"})
    hub.mock_step_error("a write that may fail", RuntimeError("no luck"))

    assert hub.create().error().message == "no luck"


def test_an_occurrence_of_the_schedule_has_one_instance(workflows):
    hub = workflows()
    hub.mock_step_result("call an API", {"status": 200, "body": "ok"})
    hub.mock_step_result("a write that may fail", "3 files written")
    noon = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)

    run = hub.run_schedule("every-minute", at=noon)

    assert run.output()["written"] == "3 files written"
    assert hub.run_schedule("every-minute", at=noon).id == run.id


def test_the_fetch_handler_answers_with_the_new_instance(workflows):
    hub = workflows()

    assert hub.fetch("/").status == 200
    assert len(hub.instances()) == 1
    assert hub.fetch("/?instanceId=nobody").status == 404
