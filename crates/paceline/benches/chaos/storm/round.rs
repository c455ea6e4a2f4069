//! One query, struck at one step, until its client has the answer and everything is whole again.

use std::time::{Duration, Instant};

use paceline_frontend::QueryReport;
use paceline_model::QueryId;
use paceline_testkit::Role;

use super::asking::{Asking, Question};
use super::forecast::{Blow, COUNT, Round, Step, Target, Way};
use super::outcome::outcome;
use super::strike::{self, Struck};
use super::world::World;

/// Within which a query comes to its step.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// Within which others draw their conclusions from a fault.
const FELT_LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(4);

/// A join that takes its time, with a few stages and one row.
const LONG: &str = "select count(*) as n, sum(a.l_quantity + b.l_quantity) as q, \
     min(a.l_orderkey * 3 + b.l_orderkey) as o, max(a.l_comment) as c \
     from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey \
     where a.l_orderkey % 12 = 0 and a.l_orderkey % 7 <> b.l_orderkey % 5";

/// More rows than fit on the way, in order of nothing.
const WIDE: &str = "select l_orderkey, l_linenumber, repeat(l_comment, 10) as c \
     from lineitem where l_orderkey % 8 = 0";

/// What came of a round.
pub(crate) struct Played {
    pub(crate) strikes: usize,
    pub(crate) takeover: Option<Duration>,
    pub(crate) answer: Duration,
    epoch: Option<u64>,
}

impl std::fmt::Display for Played {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agrees {:.1?} after the strikes", self.answer)?;
        if let Some(takeover) = self.takeover {
            write!(f, ", taken over after {takeover:.0?}")?;
        }
        match self.epoch {
            Some(epoch) => write!(f, ", epoch {epoch}"),
            None => Ok(()),
        }
    }
}

/// Why a round has no result.
pub(crate) enum Trouble {
    /// The query ended before it came to its step; nothing was struck.
    Missed(String),
    /// Something is not as it must be.
    Wrong(String),
}

impl From<String> for Trouble {
    fn from(problem: String) -> Self {
        Trouble::Wrong(problem)
    }
}

/// Plays a round under a name of its own.
pub(crate) async fn play(world: &mut World, round: &Round, name: &str) -> Result<Played, Trouble> {
    world.learn_ids().await;
    let sql = match round.step {
        Step::Reading => WIDE,
        _ => LONG,
    };
    let question = Question {
        way: round.way,
        entry: round.entry,
        sql: format!("{sql} --{name}"),
        key: name.to_string(),
        holds: round.step == Step::Reading,
    };
    let asking = Asking::begin(question.clone(), world.doors());
    let mut scene = Scene {
        round,
        sql: question.sql.clone(),
        asking,
        struck: Vec::new(),
        query: None,
        epoch: 0,
        takeover: None,
    };
    scene.come_to_the_step(world).await?;
    let begun = scene.strike(world).await?;
    scene.asking.go_on();
    scene.until_all_is_felt(world).await?;
    let (takeover, struck) = (scene.takeover, scene.struck.len());
    let seen = scene.asking.seen().query.or(scene.query);
    let answer = scene.asking.answer().await?;
    let took = begun.elapsed();
    world.check(&question.sql, &answer).await?;
    world.heal().await?;
    let epoch = outcome(world, &question, seen).await?;
    Ok(Played {
        strikes: struck,
        takeover,
        answer: took,
        epoch,
    })
}

/// A round under way.
struct Scene<'a> {
    round: &'a Round,
    sql: String,
    asking: Asking,
    struck: Vec<Struck>,
    query: Option<QueryId>,
    /// The query's epoch before the strikes.
    epoch: u64,
    takeover: Option<Duration>,
}

impl Scene<'_> {
    async fn come_to_the_step(&mut self, world: &mut World) -> Result<(), Trouble> {
        let step = self.round.step;
        if let Some(opening) = &self.round.opening {
            self.wait(world, Step::Committed).await?;
            let owner = self.owner(world).await;
            let opened = strike::all(world, &[*opening], owner, &[]).await?;
            self.struck.extend(opened);
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
            Step::Accepting => self.asking.seen().sending,
            Step::Accepted => self.named(world).await.is_some(),
            Step::Journaled => match self.report(world).await {
                // Its owner's journal holds something, and whoever drives it has let it linger.
                Some(report) => {
                    report.elapsed_seconds > 0.1 && !world.journal(&report.owner).is_empty()
                }
                None => false,
            },
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
                Some(struck) => strike::was_sealed(world, struck),
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
            self.query = world.find(&self.sql).await;
        }
        self.query
    }

    async fn report(&mut self, world: &World) -> Option<QueryReport> {
        let query = self.named(world).await?;
        world.report(query, &self.awake()).await
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
        self.epoch = report.epoch.0;
        if world.scheduler_named(&report.owner).is_none() {
            world.learn_ids().await;
        }
        world
            .scheduler_named(&report.owner)
            .unwrap_or(self.round.entry)
    }

    /// Strikes, and says when.
    async fn strike(&mut self, world: &mut World) -> Result<Instant, Trouble> {
        let early = matches!(self.round.step, Step::Accepting | Step::Accepted);
        // There is no time to ask while a statement is on its way.
        let owner = match early || self.round.step == Step::Sealed {
            true => self.round.entry,
            false => self.owner(world).await,
        };
        let down: Vec<usize> = (0..COUNT).filter(|s| !self.awake().contains(s)).collect();
        let begun = Instant::now();
        let struck = strike::all(world, &self.round.strikes, owner, &down).await?;
        self.struck.extend(struck);
        for index in 0..self.struck.len() {
            let one = &self.struck[index];
            if one.blow == Blow::KillAndRestart {
                let (role, index) = (one.role, one.index);
                world.restart(role, index).await?;
            }
        }
        Ok(begun)
    }

    /// Undoes each fault once it was felt, or the client has its answer.
    async fn until_all_is_felt(&mut self, world: &mut World) -> Result<(), Trouble> {
        let mut standing: Vec<usize> = (0..self.struck.len()).collect();
        let deadline = Instant::now() + FELT_LIMIT;
        let mut watched = self.watches_takeover();
        while !standing.is_empty() || (watched.is_some() && !self.asking.is_over()) {
            if let Some(since) = watched
                && let Some(report) = self.report(world).await
                && report.epoch.0 > self.epoch
            {
                self.takeover = Some(since.elapsed());
                watched = None;
            }
            let mut left = Vec::new();
            for index in standing {
                let awake = self.awake();
                let one = &self.struck[index];
                if self.asking.is_over() || strike::is_felt(world, one, &awake).await {
                    strike::undo(world, one)?;
                } else {
                    left.push(index);
                }
            }
            standing = left;
            if Instant::now() > deadline && !self.asking.is_over() {
                let what: Vec<_> = standing.iter().map(|i| self.struck[*i].blow).collect();
                let problem = format!("nothing came of {what:?} within {FELT_LIMIT:?}");
                return Err(Trouble::Wrong(problem));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// From when on a takeover is watched for: if the owner of a query that others know was struck.
    fn watches_takeover(&self) -> Option<Instant> {
        if !matches!(
            self.round.step,
            Step::Journaled | Step::Running | Step::Committed
        ) {
            return None;
        }
        let dies = |strike: &&super::forecast::Strike| {
            strike.target == Target::Owner && matches!(strike.blow, Blow::Kill | Blow::Freeze)
        };
        self.round.strikes.iter().find(dies)?;
        let schedulers = self
            .struck
            .iter()
            .filter(|struck| struck.role == Role::Scheduler);
        schedulers.map(|struck| struck.at).min()
    }
}
