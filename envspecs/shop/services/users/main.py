#!/usr/bin/python3
"""Who buys here."""
from shop import db, web


@web.post("/users")
def create(request):
    found = db.row("INSERT INTO users (email, name) VALUES (%s, %s) ON CONFLICT (email) DO NOTHING RETURNING *",
                   request.json["email"], request.json["name"])
    if not found:
        raise web.Error(409, f"{request.json['email']} is taken")
    return found


@web.get("/users/{user}")
def show(request, user):
    found = db.row("SELECT * FROM users WHERE id = %s", int(user))
    if not found:
        raise web.Error(404, f"no user {user}")
    return found


@web.get("/users")
def by_email(request):
    return db.rows("SELECT * FROM users WHERE email = %s", request.query["email"])


web.serve()
