//! The statements of a pack, for both kinds of databases. Tids go by the name `stop` where the pack
//! time is meant: the last transaction before it.

/// The statements of one kind of database.
#[derive(Debug)]
pub(super) struct PackSql {
    /// (time): the last transaction up to the pack time, or null.
    pub stop: &'static str,
    /// (oids, stop): the revisions that were current at the pack time: oid, tid, state. (Without
    /// history: those that are current.)
    pub states: &'static str,
    /// (oid, tid, stop): the next page of revisions behind that one, up to the pack time: oid, tid,
    /// whether the object is gone, and the tid of the revision after it or null.
    pub revisions: &'static str,
    /// (oids, tids): removes revisions that are current and of objects that are garbage, with the
    /// commit lock held; how many, and one column for each statement.
    pub remove_garbage: &'static [&'static str],
}

/// What the connection of a pack begins with. If this process is stopped in the middle of a
/// transaction, PostgreSQL ends the connection, so that nobody waits for its locks. What a pack removes
/// may be there again after a power cut, so there is no need to wait for the disk.
pub(super) const BEGIN: &str = "SET idle_in_transaction_session_timeout = '60s';
    SET synchronous_commit = off";
/// Begins a transaction that waits for nothing for long, so that nobody waits for it.
pub(super) const BEGIN_ALONE: &str = "BEGIN; SET LOCAL lock_timeout = '1s'";
/// (oids): those that nobody is about to change.
pub(super) const UNUSED: &str =
    "SELECT x FROM unnest($1::bigint[]) x WHERE pg_try_advisory_xact_lock(x)";
/// (oids): those of blobs.
pub(super) const WITH_BLOBS: &str =
    "SELECT DISTINCT zoid FROM blob_chunk WHERE zoid = ANY ($1::bigint[])";
/// (oid): a row if there is the object.
pub(super) const IS_THERE: &str =
    "SELECT FROM object_state WHERE zoid = $1 AND state IS NOT NULL LIMIT 1";
/// (tid): what was committed after it: oid, tid, state.
pub(super) const LATER: &str =
    "SELECT zoid, tid, state FROM object_state WHERE tid > $1 ORDER BY tid";

/// (oids, tids): removes revisions that are not current. Only with history.
pub(super) const REMOVE_SUPERSEDED: &str = "DELETE FROM object_state s
    USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
    WHERE s.zoid = u.zoid AND s.tid = u.tid
        AND NOT EXISTS (SELECT FROM current_object c WHERE c.zoid = s.zoid AND c.tid = s.tid)
    RETURNING 1";
/// (oids, tids): what stood on them is the first revision from now on. Only with history.
pub(super) const CUT_CHAINS: &str = "UPDATE object_state s SET prev_tid = 0
    FROM unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
    WHERE s.zoid = u.zoid AND s.prev_tid = u.tid
        AND NOT EXISTS (SELECT FROM object_state o WHERE o.zoid = u.zoid AND o.tid = u.tid)";
/// (tid, stop): marks a page of transactions behind that one as packed, so that they are not undone;
/// the last of them, or null. Only with history.
pub(super) const MARK_PACKED: &str = "WITH page AS
        (SELECT tid FROM transaction WHERE tid > $1 AND tid <= $2 ORDER BY tid LIMIT 10000),
    marked AS
        (UPDATE transaction t SET packed = true FROM page WHERE t.tid = page.tid AND NOT t.packed)
    SELECT max(tid) FROM page";
/// (tid, stop, count): up to so many transactions behind that one that have no objects. Not the last one of
/// all: it is that by which tids are chosen, and changes looked for. Only with history.
pub(super) const EMPTY: &str = "SELECT t.tid FROM transaction t
    WHERE t.tid > $1 AND t.tid <= $2 AND t.tid < (SELECT max(tid) FROM transaction)
        AND NOT EXISTS (SELECT FROM object_state s WHERE s.tid = t.tid)
    ORDER BY t.tid LIMIT $3";
/// (tids): removes them, with the commit lock held. (Packs by RelStorage leave revisions that stand on
/// ones that are gone.) Only with history.
pub(super) const REMOVE_EMPTY: [&str; 4] = [
    "UPDATE object_state SET prev_tid = 0 WHERE prev_tid = ANY ($1::bigint[])",
    "DELETE FROM object_ref WHERE tid = ANY ($1::bigint[])",
    "DELETE FROM object_refs_added WHERE tid = ANY ($1::bigint[])",
    "DELETE FROM transaction WHERE tid = ANY ($1::bigint[])",
];

pub(super) static PRESERVING: PackSql = PackSql {
    stop: "SELECT max(tid) FROM transaction WHERE tid > 0 AND tid <= $1",
    states: "SELECT s.zoid, s.tid, s.state FROM unnest($1::bigint[]) u(zoid), LATERAL
            (SELECT o.zoid, o.tid, o.state FROM object_state o
             WHERE o.zoid = u.zoid AND o.tid <= $2 ORDER BY o.tid DESC LIMIT 1) s",
    revisions: "SELECT s.zoid, s.tid, s.state IS NULL,
            (SELECT min(n.tid) FROM object_state n WHERE n.zoid = s.zoid AND n.tid > s.tid)
        FROM object_state s WHERE (s.zoid, s.tid) > ($1, $2) AND s.tid <= $3
        ORDER BY s.zoid, s.tid LIMIT 5000",
    remove_garbage: &[
        "DELETE FROM current_object c USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
            WHERE c.zoid = u.zoid AND c.tid = u.tid",
        "DELETE FROM object_state s USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
            WHERE s.zoid = u.zoid AND s.tid = u.tid
                AND NOT EXISTS (SELECT FROM current_object c WHERE c.zoid = s.zoid)",
    ],
};

pub(super) static FREE: PackSql = PackSql {
    stop: "SELECT max(tid) FROM object_state WHERE tid <= $1",
    states: "SELECT zoid, tid, state FROM object_state
        WHERE zoid = ANY ($1::bigint[]) AND $2::bigint IS NOT NULL",
    revisions: "SELECT zoid, tid, state IS NULL, NULL::bigint FROM object_state
        WHERE zoid > $1 AND $2::bigint IS NOT NULL AND tid <= $3 ORDER BY zoid LIMIT 5000",
    remove_garbage: &[
        // The last transaction stays: it is that by which tids are chosen.
        "UPDATE object_state s SET state = NULL, state_size = 0
            FROM unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
            WHERE s.zoid = u.zoid AND s.tid = u.tid AND s.state IS NOT NULL
                AND s.tid = (SELECT max(tid) FROM object_state)",
        "DELETE FROM blob_chunk b USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid), object_state s
            WHERE b.zoid = u.zoid AND s.zoid = u.zoid AND s.tid = u.tid",
        "DELETE FROM object_refs_added r USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid), object_state s
            WHERE r.zoid = u.zoid AND s.zoid = u.zoid AND s.tid = u.tid",
        "DELETE FROM object_ref r USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid), object_state s
            WHERE r.zoid = u.zoid AND s.zoid = u.zoid AND s.tid = u.tid",
        "DELETE FROM object_state s USING unnest($1::bigint[], $2::bigint[]) u(zoid, tid)
            WHERE s.zoid = u.zoid AND s.tid = u.tid
                AND s.tid < (SELECT max(tid) FROM object_state)",
    ],
};
