//! TPC-H: the eight tables at any scale as Parquet, and the 22 queries.

mod generate;
mod queries;
mod scale;
mod table;
#[cfg(test)]
mod tests;

pub use generate::{Dataset, GenerateError};
pub use queries::{Query, tpch_queries};
pub use scale::{InvalidScale, Scale};
pub use table::Table;
