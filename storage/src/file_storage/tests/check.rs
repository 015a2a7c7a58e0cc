//! What a check finds, and that it goes on behind it.

use super::seals::file;
use crate::Error;
use crate::file_storage::DataFile;
use crate::file_storage::commit::pending::Payload;
use crate::file_storage::tools::check::{CheckEvent, Checked, check};
use crate::file_storage::tools::transaction_reader::Problem;
use crate::observer::Cancelled;
use crate::testing::Cancelling;
use crate::testing::files::{Builder, data, memory, without_seals};
use crate::testing::oid;

fn problems(bytes: &[u8]) -> (Checked, Vec<Problem>) {
    let file = DataFile::over(memory(bytes)).unwrap();
    let mut problems = Vec::new();
    let mut on_event = |event: CheckEvent<'_>| {
        if let CheckEvent::Problem(problem) = event {
            problems.push(problem);
        }
        Ok(())
    };
    let found = check(&file, &mut on_event, &mut ());
    (found.unwrap(), problems)
}

#[test]
fn a_whole_file_has_no_problems() {
    let (bytes, _) = file();
    let expected = Checked {
        transactions: 4,
        sealed: 4,
        records: 4,
        objects: 2,
        end: bytes.len() as u64,
        ..Checked::default()
    };
    assert_eq!(problems(&bytes), (expected, vec![]));
    let (plain, _) = without_seals(&bytes);
    let (found, told) = problems(&plain);
    assert_eq!((found.sealed, found.records, told), (0, 4, vec![]));
}

#[test]
fn every_changed_bit_is_found_and_costs_one_transaction() {
    let (bytes, borders) = file();
    for at in 4..bytes.len() {
        let txn = borders.iter().rposition(|&border| border <= at).unwrap();
        let (start, end) = (borders[txn] as u64, borders[txn + 1] as u64);
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let (found, told) = problems(&changed);
            let [problem] = &told[..] else {
                panic!("bit {bit} at {at}: {told:?}");
            };
            assert_eq!(
                problem.lost,
                Some(start..end),
                "bit {bit} at {at}: {problem:?}"
            );
            assert!((start..end).contains(&problem.position));
            assert_eq!(found.transactions, 3, "bit {bit} at {at}");
        }
    }
}

#[test]
fn cut_anywhere() {
    let (bytes, borders) = file();
    let (plain, _) = without_seals(&bytes);
    for length in 0..bytes.len() {
        let (found, told) = problems(&bytes[..length]);
        let whole = borders.contains(&length);
        assert_eq!(told.is_empty(), whole, "cut at {length}: {told:?}");
        let end = borders.iter().rev().find(|&&border| border <= length);
        assert_eq!(found.transactions > 0, found.end > 4);
        assert_eq!(
            found.end,
            end.map_or(length, |&end| end) as u64,
            "cut at {length}"
        );
    }
    for length in 0..plain.len() {
        problems(&plain[..length]);
    }
}

#[test]
fn what_leads_nowhere() {
    let mut file = Builder::new();
    let first = file.txn(1, b' ', &[(1, 0, data("x")), (2, 0, data("y"))]) + 23;
    let back = |position| Payload::Back(position);
    let second = file.txn(
        2,
        b' ',
        &[
            (1, first + 9, data("z")),
            (2, 0, back(first)),
            (3, 0, back(7)),
            (4, 0, back(0)),
        ],
    ) + 23;
    file.txn(2, b'?', &[(1, second, data("w"))]);
    let (found, told) = problems(&file.bytes);
    let whats: Vec<_> = told.iter().map(|problem| problem.what.as_str()).collect();
    let expected = [
        format!(
            "object 0x01: the record gives {} for its previous record, which is at {first}",
            first + 9
        ),
        format!(
            "object 0x02: the back-pointer points to {first}: to a record of {}",
            oid(1)
        ),
        "object 0x03: the back-pointer points to 7: to a record of 0x01000000".to_owned(),
        "time-stamp reduction: 0000000000000002 is not later than 0000000000000002".to_owned(),
        "invalid status '?'".to_owned(),
    ];
    assert_eq!(whats.len(), expected.len(), "{whats:?}");
    for (what, expected) in whats.iter().zip(&expected) {
        assert!(what.starts_with(expected), "{what}");
    }
    assert!(told.iter().all(|problem| problem.lost.is_none()));
    assert_eq!((found.transactions, found.objects), (3, 4));
}

#[test]
fn each_call_can_cancel() {
    let (bytes, _) = file();
    let file = DataFile::over(memory(&bytes)).unwrap();
    for calls in 0..4 {
        let mut observer = Cancelling::after(calls);
        let found = check(&file, &mut |_| Ok(()), &mut observer);
        assert!(matches!(found, Err(Error::Cancelled)), "{calls}");
    }
    let mut left = 3;
    let mut on_event = |_: CheckEvent<'_>| {
        left -= 1;
        if left == 0 { Err(Cancelled) } else { Ok(()) }
    };
    let found = check(&file, &mut on_event, &mut ());
    assert!(matches!(found, Err(Error::Cancelled)));
    assert_eq!(left, 0);
}
