//! Who uses a storage's database: for `server_status`, the `ruok` probe and `/status.json`.

use std::time::Duration;

use zeo_proto::Value;
use zeo_storage::Storage;
use zeo_storage::storage::{DatabaseServer, DatabaseUsers};

/// Who uses the database, if the storage is in one that others use too, and that is known.
pub(crate) fn database_users(storage: &dyn Storage) -> Option<DatabaseUsers> {
    storage.outside()?.users()
}

/// The same by name.
pub(crate) fn value(users: &DatabaseUsers) -> Value<'static> {
    let relstorage = Value::Int(users.relstorage_connections.into());
    dict([
        (
            "servers",
            Value::List(users.servers.iter().map(server).collect()),
        ),
        ("relstorage_connections", relstorage),
    ])
}

fn server(server: &DatabaseServer) -> Value<'static> {
    let text = |text: &str| Value::Str(text.to_owned().into());
    dict([
        ("address", text(&server.address)),
        ("host", server.host.as_deref().map_or(Value::None, text)),
        ("this", Value::Bool(server.is_this)),
        ("last_tid", text(&server.last.to_string())),
        ("behind", seconds(server.behind)),
        ("silent", server.silent.map_or(Value::None, seconds)),
        ("late", Value::Bool(server.is_late)),
    ])
}

fn seconds(time: Duration) -> Value<'static> {
    Value::Float((time.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn dict<const N: usize>(fields: [(&str, Value<'static>); N]) -> Value<'static> {
    let fields = fields.into_iter();
    Value::Dict(
        fields
            .map(|(name, value)| (Value::Str(name.to_owned().into()), value))
            .collect(),
    )
}
