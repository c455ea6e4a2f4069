//! The attached schedulers, at most one link to each.

use std::collections::HashMap;
use std::sync::Arc;

use paceline_model::SchedulerId;
use paceline_proto::cluster;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One attach stream in the life of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LinkId(u64);

/// What the stream itself needs to know of its entry in the book.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Woken when there may be something to say.
    pub(crate) wake: Arc<Notify>,
    /// Cancelled when another link to the same scheduler takes over.
    pub(crate) superseded: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) scheduler: SchedulerId,
    /// Numbers of states in the outbox that were not yet sent on this link.
    pub(super) unsent: Vec<u64>,
    /// What is said once and kept nowhere.
    pub(super) passing: Vec<cluster::TaskState>,
    /// What is held of queries that the scheduler adopted, not yet told.
    pub(super) held: Vec<cluster::HeldQuery>,
    pub(super) wake: Arc<Notify>,
    superseded: CancellationToken,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    last: u64,
    entries: HashMap<LinkId, Entry>,
    current: HashMap<SchedulerId, LinkId>,
}

impl Links {
    pub(super) fn attach(&mut self, scheduler: SchedulerId, unsent: Vec<u64>) -> Link {
        self.last += 1;
        let link = Link {
            id: LinkId(self.last),
            wake: Arc::new(Notify::new()),
            superseded: CancellationToken::new(),
        };
        if !unsent.is_empty() {
            link.wake.notify_one();
        }
        if let Some(older) = self.current.insert(scheduler.clone(), link.id)
            && let Some(entry) = self.entries.remove(&older)
        {
            entry.superseded.cancel();
        }
        let entry = Entry {
            scheduler,
            unsent,
            passing: Vec::new(),
            held: Vec::new(),
            wake: link.wake.clone(),
            superseded: link.superseded.clone(),
        };
        self.entries.insert(link.id, entry);
        link
    }

    /// Forgets a link; names its scheduler if that is now without one.
    pub(super) fn detach(&mut self, link: LinkId) -> Option<SchedulerId> {
        let entry = self.entries.remove(&link)?;
        self.current.remove(&entry.scheduler);
        Some(entry.scheduler)
    }

    pub(super) fn of(&self, scheduler: &SchedulerId) -> Option<LinkId> {
        self.current.get(scheduler).copied()
    }

    pub(super) fn of_mut(&mut self, scheduler: &SchedulerId) -> Option<&mut Entry> {
        let link = self.of(scheduler)?;
        self.entries.get_mut(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Entry> {
        self.entries.get_mut(&link)
    }

    /// The attached schedulers, by name.
    pub(super) fn schedulers(&self) -> Vec<SchedulerId> {
        let mut all: Vec<_> = self.current.keys().cloned().collect();
        all.sort();
        all
    }

    pub(super) fn wake_all(&self) {
        for entry in self.entries.values() {
            entry.wake.notify_one();
        }
    }
}
