//! What listeners are told.

use serde_json::json;
use zeo_client::{Address, Listener};
use zeo_proto::{Oid, Tid};

use crate::print;
use crate::shown::{hex, oids as shown};

/// Prints all that it is told.
pub struct Events;

impl Listener for Events {
    fn invalidated(&self, tid: Tid, oids: &[Oid]) {
        print(&json!({"event": "invalidated", "tid": hex(&tid.to_bytes()), "oids": shown(oids)}));
    }

    fn committed(&self, tid: Tid, oids: &[Oid]) {
        print(&json!({"event": "committed", "tid": hex(&tid.to_bytes()), "oids": shown(oids)}));
    }

    fn everything_changed(&self, tid: Tid) {
        print(&json!({"event": "everything changed", "tid": hex(&tid.to_bytes())}));
    }

    fn connected(&self, address: &Address, read_only: bool) {
        let address = address.to_string();
        print(&json!({"event": "connected", "address": address, "read_only": read_only}));
    }

    fn disconnected(&self) {
        print(&json!({"event": "disconnected"}));
    }

    fn behind(&self, address: &Address, server: Tid, cache: Tid) {
        print(&json!({
            "event": "behind", "address": address.to_string(),
            "server": hex(&server.to_bytes()), "cache": hex(&cache.to_bytes()),
        }));
    }
}
