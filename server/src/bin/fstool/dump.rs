//! `fstool dump`: ZODB's `fsdump`.

use std::io::Write;

use zeo_proto::repr;
use zeo_storage::file_storage::format::DataHeader;
use zeo_storage::file_storage::format::walk::Txn;
use zeo_storage::file_storage::tools::reading::Reading;

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict};

/// Show all transactions and records (fsdump)
///
/// For each transaction its number, tid, size (without its last 8 bytes), time in UTC and offset
/// (of its records, as by fsdump), then status, user, description and extension; for each record
/// oid, size of the data, class and, if it points back to older data (bp), the transaction that
/// holds the data. Blobs are of class ZODB.blob.Blob. Transactions of status 'u' (undone) have no
/// number, and their records are not counted.
///
/// No code in extensions or records is executed: for objects that are not plain Python values, the
/// class and its arguments are shown.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show all fields of the format
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = self.file.open()?;
        let mut progress = context.no_progress();
        let mut reading = Reading::new(&file, &mut progress)?;
        let out = &mut context.out;
        if self.verbose {
            writeln!(out, "{}\nfile identifier: b'FS30'", "*".repeat(60))?;
        }
        let mut number = 0;
        while let Some(txn) = reading.txn()? {
            if self.verbose {
                show_all(out, &mut reading, &txn)?;
            } else {
                show(out, &mut reading, &txn, number)?;
            }
            number += u64::from(txn.header.status != b'u');
        }
        Ok(Verdict::of(reading.problems()))
    }
}

/// The lines of fsdump.
fn show(out: &mut impl Write, reading: &mut Reading<'_>, txn: &Txn, number: u64) -> Result<()> {
    let meta = reading.transactions.meta(txn)?;
    let header = &txn.header;
    let number = match header.status {
        b'u' => "-----".to_owned(),
        _ => format!("{number:05}"),
    };
    let (tid, size, time) = (header.tid, header.length, header.tid.time_stamp());
    let offset = txn.records_start();
    writeln!(
        out,
        "Trans #{number} tid={tid} size={size} time={time} offset={offset}"
    )?;
    let status = repr::text(&char::from(header.status).to_string());
    let (user, description) = (repr::bytes(&meta.user), repr::bytes(&meta.description));
    write!(
        out,
        "    status={status} user={user} description={description}"
    )?;
    if !meta.extension.is_empty() {
        write!(out, " extension={}", repr::pickled(&meta.extension))?;
    }
    writeln!(out)?;
    let mut records = 0;
    while let Some((position, header)) = reading.transactions.record()? {
        write!(out, "  data #{records:05} oid={:016x}", header.oid.as_u64())?;
        writeln!(out, "{}", described(reading, position, &header)?)?;
        records += 1;
    }
    Ok(())
}

/// Size, class and back-pointer of a record.
fn described(reading: &mut Reading<'_>, position: u64, header: &DataHeader) -> Result<String> {
    let Some(source) = reading.source(position, header)? else {
        return Ok(" class=unreadable".to_owned());
    };
    let data = match source.data {
        Some(data) => format!(" size={} class={}", data.1, reading.class(data)?),
        None => " class=undo or abort of object creation".to_owned(),
    };
    let back = source.data_txn.map(|tid| format!(" bp={tid}"));
    Ok(data + &back.unwrap_or_default())
}

/// All fields, as by the Dumper of fsdump.
fn show_all(out: &mut impl Write, reading: &mut Reading<'_>, txn: &Txn) -> Result<()> {
    let meta = reading.transactions.meta(txn)?;
    let header = &txn.header;
    let text = |text: &[u8]| match text {
        [] => "''".to_owned(),
        text => repr::bytes(text),
    };
    writeln!(out, "{}", "=".repeat(60))?;
    writeln!(out, "offset: {}", txn.position)?;
    writeln!(out, "end pos: {}", txn.records_end())?;
    writeln!(out, "transaction id: {}", header.tid)?;
    writeln!(out, "trec len: {}", header.length)?;
    writeln!(out, "status: {}", repr::bytes(&[header.status]))?;
    writeln!(out, "user: {}", text(&meta.user))?;
    writeln!(out, "description: {}", text(&meta.description))?;
    writeln!(out, "len(extra): {}", header.meta_lens[2])?;
    if !meta.extension.is_empty() {
        writeln!(out, "extension: {}", repr::pickled(&meta.extension))?;
    }
    while let Some((position, header)) = reading.transactions.record()? {
        writeln!(out, "{}", "-".repeat(60))?;
        writeln!(out, "offset: {position}")?;
        writeln!(out, "oid: {:016x}", header.oid.as_u64())?;
        writeln!(out, "revid: {}", header.tid)?;
        writeln!(out, "previous record offset: {}", header.prev)?;
        writeln!(out, "transaction offset: {}", header.tloc)?;
        writeln!(out, "len(data): {}", header.plen)?;
        match header.plen {
            0 => writeln!(out, "backpointer: {}", header.back)?,
            _ => {
                let data = (position + header.record_len() - header.plen, header.plen);
                writeln!(out, "class: {}", reading.class(data)?)?;
            }
        }
    }
    writeln!(out, "redundant trec len: {}", header.length)?;
    Ok(())
}
