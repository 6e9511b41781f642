"""Which numbered database of a Redis server before 6 is whose: a hash in its database 0, from the number to the id."""

from reconciler.services.provisioner import Misconfigured, ServiceSpec
from reconciler.services.types.redis.keys import Inside, databases
from reconciler.services.types.redis.session import Session

_KEY = "reconciler:databases"
_USUAL = 16
# The service's number, else the first that is free and holds no keys; one script is one moment.
_TAKE = """
local owned = redis.call('HGETALL', KEYS[1])
local taken = {['0'] = true}
for i = 1, #owned, 2 do
    if owned[i + 1] == ARGV[1] then return tonumber(owned[i]) end
    taken[owned[i]] = true
end
for i = 3, #ARGV do taken[ARGV[i]] = true end
for i = 1, tonumber(ARGV[2]) - 1 do
    if not taken[tostring(i)] then
        redis.call('HSET', KEYS[1], tostring(i), ARGV[1])
        return i
    end
end
return -1
"""


async def number_of(session: Session, service: ServiceSpec) -> int:
    """Return the number of the service's database, choosing one the first time."""
    told = await session.do("CONFIG GET", "databases")
    count = next(iter(told.values()), _USUAL)
    full = await databases(session)
    number = int(await session.do("EVAL", _TAKE, 1, _KEY, service.id, int(count), *full))
    if number < 0:
        raise Misconfigured(f"no database of the redis server is free for service {service.name}: it has {int(count)}")
    return number


async def forget_number(session: Session, service: ServiceSpec, inside: Inside) -> None:
    """Empty it, then let it go."""
    owned = await session.do("HGETALL", _KEY)
    for number, owner in owned.items():
        if owner.decode() == service.id:
            async with inside(int(number)) as within:
                await within.do("FLUSHDB")
            await session.do("HDEL", _KEY, number)
