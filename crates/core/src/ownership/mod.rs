//! Who owns which query, decided without I/O: the journal's protocol, adoption, and suspicion.
//!
//! ```text
//!   Suspicion ──► seal the suspect's journal ──► Chain + Standing: what it held
//!                                                         │
//!   Appender ◄── Adopt (record first) ◄── Ownership ◄─────┘
//!      │ durable                             ▲   │
//!      └──────► Claim (name second) ─────────┘   └──► Own, Drop, Drain
//! ```
//!
//! A scheduler owns a query while its open journal holds it at some epoch, the claim of that epoch
//! names the scheduler (epoch 0 needs none but for submitted queries, which several may accept), and no
//! later claim exists. Everything that moves ownership is one create of a name that nobody may create
//! twice:
//!
//! - a *seal* ends a journal, whoever creates it;
//! - a *submission* is a record in the journal of whoever accepts it first and the claim of epoch 0 second;
//!   who loses that drops its copy. If the record is met in a sealed journal, the claim is made for it;
//! - an *adoption* is a record in the adopter's own journal first and a claim second. A record without
//!   its claim decides nothing: whoever meets one in a sealed journal settles it by adopting at that
//!   same epoch;
//! - a journal is *drained* once each query in it is settled: the claim of its epoch names somebody
//!   else, or the claim of the next epoch exists. Only then may its segments go.
//!
//! After a seal [`Presence`] decides when its scheduler, which has another id by then, is a member again.
//!
//! `checks/ownership` runs these very functions through every order of steps, crashes and late writes of
//! three schedulers.

mod appender;
mod chain;
mod claims;
mod driver;
mod presence;
mod rendezvous;
mod rules;
mod standing;
mod steps;
mod suspicion;

pub use appender::{Append, AppendAction, AppendOptions, AppendOutcome, Appender, Closed, Ticket};
pub use chain::{Chain, Gap, SegmentKind, Take};
pub use claims::{ClaimBook, Claims, Known};
pub use driver::{Ownership, OwnershipAction, OwnershipEvent};
pub use presence::{Presence, PresenceEvent};
pub use rendezvous::{rank, ranked};
pub use rules::{Rule, Rules};
pub use standing::{Entry, Hold, Standing};
pub use steps::{Sight, Stance, Step, Verdict, claimed};
pub use suspicion::{Evidence, Judgement, Suspicion, SuspicionOptions};

#[cfg(test)]
pub(crate) mod testing {
    //! Names for tests.

    use paceline_model::{QueryId, SchedulerId};

    pub(crate) fn query(n: u128) -> QueryId {
        let bytes = n.to_be_bytes();
        QueryId::from_slice(&bytes).unwrap()
    }

    pub(crate) fn scheduler(name: &str) -> SchedulerId {
        SchedulerId::new(name)
    }
}
