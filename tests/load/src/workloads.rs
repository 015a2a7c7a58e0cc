//! What clients do to a server.

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid};

use crate::connection::{Address, Connection};
use crate::drive::{Group, Make, Run, Step, drive};
use crate::error::{Error, Result};
use crate::record::record;
use crate::requests::{Committer, Loader, new_oids};

/// The server that is driven.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where it listens.
    pub address: &'a Address,
    /// The name of its storage.
    pub storage: &'a str,
}

impl Target<'_> {
    /// A registered connection.
    pub fn open(&self) -> Result<Connection> {
        Connection::open(self.address, self.storage).map(|(connection, _)| connection)
    }
}

/// The objects that are loaded: oids from `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// The first oid.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// From one oid to the next.
    pub step: u64,
}

impl Objects {
    fn random(&self) -> Oid {
        Oid::new(self.first + self.step * fastrand::u64(..self.count.max(1)))
    }
}

/// How transactions look.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many objects one stores.
    pub objects: RangeInclusive<usize>,
    /// Bytes of each record.
    pub size: usize,
}

/// How many objects one transaction of [`fill`] stores.
const FILL_OBJECTS: u64 = 1000;

/// Creates objects of `size` bytes by large transactions.
pub fn fill(target: Target<'_>, objects: Objects, size: usize) -> Result<Value> {
    let mut connection = target.open()?;
    let mut committer = Committer::default();
    let end = objects.first + objects.count;
    for first in (objects.first..end).step_by(FILL_OBJECTS as usize) {
        let oids = (first..end.min(first + FILL_OBJECTS)).map(Oid::new);
        let records: Vec<_> = oids.map(|oid| (oid, record(oid, 0, size))).collect();
        let stores = records
            .iter()
            .map(|(oid, data)| (*oid, Tid::ZERO, data.as_slice()));
        let stores: Vec<_> = stores.collect();
        committer.vote(&mut connection, &stores, &mut |_| Ok(()))?;
        committer.finish(&mut connection, &mut |_| Ok(()))?;
    }
    Ok(json!({"filled": objects.count, "size": size}))
}

/// Loads of random objects by each client, with so many requests outstanding
/// (1: the next when the answer to the last is here).
pub fn loads(
    target: Target<'_>,
    run: &Run,
    clients: usize,
    objects: Objects,
    outstanding: usize,
) -> Result<Value> {
    let make = |_| match outstanding {
        0 | 1 => loader(target, objects),
        _ => pipeline(target, objects, outstanding),
    };
    let name = "loads";
    drive(
        run,
        &[Group {
            name,
            clients,
            pace: None,
            ends_run: false,
            make: &make,
        }],
    )
}

fn loader(target: Target<'_>, objects: Objects) -> Result<Step> {
    let mut connection = target.open()?;
    let mut loader = Loader::new(connection.encoding())?;
    Ok(Box::new(move || {
        let oid = objects.random();
        connection.send(loader.request(oid, Tid::MAX))?;
        while !connection.take(|frame| loader.is_reply(frame, oid, Tid::MAX))?? {}
        Ok(1)
    }))
}

/// As many new requests as answers were here go out by one write.
fn pipeline(target: Target<'_>, objects: Objects, outstanding: usize) -> Result<Step> {
    let mut connection = target.open()?;
    let mut loader = Loader::new(connection.encoding())?;
    let mut asked = std::collections::VecDeque::with_capacity(outstanding);
    let mut out = Vec::new();
    Ok(Box::new(move || {
        out.clear();
        while asked.len() < outstanding {
            let oid = objects.random();
            out.extend_from_slice(loader.request(oid, Tid::MAX));
            asked.push_back(oid);
        }
        connection.send(&out)?;
        let mut answers = 0;
        while answers == 0 || connection.is_ready()? {
            let Some(&oid) = asked.front() else { break };
            if connection.take(|frame| loader.is_reply(frame, oid, Tid::MAX))?? {
                asked.pop_front();
                answers += 1;
            }
        }
        Ok(answers)
    }))
}

