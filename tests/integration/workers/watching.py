"""Waiting for rows: each look is one round to the server, and all looks together have a bound."""

import asyncio

import asyncpg

WAIT_S = 30.0


async def when(rows: asyncpg.Connection, query: str, *arguments: object) -> None:
    """Until the query says yes."""
    async with asyncio.timeout(WAIT_S):
        while not await rows.fetchval(query, *arguments):
            pass
