//! Carries out what schedulers command.
//!
//! Every command names a query and an epoch; the [book](crate::book::Book) decides whether the
//! speaker may. Whatever a message says, the worst that comes of it is a refusal, which is counted
//! and logged.

use std::sync::Arc;
use std::time::Instant;

use paceline_model::{Epoch, QueryId};
use paceline_proto::cluster::from_scheduler::Message;
use paceline_proto::{Malformed, cluster, query_id};

use crate::book::{LinkId, Refusal};
use crate::launch;
use crate::node::Node;

impl Node {
    /// Carries out one message. Never waits for anything but short locks.
    pub(crate) fn apply(self: &Arc<Self>, link: LinkId, message: Message) {
        match message {
            Message::Launch(launch) => launch::launch(self, link, launch),
            Message::CancelTasks(cancel) => self.cancel_tasks(link, &cancel),
            Message::ReleaseOutputs(release) => self.release_outputs(link, &release),
            Message::EndQuery(end) => self.end_query(link, &end),
            Message::Acknowledge(acknowledge) => {
                self.book.lock().acknowledge(link, &acknowledge.numbers);
                self.notify_changed();
            }
            Message::Adopt(adopt) => self.adopt(link, &adopt),
            // The stream itself deals with those two.
            Message::Welcome(_) | Message::Members(_) => {}
        }
    }

    fn adopt(&self, link: LinkId, adopt: &cluster::Adopt) {
        for adoption in &adopt.queries {
            let Some(query) = self.readable("adopt", &adoption.query) else {
                continue;
            };
            let epoch = Epoch(adoption.epoch);
            let adopted = self.book.lock().adopt(link, query, epoch, adoption.afresh);
            match adopted {
                Ok(_) if !adoption.afresh => {}
                Ok(live) => self.drop_query(query, &live),
                Err(refusal) => self.refused("adopt", query, refusal),
            }
        }
        self.notify_changed();
    }

    fn cancel_tasks(&self, link: LinkId, cancel: &cluster::CancelTasks) {
        let Some(query) = self.readable("cancel", &cancel.query) else {
            return;
        };
        let epoch = Epoch(cancel.epoch);
        let mut book = self.book.lock();
        let cancelled = book.cancel(link, query, epoch, &cancel.attempts);
        drop(book);
        if let Err(refusal) = cancelled {
            self.refused("cancel", query, refusal);
        }
    }

    fn release_outputs(&self, link: LinkId, release: &cluster::ReleaseOutputs) {
        let Some(query) = self.readable("release", &release.query) else {
            return;
        };
        let epoch = Epoch(release.epoch);
        let mut book = self.book.lock();
        let released = book.release(link, query, epoch, &release.outputs);
        drop(book);
        match released {
            Ok(outputs) => {
                self.release(query, &outputs);
                self.notify_changed();
            }
            Err(refusal) => self.refused("release", query, refusal),
        }
    }

    fn end_query(&self, link: LinkId, end: &cluster::EndQuery) {
        let Some(query) = self.readable("end", &end.query) else {
            return;
        };
        let ended = self
            .book
            .lock()
            .end(link, query, Epoch(end.epoch), Instant::now());
        match ended {
            Ok(live) => self.drop_query(query, &live),
            // A repetition.
            Err(Refusal::Ended) => {}
            Err(refusal) => self.refused("end", query, refusal),
        }
    }

    pub(crate) fn readable(&self, command: &'static str, query: &[u8]) -> Option<QueryId> {
        query_id(query)
            .map_err(|malformed| self.malformed(command, &malformed))
            .ok()
    }

    pub(crate) fn malformed(&self, command: &'static str, malformed: &Malformed) {
        tracing::warn!(command, "refused: {malformed}");
        self.metrics.refused.with_label_values(&["malformed"]).inc();
    }

    pub(crate) fn refused(&self, command: &'static str, query: QueryId, refusal: Refusal) {
        tracing::info!(query_id = %query, command, reason = refusal.reason(), "refused");
        self.metrics
            .refused
            .with_label_values(&[refusal.reason()])
            .inc();
    }
}
