//! Tests on files that Python's FileStorage made, with its own answers about
//! them: see `testdata/generate/make_history_data.py`.

mod commits;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use zeo_proto::{Oid, Tid};

use crate::file_storage::commit::pending::Pending;
use crate::file_storage::commit::restore::find_data;
use crate::file_storage::commit::undo::{UndoRecord, undo};
use crate::file_storage::format::FIRST;
use crate::file_storage::format::walk::{RecordHeaders, find_txn};
use crate::file_storage::read::generation::Generation;
use crate::file_storage::read::history::{history, record_iternext};
use crate::file_storage::read::iterator::transactions;
use crate::file_storage::read::undo_log::{last_invalidations, undo_log};
use crate::storage::{OnConflict, TransactionMeta, TransactionRecord};
use crate::testing::files::{encode_txn, generation, positions};
use crate::{Error, Result};

const NAMES: [&str; 6] = ["plain", "undone", "packed", "gone", "ignored", "empty"];

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    answers: Value,
}

fn cases() -> impl Iterator<Item = Case> {
    NAMES.into_iter().map(|name| {
        let stem = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/history");
        let json = std::fs::read(stem.join(format!("{name}.json"))).unwrap();
        Case {
            name,
            bytes: std::fs::read(stem.join(format!("{name}.fs"))).unwrap(),
            answers: serde_json::from_slice(&json).unwrap(),
        }
    })
}

impl Case {
    fn open(&self) -> Arc<Generation> {
        generation(&self.bytes, &positions(&self.bytes))
    }

    fn list(&self, key: &str) -> &[Value] {
        list(&self.answers[key])
    }

