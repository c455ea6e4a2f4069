//! Faults without end, and what must be true whatever they hit.
//!
//! ```text
//!   seed ─► forecast: rounds of (way of asking, step, strikes)
//!                │
//!                ▼ each round
//!   a client asks ──► the query comes to the step ──► strikes, each proven ──► healed once they were
//!        │                                                                      felt ──► all restarted
//!        └──► its answer, compared with one DataFusion process;
//!             one outcome, one chain of owners, wherever one asks
//!
//!   meanwhile: small queries, changes of the catalog, and inserts with names of their own, through all
//!              schedulers
//!   at the end: each row once, no query in a journal, nothing on an executor, no file beside those of
//!               tables, nothing in the state but what stays, and of that nothing that a sweep leaves
//! ```
//!
//! A seed fixes what is done to whom at which step. When that happens is left to the machine, but a step
//! is waited for by what shows it, and never by time. Some rounds are drawn by hand, for those who have
//! no time for many.

pub(crate) mod after;
pub(crate) mod asking;
mod by_hand;
mod cut;
pub(crate) mod felt;
pub(crate) mod forecast;
mod inserts;
mod load;
mod meanwhile;
mod notice;
mod outcome;
pub(crate) mod recovery;
mod round;
mod scene;
pub(crate) mod state;
mod strike;
mod tables;
pub(crate) mod world;

use std::time::Duration;

pub(crate) use by_hand::rounds as by_hand;
use felt::Felt;
pub(crate) use forecast::{Round, draw};
use recovery::Recovery;
use world::World;

/// How often a round is begun anew whose query ended before it came to the step.
const TRIES: u32 = 4;

/// What rounds came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) rounds: usize,
    pub(crate) strikes: usize,
    /// Of the processes that were struck and lived, which were noticed.
    pub(crate) felt: Vec<Felt>,
    /// Rounds whose query got another owner because its owner was struck.
    pub(crate) changed_hands: usize,
    /// Of those, how long each was without an owner, as far as that was seen.
    pub(crate) recoveries: Vec<Recovery>,
    /// From the strikes until the client had its answer.
    pub(crate) answers: Vec<Duration>,
    /// What else was asked meanwhile and answered rightly.
    pub(crate) meanwhile: usize,
    /// How many small inserts took effect meanwhile, once each.
    pub(crate) inserts: usize,
}

impl Summary {
    /// Which takeovers took longer than they may.
    pub(crate) fn too_slow(&self) -> Vec<String> {
        recovery::too_slow(&self.recoveries)
    }

    /// Which faults were never noticed, often as they struck.
    pub(crate) fn never_felt(&self) -> Vec<String> {
        felt::never(&self.felt)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut answers = self.answers.clone();
        answers.sort();
        let median = answers.get(answers.len() / 2).copied().unwrap_or_default();
        let worst = answers.last().copied().unwrap_or_default();
        write!(
            f,
            "{} rounds, {} strikes; answers after a median of {median:.0?}, at worst {worst:.0?}; \
             meanwhile {} others answered, {} inserts; felt: {}; {} queries got another owner: {}",
            self.rounds,
            self.strikes,
            self.meanwhile,
            self.inserts,
            felt::figures(&self.felt),
            self.changed_hands,
            recovery::figures(&self.recoveries)
        )
    }
}

/// Plays rounds on a cluster of their own, and adds what came of them. `at_rest` is told once nothing is
/// left to do but to wait for what goes late.
///
/// # Errors
/// What was wrong, in which round, and where the logs are.
pub(crate) async fn run(
    name: &str,
    rounds: &[Round],
    at_rest: &(dyn Fn() + Sync),
    summary: &mut Summary,
    say: &(dyn Fn(String) + Sync),
) -> Result<(), String> {
    let mut world = World::start().await?;
    match all(&mut world, name, rounds, at_rest, summary, say).await {
        Ok(()) => Ok(()),
        Err(problem) => {
            let logs = world.keep();
            Err(format!("{name}: {problem}\nlogs: {}", logs.display()))
        }
    }
}

async fn all(
    world: &mut World,
    name: &str,
    rounds: &[Round],
    at_rest: &(dyn Fn() + Sync),
    summary: &mut Summary,
    say: &(dyn Fn(String) + Sync),
) -> Result<(), String> {
    let small = world.of_one_process(load::SMALL).await?;
    let load = load::begin(world.doors(), small);
    let inserts = inserts::begin(world.doors());
    for (index, one) in rounds.iter().enumerate() {
        say(format!("{name} round {}: {one}", index + 1));
        let played = play(world, name, index, one, say).await;
        let played = played.map_err(|problem| format!("round {} ({one}): {problem}", index + 1))?;
        say(format!("  {played}"));
        summary.rounds += 1;
        summary.strikes += played.strikes;
        summary.felt.extend(played.felt);
        summary.changed_hands += usize::from(played.changed_hands);
        summary.recoveries.extend(played.recovery);
        summary.answers.push(played.answer);
    }
    summary.meanwhile += load.end().await?;
    let inserts = inserts.end().await?;
    tables::hold_each_row_once(world, inserts).await?;
    summary.inserts += inserts;
    at_rest();
    after::nothing_is_left(world).await
}

async fn play(
    world: &mut World,
    storm: &str,
    index: usize,
    one: &Round,
    say: &(dyn Fn(String) + Sync),
) -> Result<round::Played, String> {
    for attempt in 0..TRIES {
        // It is a part of statements.
        let name = format!("chaos {storm} {index} {attempt}").replace(' ', "-");
        match round::play(world, one, &name).await {
            Ok(played) => return Ok(played),
            Err(round::Trouble::Missed(what)) => say(format!("  missed: {what}; once more")),
            Err(round::Trouble::Wrong(what)) => return Err(what),
        }
    }
    Err(format!("the step was missed {TRIES} times"))
}
