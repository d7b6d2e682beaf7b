#!/usr/bin/python3
"""Sessions: a token in Redis stands for a user."""
import secrets
from urllib.parse import quote

from shop import setting, web
from shop.queue import store


@web.post("/login")
def login(request):
    users = web.call("GET", setting("USERS"), f"/users?email={quote(request.json['email'])}")
    if not users:
        raise web.Error(401, "unknown user")
    token = secrets.token_hex(16)
    store.set(f"session:{token}", users[0]["id"], ex=3600)
    return {"token": token}


@web.get("/sessions/{token}")
def session(request, token):
    user = store.get(f"session:{token}")
    if user is None:
        raise web.Error(401, "no such session")
    return {"user": int(user)}


web.serve()
