#!/usr/bin/env bash
# With zope.sqlalchemy, what SQLAlchemy's bulk methods write is rolled back by the commit.
#
# Expected: the documentation says that write operations of the ORM mark the session as changed, and that only SQL of
# one's own needs mark_changed(). Session.bulk_save_objects, bulk_insert_mappings and bulk_update_mappings belong
# to the ORM, as add() and execute(insert(Entry)) do.
# Seen: the three send none of the events by which a change is noticed. If nothing else in the transaction is
# noticed, transaction.commit() closes the session in place of committing it, and the rows are gone, without an error.
# Before the commit, the same session sees them.
# Why it matters: imports are what bulk methods are for. A single add() beside them makes it work, as in most tests.
# Versions: zope.sqlalchemy 4.1, SQLAlchemy 2.1.9 (sqlite3), transaction 5.1, Python 3.11.
#
# Output:
# add: before the commit 1, after it 1
# execute(insert(Entry)): before the commit 1, after it 1
# bulk_save_objects: before the commit 1, after it 0
# bulk_insert_mappings: before the commit 1, after it 0
# bulk_update_mappings: before the commit 1, after it 0
# bulk_save_objects and add: before the commit 2, after it 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    zope.sqlalchemy==4.1 SQLAlchemy==2.1.9 transaction==5.1 zope.interface==8.7
venv/bin/python - <<'END'
import sqlalchemy
import transaction
import zope.sqlalchemy
from sqlalchemy.orm import DeclarativeBase, mapped_column, scoped_session, sessionmaker


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entry"
    id = mapped_column(sqlalchemy.Integer, primary_key=True)
    text = mapped_column(sqlalchemy.String)


def save_and_add():
    Session.bulk_save_objects([Entry(text="new")])
    Session.add(Entry(text="new"))


def count():
    return Session.scalar(sqlalchemy.select(sqlalchemy.func.count()).where(Entry.text == "new"))


ways = {
    "add": lambda: Session.add(Entry(text="new")),
    "execute(insert(Entry))": lambda: Session.execute(sqlalchemy.insert(Entry).values(text="new")),
    "bulk_save_objects": lambda: Session.bulk_save_objects([Entry(text="new")]),
    "bulk_insert_mappings": lambda: Session.bulk_insert_mappings(Entry, [{"text": "new"}]),
    "bulk_update_mappings": lambda: Session.bulk_update_mappings(Entry, [{"id": 1, "text": "new"}]),
    "bulk_save_objects and add": save_and_add,
}
expected = [(1, 1), (1, 1), (1, 0), (1, 0), (1, 0), (2, 2)]
for number, (name, write) in enumerate(ways.items()):
    engine = sqlalchemy.create_engine(f"sqlite:///{number}.db")
    Base.metadata.create_all(engine)
    Session = scoped_session(sessionmaker(engine))
    zope.sqlalchemy.register(Session)
    with transaction.manager:
        Session.add(Entry(id=1, text="old"))
    write()
    before = count()
    transaction.commit()
    after = count()
    transaction.abort()
    print(f"{name}: before the commit {before}, after it {after}")
    assert (before, after) == expected[number]
END
