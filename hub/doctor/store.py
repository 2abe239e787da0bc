"""Checks of the store: its folder and disk, its schema and integrity, and what has been waiting in it for too long."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path

from hub.core.duration import format_duration
from hub.core.errors import HubError
from hub.doctor.checks import Case, Checks, Result, fail, ok, skip, warn
from hub.store import care
from hub.store.contents import Contents

_MIB = 1 << 20
_LITTLE, _HARDLY = 1024 * _MIB, 100 * _MIB  # of free disk
_SLOW = timedelta(milliseconds=20)  # a commit waits for one sync: 50 groups a second
_LOG = 256 * _MIB  # of write-ahead log; the hub keeps it below 64 MiB unless a reader holds it
_CHECKED = 256 * _MIB  # a larger file takes too long here
_BACKLOG = 1000
_LATE = timedelta(minutes=1)
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "ceph", "afs", "ncpfs"})


def _with_file(check: Callable[[Case, Path], Result]) -> Callable[[Case], Result]:
    @wraps(check)
    def checked(case: Case) -> Result:
        return skip("the settings name no file") if case.file is None else check(case, case.file)

    return checked


def _with_contents(check: Callable[[Case, Contents], Result]) -> Callable[[Case], Result]:
    @wraps(check)
    def checked(case: Case) -> Result:
        if case.contents is None:
            return skip("the database cannot be read" if case.unreadable else "there is no database yet; a hub makes it when it starts")
        return check(case, case.contents) if case.contents.current else skip("the schema is not the one of this hub")

    return checked


@_with_file
def _folder(_: Case, file: Path) -> Result:
    there = next(folder for folder in (file.parent, *file.parent.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(f"{there} cannot be written", f"give the user of the hub the right: chown or chmod {there}, or choose --data DIR")
    return ok(f"{file.parent}{'' if file.parent.exists() else ' will be made'}")


@_with_file
def _space(_: Case, file: Path) -> Result:
    there = next(folder for folder in (file.parent, *file.parent.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    remedy = "make room, let [retention] delete more, or move the data to a larger disk with --data DIR"
    if free < _HARDLY:
        return fail(f"{free // _MIB} MiB are left", remedy)
    return warn(f"{free // _MIB} MiB are left", remedy) if free < _LITTLE else ok(f"{free >> 30} GiB are left")


@_with_file
def _filesystem(_: Case, file: Path) -> Result:
    kind, mount = _mounted(file.parent.absolute())
    if kind in _REMOTE:
        found = f"{mount} is a network file system ({kind}), on which locks and syncs do not hold"
        return fail(found, "put the data on a local disk: --data DIR")
    if kind in ("tmpfs", "ramfs"):
        return warn(f"{mount} is memory ({kind}): a restart of the machine loses everything", "put the data on a disk: --data DIR")
    return ok(f"{kind or 'a file system of unknown kind'} on {mount}")


def _mounted(folder: Path) -> tuple[str, str]:
    """Return kind and place of the file system under a folder; the deepest mount wins."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "", str(folder)
    around = [(place.replace("\\040", " "), kind) for place, kind in mounts if folder.is_relative_to(place.replace("\\040", " "))]
    place, kind = max(around, key=lambda mount: len(mount[0]), default=("/", ""))
    return kind, place


@_with_file
def _sync(_: Case, file: Path) -> Result:
    if not file.parent.is_dir():
        return skip("the folder is not there yet")
    try:
        took = care.sync_s(file.parent)
    except OSError as error:
        return fail(f"{file.parent} cannot be written: {error.strerror}", "make room there, or correct the rights")
    told = f"{took / timedelta(milliseconds=1):.1f} ms make a write durable"
    return warn(told, "every commit waits for that; use a faster disk for much load") if took > _SLOW else ok(told)


@_with_file
def _owner(case: Case, file: Path) -> Result:
    return ok(f"process {case.owner} works on {file.name}" if case.owner else "no hub works on it")


def _readable(case: Case) -> Result:
    if case.unreadable:
        cure = "restore a backup: `hub db --help` says how" if case.file else "no hub starts before that is mended"
        return fail(case.unreadable, cure)
    if case.contents is None:
        return skip("there is no database yet; a hub makes it when it starts")
    if case.file is None:
        return ok(f"{case.contents.bytes // 1024} KiB on the server")
    return ok(f"{case.contents.bytes // 1024} KiB, {case.contents.free_bytes // 1024} of them free")


