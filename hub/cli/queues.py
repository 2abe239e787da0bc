"""The commands `hub queues …`: look at the hub's own queues, send messages into them, empty them.

Owns their names, options, requests and what they print. Failures are `command.py`'s.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from hub.cli import screen
from hub.cli.command import Call, command
from hub.cli.exits import Exit, Stop
from hub.cli.options import remember
from hub.cli.workflows import Page, PerPage, Yes, confirm

_EXAMPLES = """\b
Examples:
  hub queues list
  hub queues info orders
  hub queues send orders '{"order": 7}'
  hub queues send orders --input @order.json --delay 60
  hub queues purge orders --yes"""

app = typer.Typer(
    no_args_is_help=True, help="Look at the queues of the hub, send messages, empty them.", callback=remember, epilog=_EXAMPLES
)

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)]


@command(app, "list")
async def list_queues(call: Call, page: Page = 1, per_page: PerPage = 50) -> None:
    """List the queues with what waits in them."""
    found = (await call.client.of("queues").get(page=page, per_page=per_page)).result
    if call.json:
        screen.show_json(found)
    elif not found:
        screen.note('There are no queues; add a [[triggers]] table with kind = "queue", or [[queues.consumers]], to hub.toml')
    else:
        from hub.cli.render import Listing
        from hub.cli.words import Viewer

        columns = ["Name", "Waiting", "In Hand", "Oldest Due", "Consumers", "Producers"]
        screen.show([Listing(columns, [_row(item, Viewer.here()) for item in found], spare="Consumers")])


@command(app, "info")
async def info(call: Call, name: Name) -> None:
    """Show one queue: its messages, and who sends and consumes."""
    item = (await call.client.of("queues").get(name)).result
    if call.json:
        screen.show_json(item)
        return
    from hub.cli.render import labelled
    from hub.cli.words import Viewer

    viewer = Viewer.here()
    pairs = [
        ("Name", screen.safe(str(item["queue_name"]))),
        ("Created", viewer.moment(item["created_on"])),
        ("Waiting", str(item["messages_waiting"])),
        ("In Hand", str(item["messages_held"])),
    ]
    if item.get("oldest_due_on"):
        pairs.append(("Oldest Due", viewer.moment(item["oldest_due_on"])))
    pairs += [("Consumer", screen.safe(_consumer(each))) for each in item["consumers"]]
    pairs += [("Producer", screen.safe(f"self.env.{each['binding']} of {each['script']}")) for each in item["producers"]]
    screen.show(labelled(pairs))


@command(app, "send")
async def send(
    call: Call,
    name: Name,
    body: Annotated[str | None, typer.Argument(metavar="BODY", help="The message: a JSON text.", show_default=False)] = None,
    input: Annotated[
        str | None, typer.Option("--input", metavar="@FILE|-", help="Read BODY from a file or from standard input.", show_default=False)
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="BODY is the text itself, not JSON.")] = False,
    delay: Annotated[float, typer.Option("--delay", metavar="SECONDS", min=0, max=86_400, help="Deliver it so much later.")] = 0,
) -> None:
    """Send a message; it is on disk when the command ends."""
    from hub.cli import payloads

    if (body is None) == (input is None):
        raise Stop("give the message as BODY or with --input, one of them", Exit.USAGE)
    if text and input is not None:
        raise Stop("--text is for BODY; a file holds JSON", Exit.USAGE)
    if text:
        written, kind = json.dumps(body), "text"
    else:
        written = payloads.json_input(input) if input is not None else payloads.json_text(body or "", "BODY")
        kind = "json"
    told = f'{{"body":{written},"content_type":"{kind}"' + (f',"delay_seconds":{delay:g}}}' if delay else "}")
    answer = await call.client.of("queues").post(name, "messages", body=told)
    if call.json:
        screen.show_json(answer.result)
    else:
        screen.show([screen.safe(f'📨 Message "{answer.result["ids"][0]}" is in the queue "{name}"')])


@command(app, "purge")
async def purge(call: Call, name: Name, yes: Yes = False) -> None:
    """Delete all messages of a queue."""
    confirm(f'Delete all messages of the queue "{name}"?', yes)
    answer = await call.client.of("queues").post(name, "purge", body='{"delete_messages_permanently":true}')
    if call.json:
        screen.show_json(answer.result)
    else:
        number = answer.result["deleted"]
        screen.show([screen.safe(f'🗑️ {number} message{"s" * (number != 1)} of the queue "{name}" deleted')])


def _row(item: dict[str, Any], viewer: Any) -> list[Any]:
    from rich.text import Text

    return [
        Text(screen.safe(str(item["queue_name"])), style="bold"),
        str(item["messages_waiting"]),
        str(item["messages_held"]),
        viewer.moment(item["oldest_due_on"]) if item.get("oldest_due_on") else "",
        screen.safe(", ".join(each["consumer_id"] for each in item["consumers"])),
        screen.safe(", ".join(each["binding"] for each in item["producers"])),
    ]


def _consumer(item: dict[str, Any]) -> str:
    settings = item["settings"]
    target = f"workflow {item['workflow_name']}" if item.get("workflow_name") else "the project's handler queue"
    dead = f", then to {item['dead_letter_queue']}" if item.get("dead_letter_queue") else ""
    return f"trigger {item['consumer_id']} → {target}; {settings['max_retries']} retries{dead}"
