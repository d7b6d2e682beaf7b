#!/usr/bin/python3
"""Messages to customers. A real shop would send mail; this one keeps the last hundred of each."""
from shop import web
from shop.queue import store


@web.post("/users/{user}/messages")
def send(request, user):
    store.rpush(f"messages:{user}", request.json["text"])
    store.ltrim(f"messages:{user}", -100, -1)
    return {"sent": 1}


@web.get("/users/{user}/messages")
def messages(request, user):
    return store.lrange(f"messages:{user}", 0, -1)


web.serve()
