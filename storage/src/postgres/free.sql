-- A database of current revisions only.
CREATE TABLE object_state (
    zoid bigint NOT NULL PRIMARY KEY,
    tid bigint NOT NULL CHECK (tid > 0),
    state_size bigint NOT NULL CHECK (state_size >= 0),
    state bytea
);
CREATE INDEX object_state_tid ON object_state (tid);

CREATE TABLE blob_chunk (
    zoid bigint NOT NULL,
    chunk_num bigint NOT NULL,
    tid bigint NOT NULL,
    chunk oid NOT NULL,
    CONSTRAINT blob_chunk_pk PRIMARY KEY (zoid, chunk_num),
    CONSTRAINT blob_chunk_fk FOREIGN KEY (zoid) REFERENCES object_state (zoid) ON DELETE CASCADE
);
CREATE INDEX blob_chunk_lookup ON blob_chunk (zoid);

CREATE TABLE object_ref (
    zoid bigint NOT NULL,
    to_zoid bigint NOT NULL,
    tid bigint NOT NULL,
    PRIMARY KEY (zoid, to_zoid)
);
CREATE TABLE object_refs_added (
    zoid bigint NOT NULL PRIMARY KEY,
    tid bigint NOT NULL
);

CREATE TRIGGER blob_chunk_delete BEFORE DELETE ON blob_chunk
    FOR EACH ROW EXECUTE FUNCTION blob_chunk_delete_trigger();
