//! A query under way: where it has come to, what is struck there, and what that was seen to do.

use std::time::{Duration, Instant};

use paceline::client::Http;
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, SchedulerId};
use paceline_testkit::Role;

use super::asking::Asking;
use super::felt::Felt;
use super::forecast::{Blow, COUNT, Round, Step, Way};
use super::notice;
use super::recovery::{Loss, Recovery, Watch};
use super::round::Trouble;
use super::strike::{self, Struck};
use super::world::World;

/// Within which a query comes to its step.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// Within which others draw their conclusions from a fault.
const FELT_LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(4);

/// States of queries that have not ended.
const ALIVE: &str = "queued,running";

/// A round under way.
pub(super) struct Scene<'a> {
    round: &'a Round,
    sql: String,
    asking: Asking,
    struck: Vec<Struck>,
    query: Option<QueryId>,
    /// The query's epoch and owner, by the last word of a scheduler.
    epoch: u64,
    owned_by: Option<SchedulerId>,
    watch: Option<Watch>,
    missed: Option<String>,
}

/// A round in which everything was struck and undone.
pub(super) struct Closed {
    pub(super) asking: Asking,
    pub(super) query: Option<QueryId>,
    /// Whether schedulers were struck in a way that may have cost them what they knew of it.
    pub(super) may_be_forgotten: bool,
    pub(super) strikes: usize,
    pub(super) felt: Vec<Felt>,
    /// Why the step was not struck, if it was not.
    pub(super) missed: Option<String>,
    /// The query's epoch when its owner was struck, if that had to bring it another one.
    pub(super) lost_at: Option<u64>,
    pub(super) recovery: Option<Recovery>,
}

