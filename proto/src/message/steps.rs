//! The steps of a commit. Their calls have no replies, and Python's server looks
//! at most of their arguments at the vote: what is wrong with these is kept for
//! the vote ([`WrongStep`]), in the class that Python's server raises there.
//! What that finds at once closes the connection.

use std::borrow::Cow;

use super::args::Args;
use super::call::{Call, CallError, Effect, TpcBegin, WrongStep};
use crate::exception::Exception;
use crate::ids::{Oid, Tid};
use crate::value::Value;

const TYPE_ERROR: &str = "builtins.TypeError";
const VALUE_ERROR: &str = "builtins.ValueError";
const ASSERTION_ERROR: &str = "builtins.AssertionError";
const STRUCT_ERROR: &str = "struct.error";

/// An argument, or what the vote raises.
type Checked<T> = Result<T, Exception>;

impl<'a> Args<'a> {
    /// A call whose last argument is the id of the transaction.
    pub(super) fn step(mut self) -> Result<Call<'a>, CallError> {
        let id = self.values.next_back().unwrap_or(Value::None);
        let (effect, call) = match self.method {
            "storea" => (Effect::Stores, self.store(id.clone())),
            "restorea" => (Effect::Stores, self.restore(id.clone())),
            "deleteObject" => (Effect::Stores, self.delete(id.clone())),
            "storeBlobEnd" => (Effect::EndsBlob, self.blob_end(id.clone())),
            "storeBlobShared" => (Effect::None, self.blob_shared(id.clone())?),
            "undoa" => (Effect::None, self.undo(id.clone())),
            _ => (Effect::None, self.check(id.clone())),
        };
        call.map_err(|why| wrong(id, effect, why))
    }

    pub(super) fn tpc_begin(mut self) -> Result<Call<'a>, CallError> {
        let id = self.any();
        let user = self.bytes_or_text()?;
        let description = self.bytes_or_text()?;
        let extension = self.any();
        match self.tid_and_status() {
            Ok((tid, status)) => Ok(Call::TpcBegin(Box::new(TpcBegin {
                id,
                user,
                description,
                extension,
                tid,
                status,
            }))),
            Err(why) => Err(wrong(id, Effect::Begins, why)),
        }
    }

    fn tid_and_status(&mut self) -> Checked<(Option<Tid>, u8)> {
        let given = self.any();
        let tid = match (&given, given.as_tid()) {
            (Value::None, _) => None,
            (_, Some(tid)) => Some(tid),
            (Value::Bytes(_), None) => return Err(self.wrong(VALUE_ERROR, "a tid of 8 bytes")),
            _ => return Err(self.wrong(TYPE_ERROR, "a tid of 8 bytes or None")),
        };
        let status = match self.any() {
            Value::None => b' ',
            Value::Str(text) if text.len() == 1 => text.as_bytes()[0],
            Value::Bytes(bytes) if bytes.len() == 1 => bytes[0],
            _ => return Err(self.wrong(TYPE_ERROR, "a status of one character")),
        };
        Ok((tid, status))
    }

    fn store(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        Ok(Call::Store {
            oid: self.new_oid()?,
            serial: self.serial(),
            data: self.record()?,
            id,
        })
    }

    fn restore(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        Ok(Call::Restore {
            oid: self.new_oid()?,
            serial: self.own_serial()?,
            data: self.record_or_none()?,
            prev_tid: self.hint()?,
            id,
        })
    }

    fn delete(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        Ok(Call::DeleteObject {
            oid: self.old_oid()?,
            serial: self.serial(),
            id,
        })
    }

    fn check(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        Ok(Call::CheckSerial {
            oid: self.old_oid()?,
            serial: self.serial(),
            id,
        })
    }

    fn undo(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        match self.any() {
            Value::Bytes(undo_id) => Ok(Call::Undo { undo_id, id }),
            _ => Err(self.wrong(TYPE_ERROR, "bytes")),
        }
    }

    fn blob_end(&mut self, id: Value<'a>) -> Checked<Call<'a>> {
        let value = self.any();
        let oid = value.as_oid().ok_or_else(|| match value {
            // The directory of the object is made from it.
            Value::Bytes(_) => self.wrong(ASSERTION_ERROR, "an oid of 8 bytes"),
            _ => self.wrong(TYPE_ERROR, "an oid of 8 bytes"),
        })?;
        Ok(Call::StoreBlobEnd {
            oid,
            serial: self.serial(),
            data: self.record()?,
            id,
        })
    }

    /// The file's path is made at once, from the name and the oid: only those
    /// who are no oid, but good for a path, are left for the vote.
    fn blob_shared(&mut self, id: Value<'a>) -> Result<Checked<Call<'a>>, CallError> {
        let value = self.any();
        let oid = match (&value, value.as_oid()) {
            (_, Some(oid)) => Ok(oid),
            (Value::Bool(_), _) => Err(self.wrong(TYPE_ERROR, "an oid of 8 bytes")),
            (Value::Int(number), _) if u64::try_from(*number).is_ok() => {
                Err(self.wrong(TYPE_ERROR, "an oid of 8 bytes"))
            }
            (Value::Str(text), _) if text.is_ascii() && text.len() == size_of::<Oid>() => {
                Err(self.wrong(TYPE_ERROR, "an oid of 8 bytes"))
            }
            _ => return Err(self.expected("an oid of 8 bytes")),
        };
        let serial = self.serial();
        let data = self.record();
        let Value::Str(name) = self.any() else {
            return Err(self.expected("text"));
        };
        let record = oid.and_then(|oid| Ok((oid, data?)));
        Ok(record.map(|(oid, data)| Call::StoreBlobShared {
            oid,
            serial,
            data,
            name,
            id,
        }))
    }

    /// The oid of an object that may be new.
    fn new_oid(&mut self) -> Checked<Oid> {
        let oid = self.any().as_oid();
        oid.ok_or_else(|| self.wrong(TYPE_ERROR, "an oid of 8 bytes"))
    }

    /// The oid of an object that is to be there: other bytes are just not
    /// found.
    fn old_oid(&mut self) -> Checked<Oid> {
        let value = self.any();
        value.as_oid().ok_or_else(|| match value {
            Value::Bytes(_) => Exception::no_object(value.into_owned()),
            _ => self.wrong(ASSERTION_ERROR, "an oid of 8 bytes"),
        })
    }

    /// The serial that an object is stored over. Python compares it with the
    /// committed one, if there is one: so it may be anything for a new object,
    /// and what is no serial is in conflict with that of any other.
    fn serial(&mut self) -> Tid {
        self.any().as_tid().unwrap_or(Tid::ZERO)
    }

    /// The serial that a restored revision has itself.
    fn own_serial(&mut self) -> Checked<Tid> {
        let value = self.any();
        value.as_tid().ok_or_else(|| match value {
            Value::Bytes(_) => self.wrong(VALUE_ERROR, "a tid of 8 bytes"),
            _ => self.wrong(STRUCT_ERROR, "a tid of 8 bytes"),
        })
    }

    /// A transaction that may already hold what is restored.
    fn hint(&mut self) -> Checked<Option<Tid>> {
        match self.any() {
            Value::None => Ok(None),
            value => {
                let unknown = || Exception::undo("Invalid transaction id", None);
                value.as_tid().map(Some).ok_or_else(unknown)
            }
        }
    }

    fn record(&mut self) -> Checked<Cow<'a, [u8]>> {
        match self.any() {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong(TYPE_ERROR, "bytes")),
        }
    }

    fn record_or_none(&mut self) -> Checked<Option<Cow<'a, [u8]>>> {
        match self.any() {
            Value::None => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(self.wrong(TYPE_ERROR, "bytes or None")),
        }
    }

    fn wrong(&self, class: &'static str, what: &str) -> Exception {
        Exception::message(class, self.expected(what).to_string())
    }
}

#[cold]
fn wrong(id: Value<'_>, effect: Effect, why: Exception) -> CallError {
    let id = id.into_owned();
    CallError::Step(Box::new(WrongStep { id, effect, why }))
}
