//! Room at the end of the file: reserved at the vote, so that a commit can't
//! fail for want of space.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::file_storage::format::END_MAX;
use crate::{Error, Result};

/// Room is asked for in pieces of at least this, so that most votes need no
/// system call.
const RESERVE_CHUNK_BYTES: u64 = 1 << 20;

/// The room at the end of one file, and how much of it is spoken for.
pub(crate) struct Space {
    state: Mutex<State>,
}

struct State {
    backend: Arc<dyn Backend>,
    /// Where the written transactions end.
    end: u64,
    /// Bytes of transactions that are prepared and not yet written.
    reserved: u64,
    /// Up to where the file system has promised room.
    room: u64,
}

impl State {
    fn planned_end(&self) -> u64 {
        self.end.saturating_add(self.reserved)
    }
}

impl Space {
    /// The space behind `end`, with no room reserved.
    pub fn new(backend: Arc<dyn Backend>, end: u64) -> Arc<Self> {
        let state = Mutex::new(State {
            backend,
            end,
            reserved: 0,
            room: end,
        });
        Arc::new(Self { state })
    }

    /// Where the file will end when all that is prepared is written.
    pub fn planned_end(&self) -> u64 {
        self.state().planned_end()
    }

    /// True when the file system keeps room that nothing was written to.
    pub fn has_spare_room(&self) -> bool {
        let state = self.state();
        state.room > state.end
    }

    /// Reserves room for a transaction of `length` bytes.
    pub fn reserve(self: &Arc<Self>, length: u64) -> Result<Reservation> {
        let mut state = self.state();
        let end = state
            .planned_end()
            .checked_add(length)
            .filter(|&end| end <= END_MAX)
            .ok_or_else(|| {
                Error::Value(format!(
                    "the file can't grow by {length} bytes: its largest position is {END_MAX}"
                ))
            })?;
        if end > state.room {
            state.room = grow(&*state.backend, state.room, end)?;
        }
        state.reserved = state.reserved.saturating_add(length);
        Ok(Reservation {
            space: Arc::clone(self),
            length,
        })
    }

    /// Gets room up to `end` for what is no transaction yet.
    pub fn prepare(&self, end: u64) -> Result<()> {
        let mut state = self.state();
        if end > END_MAX {
            return Err(Error::Value(format!("the largest position is {END_MAX}")));
        }
        if end > state.room {
            let reserved = state.backend.reserve(state.room, end);
            reserved.map_err(failed("reserving room in", state.backend.path()))?;
            state.room = end;
        }
        Ok(())
    }

    /// The file was cut off at `end`, and all reserved room with it: asks again
    /// for that of prepared transactions.
    pub fn cut_at(&self, end: u64) {
        let mut state = self.state();
        let planned = state.planned_end();
        state.room = end;
        if planned > end
            && let Ok(room) = grow(&*state.backend, end, planned)
        {
            state.room = room;
        }
    }

    /// Goes on in another file that ends at `end` and has room up to `room`,
    /// if there is room for all that is prepared, and if `switch` succeeds.
    pub fn move_to<T>(
        &self,
        backend: Arc<dyn Backend>,
        end: u64,
        room: u64,
        switch: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let mut room = room.max(end);
        let planned_end = end.saturating_add(state.reserved);
        if planned_end > room {
            room = grow(&*backend, room, planned_end)?;
        }
        let done = switch()?;
        state.backend = backend;
        state.end = end;
        state.room = room;
        Ok(done)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gets room up to `end` at least; says up to where.
pub(crate) fn grow(backend: &dyn Backend, room: u64, end: u64) -> Result<u64> {
    let ahead = end.max(room.saturating_add(RESERVE_CHUNK_BYTES));
    if backend.reserve(room, ahead).is_ok() {
        return Ok(ahead);
    }
    // The disk may have room for this transaction, if not for a whole piece.
    let reserved = backend.reserve(room, end);
    reserved.map_err(failed(
        "reserving room for a transaction in",
        backend.path(),
    ))?;
    Ok(end)
}

/// Room for one transaction. Dropping it gives the room to the next one.
pub(crate) struct Reservation {
    space: Arc<Space>,
    length: u64,
}

impl Reservation {
    /// Length of the transaction, its last 8 bytes included.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The transaction was written at the end of the file.
    pub fn written(&mut self) {
        let length = std::mem::take(&mut self.length);
        let mut state = self.space.state();
        state.end = state.end.saturating_add(length);
        state.reserved = state.reserved.saturating_sub(length);
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.length == 0 {
            // Written, and dropped by a thread that waits for no disk, as
            // whoever asks for room at the moment does.
            return;
        }
        let mut state = self.space.state();
        state.reserved = state.reserved.saturating_sub(self.length);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A disk of which only the size matters.
    #[derive(Default)]
    struct Disk {
        size: AtomicU64,
        calls: AtomicU64,
        /// Dropped when it is asked for room.
        meanwhile: Mutex<Option<Reservation>>,
    }

    impl Backend for Disk {
        fn path(&self) -> &Path {
            Path::new("Data.fs")
        }
        fn read_at(&self, _buffer: &mut [u8], _position: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn write_all_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&self, _length: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn reserve(&self, _start: u64, end: u64) -> io::Result<()> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            drop(self.meanwhile.lock().unwrap().take());
            if end > self.size.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    #[test]
    fn room_is_got_in_pieces_and_given_back() {
        let disk = Arc::new(Disk::default());
        disk.size
            .store(100 * RESERVE_CHUNK_BYTES, Ordering::Relaxed);
        let space = Space::new(Arc::clone(&disk) as Arc<dyn Backend>, 4);
        let mut first = space.reserve(100).unwrap();
        let second = space.reserve(200).unwrap();
        assert_eq!(disk.calls.load(Ordering::Relaxed), 1);
        assert_eq!(space.planned_end(), 304);
        drop(second);
        first.written();
        drop(first);
        assert_eq!(space.planned_end(), 104);
        let large = space.reserve(5 * RESERVE_CHUNK_BYTES).unwrap();
        assert_eq!(disk.calls.load(Ordering::Relaxed), 2);
        assert_eq!(large.length(), 5 * RESERVE_CHUNK_BYTES);
    }

    #[test]
    fn whoever_drops_what_is_written_does_not_wait_for_the_disk() {
        let disk = Arc::new(Disk::default());
        disk.size
            .store(100 * RESERVE_CHUNK_BYTES, Ordering::Relaxed);
        let space = Space::new(Arc::clone(&disk) as Arc<dyn Backend>, 4);
        let mut written = space.reserve(100).unwrap();
        written.written();
        *disk.meanwhile.lock().unwrap() = Some(written);
        space.reserve(2 * RESERVE_CHUNK_BYTES).unwrap();
        assert!(disk.meanwhile.lock().unwrap().is_none());
    }

    #[test]
    fn a_full_disk_is_an_error_until_there_is_room() {
        let disk = Arc::new(Disk::default());
        disk.size.store(1000, Ordering::Relaxed);
        let space = Space::new(Arc::clone(&disk) as Arc<dyn Backend>, 4);
        let held = space.reserve(900).unwrap();
        let error = space.reserve(200).unwrap_err().to_string();
        assert!(error.contains("Data.fs"), "{error}");
        drop(held);
        space.reserve(200).unwrap();
        assert!(matches!(space.reserve(u64::MAX), Err(Error::Value(_))));
    }
}
