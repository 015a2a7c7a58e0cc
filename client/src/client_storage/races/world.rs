//! The server, the connection, and the storage's own thread, step by step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use fastrand::Rng;
use zeo_proto::message::{Incoming, Invalidations, Notification, Revision, encode_reply};
use zeo_proto::{Oid, Tid};
use zeo_storage::backend::MemoryBackend;
use zeo_storage::log::silent;

use super::Broken;
use super::callers::{Around, Caller, OBJECTS, Request, filled};
use super::truth::Truth;
use crate::cache::Cache;
use crate::client_storage::dispatch::dispatch;
use crate::client_storage::error::Error;
use crate::client_storage::known::Known;
use crate::client_storage::link::Link;
use crate::client_storage::listeners::{Listener, Subscription};
use crate::client_storage::settings::Settings;
use crate::client_storage::shared::Shared;
use crate::client_storage::verify::bring_up;
use crate::connection::{Connection, Options};

/// What is not yet told of a transaction that is visible: to others, or to who has made it.
enum News {
    Invalidation(Tid, Vec<Oid>),
    Finished(u64, Tid),
}

/// All but the storage.
struct Scene {
    random: Rng,
    broken: Broken,
    truth: Truth,
    callers: Vec<Caller>,
    requests: Vec<Request>,
    link: Option<Arc<Link>>,
    wrong: Result<(), String>,
}

impl Scene {
    /// A step of one of the callers.
    fn call(&mut self, known: &Known) {
        let may_commit = !self.callers.iter().any(Caller::is_finishing);
        let at = self.random.usize(..self.callers.len().max(1));
        let Some(caller) = self.callers.get_mut(at) else {
            return;
        };
        let mut around = Around {
            known,
            link: self.link.as_deref(),
            truth: &self.truth,
            requests: &mut self.requests,
            random: &mut self.random,
            broken: self.broken,
        };
        if let Err(wrong) = caller.step(&mut around, may_commit)
            && self.wrong.is_ok()
        {
            self.wrong = Err(wrong);
        }
    }

    fn some_oids(&mut self) -> BTreeMap<Oid, Vec<u8>> {
        let count = self.random.usize(1..4);
        let oids = (0..count).map(|_| (Oid::new(self.random.u64(..OBJECTS)), Vec::new()));
        let records = oids.collect();
        filled(&mut self.random, records)
    }
}

/// Lets callers run while the storage is telling of a transaction.
#[derive(Default)]
struct Between {
    around: OnceLock<(Arc<Shared>, Arc<Mutex<Scene>>)>,
}

impl Listener for Between {
    fn invalidated(&self, _: Tid, _: &[Oid]) {
        if let Some((shared, scene)) = self.around.get() {
            let mut scene = scene.lock().unwrap();
            for _ in 0..scene.random.usize(..4) {
                scene.call(&shared.known);
            }
        }
    }

    fn everything_changed(&self, tid: Tid) {
        self.invalidated(tid, &[]);
    }
}

pub struct World {
    file: Arc<MemoryBackend>,
    size: u64,
    settings: Settings,
    shared: Arc<Shared>,
    scene: Arc<Mutex<Scene>>,
    /// Frames on their way to the client.
    wire: VecDeque<Vec<u8>>,
    news: VecDeque<News>,
    /// Answers that were computed and are not sent yet, which must not be.
    held: Vec<Vec<u8>>,
    _between: Option<Subscription>,
}

/// Greets whoever connects; all else is done by hand.
fn greeter() -> &'static zeo_server::AdHocServer {
    static SERVER: OnceLock<zeo_server::AdHocServer> = OnceLock::new();
    SERVER.get_or_init(|| zeo_server::serve(zeo_server::AdHoc::in_memory()).unwrap())
}

