//! Commits, undos and packs of blobs that are killed, or that fail, at every
//! step in the blob directory.

use crate::testing::disk::{Steps, copy_all};

use super::*;

const OLD: &str = "old content";
const NEW: &str = "new content";

/// Makes each directory of a blob durable, and its file, then gives it its
/// name.
const COMMIT: [&str; 11] = [
    "sync",
    "sync",
    "sync",
    "sync",
    "sync",
    "sync",
    "sync",
    "sync",
    "sync file",
    "rename",
    "sync",
];
/// The steps of a vote.
const VOTE: usize = 9;

/// A storage with a blob, whose directory is watched from now on.
fn watched(
    keep_old: bool,
    failing: Option<usize>,
    images: Option<PathBuf>,
) -> (Place, Tid, Arc<Steps>) {
    let mut place = Place::with(|options| options.pack_keep_old = keep_old);
    let tid = place.commit(
        0x10,
        [place.root(Tid::ZERO, true)]
            .into_iter()
            .chain(place.store(Tid::ZERO, OLD)),
    );
    let steps = Steps::new(place.directory.path(), failing, images);
    place.storage.blobs = Some(Arc::new(BlobDirectory {
        disk: steps.clone(),
        ..BlobDirectory::find(place.blobs().path()).unwrap()
    }));
    (place, tid, steps)
}

fn copied(image: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::remove_dir(directory.path()).unwrap();
    copy_all(image, directory.path());
    directory
}

impl Place {
    /// Each revision of the blob that there is, with its content.
    fn revisions(&self) -> Vec<(Tid, String)> {
        let mut revisions = Vec::new();
        for transaction in self.storage.iterator(None, None).unwrap() {
            for record in (transaction.unwrap().records)() {
                let record = record.unwrap();
                if record.oid == OID {
                    revisions.push((record.tid, self.content(record.tid).unwrap()));
                }
            }
        }
        revisions
    }
}

#[test]
fn commits_killed_at_every_step() {
    let images = tempfile::tempdir().unwrap();
    let (place, first, steps) = watched(true, None, Some(images.path().to_owned()));
    let prepared = place.vote(place.store(first, NEW)).unwrap();
    let tid = Tid::new(0x20);
    let mut batch = [Commit { tid, prepared }];
    place.storage.append(&mut batch).unwrap();
    assert_eq!(steps.names(), COMMIT);
    copy_all(place.directory.path(), &images.path().join("written"));
    let old = (first, OLD.to_owned());
    for step in 0..=COMMIT.len() {
        let (name, expected) = if COMMIT.len() == step {
            ("written".to_owned(), vec![old.clone(), (tid, NEW.into())])
        } else {
            (step.to_string(), vec![old.clone()])
        };
        let again = reopened(copied(&images.path().join(&name)), true);
        assert_eq!(again.revisions(), expected, "killed before step {name}");
        assert!(again.temporary().is_empty(), "killed before step {name}");
        // Also when the clock has gone back: what was left is in nobody's way.
        let last = again.storage.last_tid();
        let other = again.commit(
            last.as_u64().max(0x1f) + 1,
            again.store(last, "other content"),
        );
        assert_eq!(again.content(other).as_deref(), Some("other content"));
    }
}

#[test]
fn commits_failing_at_every_step() {
    for (step, name) in COMMIT.iter().enumerate() {
        let (place, first, _) = watched(true, Some(step), None);
        let what = format!("{name}, step {step}");
        let vote = place.vote(place.store(first, NEW));
        if step < VOTE {
            vote.unwrap_err();
            assert_eq!(place.storage.latched(), None, "{what}");
            place.commit(0x20, place.store(first, NEW));
        } else {
            place.finish(0x20, vote.unwrap()).unwrap_err();
            assert_eq!(
                place.storage.latched().is_some(),
                step == VOTE + 1,
                "{what}"
            );
            if step == VOTE {
                place.commit(0x21, place.store(first, NEW));
            }
        }
        assert!(place.temporary().is_empty(), "{what}");
        let files = blob_names(place.blobs().path());
        let expected = place.revisions();
        assert_eq!(files.len(), expected.len(), "{what}: {files:?}");
        let again = reopened(place.closed(), true);
        assert_eq!(again.revisions(), expected, "{what}");
        let last = again.storage.last_tid();
        again.commit(0x30, again.store(last, "after"));
    }
}

