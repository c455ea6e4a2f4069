//! Paceline as its clients see it: Flight SQL for statements, HTTP for everything about them.

mod error;
mod flight;
mod http;

pub use error::ClientError;
pub use flight::{Answer, Flight, Started};
pub use http::Http;
