#!/usr/bin/python3
"""Converts amounts between currencies, in cents."""
from shop import rpc

RATES = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "JPY": 160.0}


def convert(cents, source, target):
    for code in (source, target):
        if code not in RATES:
            raise LookupError(f"unknown currency {code}")
    return {"cents": round(cents * RATES[target] / RATES[source]), "currency": target}


rpc.serve("shop.Currency", Convert=convert)
