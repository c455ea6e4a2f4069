//! The streams to attached executors.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use paceline_model::{ExecutorId, QueryId, SchedulerId, StageId};
use paceline_proto::cluster;
use paceline_proto::cluster::from_scheduler::Message;
use tokio::sync::mpsc;

/// Messages that may wait for an executor to read them. One that is so far behind is held for
/// stuck; its stream is cut.
pub(crate) const OUTGOING_MESSAGES: usize = 16_384;

/// Distinguishes the streams of one executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// One attached executor.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    outgoing: mpsc::Sender<cluster::FromScheduler>,
    /// Stages whose plan it was sent.
    plans: HashSet<(QueryId, StageId)>,
    pub(crate) version: String,
    pub(crate) address: String,
    pub(crate) memory_bytes: u64,
    pub(crate) load: cluster::Load,
    pub(crate) heard: Instant,
    /// The schedulers that it holds a stream to, as it said last.
    pub(crate) streams: BTreeSet<SchedulerId>,
    /// Set while its stream is broken and it may yet come back.
    pub(crate) broken: bool,
}

impl Link {
    pub(crate) fn new(
        id: LinkId,
        outgoing: mpsc::Sender<cluster::FromScheduler>,
        hello: &cluster::Hello,
        now: Instant,
    ) -> Self {
        Link {
            id,
            outgoing,
            plans: HashSet::new(),
            version: hello.version.clone(),
            address: hello.address.clone(),
            memory_bytes: hello.memory_bytes,
            load: cluster::Load::default(),
            heard: now,
            streams: BTreeSet::new(),
            broken: false,
        }
    }

    /// Hands a message to the stream. What cannot be sent is noticed by the stream's end, which
    /// follows.
    fn send(&self, message: Message) -> bool {
        let message = cluster::FromScheduler {
            message: Some(message),
        };
        self.outgoing.try_send(message).is_ok()
    }
}

/// All attached executors.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<ExecutorId, Link>,
}

impl Links {
    /// Adds a stream, in the place of a former one of the same executor.
    pub(crate) fn insert(&mut self, executor: ExecutorId, mut link: Link) {
        if let Some(former) = self.links.remove(&executor) {
            // So that what it does not hold any more is noticed when it says what it holds.
            link.streams = former.streams;
        }
        self.links.insert(executor, link);
    }

    /// Executors that can be reached.
    pub(crate) fn open(&self) -> BTreeSet<ExecutorId> {
        let open = self.links.iter().filter(|(_, link)| !link.broken);
        open.map(|(executor, _)| executor.clone()).collect()
    }

    pub(crate) fn get_mut(&mut self, executor: &ExecutorId) -> Option<&mut Link> {
        self.links.get_mut(executor)
    }

    pub(crate) fn get(&self, executor: &ExecutorId) -> Option<&Link> {
        self.links.get(executor)
    }

    pub(crate) fn remove(&mut self, executor: &ExecutorId) {
        self.links.remove(executor);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ExecutorId, &Link)> {
        self.links.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether the executor still has to be sent the plan of a stage; notes that it was.
    pub(crate) fn needs_plan(
        &mut self,
        executor: &ExecutorId,
        query: QueryId,
        stage: StageId,
    ) -> bool {
        match self.links.get_mut(executor) {
            Some(link) => link.plans.insert((query, stage)),
            None => true,
        }
    }

    /// Forgets that the executor has the plan of a stage.
    pub(crate) fn forget_plan(&mut self, executor: &ExecutorId, query: QueryId, stage: StageId) {
        if let Some(link) = self.links.get_mut(executor) {
            link.plans.remove(&(query, stage));
        }
    }

    /// Forgets all plans of a query that the executor has.
    pub(crate) fn forget_query(&mut self, executor: &ExecutorId, query: QueryId) {
        if let Some(link) = self.links.get_mut(executor) {
            link.plans.retain(|(owner, _)| *owner != query);
        }
    }

    /// Sends a message to one executor. If it does not take it, its stream is cut, which leads to
    /// its loss like any other broken stream.
    pub(crate) fn send(&mut self, executor: &ExecutorId, message: Message) {
        let Some(link) = self.links.get_mut(executor) else {
            return;
        };
        if !link.broken && !link.send(message) {
            tracing::warn!(%executor, "it does not read its messages; cutting its stream");
            // The receiving half ends with its last sender.
            let (closed, _) = mpsc::channel(1);
            link.outgoing = closed;
        }
    }

    /// Sends a message to every executor.
    pub(crate) fn broadcast(&mut self, message: &Message) {
        let executors: Vec<_> = self.links.keys().cloned().collect();
        for executor in executors {
            self.send(&executor, message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: u64) -> Link {
        let (outgoing, _) = tokio::sync::mpsc::channel(1);
        let hello = cluster::Hello::default();
        Link::new(LinkId(id), outgoing, &hello, Instant::now())
    }

    #[test]
    fn a_plan_is_sent_once_over_each_stream() {
        let mut links = Links::default();
        let [a, b] = ["a", "b"].map(ExecutorId::new);
        links.insert(a.clone(), link(1));
        links.insert(b.clone(), link(2));
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let (scan, join) = (StageId(0), StageId(1));
        assert!(links.needs_plan(&a, query, scan));
        assert!(!links.needs_plan(&a, query, scan), "it was sent");
        assert!(links.needs_plan(&a, query, join));
        assert!(links.needs_plan(&b, query, scan));
        links.forget_plan(&a, query, scan);
        assert!(links.needs_plan(&a, query, scan), "it said it has none");
        links.insert(a.clone(), link(3));
        assert!(
            links.needs_plan(&a, query, scan),
            "it may have started anew"
        );
        links.forget_query(&b, query);
        assert!(
            links.needs_plan(&b, query, scan),
            "it has dropped all of it"
        );
    }
}
