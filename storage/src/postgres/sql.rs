//! The statements, for both kinds of databases.
//!
//! Tables are those of RelStorage 4.3. Functions of ours live in `pg_temp`, so that nothing of them
//! is seen by others. A tid and an oid are `bigint`, so those of 2^63 and more can't be stored.
//!
//! Statements leave no choice of an index, whatever PostgreSQL believes of the tables:
//! - `s.tid = t.tid AND s.tid BETWEEN t.tid AND t.tid` says one thing twice: so it expects few rows also
//!   if it believes that each transaction has a large part of all objects. Else, the index of oids and tids
//!   may seem to be as good as that of tids, and is read as a whole.
//! - Oids and tids are compared in pairs. `zoid = $1 AND tid = $2` may go by the index of tids if most
//!   transactions have one object, and reads through all objects of a large one;
//!   `zoid = $1 ... ORDER BY tid LIMIT 1`, if few objects have most of the revisions.
//! - [`by_object`] is for the checks of foreign keys, whose statements are PostgreSQL's own.

/// The statements of one kind of database.
#[derive(Debug)]
pub(super) struct Sql {
    /// Creates what an empty database lacks.
    pub schema: [&'static str; 2],
    /// For a connection that locks: `pg_temp.rzeo_lock`.
    pub lock_function: &'static str,
    /// For the connection that commits: `pg_temp.rzeo_finish`.
    pub finish_function: &'static str,
    /// (oid, before, last): the state and tid of the newest revision before `before`, and the tid of
    /// the next one, not later than `last`.
    pub revision: &'static str,
    /// (oid, before): the same, where nothing from `before` on counts, so that there is no next one.
    pub newest: &'static str,
    /// (oid, tid): the state.
    pub serial: &'static str,
    /// The last tid.
    pub last_tid: &'static str,
    /// (tids): for the number of each, the first tid after it, and the database's clock in seconds since
    /// 1970.
    pub first_after: &'static str,
    /// (tid): the timeline of the database's log, and whether it has this transaction (or tid is 0).
    pub is_there: &'static str,
    /// (since): the tids after it with their oids, in order; a null oid for a transaction without objects; and whether
    /// it is packed. With history, up to 1,000 transactions. Without, all (but one object more than clients are told of), and
    /// the states that will be found nowhere once they are overwritten, if they are not large, and not more than 64 MB.
    pub changes: &'static str,
    /// (tid): as `is_there`, and behind it as `changes`, with nulls if there are none.
    pub poll: &'static str,
    /// (count, last): the last transactions with their oids, in order. Without history, what was changed again
    /// since counts as changed by the last one: by which before, is not known.
    pub last_changes: &'static str,
    /// (since, last, count): the objects changed after the one and not after the other, as an array, of
    /// so many rows at most; how many rows there were. Also those changed again since: what was before may be gone.
    pub changed_since: &'static str,
    /// (oid, last): the first object from this oid on: oid, tid and state; then the next oid.
    pub next_objects: &'static str,
    /// (after, stop): up to 1,000 transactions: tid, packed, user, description, extension, bytes of
    /// its states.
    pub transactions: &'static str,
    /// (first, last): the objects of these transactions: oid, state, tid.
    pub records_of_some: &'static str,
    /// (tid): the oids of a transaction in their order, and how many bytes each state has.
    pub record_sizes: &'static str,
    /// (tid, oids): some objects of a transaction, in the order of oids, with their states.
    pub records: &'static str,
    /// Has PostgreSQL look how large the tables are.
    pub analyze: &'static str,
    /// About how many objects there are, and the size of the database in bytes.
    pub sizes: &'static str,
    /// (oid, since, state): the tid of a transaction after `since` that wrote this state.
    pub written: &'static str,
}

/// Until the end of the transaction, PostgreSQL looks for an oid and a tid by the index that has both, also
/// if that of tids seems to cost as much: of bitmaps, it then takes the one that leaves fewer rows. Not for what
/// looks for the first or last tid.
macro_rules! by_object {
    () => {
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = on; SET LOCAL cpu_operator_cost = 0;"
    };
}
pub(super) const BY_OBJECT: &str = by_object!();

/// First unlocks what others held before over this connection. Then takes
/// session locks on objects, all or none, without waiting: what is written, exclusive; what is
/// checked, shared. Returns the serials of all that exist, or one row with the serial -1 for the
/// object that somebody else holds. A lock is taken and counted in one step: between two, the call may be
/// cancelled. If the function fails, it has unlocked all that it was to unlock, and took no locks.
macro_rules! lock_function {
    ($current:literal) => {
        concat!(
            "CREATE FUNCTION pg_temp.rzeo_lock(written bigint[], checked bigint[],
                 unlocked bigint[], unlocked_shared bigint[])
                 RETURNS TABLE (object bigint, serial bigint) LANGUAGE plpgsql AS $body$
             DECLARE
                 w integer := 0;
                 c integer := 0;
                 u integer := 0;
                 s integer := 0;
                 tried integer := 0;
                 busy bigint;
             BEGIN
                 FOREACH object IN ARRAY unlocked LOOP
                     u := u + (pg_advisory_unlock(object) IS NOT NULL)::integer;
                 END LOOP;
                 FOREACH object IN ARRAY unlocked_shared LOOP
                     s := s + (pg_advisory_unlock_shared(object) IS NOT NULL)::integer;
                 END LOOP;
                 FOREACH object IN ARRAY checked LOOP
                     tried := tried + 1;
                     c := c + pg_try_advisory_lock_shared(object)::integer;
                     IF c < tried THEN busy := object; EXIT; END IF;
                 END LOOP;
                 IF busy IS NULL THEN
                     tried := 0;
                     FOREACH object IN ARRAY written LOOP
                         tried := tried + 1;
                         w := w + pg_try_advisory_lock(object)::integer;
                         IF w < tried THEN busy := object; EXIT; END IF;
                     END LOOP;
                 END IF;
                 IF busy IS NOT NULL THEN
                     PERFORM pg_advisory_unlock(x) FROM unnest(written[:w]) x;
                     PERFORM pg_advisory_unlock_shared(x) FROM unnest(checked[:c]) x;
                     object := busy;
                     serial := -1;
                     RETURN NEXT;
                     RETURN;
                 END IF;
                 RETURN QUERY SELECT zoid, tid FROM ",
            $current,
            "        WHERE zoid = ANY (written || checked);
             EXCEPTION WHEN query_canceled OR OTHERS THEN
                 PERFORM pg_advisory_unlock(x) FROM unnest(unlocked[u + 1:]) x;
                 PERFORM pg_advisory_unlock_shared(x) FROM unnest(unlocked_shared[s + 1:]) x;
                 PERFORM pg_advisory_unlock(x) FROM unnest(written[:w]) x;
                 PERFORM pg_advisory_unlock_shared(x) FROM unnest(checked[:c]) x;
                 RAISE;
             END
             $body$"
        )
    };
}

