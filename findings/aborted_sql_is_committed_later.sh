#!/usr/bin/env bash
# With zope.sqlalchemy's keep_session, what a transaction aborts is committed by the next one.
#
# Expected: transaction.abort() takes back the SQL of the session, as it takes back the objects of ZODB, also if
# keep_session=True keeps the session open so that loaded objects stay usable after a commit.
# Seen: the abort only marks the session's objects as expired. The SQL transaction stays open with what has been
# flushed, and the next transaction in which the session is used joins it and commits it all. So also at a retry
# after a ConflictError of ZODB: the second attempt commits what both attempts have written.
# Why it matters: the error page says that nothing was stored; the row appears with the next request of the
# thread, whoever made it. Without keep_session nothing of this happens.
# Versions: zope.sqlalchemy 4.1, SQLAlchemy 2.1.9 (sqlite3), transaction 5.1, Python 3.11.
#
# Output:
# keep_session=False, committed: second order, payment of attempt 2
# keep_session=True, committed: aborted order, second order, payment of attempt 1, payment of attempt 2
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
from sqlalchemy.orm import DeclarativeBase, mapped_column, sessionmaker


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entry"
    id = mapped_column(sqlalchemy.Integer, primary_key=True)
    text = mapped_column(sqlalchemy.String)


def add(session, text):
    session.add(Entry(text=text))
    session.flush()


for keep in False, True:
    engine = sqlalchemy.create_engine(f"sqlite:///{keep}.db")
    Base.metadata.create_all(engine)
    session = sessionmaker(engine)()
    zope.sqlalchemy.register(session, keep_session=keep)
    add(session, "aborted order")
    transaction.abort()
    add(session, "second order")
    transaction.commit()
    for number in 1, 2:
        try:
            with transaction.manager:
                add(session, f"payment of attempt {number}")
                if number == 1:
                    raise transaction.interfaces.TransientError
        except transaction.interfaces.TransientError:
            pass
    with sqlalchemy.create_engine(f"sqlite:///{keep}.db").connect() as connection:
        rows = connection.scalars(sqlalchemy.text("SELECT text FROM entry ORDER BY id")).all()
    print(f"keep_session={keep}, committed: {', '.join(rows)}")
    lost = [] if keep else ["aborted order", "payment of attempt 1"]
    assert [row for row in ("aborted order", "payment of attempt 1") if row not in rows] == lost
    assert rows[-1] == "payment of attempt 2" and "second order" in rows
END
