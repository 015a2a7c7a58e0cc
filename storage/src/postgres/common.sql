-- What both kinds of databases have, as RelStorage 4.3 calls it.
CREATE TABLE commit_row_lock (tid bigint NOT NULL PRIMARY KEY);
INSERT INTO commit_row_lock VALUES (0);

CREATE SEQUENCE zoid_seq;

CREATE TABLE pack_object (
    zoid bigint NOT NULL PRIMARY KEY,
    keep boolean NOT NULL,
    keep_tid bigint NOT NULL,
    visited boolean NOT NULL DEFAULT false
);
CREATE INDEX pack_object_keep_false ON pack_object (zoid) WHERE keep = false;
CREATE INDEX pack_object_keep_true ON pack_object (visited) WHERE keep = true;

-- Two revisions of a blob may share a large object, after an undo.
CREATE FUNCTION blob_chunk_delete_trigger() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF (SELECT count(*) FROM blob_chunk WHERE chunk = OLD.chunk) = 1 THEN
        PERFORM lo_unlink(OLD.chunk);
    END IF;
    RETURN OLD;
END
$body$;
