//! The storages that are served, with their counters and the way to their coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeo_proto::Value;
use zeo_storage::Storage;

use crate::messages::requests::Requests;
use crate::status::database::{self, database_users};
use crate::status::json::{ascii, json};
use crate::status::stats::Stats;

/// A storage that is served: what sessions need of it.
pub struct ServedStorage {
    /// The storage.
    pub storage: Arc<dyn Storage>,
    /// Its counters.
    pub stats: Arc<Stats>,
    /// Its coordinator.
    pub coordinator: Requests,
}

impl ServedStorage {
    /// Whether the storage's calls may wait for another machine.
    pub fn is_remote(&self) -> bool {
        let outside = self.storage.outside();
        outside.is_some_and(|outside| outside.is_remote())
    }

    /// Its counters, and who uses its database.
    fn counters(&self) -> Vec<(&'static str, Value<'static>)> {
        let mut status = self.stats.status(self.storage.last_tid());
        let users = database_users(&*self.storage);
        status.extend(users.map(|users| ("database", database::value(&users))));
        status
    }

    /// The answer to `server_status`.
    pub fn status(&self) -> Value<'static> {
        let mut status = self.counters();
        if let Some(progress) = self.storage.packing() {
            status.push(("packing", Value::Str(progress.to_string().into())));
        }
        Value::Dict(
            status
                .into_iter()
                .map(|(name, value)| (Value::str(name), value))
                .collect(),
        )
    }
}

/// The storages by name.
#[derive(Default)]
pub struct Storages {
    by_name: BTreeMap<String, Arc<ServedStorage>>,
}

impl Storages {
    /// These storages.
    pub(crate) fn of(storages: impl IntoIterator<Item = (String, ServedStorage)>) -> Self {
        let storages = storages.into_iter();
        Self {
            by_name: storages
                .map(|(name, handle)| (name, Arc::new(handle)))
                .collect(),
        }
    }

    /// The storage of this name.
    pub fn get(&self, name: &str) -> Option<Arc<ServedStorage>> {
        self.by_name.get(name).cloned()
    }

    /// All of them with their names, in the order of those.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ServedStorage)> {
        self.by_name
            .iter()
            .map(|(name, storage)| (&**name, &**storage))
    }

    /// The status of every storage by name, for the `ruok` probe: in ASCII,
    /// as which `zeo-nagios` decodes it.
    pub fn status_json(&self) -> String {
        let storages = self.by_name.iter().map(|(name, handle)| {
            let fields = handle
                .counters()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), json(&value)));
            (name.clone(), serde_json::Value::Object(fields.collect()))
        });
        ascii(&serde_json::Value::Object(storages.collect()).to_string())
    }
}
