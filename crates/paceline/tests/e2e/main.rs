//! Whole clusters of real processes, with real clients, from outside.
//!
//! One binary, because each links the whole engine. Data lies in the target directory and is made
//! once. Tests of what needs a Python package say so and pass without it, unless
//! `PACELINE_REQUIRE_PYTHON=1`, `PACELINE_REQUIRE_TPCDS=1` or `PACELINE_REQUIRE_MINISTACK=1`; tests
//! of servers that lie, unless `PACELINE_REQUIRE_LYING_STORES=1`.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes are looked at again until something is so, with a deadline"
)]

mod again;
mod answers;
mod api;
mod bad_input;
mod cancel;
mod chaos;
mod commands;
mod copies;
mod demo;
mod divided;
mod executables;
mod failover;
mod faults;
mod frozen;
mod handover;
mod held;
mod house;
mod http;
mod leaving;
mod left;
mod lying_servers;
mod lying_store;
mod metrics;
#[path = "../../../store/tests/behaviour/ministack.rs"]
mod ministack;
mod on_s3;
mod outage;
mod patience;
mod python;
mod rolling;
mod servers;
mod stored;
#[path = "../../benches/cluster/storm/mod.rs"]
mod storm;
mod submissions;
mod support;
mod tables;
mod takeover;
mod together;
mod tpcds;
#[path = "../../../plan/tests/plan/tpcds_set.rs"]
mod tpcds_set;
mod tpch;
mod traces;
mod turn;
mod writes;
