//! Plans, cut into stages, run as a cluster would run them, against one DataFusion.
//!
//! One binary: linking DataFusion takes longer than running the tests.

mod support;

mod errors;
mod explain;
mod rules;
mod scans;
mod snapshots;
mod statements;
mod tpcds;
mod tpch;
mod writes;
