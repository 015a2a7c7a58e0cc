//! The settings of a storage, from JSON.

use std::time::Duration;

use zeo_client::{Address, Authorities, ClientStorage, Tls, TlsSettings};

use crate::args::{Args, Failure};

/// Opens a storage. `addresses` are texts; `authority`, `certificate` and `key` are files for TLS;
/// the rest is called as in the builder.
pub fn open(args: &Args<'_>) -> Result<ClientStorage, Failure> {
    let list = args.0.get("addresses").and_then(|list| list.as_array());
    let mut addresses = list.into_iter().flatten().map(|address| {
        let text = address.as_str().unwrap_or_default();
        text.parse::<Address>().map_err(Failure::Usage)
    });
    let first = addresses.next();
    let mut builder = ClientStorage::builder(first.ok_or(Failure::Usage("addresses".into()))??);
    for address in addresses {
        builder = builder.address(address?);
    }
    if let Ok(name) = args.text("storage") {
        builder = builder.storage(name);
    }
    if let Ok(path) = args.text("cache") {
        builder = builder.cache(path, args.number("cache_size").unwrap_or(20 << 20));
    }
    if let Ok(path) = args.text("blob_dir") {
        builder = builder
            .blob_dir(path)
            .shared_blob_dir(args.flag("shared_blob_dir"));
    }
    if let Ok(bytes) = args.number("blob_cache_size") {
        builder = builder.blob_cache_size(bytes);
    }
    if let Ok(label) = args.text("client_label") {
        builder = builder.client_label(label);
    }
    if let Ok(seconds) = args.seconds("wait_timeout") {
        builder = builder.wait_timeout(Duration::from_secs_f64(seconds));
    }
    if args.0.get("wait").is_some() {
        builder = builder.wait(args.flag("wait"));
    }
    if let Ok(authority) = args.text("authority") {
        let mut settings = TlsSettings::default();
        settings.authorities = Authorities::File(authority.into());
        settings.certificate = args.text("certificate").ok().map(Into::into);
        settings.key = args.text("key").ok().map(Into::into);
        settings.server_name = Some("localhost".to_owned());
        let tls = Tls::new(&settings, None);
        builder = builder.tls(tls.map_err(|why| Failure::Other(why.to_string()))?);
    }
    let soon = Duration::from_millis(10);
    let storage = { builder.read_only(args.flag("read_only")) }
        .read_only_fallback(args.flag("read_only_fallback"))
        .server_sync(args.flag("server_sync"))
        .disconnect_poll(soon, 10 * soon)
        .open()?;
    Ok(storage)
}
