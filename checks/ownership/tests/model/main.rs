//! The ownership protocol, checked exhaustively on the code that runs.
//!
//! Three schedulers and one query; a store of create-only names whose writes land at once, late or
//! never; anyone may suspect anyone at any time; schedulers crash between any two steps; journals are
//! snapshotted, truncated, drained and removed. Every reachable state is visited. The world is as large
//! as it has to be for the protocol to go wrong without each of its rules, which the last tests show.

mod protocol;
mod world;

use paceline_core::ownership::{Rule, Rules};
use paceline_model::Invariant;
use stateright::{Checker, Model};

use protocol::Protocol;

#[test]
fn no_order_of_events_breaks_the_protocol() {
    is_kept(Protocol::default());
}

/// A client sends a query to two schedulers, which both accept it.
#[test]
fn no_order_of_events_has_a_submission_run_twice_or_not_at_all() {
    is_kept(SUBMITTED);
}

/// In production many requests are under way beside an append. That makes the world larger than one in
/// which schedulers also crash; a wrong suspicion leads to the same steps as a crash.
#[test]
fn no_order_of_events_breaks_the_protocol_when_creates_overlap_appends() {
    is_kept(Protocol {
        crashes: 0,
        overlap: true,
        ..Protocol::default()
    });
}

/// The world in which the query is submitted, as large as it has to be for the protocol to go wrong.
const SUBMITTED: Protocol = Protocol {
    rules: Rules::ALL,
    crashes: 0,
    overlap: false,
    submitted: true,
};

fn is_kept(protocol: Protocol) {
    let checker = protocol
        .checker()
        .threads(2)
        // A protocol that is broken on purpose need not be broken in every way: see checks/sabotage.
        .finish_when(stateright::HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    // A model that hardly moves proves nothing.
    assert!(checker.unique_state_count() > 1_000_000);
}

/// Without the rule, some order of events must break the promise.
fn is_needed(rule: Rule, promise: Invariant) {
    is_needed_in(rule, promise, Protocol::default());
}

fn is_needed_in(rule: Rule, promise: Invariant, world: Protocol) {
    let model = Protocol {
        rules: Rules::without(rule),
        overlap: rule == Rule::SnapshotKeepsUnclaimed,
        ..world
    };
    let stop = stateright::HasDiscoveries::AnyFailures;
    let checker = model
        .checker()
        .threads(2)
        .finish_when(stop)
        .spawn_bfs()
        .join();
    let path = checker.discovery(promise.as_str());
    let path = path.unwrap_or_else(|| panic!("nobody noticed that {rule:?} does not hold"));
    println!("without {rule:?}:\n{path}");
}

#[test]
fn a_claim_that_no_journal_backs_loses_the_query() {
    is_needed(Rule::JournalBeforeClaim, Invariant::NothingLost);
}

#[test]
fn an_adoption_that_counts_before_its_claim_makes_two_owners() {
    is_needed(Rule::ClaimAfterAdoption, Invariant::OneOwner);
}

#[test]
fn an_unclaimed_adoption_that_is_passed_over_loses_the_query() {
    is_needed(Rule::SettleUnclaimed, Invariant::NothingLost);
}

#[test]
fn a_snapshot_without_an_unclaimed_adoption_loses_the_query() {
    is_needed(Rule::SnapshotKeepsUnclaimed, Invariant::NothingLost);
}

#[test]
fn a_submission_that_is_driven_before_its_claim_makes_two_owners() {
    is_needed_in(Rule::ClaimSubmission, Invariant::OneOwner, SUBMITTED);
}

#[test]
fn a_submission_that_is_adopted_without_its_claim_makes_two_owners() {
    is_needed_in(Rule::CompleteSubmission, Invariant::OneOwner, SUBMITTED);
}
