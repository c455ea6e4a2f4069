//! Paceline as its clients see it: Flight SQL for statements, HTTP for everything about them.

mod anywhere;
mod error;
mod flight;
mod http;
mod queries;

pub use anywhere::{Anywhere, Moment};
pub use error::ClientError;
pub use flight::{Answer, Flight, Started};
pub use http::Http;
pub use queries::{QueryChoice, QueryList, Rows, SubmitRequest};
