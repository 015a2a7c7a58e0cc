//! Conflicts that the server leaves to its clients.

use std::borrow::Cow;
use zeo_proto::Tid;

use zeo_proto::message::{Call, ClientConflict};
use zeo_storage::conflict::Resolver;
use zeo_storage::error;
use zeo_storage::storage::OnConflict;

use super::error::{Conflict, Error};
use super::link::Link;
use super::storage::ClientStorage;

/// The record that merges a conflicting store into what is committed.
///
/// # Errors
///
/// `Conflict` with the reason, when that can't be done.
pub(super) fn merge(
    storage: &ClientStorage,
    link: &Link,
    conflict: ClientConflict<'static>,
) -> Result<Vec<u8>, Error> {
    let ClientConflict {
        oid,
        committed,
        read,
        data,
    } = conflict;
    let load = |serial: Tid| link.call::<Cow<'static, [u8]>>(&Call::LoadSerial { oid, serial });
    let (old, current) = (load(read), load(committed));
    let conflict = error::Conflict::untried(oid, (committed, read), data.into_owned());
    let reason = match (old, current) {
        (Ok(old), Ok(current)) => {
            let resolver = storage.shared.settings.resolver.as_deref();
            let on_conflict = OnConflict::ResolveWith {
                resolver: resolver.map(|resolver| resolver as &dyn Resolver),
                compressed: None,
            };
            match conflict.resolve((&old, &current), on_conflict).1 {
                Ok(merged) => return Ok(merged),
                Err(reason) => reason,
            }
        }
        (Err(Error::NoObject { .. }), _) => {
            "the revision that was read no longer exists".to_owned()
        }
        (_, Err(Error::NoObject { .. })) => "the object no longer exists".to_owned(),
        (Err(why), _) | (_, Err(why)) => return Err(why),
    };
    Err(Error::Conflict(Box::new(Conflict {
        message: "database conflict error".to_owned(),
        oid: Some(oid),
        class: conflict.class_name(),
        serials: Some((committed, read)),
        reason: Some(reason),
    })))
}
