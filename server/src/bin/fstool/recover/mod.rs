//! `fstool recover`: ZODB's `fsrecover`.

mod report;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeo_storage::blob::BlobDirectory;
use zeo_storage::file_storage::tools::replacement::Replacement;
use zeo_storage::file_storage::tools::resync::next_transaction;
use zeo_storage::file_storage::tools::salvage::{How, SalvageEvent, salvage};
use zeo_storage::file_storage::{DataFile, FileStorage, Options};
use zeo_storage::{Error, FileId, Storage};

use self::report::Report;
use crate::context::{Context, Run};
use crate::interrupt;
use crate::outcome::{Failure, Result, Verdict};

/// Bytes written to the new file between two syncs.
const SYNC_EVERY: u64 = 256 << 20;

/// Copy the readable part of a damaged file into a new one (fsrecover)
///
/// Damage is detected by lengths, record headers, and the checksums of this server. Unreadable
/// parts are skipped and reported: where they are, what is wrong, and which objects lose how much.
/// This includes what a failing disk can't read, in pages of 4096 bytes. The input is never
/// changed. A transaction is left out if a part of it is lost, unless -p is given. A transaction
/// whose checksum does not match, but whose records are all there and readable, is copied and
/// reported: look at its objects.
///
/// With --input-blobs and --output-blobs, blob files are copied with their records (hard-linked
/// where possible); missing and unreadable ones are reported. A truncated blob file is not
/// detected. Blob files that were left out stay where they were: `fstool blobs` with the new file
/// and the old directory lists them.
///
/// The new file gets its name, replacing an existing one (-f), only when it is complete, and can be
/// used at once. Exit code 1 means that the input had problems.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Overwrite the output file if it exists
    #[arg(short, long)]
    force: bool,
    /// Copy the readable records of damaged transactions, and mark these as packed
    #[arg(short, long)]
    partial: bool,
    /// Afterwards, pack the new file to this many seconds ago (with -p, use 0)
    #[arg(short = 'P', long, value_name = "SECONDS")]
    pack: Option<f64>,
    /// Level of detail: 1 shows transactions, 2 also their records
    #[arg(short, long, value_name = "LEVEL", default_value_t = 0)]
    verbose: u8,
    /// Print JSON
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    /// The blob directory of the damaged file
    #[arg(long, value_name = "DIR", requires = "output_blobs")]
    input_blobs: Option<PathBuf>,
    /// The blob directory of the new file, which gets the bushy layout
    #[arg(long, value_name = "DIR", requires = "input_blobs")]
    output_blobs: Option<PathBuf>,
    /// The damaged file
    input: PathBuf,
    /// The new file
    output: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let input = DataFile::open_failing(&self.input)?;
        // It goes on with a damaged beginning, but not with another file.
        let wrong = input.check_magic().err();
        self.check_output()?;
        let blobs = self.open_blobs()?;
        let options = Options::with(|options| {
            options.create = true;
            options.pack_keep_old = false;
            options.blob_dir = self.output_blobs.clone();
            options.sync_every = SYNC_EVERY;
            options.log = context.log();
        });
        if let Some(wrong) = &wrong
            && next_transaction(&input.reader(), 0)?.is_none()
        {
            return Err(Failure::Other(format!("nothing can be recovered: {wrong}")));
        }
        interrupt::cancels()?;
        let (replacement, output) = Replacement::create(&self.output, options)?;
        let mut report = Report::new(self);
        if let Some(wrong) = wrong {
            report.begin(context, &wrong)?;
        }
        let mut progress = context.progress();
        let out = &mut context.out;
        let how = How::new(self.partial, blobs.as_ref());
        let mut on_event = |event: SalvageEvent<'_>| {
            // It goes on when nobody listens.
            let _ = report.on_event(out, event);
            Ok(())
        };
        let done = salvage(&input, &output, how, &mut on_event, &mut progress)?;
        drop(progress);
        self.pack(&output, context)?;
        report.end(context, &done, &input, &output)?;
        output.close()?;
        interrupt::check()?;
        replacement.put_in_place()?;
        Ok(report.verdict(&done))
    }
}

impl Arguments {
    /// Fails when the output is there without `-f`, and when it is the input.
    fn check_output(&self) -> Result<()> {
        let (input, output) = (&self.input, &self.output);
        if FileId::of(input) == FileId::of(output) {
            let what = "input and output are the same file".to_owned();
            return Err(Failure::Usage(what));
        }
        if output.exists() && !self.force {
            let what = format!("{} exists; -f overwrites it", output.display());
            return Err(Failure::Other(what));
        }
        Ok(())
    }

    /// Opens the blob directory of the input. Fails when the other one, which
    /// is going to be emptied, is in use for something else.
    fn open_blobs(&self) -> Result<Option<BlobDirectory>> {
        let (Some(input), Some(output)) = (&self.input_blobs, &self.output_blobs) else {
            return Ok(None);
        };
        let other = |what: &str| Err(Failure::Other(format!("{} {what}", output.display())));
        if !input.is_dir() {
            let what = format!("{} is not a directory", input.display());
            return Err(Failure::Other(what));
        }
        if output.exists() {
            let is_empty = std::fs::read_dir(output).map(|mut entries| entries.next().is_none());
            let is_empty = is_empty.map_err(Error::io("reading the directory", output))?;
            if is_around(output, input)? || is_around(input, output)? {
                let what = "the blob directories of input and output are the same";
                return Err(Failure::Usage(what.to_owned()));
            }
            if !is_empty && !self.force {
                return other("is not empty; -f empties it");
            }
            if !is_empty && !output.join(".layout").exists() {
                return other(
                    "has no .layout, so it is probably not a blob directory: empty it first",
                );
            }
        }
        Ok(Some(BlobDirectory::open_read_only(input)?))
    }

    fn pack(&self, output: &FileStorage, context: &Context) -> Result<()> {
        let Some(seconds) = self.pack else {
            return Ok(());
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = now.unwrap_or_default().as_secs_f64() - seconds;
        match output.pack_observed(time, None, &mut context.progress()) {
            Ok(()) => Ok(()),
            Err(Error::Cancelled) => Err(Error::Cancelled.into()),
            Err(why) => {
                let what = format!(
                    "the new file could not be packed and was removed: {why}; try without --pack"
                );
                Err(Failure::Other(what))
            }
        }
    }
}

/// Whether a directory is another one, or holds it.
fn is_around(outer: &Path, inner: &Path) -> Result<bool> {
    let absolute = |path: &Path| {
        path.canonicalize()
            .map_err(Error::io("opening the blob directory", path))
    };
    Ok(absolute(inner)?.starts_with(absolute(outer)?))
}
