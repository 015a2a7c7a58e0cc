//! The cache file of a client.

use std::sync::{Arc, Mutex};

use zeo_client::cache::Cache;
use zeo_proto::{Oid, Tid};
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::log::silent;

use super::{MIB, Target};
use crate::corpus;

pub const CACHE: Target = Target {
    name: "cache",
    corpus: corpus::caches,
    prepare: || Box::new(opened),
    slack: 16 * MIB,
};

/// Opens a file, reads what is in it, writes into it; then it is a sound one.
fn opened(input: &[u8]) -> Result<(), String> {
    let file = Arc::new(MemoryBackend::default());
    file.write_all_at(input, 0).map_err(|why| why.to_string())?;
    // Larger, smaller, and as it is.
    let size = [700, 1000, 2000, input.len() as u64][input.len() % 4];
    let open = |log| Cache::over(file.clone(), size, log).map_err(|why| why.to_string());
    let mut cache = open(silent())?;
    use_all(&mut cache)?;
    let held = cache.held().map_err(|why| why.to_string())?;
    let complaints = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&complaints);
    let mut again = open(Arc::new(move |_, text: &str| {
        if let Ok(mut into) = into.lock() {
            into.push_str(text);
        }
    }))?;
    let complaints = complaints.lock().map_err(|why| why.to_string())?;
    let again = again.held().map_err(|why| why.to_string())?;
    if again == held && complaints.is_empty() {
        Ok(())
    } else {
        Err(format!("{held:?} became {again:?}: {complaints}"))
    }
}

fn use_all(cache: &mut Cache) -> Result<(), String> {
    let held = cache.held().map_err(|why| why.to_string())?;
    if held.len() != cache.len() {
        return Err(format!("{} of {}", held.len(), cache.len()));
    }
    for held in held.iter().take(20) {
        let found = cache.load_before(held.oid, held.end.unwrap_or(Tid::MAX));
        if found.is_some_and(|found| found.data.len() > 1 << 20) {
            return Err("data that no input holds".to_owned());
        }
        let _ = cache.load(held.oid);
        cache.invalidate(held.oid, Some(Tid::new(u64::MAX / 2)));
    }
    for number in 0..10 {
        cache.store(Oid::new(number), Tid::new(u64::MAX - 1), None, &[b'x'; 90]);
        cache.store(Oid::new(number), Tid::new(1), Some(Tid::new(2)), b"y");
    }
    Ok(())
}
