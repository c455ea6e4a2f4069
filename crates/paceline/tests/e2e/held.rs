//! Creates in the state directory that are held up.
//!
//! A directory lies under the name of what is to be created: the scheduler that makes it cannot find out
//! whether it did, and tries again until the directory is gone.

use std::io::ErrorKind;
use std::path::PathBuf;

use paceline_model::SchedulerId;

use crate::support::{Running, labelled, until};

/// Holds up the create of one object.
pub(crate) struct Held(PathBuf);

impl Held {
    /// Begins to; the name is relative to the root of the state.
    pub(crate) fn up(running: &Running, name: &str) -> Held {
        let held = Held::up_unless_there(running, name);
        held.unwrap_or_else(|| panic!("{name} is there already"))
    }

    /// None if the object is there already.
    pub(crate) fn up_unless_there(running: &Running, name: &str) -> Option<Held> {
        let path = running.directory.path().join("state").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Held(path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    pub(crate) fn let_go(self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

/// How often a scheduler could not find out whether it had created something.
pub(crate) async fn creates_in_doubt(running: &Running, scheduler: usize) -> f64 {
    let name = "paceline_store_creates_total";
    labelled(running, scheduler, name, "unknown").await
}

/// Waits until creates of that scheduler were held up more often than that.
pub(crate) async fn held_up(running: &Running, scheduler: usize, before: f64) {
    until("a create is held up", || async {
        (creates_in_doubt(running, scheduler).await > before).then_some(())
    })
    .await;
}

/// The seal of a journal, which is not to be found for a while: its scheduler cannot find out that the journal
/// is over. No other one looks into a journal that is drained.
pub(crate) struct SealAside {
    path: PathBuf,
    seal: Vec<u8>,
}

impl SealAside {
    /// Waits until nothing but the seal is left of a journal, and puts that aside. The scheduler stands still.
    pub(crate) async fn put(running: &Running, journal: &SchedulerId) -> SealAside {
        let folder = running.directory.path().join("state/journal");
        let folder = folder.join(journal.as_str());
        let path = until("the journal is drained", || async {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let mut names: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            // What it was about to write when it was stopped lies beside its name, and is no object.
            names.retain(|name| !name.display().to_string().contains('#'));
            names.sort();
            match &names[..] {
                [seal, marker] if marker.ends_with("drained") => Some(seal.clone()),
                _ => None,
            }
        })
        .await;
        let seal = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        SealAside { path, seal }
    }

    /// Puts it back. The scheduler stands still.
    pub(crate) fn put_back(self) {
        std::fs::remove_dir(&self.path).unwrap();
        std::fs::write(&self.path, self.seal).unwrap();
    }
}
