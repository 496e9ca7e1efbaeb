"""One SQLite file, one connection, one thread: a store's method is one function that runs there as one transaction."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from skerry.core.errors import Failed

T = TypeVar("T")


class Database:
    """Runs synchronous transactions on the file's own thread. Made by `open_database`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work in one transaction: committed when it returns, rolled back when it raises. Ends even when the caller is cancelled.

        Raises Failed when the disk is full.
        """

        def body() -> T:
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    return work(self._connection)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise Failed(str(error)) from None
                raise

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, body))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work without a transaction of its own; it must not write."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)


@asynccontextmanager
async def open_database(path: str, migrations: Sequence[str]) -> AsyncIterator[Database]:
    """Opens path in WAL mode and brings it to the newest schema.

    migrations are numbered by their position from 1; PRAGMA user_version says how many ran. A file from a newer program is refused
    with Failed rather than guessed at. ":memory:" is accepted in tests.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
    loop = asyncio.get_running_loop()
    try:
        connection = await loop.run_in_executor(thread, _open, path, migrations)
        try:
            yield Database(connection, thread)
        finally:
            await loop.run_in_executor(thread, connection.close)
    finally:
        thread.shutdown()


def _open(path: str, migrations: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL keeps the file consistent over a crash of the host; the last transactions may be lost then, never on a crash of ours.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise Failed(f"{path} was written by a newer Skerry (schema {version}, this one knows {len(migrations)})")
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.executescript(f"BEGIN EXCLUSIVE;\n{statements};\nPRAGMA user_version = {number};\nCOMMIT;")
