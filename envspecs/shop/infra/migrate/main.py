#!/usr/bin/python3
"""Applies every migration that the database does not know yet, in order of name, each in one transaction."""
import pathlib

from shop import db, log

with db.connection().cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied timestamptz DEFAULT now())")
    for file in sorted(pathlib.Path("sql").glob("*.sql")):
        cursor.execute("SELECT 1 FROM migration WHERE name = %s", (file.name,))
        if cursor.fetchone() is None:
            cursor.execute("BEGIN")
            cursor.execute(file.read_text())
            cursor.execute("INSERT INTO migration (name) VALUES (%s)", (file.name,))
            cursor.execute("COMMIT")
            log(f"applied {file.name}")