/// The calls of the functions, and of unlocking.
pub(super) const LOCK: &str = "SELECT object, serial FROM pg_temp.rzeo_lock($1, $2, $3, $4)";
pub(super) const UNLOCK: &str = "SELECT
    (SELECT count(pg_advisory_unlock(x)) FROM unnest($1::bigint[]) x),
    (SELECT count(pg_advisory_unlock_shared(x)) FROM unnest($2::bigint[]) x)";
pub(super) const FINISH: &str = "SELECT kind, a, b, c, state FROM pg_temp.rzeo_finish(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
/// (locks): those that nobody has any more.
pub(super) const GONE: &str =
    "SELECT x FROM unnest($1::bigint[]) x WHERE pg_try_advisory_xact_lock_shared(x)";

/// One pack at a time over all processes, and no undo or copy beside it: a row with true if this
/// connection has the lock now.
pub(super) const TRY_PACK_LOCK: &str = "SELECT pg_try_advisory_lock(-2)";
/// Nobody commits as long as the transaction has this lock.
pub(super) const COMMIT_LOCK: &str = "SELECT pg_advisory_xact_lock(-1)";
/// Waits until nobody commits; a row with true if somebody was.
pub(super) const TURN: &str = "SELECT CASE WHEN pg_try_advisory_xact_lock(-1) THEN false
    ELSE pg_advisory_xact_lock(-1) IS NOT NULL END";