impl<'a> Scene<'a> {
    pub(super) fn open(round: &'a Round, sql: String, asking: Asking) -> Scene<'a> {
        Scene {
            round,
            sql,
            asking,
            struck: Vec::new(),
            query: None,
            epoch: 0,
            owned_by: None,
            watch: None,
            missed: None,
        }
    }

    pub(super) async fn close(self) -> Closed {
        self.asking.go_on();
        let lost_at = self.watch.as_ref().map(|watch| watch.epoch);
        let recovery = match self.watch {
            Some(watch) => watch.end().await,
            None => None,
        };
        let struck = self.struck.iter();
        let felt = struck.filter_map(|one| Felt::of(one.blow, one.role, one.felt));
        let is_lost = |one: &Struck| one.role == Role::Scheduler && Loss::by(one.blow).is_some();
        Closed {
            felt: felt.collect(),
            may_be_forgotten: self.struck.iter().any(is_lost),
            query: self.asking.seen().query.or(self.query),
            asking: self.asking,
            strikes: self.struck.iter().filter(|one| one.hit).count(),
            missed: self.missed,
            lost_at,
            recovery,
        }
    }

    pub(super) async fn come_to_the_step(&mut self, world: &mut World) -> Result<(), Trouble> {
        let step = self.round.step;
        if let Some(opening) = &self.round.opening {
            // From its journal it is taken over; else it would have to be asked for.
            self.wait(world, Step::Journaled).await?;
            self.wait(world, Step::Committed).await?;
            let owner = self.owner(world).await;
            let opened = strike::all(world, &[*opening], owner, &[]).await?;
            self.struck.extend(opened);
            self.watch(world, owner);
        }
        self.wait(world, step).await
    }

    async fn wait(&mut self, world: &World, step: Step) -> Result<(), Trouble> {
        let deadline = Instant::now() + STEP_LIMIT;
        loop {
            if self.is_at(world, step).await {
                return Ok(());
            }
            if self.asking.is_over() && self.struck.is_empty() {
                return Err(Trouble::Missed(format!("it ended before {step:?}")));
            }
            if self.asking.is_over() {
                // What was struck has to be undone and asked after all the same.
                self.missed = Some(format!("it was answered before {step:?}"));
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Trouble::Wrong(format!("it did not come to {step:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn is_at(&mut self, world: &World, step: Step) -> bool {
        match step {
            Step::Sending => self.asking.seen().sending,
            Step::Accepted => self.named(world).await.is_some(),
            Step::Journaled => self.report(world).await.is_some() && self.is_journaled(world).await,
            Step::Running => {
                let runs = |report: &QueryReport| report.stages.iter().any(|s| s.running > 0);
                self.report(world).await.is_some_and(|report| runs(&report))
            }
            Step::Committed => {
                let report = self.report(world).await;
                report.is_some_and(|report| {
                    report.stages.iter().any(|stage| stage.done > 0) && !report.state.is_final()
                })
            }
            Step::Sealed => match self.struck.first() {
                Some(struck) => notice::was_sealed(world, struck),
                None => false,
            },
            Step::Adopted => self
                .query
                .is_some_and(|query| !world.claims(query).is_empty()),
            Step::Reading => self.asking.seen().reading,
        }
    }

    /// The query's name, from its client or from a scheduler.
    async fn named(&mut self, world: &World) -> Option<QueryId> {
        if self.query.is_none() {
            self.query = self.asking.seen().query;
        }
        if self.query.is_none() && self.round.way != Way::Flight {
            // What is read has ended.
            let states = (self.round.step != Step::Reading).then_some(ALIVE);
            self.query = world.find(&self.sql, states).await;
        }
        self.query
    }

    async fn report(&mut self, world: &World) -> Option<QueryReport> {
        let query = self.named(world).await?;
        let report = world.report(query, &self.awake()).await?;
        (self.epoch, self.owned_by) = (report.epoch.0, Some(report.owner.clone()));
        Some(report)
    }

    /// Whether the journal of its owner holds the query, so that others find it there.
    async fn is_journaled(&self, world: &World) -> bool {
        match (self.query, &self.owned_by) {
            (Some(query), Some(owner)) => world.stored.holds(owner, query).await,
            _ => false,
        }
    }

    /// Schedulers that answer, the one that was asked first before others.
    fn awake(&self) -> Vec<usize> {
        let entry = self.round.entry;
        let all = (0..COUNT).map(|turn| (entry + turn) % COUNT);
        let silent = |scheduler: &usize| {
            let mut struck = self.struck.iter();
            struck.any(|s| s.is(Role::Scheduler, *scheduler) && s.is_silent())
        };
        all.filter(|scheduler| !silent(scheduler)).collect()
    }

    /// Who drives the query, as far as anybody says so.
    async fn owner(&mut self, world: &mut World) -> usize {
        let Some(report) = self.report(world).await else {
            return self.round.entry;
        };
        if world.scheduler_named(&report.owner).is_none() {
            world.learn_ids().await;
        }
        world
            .scheduler_named(&report.owner)
            .unwrap_or(self.round.entry)
    }

    /// Strikes, and says when.
    pub(super) async fn strike(&mut self, world: &mut World) -> Result<Instant, Trouble> {
        let early = matches!(self.round.step, Step::Sending | Step::Accepted);
        // There is no time to ask while a statement is on its way.
        let owner = match early || self.round.step == Step::Sealed {
            true => self.round.entry,
            false => self.owner(world).await,
        };
        let is_watched = matches!(
            self.round.step,
            Step::Journaled | Step::Running | Step::Committed
        );
        // What its journal holds before the blow it holds after it.
        let journaled = is_watched && self.is_journaled(world).await;
        let down: Vec<usize> = (0..COUNT).filter(|s| !self.awake().contains(s)).collect();
        let begun = Instant::now();
        if let Some(watch) = &mut self.watch {
            watch.has_company(begun);
        }
        let struck = strike::all(world, &self.round.strikes, owner, &down).await?;
        self.struck.extend(struck);
        if journaled {
            self.watch(world, owner);
        }
        for index in 0..self.struck.len() {
            let one = &self.struck[index];
            if one.blow == Blow::KillAndRestart {
                let (role, index) = (one.role, one.index);
                world.restart(role, index).await?;
            }
        }
        Ok(begun)
    }

    /// Watches for the next owner of a query that is in a journal, if its present one was struck.
    fn watch(&mut self, world: &World, owner: usize) {
        let Some(query) = self.query else {
            return;
        };
        let mut struck = self.struck.iter();
        let struck = struck.find(|one| one.is(Role::Scheduler, owner));
        let lost = struck.and_then(|one| Some((Loss::by(one.blow)?, one.at)));
        let Some(lost) = lost else {
            return;
        };
        let was_struck = |scheduler: &usize| {
            let mut struck = self.struck.iter();
            struck.any(|one| one.is(Role::Scheduler, *scheduler))
        };
        let survivors = (0..COUNT).filter(|scheduler| !was_struck(scheduler));
        let survivors: Vec<Http> = survivors.filter_map(|s| world.look(s)).collect();
        self.watch = Watch::begin(lost, survivors, (query, self.epoch));
        if self.struck.len() > 1
            && let Some(watch) = &mut self.watch
        {
            watch.has_company(lost.1);
        }
    }

    /// Whether the next owner of the query is still waited for.
    fn is_orphaned(&self) -> bool {
        let waits = self.watch.as_ref().is_some_and(|watch| !watch.is_over());
        waits && !self.asking.is_over()
    }

    /// Lets the client read on, and undoes each fault once it was felt or the client has its answer.
    pub(super) async fn until_all_is_felt(&mut self, world: &mut World) -> Result<(), Trouble> {
        self.asking.go_on();
        let mut standing: Vec<usize> = (0..self.struck.len()).collect();
        let deadline = Instant::now() + FELT_LIMIT;
        while !standing.is_empty() || self.is_orphaned() {
            let mut left = Vec::new();
            for index in standing {
                let awake = self.awake();
                let one = &self.struck[index];
                let felt = notice::is_felt(world, one, &awake).await;
                if felt || self.asking.is_over() {
                    strike::undo(world, one)?;
                    self.struck[index].felt = felt;
                } else {
                    left.push(index);
                }
            }
            standing = left;
            if Instant::now() > deadline && !self.asking.is_over() {
                let what: Vec<_> = standing.iter().map(|i| self.struck[*i].blow).collect();
                let orphaned = self.is_orphaned();
                let problem = format!(
                    "within {FELT_LIMIT:?} nothing came of {what:?}; without an owner: {orphaned}"
                );
                return Err(Trouble::Wrong(problem));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
