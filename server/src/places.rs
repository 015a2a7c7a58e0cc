//! How many clients there is room for: each takes descriptors, and the server needs some itself.

use std::fs;

use rustix::process::{Resource, getrlimit};
use slog::{Logger, info, warn};

/// Connections beyond the clients: of those who have not registered, ask for the server's state, or
/// are being refused. Who comes besides waits to be accepted.
pub const LOBBY: u64 = 32;
/// Descriptors for packs, indexes, logs and what else the server opens from time to time.
const RESERVED_DESCRIPTORS: u64 = 64;
/// A connection's: socket, mailbox, and what waits for both.
const CONNECTION_DESCRIPTORS: u64 = 3;
/// A client's: with one more for a large transaction, a blob that it sends or one that it gets.
const CLIENT_DESCRIPTORS: u64 = CONNECTION_DESCRIPTORS + 1;
/// With more places than this, nobody needs to know.
const PLENTY: u64 = 1000;

/// How many clients may register: as many as configured, if there are descriptors for them.
pub fn places(configured: Option<u64>, log: &Logger) -> u64 {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return configured.unwrap_or(u64::MAX);
    };
    let open = fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() as u64);
    let room = room(limit, open);
    match configured {
        Some(wanted) if wanted <= room => wanted,
        Some(wanted) => {
            warn!(
                log,
                "--max-clients {wanted} needs a higher limit of open files than {limit}, which is \
                 enough for {room} clients"
            );
            room
        }
        None => {
            if room < PLENTY {
                info!(
                    log,
                    "the limit of open files, {limit}, is enough for {room} clients"
                );
            }
            room
        }
    }
}

fn room(limit: u64, open: u64) -> u64 {
    let kept = open + RESERVED_DESCRIPTORS + LOBBY * CONNECTION_DESCRIPTORS;
    (limit.saturating_sub(kept) / CLIENT_DESCRIPTORS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept() {
        assert_eq!(room(1024, 24), 210);
        assert_eq!(room(100, 24), 1);
    }
}
