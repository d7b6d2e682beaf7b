"""The company's database. Each thread has a connection of its own; every statement commits by itself."""
import threading

import psycopg2
import psycopg2.extras

from shop import setting

_local = threading.local()


def connection():
    if getattr(_local, "connection", None) is None or _local.connection.closed:
        _local.connection = psycopg2.connect(setting("DATABASE_URL"), connect_timeout=10)
        _local.connection.autocommit = True
    return _local.connection


def rows(statement, *values):
    """The rows as dictionaries; an empty list for a statement that returns none."""
    with connection().cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(statement, values)
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []


def row(statement, *values):
    found = rows(statement, *values)
    return found[0] if found else None