/// Commits by each client to objects of its own.
pub fn commits(target: Target<'_>, run: &Run, writers: Paced, shape: &Shape) -> Result<Value> {
    let make = |number| writer(target, number, shape.clone());
    let name = "commits";
    drive(
        run,
        &[Group {
            name,
            clients: writers.clients,
            pace: writers.pace,
            ends_run: false,
            make: &make,
        }],
    )
}

fn writer(target: Target<'_>, number: usize, shape: Shape) -> Result<Step> {
    let mut connection = target.open()?;
    let mut committer = Committer::default();
    let mut own: Vec<(Oid, Tid, Vec<u8>)> = new_oids(&mut connection)?
        .into_iter()
        .map(|oid| (oid, Tid::ZERO, record(oid, number as u64, shape.size)))
        .collect();
    Ok(Box::new(move || {
        let count = fastrand::usize(shape.objects.clone()).clamp(1, own.len());
        own.rotate_left(count);
        let chosen = own.get_mut(..count).unwrap_or_default();
        let stores: Vec<_> = chosen
            .iter()
            .map(|(o, s, d)| (*o, *s, d.as_slice()))
            .collect();
        committer.vote(&mut connection, &stores, &mut |_| Ok(()))?;
        let tid = committer.finish(&mut connection, &mut |_| Ok(()))?;
        chosen.iter_mut().for_each(|(_, serial, _)| *serial = tid);
        Ok(1)
    }))
}

/// Clients at a fixed pace.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    /// How many.
    pub clients: usize,
    /// Operations a second of each; `None`: as many as it can.
    pub pace: Option<f64>,
}

/// Readers beside writers, each at a fixed pace: what the ones cost the
/// others. With `packs`, beside a pack to the time of the call, until it has
/// ended: what it costs both.
pub fn mixed(
    target: Target<'_>,
    run: &Run,
    readers: Paced,
    writers: Paced,
    objects: Objects,
    shape: &Shape,
    packs: bool,
) -> Result<Value> {
    let read = |_| loader(target, objects);
    let write = |number| writer(target, number, shape.clone());
    let pack = |_| packer(target);
    let paced = |name, of: Paced, make| Group {
        name,
        clients: of.clients,
        pace: of.pace,
        ends_run: false,
        make,
    };
    let mut groups = vec![
        paced("loads", readers, &read as Make<'_>),
        paced("commits", writers, &write),
    ];
    let mut run = *run;
    if packs {
        (run.time, run.count) = (Duration::MAX, None);
        groups.push(Group {
            name: "packs",
            clients: 1,
            pace: None,
            ends_run: true,
            make: &pack,
        });
    }
    drive(&run, &groups)
}

/// Packs, and waits until that is done. What is committed meanwhile is not
/// to be touched, as for garbage, so the time is of a second before.
fn packer(target: Target<'_>) -> Result<Step> {
    let mut connection = target.open()?;
    connection.be_patient()?;
    let time = SystemTime::now() - Duration::from_secs(1);
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let call = Call::Pack {
        time: time.as_secs_f64(),
        wait: true,
    };
    Ok(Box::new(move || {
        connection.call::<()>(&call, &mut |_| Ok(()))?;
        Ok(1)
    }))
}

/// Connect, greet, register, close, again and again.
pub fn connects(target: Target<'_>, run: &Run, clients: usize) -> Result<Value> {
    let (address, storage) = (target.address.clone(), target.storage.to_owned());
    let make = |_| {
        let (address, storage) = (address.clone(), storage.clone());
        Ok(Box::new(move || Connection::open(&address, &storage).map(|_| 1_u64)) as Step)
    };
    let name = "connects";
    drive(
        run,
        &[Group {
            name,
            clients,
            pace: None,
            ends_run: false,
            make: &make,
        }],
    )
}

/// Holds registered clients open until standard input ends; says when all
/// are there.
pub fn idle(target: Target<'_>, clients: usize) -> Result<Value> {
    let connections: Result<Vec<_>> = (0..clients).map(|_| target.open()).collect();
    let connections = connections?;
    let ready = json!({"ready": connections.len()});
    writeln!(io::stdout(), "{ready}").map_err(Error::io("standard output"))?;
    let waited = io::copy(&mut io::stdin().lock().take(u64::MAX), &mut io::sink());
    waited.map_err(Error::io("standard input"))?;
    Ok(json!({"closed": connections.len()}))
}
