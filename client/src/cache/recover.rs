//! After an error of the file: it is begun anew, or left alone for a while.

use std::io;
use std::path::Path;
use std::time::Instant;

use zeo_proto::Oid;
use zeo_storage::log::Level;

use super::behind::Batch;
use super::client_cache::{Cache, RETRY};
use super::index::Index;
use super::open::{self, Failure};
use super::ring::Ring;
use super::trace::{Trace, Traced};

impl Cache {
    /// Does what changes the file; after an error it is begun anew.
    pub(super) fn change(&mut self, action: impl FnOnce(&mut Ring<'_>) -> io::Result<()>) {
        if self.broken.is_some() {
            return;
        }
        let mut ring = Ring {
            file: &*self.file,
            size: self.size,
            opened: &mut self.opened,
            temporary: self.temporary,
            stats: &mut self.stats,
        };
        if let Err(why) = action(&mut ring) {
            self.start_over(&why);
        }
    }

    /// Makes an empty cache of the file.
    pub(super) fn create(&mut self) -> Result<(), Failure> {
        self.opened = open::create(&*self.file, self.size, self.opened.last_tid)?;
        self.broken = None;
        Ok(())
    }

    /// Begins the file anew, as it can't be relied on any more.
    pub(super) fn start_over(&mut self, why: &io::Error) {
        match self.create() {
            Ok(()) => {
                let path = self.file.path().display();
                let text = format!("the cache {path} was emptied, after an error: {why}");
                self.tell(Level::Warning, &text);
            }
            Err(again) => self.give_up(&format!("{why}; beginning it anew: {again}")),
        }
    }

    /// Leaves the file as it is.
    pub(super) fn give_up(&mut self, why: &str) {
        self.opened.index = Index::default();
        self.opened.batch = Batch::default();
        self.broken = Some(Instant::now());
        let path = self.file.path().display();
        let text = format!("the cache {path} can't be used, all is loaded from the server: {why}");
        self.tell(Level::Error, &text);
    }

    /// Whether the file can be written; from time to time it is tried.
    pub(super) fn is_usable(&mut self) -> bool {
        match self.broken {
            None => true,
            Some(since) if since.elapsed() < self.retry => false,
            Some(_) => {
                let result = self.create();
                if result.is_err() {
                    self.opened.index = Index::default();
                    self.broken = Some(Instant::now());
                }
                result.is_ok()
            }
        }
    }

    /// Logs an error, but not each of many.
    pub(super) fn tell(&mut self, level: Level, text: &str) {
        if self.logged.is_none_or(|at| at.elapsed() > RETRY) {
            self.logged = Some(Instant::now());
            (self.log)(level, text);
        }
    }

    pub(super) fn start_trace(&mut self, path: &Path) {
        match Trace::open(path) {
            Ok(trace) => self.trace = Some(trace),
            Err(why) => {
                let text = format!("can't write the trace {}: {why}", path.display());
                (self.log)(Level::Warning, &text);
            }
        }
    }

    pub(super) fn trace(&mut self, code: u8, oid: Oid, traced: Traced) {
        if let Some(trace) = &mut self.trace
            && let Err(why) = trace.write(code, Some(oid), traced)
        {
            self.trace = None;
            let path = self.file.path().display();
            let text = format!("the trace of the cache {path} ends here: {why}");
            (self.log)(Level::Warning, &text);
        }
    }
}
