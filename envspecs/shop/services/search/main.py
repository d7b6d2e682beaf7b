#!/usr/bin/python3
"""Finds products by word. The index is in memory, built from the catalogue when the service starts."""
import collections
import re

from shop import log, setting, web

index = collections.defaultdict(set)
for product in web.call("GET", setting("CATALOG"), "/products"):
    for word in re.findall(r"\w+", f"{product['title']} {product['description']}".lower()):
        index[word].add(product["sku"])
log(f"{len(index)} words indexed")


@web.get("/search")
def search(request):
    words = re.findall(r"\w+", request.query["q"].lower())
    return sorted(set.intersection(*(index.get(word, set()) for word in words)) if words else [])


web.serve()
