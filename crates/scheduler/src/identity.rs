//! Who this scheduler is: a name for as long as its journal is open, and another one after.

use paceline_model::SchedulerId;
use parking_lot::RwLock;
use uuid::Uuid;

/// Random characters in an id; enough that no two processes ever share one.
const DRAWN: usize = 12;

/// The scheduler's id. It is drawn at every start, and again when its journal was sealed: an id means
/// one journal.
#[derive(Debug)]
pub(crate) struct Identity {
    name: String,
    current: RwLock<SchedulerId>,
}

impl Identity {
    /// A scheduler whose ids begin with `name`.
    pub(crate) fn draw(name: &str) -> Self {
        Identity {
            current: RwLock::new(drawn(name)),
            name: name.to_string(),
        }
    }

    /// The present id.
    pub(crate) fn id(&self) -> SchedulerId {
        self.current.read().clone()
    }

    /// Takes another id and returns it.
    pub(crate) fn renew(&self) -> SchedulerId {
        let id = drawn(&self.name);
        *self.current.write() = id.clone();
        id
    }
}

fn drawn(name: &str) -> SchedulerId {
    let drawn = Uuid::new_v4().simple().to_string();
    let drawn = drawn.get(..DRAWN).unwrap_or(&drawn);
    SchedulerId::new(format!("{name}-{drawn}"))
}
