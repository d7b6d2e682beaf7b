#!/usr/bin/python3
"""What customers think of it."""
from shop import db, web


@web.get("/reviews/{sku}")
def reviews(request, sku):
    return db.rows("SELECT stars, text FROM reviews WHERE sku = %s ORDER BY id", sku)


@web.post("/reviews/{sku}")
def write(request, sku):
    stars = int(request.json["stars"])
    if not 1 <= stars <= 5:
        raise ValueError(f"{stars} stars")
    return db.row("INSERT INTO reviews (sku, stars, text) VALUES (%s, %s, %s) RETURNING stars, text",
                  sku, stars, request.json["text"])


web.serve()
