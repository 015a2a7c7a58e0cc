-- A database that keeps history.
CREATE TABLE transaction (
    tid bigint NOT NULL PRIMARY KEY,
    packed boolean NOT NULL DEFAULT false,
    is_empty boolean NOT NULL DEFAULT false,
    username bytea NOT NULL,
    description bytea NOT NULL,
    extension bytea
);
-- What the prev_tid of a new object refers to.
INSERT INTO transaction (tid, username, description)
    VALUES (0, 'system', 'special transaction for object creation');

CREATE TABLE object_state (
    zoid bigint NOT NULL,
    tid bigint NOT NULL REFERENCES transaction CHECK (tid > 0),
    prev_tid bigint NOT NULL REFERENCES transaction,
    md5 char(32),
    state_size bigint NOT NULL CHECK (state_size >= 0),
    state bytea,
    CONSTRAINT object_state_pk PRIMARY KEY (zoid, tid)
);
CREATE INDEX object_state_tid ON object_state (tid);
CREATE INDEX object_state_prev_tid ON object_state (prev_tid);

CREATE TABLE current_object (
    zoid bigint NOT NULL PRIMARY KEY,
    tid bigint NOT NULL,
    FOREIGN KEY (zoid, tid) REFERENCES object_state (zoid, tid)
);
CREATE INDEX current_object_tid ON current_object (tid);

CREATE TABLE blob_chunk (
    zoid bigint NOT NULL,
    tid bigint NOT NULL,
    chunk_num bigint NOT NULL,
    chunk oid NOT NULL,
    CONSTRAINT blob_chunk_pk PRIMARY KEY (zoid, tid, chunk_num),
    CONSTRAINT blob_chunk_fk FOREIGN KEY (zoid, tid)
        REFERENCES object_state (zoid, tid) ON DELETE CASCADE
);
CREATE INDEX blob_chunk_lookup ON blob_chunk (zoid, tid);

CREATE TABLE object_ref (
    zoid bigint NOT NULL,
    tid bigint NOT NULL,
    to_zoid bigint NOT NULL,
    PRIMARY KEY (tid, zoid, to_zoid)
);
CREATE TABLE object_refs_added (tid bigint NOT NULL PRIMARY KEY);
CREATE TABLE pack_state (
    tid bigint NOT NULL,
    zoid bigint NOT NULL,
    PRIMARY KEY (tid, zoid)
);
CREATE TABLE pack_state_tid (tid bigint NOT NULL PRIMARY KEY);

CREATE VIEW current_object_state AS
    SELECT object_state.zoid, object_state.tid, object_state.state
    FROM object_state JOIN current_object USING (zoid, tid);

CREATE TRIGGER blob_chunk_delete BEFORE DELETE ON blob_chunk
    FOR EACH ROW EXECUTE FUNCTION blob_chunk_delete_trigger();
