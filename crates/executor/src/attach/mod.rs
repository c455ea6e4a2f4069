//! Attaching to schedulers: one stream to each, for as long as both live.
//!
//! ```text
//!  configured addresses ──(DNS)──► dialers ──► stream: Hello + inventory ►
//!  Members of any scheduler ─────►    ▲                ◄ Welcome, Members, commands
//!                                     │                states, heartbeats ►
//!                                     └── lost: again at once, then with growing pauses
//! ```
//!
//! A lost stream changes nothing for tasks: they run on, and what they have to say waits in the
//! [book](crate::book) for whoever owns their query when a stream is there again.

mod dial;
mod pause;
mod roster;
mod stream;

pub(crate) use roster::attach_to_all;
