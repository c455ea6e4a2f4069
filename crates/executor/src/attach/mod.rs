//! Attaching to schedulers: one stream to each, for as long as both live.
//!
//! ```text
//!  configured names ─────────────► dialers ──► stream: Hello + inventory ►
//!  Members of any scheduler ─DNS─►    ▲                ◄ Welcome, Members, commands
//!                                     │                states, heartbeats ►
//!                                     └── lost: again at once, then with growing pauses
//! ```
//!
//! A lost stream changes nothing for tasks: they run on, and what they have to say waits in the
//! [book](crate::book) for whoever owns their query when a stream is there again.

mod attaching;
mod dial;
mod pause;
mod roster;
mod stream;

pub(crate) use attaching::attach_to_all;
