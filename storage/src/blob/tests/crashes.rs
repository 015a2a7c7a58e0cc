//! Commits, undos and packs of blobs that are killed, or that fail, at every
//! step in the blob directory.

use crate::testing::disk::{Steps, copy_all};

use super::*;

const OLD: &str = "old content";
const NEW: &str = "new content";

/// A vote gives the file a name that tells whose it is, and makes both durable;
/// the log writer adds its own.
const COMMIT: [&str; 4] = ["rename", "sync", "sync file", "link .blob"];
/// The steps of a vote.
const VOTE: usize = 3;
/// Makes the name durable, and those of the directories, then takes the other
/// one away.
const SETTLE: [&str; 10] = {
    let mut steps = ["sync"; 10];
    steps[9] = "remove .tmp";
    steps
};

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
    place.settle();
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
    let (place, first, done) = watched(true, None, Some(images.path().to_owned()));
    let prepared = place.vote(place.store(first, NEW)).unwrap();
    let tid = Tid::new(0x20);
    let mut batch = [Commit { tid, prepared }];
    place.storage.append(&mut batch).unwrap();
    place.settle();
    let steps = [&COMMIT[..], &SETTLE].concat();
    assert_eq!(done.names(), steps);
    copy_all(place.directory.path(), &images.path().join("settled"));
    let old = (first, OLD.to_owned());
    for step in 0..=steps.len() {
        let mut expected = vec![old.clone()];
        if step >= COMMIT.len() {
            expected.push((tid, NEW.to_owned()));
        }
        let name = match steps.get(step) {
            Some(_) => step.to_string(),
            None => "settled".to_owned(),
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

/// What follows a vote where there are no second names.
const WITHOUT_LINKS: [&str; 11] = {
    let mut steps = ["sync"; 11];
    steps[0] = "link .blob";
    steps[1] = "rename";
    steps
};

#[test]
fn commits_failing_at_every_step() {
    let every = [&COMMIT[..VOTE], &WITHOUT_LINKS].concat();
    let rename = VOTE + 1;
    for (step, name) in every.iter().enumerate() {
        let (place, first, steps) = watched(true, Some(step), None);
        steps.without_links();
        let what = format!("{name}, step {step}");
        let vote = place.vote(place.store(first, NEW));
        if step < VOTE {
            vote.unwrap_err();
            assert_eq!(place.storage.latched(), None, "{what}");
            place.commit(0x20, place.store(first, NEW));
        } else {
            let finished = place.finish(0x20, vote.unwrap());
            assert_eq!(finished.is_err(), step >= rename, "{what}");
            let latched = place.storage.latched();
            assert_eq!(latched.is_some(), step > rename, "{what}");
            if step == rename {
                place.commit(0x21, place.store(first, NEW));
            }
        }
        assert_eq!(steps.names().get(step), Some(&(*name).to_owned()));
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

/// Where a name can't be made durable, that in `tmp` stays for the next start,
/// and nothing more is committed.
#[test]
fn a_failure_after_the_commit_loses_nothing() {
    for (step, name) in SETTLE.into_iter().enumerate() {
        let (place, first, _) = watched(true, Some(COMMIT.len() + step), None);
        let tid = place.commit(0x20, place.store(first, NEW));
        let blobs = Arc::clone(place.storage.blobs.as_ref().unwrap());
        if name == "sync" {
            blobs.settle().unwrap_err();
            blobs.settle().unwrap_err();
            let late = place.vote(place.store(tid, "late")).unwrap();
            place.finish(0x30, late).unwrap_err();
            assert!(place.storage.latched().is_some(), "step {step}");
            place.storage.close().unwrap_err();
        } else {
            blobs.settle().unwrap();
            place.storage.close().unwrap();
        }
        assert_eq!(fs::read_dir(blobs.temporary()).unwrap().count(), 1);
        let again = reopened(place.directory, true);
        assert_eq!(again.content(tid).as_deref(), Some(NEW));
        assert!(again.temporary().is_empty(), "step {step}");
    }
}

/// Of several blobs, those that have their names lose them again.
#[test]
fn a_commit_failing_at_its_second_blob() {
    // Each is renamed, then `tmp` and both are synced, then each gets its name.
    let names = 5;
    for (failing, what) in [(names + 3, "rename"), (names + 4, "sync")] {
        let (place, first, steps) = watched(true, Some(failing), None);
        steps.without_links();
        let other = Oid::new(0x12b);
        let mut ops = place.store(first, NEW).to_vec();
        ops.extend(place.store_as(other, Tid::ZERO, "another"));
        place.finish(0x20, place.vote(ops).unwrap()).unwrap_err();
        assert_eq!(steps.names()[names], "link .blob");
        assert_eq!(steps.names()[failing], what);
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
        let fails = (2..2 + VOTE).contains(&step);
        if fails {
            drop(vote.unwrap_err());
        } else {
            // Without a second name there is a copy, or the first one goes.
            place.finish(0x30, vote.unwrap()).unwrap();
        }
        assert_eq!(done.names()[COMMIT.len() + step], name);
        assert!(place.temporary().is_empty(), "{name}, step {step}");
        let revisions = place.revisions();
        let contents: Vec<_> = revisions.iter().map(|(_, content)| &**content).collect();
        let expected: &[&str] = if fails { &[OLD, NEW] } else { &[OLD, NEW, OLD] };
        assert_eq!(contents, expected, "{name}, step {step}");
        assert_eq!(blob_names(place.blobs().path()).len(), expected.len());
    }
}

/// Revises the blob, so that a pack removes its first file.
fn revise(place: &Place, first: Tid) {
    place.commit(0x20, place.store(first, NEW));
    place.settle();
}
/// The steps of that.
const REVISION: usize = COMMIT.len() + SETTLE.len();

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
        let (place, first, steps) = watched(false, Some(REVISION + step), None);
        revise(&place, first);
        place.storage.pack(1e9, None).unwrap_err();
        assert_eq!(steps.names()[REVISION..][step], name);
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
        let names = steps.names().split_off(REVISION);
        let links = ["link", "link .blob", "link .blob"];
        let old = links.into_iter().chain(["sync all"]);
        let expected = LIST.into_iter().chain(old.filter(|_| keep_old)).chain([
            "remove .blob",
            "sync",
            "remove",
        ]);
        assert_eq!(names, expected.collect::<Vec<_>>());
        for (step, name) in names.iter().enumerate().skip(LIST.len()) {
            let step = REVISION + step;
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

/// A storage that is opened again may be older than its list: earlier versions' packs removed the last transactions, too.
#[test]
fn a_list_may_have_what_is_later_than_the_last_transaction() {
    let place = Place::with(|options| options.pack_keep_old = false);
    place.commit(0x08, [place.root(Tid::ZERO, false)]);
    let one = place.commit(0x10, place.store(Tid::ZERO, "one"));
    let two = place.commit(0x20, place.store(one, "two"));
    place.storage.pack(1e9, None).unwrap();
    assert!(place.storage.get_tid(OID).is_err(), "nobody refers to it");
    let mut list = place.blobs().list_removed().unwrap();
    let directory = place.blobs().directory_of(OID);
    fs::create_dir_all(&directory).unwrap();
    let later = Tid::new(two.as_u64() + 1);
    for serial in [one, later] {
        fs::write(place.blobs().path_of(OID, serial), "").unwrap();
        list.add(OID, serial).unwrap();
    }
    list.finish().unwrap();
    list.keep();
    let place = reopened(place.closed(), false);
    assert!(place.storage.last_tid() < later);
    assert!(!directory.exists());
}
