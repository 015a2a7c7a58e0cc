//! What a crash has left between vote and commit: files of transactions that
//! were written get the names that a power cut has taken from them, others go.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

use zeo_proto::{Oid, Tid};

use super::BlobDirectory;
use super::staged_name::StagedName;
use crate::Result;
use crate::disk::paths::{failed, is_there};
use crate::disk::refuses_links;
use crate::log::{Level, Log};

impl BlobDirectory {
    /// Goes through the staged files. `next` says which revision of a blob
    /// follows the one of this tid, if the storage has written it. Where it
    /// can't tell, the file stays.
    ///
    /// # Errors
    ///
    /// `Io` that names the file. What is left then is found the next time.
    pub(crate) fn mend(
        &self,
        next: &dyn Fn(Oid, Tid) -> Result<Option<Tid>>,
        log: &Log,
    ) -> Result<()> {
        let temporary = self.temporary();
        let entries = fs::read_dir(&temporary).map_err(failed("reading", &temporary))?;
        let mut staged = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(failed("reading", &temporary))?;
            staged.extend(StagedName::parse(&entry.path()));
        }
        let (mut last, mut done): (Option<StagedName>, _) = (None, Vec::new());
        let mut named = Vec::new();
        for name in staged.iter().rev() {
            let given_up = last.is_some_and(|l| (l.oid, l.before) == (name.oid, name.before));
            last = Some(*name);
            let path = temporary.join(name.to_string());
            let revision = if given_up {
                Ok(None)
            } else {
                next(name.oid, name.before)
            };
            match revision {
                Ok(Some(tid)) => named.push(self.mend_one(name, tid, log)?),
                Ok(None) => {}
                Err(why) => {
                    let what = format!("{} stays, which may be a blob: {why}", path.display());
                    log(Level::Error, &what);
                    continue;
                }
            }
            done.push(path);
        }
        // In any case: who wrote them may have died before.
        let mut synced = HashSet::new();
        for path in &named {
            let names = self.sync_names(path, &mut synced);
            names.map_err(failed("syncing the name of the blob", path))?;
        }
        // Now that all names are durable.
        for path in &done {
            let removed = self.disk.remove(path);
            removed.map_err(failed("removing", path))?;
        }
        if let Some(name) = staged.first() {
            // The next ones are numbered anew.
            let synced = self.disk.sync(&temporary.join(name.to_string()));
            synced.map_err(failed("syncing", &temporary))?;
        }
        Ok(())
    }

    /// Gives a file the name of this revision, if there is none; returns that.
    fn mend_one(&self, name: &StagedName, tid: Tid, log: &Log) -> Result<PathBuf> {
        let staged = self.temporary().join(name.to_string());
        let target = self.path_of(name.oid, tid);
        if !is_there(&target) {
            let directory = self.directory_of(name.oid);
            let linked = fs::create_dir_all(directory)
                .and_then(|()| self.disk.link(&staged, &target))
                .or_else(|error| {
                    if refuses_links(&error) {
                        return self.disk.rename(&staged, &target);
                    }
                    Err(error)
                });
            linked.map_err(failed("giving a blob its name,", &target))?;
            let what = format!(
                "the blob {} has its name again, which was lost with the power",
                target.display()
            );
            log(Level::Warning, &what);
        }
        Ok(target)
    }
}
