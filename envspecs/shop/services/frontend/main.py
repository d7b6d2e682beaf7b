#!/usr/bin/python3
"""The shop's pages, and the one place where a browser's session is checked before money moves."""
from html import escape
from urllib.parse import quote

from shop import setting, web


@web.get("/")
def home(request):
    products = web.call("GET", setting("CATALOG"), "/products")
    wanted = request.query.get("q")
    if wanted:
        found = web.call("GET", setting("SEARCH"), f"/search?q={quote(wanted)}")
        products = [product for product in products if product["sku"] in found]
    rows = "".join(f"<li><a href='/product/{p['sku']}'>{escape(p['title'])}</a> {p['cents'] / 100:.2f} EUR</li>"
                   for p in products)
    return f"<!doctype html><title>Shop</title><h1>Shop</h1><form><input name=q></form><ul>{rows}</ul>"


@web.get("/product/{sku}")
def product(request, sku):
    found = web.call("GET", setting("CATALOG"), f"/products/{sku}")
    reviews = web.call("GET", setting("REVIEWS"), f"/reviews/{sku}")
    others = web.call("GET", setting("RECOMMENDATIONS"), f"/recommendations/{sku}")
    stars = "".join(f"<li>{'★' * r['stars']} {escape(r['text'])}</li>" for r in reviews)
    links = " ".join(f"<a href='/product/{other}'>{other}</a>" for other in others)
    return f"<!doctype html><title>{escape(found['title'])}</title><h1>{escape(found['title'])}</h1>" \
           f"<p>{escape(found['description'])}</p><ul>{stars}</ul><p>Also: {links}</p>"


@web.post("/buy")
def buy(request):
    user = web.call("GET", setting("AUTH"), f"/sessions/{request.headers.get('X-Session', '-')}")["user"]
    return web.call("POST", setting("CHECKOUT"), "/checkout", {**request.json, "user": user})


web.serve()