/// What older versions of RelStorage lock to commit. To lock it writes to the database.
pub(super) const COMMIT_ROW_LOCK: &str = "SELECT FROM commit_row_lock FOR UPDATE";

const SERIAL: &str = "SELECT state FROM object_state
    WHERE (zoid, tid) >= ($1, $2) AND (zoid, tid) <= ($1, $2)";

const RECORDS_OF_SOME: &str = "SELECT zoid, state, tid FROM object_state
    WHERE tid >= $1 AND tid <= $2 ORDER BY tid, zoid";

const RECORD_SIZES: &str = "SELECT array_agg(zoid ORDER BY zoid),
        array_agg(coalesce(octet_length(state), 0) ORDER BY zoid)
    FROM object_state WHERE tid = $1 AND tid BETWEEN $1 AND $1";
/// The oids come first: to look for those of a transaction behind an oid would be to look at all of
/// them, or of the database, each time.
const RECORDS: &str = "SELECT s.zoid, s.state FROM unnest($2::bigint[]) u(zoid), LATERAL
        (SELECT o.zoid, o.state FROM object_state o
         WHERE (o.zoid, o.tid) >= (u.zoid, $1) AND (o.zoid, o.tid) <= (u.zoid, $1) LIMIT 1) s
    ORDER BY s.zoid";

/// One transaction for all that are in the batch. `wanted` has the tid that a transaction insists on,
/// or 0; `base` the serial that a record was made from, 0 for a new object, -1 if that does not
/// matter. Rows: `w`, somebody else was committing; `t`, number, tid of a transaction that is committed; `r`, number, oid, current serial
/// of one that is refused, since somebody else was faster; `l`, number, last tid: refused, since the
/// tid that it wants is not later than the last; `o`, tid, oid (or null), 1 if it is packed (2: a state
/// was left out): the first 501 changes by others after `since`, with states as in [`Sql::changes`], but of 32 kB.
///
/// A number that is negative stands for an object that the transaction has read and does not write:
/// `base` is the serial that it is to have still. If it has another one, the row is `c` instead of `r`.
/// So nothing that was voted on can have changed, even if its locks are lost and nobody has noticed.
///
/// Who gets a lock that we have lost, and looks at the object before we write it, may write it after us without
/// another look, as RelStorage does. So `locks` has the lock that each transaction's connection for locks has as long as
/// it is there: the row is `g` if it is gone at the beginning. If it goes while rows are written, nothing is committed.
/// What is left is for [`GONE`], behind the commit.
///
/// A pack by RelStorage may have removed the last transaction: tids go on behind `since` all the same, and behind
/// what clients know of a database that has lost it since (`published`).
macro_rules! finish_function {
    ($log:literal, $others:literal, $current:literal, $write:expr) => {
        concat!(
            "CREATE FUNCTION pg_temp.rzeo_finish(
                 since bigint, wanted bigint[], is_packed boolean[],
                 users bytea[], descriptions bytea[], extensions bytea[],
                 numbers integer[], objects bigint[], bases bigint[], states bytea[], locks bigint[],
                 published bigint
             ) RETURNS TABLE (kind text, a bigint, b bigint, c bigint, state bytea) LANGUAGE plpgsql AS $body$
             #variable_conflict use_column
             DECLARE
                 last bigint;
                 now bigint;
                 tids bigint[] := '{}';
                 refused integer[] := '{}';
                 i integer;
                 utc timestamp;
             BEGIN
                 IF NOT pg_try_advisory_xact_lock(-1) THEN
                     PERFORM pg_advisory_xact_lock(-1);
                     kind := 'w';
                     a := 0;
                     RETURN NEXT;
                 END IF;
                 IF EXISTS (SELECT FROM unnest(wanted) x WHERE x > 0) THEN
                     PERFORM FROM commit_row_lock FOR UPDATE;
                 END IF;
                 SELECT greatest(max(tid), since, published) INTO last FROM ", $log, ";
                 RETURN QUERY ", $others, ";

                 FOR i, b, c IN
                     SELECT r.number, r.object, coalesce(x.tid, 0)
                     FROM unnest(numbers, objects, bases) r(number, object, base)
                     LEFT JOIN ", $current, " x ON x.zoid = r.object
                     WHERE r.base >= 0 AND coalesce(x.tid, 0) <> r.base
                 LOOP
                     IF abs(i) <> ALL (refused) THEN
                         refused := refused || abs(i);
                         kind := CASE WHEN i < 0 THEN 'c' ELSE 'r' END;
                         a := abs(i);
                         RETURN NEXT;
                     END IF;
                 END LOOP;
                 FOR i IN 1 .. cardinality(locks) LOOP
                     IF i <> ALL (refused) AND pg_try_advisory_xact_lock_shared(locks[i]) THEN
                         refused := refused || i;
                         kind := 'g'; a := i; b := NULL; c := NULL;
                         RETURN NEXT;
                     END IF;
                 END LOOP;

                 utc := clock_timestamp() AT TIME ZONE 'UTC';
                 now := ((((((extract(year FROM utc) - 1900) * 12 + extract(month FROM utc) - 1) * 31
                     + extract(day FROM utc) - 1) * 24 + extract(hour FROM utc)) * 60
                     + extract(minute FROM utc))::bigint << 32)
                     + floor(extract(second FROM utc)::float8 * (4294967296.0 / 60.0))::bigint;
                 FOR i IN 1 .. cardinality(wanted) LOOP
                     IF i = ANY (refused) THEN
                         tids := tids || NULL::bigint;
                     ELSIF wanted[i] > 0 AND wanted[i] <= last THEN
                         tids := tids || NULL::bigint;
                         kind := 'l'; a := i; b := last; c := NULL;
                         RETURN NEXT;
                     ELSIF last = 9223372036854775807 THEN
                         RAISE 'there is no tid later than % of table %', last, '", $log, "'
                             USING ERRCODE = '22003';
                     ELSE
                         last := CASE WHEN wanted[i] > 0 THEN wanted[i]
                                      ELSE greatest(now, last + 1) END;
                         tids := tids || last;
                         kind := 't'; a := i; b := last; c := NULL;
                         RETURN NEXT;
                     END IF;
                 END LOOP;
                 ", $write, "
                 FOR i IN 1 .. cardinality(locks) LOOP
                     IF i <> ALL (refused) AND pg_try_advisory_xact_lock_shared(locks[i]) THEN
                         RAISE 'a connection that holds locks is lost' USING ERRCODE = '40001';
                     END IF;
                 END LOOP;
             END
             $body$"
        )
    };
}

