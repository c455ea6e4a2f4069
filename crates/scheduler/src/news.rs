//! What bears on who owns what, on its way to the one task that decides.

use std::sync::Arc;
use std::time::Duration;

use paceline_core::ownership::{Closed, Evidence, Step};
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Known;
use paceline_store::Replayed;
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
}

impl Newsroom {
    /// A newsroom, and where its news come out.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, inbox) = mpsc::unbounded_channel();
        let changed = Arc::new(watch::Sender::new(0));
        (Newsroom { news, changed }, inbox)
    }

    /// Passes news on. Never waits: it happens under the driver's lock, and each piece is small.
    pub(crate) fn tell(&self, news: News) {
        // The task ends with the scheduler; what is told after that is told to nobody.
        let _ = self.news.send(news);
    }

    /// Sees every change of who is alive, sealed, or owner of something.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Something has changed.
    pub(crate) fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
