#!/usr/bin/python3
"""The company's books: every entry has its opposite, so the sum over all accounts is always zero."""
from shop import db, web


@web.post("/transfers")
def transfer(request):
    entry = request.json
    # One statement, so that both halves are there or none.
    db.rows("INSERT INTO ledger (account, cents, reference) VALUES (%s, %s, %s), (%s, %s, %s)",
            entry["from"], -entry["cents"], entry["reference"], entry["to"], entry["cents"], entry["reference"])
    return {"reference": entry["reference"]}


@web.get("/accounts/{account}")
def balance(request, account):
    return db.row("SELECT coalesce(sum(cents), 0)::int AS cents FROM ledger WHERE account = %s", account)


web.serve()