macro_rules! is_there {
    ($log:literal) => {
        concat!(
            "SELECT CASE WHEN NOT pg_is_in_recovery()
                THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
             $1::bigint = 0 OR EXISTS (SELECT FROM ",
            $log,
            " WHERE tid = $1)"
        )
    };
}

macro_rules! first_after {
    ($log:literal) => {
        concat!(
            "SELECT t.number, (SELECT min(l.tid) FROM ",
            $log,
            " l WHERE l.tid > t.tid), extract(epoch FROM clock_timestamp())::float8
            FROM unnest($1::bigint[]) WITH ORDINALITY t(tid, number)"
        )
    };
}

macro_rules! changes {
    ("transaction") => {
        "SELECT t.tid, s.zoid, NULL::bytea, t.packed
                FROM (SELECT tid, packed FROM transaction WHERE tid > $1 ORDER BY tid LIMIT 1000) t
                LEFT JOIN object_state s ON s.tid = t.tid AND s.tid BETWEEN t.tid AND t.tid ORDER BY t.tid"
    };
    ("object_state") => {
        "SELECT tid, zoid, CASE WHEN state_size <= 65536 AND
                    sum(state_size) OVER (ORDER BY tid, zoid ROWS UNBOUNDED PRECEDING) <= 67108864
                    THEN state END, false FROM object_state
                WHERE tid > $1 ORDER BY tid LIMIT 1000001"
    };
}

macro_rules! poll {
    ($log:tt) => {
        concat!(
            "SELECT w.*, c.* FROM (",
            is_there!($log),
            ") w LEFT JOIN (",
            changes!($log),
            ") c ON true ORDER BY 3"
        )
    };
}

pub(super) static PRESERVING: Sql = Sql {
    schema: [include_str!("common.sql"), include_str!("preserving.sql")],
    lock_function: lock_function!("current_object"),
    finish_function: finish_function!(
        "transaction",
        "SELECT 'o', t.tid, s.zoid, t.packed::integer::bigint, NULL::bytea FROM transaction t
             LEFT JOIN object_state s ON s.tid = t.tid AND s.tid BETWEEN t.tid AND t.tid
             WHERE t.tid > since ORDER BY t.tid LIMIT 501",
        "current_object",
        concat!(
            "INSERT INTO transaction (tid, packed, username, description, extension)
             SELECT t.tid, t.packed, t.username, t.description, t.extension
             FROM unnest(tids, is_packed, users, descriptions, extensions)
                 t(tid, packed, username, description, extension) WHERE t.tid IS NOT NULL;
         INSERT INTO object_state (zoid, tid, prev_tid, md5, state_size, state)
             SELECT r.object, tids[r.number], coalesce(x.tid, 0), md5(r.state),
                    coalesce(length(r.state), 0), r.state
             FROM unnest(numbers, objects, states) r(number, object, state)
             LEFT JOIN current_object x ON x.zoid = r.object
             WHERE tids[r.number] IS NOT NULL; ",
            by_object!(),
            " INSERT INTO current_object (zoid, tid)
             SELECT r.object, tids[r.number] FROM unnest(numbers, objects) r(number, object)
             WHERE tids[r.number] IS NOT NULL
             ON CONFLICT (zoid) DO UPDATE SET tid = excluded.tid;"
        )
    ),
    revision: "SELECT s.state, s.tid,
            (SELECT n.tid FROM object_state n
             WHERE (n.zoid, n.tid) > (s.zoid, s.tid) AND (n.zoid, n.tid) <= (s.zoid, $3)
             ORDER BY n.zoid, n.tid LIMIT 1)
        FROM object_state s WHERE (s.zoid, s.tid) >= ($1, 0) AND (s.zoid, s.tid) < ($1, $2)
        ORDER BY s.zoid DESC, s.tid DESC LIMIT 1",
    newest: "SELECT state, tid, NULL::bigint
        FROM object_state WHERE (zoid, tid) >= ($1, 0) AND (zoid, tid) < ($1, $2)
        ORDER BY zoid DESC, tid DESC LIMIT 1",
    serial: SERIAL,
    last_tid: "SELECT coalesce(max(tid), 0) FROM transaction",
    first_after: first_after!("transaction"),
    is_there: is_there!("transaction"),
    changes: changes!("transaction"),
    poll: poll!("transaction"),
    last_changes: "SELECT t.tid, s.zoid
        FROM (SELECT tid FROM transaction WHERE tid > 0 AND tid <= $2 ORDER BY tid DESC LIMIT $1) t
        LEFT JOIN object_state s ON s.tid = t.tid AND s.tid BETWEEN t.tid AND t.tid ORDER BY t.tid",
    changed_since: "SELECT array_agg(DISTINCT zoid), count(*) FROM
        (SELECT zoid FROM object_state WHERE tid > $1 AND $2::bigint IS NOT NULL
         ORDER BY tid LIMIT $3) t",
    next_objects: "SELECT c.zoid, s.tid, s.state FROM
            (SELECT zoid FROM current_object WHERE zoid >= $1 ORDER BY zoid LIMIT 2) c
        LEFT JOIN LATERAL
            (SELECT tid, state FROM object_state o
             WHERE (o.zoid, o.tid) >= (c.zoid, 0) AND (o.zoid, o.tid) <= (c.zoid, $2)
             ORDER BY o.zoid DESC, o.tid DESC LIMIT 1) s ON true
        ORDER BY c.zoid",
    transactions: "SELECT tid, packed, username, description, extension,
            (SELECT sum(coalesce(octet_length(state), 0) + 100)::bigint
             FROM object_state s WHERE s.tid = t.tid AND s.tid BETWEEN t.tid AND t.tid)
        FROM transaction t WHERE tid > $1 AND tid <= $2 ORDER BY tid LIMIT 1000",
    records_of_some: RECORDS_OF_SOME,
    record_sizes: RECORD_SIZES,
    records: RECORDS,
    analyze: "ANALYZE transaction, object_state, current_object",
    sizes: "SELECT greatest(reltuples, 0)::bigint, pg_database_size(current_database())
        FROM pg_class WHERE oid = 'current_object'::regclass",
    written: "SELECT tid FROM object_state WHERE (zoid, tid) > ($1, $2) AND zoid <= $1
        AND state IS NOT DISTINCT FROM $3 ORDER BY zoid, tid LIMIT 1",
};

/// An object that is deleted stays as a row without state until the next pack, so that all processes
/// hear of it. (RelStorage removes the row, and nobody hears of that.)
pub(super) static FREE: Sql = Sql {
    schema: [include_str!("common.sql"), include_str!("free.sql")],
    lock_function: lock_function!("object_state"),
    finish_function: finish_function!(
        "object_state",
        "SELECT 'o', s.tid, s.zoid, CASE WHEN s.is_small AND s.total > 32768 THEN 2::bigint END,
                 CASE WHEN s.is_small AND s.total <= 32768 THEN s.state END
             FROM (SELECT f.*, f.state_size <= 65536 AS is_small, sum(f.state_size)
                       FILTER (WHERE f.state_size <= 65536) OVER (ORDER BY f.tid ROWS UNBOUNDED PRECEDING) AS total
                   FROM (SELECT * FROM object_state WHERE tid > since ORDER BY tid LIMIT 501) f) s ORDER BY s.tid",
        "object_state",
        "INSERT INTO object_state (zoid, tid, state_size, state)
             SELECT r.object, tids[r.number], coalesce(length(r.state), 0), r.state
             FROM unnest(numbers, objects, states) r(number, object, state)
             WHERE tids[r.number] IS NOT NULL
             ON CONFLICT (zoid) DO UPDATE
             SET tid = excluded.tid, state_size = excluded.state_size, state = excluded.state;
         DELETE FROM blob_chunk WHERE zoid IN
             (SELECT r.object FROM unnest(numbers, objects) r(number, object)
              WHERE tids[r.number] IS NOT NULL);"
    ),
    revision: "SELECT state, tid, NULL::bigint FROM object_state
        WHERE zoid = $1 AND $2::bigint IS NOT NULL AND $3::bigint IS NOT NULL",
    newest: "SELECT state, tid, NULL::bigint FROM object_state
        WHERE zoid = $1 AND $2::bigint IS NOT NULL",
    serial: SERIAL,
    last_tid: "SELECT coalesce(max(tid), 0) FROM object_state",
    first_after: first_after!("object_state"),
    is_there: is_there!("object_state"),
    changes: changes!("object_state"),
    poll: poll!("object_state"),
    last_changes: "SELECT least(tid, $2), zoid FROM object_state WHERE tid >= (SELECT min(tid) FROM
            (SELECT DISTINCT tid FROM object_state WHERE tid <= $2 ORDER BY tid DESC LIMIT $1) t)
        ORDER BY tid",
    changed_since: "SELECT array_agg(zoid), count(*) FROM (SELECT zoid FROM object_state
        WHERE tid > $1 AND $2::bigint IS NOT NULL ORDER BY tid LIMIT $3) t",
    next_objects: "SELECT zoid, tid, state FROM object_state
        WHERE zoid >= $1 AND $2::bigint IS NOT NULL ORDER BY zoid LIMIT 2",
    transactions: "SELECT tid, true, ''::bytea, ''::bytea, ''::bytea,
            sum(coalesce(octet_length(state), 0) + 100)::bigint
        FROM object_state WHERE tid > $1 AND tid <= $2 GROUP BY tid ORDER BY tid LIMIT 1000",
    records_of_some: RECORDS_OF_SOME,
    record_sizes: RECORD_SIZES,
    records: RECORDS,
    analyze: "ANALYZE object_state",
    sizes: "SELECT greatest(reltuples, 0)::bigint, pg_database_size(current_database())
        FROM pg_class WHERE oid = 'object_state'::regclass",
    written: "SELECT tid FROM object_state WHERE zoid = $1 AND tid > $2
        AND state IS NOT DISTINCT FROM $3",
};