/// Of several blobs, those that have their names lose them again.
#[test]
fn a_commit_failing_at_its_second_blob() {
    let renames = 2 * VOTE;
    for failing in renames..renames + 4 {
        let (place, first, steps) = watched(true, Some(failing), None);
        let other = Oid::new(0x12b);
        let mut ops = place.store(first, NEW).to_vec();
        ops.extend(place.store_as(other, Tid::ZERO, "another"));
        place.finish(0x20, place.vote(ops).unwrap()).unwrap_err();
        assert_eq!(steps.names()[renames], "rename");
        assert_eq!(blob_names(place.blobs().path()), ["0x10.blob"], "{failing}");
        assert!(place.temporary().is_empty());
    }
}

#[test]
fn undos_failing_at_every_step() {
    let steps = ["remove .tmp", "link .tmp"].into_iter().chain(COMMIT);
    for (step, name) in steps.enumerate() {
        let (place, first, done) = watched(true, Some(COMMIT.len() + step), None);
        let second = place.commit(0x20, place.store(first, NEW));
        let vote = place.vote([Op::Undo { tid: second }]);
        match step {
            // Without a second name there is a copy.
            0 | 1 => drop(place.finish(0x30, vote.unwrap()).unwrap()),
            2.. if step < 2 + VOTE => drop(vote.unwrap_err()),
            _ => drop(place.finish(0x30, vote.unwrap()).unwrap_err()),
        }
        assert_eq!(done.names()[COMMIT.len() + step], name);
        assert!(place.temporary().is_empty(), "{name}, step {step}");
        let revisions = place.revisions();
        let contents: Vec<_> = revisions.iter().map(|(_, content)| &**content).collect();
        let expected: &[&str] = match step {
            0 | 1 => &[OLD, NEW, OLD],
            _ => &[OLD, NEW],
        };
        assert_eq!(contents, expected, "{name}, step {step}");
        assert_eq!(blob_names(place.blobs().path()).len(), expected.len());
    }
}

/// Revises the blob, so that a pack removes its first file.
fn revise(place: &Place, first: Tid) {
    place.commit(0x20, place.store(first, NEW));
}

fn check_packed(place: &Place, keep_old: bool, what: &str) {
    assert_eq!(blob_names(place.blobs().path()), ["0x20.blob"], "{what}");
    let listed = place.blobs().path().join(".removed");
    assert!(!listed.exists(), "{what}");
    if keep_old {
        let old = place.directory.path().join("blobs.old");
        assert_eq!(blob_names(&old), ["0x10.blob", "0x20.blob"], "{what}");
    }
    assert_eq!(place.content(Tid::new(0x20)).as_deref(), Some(NEW));
}

/// What a pack does before the switch: after that the file is the packed one.
const LIST: [&str; 2] = ["sync file", "sync"];

#[test]
fn a_pack_failing_before_the_switch_leaves_no_list() {
    for (step, name) in LIST.into_iter().enumerate() {
        let (place, first, steps) = watched(false, Some(COMMIT.len() + step), None);
        revise(&place, first);
        place.storage.pack(1e9, None).unwrap_err();
        assert_eq!(steps.names()[COMMIT.len()..][step], name);
        assert!(!place.blobs().path().join(".removed").exists());
        assert_eq!(place.content(first).as_deref(), Some(OLD));
        place.storage.pack(1e9, None).unwrap();
        check_packed(&place, false, name);
    }
}

#[test]
fn packs_killed_and_failing_at_every_step() {
    for keep_old in [true, false] {
        let images = tempfile::tempdir().unwrap();
        let (place, first, steps) = watched(keep_old, None, Some(images.path().to_owned()));
        revise(&place, first);
        place.storage.pack(1e9, None).unwrap();
        check_packed(&place, keep_old, "packed");
        let names = steps.names().split_off(COMMIT.len());
        let links = ["link", "link .blob", "link .blob"];
        let old = links.into_iter().chain(["sync all"]);
        let expected = LIST.into_iter().chain(old.filter(|_| keep_old)).chain([
            "remove .blob",
            "sync",
            "remove",
        ]);
        assert_eq!(names, expected.collect::<Vec<_>>());
        for (step, name) in names.iter().enumerate().skip(LIST.len()) {
            let step = COMMIT.len() + step;
            let what = format!("{name}, step {step}");
            let image = copied(&images.path().join(step.to_string()));
            check_packed(&reopened(image, keep_old), keep_old, &what);
            let (place, first, _) = watched(keep_old, Some(step), None);
            revise(&place, first);
            place.storage.pack(1e9, None).unwrap();
            assert_eq!(place.storage.latched(), None, "{what}");
            check_packed(&reopened(place.closed(), keep_old), keep_old, &what);
        }
    }
}
