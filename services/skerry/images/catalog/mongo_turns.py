"""Turns (see catalog.Turns) in MongoDB.

Each side writes its own turn first and looks for the other's then: of two that begin at once at least one sees the other and steps back.
"""

import time

from pymongo.errors import DuplicateKeyError

from skerry.images.catalog.mongo_answers import Db, answered

# By how much the clocks of two services may differ.
_CLOCKS = 15.0
_SWEEP = "sweep"


class MongoTurns:
    """One document for each service that takes in, one for the service that sweeps."""

    def __init__(self, database: Db) -> None:
        self._turns = database.turns

    @answered
    async def begin_intake(self, name: str, seconds: float) -> bool:
        now = time.time()
        turn = {"$set": {"intake": True, "name": name, "until": now + seconds}}
        await self._turns.update_one({"_id": f"intake {name}"}, turn, upsert=True)
        swept = await self._turns.find_one({"_id": _SWEEP, "name": {"$ne": name}, "until": {"$gt": now - _CLOCKS}})
        if swept is not None:
            await self.end_intake(name)
        return swept is None

    @answered
    async def renew_intake(self, name: str, seconds: float) -> bool:
        now = time.time()
        wanted = {"_id": f"intake {name}", "until": {"$gt": now}}
        return (await self._turns.update_one(wanted, {"$set": {"until": now + seconds}})).matched_count == 1

    @answered
    async def end_intake(self, name: str) -> None:
        await self._turns.delete_one({"_id": f"intake {name}"})

    @answered
    async def begin_sweep(self, name: str, seconds: float) -> bool:
        now = time.time()
        ours_or_over = {"_id": _SWEEP, "$or": [{"name": name}, {"until": {"$lte": now - _CLOCKS}}]}
        turn = {"name": name, "until": now + seconds}
        if (await self._turns.update_one(ours_or_over, {"$set": turn})).matched_count == 0:
            try:
                await self._turns.insert_one({"_id": _SWEEP, **turn})
            except DuplicateKeyError:
                return False  # somebody else's, and not over
        over = {"intake": True, "until": {"$lte": now - _CLOCKS}}
        if await self._turns.find_one({"intake": True, "name": {"$ne": name}, "until": {"$gt": now - _CLOCKS}}) is not None:
            await self.end_sweep(name)
            return False
        await self._turns.delete_many(over)
        return True

    @answered
    async def end_sweep(self, name: str) -> None:
        await self._turns.delete_one({"_id": _SWEEP, "name": name})
