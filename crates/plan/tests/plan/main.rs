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
mod tpcds_set;
mod tpch;
mod writes;