def _schema(case: Case) -> Result:
    if case.contents is None:
        return skip("there is no database to look at")
    if case.contents.current:
        return ok(f"schema {case.contents.schema}")
    if case.contents.schema is not None and case.contents.schema > case.contents.newest:
        return fail(f"schema {case.contents.schema} is of a newer hub", "install that version again")
    if case.contents.schema is None and case.server is not None:
        return ok("there are no tables yet; a hub makes them when it starts")
    remedy = f"{'pg_dump' if case.server else 'hub db backup'}, then hub db upgrade; a start does it, too"
    return warn(f"schema {case.contents.schema}, the newest is {case.contents.newest}", remedy)


@_with_contents
def _journal(case: Case, contents: Contents) -> Result:
    if case.file is None:
        return skip("the server keeps its own journal")
    if contents.journal_mode not in ("wal", "delete"):
        return warn(f"the journal mode is {contents.journal_mode}", "start the hub once: it sets write-ahead logging")
    if contents.log_bytes > _LOG:
        remedy = "find the program that keeps a read transaction open on the file (lsof), and end it"
        return warn(f"the write-ahead log has {contents.log_bytes // _MIB} MiB", remedy)
    return ok(f"write-ahead log, {contents.log_bytes // 1024} KiB")


@_with_contents
def _integrity(case: Case, contents: Contents) -> Result:
    if case.file is None:
        return skip("check it with `hub db check`")
    if contents.bytes > _CHECKED:
        return skip(f"{contents.bytes // _MIB} MiB take long; check it with `hub db check`")
    try:
        broken = care.check(case.file, lambda *_: None)
    except HubError as error:
        return fail(error.message, "restore a backup")
    if broken:
        told = "; ".join(f"{each.rule}: {each.rows[0]}" for each in broken)
        return fail(told, "copy the data folder away, then restore a backup; `hub db check` tells more")
    return ok("the file and the hub's own rules hold")


@_with_contents
def _backlog(_: Case, contents: Contents) -> Result:
    if contents.never_started > _BACKLOG:
        remedy = "let it work, raise [runner] slots, or limit what comes in: `backlog` and `rate_limit` in [workflows.flow]"
        return warn(f"{contents.never_started} instances have not started yet", remedy)
    return ok(f"{contents.never_started} instances have not started yet")


@_with_contents
def _overdue(case: Case, contents: Contents) -> Result:
    if contents.due_since is None or case.now - contents.due_since < _LATE:
        return ok("nothing has been due for long")
    late = format_duration(timedelta(seconds=round((case.now - contents.due_since).total_seconds())))
    if case.owner is None and not (case.server and case.server.alive):
        return ok(f"something has been due for {late}; it goes on when a hub starts")
    remedy = "raise [runner] slots, or look at the log of the hub; `[node] workflows` may leave some to nobody"
    return warn(f"an instance has been due for {late}, and no hub has taken it up", remedy)


@_with_contents
def _troubled(_: Case, contents: Contents) -> Result:
    if contents.troubled:
        told = ", ".join(f"{workflow} {id} ({times} times)" for workflow, id, times in contents.troubled)
        return warn(f"the process died while these ran: {told}", "look for what kills it (memory, a C library), or terminate them")
    return ok("no instance has killed its process more than once")


@_with_contents
def _paused(_: Case, contents: Contents) -> Result:
    if contents.paused_by_error:
        remedy = "see why: hub workflows instances list NAME --status paused; mend the code, then resume them"
        return warn(f"{contents.paused_by_error} instances are paused by an error", remedy)
    return ok("no instance is paused by an error")


@_with_contents
def _deliveries(_: Case, contents: Contents) -> Result:
    dead, held = contents.deliveries.get("dead", 0), contents.deliveries.get("held", 0)
    if dead:
        return warn(f"{dead} deliveries are dead", "see why, and replay them: hub deliveries list --status dead")
    if held:
        return ok(f"{held} deliveries are held until their trigger is resumed")
    return ok("no delivery is dead or held")


CHECKS: Checks = (
    ("data-folder", _folder),
    ("disk-space", _space),
    ("file-system", _filesystem),
    ("disk-sync", _sync),
    ("owner", _owner),
    ("database", _readable),
    ("schema", _schema),
    ("journal", _journal),
    ("integrity", _integrity),
    ("backlog", _backlog),
    ("overdue", _overdue),
    ("recoveries", _troubled),
    ("paused", _paused),
    ("deliveries", _deliveries),
)
