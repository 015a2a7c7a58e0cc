//! Calls as a client sends them: with the arguments that Python's gives.

use super::call::{Call, TpcBegin};
use crate::marshal::{Encode, EncodeError, Encoder, Encoding, Flag, encode_message};

/// How many oids `new_oids` gives when it is not told.
const DEFAULT_OIDS: i64 = 100;

impl Call<'_> {
    /// Appends the call to `out` as one frame; its reply will have this id.
    ///
    /// # Errors
    ///
    /// The encoding can't hold a value of the caller's (the id of the call or
    /// the transaction, an extension, a specification), or the message is
    /// too long for a frame. `out` then is as it was.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        encoding: Encoding,
        id: &dyn Encode,
    ) -> Result<(), EncodeError> {
        encode_message(out, encoding, id, Flag::Call, self.method(), &Args(self))
    }

    /// Appends the call to `out` as one frame, without asking for a reply: if
    /// it fails, the server closes the connection.
    ///
    /// # Errors
    ///
    /// As of [`Self::encode`].
    pub fn encode_async(&self, out: &mut Vec<u8>, encoding: Encoding) -> Result<(), EncodeError> {
        let (id, flag) = (0_u64, Flag::Async);
        encode_message(out, encoding, &id, flag, self.method(), &Args(self))
    }

    /// False for the calls that Python's client makes without asking for a
    /// reply. A server takes each call either way.
    pub fn is_answered(&self) -> bool {
        !matches!(
            self,
            Call::TpcBegin(_)
                | Call::Store { .. }
                | Call::Restore { .. }
                | Call::DeleteObject { .. }
                | Call::CheckSerial { .. }
                | Call::Undo { .. }
                | Call::StoreBlobStart
                | Call::StoreBlobChunk { .. }
                | Call::StoreBlobEnd { .. }
                | Call::StoreBlobShared { .. }
                | Call::IteratorGc { .. }
                | Call::SetClientLabel { .. }
        )
    }

    /// The name of the method.
    pub fn method(&self) -> &'static str {
        match self {
            Call::Register { .. } => "register",
            Call::GetInfo => "get_info",
            Call::LastTransaction => "lastTransaction",
            Call::GetInvalidations { .. } => "getInvalidations",
            Call::LoadBefore { .. } => "loadBefore",
            Call::LoadSerial { .. } => "loadSerial",
            Call::GetTid { .. } => "getTid",
            Call::History { .. } => "history",
            Call::RecordIternext { .. } => "record_iternext",
            Call::UndoLog { .. } => "undoLog",
            Call::UndoInfo { .. } => "undoInfo",
            Call::IteratorStart { .. } => "iterator_start",
            Call::IteratorNext { .. } => "iterator_next",
            Call::IteratorRecordStart { .. } => "iterator_record_start",
            Call::IteratorRecordNext { .. } => "iterator_record_next",
            Call::IteratorGc { .. } => "iterator_gc",
            Call::NewOid => "new_oid",
            Call::NewOids { .. } => "new_oids",
            Call::Pack { .. } => "pack",
            Call::ServerStatus => "server_status",
            Call::SetClientLabel { .. } => "set_client_label",
            Call::Ping => "ping",
            Call::TpcBegin(_) => "tpc_begin",
            Call::Store { .. } => "storea",
            Call::Restore { .. } => "restorea",
            Call::DeleteObject { .. } => "deleteObject",
            Call::CheckSerial { .. } => "checkCurrentSerialInTransaction",
            Call::Undo { .. } => "undoa",
            Call::Vote { .. } => "vote",
            Call::TpcFinish { .. } => "tpc_finish",
            Call::TpcAbort { .. } => "tpc_abort",
            Call::StoreBlobStart => "storeBlobStart",
            Call::StoreBlobChunk { .. } => "storeBlobChunk",
            Call::StoreBlobEnd { .. } => "storeBlobEnd",
            Call::StoreBlobShared { .. } => "storeBlobShared",
            Call::SendBlob { .. } => "sendBlob",
        }
    }
}

/// The arguments of a call, as a tuple.
struct Args<'c, 'a>(&'c Call<'a>);

impl Encode for Args<'_, '_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self.0 {
            Call::GetInfo
            | Call::LastTransaction
            | Call::NewOid
            | Call::ServerStatus
            | Call::Ping
            | Call::StoreBlobStart => to.tuple(&[]),
            Call::Register { storage, read_only } => to.tuple(&[storage, read_only]),
            Call::GetInvalidations { since } => to.tuple(&[since]),
            Call::LoadBefore { oid, before } => to.tuple(&[oid, before]),
            Call::LoadSerial { oid, serial } | Call::SendBlob { oid, serial } => {
                to.tuple(&[oid, serial])
            }
            Call::GetTid { oid } => to.tuple(&[oid]),
            Call::History { oid, size } => {
                to.tuple(&[oid, &i64::try_from(*size).unwrap_or(i64::MAX)])
            }
            Call::RecordIternext { from } => to.tuple(&[from]),
            Call::UndoLog { first, last } => to.tuple(&[first, last]),
            Call::UndoInfo {
                first,
                last,
                specification,
            } => to.tuple(&[first, last, specification]),
            Call::IteratorStart { start, stop } => to.tuple(&[start, stop]),
            Call::IteratorNext { id } | Call::IteratorRecordNext { id } => to.tuple(&[id]),
            Call::IteratorRecordStart { id, tid } => to.tuple(&[id, tid]),
            Call::IteratorGc { ids } => to.tuple(&[ids]),
            Call::NewOids { count } if *count == DEFAULT_OIDS => to.tuple(&[]),
            Call::NewOids { count } => to.tuple(&[count]),
            Call::Pack { time, wait } => to.tuple(&[time, wait]),
            Call::SetClientLabel { label } => to.tuple(&[label]),
            commit => encode_commit_args(commit, to),
        }
    }
}

fn encode_commit_args(call: &Call<'_>, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
    match call {
        Call::TpcBegin(begin) => begin.encode(to),
        Call::Store {
            oid,
            serial,
            data,
            id,
        }
        | Call::StoreBlobEnd {
            oid,
            serial,
            data,
            id,
        } => to.tuple(&[oid, serial, data, id]),
        Call::StoreBlobShared {
            oid,
            serial,
            data,
            name,
            id,
        } => to.tuple(&[oid, serial, data, name, id]),
        Call::Restore {
            oid,
            serial,
            data,
            prev_tid,
            id,
        } => to.tuple(&[oid, serial, data, prev_tid, id]),
        Call::DeleteObject { oid, serial, id } | Call::CheckSerial { oid, serial, id } => {
            to.tuple(&[oid, serial, id])
        }
        Call::Undo { undo_id, id } => to.tuple(&[undo_id, id]),
        Call::Vote { id } | Call::TpcFinish { id } | Call::TpcAbort { id } => to.tuple(&[id]),
        Call::StoreBlobChunk { chunk } => to.tuple(&[chunk]),
        _ => to.tuple(&[]),
    }
}

impl Encode for TpcBegin<'_> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let byte = [self.status];
        let (text, byte) = (std::str::from_utf8(&byte), byte.as_slice());
        let status: &dyn Encode = match &text {
            Ok(text) => text,
            Err(_) => &byte,
        };
        to.tuple(&[
            &self.id,
            &self.user,
            &self.description,
            &self.extension,
            &self.tid,
            status,
        ])
    }
}
