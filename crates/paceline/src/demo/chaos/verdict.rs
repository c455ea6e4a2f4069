//! Whether all answers are right, and chaos showed what it is there to show.
//!
//! A kill has to be followed by a takeover if a query lost its owner by it: the scheduler drove the query,
//! and the client had to turn to another one for the answer. Kills that fell between queries, or just
//! after one had its answer, leave nothing to take over; the summary says how many did not.

use super::rider::Ride;
use crate::Failure;

/// One query may have ended in the moment of the kill, so that nothing was left of it to adopt. So many
/// do not.
const ENOUGH: usize = 3;

/// What came of the queries whose owner was killed before their clients had the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Owners {
    /// Queries that lost theirs.
    pub(super) lost: usize,
    /// Those of them that got another one.
    pub(super) found: usize,
    /// Those of them of which a part was done and written down.
    pub(super) midway: usize,
}

impl Owners {
    pub(super) fn of(rides: &[Ride]) -> Owners {
        let mut owners = Owners::default();
        for ride in rides {
            let Some(lost) = ride.lost else {
                continue;
            };
            owners.lost += 1;
            owners.found += usize::from(ride.epoch > Some(lost.epoch));
            owners.midway += usize::from(lost.midway);
        }
        owners
    }
}

/// Fails unless all of `count` queries agree, each query that lost its owner got another one, and tasks
/// were `adopted` where there were any to adopt.
pub(super) fn verdict(
    rides: &[Ride],
    count: usize,
    adopted: u64,
    seed: u64,
) -> Result<(), Failure> {
    let wrong: Vec<String> = rides
        .iter()
        .filter_map(|ride| Some(format!("{}: {}", ride.query, ride.wrong.as_ref()?)))
        .collect();
    let mut problems = Vec::new();
    if !wrong.is_empty() || rides.len() != count {
        problems.push(format!(
            "{} of {count} queries did not give the answer of one DataFusion process:\n  {}",
            wrong.len() + count.saturating_sub(rides.len()),
            wrong.join("\n  ")
        ));
    }
    for ride in rides {
        if let (Some(lost), Some(epoch)) = (ride.lost, ride.epoch)
            && epoch <= lost.epoch
        {
            problems.push(format!(
                "{} lost its owner to a kill and nobody took it over",
                ride.query
            ));
        }
    }
    let midway = Owners::of(rides).midway;
    if midway >= ENOUGH && adopted == 0 {
        problems.push(format!(
            "{midway} queries lost their owners midway, and no task of theirs was adopted"
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{}\nto see it again: --chaos --seed {seed}",
            problems.join("\n")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use paceline_testkit::tpch_queries;

    use super::super::board::Lost;
    use super::*;

    /// So many queries that lost their owners at epoch 1, and were at that one in the end.
    fn rides(count: usize, midway: bool, epoch: Option<u64>) -> Vec<Ride> {
        let queries = tpch_queries().into_iter().take(count);
        let ride = |query| Ride {
            query,
            rows: 1,
            took: Duration::ZERO,
            epoch,
            lost: Some(Lost { epoch: 1, midway }),
            wrong: None,
        };
        queries.map(ride).collect()
    }

    fn problem(rides: &[Ride], adopted: u64) -> String {
        let judged = verdict(rides, rides.len(), adopted, 7);
        judged.map_or_else(|failure| failure.to_string(), |()| String::new())
    }

    #[test]
    fn whoever_lost_its_owner_must_have_found_another_one() {
        assert_eq!(problem(&rides(1, false, Some(2)), 0), "");
        assert_eq!(problem(&rides(1, false, None), 0), "", "nobody knows");
        let said = problem(&rides(2, false, Some(1)), 9);
        assert_eq!(said.matches("nobody took it over").count(), 2, "{said}");
        assert!(said.contains("--seed 7"), "{said}");
        let mut calm = rides(2, false, Some(0));
        calm.iter_mut().for_each(|ride| ride.lost = None);
        assert_eq!(problem(&calm, 0), "");
    }

    #[test]
    fn of_enough_queries_midway_some_task_is_adopted() {
        assert_eq!(problem(&rides(ENOUGH - 1, true, Some(2)), 0), "");
        assert_eq!(problem(&rides(ENOUGH, true, Some(2)), 1), "");
        assert_eq!(problem(&rides(ENOUGH, false, Some(2)), 0), "");
        let said = problem(&rides(ENOUGH, true, Some(2)), 0);
        assert!(said.contains("no task of theirs was adopted"), "{said}");
    }

    #[test]
    fn a_wrong_answer_and_a_missing_one_are_failures() {
        let mut some = rides(2, false, Some(2));
        assert!(verdict(&some, 3, 0, 7).is_err());
        some[1].wrong = Some("3 rows".to_string());
        let said = problem(&some, 0);
        let named = format!("{}: 3 rows", some[1].query);
        assert!(said.contains("1 of 2") && said.contains(&named), "{said}");
    }
}
