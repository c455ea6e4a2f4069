//! Kills and restarts.

use std::sync::Arc;

use paceline_testkit::{Cluster, ClusterError, Node, Role};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::board::{Board, Standing};
use super::tally::Tally;
use crate::Failure;

/// Whom to strike next, and when.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// The scheduler that drives a query, any scheduler, or an executor.
    victim: Victim,
    /// Once a part of some query is done, or as soon as one is accepted.
    midway: bool,
    /// Whether an executor is killed together with a scheduler.
    together: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Owner,
    Scheduler,
    Executor,
}

/// Makes trouble for as long as it is let.
pub(super) struct Trouble {
    dice: StdRng,
    board: Arc<Board>,
    pub(super) tally: Tally,
    pub(super) schedulers_killed: usize,
    pub(super) executors_killed: usize,
    pub(super) restarts: usize,
}

impl Trouble {
    pub(super) fn new(seed: u64, board: Arc<Board>) -> Trouble {
        Trouble {
            dice: StdRng::seed_from_u64(seed),
            board,
            tally: Tally::default(),
            schedulers_killed: 0,
            executors_killed: 0,
            restarts: 0,
        }
    }

    /// Strikes a query, waits for an answer, has some of those that are down start again; and so on. It
    /// ends only with a failure.
    pub(super) async fn make(&mut self, cluster: &mut Cluster) -> Failure {
        loop {
            if let Err(error) = self.strike_once(cluster).await {
                return error.into();
            }
        }
    }

    async fn strike_once(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let plan = self.plan();
        let standing = self.under_way(plan.midway).await;
        let before = self.board.answers();
        self.strike(cluster, plan, &standing).await?;
        self.until(|board| (board.answers() > before).then_some(()))
            .await;
        self.restart_some(cluster).await
    }

    fn plan(&mut self) -> Plan {
        let victims = [
            Victim::Owner,
            Victim::Owner,
            Victim::Scheduler,
            Victim::Executor,
        ];
        Plan {
            victim: *victims.choose(&mut self.dice).unwrap_or(&Victim::Owner),
            midway: self.dice.random_bool(0.7),
            together: self.dice.random_bool(0.25),
        }
    }

    /// Waits for a query of which somebody says who drives it.
    async fn under_way(&self, midway: bool) -> Standing {
        let fits = |standing: &Standing| standing.owner.is_some() && (standing.midway || !midway);
        self.until(|board| board.standings().into_iter().find(fits))
            .await
    }

    async fn until<T>(&self, look: impl Fn(&Board) -> Option<T>) -> T {
        let mut changes = self.board.changes();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&self.board) {
                return found;
            }
            // The board outlives this.
            let _ = changes.changed().await;
        }
    }

    async fn strike(
        &mut self,
        cluster: &mut Cluster,
        plan: Plan,
        standing: &Standing,
    ) -> Result<(), ClusterError> {
        if plan.victim != Victim::Executor {
            let owner = standing.owner.as_ref();
            let owner = owner.and_then(|(id, _)| self.board.number(id));
            let owner = owner.filter(|_| plan.victim == Victim::Owner);
            self.kill_one(cluster, Role::Scheduler, owner, &standing.name)
                .await?;
        }
        if plan.victim == Victim::Executor || plan.together {
            self.kill_one(cluster, Role::Executor, None, &standing.name)
                .await?;
        }
        Ok(())
    }

    /// Kills one, the preferred one if it is up. If only one is up, another one is started first.
    async fn kill_one(
        &mut self,
        cluster: &mut Cluster,
        role: Role,
        preferred: Option<usize>,
        during: &str,
    ) -> Result<(), ClusterError> {
        if up(cluster, role).len() < 2 {
            let Some(down) = down(cluster, role).choose(&mut self.dice).copied() else {
                return Ok(());
            };
            self.restart(cluster, role, down).await?;
            if role == Role::Executor {
                // The other one may hold all that is there; it goes on a later occasion.
                return Ok(());
            }
        }
        let up = up(cluster, role);
        let preferred = preferred.filter(|index| up.contains(index));
        let Some(index) = preferred.or_else(|| up.choose(&mut self.dice).copied()) else {
            return Ok(());
        };
        if role == Role::Scheduler {
            let metrics = cluster
                .schedulers()
                .get(index)
                .map(|n| n.announced().metrics.clone());
            self.tally.add(&metrics.unwrap_or_default()).await;
            self.board.killed(index);
            self.schedulers_killed += 1;
        } else {
            self.executors_killed += 1;
        }
        // Told as soon as it is counted: this is dropped once the query has its answer.
        self.board
            .say(&format!("SIGKILL {role} {} during {during}", index + 1));
        cluster.kill(role, index).await?;
        Ok(())
    }

    async fn restart_some(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        for role in [Role::Scheduler, Role::Executor] {
            for index in down(cluster, role) {
                if self.dice.random_bool(0.6) {
                    self.restart(cluster, role, index).await?;
                }
            }
        }
        Ok(())
    }

    async fn restart(
        &mut self,
        cluster: &mut Cluster,
        role: Role,
        index: usize,
    ) -> Result<(), ClusterError> {
        cluster.restart(role, index).await?;
        self.restarts += 1;
        self.board
            .say(&format!("started {role} {} again", index + 1));
        Ok(())
    }

    /// Starts everything again, and counts what there is to count.
    pub(super) async fn end(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        for role in [Role::Scheduler, Role::Executor] {
            for index in down(cluster, role) {
                self.restart(cluster, role, index).await?;
            }
        }
        cluster.ready().await?;
        for node in cluster.schedulers() {
            self.tally.add(&node.announced().metrics).await;
        }
        Ok(())
    }
}

fn nodes(cluster: &Cluster, role: Role) -> &[Node] {
    match role {
        Role::Scheduler => cluster.schedulers(),
        Role::Executor => cluster.executors(),
    }
}

fn up(cluster: &Cluster, role: Role) -> Vec<usize> {
    let all = nodes(cluster, role).iter().enumerate();
    all.filter(|(_, node)| node.is_up())
        .map(|(index, _)| index)
        .collect()
}

fn down(cluster: &Cluster, role: Role) -> Vec<usize> {
    let all = nodes(cluster, role).iter().enumerate();
    all.filter(|(_, node)| !node.is_up())
        .map(|(index, _)| index)
        .collect()
}
