//! One query, struck at one step, until its client has the answer and everything is whole again.

use std::time::Duration;

use paceline::client::Answer;

use super::asking::{Asking, Question};
use super::felt::Felt;
use super::forecast::{Round, Step, Way};
use super::inserts;
use super::outcome::outcome;
use super::recovery::Recovery;
use super::scene::Scene;
use super::world::World;

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
    pub(crate) felt: Vec<Felt>,
    /// Whether its owner was struck so that it got another one.
    pub(crate) changed_hands: bool,
    /// How long that took, if it was seen.
    pub(crate) recovery: Option<Recovery>,
    pub(crate) answer: Duration,
    epoch: Option<u64>,
}

impl std::fmt::Display for Played {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agrees {:.1?} after the strikes", self.answer)?;
        if let Some(recovery) = self.recovery {
            write!(f, ", taken over after {:.0?}", recovery.took)?;
        }
        match self.epoch {
            Some(epoch) => write!(f, ", epoch {epoch}"),
            None => Ok(()),
        }
    }
}

/// Why a round has no result.
pub(crate) enum Trouble {
    /// The query ended before it came to its step, so the step was not struck.
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
    let question = question(round, name);
    let asking = Asking::begin(question.clone(), world.doors());
    let mut scene = Scene::open(round, question.sql.clone(), asking);
    let begun = match scene.come_to_the_step(world).await {
        Ok(()) => scene.strike(world).await?,
        Err(Trouble::Missed(what)) => {
            // Whoever was not struck gets the right answer as well.
            let answer = scene.close().await.asking.answer().await?;
            is_right(world, &question, &answer).await?;
            return Err(Trouble::Missed(what));
        }
        Err(wrong) => return Err(wrong),
    };
    scene.until_all_is_felt(world).await?;
    let closed = scene.close().await;
    let answer = closed.asking.answer().await?;
    let took = begun.elapsed();
    world.heal().await?;
    is_right(world, &question, &answer).await?;
    let epoch = outcome(world, &question, closed.query, closed.may_be_forgotten).await?;
    if let Some(missed) = closed.missed {
        return Err(Trouble::Missed(missed));
    }
    if let Some(before) = closed.lost_at
        && epoch.is_none_or(|epoch| epoch <= before)
    {
        let what = "it ended before its owner was struck".to_string();
        return Err(Trouble::Missed(what));
    }
    Ok(Played {
        strikes: closed.strikes,
        felt: closed.felt,
        changed_hands: closed.lost_at.is_some(),
        recovery: closed.recovery,
        answer: took,
        epoch,
    })
}

fn question(round: &Round, name: &str) -> Question {
    let sql = match (round.way, round.step) {
        (Way::Written, _) => inserts::large(name),
        (_, Step::Reading) => WIDE.to_string(),
        _ => LONG.to_string(),
    };
    Question {
        way: round.way,
        entry: round.entry,
        sql: format!("{sql} --{name}"),
        key: name.to_string(),
        holds: round.step == Step::Reading,
    }
}

/// Compares an answer, or what was written, with what one DataFusion process says.
async fn is_right(world: &mut World, question: &Question, answer: &Answer) -> Result<(), String> {
    match question.way {
        Way::Written => inserts::is_there_once(world, question, answer).await,
        _ => world.check(&question.sql, answer).await,
    }
}
