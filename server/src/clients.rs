//! The clients that are connected: how they are reached, and what can be seen of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::messages::mailbox::Mailbox;
use crate::messages::request::ClientId;
use crate::status::client::ClientStatus;

/// All connections of a server.
#[derive(Debug, Default)]
pub struct Clients {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// In the order in which they came.
    present: BTreeMap<ClientId, Client>,
    accepted: u64,
    /// The traffic of those that have gone.
    gone: Traffic,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// How its session is reached.
    pub mailbox: Mailbox,
    /// What can be seen of it.
    pub status: Arc<ClientStatus>,
}

/// Bytes that went over connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From clients.
    pub received: u64,
    /// To clients.
    pub sent: u64,
}

impl Traffic {
    fn add(&mut self, status: &ClientStatus) {
        self.received += status.received.get();
        self.sent += status.sent.get();
    }
}

/// All connections at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Those that are there, in the order in which they came.
    pub present: Vec<Client>,
    /// How many have come since the start.
    pub accepted: u64,
    /// The traffic of all since the start.
    pub traffic: Traffic,
}

impl Clients {
    /// Enters a connection.
    pub fn insert(&self, mailbox: Mailbox, status: Arc<ClientStatus>) {
        let mut table = self.table();
        table.accepted += 1;
        (table.present).insert(status.id, Client { mailbox, status });
    }

    /// Takes out a connection that has ended.
    pub fn remove(&self, id: ClientId) {
        let mut table = self.table();
        if let Some(client) = table.present.remove(&id) {
            table.gone.add(&client.status);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table().present.len()
    }

    /// Ends all connections, for this reason.
    pub fn close_all(&self, reason: &'static str) {
        let table = self.table();
        let clients = table.present.values();
        clients.for_each(|client| client.mailbox.close(reason));
    }

    /// Ends one connection, for this reason, after the commit that it has asked for; false if
    /// there is none of this number.
    pub fn dismiss(&self, id: ClientId, reason: &'static str) -> bool {
        let table = self.table();
        let client = table.present.get(&id);
        client.is_some_and(|client| {
            client.mailbox.dismiss(reason);
            true
        })
    }

    /// All of them now, and the sums of what there was.
    pub fn snapshot(&self) -> Snapshot {
        let table = self.table();
        let mut traffic = table.gone;
        for client in table.present.values() {
            traffic.add(&client.status);
        }
        Snapshot {
            present: table.present.values().cloned().collect(),
            accepted: table.accepted,
            traffic,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::mailbox::mailbox;

    #[test]
    fn traffic_stays_counted_when_clients_go() {
        let clients = Clients::default();
        let (mailbox, inbox) = mailbox().unwrap();
        for id in [1, 2] {
            let status = Arc::new(ClientStatus::new(id, "test".to_owned(), false));
            status.received.add(10 * id);
            status.sent.add(id);
            clients.insert(mailbox.clone(), status);
        }
        let before = clients.snapshot();
        clients.remove(1);
        clients.remove(1);
        let after = clients.snapshot();
        let traffic = Traffic {
            received: 30,
            sent: 3,
        };
        assert_eq!([before.traffic, after.traffic], [traffic; 2]);
        assert_eq!((before.present.len(), clients.len()), (2, 1));
        assert_eq!([before.accepted, after.accepted], [2, 2]);
        assert!(!clients.dismiss(1, "test") && inbox.closed().is_none());
        assert!(clients.dismiss(2, "test") && inbox.closed().is_some());
    }
}
