//! Salvage from a disk that can't read some of its pages.

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;
use crate::disk::backend::MemoryBackend;
use crate::file_storage::commit::pending::Payload;
use crate::file_storage::format::{DATA_HEADER_LEN, TXN_HEADER_LEN};
use crate::file_storage::options::Options;
use crate::file_storage::tools::check;
use crate::file_storage::tools::holes::tests::Failing;
use crate::testing::Cancelling;
use crate::testing::files::Builder;

const PAGE: u64 = 4096;
/// Records of a transaction: objects 1 to this.
const RECORDS: u64 = 5;

/// (tid, oid) to (data, where the record is).
type Records = BTreeMap<(u64, u64), (Vec<u8>, Range<u64>)>;

/// Transactions of some records over a few pages; the last one leads back to
/// the first.
fn file() -> (Builder, Records, Vec<Range<u64>>) {
    let (mut file, mut records, mut all) = (Builder::new(), Records::new(), Vec::new());
    let mut prevs = [0; RECORDS as usize + 1];
    for tid in 1..=8 {
        let at = file.bytes.len() as u64;
        let mut record_at = at + TXN_HEADER_LEN;
        let parts: Vec<_> = (1..=RECORDS)
            .map(|oid| {
                let first = records.get(&(1, oid)).cloned();
                let (payload, data) = match first.filter(|_| tid == 8) {
                    Some((data, range)) => (Payload::Back(range.start), data),
                    None => {
                        let state = vec![b'a' + u8::try_from(tid).unwrap(); 1500];
                        let data = [&b"cm\nC\n.X\xdc\x05\0\0"[..], &state, b"."].concat();
                        (Payload::Data(data.clone()), data)
                    }
                };
                let length = match &payload {
                    Payload::Back(_) => 8,
                    Payload::Data(data) => data.len() as u64,
                };
                let range = record_at..record_at + DATA_HEADER_LEN + length;
                let prev = std::mem::replace(&mut prevs[oid as usize], range.start);
                record_at = range.end;
                records.insert((tid, oid), (data, range));
                (oid, prev, payload)
            })
            .collect();
        file.txn(tid, b' ', &parts);
        all.push(at..file.bytes.len() as u64);
    }
    (file, records, all)
}

fn salvaged(bytes: &[u8], bad: Range<u64>, partial: bool) -> (Records, Vec<Damage>, DataFile) {
    let input = DataFile::failing(Failing::new(bytes, &[bad])).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        create: true,
        ..Options::default()
    };
    let output = FileStorage::open(directory.path().join("out.fs"), options).unwrap();
    let mut damages = Vec::new();
    let how = How::new(partial, None);
    let mut on_event = |event: SalvageEvent<'_>| {
        if let SalvageEvent::Damage(damage) = event {
            damages.push(damage.clone());
        }
        Ok(())
    };
    salvage(&input, &output, how, &mut on_event, &mut ()).unwrap();
    let mut found = Records::new();
    for txn in output.iterator(None, None).unwrap() {
        for record in (txn.unwrap().records)() {
            let record = record.unwrap();
            let data = record.data.unwrap().to_vec();
            found.insert((record.tid.as_u64(), record.oid.as_u64()), (data, 0..0));
        }
    }
    (found, damages, input)
}

#[test]
fn pages_that_cannot_be_read_cost_what_lies_there() {
    let (file, records, all) = file();
    let size = file.bytes.len() as u64;
    for page in 0..size.div_ceil(PAGE) {
        let bad = page * PAGE..size.min((page + 1) * PAGE);
        let overlaps = |range: &Range<u64>| range.start < bad.end && bad.start < range.end;
        for partial in [false, true] {
            let (found, damages, input) = salvaged(&file.bytes, bad.start..bad.start + 1, partial);
            assert_eq!(input.unreadable(), std::slice::from_ref(&bad));
            for (key, (data, range)) in &records {
                let (_, first_at) = &records[&(1, key.1)];
                let mut is_bad = overlaps(range) || key.0 == 8 && overlaps(first_at);
                let txn = &all[usize::try_from(key.0).unwrap() - 1];
                if !partial || overlaps(&(txn.start..txn.start + TXN_HEADER_LEN)) {
                    // Its length is lost, and with that where it ends.
                    is_bad |= overlaps(txn);
                }
                match found.get(key) {
                    // The beginning of the file, or of a transaction.
                    None => assert!(is_bad || key.0 == 8 && overlaps(&all[0]), "{key:?} {bad:?}"),
                    Some((other, _)) => {
                        assert_eq!(other, data, "{key:?} {bad:?}");
                        assert!(!overlaps(range) && (key.0 < 8 || !overlaps(first_at)));
                    }
                }
            }
            let told = damages
                .iter()
                .any(|damage| damage.what.contains("the disk can't read"));
            assert!(told, "{damages:?}");
        }
    }
}

#[test]
fn a_check_goes_on_behind_what_cannot_be_read() {
    let (file, _, all) = file();
    let bad = all[2].start + 3000..all[2].start + 3001;
    let input = DataFile::failing(Failing::new(&file.bytes, &[bad])).unwrap();
    let mut problems = Vec::new();
    let mut on_event = |event: check::CheckEvent<'_>| {
        if let check::CheckEvent::Problem(problem) = event {
            problems.push(problem);
        }
        Ok(())
    };
    let found = check::check(&input, &mut on_event, &mut ());
    let hole = &input.unreadable()[0];
    let touched = all
        .iter()
        .filter(|txn| txn.start < hole.end && hole.start < txn.end);
    assert_eq!(found.unwrap().transactions, 8 - touched.count() as u64);
    assert!(
        problems[0].what.contains("the disk can't read"),
        "{problems:?}"
    );
    // Nothing else tries to guess.
    let plain = DataFile::over(Failing::new(&file.bytes, std::slice::from_ref(hole))).unwrap();
    let error = check::check(&plain, &mut |_| Ok(()), &mut ()).unwrap_err();
    assert!(error.is_damage());
    let error = error.of_object(zeo_proto::Oid::new(7));
    assert!(error.is_damage());
    let error = error.to_string();
    assert!(
        error.contains("(os error 5), at ") && error.ends_with(" (object 0x07)"),
        "{error}"
    );
}

#[test]
fn cancelled_it_leaves_whole_transactions() {
    let (file, _, all) = file();
    let input = DataFile::over(Failing::new(&file.bytes, &[])).unwrap();
    for calls in 0..all.len() {
        let output = FileStorage::over(
            std::sync::Arc::new(MemoryBackend::default()),
            "output",
            &Options::default(),
        )
        .unwrap();
        let mut observer = Cancelling::after(calls);
        let done = salvage(
            &input,
            &output,
            How::default(),
            &mut |_| Ok(()),
            &mut observer,
        );
        assert!(matches!(done, Err(Error::Cancelled)), "{calls}");
        assert_eq!(output.last_tid(), Tid::new(calls as u64 + 1));
    }
}