impl World {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut random = Rng::with_seed(seed);
        let settings = Settings::new(vec![greeter().address().parse().unwrap()]);
        let size = random.u64(200..900);
        let file = Arc::new(MemoryBackend::default());
        let shared = open(&file, size, &settings);
        let scene = Scene {
            random,
            broken,
            truth: Truth::default(),
            callers: Vec::new(),
            requests: Vec::new(),
            link: None,
            wrong: Ok(()),
        };
        let mut world = Self {
            file,
            size,
            settings,
            shared,
            scene: Arc::new(Mutex::new(scene)),
            wire: VecDeque::new(),
            news: VecDeque::new(),
            held: Vec::new(),
            _between: None,
        };
        world.begin();
        world.connect();
        world
    }

    pub fn is_right(&self) -> Result<(), String> {
        self.scene.lock().unwrap().wrong.clone()
    }

    pub fn step(&mut self) {
        let what = self.scene.lock().unwrap().random.u8(..100);
        match what {
            0..40 => self.scene.lock().unwrap().call(&self.shared.known),
            40..58 => self.answer(),
            58..66 => self.commit(),
            66..78 => self.tell(),
            78..97 => self.read(),
            97 | 98 => self.reconnect(),
            _ => self.restart(),
        }
    }

    /// A new process, with the cache of the one before.
    fn restart(&mut self) {
        self.disconnect();
        self.shared = open(&self.file, self.size, &self.settings);
        self.begin();
    }

    fn begin(&mut self) {
        let known = &self.shared.known;
        let between = Arc::new(Between::default());
        let mut callers = vec![Caller::new(known), Caller::new(known)];
        // Some are told before, some behind.
        self._between = Some(known.listeners.subscribe(between.clone()));
        callers.push(Caller::new(known));
        self.scene.lock().unwrap().callers = callers;
        let around = (Arc::clone(&self.shared), Arc::clone(&self.scene));
        let _ = between.around.set(around);
    }

    /// The server does what it was asked for first.
    fn answer(&mut self) {
        let scene = &mut *self.scene.lock().unwrap();
        if scene.broken == Broken::ReplyOvertaken && !self.held.is_empty() && scene.random.bool() {
            self.wire.extend(self.held.pop());
        }
        let Some(link) = scene.link.clone().filter(|_| !scene.requests.is_empty()) else {
            return;
        };
        match scene.requests.remove(0) {
            Request::Finish { id, records } => {
                let tid = scene.truth.commit(&mut scene.random, records);
                self.news.push_back(News::Finished(id, tid));
            }
            Request::Load { id, oid, before } => {
                let found = scene.truth.before(oid, before);
                let found = found.map(|(serial, next, data)| Revision {
                    data: data.into(),
                    serial,
                    next,
                });
                let mut frame = Vec::new();
                encode_reply(&mut frame, link.encoding, &id, &found).unwrap();
                if scene.broken == Broken::ReplyOvertaken && scene.random.bool() {
                    self.held.push(frame)
                } else {
                    self.wire.push_back(frame)
                }
            }
        }
    }

    /// Somebody else's transaction becomes visible.
    fn commit(&mut self) {
        let scene = &mut *self.scene.lock().unwrap();
        let records = scene.some_oids();
        let oids = records.keys().copied().collect();
        let tid = scene.truth.commit(&mut scene.random, records);
        if scene.link.is_some() {
            self.news.push_back(News::Invalidation(tid, oids));
        }
    }

    /// The server tells of the next transaction.
    fn tell(&mut self) {
        let scene = self.scene.lock().unwrap();
        let (Some(link), Some(news)) = (&scene.link, self.news.pop_front()) else {
            return;
        };
        let mut frame = Vec::new();
        match news {
            News::Finished(id, tid) => encode_reply(&mut frame, link.encoding, &id, &tid).unwrap(),
            News::Invalidation(tid, oids) => {
                let oids = oids.into();
                let told = Notification::InvalidateTransaction { tid, oids };
                told.encode(&mut frame, link.encoding).unwrap();
            }
        }
        self.wire.push_back(frame);
    }

    /// The storage's own thread takes a message.
    fn read(&mut self) {
        let (link, broken) = {
            let scene = self.scene.lock().unwrap();
            (scene.link.clone(), scene.broken)
        };
        let (Some(link), Some(frame)) = (link, self.wire.pop_front()) else {
            return;
        };
        let frame = &frame[4..];
        if broken == Broken::TidFirst
            && let Ok(Incoming::Notification(told)) = Incoming::decode(frame, link.encoding)
            && let Notification::InvalidateTransaction { tid, oids } = told
        {
            let known = &self.shared.known;
            known.listeners.moved(tid, |_| {});
            for _ in 0..3 {
                self.scene.lock().unwrap().call(known);
            }
            return known.invalidated(tid, &oids);
        }
        if let Err(wrong) = dispatch(&self.shared, &link, frame) {
            self.scene.lock().unwrap().wrong = Err(wrong);
        }
    }

    fn reconnect(&mut self) {
        let is_connected = self.scene.lock().unwrap().link.is_some();
        if is_connected {
            self.disconnect()
        } else {
            self.connect()
        }
    }

    /// What is on its way is lost; what the server was asked for is done, or not.
    fn disconnect(&mut self) {
        let link = {
            let scene = &mut *self.scene.lock().unwrap();
            for request in std::mem::take(&mut scene.requests) {
                if let Request::Finish { records, .. } = request
                    && scene.random.bool()
                {
                    scene.truth.commit(&mut scene.random, records);
                }
            }
            scene.link.take()
        };
        self.wire.clear();
        self.news.clear();
        self.held.clear();
        if let Some(link) = link {
            link.fail(&Error::Closed);
        }
    }

    /// A new connection: what was missed is told, others commit meanwhile.
    fn connect(&mut self) {
        let known = &self.shared.known;
        let (last, missed, queued, broken) = {
            let scene = &mut *self.scene.lock().unwrap();
            let last = scene.truth.last();
            let mut queued = Vec::new();
            let mut others = |scene: &mut Scene| {
                let records = scene.some_oids();
                let oids: Vec<Oid> = records.keys().copied().collect();
                queued.push((scene.truth.commit(&mut scene.random, records), oids));
            };
            if scene.random.bool() {
                others(scene);
            }
            let too_old = scene.random.u8(..6) == 0;
            let since = known.cached_tid().filter(|&known| known < last && !too_old);
            let missed = since.map(|since| Invalidations {
                last: scene.truth.last(),
                oids: scene.truth.changed_since(since),
            });
            if scene.random.bool() {
                others(scene);
            }
            (last, missed, queued, scene.broken)
        };
        match broken {
            Broken::NotVerified => known.invalidated(last, &[]),
            _ => bring_up(&self.shared, last, missed).unwrap(),
        }
        for (tid, oids) in queued {
            if tid > known.last_tid() {
                known.invalidated(tid, &oids);
            }
        }
        let address = &self.settings.addresses[0];
        let connection = Connection::open(address, &Options::default()).unwrap();
        let (link, _) = Link::new(connection, false, None).unwrap();
        self.scene.lock().unwrap().link = Some(Arc::new(link));
    }
}

fn open(file: &Arc<MemoryBackend>, size: u64, settings: &Settings) -> Arc<Shared> {
    let log: zeo_storage::log::Log = Arc::new(|_, text| panic!("{text}"));
    let cache = Cache::over(file.clone(), size, log).unwrap();
    Arc::new(Shared::new(settings.clone(), Known::new(cache, silent())).unwrap())
}
