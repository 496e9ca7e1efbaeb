"""Connecting to MongoDB, and its errors in Skerry's classes."""

import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeAlias, TypeVar

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.errors import InvalidURI as BadUri
from pymongo.uri_parser import parse_uri

from skerry.core.errors import Failed, InvalidArgument, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Document: TypeAlias = dict[str, Any]
Collection: TypeAlias = AsyncCollection[Document]
Db: TypeAlias = AsyncDatabase[Document]

DEFAULT_DATABASE = "skerry"
_SCHEMA = 1
_OPTIONS = {"serverSelectionTimeoutMS": 10_000, "connectTimeoutMS": 10_000, "socketTimeoutMS": 60_000, "w": "majority"}


def answered(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Makes a method raise Unavailable when MongoDB is away, Failed when it refuses."""

    @functools.wraps(work)
    async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await work(*args, **kwargs)
        except ConnectionFailure as error:
            raise Unavailable(f"the image catalog in MongoDB is not reachable: {error}") from None
        except PyMongoError as error:
            raise Failed(f"the image catalog in MongoDB: {error}") from None

    return asked


@asynccontextmanager
async def open_mongo(url: str) -> AsyncIterator[Db]:
    """Connects to mongodb://HOST[,HOST]/DATABASE. Raises InvalidArgument, Unavailable, Failed (it was written by a newer Skerry)."""
    try:
        known = parse_uri(url)
        # Options in the URL win. What is acknowledged must outlive a fail-over.
        given = {key.lower() for key in known["options"]}
        defaults: dict[str, Any] = {key: value for key, value in _OPTIONS.items() if key.lower() not in given}
        client: AsyncMongoClient[Document] = AsyncMongoClient(url, appname="skerry-images", **defaults)
    except (BadUri, PyMongoError, ValueError) as error:
        raise InvalidArgument(f"bad catalog address: {error}") from None
    async with client:
        database = client[known["database"] or DEFAULT_DATABASE]
        await _checked(database)
        yield database


@answered
async def _checked(database: Db) -> None:
    await database.meta.update_one({"_id": "schema"}, {"$setOnInsert": {"version": _SCHEMA, "time": time.time()}}, upsert=True)
    found = await database.meta.find_one({"_id": "schema"})
    if found is None or found["version"] > _SCHEMA:
        raise Failed(f"the catalog {database.name} was written by a newer Skerry")
