"""Redis: `store` for values, and work queues that a worker takes from."""
import json

import redis

from shop import setting

store = redis.Redis.from_url(setting("REDIS_URL"), decode_responses=True, socket_timeout=15)


def push(queue, job):
    store.rpush(queue, json.dumps(job))


def take(queue, seconds=10):
    """The next job, or None when there is none for so long."""
    found = store.blpop(queue, timeout=seconds)
    return json.loads(found[1]) if found else None