/// (oid): the tid of an object's last revision, or null.
pub(super) const LAST_REVISION: &str = "SELECT (SELECT tid FROM object_state
    WHERE (zoid, tid) >= ($1, 0) AND zoid <= $1 ORDER BY zoid DESC, tid DESC LIMIT 1)";
/// (tid): the last transaction before it, and whether it is packed. Only with history.
pub(super) const BEFORE: &str = "SELECT tid, packed FROM transaction
    WHERE tid > 0 AND tid < $1 ORDER BY tid DESC LIMIT 1";
/// (tid): whether there is this transaction, or it may have been packed away. Only with history.
pub(super) const IS_KNOWN: &str = "SELECT tid = $1 OR packed FROM transaction
    WHERE tid > 0 AND tid <= $1 ORDER BY tid DESC LIMIT 1";
/// (oids, tid): a row if any of the objects has a revision up to this tid.
pub(super) const HAS_OLDER: &str = "SELECT FROM unnest($1::bigint[]) u(zoid), LATERAL
        (SELECT FROM object_state o
         WHERE (o.zoid, o.tid) >= (u.zoid, 0) AND (o.zoid, o.tid) <= (u.zoid, $2) LIMIT 1) s
    LIMIT 1";
/// (oid, count): the newest revisions with what their transactions say. Only with history.
pub(super) const HISTORY: &str =
    "SELECT s.tid, s.state_size, t.username, t.description, t.extension
    FROM object_state s JOIN transaction t USING (tid)
    WHERE (s.zoid, s.tid) >= ($1, 0) AND (s.zoid, s.tid) <= ($1, $3)
    ORDER BY s.zoid DESC, s.tid DESC LIMIT $2";
