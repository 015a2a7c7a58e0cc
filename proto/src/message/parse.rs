//! From the name of a method and its arguments to the call.

use super::args::Args;
use super::call::{Call, CallError};
use crate::value::Value;

impl<'a> Call<'a> {
    /// Types the call of `name` with `args`.
    ///
    /// # Errors
    ///
    /// No such method, or arguments that it does not take.
    pub fn parse(name: &str, args: Vec<Value<'a>>) -> Result<Self, CallError> {
        let (method, min, max) = *METHODS
            .iter()
            .find(|(method, ..)| *method == name)
            .ok_or_else(|| CallError::Unknown(name.chars().take(80).collect()))?;
        let given = args.len();
        let args = Args {
            method,
            position: 0,
            values: args.into_iter(),
        };
        if given < min || given > max {
            return Err(args.error(format!("takes {min} to {max} arguments, {given} given")));
        }
        args.call()
    }
}

/// Methods with the least and the greatest number of their arguments.
const METHODS: &[(&str, usize, usize)] = &[
    ("loadBefore", 2, 2),
    ("storea", 4, 4),
    ("checkCurrentSerialInTransaction", 3, 3),
    ("tpc_begin", 4, 6),
    ("vote", 1, 1),
    ("tpc_finish", 1, 1),
    ("tpc_abort", 1, 1),
    ("new_oids", 0, 1),
    ("register", 2, 2),
    ("get_info", 0, 0),
    ("lastTransaction", 0, 0),
    ("getInvalidations", 1, 1),
    ("loadSerial", 2, 2),
    ("getTid", 1, 1),
    ("history", 1, 2),
    ("record_iternext", 0, 1),
    ("undoLog", 2, 2),
    ("undoInfo", 3, 3),
    ("undoa", 2, 2),
    ("iterator_start", 2, 2),
    ("iterator_next", 1, 1),
    ("iterator_record_start", 2, 2),
    ("iterator_record_next", 1, 1),
    ("iterator_gc", 1, 1),
    ("new_oid", 0, 0),
    ("pack", 1, 2),
    ("restorea", 5, 5),
    ("deleteObject", 3, 3),
    ("server_status", 0, 0),
    ("set_client_label", 1, 1),
    ("ping", 0, 0),
    ("storeBlobStart", 0, 0),
    ("storeBlobChunk", 1, 1),
    ("storeBlobEnd", 4, 4),
    ("storeBlobShared", 5, 5),
    ("sendBlob", 2, 2),
];

impl<'a> Args<'a> {
    fn call(mut self) -> Result<Call<'a>, CallError> {
        Ok(match self.method {
            "loadBefore" => Call::LoadBefore {
                oid: self.known_oid()?,
                before: self.tid()?,
            },
            "tpc_begin" => self.tpc_begin()?,
            "vote" => Call::Vote { id: self.any() },
            "tpc_finish" => Call::TpcFinish { id: self.any() },
            "tpc_abort" => Call::TpcAbort { id: self.any() },
            "storea"
            | "checkCurrentSerialInTransaction"
            | "undoa"
            | "restorea"
            | "deleteObject"
            | "storeBlobEnd"
            | "storeBlobShared" => self.step()?,
            "storeBlobStart" => Call::StoreBlobStart,
            "storeBlobChunk" => Call::StoreBlobChunk {
                chunk: self.bytes()?,
            },
            "sendBlob" => Call::SendBlob {
                oid: self.known_oid()?,
                serial: self.tid()?,
            },
            _ => self.reading_call()?,
        })
    }

    fn reading_call(mut self) -> Result<Call<'a>, CallError> {
        Ok(match self.method {
            "register" => Call::Register {
                storage: self.text()?,
                read_only: self.flag(),
            },
            "get_info" => Call::GetInfo,
            "lastTransaction" => Call::LastTransaction,
            "getInvalidations" => Call::GetInvalidations { since: self.tid()? },
            "loadSerial" => Call::LoadSerial {
                oid: self.known_oid()?,
                serial: self.tid()?,
            },
            "getTid" => Call::GetTid {
                oid: self.known_oid()?,
            },
            "history" => Call::History {
                oid: self.known_oid()?,
                size: self.size(1)?,
            },
            "record_iternext" => Call::RecordIternext {
                from: self.optional_oid()?,
            },
            "undoLog" => Call::UndoLog {
                first: self.int()?,
                last: self.int()?,
            },
            "undoInfo" => Call::UndoInfo {
                first: self.int()?,
                last: self.int()?,
                specification: self.any(),
            },
            "iterator_start" => Call::IteratorStart {
                start: self.start()?,
                stop: self.stop()?,
            },
            "iterator_next" => Call::IteratorNext {
                id: self.iterator()?,
            },
            "iterator_record_start" => Call::IteratorRecordStart {
                id: self.iterator()?,
                tid: self.tid()?,
            },
            "iterator_record_next" => Call::IteratorRecordNext {
                id: self.iterator()?,
            },
            "iterator_gc" => Call::IteratorGc {
                ids: self.iterators()?,
            },
            "new_oid" => Call::NewOid,
            "new_oids" => Call::NewOids {
                count: self.int_or(100)?,
            },
            "pack" => Call::Pack {
                time: self.number()?,
                wait: self.flag_or(true),
            },
            "server_status" => Call::ServerStatus,
            "set_client_label" => Call::SetClientLabel {
                label: self.label(),
            },
            _ => Call::Ping,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Oid, Tid};

    fn oid(number: u64) -> Value<'static> {
        Oid::new(number).into()
    }

    #[test]
    fn every_method_parses_or_names_what_it_wants() {
        for &(method, min, max) in METHODS {
            for count in 0..=max + 1 {
                let args = vec![Value::None; count];
                match Call::parse(method, args) {
                    Ok(_) => assert!((min..=max).contains(&count), "{method} {count}"),
                    Err(CallError::Arguments { method: named, .. }) => assert_eq!(named, method),
                    Err(CallError::NoObject(value)) => assert_eq!(*value, Value::None),
                    Err(CallError::Step(wrong)) => assert!(wrong.why.to_string().contains(method)),
                    Err(error) => panic!("{method}: {error}"),
                }
            }
        }
    }

    #[test]
    fn arguments_by_position() {
        assert_eq!(
            Call::parse("loadBefore", vec![oid(1), oid(2)]),
            Ok(Call::LoadBefore {
                oid: Oid::new(1),
                before: Tid::new(2)
            })
        );
        assert_eq!(
            Call::parse("new_oids", vec![]),
            Ok(Call::NewOids { count: 100 })
        );
        let short = Call::parse("getInvalidations", vec![Value::bytes(b"short")]).unwrap_err();
        assert_eq!(
            short.to_string(),
            "getInvalidations(): argument 1 must be a tid of 8 bytes"
        );
    }

    #[test]
    fn unknown_methods_are_named_but_not_at_any_length() {
        let error = Call::parse(&"x".repeat(10_000), vec![]).unwrap_err();
        assert!(matches!(error, CallError::Unknown(name) if name.len() == 80));
    }
}
