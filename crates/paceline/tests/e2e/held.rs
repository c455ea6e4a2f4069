//! Creates in the state directory that are held up.
//!
//! A directory lies under the name of what is to be created: the scheduler that makes it cannot find out
//! whether it did, and tries again until the directory is gone.

use std::io::ErrorKind;
use std::path::PathBuf;

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