    /// The record data that an answer names by number.
    fn text(&self, number: &Value) -> Option<Vec<u8>> {
        let number = usize::try_from(number.as_u64()?).unwrap();
        Some(hex(&self.answers["texts"][number]))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn some_tid(value: &Value) -> Option<Tid> {
    value.as_str().map(|_| tid(value))
}

fn tid(value: &Value) -> Tid {
    Tid::from_slice(&hex(value)).unwrap()
}

fn oid(value: &Value) -> Oid {
    Oid::from_slice(&hex(value)).unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn check_entry(expected: &Value, got_tid: Tid, size: u64, meta: &TransactionMeta) {
    assert_eq!(got_tid, tid(&expected["tid"]));
    assert_eq!(size, expected["size"].as_u64().unwrap());
    assert_eq!(meta.user, hex(&expected["user"]));
    assert_eq!(meta.description, hex(&expected["description"]));
}

#[test]
fn iterators_agree_with_python() {
    for case in cases() {
        let found: Vec<_> = transactions(case.open(), None, None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let expected = case.list("transactions");
        assert_eq!(found.len(), expected.len(), "{}", case.name);
        for (found, expected) in found.iter().zip(expected) {
            check_transaction(&case, found, expected);
        }
    }
}

fn check_transaction(case: &Case, found: &TransactionRecord, expected: &Value) {
    assert_eq!(found.tid, tid(&expected["tid"]));
    let status = expected["status"].as_str().unwrap().as_bytes();
    assert_eq!([found.status], status);
    assert_eq!(found.meta.user, hex(&expected["user"]));
    assert_eq!(found.meta.description, hex(&expected["description"]));
    assert_eq!(found.meta.extension, hex(&expected["extension"]));
    let records: Vec<_> = (found.records)().map(Result::unwrap).collect();
    let expected = list(&expected["records"]);
    assert_eq!(records.len(), expected.len());
    for (record, expected) in records.iter().zip(expected) {
        assert_eq!(record.oid, oid(&expected["oid"]));
        assert_eq!(record.tid, tid(&expected["tid"]));
        assert_eq!(
            record.data.as_ref().map(|data| data.to_vec()),
            case.text(&expected["data"])
        );
        assert_eq!(
            record.data_txn,
            some_tid(&expected["data_txn"]),
            "{record:?}"
        );
    }
}

#[test]
fn iterators_start_and_stop_as_python() {
    for case in cases() {
        for expected in case.list("ranges") {
            let (start, stop) = (some_tid(&expected["start"]), some_tid(&expected["stop"]));
            let found = transactions(case.open(), start, stop).unwrap();
            let found: Vec<_> = found.map(|txn| txn.unwrap().tid).collect();
            let tids: Vec<_> = list(&expected["tids"]).iter().map(tid).collect();
            assert_eq!(found, tids, "{}: {start:?} to {stop:?}", case.name);
        }
    }
}

#[test]
fn history_agrees_with_python() {
    for case in cases() {
        let generation = case.open();
        for (of, expected) in case.answers["history"].as_object().unwrap() {
            let of = Oid::from_slice(&hex::decode(of).unwrap()).unwrap();
            let found = history(&generation, of, usize::MAX).unwrap();
            assert_eq!(found.len(), list(expected).len());
            for (found, expected) in found.iter().zip(list(expected)) {
                check_entry(expected, found.tid, found.size, &found.meta);
            }
            for size in 0..found.len() {
                assert_eq!(history(&generation, of, size).unwrap(), found[..size]);
            }
        }
        let unknown = history(&generation, Oid::new(77), 1);
        assert!(matches!(unknown, Err(Error::NoObject(_))), "{unknown:?}");
    }
}

#[test]
fn undo_log_agrees_with_python() {
    for case in cases() {
        for expected in case.list("undo_log") {
            let (first, last) = (number(&expected["first"]), number(&expected["last"]));
            let found = undo_log(&case.open(), first, last, &mut |_| Ok(true)).unwrap();
            let expected = list(&expected["entries"]);
            assert_eq!(found.len(), expected.len(), "{} {first} {last}", case.name);
            for (found, expected) in found.iter().zip(expected) {
                check_entry(expected, found.tid, found.size, &found.meta);
            }
        }
    }
}

#[test]
fn undo_log_counts_what_the_filter_lets_through() {
    let case = cases().next().unwrap();
    let generation = case.open();
    let all = undo_log(&generation, 0, usize::MAX, &mut |_| Ok(true)).unwrap();
    let mut turn = 0;
    let odd = undo_log(&generation, 1, 3, &mut |_| {
        turn += 1;
        Ok(turn % 2 == 0)
    });
    assert_eq!(odd.unwrap(), [all[3].clone(), all[5].clone()]);
    let stopped = undo_log(&generation, 0, 9, &mut |_| Err(Error::ReadOnly));
    assert!(matches!(stopped, Err(Error::ReadOnly)));
}

#[test]
fn last_invalidations_agree_with_python() {
    for case in cases() {
        for expected in case.list("last_invalidations") {
            let found = last_invalidations(&case.open(), number(&expected["count"])).unwrap();
            let expected: Vec<(Tid, Vec<Oid>)> = list(&expected["transactions"])
                .iter()
                .map(|pair| (tid(&pair[0]), list(&pair[1]).iter().map(oid).collect()))
                .collect();
            assert_eq!(found, expected, "{}", case.name);
        }
    }
}

#[test]
fn ignored_transactions_count_as_last_but_are_left_out() {
    let case = cases().find(|case| case.name == "ignored").unwrap();
    let found = last_invalidations(&case.open(), 4).unwrap();
    assert_eq!(found.len(), 2);
}

#[test]
fn record_iternext_agrees_with_python() {
    for case in cases() {
        let generation = case.open();
        for expected in case.list("record_iternext") {
            let from = expected["from"].as_str().map(|_| oid(&expected["from"]));
            match record_iternext(&generation, from) {
                Ok(found) => {
                    assert_eq!(found.oid, oid(&expected["oid"]));
                    assert_eq!(found.serial, tid(&expected["serial"]));
                    assert_eq!(Some(found.data.to_vec()), case.text(&expected["data"]));
                    let next = expected["next"].as_str().map(|_| oid(&expected["next"]));
                    assert_eq!(found.next, next);
                }
                Err(Error::NoObject(_)) => assert_eq!(expected["gone"], true),
                Err(Error::Value(what)) => assert_eq!(expected["error"], what),
                Err(other) => panic!("{}: {other}", case.name),
            }
        }
    }
}

#[test]
fn undo_writes_the_bytes_that_python_writes() {
    for case in cases() {
        let generation = case.open();
        for expected in case.list("undo") {
            let tids: Vec<_> = list(&expected["tids"]).iter().map(tid).collect();
            match undo_all(&generation, &tids) {
                Ok(records) => {
                    let written = hex(&expected["written"]);
                    let tid = Tid::from_slice(&written[..8]).unwrap();
                    let ours = undoing(case.bytes.len() as u64, tid, &records);
                    assert_eq!(ours, written, "{}: {tids:?}", case.name);
                }
                Err(Error::Undo {
                    reason, failures, ..
                }) => {
                    assert_eq!(expected["reason"], reason, "{}: {tids:?}", case.name);
                    let failures: Vec<_> = failures
                        .iter()
                        .map(|(oid, why)| serde_json::json!([hex::encode(oid.to_bytes()), why]))
                        .collect();
                    assert_eq!(expected["failures"], Value::from(failures));
                }
                Err(other) => panic!("{}: {other}", case.name),
            }
        }
    }
}

/// Undoes several transactions in one.
fn undo_all(generation: &Generation, tids: &[Tid]) -> Result<Vec<UndoRecord>> {
    let (mut pending, mut all) = (Pending::default(), Vec::new());
    for &tid in tids {
        let records = undo(generation, tid, &pending, OnConflict::Resolve)?;
        for record in &records {
            pending.push(record.oid, record.payload.clone());
        }
        all.extend(records);
    }
    Ok(all)
}

/// The transaction that undoes, as it stands in the file.
fn undoing(position: u64, tid: Tid, records: &[UndoRecord]) -> Vec<u8> {
    let records: Vec<_> = records
        .iter()
        .map(|record| (record.oid, record.prev, record.payload.clone()))
        .collect();
    encode_txn(position, tid, b' ', [b"undoer", b"undo", b""], &records)
}

#[test]
fn iteration_ends_where_the_file_ended_when_it_began() {
    let case = cases().next().unwrap();
    let generation = case.open();
    let mut iter = transactions(Arc::clone(&generation), None, None).unwrap();
    let first = iter.next().unwrap().unwrap();
    let more = undoing(case.bytes.len() as u64, Tid::MAX, &[]);
    generation
        .backend
        .write_all_at(&more, case.bytes.len() as u64)
        .unwrap();
    let end = case.bytes.len() + more.len();
    generation.publish(end as u64, Tid::MAX, std::iter::empty());
    drop(generation);
    assert_eq!(iter.count(), case.list("transactions").len() - 1);
    assert_eq!((first.records)().count(), (first.records)().count());
}

/// Python's copies of these files are the same, byte by byte.
#[test]
fn hints_lead_to_the_back_pointers_of_the_original() {
    let mut hints = 0;
    for case in cases() {
        let generation = case.open();
        let reader = generation.reader();
        let copied = transactions(Arc::clone(&generation), None, None).unwrap();
        for txn in copied.map(Result::unwrap) {
            let headers = RecordHeaders::new(reader, &find_txn(reader, txn.tid).unwrap());
            for (record, header) in (txn.records)().zip(headers) {
                let (record, header) = (record.unwrap(), header.unwrap().1);
                let Some(data_txn) = record.data_txn else {
                    continue;
                };
                let find = |data| find_data(&generation, record.oid, data_txn, data).unwrap();
                assert_eq!(find(record.data.as_deref()), header.back, "{}", case.name);
                if reader.data_header(header.back, None).unwrap().plen > 0 {
                    assert_eq!(find(Some(b"other data")), 0);
                    assert_eq!(find(None), 0);
                }
                hints += 1;
            }
        }
        assert_eq!(
            find_data(&generation, Oid::ZERO, Tid::MAX, None).unwrap(),
            0
        );
    }
    assert!(hints > 10, "{hints}");
}

/// Runs everything on a file; gives the errors.
fn run_everything(bytes: &[u8], positions: &[(Oid, u64)], tids: &[Tid]) -> Vec<Error> {
    let generation = generation(bytes, positions);
    let mut errors = Vec::new();
    let start = tids.get(tids.len() / 2).copied();
    for start in [None, start] {
        match transactions(Arc::clone(&generation), start, None) {
            Err(error) => errors.push(error),
            Ok(found) => {
                for txn in found {
                    match txn {
                        Ok(txn) => errors.extend((txn.records)().filter_map(Result::err)),
                        Err(error) => errors.push(error),
                    }
                }
            }
        }
    }
    errors.extend(undo_log(&generation, 0, usize::MAX, &mut |_| Ok(true)).err());
    errors.extend(last_invalidations(&generation, usize::MAX).err());
    for &(oid, _) in positions {
        errors.extend(history(&generation, oid, usize::MAX).err());
        errors.extend(record_iternext(&generation, Some(oid)).err());
        errors.extend(find_data(&generation, oid, tids[0], None).err());
    }
    for &tid in tids {
        errors.extend(undo_all(&generation, &[tid, tid]).err());
    }
    errors
}

#[test]
fn damaged_files_give_errors_with_positions() {
    let mut state = 20_240_229_u64;
    let mut random = move |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut corrupt = 0;
    for case in cases().filter(|case| case.bytes.len() > FIRST as usize) {
        let positions = positions(&case.bytes);
        let tids: Vec<_> = case
            .list("transactions")
            .iter()
            .map(|txn| tid(&txn["tid"]))
            .collect();
        for _ in 0..150 {
            let mut bytes = case.bytes.clone();
            for _ in 0..=random(3) {
                let at = FIRST as usize + random(bytes.len() - FIRST as usize);
                bytes[at] ^= 1 << random(8);
            }
            if random(4) == 0 {
                bytes.truncate(bytes.len() - random(60));
            }
            for error in run_everything(&bytes, &positions, &tids) {
                match error {
                    Error::Corrupt { position, .. } => {
                        assert!(position <= case.bytes.len() as u64, "{error}");
                        corrupt += 1;
                    }
                    Error::NoObject(_) | Error::Undo { .. } => {}
                    other => panic!("{}: {other}", case.name),
                }
            }
        }
    }
    assert!(corrupt > 1000, "{corrupt}");
}
