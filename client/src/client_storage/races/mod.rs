//! Races that have corrupted data in Python's client (ZEO issues 155, 166 and 209, ZODB issue 290), as
//! a model: a server that tells the truth, a connection, the storage's own thread and its callers,
//! whose steps come in an order made of a seed. What a caller reads must be true of its snapshot.
//!
//! The storage's part is the real one: [`dispatch`](super::dispatch), `InFlight`, `Known` with its
//! cache file and listeners, and what verification does. Between the cache and the last tid, callers run:
//! a listener lets them.
//!
//! Each rule is also broken on purpose, which must be found.

mod callers;
mod truth;
mod world;

use world::World;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The server's answer to a load is overtaken by an invalidation (ZEO 209).
    ReplyOvertaken,
    /// Callers, not the reader, put what they have loaded into the cache (ZEO 155).
    StoredByCallers,
    /// The last tid is moved before the cache and the listeners know of it (ZEO 166).
    TidFirst,
    /// Objects are invalidated that their transaction may still load as they were (ZODB 290).
    ObjectsTooSoon,
    /// What has changed while there was no connection is not asked for (ZEO 209).
    NotVerified,
}

/// The first thing that is wrong in a history.
fn history(seed: u64, broken: Broken) -> Result<(), String> {
    let mut world = World::new(seed, broken);
    for _ in 0..600 {
        world.step();
        world.is_right()?;
    }
    Ok(())
}

#[test]
fn what_is_read_is_true() {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let first = given.unwrap_or_else(|| fastrand::u64(..1 << 32));
    for seed in first..first + 150 {
        if let Err(wrong) = history(seed, Broken::Nothing) {
            panic!("SEED={seed}: {wrong}");
        }
    }
}

#[test]
fn each_rule_is_needed() {
    let all = [
        Broken::ReplyOvertaken,
        Broken::StoredByCallers,
        Broken::TidFirst,
        Broken::ObjectsTooSoon,
        Broken::NotVerified,
    ];
    for broken in all {
        let found = (0..300).find_map(|seed| history(seed, broken).err());
        assert!(found.is_some(), "{broken:?} is not found");
    }
}
