//! Room that is prepared behind the end of data files.

use zeo_storage::config::StorageConfig;
use zeo_storage::file_storage::ROOM_MAX_BYTES;
use zeo_storage::zconfig::datatypes;

/// With less than this, every few commits would have to prepare some.
const LEAST_BYTES: u64 = 1 << 16;

#[derive(Debug, clap::Args)]
pub(super) struct RoomArgs {
    /// Zeros to write at a time behind the end of each data file, such as 1mb, so that most
    /// commits need not make it longer; Python's tools see them while the server runs (default 0:
    /// none)
    #[arg(long, value_name = "SIZE", value_parser = room_size)]
    prepare_room: Option<u64>,
}

impl RoomArgs {
    /// Tells it to all files of these storages.
    pub fn apply(&self, storages: &mut [StorageConfig]) {
        let files = storages
            .iter_mut()
            .flat_map(|storage| storage.kind.files_mut());
        files.for_each(|file| file.prepare_room = self.prepare_room.unwrap_or(0));
    }
}

fn room_size(text: &str) -> Result<u64, String> {
    let size = datatypes::byte_size(text)?;
    let size = u64::try_from(size).ok();
    size.filter(|size| *size == 0 || (LEAST_BYTES..=ROOM_MAX_BYTES).contains(size))
        .ok_or_else(|| format!("{text:?}: expected 0, or from 64kb to 64mb"))
}
