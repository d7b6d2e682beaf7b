#!/usr/bin/python3
"""Carts, which nobody misses after a day: in Redis, with an expiry."""
from shop import web
from shop.queue import store


@web.get("/carts/{cart}")
def show(request, cart):
    return [{"sku": sku, "quantity": int(count)} for sku, count in sorted(store.hgetall(f"cart:{cart}").items())]


@web.post("/carts/{cart}/items")
def add(request, cart):
    store.hincrby(f"cart:{cart}", request.json["sku"], int(request.json.get("quantity", 1)))
    store.expire(f"cart:{cart}", 86400)
    return show(request, cart)


@web.post("/carts/{cart}/clear")
def clear(request, cart):
    return {"removed": store.delete(f"cart:{cart}")}


web.serve()
