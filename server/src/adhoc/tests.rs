use zeo_client::{Address as ServerAddress, Connection, Options};
use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid};
use zeo_storage::MappingStorage;

use super::*;
use crate::net::tls::Authorities;

fn connect(server: &AdHocServer, storage: &str) -> Result<Connection, zeo_client::ConnectionError> {
    let address: ServerAddress = server.address().parse().unwrap();
    let mut connection = Connection::open(&address, &Options::default())?;
    connection.register(storage, false)?;
    Ok(connection)
}

#[test]
fn a_file_with_blobs_is_there_after_a_restart_on_the_same_port() {
    let directory = tempfile::tempdir().unwrap();
    let (path, blobs) = (
        directory.path().join("Data.fs"),
        directory.path().join("blobs"),
    );
    let adhoc = || AdHoc::file(&path).blob_dir(&blobs);
    let server = serve(adhoc()).unwrap();
    let mut connection = connect(&server, "1").unwrap();
    let oids: Vec<Oid> = { connection.call(&Call::NewOids { count: 1 }, &mut |_| {}) }.unwrap();
    assert_eq!(oids.len(), 1);
    let port: u16 = server
        .address()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(blobs.join(".layout").exists());

    let why = serve(adhoc()).unwrap_err().to_string();
    assert!(why.contains("has the storage open"), "{why}");
    let why = serve(AdHoc::in_memory().port(port))
        .unwrap_err()
        .to_string();
    assert!(
        why.starts_with(&format!("can't listen at 127.0.0.1:{port}: ")),
        "{why}"
    );

    server.stop();
    assert!(
        connection
            .call::<Tid>(&Call::LastTransaction, &mut |_| {})
            .is_err()
    );
    let server = serve(adhoc().port(port)).unwrap();
    connect(&server, "1").unwrap();
}

#[test]
fn storages_of_the_program_are_served_and_closed() {
    let open = |name| Arc::new(MappingStorage::new(name).unwrap());
    let server = serve(AdHoc::in_memory().storage("other", open("other"))).unwrap();
    for name in ["1", "other"] {
        connect(&server, name).unwrap();
    }
    assert!(connect(&server, "third").is_err());
    let directory = tempfile::tempdir().unwrap();
    let socket = Address::Unix(directory.path().join("zeo.sock"));
    let only = AdHoc::in_memory()
        .storage("1", open("mine"))
        .address(socket);
    let server = serve(only).unwrap();
    assert!(server.address().ends_with("/zeo.sock"));
    connect(&server, "1").unwrap();
}

#[test]
fn a_certificate_that_is_missing_is_named() {
    let missing = SslConfig::new("missing.pem".into(), Authorities::System);
    let why = serve(AdHoc::in_memory().tls(missing))
        .unwrap_err()
        .to_string();
    assert!(why.contains("missing.pem"), "{why}");
}
