"""Settings of PostgreSQL, and rights, that don't fit: refused with what to do, or no matter."""
import itertools
import threading

import pytest
from persistent.mapping import PersistentMapping
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.POSException import ConflictError, ReadOnlyError

from postgres.test_relstorage import add_counters, increment, open_db, total

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

NUMBERS = itertools.count(1)
with_history = pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)


@pytest.fixture
def role(cluster, database):
    """A role of the test's own, which owns nothing. The servers come behind it: they are to end before it goes."""
    name = f'role{next(NUMBERS)}'
    database.sql(f'CREATE ROLE {name} LOGIN')
    yield name
    cluster.sql('postgres', f'SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = \'{name}\'')
    database.sql(f'DROP OWNED BY {name}; DROP ROLE {name}')


def section_of(role, database, *lines):
    return database.section(*lines).replace("user='zodb'", f"user='{role}'")


def refusal(serve, section):
    """What a server says that does not start."""
    server = serve(storages=section, ready=False)
    assert server.wait() == 1
    log = server.log()
    assert 'panicked' not in log
    return log


def test_rights_that_a_role_lacks(role, serve, database):
    section = section_of(role, database)
    assert 'OWNER TO the role' in refusal(serve, section)
    DB(ClientStorage(serve(storages=database.section()).address)).close()
    log = refusal(serve, section)
    assert 'use the role that has made the tables, or set read-only true' in log
    assert 'UPDATE on zoid_seq' in log and 'DELETE on object_state' in log and 'UPDATE on commit_row_lock' in log

    tables = 'object_state, blob_chunk' + (', transaction, current_object' if database.keep_history else '')
    database.sql(f'GRANT SELECT ON {tables} TO {role}')
    assert 'INSERT on object_state' in refusal(serve, section)
    # That is enough to read.
    db = DB(ClientStorage(serve(storages=section_of(role, database, 'read-only true')).address, read_only=True))
    with db.transaction() as connection:
        assert not connection.root()
    with pytest.raises(ReadOnlyError):
        db.storage.new_oid()
    db.close()

    database.sql(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}')
    assert '(USAGE on zoid_seq, UPDATE on zoid_seq)' in refusal(serve, section)
    database.sql(f'GRANT ALL ON SEQUENCE zoid_seq TO {role}')
    database.sql(f'REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC')
    assert 'GRANT TEMPORARY ON DATABASE' in refusal(serve, section)
    database.sql(f'GRANT TEMPORARY ON DATABASE {database.name} TO {role}; REVOKE ALL ON SCHEMA public FROM PUBLIC')
    assert 'GRANT USAGE ON SCHEMA public' in refusal(serve, section)
    database.sql(f'GRANT USAGE ON SCHEMA public TO {role}')
    db = open_db(serve(storages=section))
    add_counters(db)
    increment(db, 0)
    db.storage.pack(wait=True)
    assert total(db) == 1
    db.close()


@with_history
def test_a_database_that_lacks_a_part(serve, database):
    serve(storages=database.section()).stop()
    database.sql('DROP TABLE pack_state; DROP SEQUENCE zoid_seq')
    assert 'lacks zoid_seq' in refusal(serve, database.section())


def test_settings_of_the_role(role, serve, database):
    """Those that would break a server, or lose commits, don't count for it."""
    database.sql(f'CREATE SCHEMA elsewhere; GRANT ALL ON SCHEMA public TO {role}')
    for setting in ('search_path = elsewhere', 'statement_timeout = 2000', 'lock_timeout = 1', 'idle_session_timeout = 2000',
                    'idle_in_transaction_session_timeout = 1', 'default_transaction_isolation = serializable',
                    'default_transaction_read_only = on', 'default_transaction_deferrable = on',
                    'synchronous_commit = off', 'bytea_output = escape', "\"TimeZone\" = 'Asia/Kathmandu'",
                    "\"DateStyle\" = 'SQL, DMY'", 'standard_conforming_strings = off', 'enable_indexscan = off',
                    'client_min_messages = debug5', 'client_encoding = latin1', 'array_nulls = off'):
        database.sql(f'ALTER ROLE {role} SET {setting}')
    dbs = [open_db(serve(storages=section_of(role, database))) for _ in range(2)]
    add_counters(dbs[0])
    threads = [threading.Thread(target=lambda db=db: [increment(db, n) for n in range(10)]) for db in dbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(dbs[0]) == total(dbs[1]) == 20
    assert database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'elsewhere'") == ['0']
    # It waits for another process without end, as it would without these.
    holder = threading.Thread(target=lambda: database.sql(
        'BEGIN; SELECT pg_advisory_xact_lock(-1); SELECT pg_sleep(3); COMMIT'))
    holder.start()
    wait_until(lambda: database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                                    'AND objid = 4294967295 AND database = (SELECT oid FROM pg_database '
                                    'WHERE datname = current_database())') != ['0'])
    assert increment(dbs[0], 0) == 0
    holder.join()
    dbs[0].storage.pack(wait=True)
    for db in dbs:
        db.close()


@with_history
@pytest.mark.parametrize('configured, used', [('off', 'on'), ('on', 'on'), ('local', 'local'),
                                              ('remote_apply', 'remote_apply')])
def test_commits_are_on_the_disk(role, serve, database, configured, used):
    database.sql(f'GRANT ALL ON SCHEMA public TO {role}; ALTER ROLE {role} SET synchronous_commit = {configured}')
    db = open_db(serve(storages=section_of(role, database)))
    # What the process uses that writes.
    database.sql('''CREATE TABLE used (name text); GRANT ALL ON used TO PUBLIC;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO used VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$''')
    database.sql(f'SET ROLE {role}; CREATE TRIGGER note AFTER INSERT ON object_state EXECUTE FUNCTION note()')
    add_counters(db)
    assert set(database.sql('SELECT name FROM used')) == {used}
    db.close()


@with_history
def test_too_many_connections(role, serve, cluster, database):
    """A role may have only some: what can be done is done, the rest is to be tried again."""
    database.sql(f'GRANT ALL ON SCHEMA public TO {role}; ALTER ROLE {role} CONNECTION LIMIT 30')
    server = serve(storages=section_of(role, database))
    db = open_db(server)
    add_counters(db)
    database.sql(f'ALTER ROLE {role} CONNECTION LIMIT 0')
    cluster.sql('postgres', f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
    with pytest.raises(ConflictError) as told:
        with db.transaction() as connection:
            connection.root()['counters'][0]['n'] += 1
            connection.root()['more'] = PersistentMapping()
    assert 'too many connections for role' in str(told.value) and 'CONNECTION LIMIT' in str(told.value)
    wait_until(lambda: 'too many connections for role' in server.log())
    database.sql(f'ALTER ROLE {role} CONNECTION LIMIT 30')
    increment(db, 0)
    assert total(db) == 1
    db.close()


@with_history
def test_a_standby_is_only_read(serve, cluster, database):
    db = open_db(serve(storages=database.section()))
    add_counters(db)
    standby = cluster.standby()
    try:
        there = database.section().replace(f"port='{cluster.port}'", f"port='{standby.port}'")
        assert 'is a standby' in refusal(serve, there)
        read_only = there.replace('keep-history', 'read-only true\nkeep-history', 1)
        server = serve(storages=read_only)
        reader = DB(ClientStorage(server.address, read_only=True))
        increment(db, 0)
        wait_until(lambda: total(reader) == 1)
        reader.close()
        server.stop()
    finally:
        standby.stop('immediate')
    db.close()
