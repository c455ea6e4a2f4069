//! What it takes to see whether Paceline is right: data, answers to compare with, clusters of real
//! processes, and broken networks.
//!
//! ```text
//!   tpch ──── tables as Parquet, the 22 queries ──┐
//!                                                 ├─ Reference: one DataFusion process ─┐
//!                                                 │                                     ├─ compare
//!   Cluster ─ schedulers and executors as real ───┴─ Flight SQL ────────────────────────┘
//!      │      child processes: kill, freeze, term
//!      └───── FaultProxy: cuts, refuses and stalls the connections that go through it, all of them or
//!             those that one process makes
//! ```
//!
//! `paceline demo` and the tests share it, so that what the demo prints is judged by the rules the
//! tests apply. It knows Paceline only from outside, as a program with ports: no crate that runs in
//! a server is imported here, and none of them may import this.
//!
//! Entry types: [`Dataset`] and [`tpch_queries`], [`Reference`], [`compare`] with its [`Order`],
//! [`Cluster`] made from a [`ClusterPlan`], [`FaultProxy`].

mod compare;
mod process;
mod proxy;
mod reference;
mod tpch;

pub use compare::{Difference, Order, RELATIVE_TOLERANCE, compare, order_of, says_something};
pub use process::{
    Announced, Cluster, ClusterError, ClusterPlan, Doors, Links, Node, Process, ProcessError, Role,
    peak_memory,
};
pub use proxy::{FaultProxy, Traffic};
pub use reference::{Answer, Reference, ReferenceError};
pub use tpch::{Dataset, GenerateError, InvalidScale, Query, Scale, Table, tpch_queries};