/// (before): up to 1,000 transactions that can be undone, newest first. Only with history.
pub(super) const UNDO_LOG: &str = "SELECT tid, username, description, extension FROM transaction
    WHERE NOT packed AND tid > 0 AND tid < $1 ORDER BY tid DESC LIMIT 1000";
/// (tid): what a transaction wrote: oid, its state, the state before, the current tid and state, the
/// tid of the state before. Only with history.
pub(super) const UNDONE: &str = "SELECT s.zoid, s.state, p.state, c.tid, n.state, p.tid
    FROM object_state s
    LEFT JOIN LATERAL
        (SELECT o.tid, o.state FROM object_state o
         WHERE (o.zoid, o.tid) >= (s.zoid, s.prev_tid) AND (o.zoid, o.tid) <= (s.zoid, s.prev_tid)
         LIMIT 1) p ON true
    LEFT JOIN current_object c ON c.zoid = s.zoid
    LEFT JOIN LATERAL
        (SELECT o.state FROM object_state o
         WHERE (o.zoid, o.tid) >= (c.zoid, c.tid) AND (o.zoid, o.tid) <= (c.zoid, c.tid)
         LIMIT 1) n ON true
    WHERE s.tid = $1 AND s.tid BETWEEN $1 AND $1 ORDER BY s.zoid";
/// (tid): the objects that a transaction wrote. Only with history.
pub(super) const UNDONE_OBJECTS: &str = "SELECT zoid FROM object_state
    WHERE tid = $1 AND tid BETWEEN $1 AND $1";
/// (oid): the serial that counts as current, and that of the last revision. Only with history.
pub(super) const LAST_OF: &str = "SELECT c.tid,
        (SELECT s.tid FROM object_state s WHERE (s.zoid, s.tid) >= (c.zoid, 0) AND s.zoid <= c.zoid
         ORDER BY s.zoid DESC, s.tid DESC LIMIT 1)
    FROM current_object c WHERE c.zoid = $1";
/// (tid): a row if the transaction can be undone. Only with history.
pub(super) const CAN_BE_UNDONE: &str =
    "SELECT FROM transaction WHERE tid = $1 AND tid > 0 AND NOT packed";
