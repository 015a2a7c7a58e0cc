//! Opens a storage, or a connection without one, by settings in JSON or by a configuration file.

use std::time::Duration;

use serde_json::{Value, json};
use zeo_client::config::Config;
use zeo_client::{
    Address, Authorities, Builder, ClientStorage, Connection, Options, Settings, Tls, TlsSettings,
};
use zeo_proto::Tid;

use crate::args::{Args, Failure};
use crate::shown::hex;

/// Opens the storage of the configuration file `config`, or else the one at `addresses`.
pub fn open(args: &Args<'_>) -> Result<ClientStorage, Failure> {
    let mut settings = match args.text("config") {
        Ok(file) => configured(file, args)?,
        Err(_) => listed(args)?.settings(),
    };
    // Tests that wait for a failure don't wait for long pauses.
    settings.disconnect_poll = Duration::from_millis(10);
    settings.max_disconnect_poll = Duration::from_millis(100);
    Ok(ClientStorage::open(settings)?)
}

/// Connects once, within `seconds`, to the first server of the configuration file `config`, and
/// registers; the last tid.
pub fn connect(args: &Args<'_>) -> Result<Value, Failure> {
    let settings = configured(args.text("config")?, args)?;
    let address =
        { settings.addresses.first() }.ok_or_else(|| Failure::Other("no server".into()))?;
    let mut options = Options::within(Duration::from_secs_f64(args.seconds("seconds")?));
    options.tls = settings.tls;
    let mut connection = Connection::open(address, &options).map_err(Failure::other)?;
    let last = connection.register(&settings.storage, true);
    let last = last.map_err(Failure::other)?.unwrap_or(Tid::ZERO);
    Ok(json!(hex(&last.to_bytes())))
}

/// The settings in a configuration file. `database` names one of its databases; `key_password` is
/// that of the key of TLS.
fn configured(file: &str, args: &Args<'_>) -> Result<Settings, Failure> {
    let mut config = Config::file(file);
    if let Ok(name) = args.text("database") {
        config = config.database(name);
    }
    if let Ok(password) = args.text("key_password") {
        config = config.key_password(password);
    }
    Ok(config.read().map_err(Failure::other)?.storage)
}

/// The settings in a call. `addresses` are texts; the rest is called as in the builder, but for TLS.
fn listed(args: &Args<'_>) -> Result<Builder, Failure> {
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
    if let Ok(label) = args.text("client_label") {
        builder = builder.client_label(label);
    }
    if let Ok(seconds) = args.seconds("wait_timeout") {
        builder = builder.wait_timeout(Duration::from_secs_f64(seconds));
    }
    if args.0.get("wait").is_some() {
        builder = builder.wait(args.flag("wait"));
    }
    let builder = { builder.read_only(args.flag("read_only")) }
        .read_only_fallback(args.flag("read_only_fallback"))
        .server_sync(args.flag("server_sync"));
    with_tls(with_blobs(builder, args), args)
}

fn with_blobs(mut builder: Builder, args: &Args<'_>) -> Builder {
    if let Ok(path) = args.text("blob_dir") {
        builder = builder
            .blob_dir(path)
            .shared_blob_dir(args.flag("shared_blob_dir"));
    }
    if let Ok(bytes) = args.number("blob_cache_size") {
        builder = builder.blob_cache_size(bytes);
    }
    builder
}

/// `authority`, `certificate` and `key` are files.
fn with_tls(builder: Builder, args: &Args<'_>) -> Result<Builder, Failure> {
    let Ok(authority) = args.text("authority") else {
        return Ok(builder);
    };
    let mut settings = TlsSettings::default();
    settings.authorities = Authorities::File(authority.into());
    settings.certificate = args.text("certificate").ok().map(Into::into);
    settings.key = args.text("key").ok().map(Into::into);
    settings.server_name = Some("localhost".to_owned());
    Ok(builder.tls(Tls::new(&settings, None).map_err(Failure::other)?))
}
