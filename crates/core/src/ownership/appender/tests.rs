use super::*;
use crate::ownership::testing::{self, scheduler};
use AppendAction::{Close, Durable, Send, SendAgain, WakeAt, Withdrawn};

const T0: Now = Now(Duration::ZERO);

fn at(millis: u64) -> Now {
    Now(Duration::from_millis(millis))
}

/// A record of a query of its own.
fn record(ticket: u64, due: Now) -> Append<u64> {
    record_of(Some(ticket), ticket, due)
}

fn record_of(query: Option<u64>, ticket: u64, due: Now) -> Append<u64> {
    Append::Record {
        ticket: Ticket(ticket),
        query: query.map(|n| testing::query(n.into())),
        record: ticket,
        bytes: 1,
        due,
    }
}

fn appender() -> Appender<u64> {
    Appender::new(
        3,
        AppendOptions {
            max_records: 4,
            max_bytes: 10,
            gather: Duration::from_millis(25),
            give_up_after: Duration::from_secs(1),
        },
    )
}

fn tickets(of: &[u64]) -> Vec<Ticket> {
    of.iter().copied().map(Ticket).collect()
}

fn send(seq: u64, records: &[u64]) -> AppendAction<u64> {
    let records = records.to_vec();
    Send { seq, records }
}

fn durable(seq: u64, of: &[u64]) -> AppendAction<u64> {
    let tickets = tickets(of);
    Durable { seq, tickets }
}

#[test]
fn one_segment_carries_what_gathered_meanwhile() {
    let mut it = appender();
    assert_eq!(it.handle(record(1, T0), T0), [send(3, &[1])]);
    for ticket in 2..=6 {
        assert_eq!(it.handle(record(ticket, T0), T0), []);
    }
    let won = || Append::Outcome(AppendOutcome::Won);
    let second = [durable(3, &[1]), send(4, &[2, 3, 4, 5])];
    assert_eq!(it.handle(won(), T0), second);
    assert_eq!(
        it.handle(won(), T0),
        [durable(4, &[2, 3, 4, 5]), send(5, &[6])]
    );
    assert_eq!(it.handle(won(), T0), [durable(5, &[6])]);
    assert_eq!(it.handle(record(7, T0), T0), [send(6, &[7])]);
}

#[test]
fn a_large_record_goes_alone() {
    let mut it = appender();
    it.handle(record(1, T0), T0);
    for ticket in [2, 3] {
        let large = Append::Record {
            ticket: Ticket(ticket),
            query: None,
            record: ticket,
            bytes: 1000,
            due: T0,
        };
        it.handle(large, T0);
    }
    let won = || Append::Outcome(AppendOutcome::Won);
    assert_eq!(it.handle(won(), T0), [durable(3, &[1]), send(4, &[2])]);
    assert_eq!(it.handle(won(), T0), [durable(4, &[2]), send(5, &[3])]);
}

#[test]
fn what_lingers_can_be_withdrawn_and_goes_with_others() {
    let mut it = appender();
    assert_eq!(it.handle(record(1, at(50)), T0), [WakeAt(at(50))]);
    let withdraw = |of: &[u64]| Append::Withdraw {
        tickets: tickets(of),
    };
    let gone = Withdrawn {
        tickets: tickets(&[1]),
    };
    assert_eq!(it.handle(withdraw(&[1]), at(10)), [gone]);
    assert_eq!(it.handle(Append::Tick, at(50)), [], "nothing was written");

    it.handle(record(2, at(80)), at(50));
    assert_eq!(it.handle(record(3, at(60)), at(60)), [send(3, &[2, 3])]);
    assert_eq!(it.handle(withdraw(&[2]), at(61)), [], "it was sent");
    it.handle(record(4, at(200)), at(61));
    assert_eq!(it.handle(withdraw(&[2, 4]), at(62)), [], "all or none");
}

#[test]
fn what_lingers_for_long_stays_when_others_go() {
    let mut it = appender();
    let won = || Append::Outcome(AppendOutcome::Won);
    it.handle(record(1, at(86)), at(36));
    it.handle(record(2, at(85)), at(35));
    assert_eq!(it.handle(record(3, at(60)), at(60)), [send(3, &[2, 3])]);
    let withdrawn = Withdrawn {
        tickets: tickets(&[1]),
    };
    let stays = [durable(3, &[2, 3]), WakeAt(at(86))];
    assert_eq!(it.handle(won(), at(61)), stays);
    let withdraw = Append::Withdraw {
        tickets: tickets(&[1]),
    };
    assert_eq!(it.handle(withdraw, at(62)), [withdrawn]);
}

#[test]
fn the_records_of_a_query_stay_in_order() {
    let mut it = appender();
    it.handle(record_of(Some(7), 1, at(500)), T0);
    it.handle(record_of(Some(8), 2, at(500)), T0);
    it.handle(record_of(Some(7), 3, at(900)), T0);
    let now = record_of(Some(7), 4, T0);
    assert_eq!(it.handle(now, T0), [send(3, &[1, 3, 4])]);
    // What does not fit holds back what comes after it.
    for ticket in 5..=9 {
        it.handle(record_of(Some(7), ticket, T0), T0);
    }
    let won = it.handle(Append::Outcome(AppendOutcome::Won), T0);
    assert_eq!(won, [durable(3, &[1, 3, 4]), send(4, &[5, 6, 7, 8])]);
}

#[test]
fn what_is_of_no_query_takes_everything_along() {
    let mut it = appender();
    it.handle(record(1, at(500)), T0);
    it.handle(record(2, at(900)), T0);
    let snapshot = record_of(None, 3, T0);
    assert_eq!(it.handle(snapshot, T0), [send(3, &[1, 2, 3])]);
}

#[test]
fn the_unknown_is_sent_again_and_given_up_in_the_end() {
    let mut it = appender();
    it.handle(record(1, T0), T0);
    let unknown = || Append::Outcome(AppendOutcome::Unknown);
    assert_eq!(it.handle(unknown(), at(500)), [SendAgain]);
    assert_eq!(it.handle(record(2, T0), at(600)), [], "it waits");
    let doubtful = Closed::Doubtful { seq: 3 };
    assert_eq!(it.handle(unknown(), at(1000)), [Close(doubtful)]);
    assert_eq!(it.handle(record(3, T0), at(1001)), []);
}

#[test]
fn a_lost_number_is_the_end() {
    for (outcome, why) in [
        (
            AppendOutcome::Sealed { by: scheduler("b") },
            Closed::Sealed { by: scheduler("b") },
        ),
        (AppendOutcome::Taken, Closed::Taken { seq: 3 }),
    ] {
        let mut it = appender();
        it.handle(record(1, T0), T0);
        let actions = it.handle(Append::Outcome(outcome), T0);
        assert_eq!(actions, [Close(why.clone())]);
        assert_eq!(it.closed(), Some(&why));
        assert_eq!(it.handle(Append::Tick, T0), []);
    }
}
