//! What all parts of a scheduler share.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use paceline_core::ownership::{AppendOptions, SuspicionOptions};
use paceline_core::{Core, Options};
use paceline_exchange::{ExchangeMetrics, PeerOptions};
use paceline_model::{ByteSize, ExecutorId, Invariant, QueryError, SchedulerId};
use paceline_plan::{Catalog, Engine, EngineOptions, Planner, PlannerOptions};
use paceline_proto::cluster::from_scheduler::Message as Told;
use paceline_proto::{MESSAGE_LIMIT, cluster};
use paceline_store::{
    CatalogLog, Claims, Garbage, JournalMetrics, JournalOptions, Journals, Outcomes, Results,
    StateStore,
};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::catalog::Catalogs;
use crate::driver::{Driver, Parts};
use crate::endings::Endings;
use crate::entrance::Entrance;
use crate::error::StartError;
use crate::identity::Identity;
use crate::journaling::Journaling;
use crate::members::Membership;
use crate::metrics::SchedulerMetrics;
use crate::news::{News, Newsroom};
use crate::options::SchedulerOptions;
use crate::passing::Passing;
use crate::peers::Peers;
use crate::scribe::Scribe;
use crate::shelf::Keep;
use crate::steps::AT_ONCE;
use crate::takeover::Takeover;
use crate::turns::Turns;
use crate::watching::Watched;
use crate::writing::data_location;

/// A launch carries a plan, and where its inputs lie.
const LARGEST_STAGE: ByteSize = ByteSize(MESSAGE_LIMIT as u64 / 2);

/// What all parts of a scheduler share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) driver: Arc<Driver>,
    pub(crate) planner: Planner,
    pub(crate) catalog: Catalogs,
    pub(crate) membership: Membership,
    pub(crate) peers: Peers,
    pub(crate) watched: Watched,
    /// Brings the word that another scheduler watches this one, which does not watch it yet.
    pub(crate) newcomer: Notify,
    pub(crate) turns: Turns,
    pub(crate) entrance: Entrance,
    pub(crate) journaling: Journaling,
    pub(crate) endings: Endings,
    pub(crate) exchange_peers: paceline_exchange::Peers,
    pub(crate) exchange_metrics: ExchangeMetrics,
    pub(crate) read_budget: ByteSize,
    pub(crate) heartbeat: Duration,
    pub(crate) reattach_grace: Duration,
    pub(crate) query_timeout: Option<Duration>,
    /// How long results of submitted queries are kept, unless their client says.
    pub(crate) submitted_ttl: Duration,
    /// Where the files of managed tables lie, if there is a place for them.
    pub(crate) data: Option<Url>,
    /// How long the files of a dropped table are kept.
    pub(crate) dropped_ttl: Duration,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The members as executors were told last.
    told: Mutex<cluster::Members>,
    draining: AtomicBool,
    leaving: AtomicBool,
    handed_over: AtomicBool,
    store_away: AtomicBool,
}

impl Shared {
    /// Notes whether the state store answers.
    pub(crate) fn store_away(&self, away: bool) {
        self.store_away.store(away, Ordering::Release);
    }

    /// Whether no executor is here while there are other schedulers: it may be cut off from all of them.
    pub(crate) fn is_unreached(&self) -> bool {
        self.driver.open_streams() == 0 && !self.membership.peers().is_empty()
    }

    /// The catalog to plan the next statement with. Whoever changed it while this scheduler was held
    /// for gone did not wait until it knew.
    pub(crate) async fn catalog(&self) -> Result<Catalog, QueryError> {
        let (membership, now) = (&self.membership, Instant::now());
        let passed_over = membership.may_be_passed_over(now);
        if passed_over || membership.may_be_missed(now) || self.is_unreached() {
            self.catalog.doubt();
        }
        self.catalog.current().await
    }

    /// Another scheduler, to which this one holds a stream, says something.
    pub(crate) fn heard(self: &Arc<Self>, scheduler: &SchedulerId) {
        if self.membership.heard(scheduler, Instant::now()) {
            self.made_contact();
        }
    }

    /// There is contact with another scheduler, which may have gone on without this one before. What it
    /// changed is looked for at once, so that no statement has to.
    pub(crate) fn made_contact(self: &Arc<Self>) {
        self.catalog.doubt();
        let shared = Arc::clone(self);
        self.spawn_until_stopped(async move {
            if let Err(error) = shared.catalog().await {
                tracing::debug!(%error, "the catalog is read before the next statement is planned");
            }
        });
    }

