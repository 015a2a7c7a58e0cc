//! What tools read of a damaged file.

use std::sync::Arc;

use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::file_storage::tools::check::check;
use zeo_storage::file_storage::tools::transaction_reader::{Step, TransactionReader};
use zeo_storage::file_storage::{DataFile, Options};
use zeo_storage::references::references_with_classes;
use zeo_storage::{FileStorage, Result, Storage};

use super::{MIB, Target};
use crate::corpus;

pub const CARE: Target = Target {
    name: "care",
    corpus: corpus::files,
    prepare: || Box::new(care),
    slack: 64 * MIB,
};

/// A file that is checked opens if nothing was found, and has as many
/// transactions; all else is read, and the reading ends.
fn care(input: &[u8]) -> std::result::Result<(), String> {
    let text = |why: zeo_storage::Error| why.to_string();
    let backend = MemoryBackend::default();
    backend
        .write_all_at(input, 0)
        .map_err(|why| why.to_string())?;
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let file = DataFile::over(Arc::clone(&backend)).map_err(text)?;
    let found = check(&file, &mut |_| Ok(()), &mut ()).map_err(text)?;
    let whole = read_all(&file).map_err(text)?;
    if whole != found.transactions {
        let counts = format!("{whole}, not {}", found.transactions);
        return Err(format!("transactions: {counts}"));
    }
    if found.problems == 0 {
        let options = Options::with(|options| options.read_only = true);
        let storage = FileStorage::over(backend, "fuzz", &options).map_err(text)?;
        if storage.len() != found.objects {
            return Err(format!("{} objects, not {}", storage.len(), found.objects));
        }
    }
    Ok(())
}

/// Reads all that there is; gives the number of whole transactions.
fn read_all(file: &DataFile) -> Result<u64> {
    let mut transactions = TransactionReader::new(file);
    let mut whole = 0;
    loop {
        match transactions.step()? {
            Step::Whole { txn, .. } => {
                whole += 1;
                transactions.meta(&txn)?;
                while let Some((position, header)) = transactions.record()? {
                    let source = transactions.source(position, &header).ok();
                    if let Some(data) = source.and_then(|source| source.data) {
                        let _ = references_with_classes(transactions.data(data, None)?);
                    }
                }
            }
            Step::Damaged(_) => {}
            Step::End { .. } => return Ok(whole),
        }
    }
}
