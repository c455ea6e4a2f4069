//! What bears on who owns what, on its way to the one task that decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::{Closed, Evidence, Step};
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Known;
use paceline_store::Replayed;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::steps::Stepped;

/// Something that bears on who owns what.
#[derive(Debug)]
pub(crate) enum News {
    /// Something was noticed about peers.
    Evidence(Evidence),
    /// All beacons were looked at: for how long each peer has been silent.
    Beacons(Vec<(SchedulerId, Duration)>),
    /// A scheduler took its beacon away and said nothing of its journal.
    Vanished,
    /// That journal is over, or has to be.
    Seal(SchedulerId),
    /// A journal was sealed and read, by whomever; none if the store could not tell.
    Sealed(SchedulerId, Option<Box<Replayed>>),
    /// A step that this scheduler decided on, under that id, came to its end.
    Stepped(SchedulerId, Step, Stepped),
    /// A query that no journal holds is to be run for a client that still wants it.
    Afresh(QueryId, Epoch, Box<Known>),
    /// A query of this scheduler needs no owner any more.
    Over {
        /// The query.
        query: QueryId,
    },
    /// A query that runs by itself came to its end.
    Ended {
        /// The query.
        query: QueryId,
    },
    /// An attempt of a query that wrote where others look, and failed, has stopped.
    Leftovers {
        /// The query.
        query: QueryId,
    },
    /// An executor has seen a later owner of a query of this scheduler: its journal may be sealed.
    Doubt,
    /// The own journal was written to, so it is open.
    Trust,
    /// An executor or another scheduler reached this one, which stays apart.
    Reached,
    /// There is something to write into the journal of this scheduler, under that id of it.
    Needed(SchedulerId),
    /// This scheduler's journal is over.
    Closed(SchedulerId, Closed),
}

/// Takes news, and tells when something has changed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Newsroom {
    news: mpsc::UnboundedSender<News>,
    changed: Arc<watch::Sender<u64>>,
    awaited: Awaited,
}

/// Queries that somebody waits for. In a takeover of many each has its own clients, and who waits for one has
/// nothing of hearing of all the others.
type Awaited = Arc<Mutex<HashMap<QueryId, watch::Sender<()>>>>;

/// Sees every change that may bear on one query.
#[derive(Debug)]
pub(crate) struct Changes {
    query: QueryId,
    of_it: watch::Receiver<()>,
    of_all: watch::Receiver<u64>,
    awaited: Awaited,
}

impl Changes {
    /// Takes for seen what has changed so far.
    pub(crate) fn look(&mut self) {
        self.of_it.mark_unchanged();
        self.of_all.mark_unchanged();
    }

    /// Returns when something has changed since the last look, or the newsroom is gone.
    ///
    /// # Cancel safety
    /// A change that is missed is seen by whoever waits next.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            _ = self.of_it.changed() => {}
            _ = self.of_all.changed() => {}
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut awaited = self.awaited.lock();
        let told = awaited.get(&self.query).map(watch::Sender::receiver_count);
        if told.is_some_and(|receivers| receivers <= 1) {
            awaited.remove(&self.query);
        }
    }
}

impl Newsroom {
    /// A newsroom, and where its news come out.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, inbox) = mpsc::unbounded_channel();
        let changed = Arc::new(watch::Sender::new(0));
        let newsroom = Newsroom {
            news,
            changed,
            awaited: Awaited::default(),
        };
        (newsroom, inbox)
    }

    /// Passes news on. Never waits: it happens under the driver's lock, and each piece is small.
    pub(crate) fn tell(&self, news: News) {
        // The task ends with the scheduler; what is told after that is told to nobody.
        let _ = self.news.send(news);
    }

    /// Sees every change of who is alive or sealed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sees the same, and every change of who owns the query.
    pub(crate) fn changes_of(&self, query: QueryId) -> Changes {
        let mut awaited = self.awaited.lock();
        let told = awaited
            .entry(query)
            .or_insert_with(|| watch::Sender::new(()));
        Changes {
            query,
            of_it: told.subscribe(),
            of_all: self.changes(),
            awaited: Arc::clone(&self.awaited),
        }
    }

    /// Something has changed.
    pub(crate) fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// It has changed who owns the query, or is about to.
    pub(crate) fn change_of(&self, query: QueryId) {
        if let Some(told) = self.awaited.lock().get(&query) {
            told.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_query_hears_of_that_one_and_of_what_bears_on_all() {
        let (newsroom, _inbox) = Newsroom::new();
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        let mut waiting = newsroom.changes_of(query(1));
        let other = newsroom.changes_of(query(1));
        newsroom.change_of(query(2));
        assert_eq!(waiting.changed().now_or_never(), None);
        newsroom.change_of(query(1));
        assert_eq!(waiting.changed().now_or_never(), Some(()));
        newsroom.change();
        assert_eq!(waiting.changed().now_or_never(), Some(()));
        newsroom.change();
        waiting.look();
        assert_eq!(waiting.changed().now_or_never(), None, "it was seen");
        drop(other);
        newsroom.change_of(query(1));
        assert_eq!(waiting.changed().now_or_never(), Some(()));
        drop(waiting);
        assert!(newsroom.awaited.lock().is_empty(), "nobody waits");
    }
}