    /// Runs work beside everything else. A panic ends that work alone, and is counted.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let seen = format!("work of the scheduler panicked: {}", text_of(&*panic));
                let metrics = &shared.driver.metrics;
                metrics.violated(Invariant::NoPanic, &seen);
            }
        });
    }

    /// The same for work that nobody needs when the scheduler stops.
    pub(crate) fn spawn_until_stopped(
        self: &Arc<Self>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(async move {
            // Cancel safety: what a step of a takeover has not finished is for whoever seals this
            // scheduler's journal; other work holds nothing that outlives the scheduler.
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// The same for work without which a scheduler must not go on: it would not know when others own its
    /// queries. Should it end before the scheduler stops, everything ends, and others take over.
    pub(crate) fn spawn_vital(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let ends = self.stop.clone().drop_guard();
        self.spawn_until_stopped(async move {
            let _ends = ends;
            work.await;
        });
    }

    /// An executor or another scheduler reached this one.
    pub(crate) fn reached(&self) {
        if self.membership.is_apart() {
            self.driver.newsroom.tell(News::Reached);
        }
    }

    /// Notes that this scheduler is about to leave: it accepts nothing that comes from now on.
    pub(crate) fn begin_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.entrance.close();
    }

    /// Notes that all that it had begun to accept is accepted: it shows itself to others no more.
    pub(crate) fn begin_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Notes that its queries are others' by now.
    pub(crate) fn note_handed_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Whether this scheduler is about to leave.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether it is not to be found any more.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether its queries are others' by now.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Tells every executor who the schedulers are, if that has changed.
    pub(crate) fn tell_members(&self) {
        // It comes first: of two who tell at once, the second one looks after the first one told.
        let mut told = self.told.lock();
        let members = self.membership.message();
        if *told != members {
            self.driver.broadcast(&Told::Members(members.clone()));
            *told = members;
        }
    }

    /// Tells an executor who the schedulers are. It has attached, so that it hears of every later change.
    pub(crate) fn tell_members_to(&self, executor: &ExecutorId) {
        let _one_at_a_time = self.told.lock();
        let members = Told::Members(self.membership.message());
        self.driver.tell(executor, members);
    }

    /// Why new queries should go elsewhere; empty if they should not.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push("the scheduler is shutting down".to_string());
        }
        if self.store_away.load(Ordering::Acquire) {
            reasons.push("the state store does not answer".to_string());
        }
        if self.driver.slots().is_empty() {
            reasons.push("no executor is attached".to_string());
        }
        reasons
    }
}

/// Puts together what all parts of a scheduler share, and starts what writes its journal and decides who
/// owns what.
pub(crate) async fn assemble(
    options: &SchedulerOptions,
    registry: &Registry,
    identity: Identity,
    (store, roomy): (StateStore, StateStore),
    membership: Membership,
) -> Result<Arc<Shared>, StartError> {
    let data = data_location(&options.data_location, &options.state)?;
    let engine = Engine::new(EngineOptions {
        object_store: options.object_store.clone(),
        ..EngineOptions::default()
    })
    .map_err(StartError::Engine)?;
    let journal_metrics = JournalMetrics::register(registry)?;
    let journals = Journals::new(store.clone(), journal_metrics.clone());
    let results = Results::new(roomy.clone());
    let outcomes = Outcomes::new(roomy.clone());
    let journaling = Journaling {
        // Its listings may be long.
        garbage: Garbage::new(roomy, journals.clone(), results.clone()),
        passing: Passing::default(),
        asking: Arc::new(Semaphore::new(AT_ONCE)),
        claiming: Arc::new(Semaphore::new(AT_ONCE)),
        journals,
        claims: Claims::new(store.clone(), journal_metrics),
        results,
        options: JournalOptions {
            append: AppendOptions {
                // A query that has half of its linger still before it may well end within that.
                gather: options.linger / 2,
                ..AppendOptions::default()
            },
            ..JournalOptions::default()
        },
        suspicion: SuspicionOptions {
            takeover_after: options.takeover_after,
        },
        patience: options.beat,
    };
    let log = CatalogLog::open(store).await?;
    let metrics = SchedulerMetrics::register(registry)?;
    let catalog = Catalogs::open(engine.clone(), log, metrics.violations.clone())
        .await
        .map_err(StartError::Engine)?;
    let core = Core::new(Options {
        max_running_queries: options.max_running_queries.max(1),
        max_queued_queries: options.max_queued_queries,
        max_attempts: options.max_attempts.max(1),
        no_executor_grace: options.no_executor_grace,
        ..Options::default()
    });
    let keep = Keep {
        consumed: options.result_ttl,
        unread: options.unread_ttl,
        abandoned: options.abandon_after,
    };
    let journal = journaling.open(identity.id());
    let (scribe, writing) = Scribe::new(journal.clone());
    let (newsroom, news) = Newsroom::new();
    let driver = Driver::new(Parts {
        identity,
        core,
        scribe,
        newsroom,
        keep,
        inline_limit: options.inline_limit,
        linger: options.linger,
        metrics,
    });
    let planner = Planner::new(
        engine,
        PlannerOptions {
            small_plan: options.small_plan,
            largest_stage: LARGEST_STAGE,
        },
    )
    .storing_at(data.clone());
    let shared = Arc::new(Shared {
        driver: Arc::new(driver),
        planner,
        catalog,
        membership,
        peers: Peers::default(),
        watched: Watched::default(),
        newcomer: Notify::new(),
        turns: Turns::default(),
        endings: Endings::new(outcomes, journaling.claims.clone()),
        entrance: Entrance::default(),
        journaling: journaling.clone(),
        exchange_peers: paceline_exchange::Peers::new(PeerOptions::default()),
        exchange_metrics: ExchangeMetrics::register(registry)?,
        read_budget: options.read_budget,
        heartbeat: options.heartbeat,
        reattach_grace: options.reattach_grace,
        query_timeout: options.query_timeout,
        submitted_ttl: options.submitted_ttl,
        data,
        dropped_ttl: options.dropped_ttl,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        told: Mutex::default(),
        draining: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
        handed_over: AtomicBool::new(false),
        store_away: AtomicBool::new(false),
    });
    journaling.watch(&shared, &journal);
    let takeover = Takeover::new(Arc::clone(&shared), journaling);
    shared.spawn_vital(writing);
    shared.spawn_vital(takeover.run(news));
    Ok(shared)
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word")
}
