//! One suite of behaviours, run against every kind of store that can run here, straight and
//! through a wrapper that injects faults; and stores that lie, which must be refused.

mod catalog;
mod chaos;
mod counts;
mod create;
mod damaged;
mod faulty;
mod garbage;
mod journal;
mod listings;
mod lying;
mod ministack;
mod open;
mod places;
mod results;
mod shared;
mod staged;
mod takeovers;
mod writes;

use places::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_behaves() {
    suite(&Place::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_behaves() {
    suite(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_over_http_behaves() {
    if let Some(place) = Place::ministack("state-suite").await {
        suite(&place).await;
    }
}

async fn suite(place: &Place) {
    shared::creates_once(&place.fresh()).await;
    shared::reads_and_removes(&place.fresh()).await;
    shared::lists_in_order(&place.fresh()).await;
    shared::lists_folders(&place.fresh()).await;
    shared::carries_large_objects(&place.fresh()).await;
    shared::lets_one_racer_win(&place.fresh()).await;
    shared::passes_the_probe(&place.fresh()).await;
    shared::has_one_identity(&place.fresh()).await;
    shared::shows_its_members(&place.fresh()).await;
    shared::says_what_is_corrupt(&place.fresh()).await;
    catalog::two_processes_append_in_turn(&place.fresh()).await;
    catalog::what_one_creates_the_other_finds(&place.fresh()).await;
    catalog::a_long_log_is_read_as_far_as_it_goes(&place.fresh()).await;
    catalog::a_change_with_a_name_is_made_once(&place.fresh()).await;
    writes::a_query_commits_once_whoever_tries(&place.fresh()).await;
    writes::what_was_abandoned_is_not_committed(&place.fresh()).await;
    writes::that_a_table_was_kept_is_decided_once(&place.fresh()).await;
    writes::rows_go_into_the_table_they_were_meant_for(&place.fresh()).await;
    writes::a_commit_whose_answer_is_lost_or_late_is_made_once(place).await;
    create::every_outcome_is_settled(&place.fresh()).await;
    journal::is_replayed_by_others(&place.fresh()).await;
    journal::carries_much_in_one_write(&place.fresh()).await;
    journal::ends_with_its_seal(&place.fresh()).await;
    journal::holds_what_it_acknowledged_when_sealed(&place.fresh()).await;
    damaged::is_sealed_whatever_a_record_says(&place.fresh()).await;
    damaged::is_ended_whatever_cannot_be_read(&place.fresh()).await;
    damaged::is_read_whatever_lies_before_its_snapshot(&place.fresh()).await;
    journal::is_shortened_by_snapshots(&place.fresh()).await;
    journal::goes_once_it_is_drained(&place.fresh()).await;
    journal::claims_have_one_winner(&place.fresh()).await;
    journal::appends_survive_every_fault(&place.fresh()).await;
    takeovers::survive_every_fault(&place.fresh()).await;
    listings::may_fail_lag_and_repeat(&place.fresh()).await;
    listings::show_which_queries_have_an_outcome(&place.fresh()).await;
    listings::a_journal_ends_where_it_ends_whatever_they_show(&place.fresh()).await;
    garbage::goes_in_time_and_nothing_else_does(&place.fresh()).await;
    results::are_whole_or_not_there(&place.fresh()).await;
    results::of_two_owners_never_mix(&place.fresh()).await;
    results::an_owner_may_begin_again(&place.fresh()).await;
    results::go_without_leaving_anything(&place.fresh()).await;
    results::survive_every_fault(&place.fresh()).await;
}
