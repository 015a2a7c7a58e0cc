//! `fstool tail`: ZODB's `fstail`.

use std::io::Write;

use sha1::{Digest, Sha1};
use zeo_proto::repr;
use zeo_storage::file_storage::DataFile;
use zeo_storage::file_storage::format::Reader;
use zeo_storage::file_storage::format::walk::{Backwards, Txn};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict, tell};

/// How much is read at a time.
const READ_CHUNK_BYTES: u64 = 1 << 20;

/// Show the last transactions, newest first (fstail)
///
/// Two lines for each transaction: first its time in UTC and the SHA-1 of its records; then its
/// user, description, length (without its last 8 bytes), position, in parentheses the length of its
/// header with user, description and extension, and the extension, if there is one. An unfinished
/// transaction at the end (which a server is writing, or a crash has left) is not shown.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Number of transactions to show
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 10)]
    count: usize,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = self.file.open()?;
        file.check_magic()?;
        let (end, verdict) = whole_end(&file, context)?;
        let reader = Reader {
            end,
            ..file.reader()
        };
        for txn in Backwards::new(reader).take(self.count) {
            show(&mut context.out, &reader, &txn?)?;
        }
        Ok(verdict)
    }
}

/// Where the last whole transaction ends. Mostly at the end of the file; else
/// the index and a scan tell.
fn whole_end(file: &DataFile, context: &Context) -> Result<(u64, Verdict)> {
    if file.ends_whole()? {
        return Ok((file.size(), Verdict::Fine));
    }
    let mut progress = context.progress();
    let found = file.index(&context.log(), &mut progress)?;
    drop(progress);
    match found.torn {
        Some(why) if !file.is_in_use() => {
            tell(format_args!(
                "Warning: {why} at {}, as a crash leaves it",
                found.end
            ));
            Ok((found.end, Verdict::Problems))
        }
        _ => Ok((found.end, Verdict::Fine)),
    }
}

fn show(out: &mut impl Write, reader: &Reader<'_>, txn: &Txn) -> Result<()> {
    let meta = reader.txn_meta(txn.position, &txn.header)?;
    let text = |text: &[u8]| match text {
        [] => "''".to_owned(),
        text => repr::bytes(text),
    };
    writeln!(
        out,
        "{}: hash={}",
        txn.header.tid.time_stamp(),
        hash(reader, txn)?
    )?;
    write!(
        out,
        "user={} description={} length={} offset={} (+{})",
        text(&meta.user),
        text(&meta.description),
        txn.header.length,
        txn.position,
        txn.header.header_len()
    )?;
    if !meta.extension.is_empty() {
        write!(out, " extension={}", repr::pickled(&meta.extension))?;
    }
    writeln!(out, "\n")?;
    Ok(())
}

/// The SHA-1 of the records, as they stand in the file.
fn hash(reader: &Reader<'_>, txn: &Txn) -> Result<String> {
    let mut hasher = Sha1::new();
    let (mut at, end) = (txn.records_start(), txn.records_end());
    let mut piece = Vec::new();
    while at < end {
        let length = READ_CHUNK_BYTES.min(end - at);
        piece.resize(usize::try_from(length).unwrap_or(0), 0);
        reader.read_exact(&mut piece, at)?;
        hasher.update(&piece);
        at += length;
    }
    let digits = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits)
}
