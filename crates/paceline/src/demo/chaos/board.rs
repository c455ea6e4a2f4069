//! Who drives which query.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId};
use tokio::sync::watch;

use super::super::progress;
use super::super::stage::Stage;
use crate::client::Http;

/// How often all schedulers are asked. It is not on the path of a query.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// How long a scheduler may take to answer that.
const GLANCE: Duration = Duration::from_millis(500);

/// A query of that age is in its owner's journal.
const JOURNALED: Duration = Duration::from_millis(500);

/// A query under way.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// `Q07`.
    pub(super) name: String,
    /// Who drives it, and at which epoch; none until somebody says.
    pub(super) owner: Option<(SchedulerId, u64)>,
    /// Whether a part of it is done.
    pub(super) midway: bool,
    begun: Instant,
    /// Which scheduler was killed while it drove this, and what was lost by that if nobody had the answer.
    orphaned: Option<(usize, Lost)>,
    lost: Option<Lost>,
}

/// What a query was when its owner was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) epoch: u64,
    /// Whether its owner had it in a journal, and a part of it was done.
    pub(super) midway: bool,
}

impl Standing {
    /// That scheduler, which had these ids, is killed.
    fn orphan(&mut self, scheduler: usize, ids: &[SchedulerId]) {
        if let Some((owner, epoch)) = &self.owner
            && ids.contains(owner)
        {
            let lost = Lost {
                epoch: *epoch,
                midway: self.midway && self.begun.elapsed() >= JOURNALED,
            };
            self.orphaned = Some((scheduler, lost));
        }
    }
}

#[derive(Default)]
struct State {
    standings: BTreeMap<QueryId, Standing>,
    numbers: HashMap<SchedulerId, usize>,
    killed: HashMap<SchedulerId, Instant>,
    takeovers: Vec<Duration>,
    answers: u64,
}

/// What all may look at.
pub(super) struct Board {
    begun: Instant,
    looks: Vec<Http>,
    pub(super) flights: Vec<String>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Board {
    pub(super) fn open(stage: &Stage) -> Board {
        let schedulers = stage.cluster.schedulers().iter();
        let flight = |node: &paceline_testkit::Node| node.announced().flight.clone();
        Board {
            begun: Instant::now(),
            looks: stage.doors.iter().map(|door| door.http.clone()).collect(),
            flights: schedulers.map(flight).collect(),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left half done is still worth showing.
        let state = self.state.lock();
        state.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says something with the time.
    pub(super) fn say(&self, text: &str) {
        progress::say(&format!(
            "[{:6.2} s] {text}",
            self.begun.elapsed().as_secs_f64()
        ));
    }

    /// Sees every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn started(&self, query: QueryId, name: &str, at: usize) {
        self.say(&format!("{name} accepted by scheduler {}", at + 1));
        let standing = Standing {
            name: name.to_string(),
            owner: None,
            midway: false,
            begun: Instant::now(),
            orphaned: None,
            lost: None,
        };
        self.state().standings.insert(query, standing);
        self.change();
    }

    /// A query's client has its answer, or none. Says what the query was if it had lost its owner before.
    pub(super) fn over(&self, query: Option<QueryId>) -> Option<Lost> {
        let mut state = self.state();
        let standing = query.and_then(|query| state.standings.remove(&query));
        state.answers += 1;
        drop(state);
        self.change();
        standing?.lost
    }

    /// A query's client had no answer from that scheduler, and asks another one.
    pub(super) fn turned(&self, query: QueryId, from: usize) {
        if let Some(standing) = self.state().standings.get_mut(&query)
            && let Some((killed, lost)) = standing.orphaned
            && killed == from
        {
            standing.lost = Some(lost);
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.state().answers
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.state().standings.values().cloned().collect()
    }

    pub(super) fn takeovers(&self) -> Vec<Duration> {
        self.state().takeovers.clone()
    }

    /// The number of a scheduler, as people count.
    pub(super) fn number(&self, id: &SchedulerId) -> Option<usize> {
        self.state().numbers.get(id).copied()
    }

    /// A scheduler was killed.
    pub(super) fn killed(&self, scheduler: usize) {
        let mut state = self.state();
        let of = state
            .numbers
            .iter()
            .filter(|(_, number)| **number == scheduler);
        let ids: Vec<SchedulerId> = of.map(|(id, _)| id.clone()).collect();
        for standing in state.standings.values_mut() {
            standing.orphan(scheduler, &ids);
        }
        for id in ids {
            state.killed.entry(id).or_insert_with(Instant::now);
        }
    }

    /// Learns who is who; a restarted scheduler is somebody else.
    async fn learn(&self) {
        for (number, look) in self.looks.iter().enumerate() {
            if let Ok(Ok(status)) = tokio::time::timeout(GLANCE, look.status()).await {
                self.state().numbers.insert(status.scheduler, number);
            }
        }
    }

    /// What any scheduler says of a query.
    pub(super) async fn report(&self, query: QueryId) -> Option<QueryReport> {
        for look in &self.looks {
            if let Ok(Ok(report)) = tokio::time::timeout(GLANCE, look.query(query)).await {
                return Some(report);
            }
        }
        None
    }

    async fn look_at(&self, query: QueryId) {
        let Some(report) = self.report(query).await else {
            return;
        };
        if self.number(&report.owner).is_none() {
            self.learn().await;
        }
        let (owner, epoch) = (report.owner, report.epoch.0);
        let number = self
            .number(&owner)
            .map_or("?".to_string(), |n| (n + 1).to_string());
        let mut state = self.state();
        let Some(standing) = state.standings.get_mut(&query) else {
            return;
        };
        standing.midway = report.stages.iter().any(|stage| stage.done > 0);
        let before = standing.owner.replace((owner.clone(), epoch));
        let name = standing.name.clone();
        let line = match before {
            Some((_, known)) if known == epoch => None,
            Some((former, _)) => {
                let took = state.killed.get(&former).map(Instant::elapsed);
                state.takeovers.extend(took);
                let after = took.map_or(String::new(), |t| format!(", {t:.0?} after the kill"));
                Some(format!(
                    "{name} taken over by scheduler {number}, epoch {epoch}{after}"
                ))
            }
            None => Some(format!(
                "{name} driven by scheduler {number}, epoch {epoch}"
            )),
        };
        drop(state);
        if let Some(line) = line {
            self.say(&line);
        }
        self.change();
    }
}

/// Asks for as long as it is polled.
pub(super) async fn keep_watching(board: std::sync::Arc<Board>) {
    board.learn().await;
    #[expect(
        clippy::disallowed_methods,
        reason = "people look on, and nobody else waits"
    )]
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        let queries: Vec<QueryId> = board.state().standings.keys().copied().collect();
        futures::future::join_all(queries.iter().map(|query| board.look_at(*query))).await;
    }
}
