//! `repozo --backup`.

use std::path::Path;

use zeo_storage::Storage;
use zeo_storage::file_storage::{FileStorage, Options};

use super::Arguments;
use super::chain::{Chain, Plan, Source, plan};
use super::content::{Output, Sum, read_range};
use super::repository::{Line, Name, Repository};
use crate::context::Context;
use crate::files::{failed, rename};
use crate::outcome::{Result, Verdict};

/// Backs up what is new in the file.
pub fn backup(arguments: &Arguments, file: &Path, context: &mut Context) -> Result<Verdict> {
    let repository = Repository::lock(&arguments.repository)?;
    repository.clean()?;
    let options = Options {
        read_only: true,
        log: context.log(),
        ..Options::default()
    };
    // All that follows is about this one file, up to this end, whatever a
    // server does meanwhile.
    let storage = FileStorage::open(file, options)?;
    let backend = storage.backend();
    let source = Source {
        backend: &*backend,
        end: storage.size(),
    };
    let plan = match arguments.full {
        true => Plan::Full("as demanded".to_owned()),
        false => {
            let mut progress = context.progress("comparing", source.end);
            plan(&repository, &source, arguments.quick, &mut progress)?
        }
    };
    let chain = match plan {
        Plan::Nothing => {
            arguments.say("No changes, nothing to do");
            return Ok(Verdict::Fine);
        }
        Plan::Full(why) => {
            arguments.say(&format!("doing a full backup: {why}"));
            None
        }
        Plan::Incremental(chain) => {
            arguments.say(&format!("doing incremental, starting at: {}", chain.end));
            Some(chain)
        }
    };
    Backup {
        arguments,
        repository: &repository,
        storage: &storage,
        source: &source,
    }
    .make(chain, context)?;
    Ok(Verdict::Fine)
}

struct Backup<'a> {
    arguments: &'a Arguments,
    repository: &'a Repository,
    storage: &'a FileStorage,
    source: &'a Source<'a>,
}

impl Backup<'_> {
    /// Makes an incremental backup behind `chain`, or a full one.
    fn make(&self, chain: Option<Chain>, context: &Context) -> Result<()> {
        let repository = self.repository;
        let name = Name::new(
            &repository.new_root()?,
            chain.is_none(),
            self.arguments.gzip,
        );
        self.storage
            .save_index_as(&repository.companion(&name, "index"))?;
        let (start, end) = (chain.as_ref().map_or(0, |chain| chain.end), self.source.end);
        let sum = self.copy(start, context)?;
        let path = repository.path(name.as_str());
        rename(&repository.temporary(), &path)?;
        let line = Line {
            file: repository.written_down(&name),
            start,
            end,
            sum,
        };
        let what = format!("wrote {} bytes to {}", end - start, path.display());
        match chain {
            Some(mut chain) => {
                chain.lines.push(line);
                repository.save_lines(&chain.full, &chain.lines)?;
            }
            None => {
                repository.save_lines(&name, &[line])?;
                self.remove_older(&name)?;
            }
        }
        self.arguments.say(&what);
        Ok(())
    }

    /// Copies the source from `start` on to the temporary file, synced.
    /// Gives the checksum of what was copied.
    fn copy(&self, start: u64, context: &Context) -> Result<String> {
        let (path, end) = (self.repository.temporary(), self.source.end);
        let mut out = Output::create(&path, self.arguments.gzip)?;
        let mut progress = context.progress("backing up", end.saturating_sub(start));
        let mut sum = Sum::default();
        let writing = failed("writing", &path);
        read_range(self.source.backend, start, end, &mut |piece| {
            sum.add(piece);
            progress.set(sum.size);
            out.write(piece).map_err(&writing)
        })?;
        out.finish().map_err(&writing)?;
        Ok(sum.finish())
    }

    /// Removes all that is older than a new full backup, if that is wanted.
    fn remove_older(&self, full: &Name) -> Result<()> {
        if !self.arguments.kill_old_on_full {
            return Ok(());
        }
        for name in self.repository.data_files()? {
            if name < *full {
                let path = self.repository.path(name.as_str());
                self.arguments
                    .say(&format!("removing old backup {}", path.display()));
                self.repository.remove(&name)?;
            }
        }
        Ok(())
    }
}
